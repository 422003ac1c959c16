"""Families of chapter 3: deterministic CBOR, and addresses."""

from __future__ import annotations

from ref import addresses, cbor

from .family import BOOL, HEX, NUM, TEXT, VALUE, Family, Json, record
from .raw import Pairs, Raw, head, item

dcbor = Family(
    "dcbor",
    "One CBOR data item in the deterministic profile of chapter 3.",
    "Decode `bytes` as one message of at most `max_bytes` bytes (where it is absent, of any size). Compare "
    "the value; encode it and "
    "compare the bytes with what came in. For a refused item compare the code: it is that of the first "
    "fault in the order of the bytes "
    "(C-015). `value` writes integers as decimal strings.",
)


def shown(value: cbor.Value) -> Json:
    """Write a decoded value so that no JSON reader can mistake its type or round it."""
    if value is None or isinstance(value, bool):
        return {"simple": {None: "null", False: "false", True: "true"}[value]}
    if isinstance(value, int):
        return {"int": str(value)}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, str):
        return {"text": value}
    if isinstance(value, list):
        return {"array": [shown(element) for element in value]}
    return {"map": [[str(key), shown(entry)] for key, entry in value.items()]}


@dcbor.op(
    "decode",
    "bytes to the value that they encode",
    takes=record(bytes=HEX, max_bytes_=NUM),
    gives=record(value=VALUE, bytes=HEX),
)
def _decode(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    value = cbor.decode(bytes.fromhex(given["bytes"]), given.get("max_bytes"))
    return {}, {"value": shown(value), "bytes": cbor.encode(value)}


def _nested(depth: int) -> bytes:
    return b"\x81" * (depth - 1) + b"\x80"


VALID: tuple[tuple[str, str, object], ...] = (
    ("zero", "C-001 C-003", 0),
    ("largest-in-the-head", "C-003", 23),
    ("least-of-one-byte", "C-003", 24),
    ("largest-of-one-byte", "C-003", 255),
    ("least-of-two-bytes", "C-003", 256),
    ("largest-of-two-bytes", "C-003", 65535),
    ("least-of-four-bytes", "C-003", 65536),
    ("largest-of-four-bytes", "C-003", 2**32 - 1),
    ("least-of-eight-bytes", "C-003", 2**32),
    ("beyond-53-bits", "C-003", 2**53 + 1),
    ("largest-unsigned", "C-003", 2**64 - 1),
    ("minus-one", "C-003", -1),
    ("minus-24", "C-003", -24),
    ("minus-25", "C-003", -25),
    ("least-negative", "C-006", -(2**63)),
    ("empty-bytes", "C-002", b""),
    ("bytes", "C-002", bytes(range(24))),
    ("empty-text", "C-002", ""),
    ("text", "C-002", "IETF"),
    ("composed-text", "C-007", "ü水"),
    ("text-beyond-the-basic-plane", "C-002", "𐅑"),
    ("longest-text", "C-013", "a" * 256),
    ("empty-array", "C-004", []),
    ("array", "C-004", [1, [2, 3], [b"\x04", "5"]]),
    ("deepest-nesting", "C-011", Raw(_nested(8))),
    ("empty-map", "C-005", {}),
    ("ascending-keys", "C-005", {1: 2, 3: 4, 24: 5, 256: 6, 65536: 7}),
    ("largest-key", "C-008", {2**32 - 1: 0}),
    ("simple-values", "C-006", [False, True, None]),
)
for _slug, _req, _value in VALID:
    dcbor.valid(_slug, "decode", _req, bytes=item(_value))

INVALID: tuple[tuple[str, str, str, str, bytes | str], ...] = (
    ("nothing", "E_CBOR", "C-002", "no item at all", ""),
    ("two-items", "E_CBOR", "C-002", "bytes follow the item", "0000"),
    ("argument-cut", "E_CBOR", "C-002", "the argument of two bytes has one", "1900"),
    ("bytes-cut", "E_CBOR", "C-014", "a string of 4 bytes with 3", "44010203"),
    ("bytes-of-exabytes", "E_CBOR", "C-014", "a length far beyond the message", "5b7fffffffffffffff"),
    ("text-cut", "E_CBOR", "C-014", "a text of 4 bytes with 3", "64616263"),
    ("array-cut", "E_CBOR", "C-014", "an array of 3 elements with 2", "830102"),
    ("array-of-gigabytes", "E_CBOR", "C-014", "more elements than bytes are left", "9affffffff00"),
    ("map-cut", "E_CBOR", "C-014", "a map of 2 pairs with 3 bytes behind it", "a2010203"),
    ("map-of-gigabytes", "E_CBOR", "C-014", "more pairs than bytes are left", "baffffffff0000"),
    ("reserved-28", "E_CBOR", "C-002", "additional information 28 is reserved", "1c"),
    ("reserved-29-bytes", "E_CBOR", "C-002", "additional information 29 is reserved", "5d"),
    ("reserved-30-map", "E_CBOR", "C-002", "additional information 30 is reserved", "be"),
    ("indefinite-integer", "E_CBOR", "C-002", "an integer has no indefinite form", "1f"),
    ("break-alone", "E_CBOR", "C-002", "a break outside an indefinite item", "ff"),
    ("false-in-two-bytes", "E_CBOR", "C-002", "RFC 8949 calls f8 with less than 32 not well-formed", "f814"),
    ("text-surrogate", "E_CBOR", "C-002", "a surrogate is not UTF-8", "63eda080"),
    ("text-overlong", "E_CBOR", "C-002", "an overlong form is not UTF-8", "62c0af"),
    ("text-truncated-character", "E_CBOR", "C-002", "the text ends inside a character", "61c3"),
    ("text-beyond-unicode", "E_CBOR", "C-002", "a code point above U+10FFFF", "64f4908080"),
    ("23-in-two-bytes", "E_CBOR_CANON", "C-003", "0 to 23 stand in the initial byte", "1817"),
    ("255-in-three-bytes", "E_CBOR_CANON", "C-003", "one byte would do", "1900ff"),
    ("65535-in-five-bytes", "E_CBOR_CANON", "C-003", "two bytes would do", "1a0000ffff"),
    ("four-bytes-in-nine", "E_CBOR_CANON", "C-003", "four bytes would do", "1b00000000ffffffff"),
    ("negative-long-form", "E_CBOR_CANON", "C-003", "-1 stands in the initial byte", "3800"),
    ("length-long-form", "E_CBOR_CANON", "C-003", "a length of 1 in two bytes", "580101"),
    ("text-length-long-form", "E_CBOR_CANON", "C-003", "a length of 1 in three bytes", "79000161"),
    ("array-count-long-form", "E_CBOR_CANON", "C-003", "a count of 1 in two bytes", "980100"),
    ("map-count-long-form", "E_CBOR_CANON", "C-003", "a count of 1 in two bytes", "b8010000"),
    ("key-long-form", "E_CBOR_CANON", "C-003", "a key of 1 in two bytes", "a1180100"),
    ("indefinite-bytes", "E_CBOR_CANON", "C-004", "strings have a definite length", "5f4101ff"),
    ("indefinite-text", "E_CBOR_CANON", "C-004", "strings have a definite length", "7f6161ff"),
    ("indefinite-array", "E_CBOR_CANON", "C-004", "arrays have a definite length", "9f01ff"),
    ("indefinite-map", "E_CBOR_CANON", "C-004", "maps have a definite length", "bf0100ff"),
    ("descending-keys", "E_CBOR_CANON", "C-005", "keys ascend", item(Pairs((3, 4), (1, 2)))),
    ("key-twice", "E_CBOR_CANON", "C-005", "a key occurs once", item(Pairs((1, 2), (1, 3)))),
    ("text-not-composed", "E_CBOR_CANON", "C-007", "u and a combining diaeresis compose", "6375cc88"),
    ("text-compatibility-angstrom", "E_CBOR_CANON", "C-007", "U+212B is normalized to U+00C5", "63e284ab"),
    ("half-float", "E_SCHEMA", "C-006", "floats do not occur", "f93c00"),
    ("single-float", "E_SCHEMA", "C-006", "floats do not occur", "fa47c35000"),
    ("double-nan", "E_SCHEMA", "C-006", "floats do not occur", "fb7ff8000000000000"),
    ("undefined", "E_SCHEMA", "C-006", "undefined does not occur", "f7"),
    ("simple-0", "E_SCHEMA", "C-006", "other simple values do not occur", "e0"),
    ("simple-255", "E_SCHEMA", "C-006", "other simple values do not occur", "f8ff"),
    ("tag", "E_SCHEMA", "C-006", "tags do not occur", "c11a514b67b0"),
    ("tag-18-inside", "E_SCHEMA", "C-006", "the tag of envelopes stands in no message", "81d280"),
    ("below-minus-2-63", "E_SCHEMA", "C-006", "integers end at -2^63", "3b8000000000000000"),
    ("text-key", "E_SCHEMA", "C-008", "keys are unsigned integers", "a1616100"),
    ("negative-key", "E_SCHEMA", "C-008", "keys are unsigned integers", "a12000"),
    ("bytes-key", "E_SCHEMA", "C-008", "keys are unsigned integers", "a1410000"),
    ("array-key", "E_SCHEMA", "C-008", "keys are unsigned integers", "a18000"),
    ("key-of-33-bits", "E_SCHEMA", "C-008", "keys are below 2^32", "a11b000000010000000000"),
    ("nine-arrays", "E_TOO_BIG", "C-011", "nesting ends at cbor_depth", _nested(9)),
    ("nine-maps", "E_TOO_BIG", "C-011", "maps count for the depth too", b"\xa1\x00" * 8 + b"\xa0"),
    ("items", "E_TOO_BIG", "C-012", "one item more than cbor_items", head(4, 1024) + bytes(1024)),
    ("text-bytes", "E_TOO_BIG", "C-013", "one byte more than text_bytes", item("a" * 257)),
    ("fault-order-of-two", "E_CBOR_CANON", "C-015", "the long form comes before the float", "821817f93c00"),
    ("fault-order-reversed", "E_SCHEMA", "C-015", "the float comes before the long form", "82f93c001817"),
    (
        "fault-order-length-first",
        "E_CBOR",
        "C-015",
        "the length is judged before the content of the text",
        "63eda0",
    ),
)
for _slug, _code, _req, _why, _bytes in INVALID:
    dcbor.invalid(
        _slug, "decode", _code, _req, _why, bytes=bytes.fromhex(_bytes) if isinstance(_bytes, str) else _bytes
    )
dcbor.invalid(
    "larger-than-its-kind",
    "decode",
    "E_TOO_BIG",
    "C-010",
    "four bytes where three are allowed",
    bytes="43010203",
    max_bytes=3,
)
dcbor.invalid(
    "larger-and-malformed",
    "decode",
    "E_TOO_BIG",
    "C-010",
    "a message that is too large is not read at all",
    bytes="ffffffff",
    max_bytes=3,
)
dcbor.invalid(
    "empty-and-bounded",
    "decode",
    "E_CBOR",
    "C-002 C-010",
    "no item, and within its bound",
    bytes="",
    max_bytes=3,
)

address = Family(
    "address",
    "An IP address and a UDP port as 6 or 18 bytes (chapter 3.7).",
    "Read `bytes` as an address. Compare the IP address, as the bytes that it has once an IPv4-mapped one "
    "is read as IPv4, the port, and "
    "the bytes that a sender would write for it.",
)


@address.op(
    "decode",
    "bytes to an address",
    takes=record(bytes=HEX),
    gives=record(ip=HEX, port=NUM, text=TEXT, bytes=HEX, mapped=BOOL),
)
def _address(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    data = bytes.fromhex(given["bytes"])
    host, port = addresses.decode_address(data)
    written = addresses.encode_address((host, port))
    text = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return {}, {
        "ip": written[:-2],
        "port": port,
        "text": text,
        "bytes": written,
        "mapped": len(written) != len(data),
    }


V6 = "20010db8000000000000000000000001"
MAPPED = "00000000000000000000ffff"
for _slug, _req, _bytes in (
    ("ipv4", "C-040", "c00002011b59"),
    ("ipv4-least-port", "C-041", "c00002010001"),
    ("ipv4-largest-port", "C-041", "c0000201ffff"),
    ("ipv4-loopback", "C-041", "7f0000011b59"),
    ("ipv4-private", "C-041", "0a0000011b59"),
    ("ipv4-below-multicast", "C-041", "dfffffff1b59"),
    ("ipv4-above-multicast", "C-041", "f00000011b59"),
    ("ipv4-below-broadcast", "C-041", "fffffffe1b59"),
    ("ipv6", "C-040", V6 + "1b59"),
    ("ipv6-link-local", "C-041", "fe80" + "00" * 13 + "01" + "1b59"),
    ("ipv6-loopback", "C-041", "00" * 15 + "01" + "1b59"),
    ("ipv4-mapped", "C-042", MAPPED + "c00002011b59"),
):
    address.valid(_slug, "decode", _req, bytes=_bytes)
for _slug, _req, _why, _bytes in (
    ("nothing", "C-040", "no bytes", ""),
    ("five-bytes", "C-040", "an address has 6 or 18 bytes", "c00002011b"),
    ("seven-bytes", "C-040", "an address has 6 or 18 bytes", "c00002011b5900"),
    ("sixteen-bytes", "C-040", "an IPv6 address without its port", V6),
    ("nineteen-bytes", "C-040", "an address has 6 or 18 bytes", V6 + "1b5900"),
    ("ipv4-port-zero", "C-041", "port 0", "c00002010000"),
    ("ipv6-port-zero", "C-041", "port 0", V6 + "0000"),
    ("ipv4-unspecified", "C-041", "the unspecified address", "000000001b59"),
    ("ipv6-unspecified", "C-041", "the unspecified address", "00" * 16 + "1b59"),
    ("ipv4-first-multicast", "C-041", "a multicast address", "e00000001b59"),
    ("ipv4-last-multicast", "C-041", "a multicast address", "efffffff1b59"),
    ("ipv6-multicast", "C-041", "a multicast address", "ff02" + "00" * 13 + "01" + "1b59"),
    ("broadcast", "C-041", "the broadcast address", "ffffffff1b59"),
    (
        "mapped-unspecified",
        "C-041 C-042",
        "the unspecified address behind a mapping",
        MAPPED + "000000001b59",
    ),
    ("mapped-multicast", "C-041 C-042", "a multicast address behind a mapping", MAPPED + "e00000011b59"),
    ("mapped-broadcast", "C-041 C-042", "the broadcast address behind a mapping", MAPPED + "ffffffff1b59"),
    ("mapped-port-zero", "C-041 C-042", "port 0 behind a mapping", MAPPED + "c00002010000"),
):
    address.invalid(_slug, "decode", "E_SCHEMA", _req, _why, bytes=_bytes)

FAMILIES = (dcbor, address)
