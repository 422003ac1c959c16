"""Checks the vectors as a whole: how many, about which rules, and whether a change anywhere is noticed.

For each family: valid and invalid tests, rules named, and, with ``--every``, every field of every vector
changed at every byte in turn (long ones at 512 places) and both implementations asked again. Of a valid test
each change of an input, an intermediate value or an output has to be noticed, of an invalid one each change
of the error. How many changed inputs of invalid tests get another answer is only told: most of them stay
broken; that their bytes are the right ones shows ``tools/make_vectors.py --check``, which notices any change.

Exits with 1 where something is not noticed, or a family has fewer invalid tests than valid ones without being
one in which nothing can be refused.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "spec"))

from vectors.make.all import adapter as second  # noqa: E402 - found by the path above

from quinkgl.testing.vectors import Adapter, Vector, changes, load_vectors, unnoticed  # noqa: E402
from quinkgl.testing.vectors import adapter as first  # noqa: E402
from quinkgl.testing.vectors.core import ask  # noqa: E402

NOTHING_TO_REFUSE = {"hkdf", "cc-trace", "pmtu-trace"}


def change_all(vectors: list[Vector], asked: Adapter, count: Counter[str]) -> list[str]:
    """Change every part of every vector; return the places that were not noticed."""
    missed = []
    for vector in vectors:
        tried, places = unnoticed(asked, vector, every=True)
        count["changes"] += tried
        missed += places
        if vector.test["result"] == "invalid":
            answer = ask(asked, vector)
            for _, changed in changes(vector, "in", every=False):
                count["broken inputs"] += 1
                try:
                    count["other answers"] += ask(asked, changed) != answer
                except Exception:  # noqa: BLE001 - whatever an adapter raises at a broken input
                    count["other answers"] += 1
    return missed


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--every", action="store_true", help="change every byte in turn too (minutes)")
    every = parser.parse_args().every
    vectors = load_vectors(ROOT / "spec" / "vectors")
    total: Counter[str] = Counter()
    rules: set[str] = set()
    bad = 0
    print("| family | valid | invalid | rules |" + " changes noticed by both |" * every)
    print("|---|---|---|---|" + "---|" * every)
    for family in dict.fromkeys(vector.family for vector in vectors):
        of = [vector for vector in vectors if vector.family == family]
        results = Counter(vector.test["result"] for vector in of)
        named = {rule for vector in of for rule in vector.test["req"]}
        rules |= named
        total += results
        bad += results["invalid"] < results["valid"] and family not in NOTHING_TO_REFUSE
        row = f"| {family} | {results['valid']} | {results['invalid']} | {len(named)} |"
        if every:
            began, count = time.monotonic(), Counter[str]()
            missed = [place for asked in (first, second) for place in change_all(of, asked, count)]
            total += count
            bad += len(missed)
            row += f" {count['changes'] - len(missed)} of {count['changes']} |"
            print(f"{family}: {time.monotonic() - began:.0f} s", *missed[:20], sep="\n  ", file=sys.stderr)
        print(row, flush=True)
    print(f"| all | {total['valid']} | {total['invalid']} | {len(rules)} |" + " |" * every)
    if every:
        print(f"\nChanges, at both implementations together: {total['changes']}.")
        broken, others = total["broken inputs"], total["other answers"]
        print(f"Changed inputs of invalid tests (a sample): {broken}; {others} got another answer.")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
