"""Families of a swarm: the manifest's bytes and signature, its fetch, the keys that follow, and mac1."""

from __future__ import annotations

import json
from typing import Any

from ref import SpecError, identity
from ref import manifest as ref
from ref import messages as ref_messages
from ref.data import CONSTANTS, ERROR_NAMES, LIMITS
from ref.primitives import sha256

from .family import BOOL, HEX, NUM, TEXT, Family, Json, array, either, record
from .primitives import L
from .raw import flip, item, pattern

SEED, OTHER_SEED = bytes([0x11]) * 32, bytes([0x22]) * 32
PEER, OTHER = identity.peer_id(SEED), identity.peer_id(OTHER_SEED)

manifest = Family(
    "manifest",
    "A manifest's canonical bytes, its swarm id, its creator's signature (chapter 4).",
    "`canonical`: write the JSON value of `json` in canonical form and hash it. `hash`: check bytes that "
    "were fetched against the swarm id "
    "that was asked for. `signature`: check the 64 bytes that travel beside canonical bytes under the key "
    "that stands in them as "
    "`creator_pubkey`.",
)


@manifest.op(
    "canonical",
    "a JSON value to its canonical bytes",
    takes=record(json=TEXT),
    gives=record(bytes=HEX, sha256=HEX),
)
def _canonical(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    data = ref.canonical_json(json.loads(given["json"]))
    return {}, {"bytes": data, "sha256": sha256(data)}


@manifest.op(
    "hash",
    "whether bytes are those of a swarm",
    takes=record(bytes=HEX, swarm_id=HEX),
    gives=record(accepted=BOOL),
)
def _hash(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    if sha256(bytes.fromhex(given["bytes"])) != bytes.fromhex(given["swarm_id"]):
        raise SpecError("E_MAN_HASH", "bytes of another manifest")
    return {}, {"accepted": True}


@manifest.op(
    "signature",
    "whether the creator signed",
    takes=record(bytes=HEX, signature=HEX),
    gives=record(creator=HEX, swarm_id=HEX),
)
def _signature(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    data = bytes.fromhex(given["bytes"])
    creator = bytes.fromhex(json.loads(data)["creator_pubkey"].removeprefix("ed25519:"))
    try:
        signed = ref.signature_verifies(data, creator, bytes.fromhex(given["signature"]))
    except SpecError:
        signed = False
    if not signed:
        raise SpecError("E_MAN_SIG", "a signature that does not verify")
    return {}, {"creator": creator, "swarm_id": sha256(data)}


_SPARE = {"numbers": (27, 73, 93), "numbers-extreme": (1, 48)}
for _slug, _comment, _json in (
    ("empty", "", "{}"),
    ("white-space", "white space goes", ' { "a" : [ 1 , 2 ] }\n'),
    ("keys-sorted", "keys are sorted, in every object", '{"b":1,"a":{"d":1,"c":2},"B":0}'),
    (
        "keys-by-code-point",
        "U+FF5E before U+10000, although its UTF-16 code unit is larger",
        '{"\\ud800\\udc00":1,"\\uff5e":2}',
    ),
    ("escapes", "", '{"a":"\\" \\\\ \\/ \\b\\t\\n\\f\\r \\u0000 \\u001f \\u007f"}'),
    (
        "beyond-ascii",
        "written as \\u, beyond the basic plane as a surrogate pair",
        '{"name":"\\u00fc\\u6c34\\ud83d\\ude80"}',
    ),
    ("integers", "", "[0,1,-1,9007199254740993,123456789012345678901]"),
    ("integer-and-number", "1 and 1.0 are not the same", "[1,1.0,1e0,10E-1]"),
    (
        "numbers",
        "",
        "[0.1,0.3,0.30000000000000004,1e-4,1e-5,1.5e16,1e16,1e15,1234567890123456.0,12345678901234567.0]",
    ),
    ("numbers-extreme", "", "[5e-324,1.7976931348623157e308,2.2250738585072014e-308,1e22,1e23]"),
    ("negative-zero", "", "[-0.0,0.0]"),
    ("literals", "", "[true,false,null]"),
):
    _digits = {f"json[{at}:{at + 1}]": "a digit that binary64 does not hold" for at in _SPARE.get(_slug, ())}
    manifest.valid(f"canonical-{_slug}", "canonical", "H-030", _comment, (), _digits, json=_json)

FULL: dict[str, Any] = {
    "schema_version": 3,
    "name": "vectors",
    "description": "",
    "created_at": "2026-03-01T12:00:00Z",
    "expires_at": None,
    "task": {
        "type": "classification",
        "input_shape": [64],
        "output_shape": [10],
        "label_type": "integer",
        "tags": [],
    },
    "model": {
        "framework": "custom",
        "arch_hash": "sha256:" + "ab" * 32,
        "arch_spec": None,
        "genesis_weights_hash": None,
        "genesis_weights_url": None,
    },
    "model_arch_fingerprint": "sha256:" + "ab" * 32,
    "data_schema_hash": "sha256:" + "cd" * 32,
    "aggregation": {"name": "FedAvg", "params": {}},
    "topology": {"name": "Random", "params": {}},
    "compression": {"enabled": False, "params": {}},
    "byzantine": {"f": 0, "enforce_n_gt_2f_plus_2": False},
    "round_limit": None,
    "data_policy": {
        "schema_version": 3,
        "fingerprint_enabled": True,
        "min_affinity": 0.3,
        "privacy_level": "standard",
        "label_granularity": "bucket",
        "label_buckets": [["low", 0.0, 0.2], ["medium", 0.2, 0.5], ["high", 0.5, 1.0]],
        "feature_noise_sigma": 0.1,
        "gradient_noise_sigma": 0.05,
        "feature_clip_norm": 5.0,
        "feature_dp_epsilon": None,
        "gradient_dp_epsilon": None,
        "feature_dp_delta": 1e-05,
        "gradient_dp_delta": 1e-05,
        "feature_sensitivity": None,
        "gradient_sensitivity": None,
        "feature_noise_mechanism": "gaussian",
        "gradient_noise_mechanism": "gaussian",
        "sample_count_buckets": [["few", 0, 100], ["many", 100, 100000]],
        "class_count_buckets": [["few", 0, 5], ["many", 5, 1000]],
        "gradient_fingerprint": False,
        "min_classes_to_reveal": 2,
        "hash_label_keys": True,
        "label_key_hash_length": 16,
        "collaboration": {
            "version": 1,
            "mode": "standard",
            "exploration_initial": 0.5,
            "exploration_decay": 0.95,
            "exploration_min": 0.05,
            "ema_alpha": 0.3,
            "edge_decay_factor": 0.9,
            "eviction_min_weight": 0.01,
            "cold_start_rounds": 3,
            "affinity_label_w": 0.4,
            "affinity_feature_w": 0.3,
            "affinity_gradient_w": 0.2,
            "affinity_history_w": 0.1,
        },
        "personalization": {
            "version": 1,
            "model_split": "auto",
            "apfl_enabled": False,
            "apfl_initial_alpha": 0.5,
            "fedbn_enabled": False,
        },
        "prototypes": {"version": 1, "enabled": False, "alignment_weight": 0.1, "fedpac_enabled": False},
    },
    "bootstrap_peers": [],
    "tracker_urls": [],
    "telemetry": {"dashboard_url": "", "enrollment": "none"},
    "creator_pubkey": f"ed25519:{PEER.hex()}",
}
BYTES = ref.canonical_bytes(FULL)
SIGNED = identity.sign(SEED, BYTES)


def by(creator: bytes) -> bytes:
    """Return the same manifest of another creator."""
    return ref.canonical_bytes({**FULL, "creator_pubkey": f"ed25519:{creator.hex()}"})


manifest.valid(
    "canonical-whole",
    "canonical",
    "H-030",
    "a whole manifest; its signature is no part of the bytes",
    json=json.dumps(FULL, indent=2),
)
manifest.valid("hash", "hash", "H-038", bytes=BYTES, swarm_id=sha256(BYTES))
manifest.valid("signature", "signature", "H-039", bytes=BYTES, signature=SIGNED)
manifest.valid(
    "signature-other-creator",
    "signature",
    "H-039",
    bytes=by(OTHER),
    signature=identity.sign(OTHER_SEED, by(OTHER)),
)
for _slug, _why, _data in (
    ("other", "another manifest", by(OTHER)),
    ("first-byte", "the first byte is changed", flip(BYTES, 0)),
    ("last-byte", "the last byte is changed", flip(BYTES, -1)),
    ("cut", "the last byte is missing", BYTES[:-1]),
    ("longer", "a byte follows", BYTES + b"\n"),
    ("white-space", "the same value with white space", json.dumps(FULL, sort_keys=True).encode()),
    (
        "unsorted",
        "the same value with its keys in another order",
        json.dumps(FULL, separators=(",", ":")).encode(),
    ),
    (
        "with-signature",
        "the same value with its signature",
        ref.canonical_json({**FULL, "signature": f"ed25519:{SIGNED.hex()}"}),
    ),
    ("nothing", "no bytes", b""),
):
    manifest.invalid(
        f"hash-{_slug}", "hash", "E_MAN_HASH", "H-038", _why, bytes=_data, swarm_id=sha256(BYTES)
    )
_S = int.from_bytes(SIGNED[32:], "little")
for _slug, _why, _data, _signature_bytes in (
    ("other-manifest", "the signature of another manifest", by(OTHER), SIGNED),
    ("other-key", "signed by another key", BYTES, identity.sign(OTHER_SEED, BYTES)),
    ("r-changed", "a bit of R is turned over", BYTES, flip(SIGNED, 0)),
    ("s-changed", "a bit of S is turned over", BYTES, flip(SIGNED, 40)),
    ("s-plus-l", "S is L too large", BYTES, SIGNED[:32] + (_S + L).to_bytes(32, "little")),
    ("zero", "64 zero bytes", BYTES, bytes(64)),
    (
        "of-the-hash",
        "the signature covers the swarm id in place of the bytes",
        BYTES,
        identity.sign(SEED, sha256(BYTES)),
    ),
    (
        "with-a-label",
        "the signature covers a label in front of the bytes",
        BYTES,
        identity.sign(SEED, b"qgl1 manifest\0" + BYTES),
    ),
    (
        "creator-of-small-order",
        "a creator of small order, whose signature verifies for everything",
        by((1).to_bytes(32, "little")),
        (1).to_bytes(32, "little") + bytes(32),
    ),
    (
        "creator-not-canonical",
        "a creator's key that is not canonical",
        by((2**255 - 18).to_bytes(32, "little")),
        (1).to_bytes(32, "little") + bytes(32),
    ),
):
    manifest.invalid(
        f"signature-{_slug}", "signature", "E_MAN_SIG", "H-039", _why, bytes=_data, signature=_signature_bytes
    )

fetch = Family(
    "manifest-fetch",
    "Fetching a manifest, at either end (chapter 4b.9).",
    "`fetch`: begin with the GET at offset 0 and take the messages of the source in order; compare all "
    "that the fetcher sends, and what it ends "
    "with. A refusal by the source ends the fetch with its code. `serve`: take the messages of the fetcher "
    "in order at a source of this "
    "manifest and signature; compare the answers and whether the session is over. The first fault decides "
    "the code.",
)


def _read(message: str) -> dict[str, Any]:
    return ref_messages.decode_message("fetch", bytes.fromhex(message))


@fetch.op(
    "fetch",
    "messages of a source to the manifest",
    takes=record(swarm_id=HEX, messages=array(HEX)),
    mid=record(sent=array(HEX)),
    gives=record(manifest=HEX, signature=either(HEX, {"type": "null"})),
)
def _fetch(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    swarm, have, sent, total, signature = bytes.fromhex(given["swarm_id"]), b"", [], None, None
    sent.append(ref_messages.encode_message("fetch", "GET", swarm_id=swarm, offset=0))
    for message in given["messages"]:
        fields = _read(message)
        if fields["name"] == "REFUSE":
            raise SpecError(ERROR_NAMES.get(fields["code"], "E_PROTOCOL"), "refused by the source")
        if (
            fields["name"] != "PIECE"
            or fields["offset"] != len(have)
            or fields["total"] != (total or fields["total"])
        ):
            raise SpecError("E_PROTOCOL", "not what was asked for (H-033)")
        total = fields["total"]
        if total > LIMITS["manifest_bytes"]:
            raise SpecError("E_TOO_BIG", "a manifest that is too large (H-033)")
        if len(fields["data"]) != min(CONSTANTS["manifest_piece_bytes"], total - len(have)):
            raise SpecError("E_PROTOCOL", "a piece of another length (H-032)")
        signature = signature or fields.get("signature")
        have += fields["data"]
        if len(have) < total:
            sent.append(ref_messages.encode_message("fetch", "GET", swarm_id=swarm, offset=len(have)))
    if sha256(have) != swarm:
        raise SpecError("E_MAN_HASH", "the bytes of another manifest (H-038)")
    return {"sent": sent}, {"manifest": have, "signature": signature}


@fetch.op(
    "serve",
    "messages of a fetcher to the answers",
    takes=record(manifest=HEX, signature=either(HEX, {"type": "null"}), messages=array(HEX)),
    gives=record(answers=array(HEX), over=BOOL),
)
def _serve(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    whole, sent, answers = bytes.fromhex(given["manifest"]), 0, []
    for message in given["messages"]:
        fields = _read(message)
        if fields["name"] != "GET":
            raise SpecError("E_PROTOCOL", "not a request (H-034)")
        if fields["swarm_id"] != sha256(whole):
            raise SpecError("E_MAN_UNKNOWN", "another swarm (H-034)")
        if fields["offset"] != sent or sent == len(whole):
            raise SpecError("E_PROTOCOL", "a request that does not follow (H-034)")
        data = whole[sent : sent + CONSTANTS["manifest_piece_bytes"]]
        more = {"signature": bytes.fromhex(given["signature"])} if given["signature"] and not sent else {}
        answers.append(
            ref_messages.encode_message("fetch", "PIECE", offset=sent, total=len(whole), data=data, **more)
        )
        sent += len(data)
    return {}, {"answers": answers, "over": sent == len(whole)}


LONG = pattern(9000)
SIGNATURE = pattern(64)


def piece(offset: int, total: int, data: bytes, signature: bytes | None = None) -> bytes:
    """Return a PIECE of any content."""
    return item({0: 5, 1: offset, 2: total, 3: data, **({} if signature is None else {4: signature})})


def get(offset: int, whole: bytes = LONG) -> bytes:
    """Return a GET."""
    return item({0: 4, 1: sha256(whole), 2: offset})


PIECES = [piece(0, 9000, LONG[:8192], SIGNATURE), piece(8192, 9000, LONG[8192:])]
fetch.valid(
    "fetch-one-piece",
    "fetch",
    "H-030 H-033 H-038",
    swarm_id=sha256(BYTES),
    messages=[piece(0, len(BYTES), BYTES)],
)
fetch.valid("fetch-two-pieces", "fetch", "H-030 H-032 H-033 H-038", swarm_id=sha256(LONG), messages=PIECES)
fetch.valid(
    "fetch-exactly-one-piece",
    "fetch",
    "H-032",
    swarm_id=sha256(LONG[:8192]),
    messages=[piece(0, 8192, LONG[:8192], SIGNATURE)],
)
fetch.valid(
    "serve-two-pieces",
    "serve",
    "H-030 H-034",
    manifest=LONG,
    signature=SIGNATURE,
    messages=[get(0), get(8192)],
)
fetch.valid("serve-first-alone", "serve", "H-034", manifest=LONG, signature=SIGNATURE, messages=[get(0)])
fetch.valid("serve-unsigned", "serve", "H-030", manifest=BYTES, signature=None, messages=[get(0, BYTES)])
for _slug, _code, _rules, _why, _messages in (
    (
        "other-bytes",
        "E_MAN_HASH",
        "H-038",
        "a byte of the second piece is changed",
        [PIECES[0], piece(8192, 9000, flip(LONG[8192:], 5))],
    ),
    (
        "refused",
        "E_MAN_UNKNOWN",
        "H-034",
        "the source refuses",
        [item({0: 3, 1: 0x30, 2: "", 3: "not served here"})],
    ),
    (
        "refused-unknown-code",
        "E_PROTOCOL",
        "E-002",
        "the source refuses with a code that nobody knows",
        [item({0: 3, 1: 0x1234, 2: "", 3: ""})],
    ),
    (
        "refused-in-the-middle",
        "E_BUSY",
        "H-034",
        "the source refuses after the first piece",
        [PIECES[0], item({0: 3, 1: 0x0E, 2: "", 3: ""})],
    ),
    ("second-first", "E_PROTOCOL", "H-033", "a piece at another offset than asked for", [PIECES[1]]),
    ("first-twice", "E_PROTOCOL", "H-033", "the first piece again", [PIECES[0], PIECES[0]]),
    (
        "other-total",
        "E_PROTOCOL",
        "H-033",
        "another total than the first piece's",
        [PIECES[0], piece(8192, 9001, LONG[8192:] + b"x")],
    ),
    ("crumbs", "E_PROTOCOL", "H-032", "a piece shorter than agreed", [piece(0, 9000, LONG[:8191])]),
    (
        "last-too-short",
        "E_PROTOCOL",
        "H-032",
        "the last piece lacks a byte",
        [PIECES[0], piece(8192, 9000, LONG[8192:-1])],
    ),
    ("a-get", "E_PROTOCOL", "H-033", "a request from the source", [get(0)]),
    (
        "too-big",
        "E_TOO_BIG",
        "H-033",
        "a total above the fetcher's manifest_bytes",
        [piece(0, LIMITS["manifest_bytes"] + 1, LONG[:8192])],
    ),
    ("beyond-total", "E_SCHEMA", "H-031", "a piece beyond its total", [piece(0, 8191, LONG[:8192])]),
    (
        "late-signature",
        "E_SCHEMA",
        "H-031",
        "a signature with the second piece",
        [piece(0, 9000, LONG[:8192]), piece(8192, 9000, LONG[8192:], SIGNATURE)],
    ),
):
    fetch.invalid(f"fetch-{_slug}", "fetch", _code, _rules, _why, swarm_id=sha256(LONG), messages=_messages)
for _slug, _code, _rules, _why, _messages in (
    ("other-swarm", "E_MAN_UNKNOWN", "H-034", "a request for another swarm", [get(0, BYTES)]),
    ("second-first", "E_PROTOCOL", "H-034", "the second piece is asked for first", [get(8192)]),
    ("first-twice", "E_PROTOCOL", "H-034", "the first piece is asked for again", [get(0), get(0)]),
    ("in-between", "E_PROTOCOL", "H-034", "an offset inside a piece", [get(0), get(100)]),
    ("beyond", "E_PROTOCOL", "H-034", "a request behind the end", [get(0), get(8192), get(9000)]),
    ("a-piece", "E_PROTOCOL", "H-034", "an answer from the fetcher", [PIECES[0]]),
    ("a-refusal", "E_PROTOCOL", "H-034", "a refusal from the fetcher", [item({0: 3, 1: 0, 2: "", 3: ""})]),
):
    fetch.invalid(
        f"serve-{_slug}", "serve", _code, _rules, _why, manifest=LONG, signature=SIGNATURE, messages=_messages
    )

keys = Family(
    "psk-mac",
    "The keys that follow from a manifest, a swarm id or a service's peer id, and mac1 (chapter 5a.3 and "
    "5a.4).",
    "`derive`: derive swarm id, root key, pre-shared key and mac1 key in the mode: 1 member of `known` = "
    "the manifest's bytes, 2 fetch of the "
    "swarm id, 3 service of the peer id. `mac1`: compute the mac1 of a datagram, whose fields mac1 and "
    "mac2 are left out. `check`: compare it "
    "with the one that the datagram bears.",
)


@keys.op(
    "derive",
    "what is known to keys",
    takes=record(mode=NUM, known=HEX, join_secret=HEX),
    mid=record(ikm=HEX, root=HEX),
    gives=record(swarm_id=HEX, psk=HEX, mac1_key=HEX),
)
def _derive(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    known, secret = bytes.fromhex(given["known"]), bytes.fromhex(given["join_secret"])
    if given["mode"] == ref.MEMBER:
        made, ikm = ref.member_keys(known, secret), sha256(b"qgl1 possession\0" + known) + secret
    elif given["mode"] == ref.FETCH:
        made, ikm = ref.fetch_keys(known, secret), b"qgl1 fetch" + secret
    elif given["mode"] == ref.SERVICE:
        made, ikm = ref.service_keys(known), known
    else:
        raise ValueError(given["mode"])
    return {"ikm": ikm, "root": made.root}, {
        "swarm_id": made.swarm_id,
        "psk": made.psk,
        "mac1_key": made.mac1_key,
    }


@keys.op("mac1", "a datagram to its mac1", takes=record(mac1_key=HEX, datagram=HEX), gives=record(mac1=HEX))
def _mac1(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    return {}, {"mac1": ref.mac1(bytes.fromhex(given["mac1_key"]), bytes.fromhex(given["datagram"]))}


@keys.op(
    "check",
    "whether a datagram's mac1 fits a key",
    takes=record(mac1_key=HEX, datagram=HEX),
    gives=record(mac1=HEX, rest_sha256=HEX),
)
def _check(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    datagram = bytes.fromhex(given["datagram"])
    ref.check_mac1(bytes.fromhex(given["mac1_key"]), datagram)
    return {}, {"mac1": datagram[21:37], "rest_sha256": sha256(datagram[:21] + datagram[53:])}


for _slug, _mode, _known, _secret in (
    ("member", 1, b"{}", b""),
    ("member-with-secret", 1, b"{}", b"secret"),
    ("member-whole-manifest", 1, BYTES, b""),
    ("member-long-secret", 1, b"{}", pattern(100)),
    ("fetch", 2, sha256(b"{}"), b""),
    ("fetch-with-secret", 2, sha256(b"{}"), b"secret"),
):
    keys.valid(
        f"derive-{_slug}", "derive", "K-001 K-002 K-003", mode=_mode, known=_known, join_secret=_secret
    )
keys.valid(
    "derive-service",
    "derive",
    "K-001",
    "",
    (),
    {"join_secret": "a service has none"},
    mode=3,
    known=PEER,
    join_secret=b"",
)
KEY = ref.member_keys(b"{}").mac1_key
_BARE = (
    bytes.fromhex("c000000001")
    + pattern(16)
    + bytes(32)
    + b"\x01"
    + bytes.fromhex("000000010030")
    + pattern(48)
)
INIT = _BARE.ljust(1200, b"\0")
INIT = INIT[:21] + ref.mac1(KEY, INIT) + INIT[37:]
_LEFT_OUT = {"datagram[21:53]": "the fields mac1 and mac2 are left out"}
keys.valid("mac1", "mac1", "S-011", "", (), _LEFT_OUT, mac1_key=KEY, datagram=INIT)
keys.valid("mac1-largest", "mac1", "S-011", "", (), _LEFT_OUT, mac1_key=KEY, datagram=INIT + bytes(272))
keys.valid(
    "check", "check", "K-006", "", (), {"datagram[37:53]": "mac2 is not covered"}, mac1_key=KEY, datagram=INIT
)
keys.valid(
    "check-with-mac2",
    "check",
    "K-006 S-014",
    "mac2 is not covered",
    (),
    {"datagram[37:53]": "mac2 is not covered"},
    mac1_key=KEY,
    datagram=INIT[:37] + pattern(16) + INIT[53:],
)
for _slug, _why, _fields in (
    ("other-swarm", "the key of another manifest", {"mac1_key": ref.member_keys(b"{ }").mac1_key}),
    ("other-mode", "the key of fetch mode", {"mac1_key": ref.fetch_keys(sha256(b"{}")).mac1_key}),
    ("other-secret", "the key of another join secret", {"mac1_key": ref.member_keys(b"{}", b"s").mac1_key}),
    ("psk", "the pre-shared key in place of the mac1 key", {"mac1_key": ref.member_keys(b"{}").psk}),
    ("first-byte", "a bit of the first byte is turned over", {"datagram": flip(INIT, 0)}),
    ("version", "a bit of the version is turned over", {"datagram": flip(INIT, 4)}),
    ("destination", "a bit of the destination id is turned over", {"datagram": flip(INIT, 5)}),
    ("source", "a bit of the source id is turned over", {"datagram": flip(INIT, 20)}),
    ("mac1-first-bit", "the first bit of mac1 is turned over", {"datagram": flip(INIT, 21, 0x80)}),
    ("mac1-last-bit", "the last bit of mac1 is turned over", {"datagram": flip(INIT, 36)}),
    ("mac1-zero", "a mac1 of zero bytes", {"datagram": INIT[:21] + bytes(16) + INIT[37:]}),
    ("count", "a bit behind mac2 is turned over", {"datagram": flip(INIT, 53)}),
    ("message", "a bit of the Noise message is turned over", {"datagram": flip(INIT, 70)}),
    ("padding", "a bit of the last byte of padding is turned over", {"datagram": flip(INIT, 1199)}),
    ("padding-longer", "a byte more of padding", {"datagram": INIT + b"\0"}),
    ("padding-shorter", "a byte less of padding", {"datagram": INIT[:-1]}),
    (
        "mac1-moved",
        "mac1 stands in the place of mac2",
        {"datagram": INIT[:21] + bytes(16) + INIT[21:37] + INIT[53:]},
    ),
):
    keys.invalid(
        f"check-{_slug}",
        "check",
        "E_MAC1",
        "K-006 S-012",
        _why,
        **{"mac1_key": KEY, "datagram": INIT, **_fields},
    )

FAMILIES = (manifest, fetch, keys)
