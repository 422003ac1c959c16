"""Families of chapter 2: peer ids, signatures under domains, envelopes."""

from __future__ import annotations

from ref import SpecError, cbor, identity
from ref.data import LABELS

from .family import BOOL, HEX, NUM, TEXT, Family, Json, record
from .primitives import P
from .raw import Raw, flip, head, item, pattern

SEED = bytes([0x11]) * 32
OTHER_SEED = bytes([0x22]) * 32
PEER, OTHER = identity.peer_id(SEED), identity.peer_id(OTHER_SEED)

keys = Family(
    "ed25519-keys",
    "Peer ids: which Ed25519 keys are refused, and how they are written for people.",
    "`derive`: compute the peer id of a private key. `check`: apply I-001 to I-003 before anything else is "
    "done with the key. That a "
    "key is a point of the curve at all need not be checked. Compare the text form and the short form.",
)
_KEY = record(peer_id=HEX, text=TEXT, short=TEXT)


def _shown(peer: bytes) -> dict[str, Json]:
    return {"peer_id": peer, "text": f"ed25519:{peer.hex()}", "short": peer.hex()[:8]}


@keys.op("derive", "private key to peer id", takes=record(seed=HEX), gives=_KEY)
def _derive(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    return {}, _shown(identity.peer_id(bytes.fromhex(given["seed"])))


@keys.op("check", "whether a peer id may be used", takes=record(peer_id=HEX), gives=_KEY)
def _check(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    peer = bytes.fromhex(given["peer_id"])
    identity.check_peer_id(peer)
    return {}, _shown(peer)


def _y(number: int, sign: int = 0) -> bytes:
    return (number | sign << 255).to_bytes(32, "little")


for _slug, _seed in (
    ("derive-ones", SEED),
    ("derive-zeros", bytes(32)),
    ("derive-counting", bytes(range(32))),
):
    keys.valid(_slug, "derive", "I-001", seed=_seed)
keys.valid("check-ordinary", "check", "I-001 I-004", peer_id=PEER)
keys.valid(
    "check-base-point",
    "check",
    "I-002",
    "y = 4/5, the base point of the curve",
    peer_id=_y(4 * pow(5, -1, P) % P),
)
keys.valid(
    "check-largest-y",
    "check",
    "I-002",
    "y = p - 2, the largest that is canonical and of no small order",
    peer_id=_y(P - 2),
)
keys.valid(
    "check-sign-set",
    "check",
    "I-002",
    "bit 255 is the sign of x, and no part of y",
    peer_id=flip(PEER, 31, 0x80),
)
keys.valid(
    "check-y-2",
    "check",
    "I-002",
    "y = 2 belongs to no point, which need not be noticed here",
    ["OffCurve"],
    peer_id=_y(2),
)
keys.valid("check-y-3", "check", "I-002", "the next above the small orders", peer_id=_y(3))
for _index, _small in enumerate(sorted(identity.SMALL_ORDER)):
    for _sign in (0, 0x80):
        keys.invalid(
            f"check-small-order-{_index}{'-sign' if _sign else ''}",
            "check",
            "E_HS_IDENTITY",
            "I-003 I-004",
            "the point's order divides 8",
            ["SmallOrder"],
            peer_id=flip(_small, 31, _sign),
        )
for _slug, _why, _peer in (
    ("check-y-p", "y = p is another name for y = 0", _y(P)),
    ("check-y-p-plus-1", "y = p + 1 is another name for y = 1", _y(P + 1)),
    ("check-y-p-plus-2", "y = p + 2 is another name for y = 2", _y(P + 2)),
    ("check-y-largest", "y = 2^255 - 1", _y(2**255 - 1)),
    ("check-y-p-sign", "y = p with the sign set", _y(P, 1)),
    ("check-all-ones", "y = 2^255 - 1 with the sign set", b"\xff" * 32),
):
    keys.invalid(_slug, "check", "E_HS_IDENTITY", "I-002 I-004", _why, ["NonCanonical"], peer_id=_peer)
for _slug, _peer in (
    ("check-nothing", b""),
    ("check-31-bytes", PEER[:31]),
    ("check-33-bytes", PEER + b"\0"),
    ("check-twice", PEER + PEER),
):
    keys.invalid(
        _slug, "check", "E_HS_IDENTITY", "I-001 I-004", "a peer id has 32 bytes", ["Length"], peer_id=_peer
    )

signature = Family(
    "signature",
    "Ed25519 signatures under a domain's label.",
    "The signed bytes are the label of the domain (registries/domains.toml), a zero byte and the message. "
    "Compare them, and the signature; "
    "or check the peer id, then the signature.",
)
_MID = record(signed=HEX)


@signature.op(
    "sign",
    "the signature of a message under a domain",
    takes=record(seed=HEX, domain=TEXT, message=HEX),
    mid=_MID,
    gives=record(peer_id=HEX, signature=HEX),
)
def _sign(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    seed = bytes.fromhex(given["seed"])
    signed = identity.signed_bytes(given["domain"], bytes.fromhex(given["message"]))
    return {"signed": signed}, {"peer_id": identity.peer_id(seed), "signature": identity.sign(seed, signed)}


@signature.op(
    "verify",
    "whether a signature under a domain verifies",
    takes=record(peer_id=HEX, domain=TEXT, message=HEX, signature=HEX),
    mid=_MID,
    gives=record(accepted=BOOL),
)
def _verify(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    signed = identity.signed_bytes(given["domain"], bytes.fromhex(given["message"]))
    peer = bytes.fromhex(given["peer_id"])
    identity.check_peer_id(peer)
    if not identity.verifies(peer, bytes.fromhex(given["signature"]), signed):
        raise SpecError("E_HS_IDENTITY", "a wrong signature")
    return {"signed": signed}, {"accepted": True}


def by(seed: bytes, domain: str, message: bytes) -> bytes:
    """Sign a message under a domain."""
    return identity.sign(seed, identity.signed_bytes(domain, message))


for _domain in ("handshake", "peer-record", "update", "fingerprint"):
    signature.valid(f"sign-{_domain}", "sign", "I-006 I-007", seed=SEED, domain=_domain, message=b"message")
signature.valid("sign-nothing", "sign", "I-006", seed=SEED, domain="update", message=b"")
signature.valid(
    "verify-update",
    "verify",
    "I-005",
    peer_id=PEER,
    domain="update",
    message=b"message",
    signature=by(SEED, "update", b"message"),
)
signature.valid(
    "verify-long",
    "verify",
    "I-005",
    peer_id=OTHER,
    domain="handshake",
    message=pattern(300),
    signature=by(OTHER_SEED, "handshake", pattern(300)),
)
GOOD = {
    "peer_id": PEER,
    "domain": "update",
    "message": b"message",
    "signature": by(SEED, "update", b"message"),
}
for _slug, _rules, _why, _fields in (
    ("verify-other-domain", "I-007 I-012", "signed under another domain", {"domain": "peer-record"}),
    (
        "verify-no-label",
        "I-007",
        "the message was signed without a label",
        {"signature": identity.sign(SEED, b"message")},
    ),
    (
        "verify-no-zero",
        "I-007",
        "no zero byte stands between label and message",
        {"signature": identity.sign(SEED, LABELS["update"] + b"message")},
    ),
    (
        "verify-label-in-message",
        "I-007",
        "label and message are moved against each other",
        {"message": b"\0message"},
    ),
    ("verify-other-message", "I-005", "the signature is of another message", {"message": b"messagf"}),
    ("verify-longer-message", "I-005", "a byte follows the message", {"message": b"message\0"}),
    ("verify-other-peer", "I-005", "the signature is another peer's", {"peer_id": OTHER}),
    ("verify-small-order", "I-003 I-004", "the peer id has small order", {"peer_id": _y(1)}),
    ("verify-not-canonical", "I-002 I-004", "the peer id is not canonical", {"peer_id": _y(P + 3)}),
    ("verify-cut", "I-005", "a signature of 63 bytes", {"signature": GOOD["signature"][:63]}),
    ("verify-none", "I-005", "no signature", {"signature": b""}),
):
    signature.invalid(_slug, "verify", "E_HS_IDENTITY", _rules, _why, **{**GOOD, **_fields})

envelope = Family(
    "envelope",
    "Statements in COSE_Sign1 envelopes of the one form of chapter 2.4.",
    "`seal`: sign the payload under the domain; compare the signed bytes and the envelope. `open`: refuse "
    "an envelope of more than "
    "`max_bytes` bytes unread and any other form, take the signer's peer id from the payload's key "
    "`signer_key`, check it, and verify the "
    "signature under the label of the domain.",
)


@envelope.op(
    "seal",
    "a payload to its signed envelope",
    takes=record(seed=HEX, domain=TEXT, payload=HEX),
    mid=record(signed=HEX, signature=HEX),
    gives=record(envelope=HEX),
)
def _seal(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    seed, payload = bytes.fromhex(given["seed"]), bytes.fromhex(given["payload"])
    signed = identity.sig_structure(given["domain"], payload)
    sealed = identity.sign_envelope(seed, given["domain"], payload)
    return {"signed": signed, "signature": identity.sign(seed, signed)}, {"envelope": sealed}


@envelope.op(
    "open",
    "an envelope to its payload",
    takes=record(envelope=HEX, domain=TEXT, signer_key=NUM, max_bytes_=NUM),
    mid=record(signed=HEX),
    gives=record(payload=HEX, signer=HEX, signature=HEX),
)
def _open(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    data, domain = bytes.fromhex(given["envelope"]), given["domain"]
    most = given.get("max_bytes", len(data))
    statement = identity.open_envelope(data, domain, given["signer_key"], most)
    payload, made = identity.decode_envelope(data, most)
    if not isinstance(statement, dict):
        raise TypeError
    return {"signed": identity.sig_structure(domain, payload)}, {
        "payload": payload,
        "signer": statement[given["signer_key"]],
        "signature": made,
    }


STATEMENT = cbor.encode({0: PEER, 1: 7})
ENVELOPE = identity.sign_envelope(SEED, "update", STATEMENT)
PROTECTED = bytes.fromhex("a10127")
SIGNED = identity.sign(SEED, identity.sig_structure("update", STATEMENT))
for _slug, _payload in (
    ("seal-map", STATEMENT),
    ("seal-nothing", b""),
    ("seal-23-bytes", pattern(23)),
    ("seal-24-bytes", pattern(24)),
    ("seal-255-bytes", pattern(255)),
    ("seal-256-bytes", pattern(256)),
):
    envelope.valid(_slug, "seal", "I-006 I-010", seed=SEED, domain="update", payload=_payload)
envelope.valid("open", "open", "I-008 I-012 I-014", envelope=ENVELOPE, domain="update", signer_key=0)
LONG = cbor.encode({0: pattern(230), 5: OTHER})
envelope.valid(
    "open-long",
    "open",
    "I-014",
    "the signer stands under another key",
    envelope=identity.sign_envelope(OTHER_SEED, "fingerprint", LONG),
    domain="fingerprint",
    signer_key=5,
)


def form(*parts: object, tag: bytes = b"\xd2", count: int = 4) -> bytes:
    """Return an envelope of any parts."""
    return tag + head(4, count) + b"".join(map(item, parts))


FORMS: tuple[tuple[str, str, bytes], ...] = (
    ("open-no-tag", "tag 18 is missing", ENVELOPE[1:]),
    ("open-tag-17", "another tag", form(PROTECTED, {}, STATEMENT, SIGNED, tag=b"\xd1")),
    ("open-tag-98", "the tag of COSE_Sign", form(PROTECTED, {}, STATEMENT, SIGNED, tag=b"\xd8\x62")),
    ("open-tag-long-form", "tag 18 in two bytes", form(PROTECTED, {}, STATEMENT, SIGNED, tag=b"\xd8\x12")),
    ("open-tag-twice", "tag 18 twice", b"\xd2" + ENVELOPE),
    ("open-three-elements", "no signature", form(PROTECTED, {}, STATEMENT, count=3)),
    ("open-five-elements", "an element too many", form(PROTECTED, {}, STATEMENT, SIGNED, 0, count=5)),
    ("open-map", "a map in place of the array", b"\xd2" + item({0: 0, 1: 1})),
    ("open-empty-protected", "an empty protected header", form(b"", {}, STATEMENT, SIGNED)),
    ("open-other-algorithm", "another algorithm: -7", form(bytes.fromhex("a10126"), {}, STATEMENT, SIGNED)),
    (
        "open-more-protected",
        "a further protected header",
        form(bytes.fromhex("a201270440"), {}, STATEMENT, SIGNED),
    ),
    (
        "open-protected-map",
        "the protected header as a map, not as bytes",
        form({1: -8}, {}, STATEMENT, SIGNED),
    ),
    ("open-unprotected", "an unprotected header", form(PROTECTED, {4: b"k"}, STATEMENT, SIGNED)),
    ("open-detached", "an absent payload", form(PROTECTED, {}, None, SIGNED)),
    ("open-payload-text", "a payload that is text", form(PROTECTED, {}, "text", SIGNED)),
    ("open-payload-map", "a payload that is a map", form(PROTECTED, {}, {0: PEER}, SIGNED)),
    ("open-signature-63", "a signature of 63 bytes", form(PROTECTED, {}, STATEMENT, SIGNED[:63])),
    ("open-signature-65", "a signature of 65 bytes", form(PROTECTED, {}, STATEMENT, SIGNED + b"\0")),
    ("open-signature-text", "a signature that is text", form(PROTECTED, {}, STATEMENT, "a" * 64)),
    (
        "open-payload-long-form",
        "the length of the payload in a longer form",
        form(PROTECTED, {}, Raw(head(2, len(STATEMENT), 2) + STATEMENT), SIGNED),
    ),
    ("open-array-long-form", "the count of the array in two bytes", b"\xd2\x98\x04" + ENVELOPE[2:]),
    ("open-array-indefinite", "an array of indefinite length", b"\xd2\x9f" + ENVELOPE[2:] + b"\xff"),
    ("open-byte-behind", "a byte follows the envelope", ENVELOPE + b"\0"),
    ("open-cut", "the last byte is missing", ENVELOPE[:-1]),
    ("open-empty", "no bytes", b""),
    ("open-tag-alone", "the tag alone", b"\xd2"),
)
for _slug, _why, _data in FORMS:
    envelope.invalid(
        _slug, "open", "E_SCHEMA", "I-011", _why, ["Form"], envelope=_data, domain="update", signer_key=0
    )
envelope.invalid(
    "open-too-big",
    "open",
    "E_TOO_BIG",
    "I-013",
    "one byte more than its kind may have",
    envelope=ENVELOPE,
    domain="update",
    signer_key=0,
    max_bytes=len(ENVELOPE) - 1,
)
envelope.invalid(
    "open-too-big-unread",
    "open",
    "E_TOO_BIG",
    "I-013",
    "too large, and no envelope at all: the size comes first",
    envelope=bytes(80),
    domain="update",
    signer_key=0,
    max_bytes=79,
)


def around(statement: object, seed: bytes = SEED, domain: str = "update") -> bytes:
    """Return the envelope of any statement."""
    return identity.sign_envelope(seed, domain, item(statement))


for _slug, _rules, _why, _data in (
    (
        "open-other-domain",
        "I-012",
        "signed under another domain",
        around({0: PEER, 1: 7}, domain="fingerprint"),
    ),
    (
        "open-other-signer",
        "I-014",
        "signed by another key than the one in the payload",
        around({0: OTHER, 1: 7}),
    ),
    ("open-payload-changed", "I-008", "a byte of the payload is changed", flip(ENVELOPE, len(ENVELOPE) - 67)),
    ("open-signature-changed", "I-008", "a byte of the signature is changed", flip(ENVELOPE, -1)),
    ("open-signer-small-order", "I-004 I-014", "the signer's key has small order", around({0: _y(1), 1: 7})),
    ("open-signer-31-bytes", "I-004 I-014", "the signer's key has 31 bytes", around({0: PEER[:31], 1: 7})),
    (
        "open-signed-as-2-3",
        "I-007 I-012",
        "signed in the form of chapter 2.3",
        identity.encode_envelope(STATEMENT, by(SEED, "update", STATEMENT)),
    ),
):
    envelope.invalid(
        _slug, "open", "E_HS_IDENTITY", _rules, _why, envelope=_data, domain="update", signer_key=0
    )

FAMILIES = (keys, signature, envelope)
