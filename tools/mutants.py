"""Put one fault at a time into a copy of the tree, and demand that the tests notice every one.

    python tools/mutants.py             # planted faults and 20 drawn ones, each by the test on record
    python tools/mutants.py pacing      # those whose name contains a word
    python tools/mutants.py all         # every fault, by all tests that run its lines; it can be resumed
    python tools/mutants.py record      # put what `all` found on record: the killers, the page of figures
    python tools/mutants.py draw        # draw 300 faults anew (needs the extra `mutation`)

Planted faults stand in ``planted/*.toml``, drawn ones in ``mutants_drawn.toml``. ``mutants_killers.json``
says which test noticed each, which every run of the first form verifies; ``mutants_survivors.toml`` explains
those that no test notices.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import multiprocessing.util
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import mutants_faults as faults
import mutants_map as maps
import mutants_report as report
import mutants_runner as runner
from mutants_faults import ROOT, Fault
from mutants_map import BUILD, CoverageMap, Group
from mutants_runner import Judge, Outcome, Verdict

WORKERS = 2
DRAWN_AT_ONCE = 20
"""How many drawn faults the short form judges: the first ones of each part in turn that still fit."""
BUDGET_S = 120.0
"""How many seconds of tests, by what they take without a fault, one fault is given in the long form."""


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; return the exit code."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("words", nargs="*", help="all, record or draw; else words to choose faults by")
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--budget", type=float, default=BUDGET_S, help="seconds of tests a fault (all)")
    parser.add_argument("--map", type=Path, help="a coverage map, whatever tree it is of")
    parser.add_argument("--again", action="store_true", help="judge survivors of earlier runs again (all)")
    parser.add_argument("--first", action="append", default=[], help="tests to try before all others (all)")
    parser.add_argument("--tests", action="store_true", help="try only the tests on record or named (all)")
    options = parser.parse_intermixed_args(arguments)
    verb, words = (options.words or [""])[0], options.words
    if verb == "draw":
        import mutants_draw

        mutants_draw.write(*mutants_draw.draw())
        return 0
    if verb == "record":
        return report.record(results())
    if verb == "all":
        return judge_all(choose(words[1:]), options)
    chosen = choose(words) if words else [*faults.planted(), *some_drawn()]
    if not chosen:
        print(f"mutants: no name contains {' or '.join(words)}")
        return 2
    return judge_recorded(chosen, options.workers)


def choose(words: Sequence[str]) -> list[Fault]:
    """Return the faults, planted and drawn, whose name contains one of the words; all without words."""
    every = [*faults.planted(), *faults.drawn()]
    return [fault for fault in every if not words or any(word in fault.name for word in words)]


def some_drawn(count: int = DRAWN_AT_ONCE) -> list[Fault]:
    """Return drawn faults with a test on record that still fit the tree, one of each part in turn."""
    known = faults.killers()
    by_part: dict[str, list[Fault]] = {part: [] for part in faults.PARTS}
    for fault in faults.drawn():
        path = ROOT / fault.file
        if known.get(fault.key) and path.exists() and fault.fits(path.read_text(encoding="utf-8")):
            by_part[fault.part].append(fault)
    rows = max(map(len, by_part.values()), default=0)
    return [own[row] for row in range(rows) for own in by_part.values() if row < len(own)][:count]


# -- the short form ------------------------------------------------------------------------------------------


def judge_recorded(chosen: Sequence[Fault], workers: int, root: Path = ROOT) -> int:
    """Judge faults by the tests on record; return 1 where one survives without an explanation."""
    known, explained = faults.killers(), report.survivors()
    table = []
    for fault in chosen:
        tests = (known[fault.key],) if known.get(fault.key) else fault.tests
        if fault.key not in explained:
            table.append((fault, _as_groups(tests)))
    outcomes = run(table, root, {}, workers, budget_s=float("inf"), check_first=True)
    print(f"{len(chosen) - len(table)} explained survivors were left out")
    return summary(outcomes)


def _as_groups(tests: Sequence[str]) -> list[Group]:
    by_file: dict[str, list[str]] = {}
    for test in tests:
        by_file.setdefault(test.partition("::")[0], []).append(test)
    return [Group(file, tuple(own), 0.0) for file, own in by_file.items()]


# -- the long form -------------------------------------------------------------------------------------------


def tree_name(root: Path) -> str:
    """Return the hash that results and maps of a tree are filed under."""
    return maps.tree_hash(root, maps.tree_files(root))


def results(tree: str | None = None) -> dict[str, Outcome]:
    """Return what is known of the faults in a tree, or in any, by their key: the last result of each."""
    path = BUILD / "results.jsonl"
    rows = [json.loads(row) for row in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    return {row["key"]: runner.outcome_from(row) for row in rows if tree in {None, row["tree"]}}


def judge_all(chosen: Sequence[Fault], options: argparse.Namespace) -> int:
    """Judge faults by all tests that run their lines, each result written down as it comes."""
    BUILD.mkdir(parents=True, exist_ok=True)
    tree = tree_name(ROOT)
    done = results(tree)
    todo = [
        fault
        for fault in chosen
        if fault.key not in done or (options.again and not done[fault.key].verdict.is_kill)
    ]
    print(f"tree {tree}: {len(chosen) - len(todo)} of {len(chosen)} judged before", flush=True)
    seconds: dict[str, float] = {}
    coverage: CoverageMap | None = None
    if not options.tests and todo:
        path = options.map or BUILD / f"map-{tree}.json"
        if not path.exists():
            make_map(path, options.workers)
        coverage = CoverageMap.load(path)
        seconds = coverage.seconds
    known = faults.killers()
    table = []
    for fault in todo:
        first = [*options.first, *((known[fault.key],) if known.get(fault.key) else fault.tests)]
        groups = _as_groups(first)
        if coverage is not None:
            groups += [group for group in coverage.groups(fault) if (ROOT / group.file).exists()]
        if groups or not options.tests:
            table.append((fault, groups))
    with (BUILD / "results.jsonl").open("a", encoding="utf-8") as file:

        def keep(outcome: Outcome) -> None:
            file.write(outcome.to_line(tree) + "\n")
            file.flush()

        # The tests of the map passed when it was made; the short form verifies those on record once more.
        sound = sorted(seconds)
        run(table, ROOT, seconds, options.workers, budget_s=options.budget, keep=keep, sound=sound)
    now = results(tree)
    return summary([now[fault.key] for fault in chosen if fault.key in now])


def make_map(path: Path, workers: int) -> None:
    """Make the coverage map of the tree, from a copy."""
    with tempfile.TemporaryDirectory(prefix="mutants-map-") as folder:
        tree = Path(folder) / "tree"
        maps.copy_tree(ROOT, tree, maps.tree_files(ROOT))
        maps.make(tree, path, workers)


# -- both ----------------------------------------------------------------------------------------------------

_judge: Judge


def _start(root: str, files: list[str], seconds: dict[str, float], budget_s: float, sound: list[str]) -> None:
    """Give a worker its own copy and what a fork inherits."""
    global _judge  # noqa: PLW0603 - one a process, made by the pool's initializer
    tree = Path(tempfile.mkdtemp(prefix="mutants-tree-"))
    multiprocessing.util.Finalize(None, shutil.rmtree, args=(tree, True), exitpriority=1)
    maps.copy_tree(Path(root), tree, files)
    runner.prepare_tree(tree)
    runner.preload()
    _judge = Judge(tree, seconds, budget_s, sound)


def _work(job: tuple[Fault, list[Group]]) -> Outcome:
    fault, groups = job
    return _judge.judge(fault, groups)


def run(
    table: Sequence[tuple[Fault, list[Group]]],
    root: Path,
    seconds: dict[str, float],
    workers: int,
    *,
    budget_s: float,
    keep: Callable[[Outcome], None] | None = None,
    check_first: bool = False,
    sound: Sequence[str] = (),
) -> list[Outcome]:
    """Judge faults, several at a time, each worker in a copy of its own.

    ``sound`` are tests that are known to pass without any fault; every other one that fails is tried without.
    With ``check_first`` all the tests run once without any fault, and must pass: SystemExit otherwise, since
    a failure would say nothing.
    """
    files = maps.tree_files(root)
    tests = sorted({test for _, groups in table for group in groups for test in group.tests})
    outcomes: list[Outcome] = []
    context = multiprocessing.get_context("fork")
    if check_first and tests:
        with context.Pool(1, _start, (str(root), files, seconds, budget_s, [])) as pool:
            passed, output = pool.apply(_passes, (tests,))
        if not passed:
            raise SystemExit(f"mutants: the tests fail without any fault\n{output}")
    arguments = (str(root), files, seconds, budget_s, [*sound, *(tests if check_first else ())])
    with context.Pool(max(1, min(workers, len(table))), _start, arguments) as pool:
        for outcome in pool.imap_unordered(_work, table):
            outcomes.append(outcome)
            row = f"{outcome.verdict.value:<11} {outcome.seconds:6.1f} s  {outcome.name}  {outcome.test}"
            print(row, flush=True)
            if keep is not None:
                keep(outcome)
        pool.close()
        pool.join()
    return outcomes


def _passes(tests: list[str]) -> tuple[bool, str]:
    return _judge.passes(tests)


def summary(outcomes: Sequence[Outcome]) -> int:
    """Print what survived, and how many did not; return the exit code."""
    explained = report.survivors()
    bad = [each for each in outcomes if not each.verdict.is_kill]
    for outcome in bad:
        note = f" (explained: {explained[outcome.key]})" if outcome.key in explained else ""
        rest = f", {outcome.left} tests beyond the budget" if outcome.left else ""
        print(f"\n{outcome.verdict.value}: {outcome.name}: {outcome.ran} tests ran{rest}{note}")
        if outcome.verdict in {Verdict.ACCIDENT, Verdict.NOT_PLANTED}:
            print(outcome.output)
    timed_out = sum(each.verdict is Verdict.TIMED_OUT for each in outcomes)
    print(f"{len(outcomes) - len(bad)} of {len(outcomes)} killed, {timed_out} of them by time-out")
    return 1 if any(each.key not in explained for each in bad) else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
