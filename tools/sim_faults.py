"""Plant deep faults in a copy of the sources, one at a time, and show that simulated worlds find them.

    python tools/sim_faults.py                  # each fault, the seed on record first, then seed after seed
    python tools/sim_faults.py proof restart    # those whose name contains a word

Faults stand in ``deep/*.toml``; a row's ``seed``, ``peers`` and ``until_s`` are those of a world that found
it. A world that fails with a fault must pass without it. What came out is kept as JSON lines, so that a run
that was cut off goes on where it was; another text of the fault, or other wishes, make another line. Exit
code 1 where a fault was not found, or where its world fails anyway.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
_NICE = 5


class Fault(NamedTuple):
    """One fault: in ``file`` the text ``old``, which is there once, becomes ``new``."""

    name: str
    needs: str
    file: str
    old: str
    new: str
    seed: int | None
    peers: int
    until_s: float
    """Virtual seconds before the heal."""

    @property
    def key(self) -> str:
        """What results are filed under."""
        text = json.dumps([self.file, self.old, self.new])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def plant(self, root: Path) -> None:
        """Change a copy of the tree."""
        path = root / self.file
        text = path.read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise SystemExit(f"{self.name}: its text is there {text.count(self.old)} times in {self.file}")
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


class Found(NamedTuple):
    """How a world failed."""

    failure: str
    virtual_s: float


def read_faults(words: Sequence[str] = (), root: Path = ROOT) -> list[Fault]:
    """Return the faults whose name contains one of the words; all without words."""
    faults: list[Fault] = []
    for path in sorted((root / "tools" / "deep").glob("*.toml")):
        rows = tomllib.loads(path.read_text(encoding="utf-8"))["fault"]
        faults += [Fault(**{"seed": None, "peers": 14, "until_s": 30.0, **row}) for row in rows]
    return [fault for fault in faults if not words or any(word in fault.name for word in words)]


def run_world(tree: Path, seed: int, peers: int, until_s: float) -> Found | None:
    """Run one world on a tree of sources; return how it failed, None where it passed."""
    command = [sys.executable, "-m", "quinkgl.testing.sim", "--seed", str(seed), "--peers", str(peers)]
    command += ["--until", str(until_s)]
    environment = {**os.environ, "PYTHONPATH": str(tree / "src")}
    done = subprocess.run(command, env=environment, cwd=tree, capture_output=True, text=True, check=False)
    failed = re.search(r"^FAILED: (.*)$", done.stdout, re.MULTILINE)
    when = re.search(r"^([0-9.]+) virtual s", done.stdout, re.MULTILINE)
    if when is None or bool(done.returncode) != bool(failed):
        raise RuntimeError(f"seed {seed}: {done.stdout}{done.stderr}")
    return None if failed is None else Found(failed.group(1), float(when.group(1)))


def hunt(fault: Fault, seeds: int) -> dict[str, Any]:
    """Look for a fault, in the world on record first, and return the line of what came out."""
    wishes = {"peers": fault.peers, "until_s": fault.until_s}
    line = {"key": fault.key, "fault": fault.name, **wishes, "seeds": seeds}
    order = [*([] if fault.seed is None else [fault.seed]), *range(seeds)]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for part in ("src", "spec"):
            shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        fault.plant(tree)
        for seed in dict.fromkeys(order):
            found = run_world(tree, seed, **wishes)
            if found is None:
                continue
            without = run_world(ROOT, seed, **wishes)
            anyway = "" if without is None else without.failure
            return {**line, "seed": seed, **found._asdict(), "without": anyway}
    return {**line, "seed": None, "failure": "", "virtual_s": None, "without": ""}


def tell(line: dict[str, Any]) -> bool:
    """Print what came out for one fault; return whether it was found as it should be."""
    print(line["fault"])
    if line["seed"] is None:
        print(f"    NOT FOUND by {line['seeds']} seeds of {line['peers']} peers", flush=True)
        return False
    print(f"    seed {line['seed']}, {line['virtual_s']:.1f} virtual s: {line['failure']}", flush=True)
    if line["without"]:
        print(f"    and WITHOUT the fault: {line['without']}", flush=True)
    return not line["without"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Hunt all faults that were not hunted before, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("words", nargs="*", help="parts of names")
    parser.add_argument("--seeds", type=int, default=40, help="worlds to run before a fault counts as missed")
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "sim-faults.jsonl")
    options = parser.parse_args(arguments)
    os.nice(_NICE)
    options.results.parent.mkdir(parents=True, exist_ok=True)
    known: dict[tuple[str, int, float, int], dict[str, Any]] = {}
    if options.results.exists():
        for text in options.results.read_text(encoding="utf-8").splitlines():
            line = json.loads(text)
            known[line["key"], line["peers"], line["until_s"], line["seeds"]] = line
    good = True
    faults = read_faults(options.words)
    for fault in faults:
        wanted = (fault.key, fault.peers, fault.until_s, options.seeds)
        if wanted not in known:
            known[wanted] = hunt(fault, options.seeds)
            with options.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(known[wanted]) + "\n")
        good = tell(known[wanted]) and good
    return 0 if good and faults else 1


if __name__ == "__main__":
    sys.exit(main())
