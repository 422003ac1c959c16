"""Find functions that two trees of Python code share: copied, renamed, or hardly changed.

A function is compared by the shape of its syntax tree. Names, attributes, constants, docstrings, annotations
and decorators are taken off first, so renaming everything in a copy does not hide it. Two functions are
clones when their shapes, written as lists of node kinds, agree in nearly all of it. Short functions are left
out: there are only so many ways to write three lines.

    python tools/clones.py spec/ref src

prints one line for each pair; the exit code is 1 where there is one.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path

LEAST_STATEMENTS, LEAST_NODES = 6, 50
"""A function with fewer statements (nested ones counted) and fewer nodes is not compared. Fifty nodes are
what five or six lines hold; lines themselves would depend on the layout."""

ALIKE = 0.9
"""Two shapes are clones when so much of them is in the same order."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
_LEFT_OUT = (ast.expr_context, ast.alias, ast.arguments, ast.arg)


@dataclass(frozen=True, slots=True)
class Shape:
    """Where a function stands, and the kinds of its nodes from top to bottom."""

    path: Path
    name: str
    line: int
    kinds: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.path}:{self.line} {self.name}"


def shape_of(function: Function) -> tuple[str, ...]:
    """Return the kinds of the nodes of a function's body with their nesting, without names and constants."""
    return tuple(kind for statement in _body(function) for kind in _kinds(statement))


def statements_of(function: Function) -> int:
    """Count the statements of a function, nested ones included, its docstring not."""
    return sum(isinstance(node, ast.stmt) for statement in _body(function) for node in ast.walk(statement))


def nodes_of(function: Function) -> int:
    """Count the nodes of a function's shape."""
    return sum(kind not in "()" for kind in shape_of(function))


def _body(function: Function) -> Sequence[ast.stmt]:
    return function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body


def _kinds(node: ast.AST) -> Iterator[str]:
    if isinstance(node, _LEFT_OUT):
        return
    yield type(node).__name__
    fields = ("target", "value") if isinstance(node, ast.AnnAssign) else node._fields
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        fields = ("body",)
    children = [child for field in fields for child in _children(getattr(node, field, None))]
    if children:
        yield "("
        for child in children:
            yield from _kinds(child)
        yield ")"


def _children(value: object) -> list[ast.AST]:
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, ast.AST)]


def shapes_in(tree: Path) -> list[Shape]:
    """Return the shapes of all functions below a folder that are long enough to say anything."""
    return [
        Shape(path, node.name, node.lineno, shape_of(node))
        for path in sorted(tree.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (statements_of(node) >= LEAST_STATEMENTS or nodes_of(node) >= LEAST_NODES)
    ]


@cache
def _counts(kinds: tuple[str, ...]) -> Counter[str]:
    return Counter(kinds)


def alike(one: tuple[str, ...], other: tuple[str, ...]) -> float:
    """Return how much of two shapes is the same in the same order, from 0 to 1.

    Cheap upper bounds come first: most pairs differ in length, or in how many nodes of each kind there are.
    """
    whole = len(one) + len(other)
    if 2 * min(len(one), len(other)) < ALIKE * whole:
        return 0.0
    if 2 * (_counts(one) & _counts(other)).total() < ALIKE * whole:
        return 0.0
    return SequenceMatcher(None, one, other, autojunk=False).ratio()


def clones(left: Path, right: Path) -> Iterator[tuple[float, Shape, Shape]]:
    """Yield the pairs of functions of two trees that are clones, with how much of them is the same."""
    others = shapes_in(right)
    for one in shapes_in(left):
        for other in others:
            share = alike(one.kinds, other.kinds)
            if share >= ALIKE:
                yield share, one, other


def main() -> int:
    """Print the clones of two trees."""
    parser = argparse.ArgumentParser(description="Find functions that two trees of Python code share.")
    parser.add_argument("left", type=Path)
    parser.add_argument("right", type=Path)
    arguments = parser.parse_args()
    found = list(clones(arguments.left, arguments.right))
    for share, one, other in found:
        print(f"{share:.2f}  {one}  =  {other}")
    counts = (len(shapes_in(tree)) for tree in (arguments.left, arguments.right))
    print("{} and {} functions compared, {} clones".format(*counts, len(found)))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
