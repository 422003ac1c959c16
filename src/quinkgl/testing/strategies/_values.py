"""Hypothesis strategies for values of a schema: fitting ones, and ones with a single fault."""

from __future__ import annotations

import copy
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from hypothesis import strategies as st

from quinkgl.testing.cddl import Fault, Schema
from quinkgl.testing.cddl_parser import (
    Anything,
    Array,
    Boolean,
    Choice,
    Literal,
    Map,
    Member,
    Null,
    Range,
    String,
    Type,
)
from quinkgl.wire.cbor import MAX_UINT, MIN_INT
from quinkgl.wire.limits import CONSTANTS, LIMITS

Value = Any

_SHORT_BYTES = 24
"""Strings up to this many bytes longer than the least are drawn byte by byte, others by a pattern."""
_FEW = 4
"""Elements that a container without a near bound gets at most."""
_FIRST_GREASE_KEY = 0x1B + 0x1F * 2
_LAST_KEY = (1 << 32) - 1


class Faulty(NamedTuple):
    """A value that a schema refuses, and where it does."""

    value: Value
    fault: Fault


# --- fitting values ---


def integers(low: int, high: int) -> st.SearchStrategy[int]:
    """Integers of a range, its ends among them more often than chance has it."""
    return st.integers(low, high) | st.sampled_from(sorted({low, min(high, low + 1), high}))


@st.composite
def _patterned(draw: st.DrawFn, least: int, most: int) -> bytes:
    """Byte strings too long to draw byte by byte: a size, and a short pattern that fills it."""
    size = draw(integers(least, most))
    pattern = draw(st.binary(min_size=1, max_size=8))
    return (pattern * (size // len(pattern) + 1))[:size]


def byte_strings(least: int, most: int | None) -> st.SearchStrategy[bytes]:
    """Byte strings of ``least`` to ``most`` bytes, short ones and those at the bounds first."""
    most = least + 64 if most is None else most
    short = st.binary(min_size=least, max_size=min(most, max(least, _SHORT_BYTES)))
    if least > _SHORT_BYTES:
        short = _patterned(least, least)
    return short if most <= max(least, _SHORT_BYTES) else short | _patterned(least, most)


@st.composite
def texts(draw: st.DrawFn, least: int, most: int | None) -> str:
    """Text in normalization form C of ``least`` to ``most`` bytes of UTF-8."""
    most = min(LIMITS.text_bytes, LIMITS.text_bytes if most is None else most)
    text = draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=min(most, _SHORT_BYTES)))
    if most and draw(st.integers(0, 9)) == 0:
        text = (text or "a") * most
    text = unicodedata.normalize("NFC", text)
    # What begins a text in form C is in form C itself, so it may be cut between any two characters.
    text = text.encode("utf-8")[:most].decode("utf-8", "ignore")
    return text + "a" * max(0, least - len(text.encode("utf-8")))


def _profile(depth: int) -> st.SearchStrategy[Value]:
    """Any value of the encoding profile, with at most ``depth`` containers inside each other."""
    plain: st.SearchStrategy[Value] = st.one_of(
        st.none(), st.booleans(), integers(MIN_INT, MAX_UINT), byte_strings(0, 32), texts(0, 32)
    )
    if depth <= 0:
        return plain
    inner = _profile(depth - 2)
    return st.one_of(
        plain,
        st.lists(inner, max_size=3),
        st.dictionaries(st.integers(0, _LAST_KEY), inner, max_size=3),
    )


class Values:
    """The strategies of one schema."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema

    def of(self, type_: Type, depth: int = LIMITS.cbor_depth) -> st.SearchStrategy[Value]:
        """Return values that fit ``type_``, with at most ``depth`` containers inside each other."""
        match self.schema.resolve(type_):
            case Literal(value):
                return st.just(value)
            case Range(low, high):
                return integers(low, high)
            case String(is_text, least, most):
                return texts(least, most) if is_text else byte_strings(least, most)
            case Boolean():
                return st.booleans()
            case Null():
                return st.none()
            case Anything():
                return _profile(min(depth, 3))
            case Choice(options):
                return st.one_of([self.of(option, depth) for option in options if self._fits(option, depth)])
            case Array() as array:
                return self._arrays(array, depth - 1)
            case Map() as map_:
                return self._maps(map_, depth - 1)
        raise NotImplementedError(f"no strategy for {type_}")

    def _fits(self, type_: Type, depth: int) -> bool:
        """Whether a type may be drawn where only ``depth`` more containers may open."""
        resolved = self.schema.resolve(type_)
        return depth > 0 or not isinstance(resolved, Array | Map)

    def _arrays(self, array: Array, depth: int) -> st.SearchStrategy[list[Value]]:
        *fixed, last = array.entries or (None,)
        if last is None:
            return st.just([])
        heads = [self.of(entry.type, depth) for entry in fixed]
        few = last.least + _FEW
        some = st.lists(
            self.of(last.type, depth) if self._fits(last.type, depth) else st.nothing(),
            min_size=last.least,
            max_size=few if last.most is None else min(few, last.most),
        )
        if not heads:
            return some
        return st.tuples(st.tuples(*heads), some).map(lambda pair: [*pair[0], *pair[1]])

    def _maps(self, map_: Map, depth: int) -> st.SearchStrategy[dict[int, Value]]:
        required = {key: self.of(field.value, depth) for key, field in map_.fields.items() if field.least}
        optional = {key: self.of(field.value, depth) for key, field in map_.fields.items() if not field.least}
        named = st.fixed_dictionaries(required, optional=optional)
        if map_.open_member is None:
            return named
        others = self._others(map_.open_member, depth)
        return st.tuples(named, others).map(lambda pair: {**pair[1], **pair[0]})

    def _others(self, member: Member, depth: int) -> st.SearchStrategy[dict[int, Value]]:
        """Keys that the schema does not name: some of the GREASE form, others of any."""
        keys = self.of(member.key, depth)
        most = _FEW if member.most is None else min(_FEW, member.most)
        if self.schema.fault_of(member.key, _FIRST_GREASE_KEY) is None:
            step = CONSTANTS.grease_step
            keys = keys | st.integers(0, 64).map(lambda k: _FIRST_GREASE_KEY + step * k)
        return st.dictionaries(keys, self.of(member.value, depth), min_size=member.least, max_size=most)


# --- values with one fault ---


class _Site(NamedTuple):
    """A change to a value: how to get from the old value to the new one, and what it is called."""

    path: tuple[int, ...]
    change: Callable[[Value], Value]
    is_of_type: bool = False
    """Whether a value of another type is put in its place; there are many such, and most say little."""

    def under(self, step: int) -> _Site:
        """Return the change as seen from one container further out."""
        return self._replace(path=(step, *self.path))


_OTHERS: tuple[Value, ...] = (0, -1, b"", "", True, None, [], {})
"""One value of each type, to stand where another type is due."""


def _constant(value: Value) -> Callable[[Value], Value]:
    return lambda _old: copy.deepcopy(value)


def _changes(schema: Schema, type_: Type, value: Value) -> Iterator[_Site]:
    """Yield changes to a fitting value that most likely make it unfit; the schema has the last word."""
    for other in _OTHERS:
        if type(other) is not type(value):
            yield _Site((), _constant(other), is_of_type=True)
    match schema.resolve(type_):
        case Range(low, high):
            yield from (
                _Site((), _constant(each)) for each in (low - 1, high + 1) if MIN_INT <= each <= MAX_UINT
            )
        case Literal(int() as number):
            yield from (_Site((), _constant(each)) for each in range(max(0, number - 8), number + 8))
        case String(is_text, least, most):
            sizes = [least - 1] if least else []
            sizes += [] if most is None else [most + 1]
            fill: Value = "a" if is_text else b"\0"
            yield from (_Site((), _constant(fill * size)) for size in sizes)
        case Choice(options):
            for option in options:
                if schema.fault_of(option, value) is None:
                    yield from _changes(schema, option, value)
        case Array() as array:
            yield from _changes_of_array(schema, array, value)
        case Map() as map_:
            yield from _changes_of_map(schema, map_, value)
        case _:
            pass


def _changes_of_array(schema: Schema, array: Array, value: list[Value]) -> Iterator[_Site]:
    least, most = array.bounds()
    filler = value[-1] if value else 1
    if least:
        yield _Site((), lambda old: old[: least - 1])
    if most is not None:
        yield _Site((), lambda old: [*old, *[filler] * (most + 1 - len(old))])
    for index, item in enumerate(value):
        for site in _changes(schema, array.entry(index).type, item):
            yield site.under(index)


def _changes_of_map(schema: Schema, map_: Map, value: dict[int, Value]) -> Iterator[_Site]:
    for key, member in map_.fields.items():
        if member.least:
            yield _Site((), _without(key))
    unknown = [key for key in range(CONSTANTS.first_ignorable_key) if key not in map_.fields]
    for key in (unknown[0], unknown[-1]):
        yield _Site((), _with(key))
    most = None if map_.open_member is None else map_.open_member.most
    if most is not None:
        yield _Site((), lambda old: {**{1000 + key: 0 for key in range(most + 1)}, **old})
    for key, item in value.items():
        known = map_.fields.get(key) or map_.open_member
        if known is not None:
            for site in _changes(schema, known.value, item):
                yield site.under(key)


def _without(key: int) -> Callable[[Value], Value]:
    return lambda old: {each: old[each] for each in old if each != key}


def _with(key: int) -> Callable[[Value], Value]:
    return lambda old: {**old, key: 0}


def _changed(value: Value, path: tuple[int, ...], change: Callable[[Value], Value]) -> Value:
    """Return a copy of ``value`` with the change made at ``path``."""
    if not path:
        return change(value)
    made = copy.copy(value)
    made[path[0]] = _changed(value[path[0]], path[1:], change)
    return made


@st.composite
def with_one_fault(draw: st.DrawFn, schema: Schema, type_: Type, fitting: st.SearchStrategy[Value]) -> Faulty:
    """Values that fit but for one change, which the schema refuses."""
    value = draw(fitting)
    is_of_type = draw(st.integers(0, 3)) == 0
    sites = [site for site in _changes(schema, type_, value) if site.is_of_type is is_of_type]
    start = draw(st.integers(0, len(sites) - 1))
    for offset in range(len(sites)):
        site = sites[(start + offset) % len(sites)]
        changed = _changed(value, site.path, site.change)
        fault = schema.fault_of(type_, changed)
        if fault is not None:
            return Faulty(changed, fault)
    raise AssertionError("a schema that refuses nothing")


__all__ = ["Faulty", "Values", "byte_strings", "integers", "texts", "with_one_fault"]
