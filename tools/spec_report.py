"""Trace every rule of the specification to the tests, vectors and code that answer for it.

The rules of `spec/*.md` are extracted into `spec/requirements.toml`. A test says which of them it would
catch a breach of, with the mark `req("S-012", …)`; a vector lists them under `req`; code cites them in
comments. Here all of it is brought together as a matrix, `build/spec-report.md`, with a summary printed.

The exit code is 1, with one line for each breach, where a rule that binds has no test and no exception in
`spec/exceptions.toml`, where an exception has no reason or a test all the same, where a mark, a vector or a
comment names a rule that does not exist, and where chapter 17 names a test that does not. With `--check` the
index is only compared, otherwise it is written.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

RULE = re.compile(r"\*\*\[([A-Z]-[0-9]{3})\]\*\*")
CITED = re.compile(r"\b([A-Z]-[0-9]{3})(?: to ([A-Z]-[0-9]{3}))?(?![0-9-])")
NORMS = re.compile(r"\b(MUST NOT|MUST|SHOULD NOT|SHOULD|MAY)\b")
SENTENCE_END = re.compile(r"(?<=[.!?:;])\s+(?=[A-Z0-9*`(])")
THREAT = re.compile(r"^\| (X-[0-9]{3}) \|")
SHOWN_BY = re.compile(r"`(tests/[^`:]+\.py)::([^`]+)`")

MOST_EXCEPTIONS = 15
LEAST_REASON_CHARACTERS = 40
LEVELS = ("MUST", "SHOULD", "MAY", "states")
"""How far a rule binds: by its strongest word. One that states how something is, without any of the words,
binds like a MUST: the bytes of a format are no less binding than what is done with them."""
BINDING = ("MUST", "states")


@dataclass(frozen=True)
class Requirement:
    """One rule of a chapter; its sentence is the first with a norm: who acts and what is seen."""

    id: str
    chapter: str
    section: str
    norms: tuple[str, ...]
    sentence: str

    @property
    def level(self) -> str:
        """The strongest word of the rule."""
        for level in ("MUST", "SHOULD", "MAY"):
            if any(norm.startswith(level) for norm in self.norms):
                return level
        return "states"


@dataclass
class Evidence:
    """What answers for one rule."""

    tests: set[str] = field(default_factory=set)
    vectors: dict[str, int] = field(default_factory=dict)
    code: set[str] = field(default_factory=set)
    second: set[str] = field(default_factory=set)


@dataclass
class Report:
    """Rules, what answers for them, and what is wrong."""

    requirements: dict[str, Requirement]
    evidence: dict[str, Evidence]
    exceptions: dict[str, str]
    threats: dict[str, list[str]]
    breaches: list[str]


# --- the rules ---


def requirements_of(path: Path) -> Iterator[Requirement]:
    """Yield the rules of one chapter, each with its text up to the next rule or heading."""
    heading = rule = ""
    lines: list[str] = []

    def made() -> Iterator[Requirement]:
        if rule:
            text = "\n".join(lines)
            norms = tuple(dict.fromkeys(NORMS.findall(text)))
            yield Requirement(rule, path.name, heading, norms, actor_sentence(lines))

    for line in path.read_text(encoding="utf-8").splitlines():
        found = RULE.search(line)
        if found or line.startswith("#"):
            yield from made()
            rule = found[1] if found else ""
            heading = heading if found else line.lstrip("# ")
            lines = [line[found.end() :]] if found else []
        else:
            lines.append(line)
    yield from made()


def actor_sentence(lines: list[str]) -> str:
    """Return the first sentence of a rule that has a norm word, or else its first sentence."""
    item = [lines[0]]
    for line in lines[1:]:
        if not line.startswith(" "):
            break
        item.append(line)
    sentences = SENTENCE_END.split(" ".join(part.strip() for part in item).strip())
    return next((sentence for sentence in sentences if NORMS.search(sentence)), sentences[0])


def read_requirements(spec: Path, breaches: list[str]) -> dict[str, Requirement]:
    """Read the rules of all chapters, in their order."""
    found: dict[str, Requirement] = {}
    for path in sorted(spec.glob("[0-9]*.md")):
        for requirement in requirements_of(path):
            if requirement.id in found:
                breaches.append(f"spec/{path.name}: {requirement.id} was given before")
            found[requirement.id] = requirement
    return found


def index_text(requirements: dict[str, Requirement]) -> str:
    """Write the index as TOML."""
    lines = ["# The rules of the chapters. Made by tools/spec_report.py; do not edit.", ""]
    for requirement in requirements.values():
        norms = ", ".join(f'"{norm}"' for norm in requirement.norms)
        lines += [
            f"[{requirement.id}]",
            f'chapter = "{requirement.chapter}"',
            f"section = {json.dumps(requirement.section, ensure_ascii=False)}",
            f"norms = [{norms}]",
            f"text = {json.dumps(requirement.sentence, ensure_ascii=False)}",
            "",
        ]
    return "\n".join(lines)


def read_threats(spec: Path) -> dict[str, list[str]]:
    """Read the rows of the chapter on security, each with the tests that it names."""
    path = spec / "17-security.md"
    if not path.exists():
        return {}
    rows = [line for line in path.read_text(encoding="utf-8").splitlines() if THREAT.match(line)]
    return {line[2:7]: ["::".join(found) for found in SHOWN_BY.findall(line)] for line in rows}


# --- the tests ---


def dotted(node: ast.expr) -> str:
    """Return `a.b.c` for such an expression, otherwise nothing."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def is_mark(node: ast.AST) -> bool:
    """Whether an expression is `pytest.mark.req(…)`."""
    return isinstance(node, ast.Call) and dotted(node.func).endswith("mark.req")


class MarkReader:
    """Reads the marks of one test module: of itself, of classes, of functions, and of single parameters."""

    def __init__(self, path: Path, root: Path, breaches: list[str]) -> None:
        """Parse the module."""
        self.name = path.relative_to(root).as_posix()
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.breaches = breaches
        self.found: dict[str, set[str]] = {}
        self.names: set[str] = set()
        self._used: set[ast.AST] = set()
        self._values = {
            target.id: statement.value
            for statement in self.tree.body
            if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None
            for target in (statement.targets if isinstance(statement, ast.Assign) else [statement.target])
            if isinstance(target, ast.Name)
        }

    def read(self) -> None:
        """Collect rules by test, and complain of marks that no test carries."""
        self._body(self.tree.body, "", self._assigned(self.tree.body))
        for node in ast.walk(self.tree):
            if is_mark(node) and node not in self._used:
                self.breaches.append(f"{self.name}:{node.lineno}: a mark that no test carries")

    def _body(self, body: list[ast.stmt], prefix: str, inherited: set[str]) -> int:
        """Read functions and classes; return how many tests there are."""
        count = 0
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test"):
                self._add(prefix + node.name, inherited | self._ids(node.decorator_list))
                count += 1
            elif isinstance(node, ast.ClassDef):
                own = inherited | self._ids(node.decorator_list) | self._assigned(node.body)
                inner = self._body(node.body, f"{prefix}{node.name}::", own)
                if not inner and own - inherited:  # its tests are inherited, or made from its steps
                    self._add(prefix + node.name, own)
                count += inner
            elif isinstance(node, ast.Assign) and any(
                isinstance(part, ast.Attribute) and part.attr == "TestCase" for part in ast.walk(node.value)
            ):
                target = node.targets[0]
                if isinstance(target, ast.Name):
                    self._add(prefix + target.id, inherited | self._ids([node.value]))
                    count += 1
        return count

    def _assigned(self, body: list[ast.stmt]) -> set[str]:
        """Rules of a `pytestmark` in a module or class."""
        values = [
            node.value
            for node in body
            if isinstance(node, ast.Assign)
            and any(isinstance(target, ast.Name) and target.id == "pytestmark" for target in node.targets)
        ]
        return self._ids(values)

    def _ids(self, nodes: list[ast.expr]) -> set[str]:
        """Rules of the marks anywhere in these expressions, module constants that they name included."""
        found: set[str] = set()
        waiting: list[ast.AST] = list(nodes)
        followed: set[str] = set()
        while waiting:
            node = waiting.pop()
            if is_mark(node):
                found |= self._of_mark(node)
            elif isinstance(node, ast.Name) and node.id in self._values and node.id not in followed:
                followed.add(node.id)
                waiting.append(self._values[node.id])
            else:
                waiting.extend(ast.iter_child_nodes(node))
        return found

    def _of_mark(self, node: ast.Call) -> set[str]:
        self._used.add(node)
        ids = {
            part.value for part in node.args if isinstance(part, ast.Constant) and isinstance(part.value, str)
        }
        if not ids or len(node.args) != len(ids) or node.keywords:
            self.breaches.append(
                f"{self.name}:{node.lineno}: a mark names its rules as different plain strings"
            )
        return ids

    def _add(self, name: str, ids: set[str]) -> None:
        self.names.add(name)
        self.names.add(name.rpartition("::")[2])
        for rule in ids:
            self.found.setdefault(rule, set()).add(f"{self.name}::{name}")


# --- vectors and code ---


def read_vectors(spec: Path, evidence: dict[str, Evidence], breaches: list[str]) -> None:
    """Count for each rule the vectors that name it, by file."""
    for path in sorted((spec / "vectors").glob("*.json")):
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for vector in document.get("tests", []):
            for rule in vector.get("req", []):
                if rule in evidence:
                    vectors = evidence[rule].vectors
                    vectors[path.stem] = vectors.get(path.stem, 0) + 1
                else:
                    breaches.append(f"spec/vectors/{path.name}: a vector names {rule}, which is no rule")


def read_citations(folder: Path, root: Path, known: list[str], breaches: list[str]) -> dict[str, set[str]]:
    """Find the rules that the comments and strings of a source tree name; "S-060 to S-063" names four."""
    found: dict[str, set[str]] = {}
    letters = {rule[0] for rule in known}
    for path in sorted(folder.rglob("*.py")) if folder.exists() else []:
        name = path.relative_to(root).as_posix()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for first, last in CITED.findall(line):
                if first[0] not in letters:
                    continue
                ends = (first, last or first)
                wrong = sorted(set(ends) - set(known))
                breaches.extend(f"{name}:{number}: {rule} is cited, which is no rule" for rule in wrong)
                for rule in known:
                    if ends[0] <= rule <= ends[1]:
                        found.setdefault(rule, set()).add(name)
    return found


# --- judging ---


def read_exceptions(spec: Path, breaches: list[str]) -> dict[str, str]:
    """Read the rules that no test can observe, each with the reason."""
    path = spec / "exceptions.toml"
    if not path.exists():
        return {}
    entries = tomllib.loads(path.read_text(encoding="utf-8"))
    reasons = {rule: str(entry.get("reason", "")).strip() for rule, entry in entries.items()}
    for rule, reason in reasons.items():
        if len(reason) < LEAST_REASON_CHARACTERS or not reason.endswith("."):
            breaches.append(f"spec/exceptions.toml: {rule} needs a whole sentence as its reason")
    if len(reasons) > MOST_EXCEPTIONS:
        breaches.append(f"spec/exceptions.toml: {len(reasons)} exceptions, at most {MOST_EXCEPTIONS}")
    return reasons


def judge(report: Report) -> None:
    """Add a breach for each binding rule without a test, and for each exception that is none."""
    for rule, requirement in report.requirements.items():
        tested = bool(report.evidence[rule].tests)
        excepted = rule in report.exceptions
        if requirement.level in BINDING and not tested and not excepted:
            report.breaches.append(
                f"spec/{requirement.chapter}: {rule} has no test and no exception: {requirement.sentence}"
            )
        if excepted and tested:
            report.breaches.append(f"spec/exceptions.toml: {rule} is tested; take it out")
        if excepted and requirement.level not in BINDING:
            report.breaches.append(f"spec/exceptions.toml: {rule} binds nobody; take it out")
    for rule in sorted(set(report.exceptions) - set(report.requirements)):
        report.breaches.append(f"spec/exceptions.toml: {rule} is no rule")


def make(root: Path) -> Report:
    """Bring everything together for the tree at `root`."""
    spec, breaches = root / "spec", []
    requirements = read_requirements(spec, breaches)
    evidence = {rule: Evidence() for rule in requirements}
    names: dict[str, set[str]] = {}
    for path in sorted((root / "tests").rglob("*.py")):
        reader = MarkReader(path, root, breaches)
        reader.read()
        names[reader.name] = reader.names
        for rule, tests in sorted(reader.found.items()):
            if rule in evidence:
                evidence[rule].tests |= tests
            else:
                breaches.append(f"{min(tests)}: marked with {rule}, which is no rule")
    threats = read_threats(spec)
    for threat, tests in threats.items():
        if not tests:
            breaches.append(f"spec/17-security.md: {threat} names no test")
        for test in tests:
            file, _, name = test.partition("::")
            if name not in names.get(file, ()):
                breaches.append(f"spec/17-security.md: {threat} names {test}, which does not exist")
    read_vectors(spec, evidence, breaches)
    known = [*requirements, *threats]
    for rule, files in read_citations(root / "src", root, known, breaches).items():
        if rule in evidence:
            evidence[rule].code |= files
    for rule, files in read_citations(spec / "ref", root, known, breaches).items():
        if rule in evidence:
            evidence[rule].second |= files
    report = Report(requirements, evidence, read_exceptions(spec, breaches), threats, breaches)
    judge(report)
    return report


# --- writing ---


def summary(report: Report) -> list[list[str]]:
    """Count by chapter, and in all."""
    chapters = list(dict.fromkeys(requirement.chapter for requirement in report.requirements.values()))
    rows = [
        [
            "chapter",
            "binding",
            "tested",
            "by vectors",
            "exceptions",
            "in code",
            "SHOULD",
            "tested",
            "MAY",
            "tested",
        ]
    ]
    for chapter in [*chapters, "all rules"]:
        own = [item for item in report.requirements.values() if chapter in (item.chapter, "all rules")]
        binding = [item.id for item in own if item.level in BINDING]
        should = [item.id for item in own if item.level == "SHOULD"]
        may = [item.id for item in own if item.level == "MAY"]
        tested = {item.id for item in own if report.evidence[item.id].tests}
        counts = [
            len(binding),
            len(tested & set(binding)),
            sum(bool(report.evidence[rule].vectors) for rule in binding),
            sum(rule in report.exceptions for rule in binding),
            sum(bool(report.evidence[item.id].code) for item in own),
            len(should),
            len(tested & set(should)),
            len(may),
            len(tested & set(may)),
        ]
        rows.append([chapter.removesuffix(".md"), *map(str, counts)])
    return rows


def aligned(rows: list[list[str]]) -> Iterator[str]:
    """Lay rows out for a terminal: the first column to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        yield "  ".join(cells).rstrip()


def table(rows: list[list[str]]) -> Iterator[str]:
    """Make the lines of a Markdown table; the first row is its head."""
    for number, row in enumerate(rows):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
        if number == 0:
            yield "|" + "---|" * len(row)


def matrix(report: Report) -> str:
    """Write the whole report as a page."""
    lines = ["# Rules of the specification, and what answers for them", "", *table(summary(report)), ""]
    lines += ["## Breaches", "", *(f"- {breach}" for breach in report.breaches or ["none"]), ""]
    if report.exceptions:
        lines += ["## Exceptions", ""]
        lines += [*table([["rule", "why no test can observe it"], *map(list, report.exceptions.items())]), ""]
    chapter = ""
    rows: list[list[str]] = []
    for rule, requirement in report.requirements.items():
        if requirement.chapter != chapter:
            lines += [*table(rows), ""] if rows else []
            chapter = requirement.chapter
            lines += [f"## {chapter}", ""]
            rows = [["rule", "binds by", "says", "tests", "vectors", "code", "second implementation"]]
        own = report.evidence[rule]
        rows.append(
            [
                rule,
                ", ".join(requirement.norms) or "stating",
                requirement.sentence,
                "<br>".join(sorted(own.tests)) or ("exception" if rule in report.exceptions else "–"),
                "<br>".join(f"{name} × {count}" for name, count in sorted(own.vectors.items())) or "–",
                "<br>".join(sorted(own.code)) or "–",
                "<br>".join(sorted(own.second)) or "–",
            ]
        )
    lines += [*table(rows), ""] if rows else []
    lines += ["## 17-security.md", ""]
    lines += table(
        [["threat", "tests"], *([threat, "<br>".join(tests)] for threat, tests in report.threats.items())]
    )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write or compare the index, write the matrix, and print the summary and every breach."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--check", action="store_true", help="do not write spec/requirements.toml; compare it"
    )
    parser.add_argument("--root", type=Path, default=ROOT, help="the tree to look at")
    parser.add_argument("--out", type=Path, help="where the matrix goes; build/spec-report.md without")
    options = parser.parse_args()
    root: Path = options.root
    report = make(root)
    index = root / "spec" / "requirements.toml"
    text = index_text(report.requirements)
    if not index.exists() or index.read_text(encoding="utf-8") != text:
        if options.check:
            report.breaches.append(
                "spec/requirements.toml: differs from the chapters; run tools/spec_report.py"
            )
        else:
            index.write_text(text, encoding="utf-8")
            print("spec/requirements.toml: written")
    out: Path = options.out or root / "build" / "spec-report.md"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(matrix(report), encoding="utf-8")
    print("\n".join(aligned(summary(report))))
    shown = sum(map(len, report.threats.values()))
    print(f"17-security: {len(report.threats)} threats, shown by {shown} tests")
    for breach in report.breaches:
        print(f"BREACH {breach}")
    print(f"{len(report.breaches)} breaches; the matrix is in {out}")
    sys.exit(1 if report.breaches else 0)


if __name__ == "__main__":
    main()
