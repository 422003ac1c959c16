"""The planter of bugs: its table fits the tree, and it tells a killed bug from one that survives."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_SPEC = importlib.util.spec_from_file_location("mutants", _ROOT / "tools" / "mutants.py")
mutants = importlib.util.module_from_spec(_SPEC)
sys.modules["mutants"] = mutants  # dataclasses look their own module up
_SPEC.loader.exec_module(mutants)

SOURCE = "def double(x):\n    return 2 * x\n\n\ndef half(x):\n    return x / 2\n"
TESTS = "from small import double\n\n\ndef test_double():\n    assert double(2) == 4\n"


def small(name: str, old: str, new: str, test: str = "tests/test_small.py") -> mutants.Mutant:
    return mutants.Mutant(name, "src/small.py", old, new, (test,))


@pytest.fixture
def tree(tmp_path):
    for folder, file, text in (("src", "small.py", SOURCE), ("tests", "test_small.py", TESTS)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("mutant", mutants.MUTANTS, ids=lambda mutant: mutant.name)
def test_the_table_fits_the_tree(mutant):
    assert (_ROOT / mutant.file).read_text(encoding="utf-8").count(mutant.old) == 1
    assert mutant.old != mutant.new
    for test in mutant.tests:
        file, _, name = test.partition("::")
        function = name.partition("[")[0].rpartition("::")[2]
        assert f"def {function}" in (_ROOT / file).read_text(encoding="utf-8")


def test_names_are_unique():
    names = [mutant.name for mutant in mutants.MUTANTS]
    assert len(names) == len(set(names))


def test_verdicts(tree, capsys):
    table = [
        small("caught", "2 * x", "3 * x"),
        small("unnoticed", "x / 2", "x / 3"),
        small("gone", "4 * x", "5 * x"),
        small("twice", "return", "pass"),
        small("broken", "def double", "def dou ble"),
    ]
    results = mutants.judge_all(table, tree, ("src", "tests"))
    assert {result.mutant.name: result.verdict.name for result in results} == {
        "caught": "KILLED",
        "unnoticed": "SURVIVED",
        "gone": "NOT_PLANTED",
        "twice": "NOT_PLANTED",
        "broken": "ACCIDENT",
    }
    assert "SURVIVED" in capsys.readouterr().out
    assert (tree / "src" / "small.py").read_text(encoding="utf-8") == SOURCE


def test_tests_that_fail_anyway_prove_nothing(tree):
    (tree / "tests" / "test_small.py").write_text("def test_fails():\n    assert False\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="without any mutant"):
        mutants.judge_all([small("any", "2 * x", "3 * x")], tree, ("src", "tests"))


def test_a_word_that_names_nothing_is_an_error(capsys):
    assert mutants.main(["no such thing"]) == 2
    assert "no such thing" in capsys.readouterr().out
