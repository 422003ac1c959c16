"""What import-linter cannot see: the core has no clock, no randomness, no order that hashing decides."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import quinkgl

SOURCE = Path(quinkgl.__file__).parent
PACKAGES = ("crypto", "protocol", "swarm", "transport", "wire")
CORE = [path for package in PACKAGES for path in sorted((SOURCE / package).rglob("*.py"))]
WITH_NUMPY = ("transport", "swarm")
WITH_RANDOM = ("swarm",)  # which makes the one SystemRandom where no generator is given

BANNED_MODULES = frozenset(
    [
        *("asyncio", "concurrent", "datetime", "multiprocessing", "os", "secrets", "select", "selectors"),
        *("signal", "socket", "ssl", "subprocess", "threading", "time", "trio", "uuid"),
    ]
)
ORDERED_CALLS = frozenset({"list", "tuple", "iter", "enumerate", "zip", "map", "filter", "next"})
BANNED_CALLS = frozenset({"urandom", "getrandom", "input", "open", "breakpoint", "id", "hash"})


def _type_checking_blocks(tree: ast.Module) -> set[ast.AST]:
    """Every node under `if TYPE_CHECKING:`: it never runs."""
    hidden: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for statement in node.body:
                hidden.update(ast.walk(statement))
    return hidden


def _imported_roots(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
        return [node.module.partition(".")[0]]
    return []


def _is_set(node: ast.expr) -> bool:
    """A set literal, a set comprehension, or a call of set() or frozenset()."""
    if isinstance(node, (ast.Set, ast.SetComp)):
        return True
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"set", "frozenset"}
    )


def _iterated(node: ast.AST) -> list[ast.expr]:
    """What this node iterates over in an order that shows."""
    if isinstance(node, (ast.For, ast.comprehension)):
        return [node.iter]
    if isinstance(node, ast.Starred):
        return [node.value]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ORDERED_CALLS:
        return list(node.args)
    return []


def _module_level_random(node: ast.AST) -> list[str]:
    """Uses of the hidden global generator: whatever of `random` is not one of its classes."""
    names = []
    if isinstance(node, ast.ImportFrom) and node.module == "random":
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "random":
        names = [node.attr]
    return [name for name in names if name not in {"Random", "SystemRandom"}]


def impurities(source: str, *, numpy: bool = False, random: bool = False) -> list[str]:
    """One line for each thing in `source` that the core must not do; `numpy` and `random` may be allowed."""
    tree = ast.parse(source)
    hidden = _type_checking_blocks(tree)
    banned = BANNED_MODULES | (set() if numpy else {"numpy"}) | (set() if random else {"random"})
    found = []
    for node in ast.walk(tree):
        if node in hidden:
            continue
        line = getattr(node, "lineno", 0)
        found += [f"line {line}: imports {root}" for root in _imported_roots(node) if root in banned]
        found += [f"line {line}: uses random.{name}" for name in _module_level_random(node)]
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            bare = isinstance(node.func, ast.Name)
            if name in BANNED_CALLS and (bare or name not in {"open", "hash", "id", "input"}):
                found.append(f"line {line}: calls {name}()")
        found += [f"line {it.lineno}: iterates over a set" for it in _iterated(node) if _is_set(it)]
    return found


@pytest.mark.req("W-030")
@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(SOURCE)))
def test_core_module_is_pure(path):
    package = path.relative_to(SOURCE).parts[0]
    found = impurities(
        path.read_text(encoding="utf-8"), numpy=package in WITH_NUMPY, random=package in WITH_RANDOM
    )
    assert found == []


def test_the_core_was_found():
    assert {path.relative_to(SOURCE).parts[0] for path in CORE} == set(PACKAGES)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("import time", "imports time"),
        ("from os import urandom", "imports os"),
        ("import random", "imports random"),
        ("from datetime import datetime", "imports datetime"),
        ("import numpy as np", "imports numpy"),
        ("x = os.urandom(4)", "calls urandom()"),
        ("x = sorted(y, key=lambda e: id(e))", "calls id()"),
        ("for x in {1, 2}: pass", "iterates over a set"),
        ("x = [y for y in set(z)]", "iterates over a set"),
        ("x = list(frozenset(z))", "iterates over a set"),
    ],
)
def test_the_check_finds_what_it_is_for(source, complaint):
    assert any(complaint in line for line in impurities(source))


@pytest.mark.parametrize(
    "source",
    [
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import random",
        "ok = x in {1, 2}",
        "for x in sorted(set(y)): pass",
        "n = len(set(y))",
    ],
)
def test_the_check_leaves_the_rest_alone(source):
    assert impurities(source) == []


def test_where_random_is_allowed_its_global_generator_is_not():
    assert impurities("import random\nrng = random.SystemRandom()", random=True) == []
    assert impurities("import random\nx = random.random()", random=True) == ["line 2: uses random.random"]
    assert impurities("from random import choice", random=True) == ["line 1: uses random.choice"]
