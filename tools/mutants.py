"""Plant one bug at a time in a copy of the tree, and demand that the default suite kills every one.

Each entry of ``tools/planted/*.toml`` takes away a check that something depends on: a protection against
strangers, a bound, a recovery. It names the narrowest tests that must notice. They are run first on the tree
as it is, where they must pass, and then once for each bug, where they must fail.

    python tools/mutants.py            # all of them
    python tools/mutants.py pacing     # those whose name contains a word
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLANTED = ROOT / "tools" / "planted"
COPIED = ("src", "tests", "spec", "pyproject.toml")
WORKERS = 2
TIMEOUT_S = 120.0
_TESTS_FAILED = 1
"""What pytest exits with when tests ran and one of them failed; other codes are accidents."""


@dataclass(frozen=True)
class Mutant:
    """One bug: ``old`` stands in ``file`` exactly once and becomes ``new``; one of ``tests`` must fail."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


class Verdict(Enum):
    """What became of a mutant."""

    KILLED = "killed"
    SURVIVED = "SURVIVED"
    NOT_PLANTED = "NOT PLANTED"
    """The old text is not there exactly once: the table is out of date."""
    ACCIDENT = "ACCIDENT"
    """The tests could not be run."""


@dataclass(frozen=True)
class Result:
    """A verdict, how long it took, and the last lines of the test run."""

    mutant: Mutant
    verdict: Verdict
    seconds: float
    output: str


def load(folder: Path = PLANTED) -> tuple[Mutant, ...]:
    """Read the tables of a folder, one file an area: ``[[fault]]`` with the fields of :class:`Mutant`."""
    return tuple(
        Mutant(**{**fields, "tests": tuple(fields["tests"])})
        for path in sorted(folder.glob("*.toml"))
        for fields in tomllib.loads(path.read_text(encoding="utf-8"))["fault"]
    )


MUTANTS = load()


def copy_tree(root: Path, destination: Path, names: Sequence[str] = COPIED) -> None:
    """Copy what the tests need, without caches."""
    ignored = shutil.ignore_patterns("__pycache__", ".hypothesis")
    for name in names:
        source = root / name
        if source.is_dir():
            shutil.copytree(source, destination / name, ignore=ignored)
        elif source.exists():
            shutil.copy2(source, destination / name)


def run_tests(tree: Path, tests: Sequence[str]) -> tuple[int, str]:
    """Run tests of a tree against the sources of that tree; return pytest's exit code and its last lines."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb=line", *tests]
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command,
            cwd=tree,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return -1, f"no end after {TIMEOUT_S} s"
    return done.returncode, "\n".join(done.stdout.splitlines()[-12:])


def judge(mutant: Mutant, tree: Path) -> Result:
    """Plant one mutant in a tree, run its tests, and take it out again."""
    start = time.monotonic()
    path = tree / mutant.file
    original = path.read_text(encoding="utf-8")
    if original.count(mutant.old) != 1:
        text = f"{mutant.file} has the old text {original.count(mutant.old)} times"
        return Result(mutant, Verdict.NOT_PLANTED, 0.0, text)
    path.write_text(original.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        code, output = run_tests(tree, mutant.tests)
    finally:
        path.write_text(original, encoding="utf-8")
    verdict = {0: Verdict.SURVIVED, _TESTS_FAILED: Verdict.KILLED}.get(code, Verdict.ACCIDENT)
    return Result(mutant, verdict, time.monotonic() - start, output)


def judge_all(mutants: Sequence[Mutant], root: Path = ROOT, names: Sequence[str] = COPIED) -> list[Result]:
    """Judge each mutant in a copy of ``root``, several at a time, and print a line for each.

    SystemExit when the tests fail without any mutant: then a failure would say nothing.
    """
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as folder:
        trees = [Path(folder) / f"tree{index}" for index in range(min(WORKERS, len(mutants)))]
        for tree in trees:
            tree.mkdir()
            copy_tree(root, tree, names)
        code, output = run_tests(trees[0], sorted({test for mutant in mutants for test in mutant.tests}))
        if code != 0:
            raise SystemExit(f"mutants: the tests fail without any mutant\n{output}")

        def work(index: int) -> list[Result]:
            mine = []
            for mutant in mutants[index :: len(trees)]:
                result = judge(mutant, trees[index])
                print(f"{result.verdict.value:<11} {result.seconds:5.1f} s  {mutant.name}", flush=True)
                mine.append(result)
            return mine

        with ThreadPoolExecutor(len(trees)) as pool:
            for mine in pool.map(work, range(len(trees))):
                results += mine
    return results


def main(words: Sequence[str]) -> int:
    """Judge the mutants whose name contains one of the words, all without words; return the exit code."""
    chosen = [mutant for mutant in MUTANTS if not words or any(word in mutant.name for word in words)]
    if not chosen:
        print(f"mutants: no name contains {' or '.join(words)}")
        return 2
    results = judge_all(chosen)
    bad = [result for result in results if result.verdict is not Verdict.KILLED]
    for result in bad:
        print(f"\n{result.verdict.value}: {result.mutant.name} ({result.mutant.file})\n{result.output}")
    print(f"{len(results) - len(bad)} of {len(results)} killed")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
