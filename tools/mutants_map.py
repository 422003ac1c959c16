"""Which tests run which lines of the core: the default suite under coverage, with a context for each test.

The map lies in ``build/mutants/`` under the hash of the tree that it was made from, and is made anew for
another tree.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mutants_faults import PARTS, ROOT, Fault, statement_lines

BUILD = ROOT / "build" / "mutants"
NOT_RUN = ("tests/tools", "tests/docs", "tests/netns", "tests/hostile", "tests/test_packaging.py")
"""Of the tools themselves, of links, of what needs privileges, and of the wheel: they prove nothing here."""
REAL_TIME = ("tests/trio_driver", "tests/asyncio_driver", "tests/examples", "tests/test_readme.py")
"""Tests with sockets and clocks. They come last, because on a busy machine they are slow."""
SLOW_S = 4.0
"""A test that takes longer waits until every quicker one has run."""
MIRROR_SLOW_S = 30.0
"""The same in the file that mirrors the module, whose tests are the likeliest to notice."""
_OPTIONS = f"""[run]
branch = false
parallel = true
source_pkgs =
{chr(10).join("    quinkgl." + part for part in PARTS)}
"""


@dataclass(frozen=True)
class Group:
    """Tests of one file, to be run by one call of pytest, quickest first."""

    file: str
    tests: tuple[str, ...]
    seconds: float


def tree_files(root: Path) -> list[str]:
    """Return every file that the tests may read, as git names them; all files where there is no git."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0 and listed.stdout:
        return sorted(name for name in listed.stdout.splitlines() if (root / name).is_file())
    return sorted(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and not {"build", "__pycache__", ".hypothesis"} & set(path.parts)
    )


def tree_hash(root: Path, files: Sequence[str]) -> str:
    """Return a hash of sources, tests and specification: of everything that a verdict depends on."""
    digest = hashlib.sha256()
    for name in files:
        if name.startswith(("src/", "tests/", "spec/")) and not name.startswith("tests/tools/"):
            digest.update(name.encode() + b"\0" + hashlib.sha256((root / name).read_bytes()).digest())
    return digest.hexdigest()[:16]


def copy_tree(root: Path, destination: Path, files: Sequence[str]) -> None:
    """Copy the files of a tree, times included."""
    for name in files:
        target = destination / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, target)


class CoverageMap:
    """The lines of the core and the tests that run them, with what each test takes.

    ``sources`` are the files that the lines are lines of: where a file has changed since, a fault is looked
    up by its text.
    """

    def __init__(
        self, lines: dict[str, dict[int, list[str]]], seconds: dict[str, float], sources: dict[str, str]
    ) -> None:
        self.seconds = seconds
        self._sources = sources
        self._lines = lines
        self._by_part: dict[str, set[str]] = defaultdict(set)
        for test in seconds:
            pieces = test.partition("::")[0].split("/")
            if len(pieces) > 2:
                self._by_part[pieces[1]].add(test)

    @classmethod
    def load(cls, path: Path) -> CoverageMap:
        """Read a map that :func:`make` wrote."""
        stored = json.loads(path.read_text(encoding="utf-8"))
        names = list(stored["seconds"])
        lines = {
            file: {int(line): [names[index] for index in tests] for line, tests in by_line.items()}
            for file, by_line in stored["lines"].items()
        }
        return cls(lines, stored["seconds"], stored["sources"])

    def of_lines(self, file: str, lines: Iterable[int]) -> set[str]:
        """Return the tests that run any of these lines."""
        by_line = self._lines.get(file, {})
        return {test for line in lines for test in by_line.get(line, ())}

    def covering(self, fault: Fault) -> set[str]:
        """Return the tests that run what a fault changes.

        What runs when a module is imported belongs to no test: there it is the tests that run anything in
        the class or module, and those of the part; so it is where the text was another one.
        """
        source = self._sources.get(fault.file, "")
        lines: set[int] = set()
        place: ast.AST | None = None
        if fault.fits(source):
            lines, place = statement_lines(source, fault.lines(source))
        if isinstance(place, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return self.of_lines(fault.file, lines)
        if place is not None:
            lines |= set(range(place.lineno, (place.end_lineno or place.lineno) + 1))  # type: ignore[attr-defined]
        else:
            lines = set(self._lines.get(fault.file, ()))
        return self.of_lines(fault.file, lines) | self._by_part[fault.part]

    def groups(self, fault: Fault) -> list[Group]:
        """Return the covering tests in the order in which they are worth trying.

        First the test file that mirrors the module, then those of the same part, then all others, files that
        take less before those that take more; slow tests after all quick ones, sockets and clocks at the end.
        """
        module = Path(fault.file).stem
        batches: dict[tuple[int, str], list[str]] = defaultdict(list)
        for test in self.covering(fault):
            file = test.partition("::")[0]
            if file.startswith(REAL_TIME):
                rank = 9
            elif Path(file).stem == f"test_{module}":
                rank = 0
            else:
                rank = 1 if file.startswith(f"tests/{fault.part}/") else 2
            late = 5 if self.seconds[test] > (MIRROR_SLOW_S if rank == 0 else SLOW_S) else 0
            batches[min(9, rank + late), file].append(test)
        groups = [
            (rank, Group(file, tuple(sorted(tests, key=self._order)), sum(map(self.seconds.get, tests))))  # type: ignore[arg-type]
            for (rank, file), tests in batches.items()
        ]
        groups.sort(key=lambda pair: (pair[0], pair[1].seconds, pair[1].file))
        return [group for _, group in groups]

    def _order(self, test: str) -> tuple[float, str]:
        return self.seconds[test], test


def make(tree: Path, path: Path, workers: int) -> None:
    """Run the default suite of a copy under coverage and write the map to a file."""
    folder = path.parent / "coverage"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "rc").write_text(_OPTIONS + f"data_file = {folder / 'data'}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(workers), "-p", "no:cacheprovider"]
    command += ["-p", "mutants_durations", "--cov", f"--cov-config={folder / 'rc'}", "--cov-context=test"]
    command += ["--cov-report=", *(f"--ignore={name}" for name in NOT_RUN)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(tree / "src"), str(Path(__file__).parent))),
        "MUTANTS_DURATIONS": str(folder / "durations.jsonl"),
    }
    done = subprocess.run(command, cwd=tree, env=environment, check=False)
    if done.returncode not in {0, 1}:
        raise SystemExit(f"mutants: no coverage of the suite (pytest exit code {done.returncode})")
    compile_map(tree, folder / "data", folder / "durations.jsonl", path)
    shutil.rmtree(folder)


def compile_map(tree: Path, data_file: Path, durations: Path, path: Path) -> None:
    """Turn coverage's data and the durations into a map. A test that failed is in neither list."""
    from coverage import CoverageData

    seconds: dict[str, float] = defaultdict(float)
    failed: set[str] = set()
    for row in durations.read_text(encoding="utf-8").splitlines():
        test, _, outcome, taken = json.loads(row)
        seconds[test] += taken
        if outcome != "passed":
            failed.add(test)
    if failed:
        print(f"mutants: {len(failed)} tests failed or skipped without any fault, and are left out")
    kept = sorted(set(seconds) - failed)
    position = {test: index for index, test in enumerate(kept)}
    data = CoverageData(str(data_file))
    data.read()
    lines: dict[str, dict[int, list[int]]] = {}
    for file in sorted(data.measured_files()):
        if not file.startswith(str(tree)):
            continue
        by_line = {
            line: sorted({position[name] for name in map(_test_of, contexts) if name in position})
            for line, contexts in data.contexts_by_lineno(file).items()
        }
        lines[str(Path(file).relative_to(tree))] = by_line
    stored = {
        "seconds": {test: round(seconds[test], 4) for test in kept},
        "lines": lines,
        "sources": {file: (tree / file).read_text(encoding="utf-8") for file in lines},
    }
    path.write_text(json.dumps(stored), encoding="utf-8")


def _test_of(context: str) -> str:
    """Return the test of a context such as ``tests/a.py::test_b|run``."""
    return context.rpartition("|")[0]
