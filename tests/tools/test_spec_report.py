"""The tracer of rules: where it finds rules, marks, vectors and citations, and what it calls a breach."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_SPEC = importlib.util.spec_from_file_location("spec_report", _ROOT / "tools" / "spec_report.py")
spec_report = importlib.util.module_from_spec(_SPEC)
sys.modules["spec_report"] = spec_report  # dataclasses look their own module up
_SPEC.loader.exec_module(spec_report)

CHAPTER = """# 5. A chapter

## 5.1 Part

- **[S-001]** When it rains, a node stays in. It MUST NOT go
  out; it MAY look out.
- **[S-002]** A node SHOULD whistle.

Text that explains.

- **[S-003]** Water is wet.
- **[S-004]** A node MAY sing.

## 5.2 Other part

- **[S-005]** A receiver MUST drop it.
"""
MARKS = """
import pytest
CASES = [1, pytest.param(2, marks=pytest.mark.req("S-003"))]

@pytest.mark.req("S-001", "S-002")
@pytest.mark.parametrize("case", CASES)
def test_both(case):
    assert case
"""
COMPLETE = MARKS + '\n@pytest.mark.req("S-005")\nasync def test_drop():\n    pass\n'


@pytest.fixture
def tree(tmp_path):
    for folder in ("spec", "tests/part", "src/house"):
        (tmp_path / folder).mkdir(parents=True)
    write(tmp_path, "spec/05-chapter.md", CHAPTER)
    write(tmp_path, "tests/part/test_it.py", COMPLETE)
    write(tmp_path, "src/house/code.py", "# [S-001]: see S-003 to S-005, not RFC 9002\n")
    return tmp_path


def write(tree: Path, name: str, text: str) -> None:
    (tree / name).write_text(text, encoding="utf-8")


def marked(report, rule: str) -> list[str]:
    return sorted(test.removeprefix("tests/part/test_it.py::") for test in report.evidence[rule].tests)


def test_rules_are_read_with_their_words_sentence_and_place(tree):
    rules = spec_report.make(tree).requirements
    assert {rule: item.level for rule, item in rules.items()} == {
        "S-001": "MUST",
        "S-002": "SHOULD",
        "S-003": "states",
        "S-004": "MAY",
        "S-005": "MUST",
    }
    assert rules["S-001"].norms == ("MUST NOT", "MAY")
    assert rules["S-001"].sentence == "It MUST NOT go out; it MAY look out."
    assert (rules["S-003"].section, rules["S-005"].section) == ("5.1 Part", "5.2 Other part")


def test_a_tree_in_which_everything_is_traced_has_no_breach(tree):
    report = spec_report.make(tree)
    assert report.breaches == []
    assert marked(report, "S-001") == marked(report, "S-003") == ["test_both"]
    assert report.evidence["S-004"].code == {"src/house/code.py"}
    assert report.evidence["S-002"].code == set()


@pytest.mark.parametrize(
    ("source", "tests"),
    [
        ('pytestmark = pytest.mark.req("S-005")\ndef test_a(): pass\n', ["test_a"]),
        ('pytestmark = [pytest.mark.slow, pytest.mark.req("S-005")]\ndef test_a(): pass\n', ["test_a"]),
        ('@pytest.mark.req("S-005")\nclass TestIt:\n  def test_a(self): pass\n', ["TestIt::test_a"]),
        (
            'class TestIt:\n  pytestmark = pytest.mark.req("S-005")\n  def test_a(self): pass\n',
            ["TestIt::test_a"],
        ),
        ('@pytest.mark.req("S-005")\nclass TestIt(Contract):\n  pass\n', ["TestIt"]),
        ('pytestmark = pytest.mark.req("S-005")\nTestIt = Machine.TestCase\n', ["TestIt"]),
        ('TestIt = pytest.mark.req("S-005")(Machine.TestCase)\n', ["TestIt"]),
    ],
)
def test_marks_are_found_wherever_pytest_finds_them(tree, source, tests):
    write(tree, "tests/part/test_it.py", source)
    assert marked(spec_report.make(tree), "S-005") == tests


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ('@pytest.mark.req("S-099")\ndef test_a(): pass\n', "marked with S-099, which is no rule"),
        ('@pytest.mark.req("S-005")\ndef helper(): pass\n', ":1: a mark that no test carries"),
        ("@pytest.mark.req()\ndef test_a(): pass\n", "names its rules as different plain strings"),
        (
            '@pytest.mark.req("S-005", RULE)\ndef test_a(): pass\n',
            "names its rules as different plain strings",
        ),
    ],
)
def test_a_mark_that_says_nothing_is_a_breach(tree, source, complaint):
    write(tree, "tests/part/test_wrong.py", source)
    (breach,) = spec_report.make(tree).breaches
    assert complaint in breach


def test_a_binding_rule_without_a_test_is_a_breach(tree):
    write(tree, "tests/part/test_it.py", MARKS)
    (breach,) = spec_report.make(tree).breaches
    assert breach.startswith("spec/05-chapter.md: S-005 has no test and no exception")


def test_an_exception_takes_the_place_of_a_test(tree):
    write(tree, "tests/part/test_it.py", MARKS)
    write(tree, "spec/exceptions.toml", '[S-005]\nreason = "Nobody can see from outside what was dropped."\n')
    report = spec_report.make(tree)
    assert report.breaches == []
    assert "| S-005 | Nobody can see" in spec_report.matrix(report)


@pytest.mark.parametrize(
    ("rule", "reason", "complaint"),
    [
        ("S-005", "Nobody can see from outside what was dropped.", "S-005 is tested; take it out"),
        ("S-004", "Nobody can see from outside who is singing.", "S-004 binds nobody"),
        ("S-077", "Nobody can see from outside what this should be.", "S-077 is no rule"),
    ],
)
def test_an_exception_that_is_none_is_a_breach(tree, rule, reason, complaint):
    write(tree, "spec/exceptions.toml", f'[{rule}]\nreason = "{reason}"\n')
    (breach,) = spec_report.make(tree).breaches
    assert complaint in breach


@pytest.mark.parametrize("reason", ["", "hard", "a phrase of more than forty characters but without an end"])
def test_an_exception_needs_a_reason(tree, reason):
    write(tree, "tests/part/test_it.py", MARKS)
    write(tree, "spec/exceptions.toml", f'[S-005]\nreason = "{reason}"\n')
    assert spec_report.make(tree).breaches == [
        "spec/exceptions.toml: S-005 needs a whole sentence as its reason"
    ]


def test_too_many_exceptions_are_a_breach(tree):
    rules = [f"S-{number:03d}" for number in range(100, 116)]
    write(tree, "spec/05-chapter.md", "".join(f"- **[{rule}]** It MUST.\n" for rule in rules))
    write(tree, "tests/part/test_it.py", "")
    reason = "A sentence that says why nobody can see it."
    write(tree, "spec/exceptions.toml", "".join(f'[{rule}]\nreason = "{reason}"\n' for rule in rules))
    write(tree, "src/house/code.py", "")
    assert spec_report.make(tree).breaches == ["spec/exceptions.toml: 16 exceptions, at most 15"]


def test_vectors_count_for_the_rules_that_they_list(tree):
    (tree / "spec" / "vectors").mkdir()
    tests = [{"req": ["S-001"]}, {"req": ["S-001", "S-088"]}, {}]
    write(tree, "spec/vectors/rain.json", json.dumps({"tests": tests}))
    report = spec_report.make(tree)
    assert report.evidence["S-001"].vectors == {"rain": 2}
    assert report.breaches == ["spec/vectors/rain.json: a vector names S-088, which is no rule"]


def test_code_that_cites_a_rule_that_does_not_exist_is_a_breach(tree):
    write(tree, "src/house/code.py", "# [S-001]\n# [S-066]; A-100 is none of ours\n")
    assert spec_report.make(tree).breaches == ["src/house/code.py:2: S-066 is cited, which is no rule"]


def test_a_threat_names_tests_that_exist(tree):
    row = "| X-001 | rain | roof | S-001 | `tests/part/test_it.py::{}` |\n"
    write(tree, "spec/17-security.md", row.format("test_both") + "| X-002 | snow | roof | S-001 | |\n")
    assert spec_report.make(tree).breaches == ["spec/17-security.md: X-002 names no test"]
    write(tree, "spec/17-security.md", row.format("test_gone"))
    (breach,) = spec_report.make(tree).breaches
    assert breach.endswith("names tests/part/test_it.py::test_gone, which does not exist")


def test_the_index_is_written_and_then_compared(tree, monkeypatch, capsys):
    def run(*options: str) -> int:
        monkeypatch.setattr(sys, "argv", ["spec_report.py", "--root", str(tree), *options])
        with pytest.raises(SystemExit) as ended:
            spec_report.main()
        return ended.value.code

    assert run("--check") == 1
    assert "differs from the chapters" in capsys.readouterr().out
    assert run() == 0
    assert run("--check") == 0
    assert "S-003 | stating | Water is wet." in (tree / "build" / "spec-report.md").read_text(
        encoding="utf-8"
    )
    assert "all rules" in capsys.readouterr().out
    write(tree, "spec/05-chapter.md", CHAPTER.replace("wet", "dry"))
    assert run("--check") == 1
