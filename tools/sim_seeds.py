"""Run many simulated worlds, one a seed, and keep what each came to as a line of JSON.

    python tools/sim_seeds.py --first 0 --count 1000 --workers 2 --results build/sim-seeds.jsonl

Resumable: seeds that the results file has already, with the same wishes, are not run again. Each failure is
printed with the line that reproduces it. Exit code 1 where any seed failed, those of earlier runs included.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

from quinkgl.testing.sim import Wishes, World, draw_plan

Wished = dict[str, Any]


def run_seed(seed: int, wished: Wished) -> dict[str, Any]:
    """Run one world and return its line."""
    started = time.process_time()
    plan = draw_plan(seed, Wishes(**wished))
    outcome = World(plan).run()
    return {
        **asdict(outcome),
        "wished": wished,
        "misbehaviours": sorted(node.misbehaviour for node in plan.nodes if node.misbehaviour),
        "actions": len(plan.actions),
        "cpu_s": round(time.process_time() - started, 2),
    }


def reproduce(line: dict[str, Any]) -> str:
    """Return the command that runs the same world again."""
    wished = line["wished"]
    cipher = "null" if wished["null_cipher"] else "real"
    return (
        f"python -m quinkgl.testing.sim --seed {line['seed']} --peers {wished['peers']} "
        f"--misbehaving {wished['misbehaving']} --until {wished['safety_s']} --cipher {cipher}"
    )


def read_lines(path: Path, wished: Wished) -> dict[int, dict[str, Any]]:
    """Return the lines that are there already, by seed; a line that was cut off is run again."""
    lines: dict[int, dict[str, Any]] = {}
    if not path.exists():
        return lines
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if line["wished"] == wished:
            lines[line["seed"]] = line
    return lines


def summary(lines: list[dict[str, Any]]) -> str:
    """Return what all lines came to, in a few lines of text."""
    live = sorted(line["live_after_s"] for line in lines if line["live_after_s"] is not None)
    failed = [line for line in lines if line["failure"]]
    total = {key: sum(line[key] for line in lines) for key in ("datagrams", "checks", "received", "cpu_s")}
    text = (
        f"{len(lines)} seeds, {len(failed)} failed; {total['cpu_s']:.0f} s of CPU, "
        f"{total['datagrams']} datagrams, {total['checks']} checks, {total['received']} updates received"
    )
    if live:
        text += (
            f"\nlive after the heal: median {live[len(live) // 2]:.0f} s, "
            f"99 % {live[len(live) * 99 // 100]:.0f} s, longest {live[-1]:.0f} s (virtual)"
        )
    return text


def main(arguments: list[str] | None = None) -> int:
    """Run the seeds that are missing and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--results", type=Path, default=Path("build/sim-seeds.jsonl"))
    parser.add_argument("--peers", type=int, default=30)
    parser.add_argument("--misbehaving", type=float, default=0.2)
    parser.add_argument("--until", type=float, default=60.0, help="virtual seconds before the heal")
    parser.add_argument("--cipher", choices=["null", "real"], default="null")
    options = parser.parse_args(arguments)
    wished: Wished = {
        "peers": options.peers,
        "misbehaving": options.misbehaving,
        "safety_s": options.until,
        "null_cipher": options.cipher == "null",
    }
    seeds = range(options.first, options.first + options.count)
    lines = read_lines(options.results, wished)
    missing = [seed for seed in seeds if seed not in lines]
    options.results.parent.mkdir(parents=True, exist_ok=True)
    if options.results.exists() and not options.results.read_bytes().endswith(b"\n"):
        with options.results.open("a", encoding="utf-8") as file:
            file.write("\n")  # an earlier run was cut off in the middle of a line
    with ProcessPoolExecutor(options.workers) as pool, options.results.open("a", encoding="utf-8") as file:
        running = [pool.submit(run_seed, seed, wished) for seed in missing]
        for done in as_completed(running):
            line = done.result()
            lines[line["seed"]] = line
            file.write(json.dumps(line) + "\n")
            file.flush()
            if line["failure"]:
                print(f"FAILED: {reproduce(line)}\n    {line['failure']}", flush=True)
    wanted = [lines[seed] for seed in seeds]
    print(summary(wanted))
    for line in wanted:
        if line["failure"] and line["seed"] not in missing:
            print(f"FAILED before: {reproduce(line)}\n    {line['failure']}")
    return 1 if any(line["failure"] for line in wanted) else 0


if __name__ == "__main__":
    sys.exit(main())
