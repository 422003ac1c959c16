"""Vectors of ``spec/vectors/``: reading them, asking an implementation, comparing, and changing them.

An implementation is asked through an *adapter*: it gets the name of a family, the name of an operation and
the inputs of one test, and gives ``{"mid": …, "out": …}`` or ``{"error": "E_…"}``. Whatever it does not do it
answers with :class:`UnsupportedOperation`.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = Any
Adapter = Callable[[str, str, dict[str, Json]], dict[str, Json]]
"""``(family, operation, inputs)`` to an answer."""

DROP = "drop"
"""In place of an error's name: the chapters name no code, the bytes are dropped in silence."""

_HEX = re.compile(r"(?:[0-9a-f]{2})*")
_BIG = re.compile(r"-?[1-9][0-9]{15,19}")
_BYTES_WITHOUT_STEPS = 512
"""Byte strings up to this size are changed at each byte in turn, longer ones at this many places."""


class UnsupportedOperation(Exception):  # noqa: N818 - it is an answer
    """The implementation has no such operation."""


@dataclass(frozen=True, slots=True)
class Vector:
    """One test of one file: its family, the tolerance of its integers, and the test as it stands there."""

    family: str
    tolerance: int
    test: dict[str, Json]

    @property
    def id(self) -> str:
        """The test's name, unique over all files."""
        return str(self.test["id"])


def directory() -> Path:
    """Return the folder of the vectors that belong to this implementation."""
    from quinkgl.wire.spec_data import spec_directory

    return Path(str(spec_directory())) / "vectors"


def load_files(folder: Path) -> dict[str, dict[str, Json]]:
    """Return the files of a folder by the family that they hold, in the order of their names."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    return {document["family"]: document for document in found}


def load_vectors(folder: Path) -> list[Vector]:
    """Return every test of a folder."""
    return [
        Vector(family, document.get("tolerance", 0), test)
        for family, document in load_files(folder).items()
        for test in document["tests"]
    ]


def expected(test: dict[str, Json]) -> dict[str, Json]:
    """Return the answer that a test expects."""
    if test["result"] == "invalid":
        return {"error": test["error"]}
    return {"mid": test["mid"], "out": test["out"]}


def difference(wanted: Json, given: Json, tolerance: int = 0, place: str = "") -> str | None:
    """Return where two answers differ, or None; integers may differ by ``tolerance``."""
    if isinstance(wanted, dict) and isinstance(given, dict):
        if wanted.keys() != given.keys():
            return f"{place or 'answer'} has {sorted(given)} in place of {sorted(wanted)}"
        parts = [(f"{place}.{key}" if place else key, wanted[key], given[key]) for key in wanted]
    elif isinstance(wanted, list) and isinstance(given, list):
        if len(wanted) != len(given):
            return f"{place} has {len(given)} elements in place of {len(wanted)}"
        parts = [(f"{place}[{index}]", *both) for index, both in enumerate(zip(wanted, given, strict=True))]
    else:
        number = type(wanted) is int and type(given) is int
        same = abs(wanted - given) <= tolerance if number else wanted == given and type(wanted) is type(given)
        return None if same else f"{place} is {given!r} in place of {wanted!r}"
    return next(
        (found for part in parts if (found := difference(part[1], part[2], tolerance, part[0]))), None
    )


def ask(adapter: Adapter, vector: Vector) -> dict[str, Json]:
    """Return an implementation's answer to a test."""
    return adapter(vector.family, vector.test["op"], copy.deepcopy(vector.test["in"]))


def judge(vector: Vector, answer: dict[str, Json]) -> str | None:
    """Return what is wrong with an answer to a test, or None."""
    return difference(expected(vector.test), answer, vector.tolerance)


def check(adapter: Adapter, vector: Vector) -> str | None:
    """Return what is wrong with an implementation's answer to a test, or None."""
    return judge(vector, ask(adapter, vector))


def unnoticed(adapter: Adapter, vector: Vector, *, every: bool) -> tuple[int, list[str]]:
    """Change a test at each place in turn, and return how many changes there were and which went unnoticed.

    Of a valid test every change of an input must give another answer than the one expected, and every change
    of an intermediate value or an output must differ from the answer. Of an invalid one its error is changed.
    An input that the operation cannot even take is noticed too.
    """
    tried, missed = 0, []
    parts = ("error",) if vector.test["result"] == "invalid" else ("in", "mid", "out")
    answer = ask(adapter, vector)
    for part in parts:
        for place, changed in changes(vector, part, every=every):
            tried += 1
            if _is_unnoticed(adapter, changed, None if part == "in" else answer):
                missed.append(f"{vector.id}: {place}")
    return tried, missed


def _is_unnoticed(adapter: Adapter, changed: Vector, answer: dict[str, Json] | None) -> bool:
    """Whether a changed test passes; ``answer`` is the one to judge it by where its inputs are as before."""
    try:
        return judge(changed, ask(adapter, changed) if answer is None else answer) is None
    except Exception:  # noqa: BLE001 - whatever an adapter raises at a broken input
        return False


def changes(vector: Vector, part: str, *, every: bool) -> Iterator[tuple[str, Vector]]:
    """Yield the test again and again, each time with one byte, digit, number or letter of ``part`` changed.

    ``part`` is ``in``, ``mid``, ``out`` or ``error``. What a test calls ignored is left out. With ``every``
    false a byte string or text is changed at its beginning, in the middle and at its end alone.
    """
    if part == "error":
        if vector.test["result"] == "invalid":
            yield "error", _changed(vector, (part,), vector.test["error"] + "X")
        return
    ignored = vector.test.get("ignored", {}) if part == "in" else {}
    for path, leaf in _leaves(vector.test[part], (part,)):
        name = _name(path[1:])
        for offset, other in _others(leaf, vector.tolerance, every=every):
            if not _is_ignored(ignored, name, offset):
                place = f"{part}.{name}" if offset is None else f"{part}.{name}[{offset}]"
                yield place, _changed(vector, path, other)


def _leaves(value: Json, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Json]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, index))
    elif value is not None:
        yield path, value


def _others(leaf: Json, tolerance: int, *, every: bool) -> Iterator[tuple[int | None, Json]]:
    """Yield values that a leaf could have instead, each with the place of the change in a string."""
    if isinstance(leaf, bool):
        yield None, not leaf
    elif isinstance(leaf, int):
        yield None, leaf + max(1, 100 * tolerance)  # an eighth of it must still be more than the tolerance
    elif _BIG.fullmatch(leaf):
        yield None, str(int(leaf) - 1)
    elif _HEX.fullmatch(leaf):
        data = bytes.fromhex(leaf)
        for at in _places(len(data), every=every):
            yield at, (data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]).hex()
    else:
        for at in _places(len(leaf), every=every):
            yield at, leaf[:at] + chr(ord(leaf[at]) ^ 1) + leaf[at + 1 :]


def _places(size: int, *, every: bool) -> list[int]:
    if not every:
        return sorted({0, size // 2, size - 1}) if size else []
    return list(range(0, size, max(1, -(-size // _BYTES_WITHOUT_STEPS))))


def _name(path: tuple[str | int, ...]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def _is_ignored(ignored: dict[str, str], name: str, offset: int | None) -> bool:
    """Say whether a field, or the byte of it, is among the ignored ones: ``field`` or ``field[from:to]``."""
    for place in ignored:
        span = re.fullmatch(r"(.*)\[(\d+):(\d+)\]", place)
        if span is None:
            if name == place or name.startswith((f"{place}.", f"{place}[")):
                return True
        elif name == span[1] and offset is not None and int(span[2]) <= offset < int(span[3]):
            return True
    return False


def _changed(vector: Vector, path: tuple[str | int, ...], leaf: Json) -> Vector:
    """Return the test with another leaf; what lies off the path to it is shared."""
    test = dict(vector.test)
    holder: Json = test
    for step in path[:-1]:
        holder[step] = copy.copy(holder[step])
        holder = holder[step]
    holder[path[-1]] = leaf
    return Vector(vector.family, vector.tolerance, test)
