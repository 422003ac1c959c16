"""The faults that the tests must notice: planted by hand in ``planted/``, and drawn by a stock mutation tool.

A fault is a replacement of text in one file: ``old`` stands there exactly once and becomes ``new``. ``part``
is the part of the core that it is in, ``category`` what kind of mistake it is.
"""

from __future__ import annotations

import ast
import hashlib
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PLANTED = ROOT / "tools" / "planted"
DRAWN = ROOT / "tools" / "mutants_drawn.toml"
KILLERS = ROOT / "tools" / "mutants_killers.json"

PARTS = ("wire", "crypto", "transport", "protocol", "swarm", "manifest")
CATEGORIES = ("dropped check", "off-by-one bound", "swapped field", "missing timer", "wrong order", "leak")
ELSEWHERE = "elsewhere"
"""The part of faults outside of the core: drivers, storage, the learning side."""


@dataclass(frozen=True)
class Fault:
    """One fault: ``old`` becomes ``new`` in ``file``. ``tests``, where given, are those that must notice."""

    name: str
    file: str
    old: str
    new: str
    category: str
    part: str
    tests: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What a result is filed under: the same replacement in the same file has the same one."""
        text = json.dumps([self.file, self.old, self.new])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def fits(self, source: str) -> bool:
        """Tell whether the old text stands in the source exactly once."""
        return source.count(self.old) == 1

    def plant(self, source: str) -> str:
        """Return the source with the fault in it."""
        return source.replace(self.old, self.new)

    def lines(self, source: str) -> range:
        """Return the lines of the source (from 1) that change; where text is put in, the line of that."""
        same = _common(self.old, self.new)
        end = len(self.old) - _common(self.old[same:][::-1], self.new[same:][::-1])
        start = source.index(self.old)
        first = source.count("\n", 0, start + same) + 1
        last = source.count("\n", 0, max(start + same, start + end - 1)) + 1
        return range(first, last + 1)


def part_of(file: str) -> str:
    """Return the part of the core that a file belongs to."""
    pieces = file.split("/")
    inside = pieces[:2] == ["src", "quinkgl"] and len(pieces) > 3 and pieces[2] in PARTS
    return pieces[2] if inside else ELSEWHERE


def _common(left: str, right: str) -> int:
    """Return how many characters two texts begin with alike."""
    pairs = zip(left, right, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))


def _fault(fields: dict[str, Any]) -> Fault:
    return Fault(**{**fields, "tests": tuple(fields.get("tests", ()))})


def planted(folder: Path = PLANTED) -> tuple[Fault, ...]:
    """Read the tables of a folder, one file an area: ``[[fault]]`` with the fields of :class:`Fault`."""
    return tuple(
        _fault(fields)
        for path in sorted(folder.glob("*.toml"))
        for fields in tomllib.loads(path.read_text(encoding="utf-8"))["fault"]
    )


def drawn(path: Path = DRAWN) -> tuple[Fault, ...]:
    """Read the faults that ``mutants.py draw`` wrote down."""
    if not path.exists():
        return ()
    return tuple(_fault(fields) for fields in tomllib.loads(path.read_text(encoding="utf-8"))["fault"])


def killers(path: Path = KILLERS) -> dict[str, str]:
    """Read which test was seen to notice each fault, by the fault's key."""
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def statement_lines(source: str, lines: range) -> tuple[set[int], ast.AST | None]:
    """Return all lines of the statements that some lines are part of, and where these run.

    The second value is the function whose body they are in; a class, or None for the module, where they run
    when the module is imported.
    """
    found: set[int] = set()
    place: ast.AST | None = None

    def walk(node: ast.AST, inside: ast.AST | None) -> None:
        nonlocal place
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                body = getattr(child, "body", None)
                first = min([child.lineno, *(each.lineno for each in getattr(child, "decorator_list", ()))])
                last = body[0].lineno - 1 if body else child.end_lineno or child.lineno
                own = range(first, max(first, last) + 1)
                if any(line in own for line in lines):
                    found.update(own)
                    place = inside
            is_scope = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            walk(child, child if is_scope else inside)

    walk(ast.parse(source), None)
    return found or set(lines), place
