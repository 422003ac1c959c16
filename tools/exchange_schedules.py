"""Hold the two-sided exchange to its promise at length: many random schedules, and the larger small worlds.

Prints what happened and exits with 1 at the first exchange that ends one-sided, with the seed that shows it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Sequence

from quinkgl.testing.exchange_schedules import run_schedule
from quinkgl.testing.exchange_world import Budgets, World

A, B, C = (bytes([letter]) * 32 for letter in b"abc")
PAIR, THREE = {A: 100, B: 7}, {A: 100, B: 7, C: -3}

WORLDS: dict[str, tuple[dict[bytes, int], Budgets, int]] = {
    "both crash": (PAIR, Budgets(((A, B),), crashes=(A, B)), 1),
    "the responder crashes and answers twice": (PAIR, Budgets(((A, B),), crashes=(B,)), 2),
    "both sessions break": (PAIR, Budgets(((A, B),), breaks=(A, B)), 1),
    "both rounds end": (PAIR, Budgets(((A, B),), rounds=(A, B)), 1),
    "the initiator crashes and the responder's round ends": (
        PAIR,
        Budgets(((A, B),), crashes=(A,), rounds=(B,)),
        1,
    ),
}
LARGE: dict[str, tuple[dict[bytes, int], Budgets, int]] = {
    "each offers": (PAIR, Budgets(((A, B), (B, A))), 1),
    "three peers in a chain": (THREE, Budgets(((A, B), (B, C))), 1),
}
BRISK: dict[str, tuple[dict[bytes, int], Budgets, int]] = {
    "three peers, and the middle one crashes": (THREE, Budgets(((A, B), (B, C)), crashes=(B,)), 1),
    "each offers, and one crashes": (PAIR, Budgets(((A, B), (B, A)), crashes=(A,)), 1),
}
"""Members of these act on all that they are told at once."""


def schedule(seed: int) -> tuple[int, Counter[str], str]:
    """Run one schedule in a worker."""
    try:
        result = run_schedule(seed)
    except AssertionError as error:
        return seed, Counter(), str(error) or "a check failed"
    return seed, Counter({name: getattr(result, name) for name in result.__slots__}), ""


def explore(name: str) -> tuple[str, int, int]:
    """Walk one world in a worker."""
    numbers, budgets, answers = {**WORLDS, **BRISK, **LARGE}[name]
    world = World(numbers, budgets, answers=answers, brisk=name in BRISK)
    return name, world.walk(), len(world.judged)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--schedules", type=int, default=100_000, help="how many (default %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="first seed (default %(default)s)")
    parser.add_argument("--worlds", action="store_true", help="walk the larger worlds too")
    parser.add_argument("--large", action="store_true", help="and those of a million states (minutes)")
    parser.add_argument("--processes", type=int, default=2, help="workers (default %(default)s)")
    options = parser.parse_args(arguments)
    began, totals = time.monotonic(), Counter[str]()
    with multiprocessing.Pool(options.processes) as pool:
        seeds = range(options.first, options.first + options.schedules)
        for seed, counts, fault in pool.imap_unordered(schedule, seeds, chunksize=64):
            if fault:
                print(f"schedule {seed}: {fault}\nagain: {sys.argv[0]} --first {seed} --schedules 1")
                return 1
            totals += counts
        shown = ", ".join(f"{name} {totals[name]}" for name in ("committed", "late", "crashes", "rounds"))
        print(f"{options.schedules} schedules: none ended one-sided, every sum kept ({shown})")
        worlds = [*((*WORLDS, *BRISK) if options.worlds else ()), *(LARGE if options.large else ())]
        if worlds:
            for name, states, judged in pool.imap(explore, worlds):
                print(f"{name}: {states} states, {judged} of the members alone; none ends one-sided")
    print(f"{time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
