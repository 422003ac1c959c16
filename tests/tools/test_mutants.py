"""The planter of faults: its tables fit the tree, and it tells what is noticed from what is not."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(_ROOT / "tools"))

import mutants  # noqa: E402
import mutants_faults  # noqa: E402
import mutants_map  # noqa: E402

PLANTED = mutants_faults.planted()

SOURCE = '''"""Two functions and a constant."""

FACTOR = 2


def double(x):
    while x != x:
        pass
    return FACTOR * x


def half(x):
    return x / 2
'''
TESTS = """import pytest

from small import double


@pytest.mark.parametrize("x", [1, 2])
def test_double(x):
    assert double(x) == x + x


def test_double_of_zero():
    assert double(0) == 0
"""
FILES = {"src/small.py": SOURCE, "tests/test_small.py": TESTS}


def small(name: str, old: str, new: str, *tests: str) -> mutants_faults.Fault:
    return mutants_faults.Fault(name, "src/small.py", old, new, "dropped check", "elsewhere", tests)


@pytest.fixture
def tree(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def judge(table, tree, **options):
    groups = [mutants_map.Group("tests/test_small.py", ("tests/test_small.py",), 0.0)]
    options = {"budget_s": float("inf"), **options}
    outcomes = mutants.run([(fault, groups) for fault in table], tree, {}, 1, **options)
    return {outcome.name: outcome for outcome in outcomes}


# The tables


@pytest.mark.parametrize("fault", PLANTED, ids=lambda fault: fault.name)
def test_the_table_fits_the_tree(fault):
    source = (_ROOT / fault.file).read_text(encoding="utf-8")
    assert fault.fits(source)
    assert fault.old != fault.new
    compile(fault.plant(source), fault.file, "exec")
    assert fault.part == mutants_faults.part_of(fault.file)
    assert fault.category in mutants_faults.CATEGORIES
    for test in fault.tests:
        file, _, name = test.partition("::")
        function = name.partition("[")[0].rpartition("::")[2]
        assert f"def {function}" in (_ROOT / file).read_text(encoding="utf-8")


def test_no_fault_is_planted_twice():
    names = [fault.name for fault in (*PLANTED, *mutants_faults.drawn())]
    keys = [fault.key for fault in (*PLANTED, *mutants_faults.drawn())]
    assert len(names) == len(set(names))
    assert len(keys) == len(set(keys))


# The lines of a fault


def test_the_lines_of_a_fault_are_those_that_change():
    assert list(small("one", "    return FACTOR * x\n", "    return FACTOR + x\n").lines(SOURCE)) == [9]
    assert list(small("two", "x:\n        pass\n", "x:\n        break\n").lines(SOURCE)) == [8]
    assert list(small("put in", "    return x / 2", "    x += 1\n    return x / 2").lines(SOURCE)) == [13]


def test_a_fault_in_a_function_needs_the_tests_that_run_its_line():
    coverage = mutants_map.CoverageMap(
        {
            "src/small.py": {
                7: ["tests/a.py::a"],
                9: ["tests/a.py::a", "tests/a.py::b"],
                13: ["tests/a.py::c"],
            }
        },
        {"tests/a.py::a": 2.0, "tests/a.py::b": 1.0, "tests/a.py::c": 1.0},
        {"src/small.py": SOURCE},
    )
    fault = small("one", "FACTOR * x", "FACTOR + x")
    assert coverage.covering(fault) == {"tests/a.py::a", "tests/a.py::b"}
    assert coverage.groups(fault) == [
        mutants_map.Group("tests/a.py", ("tests/a.py::b", "tests/a.py::a"), 3.0)
    ]
    assert len(coverage.covering(small("constant", "FACTOR = 2", "FACTOR = 3"))) == 3


# Verdicts


def test_verdicts(tree, capsys):
    table = [
        small("noticed", "FACTOR * x", "3 * x"),
        small("unnoticed", "x / 2", "x / 3"),
        small("gone", "4 * x", "5 * x"),
        small("twice", "return", "pass"),
        small("no Python", "def double", "def dou ble"),
        small("no import", "def double", "def other"),
    ]
    outcomes = judge(table, tree)
    assert {name: outcome.verdict.name for name, outcome in outcomes.items()} == {
        "noticed": "KILLED",
        "unnoticed": "SURVIVED",
        "gone": "NOT_PLANTED",
        "twice": "NOT_PLANTED",
        "no Python": "ACCIDENT",
        "no import": "KILLED",
    }
    assert outcomes["noticed"].test == "tests/test_small.py::test_double[1]"
    assert outcomes["unnoticed"].ran == 3
    assert "SURVIVED" in capsys.readouterr().out
    assert (tree / "src" / "small.py").read_text(encoding="utf-8") == SOURCE


def test_a_test_without_an_end_is_a_time_out(tree, monkeypatch):
    monkeypatch.setattr("mutants_runner.CPU_LIMIT_S", 0.5)
    outcome = judge([small("endless", "while x != x", "while x == x")], tree)["endless"]
    assert (outcome.verdict.name, outcome.verdict.is_kill) == ("TIMED_OUT", True)
    assert outcome.test == "tests/test_small.py::test_double[1]"


def test_a_test_that_fails_anyway_notices_nothing(tree):
    path = tree / "tests" / "test_small.py"
    path.write_text("def test_fails():\n    assert False\n\n\n" + TESTS, encoding="utf-8")
    outcomes = judge([small("unnoticed", "x / 2", "x / 3"), small("noticed", "FACTOR * x", "x")], tree)
    assert outcomes["unnoticed"].verdict.name == "SURVIVED"
    assert outcomes["noticed"].test == "tests/test_small.py::test_double[1]"


def test_tests_that_fail_anyway_stop_the_short_form(tree):
    (tree / "tests" / "test_small.py").write_text("def test_fails():\n    assert False\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="without any fault"):
        judge([small("any", "FACTOR * x", "x")], tree, check_first=True)


def test_what_is_beyond_the_budget_is_counted(tree):
    tests = tuple(f"tests/test_small.py::test_double{end}" for end in ("[1]", "[2]", "_of_zero"))
    groups = [mutants_map.Group("tests/test_small.py", tests, 3.0)]
    table = [(small("unnoticed", "x / 2", "x / 3"), groups)]
    (outcome,) = mutants.run(table, tree, dict.fromkeys(tests, 1.0), 1, budget_s=2.0)
    assert (outcome.verdict.name, outcome.ran, outcome.left) == ("SURVIVED", 2, 1)


def test_a_result_is_read_back_as_it_was_written(tree):
    outcome = judge([small("noticed", "FACTOR * x", "3 * x")], tree)["noticed"]
    assert mutants.runner.outcome_from(json.loads(outcome.to_line("tree"))) == outcome


def test_a_word_that_names_nothing_is_an_error(capsys):
    assert mutants.main(["no such thing"]) == 2
    assert "no such thing" in capsys.readouterr().out
