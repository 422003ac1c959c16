"""Hypothesis strategies for messages, from the schemas and from ``spec/schema/messages.toml``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from hypothesis import strategies as st

from quinkgl.testing.cddl import Schema, load_schema
from quinkgl.testing.cddl_parser import Choice, Map, Reference, Type
from quinkgl.testing.strategies._addresses import bad_packed_addresses, packed_addresses
from quinkgl.testing.strategies._values import Faulty, Value, Values, with_one_fault
from quinkgl.wire.cbor import encode
from quinkgl.wire.errors import ErrorCode
from quinkgl.wire.limits import CONSTANTS, HARD, LIMITS
from quinkgl.wire.spec_data import load

_Fields = dict[int, Any]
_KIND = 0


@dataclass(frozen=True, slots=True)
class Family:
    """Messages that share a channel and a largest size; ``spec/schema/messages.toml`` has a table for each.

    ``messages`` are the names of the rules that the family is a choice of: ``"offer"``, ``"want"``.
    """

    name: str
    file: str
    schema: Schema
    rule: str
    channel: str | None
    most_bytes: int
    ignores_unknown_kinds: bool
    messages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class InvalidMessage:
    """Bytes that a receiver has to refuse: what they encode, why it must, and by which rule of the spec."""

    data: bytes
    value: Value
    reason: str
    rule: str


@dataclass(frozen=True, slots=True)
class MisencodedMessage:
    """A message that is valid but for its encoding, and the code that a receiver refuses it with."""

    data: bytes
    code: ErrorCode
    reason: str


@cache
def families() -> Mapping[str, Family]:
    """Return every family of messages by name."""
    made = {}
    for name, entry in load("schema/messages").items():
        schema = load_schema(entry["schema"])
        rule = schema.rule(entry["rule"])
        options = rule.options if isinstance(rule, Choice) else (Reference(entry["rule"]),)
        made[name] = Family(
            name,
            entry["schema"],
            schema,
            entry["rule"],
            entry.get("channel"),
            entry["most_bytes"],
            entry.get("unknown_kinds") == "ignore",
            tuple(_name_of(schema, option) for option in options),
        )
    return made


def _name_of(schema: Schema, option: Type) -> str:
    """Return the last name on the way to a map: `membership-message = records` is a family of one."""
    name = ""
    while isinstance(option, Reference):
        name, option = option.name, schema.rule(option.name)
    return name


@st.composite
def message_values(draw: st.DrawFn, family: str, message: str | None = None) -> _Fields:
    """Maps, as a decoder returns them, of valid messages of a family, or of one message of it by name."""
    return draw(_valid_ones(family, message))


@st.composite
def messages(draw: st.DrawFn, family: str, message: str | None = None) -> bytes:
    """Encodings of valid messages: any of a family (``"objects"``), or one of it by name (``"want"``).

    They fit the schema, the rules that tie fields together, and the family's largest size. Unknown keys from
    64 on are among them: receivers ignore those.
    """
    return encode(draw(_valid_ones(family, message)))


@st.composite
def invalid_messages(draw: st.DrawFn, family: str, message: str | None = None) -> InvalidMessage:
    """Well-encoded messages with one fault: of the schema, or of a rule that ties fields together."""
    return draw(_invalid_ones(family, message))


@st.composite
def unknown_kinds(draw: st.DrawFn, family: str) -> bytes:
    """Messages of kinds from 64 on, which version 1 has not; the family says whether they are ignored."""
    kind = draw(st.integers(CONSTANTS.first_ignorable_key, (1 << 32) - 1))
    return encode({**draw(_valid_ones(family, None)), _KIND: kind})


@st.composite
def misencoded_messages(draw: st.DrawFn, family: str) -> MisencodedMessage:
    """Valid messages of a family in an encoding that receivers refuse."""
    value = draw(message_values(family).filter(lambda each: 1 < len(each) < 23))
    data = encode(value)
    head, pairs = data[:1], [encode(key) + encode(value[key]) for key in sorted(value)]
    size = bytes([len(pairs)])
    misencodings = [
        (data + b"\0", ErrorCode.E_CBOR, "a byte follows"),
        (data[:-1], ErrorCode.E_CBOR, "the last byte is missing"),
        (b"\xb8" + size + data[1:], ErrorCode.E_CBOR_CANON, "the number of pairs takes a byte too many"),
        (b"\xbf" + data[1:] + b"\xff", ErrorCode.E_CBOR_CANON, "a map of indefinite length"),
        (head + b"".join(reversed(pairs)), ErrorCode.E_CBOR_CANON, "keys that descend"),
        (bytes([head[0] + 1]) + pairs[0] + data[1:], ErrorCode.E_CBOR_CANON, "a key that is there twice"),
        (b"\xc1" + data, ErrorCode.E_SCHEMA, "a tag"),
    ]
    fitting = [each for each in misencodings if len(each[0]) <= families()[family].most_bytes]
    return MisencodedMessage(*draw(st.sampled_from(fitting)))


# --- what the schemas cannot say ---


def _ascending_pairs(fields: _Fields) -> _Fields:
    bounds = sorted(set(fields[2]))
    bounds = bounds if len(bounds) > 1 else [min(bounds[0], (1 << 64) - 2), min(bounds[0], (1 << 64) - 2) + 1]
    return {**fields, 2: bounds[: len(bounds) // 2 * 2]}


def _ascending_features(fields: _Fields) -> _Fields:
    return {**fields, 12: sorted(set(fields[12]))}


def _inside_its_total(fields: _Fields) -> _Fields:
    size = len(fields[3])
    offset = min(fields[1], HARD.manifest_bytes - size)
    made = {**fields, 1: offset, 2: max(fields[2], offset + size)}
    return {key: made[key] for key in made if key != 4 or offset == 0}


def _most_weight(fields: _Fields) -> int:
    return (1 << 32) // (2 * int(fields[6]) + 1)


def _damped(fields: _Fields) -> _Fields:
    return {**fields, 5: min(fields[5], _most_weight(fields))}


def _distinct_objects(fields: _Fields) -> _Fields:
    by_root = {item[0]: item for item in fields.get(13, ()) if item[0] != fields[3]}
    return {
        **{key: fields[key] for key in fields if key != 13},
        **({13: [*by_root.values()]} if by_root else {}),
    }


_REPAIRS: dict[str, Callable[[_Fields], _Fields]] = {
    "objects/want": _ascending_pairs,
    "manifest/hello": _ascending_features,
    "manifest/piece": _inside_its_total,
    "exchange/exchange-offer": _damped,
    "gossip/update-header": _distinct_objects,
}
"""By message: what makes a value that fits the schema keep the rules between its fields as well."""

_Breaks = tuple[str, str, Callable[[_Fields], _Fields | None]]

_BREAKERS: dict[str, tuple[_Breaks, ...]] = {
    "objects/want": (
        ("9.2", "ranges that descend", lambda f: {**f, 2: f[2][::-1]}),
        ("9.2", "an empty range", lambda f: {**f, 2: [f[2][0], *f[2]][:2]}),
        (
            "9.2",
            "an odd number of bounds",
            lambda f: {**f, 2: [*f[2], f[2][-1] + 1]} if f[2][-1] < 2**63 else None,
        ),
    ),
    "manifest/hello": (
        ("H-003", "features that descend", lambda f: {**f, 12: ["b", "a"]}),
        ("H-003", "a feature that is there twice", lambda f: {**f, 12: ["a", "a"]}),
    ),
    "manifest/piece": (
        ("H-031", "a piece that ends behind the manifest", lambda f: {**f, 1: f[2] - len(f[3]) + 1}),
        (
            "H-031",
            "a signature behind the first piece",
            lambda f: {**f, 1: 1, 2: 1 + len(f[3]), 4: bytes(CONSTANTS.signature_bytes)},
        ),
    ),
    "exchange/exchange-offer": (
        (
            "B-005",
            "a weight that is not damped",
            lambda f: {**f, 6: f[6] or 1, 5: _most_weight({6: f[6] or 1}) + 1},
        ),
    ),
    "gossip/update-header": (
        ("G-043", "the body named as a further object", lambda f: {**f, 13: [[f[3], 1, 0, ""]]}),
        (
            "G-043",
            "an object named twice",
            lambda f: {**f, 13: [[_other(f[3]), 1, 0, "a"], [_other(f[3]), 1, 0, ""]]},
        ),
    ),
}
"""By message: rule, what is wrong, and the change that breaks it; None where a value cannot be broken so."""

_ADDRESS_FIELDS: dict[str, Callable[[_Fields, bytes], _Fields]] = {
    "session/handshake-payload": lambda fields, address: {**fields, 4: address},
    "membership/peer-record": lambda fields, address: {**fields, 5: [address]},
}


def _other(root: bytes) -> bytes:
    return bytes([root[0] ^ 1]) + root[1:]


def _names(family: Family, message: str | None) -> tuple[str, ...]:
    if message is not None and message not in family.messages:
        raise ValueError(f"the family {family.name} has {', '.join(family.messages)}, no {message}")
    return family.messages if message is None else (message,)


@cache
def _valid_ones(family: str, message: str | None) -> st.SearchStrategy[_Fields]:
    found = families()[family]
    return st.one_of([_valid(family, name) for name in _names(found, message)])


@cache
def _invalid_ones(family: str, message: str | None) -> st.SearchStrategy[InvalidMessage]:
    found = families()[family]
    type_ = found.schema.rule(found.rule)
    options = []
    for name in _names(found, message):
        faulty = with_one_fault(found.schema, type_, _valid(family, name))
        options.append(faulty.filter(_stays_this_family(found)).map(_as_invalid))
        options += _rule_breakers(found, name)
    return st.one_of(options)


@cache
def _valid(family_name: str, message: str) -> st.SearchStrategy[_Fields]:
    family = families()[family_name]
    values = _ValuesWithAddresses(family.schema).of(Reference(message))
    map_ = family.schema.resolve(Reference(message))
    repair = _REPAIRS.get(f"{family.file}/{message}", dict)
    return values.map(lambda fields: _cut(family, map_, repair(fields)))


class _ValuesWithAddresses(Values):
    """As the schema says, and where it says "address", one that somebody can have."""

    def of(self, type_: Type, depth: int = LIMITS.cbor_depth) -> st.SearchStrategy[Value]:
        if isinstance(type_, Reference) and type_.name == "address":
            return packed_addresses()
        return super().of(type_, depth)


def _cut(family: Family, map_: Type, fields: _Fields) -> _Fields:
    """Leave out what need not be there, the last key first, until the encoding is as short as it must be."""
    if not isinstance(map_, Map):
        raise TypeError(f"{family.name} is no family of maps")
    made = dict(sorted(fields.items()))
    while len(encode(made)) > family.most_bytes:
        spare = [key for key in made if key not in map_.fields or not map_.fields[key].least]
        if spare:
            del made[spare[-1]]
            continue
        full = [key for key in made if isinstance(made[key], dict | list) and made[key]]
        last = made[full[-1]]
        made[full[-1]] = {} if isinstance(last, dict) else last[:-1]
    return made


def _as_invalid(faulty: Faulty) -> InvalidMessage:
    unknown = "unknown key" in faulty.fault.reason
    return InvalidMessage(
        encode(faulty.value), faulty.value, str(faulty.fault), "C-021" if unknown else "C-020"
    )


def _stays_this_family(family: Family) -> Callable[[Faulty], bool]:
    def stays(faulty: Faulty) -> bool:
        """Whether it is short enough to be read, and not of a kind that is ignored."""
        kind = faulty.value.get(_KIND) if isinstance(faulty.value, dict) else None
        ignored = family.ignores_unknown_kinds and type(kind) is int and kind >= CONSTANTS.first_ignorable_key
        return not ignored and len(encode(faulty.value)) <= family.most_bytes

    return stays


def _rule_breakers(family: Family, message: str) -> list[st.SearchStrategy[InvalidMessage]]:
    valid = _valid(family.name, message)
    made = []
    for rule, reason, change in _BREAKERS.get(f"{family.file}/{message}", ()):
        broken = valid.map(change).filter(lambda fields: fields is not None)
        made.append(_invalid_by_rule(family, broken, rule, reason))
    put = _ADDRESS_FIELDS.get(f"{family.file}/{message}")
    if put is not None:
        broken = st.tuples(valid, bad_packed_addresses()).map(lambda pair: put(*pair))
        made.append(_invalid_by_rule(family, broken, "C-041", "an address that nobody can have"))
    return made


def _invalid_by_rule(
    family: Family, broken: st.SearchStrategy[Any], rule: str, reason: str
) -> st.SearchStrategy[InvalidMessage]:
    made = broken.map(lambda fields: InvalidMessage(encode(fields), fields, reason, rule))
    return made.filter(lambda each: len(each.data) <= family.most_bytes)


__all__ = [
    "Family",
    "InvalidMessage",
    "MisencodedMessage",
    "families",
    "invalid_messages",
    "message_values",
    "messages",
    "misencoded_messages",
    "unknown_kinds",
]
