"""Let objects cross bad virtual paths, 500 seeds and 100 beyond, and count what happened on the way.

    python tools/acceptance_network.py             # the whole of it, in two processes
    python tools/acceptance_network.py 17 3        # these seeds, one line each
    python tools/acceptance_network.py --beyond 5  # of the trials with 20 to 40 % loss

Every object must arrive, bit for bit, within the virtual time that ``Trial.limit_s`` states; a session may
end by itself only where its path was dead for the idle time-out; each feature must happen in 50 seeds at
least. Of the trials with 20 to 40 % loss, 95 % must complete. The exit code is 1 where one of this fails.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from quinkgl.testing.bad_paths import Feature, Outcome, Trial, run_trial

SEEDS = 500
BEYOND = 100
LEAST_OF_A_FEATURE = 50
LEAST_SHARE_BEYOND = 0.95
WORKERS = 2


def tell(outcome: Outcome, *, beyond: bool) -> None:
    """Print one outcome, with the path where it is bad."""
    good = outcome.completed and not outcome.wrong
    seen = ", ".join(feature.value for feature in outcome.features)
    print(f"seed {outcome.seed}: {outcome.seconds:.1f} of {outcome.limit_s:.0f} s; {seen}")
    for line in (*outcome.lost, *outcome.wrong):
        print(f"    {line}")
    if not good:
        print(f"    NOT COMPLETE: {outcome.completed=} {Trial.of(outcome.seed, beyond=beyond).link}")


def run_all(seeds: Sequence[int], *, beyond: bool) -> list[Outcome]:
    """Run trials in processes and tell of the bad ones."""
    with ProcessPoolExecutor(WORKERS) as pool:
        outcomes = list(pool.map(partial(run_trial, beyond=beyond), seeds, chunksize=5))
    for outcome in outcomes:
        if not outcome.completed or outcome.wrong:
            tell(outcome, beyond=beyond)
    return outcomes


def judge(outcomes: list[Outcome], *, beyond: bool) -> bool:
    """Print the sums, and say whether they are good enough."""
    complete = sum(outcome.completed for outcome in outcomes)
    wrong = sum(bool(outcome.wrong) for outcome in outcomes)
    name = "20 to 40 % loss" if beyond else "up to 20 % loss"
    slowest = max(outcome.seconds / outcome.limit_s for outcome in outcomes)
    sessions = Counter(line.split()[1] for outcome in outcomes for line in outcome.lost)
    print(f"{name}: {complete} of {len(outcomes)} complete, {wrong} with something wrong;")
    print(f"    slowest at {slowest:.0%} of its limit; sessions that ended on the way: {dict(sessions)}")
    counts = Counter(feature for outcome in outcomes for feature in outcome.features)
    if beyond:
        return not wrong and complete >= LEAST_SHARE_BEYOND * len(outcomes)
    print("    " + ", ".join(f"{feature.value} {counts[feature]}" for feature in Feature))
    enough = all(counts[feature] >= LEAST_OF_A_FEATURE for feature in Feature)
    return not wrong and complete == len(outcomes) and enough


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("seeds", type=int, nargs="*", help="run these alone")
    parser.add_argument("--beyond", action="store_true", help="of the trials with 20 to 40 %% loss")
    args = parser.parse_args()
    if args.seeds:
        for seed in args.seeds:
            tell(run_trial(seed, beyond=args.beyond), beyond=args.beyond)
        return
    started = time.monotonic()
    good = judge(run_all(range(SEEDS), beyond=False), beyond=False)
    good &= judge(run_all(range(BEYOND), beyond=True), beyond=True)
    print(f"{time.monotonic() - started:.0f} s")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
