"""The command line of :mod:`quinkgl.testing.vectors`."""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import IO, Any

from quinkgl.testing.vectors.core import Adapter, UnsupportedOperation, check, directory, load_vectors
from quinkgl.testing.vectors.ours import adapter as ours

_CANNOT = "unsupported"


def dialogue(commands: IO[str], answers: IO[str]) -> Adapter:
    """Return an adapter that writes one line of JSON for each test and reads one line back."""

    def ask(family: str, operation: str, inputs: dict[str, Any]) -> dict[str, Any]:
        commands.write(json.dumps({"family": family, "op": operation, "in": inputs}) + "\n")
        commands.flush()
        line = answers.readline()
        if not line:
            raise EOFError("the command ended in the middle of the dialogue")
        answer: dict[str, Any] = json.loads(line)
        if answer == {"error": _CANNOT}:
            raise UnsupportedOperation(f"{family}.{operation}")
        return answer

    return ask


def run(folder: Path, adapter: Adapter) -> int:
    """Ask for every test, print what differs and a table; return how many differ."""
    results: dict[str, Counter[str]] = {}
    for vector in load_vectors(folder):
        count = results.setdefault(vector.family, Counter())
        try:
            problem = check(adapter, vector)
        except UnsupportedOperation:
            count["not supported"] += 1
            continue
        count["failed" if problem else "passed"] += 1
        if problem:
            print(f"{vector.id}: {problem}")  # noqa: T201 - a command prints
    for family, count in results.items():
        print(f"{family:24}" + ", ".join(f"{number} {what}" for what, number in sorted(count.items())))  # noqa: T201
    total = sum((count for count in results.values()), Counter[str]())
    print(f"{'all':24}" + ", ".join(f"{number} {what}" for what, number in sorted(total.items())))  # noqa: T201
    return total["failed"]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status is 0 where nothing failed."""
    parser = argparse.ArgumentParser(prog="python -m quinkgl.testing.vectors", description=__doc__)
    parser.add_argument(
        "directory", nargs="?", type=Path, default=None, metavar="DIR", help="folder of the files"
    )
    parser.add_argument("--command", help="implementation to ask over its standard input and output")
    options = parser.parse_args(arguments)
    folder = options.directory or directory()
    if options.command is None:
        return 1 if run(folder, ours) else 0
    with subprocess.Popen(  # noqa: S603 - the command is the user's own
        shlex.split(options.command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the command has no standard streams")
        failed = run(folder, dialogue(process.stdin, process.stdout))
        process.stdin.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
