"""``python -m fuzz``: run harnesses, replay an input, go on with the campaign, minimise the corpora."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from fuzz import report, runner
from fuzz.executor import replay
from fuzz.targets import load_target, target_names

_SLOWER = 8
"""By how much the replacement engine is slower than the guided one, roughly."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="a harness; see --list")
    parser.add_argument("--all", action="store_true", help="every harness")
    parser.add_argument("--list", action="store_true", help="show the harnesses")
    parser.add_argument("--runs", type=int, help="executions of each (default: a number that takes seconds)")
    parser.add_argument("--seconds", type=float, default=3600.0, help="stop each after this time")
    parser.add_argument("--seed", type=int, default=1, help="choose the inputs")
    parser.add_argument(
        "--engine", choices=("atheris", "hypothesis", "plain"), help="default: the first that is there"
    )
    parser.add_argument("--replay", type=Path, nargs="+", metavar="FILE", help="run these inputs, measured")
    parser.add_argument("--campaign", action="store_true", help="until each has the executions it owes")
    parser.add_argument("--minimise", action="store_true", help="write the corpora anew, merged by coverage")
    parser.add_argument("--report", action="store_true", help="write fuzz/CAMPAIGN.md from what was noted")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Do what the arguments say; 1 where something was found."""
    options = _parser().parse_args(arguments)
    names = target_names() if options.all or not options.targets else options.targets
    unknown = [name for name in names if name not in target_names()]
    if unknown:
        _parser().error(f"there is no harness {unknown[0]}; --list shows them")
    if options.list:
        for name in names:
            print(f"{name:24} {load_target(name).about}")
        return 0
    if options.report:
        report.write()
        return 0
    if options.replay:
        for path in options.replay:
            replay(load_target(options.targets[0]), path.read_bytes())
        print(f"{len(options.replay)} inputs: nothing found")
        return 0
    if not options.all and not options.targets:
        _parser().error("name a harness, or --all")
    if options.minimise:
        for name in names:
            kept = runner.minimise(load_target(name))
            print(f"{name}: {len(kept)} inputs, {sum(map(len, kept))} bytes", flush=True)
        return 0
    engine = options.engine or ("atheris" if runner.has_atheris() else "hypothesis")
    if options.campaign:
        return _campaign(names, engine, options.seconds)
    return _run_all(names, engine, options)


def _run_all(names: list[str], engine: str, options: argparse.Namespace) -> int:
    found = 0
    for name in names:
        target = load_target(name)
        short = target.short_runs if engine != "hypothesis" else target.short_runs // _SLOWER
        runs = options.runs if options.runs is not None else short
        found += _run_one(name, engine, runs, options.seconds, options.seed)
    print(f"{len(names)} harnesses, {found} findings")
    return 1 if found else 0


def _run_one(name: str, engine: str, runs: int, seconds: float, number: int) -> int:
    outcome = runner.run(load_target(name), runs=runs, seconds=seconds, engine=engine, number=number)
    rate = outcome.executions / max(outcome.seconds, 0.01)
    found = "no finding" if outcome.finding is None else "FINDING"
    print(f"{name:24} {outcome.executions:9} executions in {outcome.seconds:7.1f} s ({rate:7.0f}/s): {found}")
    if outcome.finding is not None:
        print(f"    python -m fuzz {name} --replay {outcome.finding}")
    sys.stdout.flush()
    return outcome.finding is not None


def _campaign(names: list[str], engine: str, seconds: float) -> int:
    """Go round the harnesses, a chunk each, until all have what they owe or the time is over."""
    until = time.monotonic() + seconds
    broken: set[str] = set()
    while time.monotonic() < until:
        owing = {name: load_target(name).wanted - runner.executions_of(name) for name in names}
        owing = {name: runs for name, runs in owing.items() if runs > 0 and name not in broken}
        if not owing:
            break
        for name, runs in owing.items():
            left = until - time.monotonic()
            if left < 1:
                break
            number = runner.executions_of(name) + 1
            chunk = min(max(runs, 1000), max(load_target(name).wanted // 4, runner.CAMPAIGN_CHUNK // 4))
            if _run_one(name, engine, chunk, left, number):
                broken.add(name)
    print(f"findings in: {', '.join(sorted(broken)) or 'none'}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
