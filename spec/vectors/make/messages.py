"""Families of CBOR messages, one for each channel; the second half is in `more_messages`."""

from __future__ import annotations

from collections.abc import Mapping

from ref import cbor
from ref import messages as ref

from .encoding import shown
from .family import HEX, VALUE, Family, Json, either, record
from .raw import Raw, filled, item, pattern

GREASE_KEY = 0x59
Fault = tuple[str, int, object, str]
"""Slug, key, value, reason."""


def family(channel: str, what: str, section: str) -> Family:
    """Return the empty family of a channel's messages."""
    found = Family(
        f"messages-{channel}",
        f"Messages of {what}: maps with small keys, as {section} and the schema have them.",
        "Decode `bytes` as a message. Compare its kind, the map of the keys that this edition knows, and "
        "the bytes of that map encoded "
        "again: keys from 64 on are left out. A message of a kind from 64 on is ignored; its `kind` is "
        "null and its map empty.",
    )

    @found.op(
        "decode",
        "bytes to a message",
        takes=record(bytes=HEX),
        gives=record(kind=either({"type": "integer"}, {"type": "null"}), value=VALUE, bytes=HEX),
    )
    def _decode(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
        fields = ref.decode_message(channel, bytes.fromhex(given["bytes"]))
        name = fields.pop("name")
        if not name:
            return {}, {"kind": None, "value": shown({}), "bytes": b""}
        kind = next(kind for kind, each in ref.KINDS[channel].items() if each == name)
        value = {0: kind} | ref.numbered(ref.SCHEMAS[f"{channel} {name}"], fields)
        return {}, {"kind": kind, "value": shown(value), "bytes": cbor.encode(value)}

    return found


def kinds(
    found: Family,
    name: str,
    rules: str,
    sample: dict[int, object],
    optional: Mapping[int, object],
    faults: tuple[Fault, ...],
) -> None:
    """Add one kind of message: with and without what is optional, and everything that is wrong with it."""
    found.valid(name, "decode", rules, bytes=item(sample))
    if optional:
        found.valid(f"{name}-with-all", "decode", rules, bytes=item({**sample, **optional}))
    greased = item({**sample, GREASE_KEY: 7})
    end = len(greased)
    found.valid(
        f"{name}-grease",
        "decode",
        f"{rules} C-022 C-023",
        f"the key {GREASE_KEY} means nothing",
        ["Grease"],
        {f"bytes[{end - 2}:{end}]": "a key that means nothing, and its value"},
        bytes=greased,
    )
    for key in sample:
        if key:
            found.invalid(
                f"{name}-without-{key}",
                "decode",
                "E_SCHEMA",
                f"{rules} C-020",
                f"key {key} is missing",
                ["Missing"],
                bytes=item({k: v for k, v in sample.items() if k != key}),
            )
    for key in {**sample, **optional}:
        if key:
            found.invalid(
                f"{name}-null-{key}",
                "decode",
                "E_SCHEMA",
                f"{rules} C-020",
                f"key {key} is null",
                ["Kind"],
                bytes=item({**sample, **optional, key: None}),
            )
    found.invalid(
        f"{name}-key-63",
        "decode",
        "E_SCHEMA",
        f"{rules} C-021",
        "an unknown key below 64",
        ["UnknownKey"],
        bytes=item({**sample, 63: 0}),
    )
    for slug, key, value, why in faults:
        found.invalid(
            f"{name}-{slug}",
            "decode",
            "E_SCHEMA",
            f"{rules} C-020",
            why,
            ["Range"],
            bytes=item({**sample, **({key: optional[key]} if key in optional else {}), key: value}),
        )


def strangers(found: Family, rules: str, unknown: int) -> None:
    """Add what is no message of the channel at all."""
    found.invalid("no-map", "decode", "E_SCHEMA", "C-020", "an array", ["Kind"], bytes=item([1, 2]))
    found.invalid(
        "no-kind", "decode", "E_SCHEMA", "C-020", "key 0 is missing", ["Missing"], bytes=item({1: 1})
    )
    found.invalid(
        "kind-text", "decode", "E_SCHEMA", "C-020", "a kind that is text", ["Kind"], bytes=item({0: "1"})
    )
    found.invalid(
        "kind-negative", "decode", "E_SCHEMA", "C-020", "a kind below 0", ["Kind"], bytes=item({0: -1})
    )
    found.invalid(
        "kind-true",
        "decode",
        "E_SCHEMA",
        "C-020",
        "a kind that is a boolean",
        ["Kind"],
        bytes=item({0: True}),
    )
    found.invalid(
        "kind-unknown",
        "decode",
        "E_SCHEMA",
        rules,
        "an unknown kind below 64",
        ["UnknownKind"],
        bytes=item({0: unknown}),
    )
    found.invalid("empty", "decode", "E_CBOR", "C-002", "no bytes", bytes=b"")
    found.invalid(
        "long-form",
        "decode",
        "E_CBOR_CANON",
        "C-003",
        "the kind in a longer form",
        bytes=item({0: Raw("1801")}),
    )
    found.invalid(
        "byte-behind", "decode", "E_CBOR", "C-002", "a byte follows the message", bytes=item({0: 1}) + b"\0"
    )


ROOT = pattern(32)
NAME, ANSWER = pattern(16), pattern(16, 16)

objects = family("objects", "channel 0, transfers", "chapter 9.2")
kinds(
    objects,
    "offer",
    "O-001",
    {0: 1, 1: 7, 2: ROOT, 3: 40000, 4: b"header"},
    {5: b"inline"},
    (
        ("transfer-33-bits", 1, 2**32, "a transfer of 33 bits"),
        ("transfer-negative", 1, -1, "a negative transfer"),
        ("root-31", 2, ROOT[:31], "a root of 31 bytes"),
        ("root-33", 2, ROOT + b"\0", "a root of 33 bytes"),
        ("size-above", 3, 2**32 + 1, "a size above 2^32"),
        ("header-513", 4, bytes(513), "a header of 513 bytes"),
        ("header-text", 4, "header", "a header that is text"),
        ("body-empty", 5, b"", "an inline body without bytes"),
        ("body-4097", 5, bytes(4097), "an inline body of 4,097 bytes"),
    ),
)
objects.valid(
    "offer-largest",
    "decode",
    "O-001",
    bytes=item({0: 1, 1: 2**32 - 1, 2: ROOT, 3: 2**32, 4: bytes(512), 5: bytes(4096)}),
)
objects.valid(
    "offer-of-nothing",
    "decode",
    "O-001",
    "size 0 and an empty header",
    bytes=item({0: 1, 1: 0, 2: ROOT, 3: 0, 4: b""}),
)
kinds(
    objects,
    "want",
    "O-010",
    {0: 2, 1: 7, 2: [0, 96, 16480, 40096], 3: 1000},
    {},
    (
        ("no-ranges", 2, [], "no range"),
        ("odd", 2, [0, 96, 100], "a range without its end"),
        ("one-number", 2, [5], "a range without its end"),
        ("empty-range", 2, [5, 5], "a range without bytes"),
        ("descending", 2, [10, 5], "a range that ends before it begins"),
        ("touching", 2, [0, 5, 5, 9], "ranges that touch: the numbers do not ascend strictly"),
        ("overlapping", 2, [0, 6, 5, 9], "ranges that overlap"),
        ("unordered", 2, [20, 30, 0, 10], "ranges out of order"),
        ("514-numbers", 2, list(range(514)), "more than 512 numbers"),
        ("negative", 2, [-1, 5], "a negative offset"),
        ("text", 2, ["0", "5"], "offsets that are text"),
        ("credit-negative", 3, -1, "a negative credit"),
    ),
)
objects.valid(
    "want-512-numbers", "decode", "O-010", bytes=item({0: 2, 1: 7, 2: list(range(512)), 3: 2**64 - 1})
)
kinds(objects, "done", "O-027", {0: 3, 1: 7}, {}, (("transfer-bytes", 1, b"7", "a transfer that is bytes"),))
kinds(
    objects,
    "cancel",
    "O-002 O-031",
    {0: 4, 1: 7, 2: 0x44, 3: True},
    {},
    (
        ("code-17-bits", 2, 2**16, "a code of 17 bits"),
        ("side-number", 3, 1, "a number in place of a boolean"),
    ),
)
strangers(objects, "C-020", 5)

HELLO: dict[int, object] = {
    0: 1,
    1: True,
    2: ROOT,
    3: 3,
    4: "sha256:" + "ab" * 32,
    5: [64],
    6: [10],
    7: "FedAvg",
    8: "Random",
    9: False,
    10: 0,
    11: 1 << 28,
    12: ["introduce", "relay"],
}
manifest = family("manifest", "channel 1, the manifest handshake", "chapter 4b.3")
kinds(
    manifest,
    "hello",
    "H-001",
    HELLO,
    {13: 2_000_000_000},
    (
        ("initiator-number", 1, 1, "a number in place of a boolean"),
        ("swarm-31", 2, ROOT[:31], "a swarm id of 31 bytes"),
        ("schema-256", 3, 256, "a schema version of 9 bits"),
        ("arch-129", 4, "a" * 129, "an architecture hash of 129 bytes"),
        ("arch-bytes", 4, b"a", "an architecture hash that is bytes"),
        ("input-17", 5, [1] * 17, "a shape of 17 numbers"),
        ("input-zero", 5, [0], "a shape with a zero"),
        ("output-33-bits", 6, [2**32], "a shape with a number of 33 bits"),
        ("aggregation-65", 7, "a" * 65, "a name of 65 bytes"),
        ("aggregation-65-in-characters", 7, "ü" * 33, "33 characters, 66 bytes"),
        ("topology-65", 8, "a" * 65, "a name of 65 bytes"),
        ("compression-number", 9, 0, "a number in place of a boolean"),
        ("byzantine-17-bits", 10, 2**16, "a count of 17 bits"),
        ("object-zero", 11, 0, "a largest update of 0 bytes"),
        ("object-above", 11, 2**32 + 1, "a largest update above 2^32"),
        ("features-33", 12, [f"f{n:02}" for n in range(33)], "33 features"),
        ("feature-33-bytes", 12, ["a" * 33], "a feature of 33 bytes"),
        ("feature-bytes", 12, [b"relay"], "a feature that is bytes"),
        ("expires-54-bits", 13, 2**53, "a time of 54 bits"),
        ("expires-negative", 13, -1, "a time before 1970"),
    ),
)
for _slug, _why, _features in (
    ("features-descend", "features out of order", ["relay", "introduce"]),
    ("features-twice", "a feature twice", ["relay", "relay"]),
    ("features-in-alphabet", "ü sorts behind z as bytes", ["ü", "z"]),
):
    manifest.invalid(
        f"hello-{_slug}", "decode", "E_SCHEMA", "H-003", _why, ["Order"], bytes=item({**HELLO, 12: _features})
    )
manifest.valid(
    "hello-features-as-bytes",
    "decode",
    "H-003",
    "upper case, lower case, then ü",
    bytes=item({**HELLO, 12: ["", "A", "a", "aa", "ü"]}),
)
manifest.valid(
    "hello-scalars",
    "decode",
    "H-001",
    "empty shapes, texts and features",
    bytes=item({**HELLO, 4: "", 5: [], 6: [1] * 16, 7: "", 8: "", 12: []}),
)
kinds(manifest, "agree", "H-001", {0: 2}, {}, ())
kinds(
    manifest,
    "refuse",
    "H-010",
    {0: 3, 1: 0x39, 2: "arch_hash", 3: "another model"},
    {},
    (
        ("code-17-bits", 1, 2**16, "a code of 17 bits"),
        ("term-33", 2, "a" * 33, "a term of 33 bytes"),
        ("reason-65", 3, "a" * 65, "a reason of 65 bytes"),
        ("reason-bytes", 3, b"why", "a reason that is bytes"),
    ),
)
strangers(manifest, "H-004", 4)
manifest.invalid(
    "kind-get",
    "decode",
    "E_SCHEMA",
    "H-004",
    "GET is for sessions in fetch mode",
    ["UnknownKind"],
    bytes=item({0: 4, 1: ROOT, 2: 0}),
)
manifest.invalid(
    "too-big",
    "decode",
    "E_TOO_BIG",
    "C-010",
    "a message of 2,049 bytes",
    ["Size"],
    bytes=filled({0: 2}, 2049),
)
_filled = filled({0: 2}, 2048)
manifest.valid(
    "largest",
    "decode",
    "C-010 C-022",
    "2,048 bytes, most of them ignored",
    (),
    {
        "bytes[4:5]": "a key that means nothing",
        f"bytes[8:{len(_filled)}]": "the value of a key that means nothing",
    },
    bytes=_filled,
)
manifest.valid(
    "kind-64",
    "decode",
    "H-004",
    "a kind that is ignored",
    ["Grease"],
    {"bytes[3:4]": "any kind from 64 on is ignored"},
    bytes=item({0: 64}),
)

fetch = family("fetch", "channel 1 in sessions in fetch mode", "chapter 4b.9")
kinds(
    fetch,
    "get",
    "H-033",
    {0: 4, 1: ROOT, 2: 8192},
    {},
    (
        ("swarm-33", 1, ROOT + b"\0", "a swarm id of 33 bytes"),
        ("offset-21-bits", 2, 2**20, "an offset of 21 bits"),
    ),
)
kinds(
    fetch,
    "piece",
    "H-030",
    {0: 5, 1: 0, 2: 10, 3: b"a manifest"},
    {4: pattern(64)},
    (
        ("offset-21-bits", 1, 2**20, "an offset of 21 bits"),
        ("total-zero", 2, 0, "a manifest of 0 bytes"),
        ("total-above", 2, 2**20 + 1, "a manifest above 2^20 bytes"),
        ("data-empty", 3, b"", "a piece without bytes"),
        ("data-8193", 3, bytes(8193), "a piece of 8,193 bytes"),
        ("signature-63", 4, bytes(63), "a signature of 63 bytes"),
    ),
)
fetch.valid(
    "piece-largest", "decode", "H-030", bytes=item({0: 5, 1: 0, 2: 2**20, 3: bytes(8192), 4: pattern(64)})
)
fetch.invalid(
    "piece-beyond-total",
    "decode",
    "E_SCHEMA",
    "H-031",
    "the piece ends behind its total",
    ["Range"],
    bytes=item({0: 5, 1: 1, 2: 10, 3: b"a manifest"}),
)
fetch.invalid(
    "piece-signature-later",
    "decode",
    "E_SCHEMA",
    "H-031",
    "a signature with a later piece",
    ["Range"],
    bytes=item({0: 5, 1: 8192, 2: 8193, 3: b"m", 4: pattern(64)}),
)
kinds(
    fetch,
    "refuse",
    "H-034",
    {0: 3, 1: 0x30, 2: "", 3: "not served here"},
    {},
    (("reason-65", 3, "a" * 65, "a reason of 65 bytes"),),
)
strangers(fetch, "H-004", 1)
fetch.invalid(
    "too-big",
    "decode",
    "E_TOO_BIG",
    "C-010",
    "one byte more than 8,320",
    ["Size"],
    bytes=filled({0: 5, 1: 0, 2: 10, 3: b"a manifest"}, 8321),
)

membership = family("membership", "channel 2, peer records", "chapter 10.6")
kinds(
    membership,
    "records",
    "M-019",
    {0: 1, 1: [b"a record", b"another"]},
    {},
    (
        ("none", 1, [], "no record"),
        ("nine", 1, [b"r"] * 9, "nine records"),
        ("empty-record", 1, [b""], "a record without bytes"),
        ("record-513", 1, [bytes(513)], "a record of 513 bytes"),
        ("record-text", 1, ["r"], "a record that is text"),
        ("bytes", 1, b"r", "bytes in place of an array"),
    ),
)
membership.valid("records-largest", "decode", "M-019", bytes=item({0: 1, 1: [bytes(512)] * 8}))
strangers(membership, "M-019", 2)
membership.valid(
    "kind-64",
    "decode",
    "M-019",
    "a kind that is ignored",
    ["Grease"],
    {"bytes[3:4]": "any kind from 64 on is ignored"},
    bytes=item({0: 64}),
)

gossip = family("gossip", "channel 3, proofs of equivocation", "chapter 11.6")
kinds(
    gossip,
    "proof",
    "G-034",
    {0: 2, 1: b"first", 2: b"second"},
    {},
    (
        ("first-empty", 1, b"", "a header without bytes"),
        ("second-513", 2, bytes(513), "a header of 513 bytes"),
        ("second-text", 2, "second", "a header that is text"),
    ),
)
strangers(gossip, "G-006", 1)
gossip.valid(
    "kind-64",
    "decode",
    "G-006",
    "a kind that is ignored",
    ["Grease"],
    {"bytes[3:4]": "any kind from 64 on is ignored"},
    bytes=item({0: 64}),
)

FAMILIES = (manifest, fetch, objects, membership, gossip)
