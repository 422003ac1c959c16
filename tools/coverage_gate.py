"""Measure the branch coverage of the protocol side, package by package, and fail below the gate.

Runs the tests of `wire`, `crypto`, `transport` and `protocol` alone, so that code counts as covered only
where its own tests reach it and not because a driver happened to run through it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("wire", "crypto", "transport", "protocol")
MINIMUM_PERCENT = 95.0


def measure(report: Path) -> None:
    """Run the four test folders under branch coverage and write the JSON report."""
    tests = [str(ROOT / "tests" / package) for package in PACKAGES]
    options = ["-q", "-n", "2", "--cov", "--cov-branch", "--cov-report=term", f"--cov-report=json:{report}"]
    result = subprocess.run([sys.executable, "-m", "pytest", *options, *tests], cwd=ROOT, check=False)
    if result.returncode != 0:
        raise SystemExit(f"coverage_gate: the tests failed (pytest exit code {result.returncode})")


def percent(report: dict[str, dict[str, dict[str, dict[str, int]]]], package: str) -> float:
    """Covered lines and branches of one package, in per cent of all of them."""
    covered = total = 0
    marker = f"quinkgl/{package}/"
    for path, entry in report["files"].items():
        if marker in path.replace("\\", "/"):
            summary = entry["summary"]
            covered += summary["covered_lines"] + summary["covered_branches"]
            total += summary["num_statements"] + summary["num_branches"]
    if total == 0:
        raise SystemExit(f"coverage_gate: no line of quinkgl.{package} was measured")
    return 100.0 * covered / total


def main() -> None:
    """Print one line a package; exit 1 when any is below the gate."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coverage.json"
        measure(path)
        report = json.loads(path.read_text(encoding="utf-8"))
    failed = False
    for package in PACKAGES:
        value = percent(report, package)
        failed |= value < MINIMUM_PERCENT
        verdict = "ok " if value >= MINIMUM_PERCENT else "LOW"
        print(f"{verdict} quinkgl.{package:<10} {value:6.2f} % (gate {MINIMUM_PERCENT} %)")
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
