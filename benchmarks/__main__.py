"""Run the benchmarks and write the table; see the package's description."""

from __future__ import annotations

import argparse
import datetime as dt
import sys
import time
from pathlib import Path

from benchmarks.groups import FULL, GROUPS, QUICK
from benchmarks.table import machine

RESULTS = Path(__file__).with_name("RESULTS.md")
_HEAD = """# What was measured

Made by `make bench`; never written by hand. Payload is delivered, verified bytes of an update: session,
recovery, congestion control, gossip's judgement, Merkle check and the copy into one buffer are all in it.
Every peer is measured in the same run as we are, in turn, over the loopback interface between two
processes. Medians, with the lowest and the highest of the rounds. Absolute figures move with the machine
and its load; look at the ratios. S is the size of the object.
"""


def main() -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=list(GROUPS), help="only this group, printed")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and smaller sizes")
    parser.add_argument("--runs", type=int, default=2, help="how often all is run for the table")
    parser.add_argument("--report-only", action="store_true", help="exit with 0 whatever the ratios")
    arguments = parser.parse_args()
    plan = QUICK if arguments.quick else FULL

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    runs = 1 if arguments.only else arguments.runs
    parts: list[str] = []
    for run in range(runs):
        if runs > 1:
            parts.append(f"## Run {run + 1} of {runs}")
        started = time.monotonic()
        for name in arguments.only or GROUPS:
            parts += GROUPS[name](plan, tell)
        tell(f"run {run + 1}: {time.monotonic() - started:.0f} s")
    text = "\n\n".join(parts)
    print(text)
    if not arguments.only and not arguments.quick:
        today = dt.datetime.now(dt.UTC).date()
        head = f"{_HEAD}\n{today}: {machine()}."
        RESULTS.write_text(f"{head}\n\n{text}\n", encoding="utf-8")
    return 1 if "| NO |" in text and not arguments.report_only else 0


if __name__ == "__main__":
    sys.exit(main())
