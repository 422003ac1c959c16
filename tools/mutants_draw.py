"""List every mutation that cosmic-ray's operators make of the core, and draw some of each part by a seed.

What changes nothing that a test could see is left out before the draw, by the rule of :func:`_left_out`.
"""

from __future__ import annotations

import ast
import difflib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mutants_faults import DRAWN, PARTS, ROOT, Fault

SEED = 20260301
PER_PART = 50
_NO_EFFECT_DECORATORS = frozenset({"abstractmethod", "overload", "override", "final", "runtime_checkable"})
_SAME = frozenset({"core/ReplaceComparisonOperator_Is_Eq", "core/ReplaceComparisonOperator_IsNot_NotEq"})
_Place = tuple[int, int]


@dataclass(frozen=True)
class _Mutation:
    file: str
    operator: str
    occurrence: int
    line: int


def _left_out(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield the nodes in which no mutation is drawn.

    Annotations and type aliases, which nothing evaluates or compares; what only a type checker imports;
    texts for people (f-strings, `__repr__`); `__all__` and `__slots__`; `slots=` of a dataclass, which is
    about memory; decorators that only a type checker or an abstract base reads. Beside these nodes: stars and
    bars that are no operators but signatures, unpacking and patterns, and the exchange of `is` with `==`,
    since what is compared by `is` here (None, classes, members of enumerations) is equal only to itself.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.annotation is not None:
            yield node.annotation
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if node.returns is not None:
                yield node.returns
            if node.name == "__repr__":
                yield node
            yield from (each for each in node.decorator_list if _name(each) in _NO_EFFECT_DECORATORS)
        elif isinstance(node, ast.AnnAssign):
            yield node.annotation
            if "TypeAlias" in ast.unparse(node.annotation) and node.value is not None:
                yield node.value
        elif isinstance(node, ast.Assign):
            if _name(node.targets[0]) in {"__all__", "__slots__"} or _is_union(node.value):
                yield node
        elif isinstance(node, ast.JoinedStr) or _is_for_tools(node):
            yield node


def _is_for_tools(node: ast.AST) -> bool:
    """Tell whether a node is `if TYPE_CHECKING:`, or the `slots=` of a dataclass."""
    if isinstance(node, ast.If):
        return _name(node.test) == "TYPE_CHECKING"
    return isinstance(node, ast.keyword) and node.arg == "slots"


def _is_union(node: ast.AST) -> bool:
    """Tell whether an expression is a union of classes: a type alias."""
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.BitOr) and _is_union(node.left) and _is_union(node.right)
    return isinstance(node, ast.Name) and node.id[:1].isupper() and not node.id.isupper()


def _operators(source: str) -> list[tuple[_Place, _Place]]:
    """Return where the binary operators of a source stand: after the left side, before the right one."""
    found = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.BinOp))
    return [
        ((n.left.end_lineno or 0, n.left.end_col_offset or 0), (n.right.lineno, n.right.col_offset))
        for n in found
    ]


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Call):
        return _name(node.func)
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _spans(source: str) -> list[tuple[_Place, _Place]]:
    return [
        ((node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset))  # type: ignore[attr-defined]
        for node in _left_out(ast.parse(source))
    ]


def mutations(file: str, source: str) -> Iterator[_Mutation]:
    """Yield the mutations of one file that may be drawn, in cosmic-ray's order."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    tree = get_ast(source)
    nodes = list(ast_nodes(tree))
    spans, binary = _spans(source), _operators(source)
    rows = source.splitlines()
    for operator in sorted(set(operator_names()) - _SAME):
        kind: Any = get_operator(operator)
        if kind.arguments():  # these take names that somebody must choose
            continue
        places = (place for node in nodes for place in kind().mutation_positions(node))
        for occurrence, (start, stop) in enumerate(places):
            at = (start[0], len(rows[start[0] - 1][: start[1]].encode()))
            is_sign = "BinaryOperator" not in operator or any(first <= at < last for first, last in binary)
            if is_sign and not any(first <= at < last for first, last in spans):
                yield _Mutation(file, operator, occurrence, stop[0])


def _as_fault(name: str, part: str, mutation: _Mutation, source: str) -> Fault | None:
    """Turn a mutation into a replacement of lines, with as many lines before it as make them unique."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    mutated = mutate_code(source, get_operator(mutation.operator)(), mutation.occurrence)
    if mutated is None or mutated == source:
        return None
    before, after = source.splitlines(keepends=True), mutated.splitlines(keepends=True)
    changes = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    changed = [(i, j, k, m) for tag, i, j, k, m in changes if tag != "equal"]
    first, last, new_first, new_last = changed[0][0], changed[-1][1], changed[0][2], changed[-1][3]
    while first > 0 and (first == last or source.count("".join(before[first:last])) > 1):
        first, new_first = first - 1, new_first - 1
    old, new = "".join(before[first:last]), "".join(after[new_first:new_last])
    fault = Fault(name, mutation.file, old, new, mutation.operator.removeprefix("core/"), part)
    return fault if fault.fits(source) and fault.plant(source) == mutated else None


def draw(seed: int = SEED, per_part: int = PER_PART) -> tuple[list[Fault], dict[str, int]]:
    """Draw the same number of mutations of each part; return them, and how many there were to draw from."""
    faults: list[Fault] = []
    population: dict[str, int] = {}
    for part in PARTS:
        files = sorted((ROOT / "src" / "quinkgl" / part).rglob("*.py"))
        sources = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in files}
        found = [each for file, source in sources.items() for each in mutations(file, source)]
        population[part] = len(found)
        random.Random(f"{seed} {part}").shuffle(found)  # noqa: S311 - drawn by a seed on purpose
        kept: dict[str, Fault] = {}
        for each in found:
            if len(kept) == per_part:
                break
            module = each.file.removeprefix("src/quinkgl/")
            name = f"drawn {part} {len(kept) + 1:02d}: {each.operator.removeprefix('core/')} in {module}"
            fault = _as_fault(name, part, each, sources[each.file])
            if fault is not None:
                kept.setdefault(fault.key, fault)
        faults += kept.values()
    return faults, population


def write(faults: list[Fault], population: dict[str, int], path: Path = DRAWN) -> None:
    """Write drawn faults down."""
    counts = ", ".join(f"{part} {count}" for part, count in population.items())
    rows = [f"# Drawn by `tools/mutants.py draw` with seed {SEED}, {PER_PART} of each part, out of {counts}."]
    for fault in faults:
        rows += ["", "[[fault]]"]
        rows += [f"{field} = {json.dumps(getattr(fault, field), ensure_ascii=False)}" for field in _FIELDS]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


_FIELDS = ("name", "part", "category", "file", "old", "new")
