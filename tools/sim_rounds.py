"""Run the world of 500 peers in three processes with different hash seeds, and judge time and trace hash.

    python tools/sim_rounds.py

Each process must end well within the limit of seconds, and all must print the same trace hash. They run one
after the other, so each has the machine for itself. Exit code 1 where one fails.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

_HASH_SEEDS = (0, 1, 4_000_000_007)


def run(hash_seed: int, peers: int, seed: int) -> tuple[str, float, bool]:
    """Run one process; return its trace hash, its wall-clock seconds, and whether it ended well."""
    command = [sys.executable, "-m", "quinkgl.testing.sim", "--scenario", "rounds500"]
    command += ["--peers", str(peers), "--seed", str(seed)]
    started = time.perf_counter()
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - started
    print(f"PYTHONHASHSEED={hash_seed} {' '.join(command[1:])}: {seconds:.1f} s", flush=True)
    print("    " + done.stdout.strip().replace("\n", "\n    "), flush=True)
    lines = done.stdout.splitlines()
    return (lines[-1] if lines else done.stderr), seconds, done.returncode == 0


def main(arguments: list[str] | None = None) -> int:
    """Run the three and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peers", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=60.0, help="wall-clock seconds for each process")
    options = parser.parse_args(arguments)
    results = [run(hash_seed, options.peers, options.seed) for hash_seed in _HASH_SEEDS]
    slowest = max(seconds for _, seconds, _ in results)
    hashes = {digest for digest, _, _ in results}
    good = all(well for _, _, well in results) and len(hashes) == 1 and slowest < options.limit
    print(f"{'passed' if good else 'FAILED'}: slowest {slowest:.1f} s, {len(hashes)} trace hash(es)")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
