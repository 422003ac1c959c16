"""Families of CBOR messages of fingerprints, exchanges and sessions, and the payload of the handshake."""

from __future__ import annotations

from typing import Any

from ref import cbor
from ref import messages as ref

from .encoding import shown
from .family import HEX, VALUE, Family, Json, record
from .messages import ANSWER, GREASE_KEY, NAME, ROOT, family, kinds, strangers
from .raw import filled, item, pattern

fingerprint = family("fingerprint", "channel 4, fingerprints", "chapter 12.3")
kinds(
    fingerprint,
    "request",
    "N-002",
    {0: 1, 1: NAME},
    {2: 7},
    (
        ("nonce-15", 1, NAME[:15], "a nonce of 15 bytes"),
        ("nonce-17", 1, NAME + b"\0", "a nonce of 17 bytes"),
        ("epoch-54-bits", 2, 2**53, "an epoch of 54 bits"),
        ("epoch-negative", 2, -1, "a negative epoch"),
    ),
)
kinds(
    fingerprint,
    "answer",
    "N-010",
    {0: 2, 1: b"statement", 2: b"a body"},
    {},
    (
        ("statement-empty", 1, b"", "a statement without bytes"),
        ("statement-269", 1, bytes(269), "a statement of 269 bytes"),
        ("body-empty", 2, b"", "a body without bytes"),
        ("body-15361", 2, bytes(15361), "a body of 15,361 bytes"),
    ),
)
kinds(
    fingerprint,
    "decline",
    "N-010",
    {0: 3, 1: NAME, 2: 0x71},
    {},
    (("nonce-empty", 1, b"", "a nonce without bytes"), ("code-17-bits", 2, 2**16, "a code of 17 bits")),
)
strangers(fingerprint, "N-001", 4)
fingerprint.valid(
    "kind-64",
    "decode",
    "N-001",
    "a kind that is ignored",
    ["Grease"],
    {"bytes[3:4]": "any kind from 64 on is ignored"},
    bytes=item({0: 64}),
)

exchange = family("exchange", "channel 6, two-sided exchanges", "chapter 11b.3")
OFFER: dict[int, object] = {
    0: 1,
    1: NAME,
    3: ROOT,
    4: 6556,
    5: 2**32 // 3,
    6: 1,
    7: 1,
    8: {1: 2, 5: [True, "x", b"y", -1]},
}
kinds(
    exchange,
    "offer",
    "B-001",
    OFFER,
    {},
    (
        ("exchange-15", 1, NAME[:15], "a name of 15 bytes"),
        ("root-31", 3, ROOT[:31], "a root of 31 bytes"),
        ("size-zero", 4, 0, "an object of 0 bytes"),
        ("size-above", 4, 2**32 + 1, "an object above 2^32 bytes"),
        ("weight-zero", 5, 0, "a weight of 0"),
        ("lateness-65", 6, 65, "a lateness of 65 rounds"),
        ("codec-256", 7, 256, "a codec of 9 bits"),
        ("metadata-17", 8, dict.fromkeys(range(17), 0), "metadata with 17 keys"),
        ("metadata-map-inside", 8, {1: {}}, "a map inside the metadata"),
        ("metadata-null-inside", 8, {1: None}, "a null inside the metadata"),
        ("metadata-map-in-array", 8, {1: [{}]}, "a map in an array inside the metadata"),
        ("metadata-array", 8, [], "metadata that is an array"),
    ),
)
for _slug, _lateness, _weight in (
    ("0", 0, 2**32),
    ("1", 1, 2**32 // 3),
    ("2", 2, 2**32 // 5),
    ("64", 64, 2**32 // 129),
):
    exchange.valid(
        f"offer-weight-of-lateness-{_slug}",
        "decode",
        "B-005",
        "the most that this lateness allows",
        bytes=item({**OFFER, 5: _weight, 6: _lateness}),
    )
    exchange.invalid(
        f"offer-weight-above-lateness-{_slug}",
        "decode",
        "E_SCHEMA",
        "B-005",
        "one more than this lateness allows",
        ["Range"],
        bytes=item({**OFFER, 5: _weight + 1, 6: _lateness}),
    )
kinds(
    exchange,
    "accept",
    "B-001",
    {0: 2, 1: NAME, 2: ANSWER, 3: ROOT, 4: 6556, 8: {}},
    {},
    (
        ("answer-17", 2, ANSWER + b"\0", "an answer of 17 bytes"),
        ("size-zero", 4, 0, "an object of 0 bytes"),
        ("metadata-text", 8, "m", "metadata that is text"),
    ),
)
for _kind, _name in ((3, "ready"), (4, "ask"), (5, "commit"), (7, "ack")):
    kinds(
        exchange,
        _name,
        "B-001",
        {0: _kind, 1: NAME, 2: ANSWER},
        {},
        (("answer-15", 2, ANSWER[:15], "an answer of 15 bytes"),),
    )
kinds(
    exchange,
    "abort",
    "B-023",
    {0: 6, 1: NAME, 9: 0x45},
    {2: ANSWER},
    (("answer-15", 2, ANSWER[:15], "an answer of 15 bytes"), ("code-17-bits", 9, 2**16, "a code of 17 bits")),
)
strangers(exchange, "B-002", 8)
exchange.valid(
    "kind-64",
    "decode",
    "B-002",
    "a kind that is ignored",
    ["Grease"],
    {"bytes[3:4]": "any kind from 64 on is ignored"},
    bytes=item({0: 64}),
)

session = family("session", "channel 5, new secrets", "chapter 5a.7")
kinds(
    session,
    "offer-x25519",
    "K-031",
    {0: 1, 1: 2, 2: ROOT},
    {},
    (("value-text", 2, "a" * 32, "a value that is text"),),
)
kinds(
    session,
    "reply-x25519",
    "K-031",
    {0: 2, 1: 2, 2: ROOT},
    {},
    (("value-text", 2, "a" * 32, "a value that is text"),),
)
session.valid("offer-ml-kem", "decode", "K-031", bytes=item({0: 1, 1: 1, 2: pattern(1184)}))
session.valid("reply-ml-kem", "decode", "K-031", bytes=item({0: 2, 1: 1, 2: pattern(1088)}))
for _slug, _why, _value in (
    ("offer-method-3", "a method that is not assigned", {0: 1, 1: 3, 2: ROOT}),
    ("reply-method-255", "a method that is not assigned", {0: 2, 1: 255, 2: ROOT}),
):
    session.invalid(_slug, "decode", "E_FRAME_CONTEXT", "K-031", _why, ["Method"], bytes=item(_value))
strangers(session, "K-030", 3)
session.invalid(
    "kind-64", "decode", "E_SCHEMA", "K-030", "here no kind is ignored", ["UnknownKind"], bytes=item({0: 64})
)

payload = Family(
    "handshake-payload",
    "The payload of handshake messages 2 and 3 (chapter 5.5).",
    "Decode `bytes` as a payload of at most 1,024 bytes. Compare the map of the keys that this edition "
    "knows and its bytes. The peer id and "
    "the signature are not checked here.",
)


@payload.op("decode", "bytes to a payload", takes=record(bytes=HEX), gives=record(value=VALUE, bytes=HEX))
def _payload(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    fields = ref.decode_map("payload", bytes.fromhex(given["bytes"]), 1024)
    value = ref.numbered(ref.SCHEMAS["payload"], fields)
    return {}, {"value": shown(value), "bytes": cbor.encode(value)}


PARAMETERS: dict[int, object] = {0: 60000, 1: 65507, 2: 25, 3: 0}
PAYLOAD: dict[int, Any] = {0: pattern(32), 1: pattern(64), 2: PARAMETERS, 5: pattern(8)}
OPTIONAL: dict[int, object] = {3: b"a record", 4: bytes.fromhex("c00002011b59")}
payload.valid("least", "decode", "S-020 S-027", bytes=item(PAYLOAD))
payload.valid(
    "all", "decode", "S-020 S-027", bytes=item({**PAYLOAD, **OPTIONAL, 2: {**PARAMETERS, 4: pattern(16)}})
)
payload.valid(
    "without-post-quantum",
    "decode",
    "S-028",
    "parameters without keys 3 and 4 are read, as if key 3 were 0",
    bytes=item({**PAYLOAD, 2: {0: 60000, 1: 65507, 2: 25, 3: 0}}),
)
payload.valid(
    "ipv6",
    "decode",
    "C-040",
    bytes=item({**PAYLOAD, 4: bytes.fromhex("20010db80000000000000000000000011b59")}),
)
payload.valid(
    "least-parameters", "decode", "S-020", bytes=item({**PAYLOAD, 2: {0: 1000, 1: 1200, 2: 0, 3: 0}})
)
payload.valid(
    "largest-parameters", "decode", "S-020", bytes=item({**PAYLOAD, 2: {0: 600000, 1: 65507, 2: 1000, 3: 2}})
)
_greased = item({**PAYLOAD, GREASE_KEY: 7})
payload.valid(
    "grease",
    "decode",
    "C-022",
    "",
    ["Grease"],
    {f"bytes[{len(_greased) - 2}:{len(_greased)}]": "a key that means nothing, and its value"},
    bytes=_greased,
)
for _key in PAYLOAD:
    payload.invalid(
        f"without-{_key}",
        "decode",
        "E_SCHEMA",
        "C-020 S-020",
        f"key {_key} is missing",
        ["Missing"],
        bytes=item({k: v for k, v in PAYLOAD.items() if k != _key}),
    )
for _slug, _rules, _why, _key, _value in (
    ("peer-31", "C-020", "a peer id of 31 bytes", 0, bytes(31)),
    ("signature-63", "C-020", "a signature of 63 bytes", 1, bytes(63)),
    ("parameters-array", "C-020", "parameters that are an array", 2, [60000, 65507, 25]),
    ("record-empty", "C-020", "a record without bytes", 3, b""),
    ("record-513", "C-020", "a record of 513 bytes", 3, bytes(513)),
    ("address-5", "C-040", "an address of 5 bytes", 4, bytes(5)),
    ("address-port-zero", "C-041", "an address with port 0", 4, bytes.fromhex("c00002010000")),
    ("address-text", "C-020", "an address that is text", 4, "192.0.2.1:7001"),
    ("id-7", "C-020 S-027", "a connection id of 7 bytes", 5, bytes(7)),
    ("id-9", "C-020 S-027", "a connection id of 9 bytes", 5, bytes(9)),
    ("key-6", "C-021", "an unknown key below 64", 6, 0),
    ("parameter-key-5", "C-021", "an unknown key below 64 in the parameters", 2, {**PARAMETERS, 5: 0}),
    ("token-15", "C-020", "a reset token of 15 bytes", 2, {**PARAMETERS, 4: bytes(15)}),
):
    payload.invalid(_slug, "decode", "E_SCHEMA", _rules, _why, bytes=item({**PAYLOAD, _key: _value}))
for _slug, _why, _value in (
    ("idle-999", "an idle time-out of 999 ms", {0: 999}),
    ("idle-600001", "an idle time-out of 600,001 ms", {0: 600001}),
    ("datagram-1199", "datagrams of 1,199 bytes", {1: 1199}),
    ("datagram-65508", "datagrams of 65,508 bytes", {1: 65508}),
    ("delay-1001", "a delay of 1,001 ms", {2: 1001}),
    ("post-quantum-3", "a post-quantum exchange of 3", {3: 3}),
):
    payload.invalid(
        _slug,
        "decode",
        "E_HS_PARAMS",
        "S-020",
        _why,
        ["Range"],
        bytes=item({**PAYLOAD, 2: {**PARAMETERS, **_value}}),
    )
payload.invalid(
    "too-big", "decode", "E_TOO_BIG", "S-024", "1,025 bytes", ["Size"], bytes=filled(PAYLOAD, 1025)
)

FAMILIES = (payload, session, exchange, fingerprint)
