"""Every CBOR message as a line of one table, and the functions that read and write by it (3.6, schema/)."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

from . import cbor
from .addresses import decode_address
from .data import CONSTANTS, LIMITS, SpecError, need

Message = dict[str, Any]

# Name, then the fields: key, "?" where it may be absent, name, type. Types: uN is an unsigned integer of N
# bits, a-b one of a range, bytes:N and bytes:a-b a byte string, text:N a text of at most N bytes, and
# array:a-b:TYPE; the others are functions below. After "!" stands the code of a value out of range, where it
# is not E_SCHEMA.
TABLE = """
parameters              0 idle_timeout_ms 1000-600000!E_HS_PARAMS;
                        1 max_datagram_bytes 1200-65507!E_HS_PARAMS; 2 max_ack_delay_ms 0-1000!E_HS_PARAMS;
                        3? post_quantum 0-2!E_HS_PARAMS; 4? reset_token bytes:16
payload                 0 peer bytes:32; 1 signature bytes:64; 2 parameters parameters;
                        3? record bytes:1-512; 4? address address; 5 connection_id bytes:8
peer-record             0 peer bytes:32; 1 seq u63; 2 issued u53; 3 ttl 1-86400; 4 swarm_tag bytes:8;
                        5 addresses array:0-8:address; 6 vouchers array:0-2:bytes:1-512; 7 period u53
update                  0 swarm_id bytes:32; 1 author bytes:32; 2 round u32; 3 root bytes:32;
                        4 size 1-4294967296; 5 codec u8; 6 samples u53; 7 codec_parameters opaque;
                        8 metadata opaque; 9 issued u53; 10 nonce bytes:16; 11? base bytes:32;
                        12 incarnation u53; 13? objects array:1-4:part
fingerprint             0 swarm_id bytes:32; 1 holder bytes:32; 2 verifier bytes:32; 3 nonce bytes:16;
                        4 epoch u53; 5 digest bytes:32

objects 1 OFFER         1 transfer u32; 2 root bytes:32; 3 size 0-4294967296; 4 header bytes:0-512;
                        5? body bytes:1-4096
objects 2 WANT          1 transfer u32; 2 ranges array:2-512:u64; 3 credit u64
objects 3 DONE          1 transfer u32
objects 4 CANCEL        1 transfer u32; 2 code u16; 3 by_offerer bool
manifest 1 HELLO        1 initiator bool; 2 swarm_id bytes:32; 3 schema_version u8; 4 arch_hash text:128;
                        5 input_shape array:0-16:1-4294967295; 6 output_shape array:0-16:1-4294967295;
                        7 aggregation text:64; 8 topology text:64; 9 compression_enabled bool;
                        10 byzantine_f u16; 11 max_object_bytes 1-4294967296;
                        12 features array:0-32:text:32; 13? expires_unix u53
manifest 2 AGREE
manifest 3 REFUSE       1 code u16; 2 term text:32; 3 reason text:64
fetch 3 REFUSE          1 code u16; 2 term text:32; 3 reason text:64
fetch 4 GET             1 swarm_id bytes:32; 2 offset u20
fetch 5 PIECE           1 offset u20; 2 total 1-1048576; 3 data bytes:1-8192; 4? signature bytes:64
membership 1 RECORDS    1 records array:1-8:bytes:1-512
gossip 2 PROOF          1 first bytes:1-512; 2 second bytes:1-512
fingerprint 1 REQUEST   1 nonce bytes:16; 2? epoch u53
fingerprint 2 ANSWER    1 statement bytes:1-268; 2 body bytes:1-15360
fingerprint 3 DECLINE   1 nonce bytes:16; 2 code u16
session 1 OFFER         1 method 1-2!E_FRAME_CONTEXT; 2 value bytes:32-1184
session 2 REPLY         1 method 1-2!E_FRAME_CONTEXT; 2 value bytes:32-1088
exchange 1 OFFER        1 exchange bytes:16; 3 root bytes:32; 4 size 1-4294967296; 5 weight 1-4294967296;
                        6 lateness 0-64; 7 codec u8; 8 metadata opaque
exchange 2 ACCEPT       1 exchange bytes:16; 2 answer bytes:16; 3 root bytes:32; 4 size 1-4294967296;
                        8 metadata opaque
exchange 3 READY        1 exchange bytes:16; 2 answer bytes:16
exchange 4 ASK          1 exchange bytes:16; 2 answer bytes:16
exchange 5 COMMIT       1 exchange bytes:16; 2 answer bytes:16
exchange 6 ABORT        1 exchange bytes:16; 2? answer bytes:16; 9 code u16
exchange 7 ACK          1 exchange bytes:16; 2 answer bytes:16
"""
MAX_BYTES = {"manifest": 2048, "fetch": CONSTANTS["manifest_piece_bytes"] + 128, "fingerprint-statement": 192}


class Field(NamedTuple):
    """One key of a map."""

    name: str
    kind: str
    optional: bool


Schema = dict[int, Field]


def read_table(table: str) -> tuple[dict[str, Schema], dict[str, dict[int, str]]]:
    """The schemas by name ("update", "objects OFFER"), and each channel's kinds."""
    schemas: dict[str, Schema] = {}
    kinds: dict[str, dict[int, str]] = {}
    for row in table.replace("\n" + " " * 24, " ").strip().splitlines():
        words, fields = row[:24].split(), row[24:]
        if len(words) == 3:
            kinds.setdefault(words[0], {})[int(words[1])] = words[2]
        schema: Schema = {}
        for field in filter(None, fields.split(";")):
            key, name, kind = field.split()
            schema[int(key.rstrip("?"))] = Field(name, kind, key.endswith("?"))
        schemas[" ".join(word for word in words if not word.isdigit())] = schema
    return schemas, kinds


def check(kind: str, value: Any) -> None:
    """`E_SCHEMA`, or the type's own code, for a value that is not of a type."""
    kind, _, code = kind.partition("!")
    name, _, bounds = kind.partition(":")
    if name in NAMED:
        NAMED[name](value)
    elif name == "bytes":
        need(
            isinstance(value, bytes) and inside(len(value), bounds),
            "E_SCHEMA",
            f"{bounds} bytes are expected",
        )
    elif name == "text":
        need(
            isinstance(value, str) and len(value.encode()) <= int(bounds),
            "E_SCHEMA",
            "a short text is expected",
        )
    elif name == "array":
        count, _, item = bounds.partition(":")
        need(isinstance(value, list) and inside(len(value), count), "E_SCHEMA", f"{count} items are expected")
        for each in value:
            check(item, each)
    else:
        need(type(value) is int and value >= 0, "E_SCHEMA", "an unsigned integer is expected")
        need(inside(value, name), code or "E_SCHEMA", f"{value} is not in {name}")


def inside(value: int, bounds: str) -> bool:
    """Whether a number is in a range: "a-b", "a" alone, or "uN"."""
    if bounds.startswith("u"):
        return value < 1 << int(bounds[1:])
    least, _, most = bounds.partition("-")
    return int(least) <= value <= int(most or least)


def boolean(value: Any) -> None:
    """True or false."""
    need(isinstance(value, bool), "E_SCHEMA", "a boolean is expected")


def opaque(value: Any) -> None:
    """A map for somebody else to read: at most 16 keys, no maps and no null inside."""
    need(isinstance(value, dict) and len(value) <= 16, "E_SCHEMA", "a map of at most 16 keys is expected")
    for each in value.values():
        plain(each)


def plain(value: Any) -> None:
    """Integers, strings, booleans, and arrays of these."""
    need(value is not None and not isinstance(value, dict), "E_SCHEMA", "a map or null inside a plain map")
    for each in value if isinstance(value, list) else []:
        plain(each)


def address(value: Any) -> None:
    """A byte string that names a host and a port."""
    need(isinstance(value, bytes), "E_SCHEMA", "a byte string is expected")
    decode_address(value)


def parameters(value: Any) -> None:
    """The transport parameters, a map of their own."""
    need(isinstance(value, dict), "E_SCHEMA", "a map is expected")
    named(SCHEMAS["parameters"], value)


def part(value: Any) -> None:
    """A further object of an update: root, size, codec, name."""
    need(isinstance(value, list) and len(value) == 4, "E_SCHEMA", "an array of four is expected")
    for kind, each in zip(("bytes:32", "1-4294967296", "u8", "text:32"), value, strict=True):
        check(kind, each)


NAMED: dict[str, Callable[[Any], None]] = {
    "bool": boolean,
    "opaque": opaque,
    "address": address,
    "parameters": parameters,
    "part": part,
}
SCHEMAS, KINDS = read_table(TABLE)


def named(schema: Schema, value: dict[int, Any]) -> Message:
    """The known keys by name; `E_SCHEMA` for what the schema does not allow (C-020 to C-022)."""
    fields: Message = {}
    for key, each in value.items():
        if key in schema:
            check(schema[key].kind, each)
            fields[schema[key].name] = each
        else:
            need(key >= CONSTANTS["first_ignorable_key"], "E_SCHEMA", f"an unknown key {key}")
    for key, field in schema.items():
        need(field.optional or key in value, "E_SCHEMA", f"key {key}, {field.name}, is missing")
    if "parameters" in fields:
        fields["parameters"] = named(SCHEMAS["parameters"], fields["parameters"])
    return fields


def numbered(schema: Schema, fields: Message) -> dict[int, Any]:
    """The map of a message, from its fields by name; absent or None where a field is left out."""
    value = {key: fields[field.name] for key, field in schema.items() if fields.get(field.name) is not None}
    if isinstance(fields.get("parameters"), dict):
        value[2] = numbered(SCHEMAS["parameters"], fields["parameters"])
    return value


def decode_map(schema: str, data: bytes, max_bytes: int | None = None) -> Message:
    """A signed statement or payload: its fields by name."""
    value = cbor.decode(data, max_bytes)
    if not isinstance(value, dict):
        raise SpecError("E_SCHEMA", "not a map")
    return named(SCHEMAS[schema], value)


def encode_map(schema: str, fields: Message) -> bytes:
    """The bytes of a statement or payload."""
    value = numbered(SCHEMAS[schema], fields)
    named(SCHEMAS[schema], value)
    return cbor.encode(value)


def encode_message(channel: str, name: str, **fields: Any) -> bytes:
    """The bytes of one message of a channel."""
    kind = next(kind for kind, each in KINDS[channel].items() if each == name)
    data = cbor.encode({0: kind} | numbered(SCHEMAS[f"{channel} {name}"], fields))
    decode_message(channel, data)
    return data


def decode_message(channel: str, data: bytes) -> Message:
    """The fields of a message, its name under "name", which is "" for a kind that a receiver ignores."""
    value = cbor.decode(data, MAX_BYTES.get(channel, LIMITS["control_message_bytes"]))
    if not isinstance(value, dict):
        raise SpecError("E_SCHEMA", "not a map")
    kind = value.pop(0, None)
    if type(kind) is not int:
        raise SpecError("E_SCHEMA", "a message without its kind")
    if kind >= CONSTANTS["first_ignorable_key"] and channel not in ("session", "objects"):
        return {"name": ""}
    need(kind in KINDS[channel], "E_SCHEMA", f"unknown kind {kind}")
    name = KINDS[channel][kind]
    fields = {"name": name} | named(SCHEMAS[f"{channel} {name}"], value)
    for condition, why in RULES.get((channel, name), []):
        need(condition(fields), "E_SCHEMA", why)
    return fields


def ascends(values: list[Any]) -> bool:
    """Whether the values are strictly ascending."""
    return all(left < right for left, right in itertools.pairwise(values))


RULES: dict[tuple[str, str], list[tuple[Callable[[Message], bool], str]]] = {
    ("manifest", "HELLO"): [
        (lambda m: ascends([f.encode() for f in m["features"]]), "features that do not ascend")
    ],
    ("fetch", "PIECE"): [
        (lambda m: m["offset"] + len(m["data"]) <= m["total"], "a piece beyond its total"),
        (lambda m: "signature" not in m or m["offset"] == 0, "a signature with a later piece"),
    ],
    ("objects", "WANT"): [
        (
            lambda m: len(m["ranges"]) % 2 == 0 and ascends(m["ranges"]),
            "ranges that are odd or do not ascend",
        ),
    ],
    ("session", "OFFER"): [
        (lambda m: len(m["value"]) == (1184 if m["method"] == 1 else 32), "a value of another length"),
    ],
    ("session", "REPLY"): [
        (lambda m: len(m["value"]) == (1088 if m["method"] == 1 else 32), "a value of another length"),
    ],
    ("exchange", "OFFER"): [
        (lambda m: m["weight"] * (2 * m["lateness"] + 1) <= 2**32, "a weight above what its lateness allows"),
    ],
}
