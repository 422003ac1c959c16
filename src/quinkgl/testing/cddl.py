"""Reads the schemas of ``spec/schema`` and says whether a decoded message fits them.

The dialect is the part of CDDL (RFC 8610) that those files use: rules, choices, ranges, ``bytes`` and
``tstr`` with ``.size``, ``bytes .cbor``, maps, arrays, one tag, literals. It is narrower than CDDL where that
keeps matching free of guesses: in a map only the last member may have a key that is no number, in an array
only the last entry may occur more or fewer times than once, and integers, strings and simple values are those
of the encoding profile (``spec/03-encoding.md``). A member ``* extension => any`` lets unknown keys from 64
on pass; every other unknown key is a fault.

A schema judges values as ``quinkgl.wire.cbor`` decodes them: int, bytes, str, bool, None, list, and dict with
integer keys. :class:`Tagged` stands for a tagged value, which that decoder does not build.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, TypeAlias

from quinkgl.testing.cddl_parser import (
    Array,
    Boolean,
    Cbor,
    CddlError,
    Choice,
    Literal,
    Map,
    Member,
    Null,
    Range,
    Reference,
    String,
    Tag,
    Type,
    parse,
)
from quinkgl.wire.cbor import MAX_KEY, MAX_UINT, MIN_INT, decode_untrusted
from quinkgl.wire.errors import RemoteProtocolError
from quinkgl.wire.spec_data import spec_directory

_SMALL_TAG = 0xC0
"""Head of a tag below 24; the protocol has no other."""
_TAGS_IN_THE_HEAD = 24

Value: TypeAlias = Any
"""What a CBOR decoder returned."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """A value behind a tag."""

    number: int
    value: Value


class Fault(NamedTuple):
    """Where a value does not fit, and why; ``path`` holds keys and indexes from the outermost map inwards."""

    path: tuple[int, ...]
    reason: str

    def __str__(self) -> str:
        """Return one line."""
        return f"at {'/'.join(map(str, self.path))}: {self.reason}" if self.path else self.reason

    def under(self, step: int) -> Fault:
        """Return the fault as seen from one container further out."""
        return Fault((step, *self.path), self.reason)


class Schema:
    """The rules of one or more schema texts, and the judgement by them."""

    def __init__(self, rules: Mapping[str, Type]) -> None:
        """Take parsed rules; CddlError where one refers to a rule that is not there."""
        self.rules = dict(rules)
        for name, rule in self.rules.items():
            self._check_references(name, rule)

    @classmethod
    def parse(cls, *texts: str) -> Schema:
        """Read schema texts; CddlError with the line for what is not in the dialect."""
        rules: dict[str, Type] = {}
        for text in texts:
            for name, rule in parse(text).items():
                if name in rules:
                    raise CddlError(f"the rule {name} is there twice")
                rules[name] = rule
        return cls(rules)

    def rule(self, name: str) -> Type:
        """Return a rule by name; KeyError where there is none."""
        return self.rules[name]

    def resolve(self, type_: Type) -> Type:
        """Follow names until the type is not just a name."""
        while isinstance(type_, Reference):
            type_ = self.rules[type_.name]
        return type_

    def fault(self, name: str, value: Value) -> Fault | None:
        """Say where a value breaks a rule, None where it fits."""
        return self.fault_of(self.rules[name], value)

    def fault_of(self, type_: Type, value: Value) -> Fault | None:
        """As :meth:`fault`, for a type that need not have a name."""
        resolved = self.resolve(type_)
        match resolved:
            case Array() as array:
                return self._array_fault(array, value)
            case Map() as map_:
                return self._map_fault(map_, value)
            case Choice() as choice:
                return self._choice_fault(choice, value)
            case Tag(number, content):
                if not isinstance(value, Tagged) or value.number != number:
                    return Fault((), f"not under tag {number}")
                return self.fault_of(content, value.value)
            case Cbor(content):
                return self._cbor_fault(content, value)
            case _:
                reason = _scalar_fault(resolved, value)
                return None if reason is None else Fault((), reason)

    def _array_fault(self, array: Array, value: Value) -> Fault | None:
        if type(value) is not list:
            return Fault((), "not an array")
        least, most = array.bounds()
        if len(value) < least or (most is not None and len(value) > most):
            return Fault(
                (), f"not an array of {least} to {'any number of' if most is None else most} elements"
            )
        for index, item in enumerate(value):
            fault = self.fault_of(array.entry(index).type, item)
            if fault is not None:
                return fault.under(index)
        return None

    def _map_fault(self, map_: Map, value: Value) -> Fault | None:
        if type(value) is not dict:
            return Fault((), "not a map")
        known = map_.fields
        for key in value:
            if type(key) is not int or not 0 <= key <= MAX_KEY:
                return Fault((), f"the key {key!r} is not an unsigned integer below 2^32")
        others = {key: item for key, item in value.items() if key not in known}
        for key, member in known.items():
            if key not in value:
                if member.least:
                    return Fault((), f"key {key} is missing")
                continue
            fault = self.fault_of(member.value, value[key])
            if fault is not None:
                return fault.under(key)
        return self._others_fault(map_.open_member, others)

    def _others_fault(self, member: Member | None, others: Mapping[int, Value]) -> Fault | None:
        """Judge the keys that no number in the schema names."""
        if member is None:
            return Fault((), f"unknown key {min(others)}") if others else None
        if len(others) < member.least or (member.most is not None and len(others) > member.most):
            return Fault((), f"{len(others)} keys, at most {member.most} allowed")
        for key, item in others.items():
            if self.fault_of(member.key, key) is not None:
                return Fault((), f"unknown key {key}")
            fault = self.fault_of(member.value, item)
            if fault is not None:
                return fault.under(key)
        return None

    def _choice_fault(self, choice: Choice, value: Value) -> Fault | None:
        """Return None where one option fits, else the fault of the option that went furthest."""
        best: Fault | None = None
        for option in choice.options:
            fault = self.fault_of(option, value)
            if fault is None:
                return None
            if best is None or _progress(fault) > _progress(best):
                best = fault
        return best

    def _cbor_fault(self, content: Type, value: Value) -> Fault | None:
        if type(value) is not bytes:
            return Fault((), "not a byte string")
        try:
            inner = decode_tagged_untrusted(value)
        except RemoteProtocolError as error:
            return Fault((), f"does not hold CBOR: {error.message}")
        fault = self.fault_of(content, inner)
        return None if fault is None else Fault(fault.path, f"inside the byte string, {fault}")

    def _check_references(self, name: str, type_: Type) -> None:
        match type_:
            case Reference(target):
                if target not in self.rules:
                    raise CddlError(f"rule {name}: there is no rule {target}")
            case Choice(options):
                for option in options:
                    self._check_references(name, option)
            case Array(entries):
                for entry in entries:
                    self._check_references(name, entry.type)
            case Map(members):
                for member in members:
                    self._check_references(name, member.key)
                    self._check_references(name, member.value)
            case Tag(_, content) | Cbor(content):
                self._check_references(name, content)
            case _:
                pass


def decode_tagged_untrusted(data: bytes) -> Value:
    """Decode one item that may stand behind a tag below 24; RemoteProtocolError for anything else."""
    if data and _SMALL_TAG <= data[0] < _SMALL_TAG + _TAGS_IN_THE_HEAD:
        inner = decode_untrusted(data[1:], max_bytes=len(data), where="a tagged item")
        return Tagged(data[0] - _SMALL_TAG, inner)
    return decode_untrusted(data, max_bytes=len(data), where="an item")


@cache
def load_schema(name: str) -> Schema:
    """Return the schema file ``spec/schema/<name>.cddl`` together with ``common.cddl``."""
    folder = spec_directory() / "schema"
    names = ["common"] if name == "common" else ["common", name]
    return Schema.parse(*((folder / f"{each}.cddl").read_text(encoding="utf-8") for each in names))


def _progress(fault: Fault) -> tuple[bool, int]:
    """How far an option of a choice came: a wrong kind (key 0) is the nearest exit of all."""
    return fault.path[:1] != (0,), len(fault.path)


def _scalar_fault(type_: Type, value: Value) -> str | None:
    """Judge a value by a type that holds no other types."""
    match type_:
        case Range(low, high):
            fits = type(value) is int and low <= value <= high
            reason = f"not an integer from {low} to {high}"
        case String() as string:
            return _string_fault(string, value)
        case Literal(expected):
            fits = type(value) is type(expected) and value == expected
            reason = f"not {expected!r}"
        case Boolean():
            fits, reason = type(value) is bool, "not a boolean"
        case Null():
            fits, reason = value is None, "not null"
        case _:
            fits, reason = _is_plain_cbor(value), "outside the encoding profile"
    return None if fits else reason


def _string_fault(string: String, value: Value) -> str | None:
    if type(value) is not (str if string.is_text else bytes):
        return "not text" if string.is_text else "not a byte string"
    size = len(value) if isinstance(value, bytes) else len(value.encode("utf-8"))
    if size < string.least or (string.most is not None and size > string.most):
        return f"{size} bytes, not {string.least} to {'any' if string.most is None else string.most}"
    return None


def _is_plain_cbor(value: Value) -> bool:
    """Whether the value has a place in the encoding profile at all."""
    if type(value) is list:
        return all(map(_is_plain_cbor, value))
    if type(value) is dict:
        return all(type(key) is int and 0 <= key <= MAX_KEY for key in value) and all(
            map(_is_plain_cbor, value.values())
        )
    if type(value) is int:
        return MIN_INT <= value <= MAX_UINT
    return value is None or type(value) in {bytes, str, bool}


__all__ = ["CddlError", "Fault", "Schema", "Tagged", "decode_tagged_untrusted", "load_schema"]
