"""Families of signed statements: peer records and fingerprints."""

from __future__ import annotations

from typing import Any

from ref import SpecError, addresses, identity
from ref import messages as ref_messages
from ref import statements as ref
from ref.data import CONSTANTS, LIMITS
from ref.manifest import member_keys, swarm_tag
from ref.primitives import sha256

from .family import HEX, NUM, Family, Json, array, either, record
from .raw import Pairs, filled, flip, item, pattern

SEED, OTHER_SEED = bytes([0x11]) * 32, bytes([0x22]) * 32
PEER, OTHER = identity.peer_id(SEED), identity.peer_id(OTHER_SEED)
SMALL_ORDER = (1).to_bytes(32, "little")
KEYS = member_keys(b"a manifest")
NOW = 1_900_000_005
NULL = {"type": "null"}
SWARM, ROOT, NONCE = pattern(32), pattern(32, 100), pattern(16)


def signed(statement: object, domain: str, seed: bytes = SEED) -> bytes:
    """Return the envelope of any statement, well-formed or not."""
    return identity.sign_envelope(
        seed, domain, statement if isinstance(statement, bytes) else item(statement)
    )


def unsigned_bytes(domain: str, envelope: bytes) -> bytes:
    """Return what the signature of an envelope covers."""
    return identity.sig_structure(domain, identity.decode_envelope(envelope, len(envelope))[0])


# --- peer records ---

records = Family(
    "peer-record",
    "Signed peer records: how one is issued, and which are believed (chapter 10.3 and 10.4).",
    "`issue`: compute the swarm tag under the root key and the period, encode the payload, sign it under "
    "the domain `peer-record`. "
    "`believe`: apply M-010 to M-013 at the wall-clock time `unix_now`, with the default limits. "
    "`seconds_left` is the time until the record "
    "ends at this receiver. Addresses are byte strings of chapter 3.7.",
)


@records.op(
    "issue",
    "the fields of a record to its envelope",
    takes=record(seed=HEX, root_key=HEX, seq=NUM, issued=NUM, ttl=NUM, addresses=array(HEX)),
    mid=record(swarm_tag=HEX, period=NUM, payload=HEX, signed=HEX),
    gives=record(record=HEX),
)
def _issue(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    seed, root = bytes.fromhex(given["seed"]), bytes.fromhex(given["root_key"])
    fields = {
        "peer": identity.peer_id(seed),
        "seq": int(given["seq"]),
        "issued": given["issued"],
        "ttl": given["ttl"],
        "swarm_tag": swarm_tag(root, identity.peer_id(seed)),
        "addresses": [bytes.fromhex(address) for address in given["addresses"]],
        "vouchers": [],
        "period": given["issued"] // CONSTANTS["record_period_s"],
    }
    envelope = ref.sign_statement(seed, "peer-record", fields)
    payload, _ = identity.decode_envelope(envelope, len(envelope))
    mid = {
        "swarm_tag": fields["swarm_tag"],
        "period": fields["period"],
        "payload": payload,
        "signed": unsigned_bytes("peer-record", envelope),
    }
    return mid, {"record": envelope}


@records.op(
    "believe",
    "a record to what a receiver holds of it",
    takes=record(record=HEX, root_key=HEX, unix_now=NUM),
    mid=record(signed=HEX),
    gives=record(peer=HEX, seq=NUM, issued=NUM, ttl=NUM, addresses=array(HEX), seconds_left=NUM),
)
def _believe(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    envelope = bytes.fromhex(given["record"])
    fields = ref.believe_record(envelope, bytes.fromhex(given["root_key"]), given["unix_now"])
    out = {name: fields[name] for name in ("peer", "seq", "issued", "ttl")}
    out["addresses"] = [
        addresses.encode_address(addresses.decode_address(each)) for each in fields["addresses"]
    ]
    out["seconds_left"] = int(
        fields["issued"] + min(fields["ttl"], LIMITS["record_ttl_s"]) - given["unix_now"]
    )
    return {"signed": unsigned_bytes("peer-record", envelope)}, out


V4, V6 = bytes.fromhex("c00002011b59"), bytes.fromhex("20010db80000000000000000000000011b59")
records.valid(
    "issue",
    "issue",
    "M-001 M-003 M-004",
    seed=SEED,
    root_key=KEYS.root,
    seq=1_900_000_005_500,
    issued=NOW,
    ttl=7200,
    addresses=[V4, V6],
)
records.valid(
    "issue-eight-addresses",
    "issue",
    "M-003",
    seed=OTHER_SEED,
    root_key=KEYS.root,
    seq=2**63 - 1,
    issued=2**53 - 1,
    ttl=86400,
    addresses=[V4[:5] + bytes([n]) for n in range(1, 9)],
)
GOOD: dict[int, Any] = {
    0: PEER,
    1: 1_900_000_005_500,
    2: NOW,
    3: 7200,
    4: swarm_tag(KEYS.root, PEER),
    5: [V4, V6],
    6: [],
    7: NOW // 10,
}


def of(**changed: object) -> bytes:
    """Return a signed record with some keys changed; the keyword `_5` names key 5."""
    return signed({**GOOD, **{int(key[1:]): value for key, value in changed.items()}}, "peer-record")


def _believed(slug: str, rules: str, envelope: bytes, now: int = NOW, comment: str = "", **more: Any) -> None:
    records.valid(slug, "believe", rules, comment, record=envelope, root_key=KEYS.root, unix_now=now, **more)


_believed("believe", "M-010 M-011", of())
_believed("believe-without-addresses", "M-011", of(_5=[]))
_believed("believe-voucher", "M-011", of(_6=[b"v" * 100]), comment="a voucher is opaque")
_believed(
    "believe-mapped-address",
    "M-011 C-042",
    of(_5=[bytes(10) + b"\xff\xff" + V4]),
    comment="an IPv4-mapped address is read as IPv4",
)
_believed("believe-last-second", "M-012", of(), NOW + 7199, "the last second of its ttl")
_believed(
    "believe-own-limit", "M-012", of(_3=86400), NOW + 7199, "the receiver's record_ttl_s is less than the ttl"
)
_believed("believe-clock-ahead", "M-013", of(), NOW - 300, "as far in the future as clocks may differ")
_believed("believe-short-ttl", "M-012", of(_3=1), NOW)


def _dropped(
    slug: str, code: str, rules: str, why: str, envelope: bytes, now: int = NOW, root: bytes = KEYS.root
) -> None:
    records.invalid(slug, "believe", code, rules, why, record=envelope, root_key=root, unix_now=now)


_dropped(
    "believe-other-swarm",
    "E_REC_SCOPE",
    "M-010",
    "the tag of another swarm",
    of(),
    root=member_keys(b"another").root,
)
_dropped(
    "believe-tag-of-other-peer",
    "E_REC_SCOPE",
    "M-010 M-003",
    "the tag of another peer",
    of(_4=swarm_tag(KEYS.root, OTHER)),
)
_dropped(
    "believe-tag-changed", "E_REC_SCOPE", "M-010", "a byte of the tag is changed", of(_4=flip(GOOD[4], 7))
)
_dropped("believe-ended", "E_REC_EXPIRED", "M-012", "its ttl is over", of(), NOW + 7200)
_dropped(
    "believe-ended-by-own-limit",
    "E_REC_EXPIRED",
    "M-012",
    "the receiver's record_ttl_s is over",
    of(_3=86400),
    NOW + 7200,
)
_dropped("believe-ended-ttl-1", "E_REC_EXPIRED", "M-012", "a ttl of one second is over", of(_3=1), NOW + 1)
_dropped(
    "believe-future",
    "E_REC_EXPIRED",
    "M-013",
    "a second further in the future than clocks may differ",
    of(),
    NOW - 301,
)
_dropped("believe-far-future", "E_REC_EXPIRED", "M-013", "issued a year from now", of(), NOW - 31_536_000)
_dropped("believe-signature", "E_REC_SIG", "M-011", "a byte of the signature is changed", flip(of(), -1))
_dropped(
    "believe-other-signer",
    "E_REC_SIG",
    "M-011",
    "signed by another key",
    signed(GOOD, "peer-record", OTHER_SEED),
)
_dropped(
    "believe-other-domain", "E_REC_SIG", "M-011 I-012", "signed under another domain", signed(GOOD, "update")
)
_dropped(
    "believe-content-changed",
    "E_REC_SIG",
    "M-011",
    "an address is changed under the signature",
    flip(of(), of().index(V4)),
)
for _slug, _rules, _why, _changed in (
    ("period", "M-004 M-011", "the period is not that of issued", {"_7": NOW // 10 + 1}),
    ("period-0", "M-004 M-011", "the period is not that of issued", {"_7": 0}),
    (
        "small-order",
        "M-011 I-004",
        "a key of small order",
        {"_0": SMALL_ORDER, "_4": swarm_tag(KEYS.root, SMALL_ORDER)},
    ),
    ("key-31", "M-011", "a key of 31 bytes", {"_0": PEER[:31]}),
    ("seq-64-bits", "M-011", "a seq of 64 bits", {"_1": 2**63}),
    ("issued-54-bits", "M-011", "a time of 54 bits", {"_2": 2**53}),
    ("ttl-0", "M-011", "a ttl of 0 s", {"_3": 0}),
    ("ttl-86401", "M-011", "a ttl of 86,401 s", {"_3": 86401}),
    ("tag-7", "M-011", "a tag of 7 bytes", {"_4": GOOD[4][:7]}),
    ("nine-addresses", "M-011", "nine addresses", {"_5": [V4] * 9}),
    ("address-port-0", "M-011 C-041", "an address with port 0", {"_5": [V4[:4] + b"\0\0"]}),
    ("address-5-bytes", "M-011 C-040", "an address of 5 bytes", {"_5": [V4[:5]]}),
    ("three-vouchers", "M-011", "three vouchers", {"_6": [b"v"] * 3}),
    ("empty-voucher", "M-011", "a voucher without bytes", {"_6": [b""]}),
    ("key-8", "M-011 C-021", "an unknown key below 64", {"_8": 0}),
):
    _dropped(
        f"believe-{_slug}",
        "E_HS_IDENTITY" if _slug == "small-order" else "E_SCHEMA",
        _rules,
        _why,
        of(**_changed),
    )
for _key in range(8):
    _dropped(
        f"believe-without-{_key}",
        "E_SCHEMA",
        "M-011 C-020",
        f"key {_key} is missing",
        signed({k: v for k, v in GOOD.items() if k != _key}, "peer-record"),
    )
_dropped(
    "believe-keys-descend",
    "E_CBOR_CANON",
    "M-011 C-005",
    "the keys of the payload descend",
    signed(item(Pairs(*reversed(GOOD.items()))), "peer-record"),
)
_dropped("believe-too-big", "E_TOO_BIG", "M-011 I-013", "513 bytes", signed(filled(GOOD, 437), "peer-record"))
_dropped("believe-no-envelope", "E_SCHEMA", "M-011 I-011", "the payload without its envelope", item(GOOD))
_dropped("believe-nothing", "E_SCHEMA", "M-011 I-011", "no bytes", b"")

# --- fingerprints ---

fingerprints = Family(
    "fingerprint",
    "Answers to fingerprint requests: how one is made, and what it must be bound to (chapter 12).",
    "`answer`: sign the statement under the domain `fingerprint` and put it into an ANSWER with the body. "
    "`judge`: judge an ANSWER of the "
    "session's peer `holder` to a request with this nonce, of this epoch where it is not null. An answer "
    "to another nonce is ignored: `drop`.",
)


@fingerprints.op(
    "answer",
    "a request to its answer",
    takes=record(seed=HEX, swarm_id=HEX, verifier=HEX, nonce=HEX, epoch=NUM, body=HEX),
    mid=record(statement=HEX, signed=HEX, digest=HEX),
    gives=record(answer=HEX),
)
def _answer(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    seed, swarm, verifier, nonce, body = (
        bytes.fromhex(given[name]) for name in ("seed", "swarm_id", "verifier", "nonce", "body")
    )
    fields = {
        "swarm_id": swarm,
        "holder": identity.peer_id(seed),
        "verifier": verifier,
        "nonce": nonce,
        "epoch": given["epoch"],
        "digest": sha256(body),
    }
    envelope = ref.sign_statement(seed, "fingerprint", fields)
    payload, _ = identity.decode_envelope(envelope, len(envelope))
    message = ref_messages.encode_message("fingerprint", "ANSWER", statement=envelope, body=body)
    return {
        "statement": payload,
        "signed": unsigned_bytes("fingerprint", envelope),
        "digest": fields["digest"],
    }, {"answer": message}


@fingerprints.op(
    "judge",
    "an answer to its body",
    takes=record(answer=HEX, swarm_id=HEX, holder=HEX, verifier_seed=HEX, nonce=HEX, epoch=either(NUM, NULL)),
    gives=record(body=HEX, epoch=NUM),
)
def _judge_answer(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    message = ref_messages.decode_message("fingerprint", bytes.fromhex(given["answer"]))
    fields = ref.read_statement("fingerprint", message["statement"])
    if fields["nonce"] != bytes.fromhex(given["nonce"]):
        raise SpecError("drop", "an answer to another request")
    expected = {
        "swarm_id": bytes.fromhex(given["swarm_id"]),
        "holder": bytes.fromhex(given["holder"]),
        "verifier": identity.peer_id(bytes.fromhex(given["verifier_seed"])),
    }
    if given["epoch"] is not None:
        expected["epoch"] = given["epoch"]
    ref.judge_answer(fields, message["body"], message["statement"], expected)
    return {}, {"body": message["body"], "epoch": fields["epoch"]}


BODY = b"a body"
STATEMENT: dict[int, Any] = {0: SWARM, 1: PEER, 2: OTHER, 3: NONCE, 4: 7, 5: sha256(BODY)}
ASKED = {"swarm_id": SWARM, "holder": PEER, "verifier_seed": OTHER_SEED, "nonce": NONCE, "epoch": 7}


def answer(
    body: bytes = BODY, *, seed: bytes = SEED, domain: str = "fingerprint", **changed: object
) -> bytes:
    """Return an ANSWER whose statement has some keys changed."""
    value = {**STATEMENT, **{int(key[1:]): entry for key, entry in changed.items()}}
    return item({0: 2, 1: signed({k: v for k, v in value.items() if v is not None}, domain, seed), 2: body})


fingerprints.valid(
    "answer", "answer", "N-010", seed=SEED, swarm_id=SWARM, verifier=OTHER, nonce=NONCE, epoch=7, body=BODY
)
fingerprints.valid(
    "answer-largest-epoch",
    "answer",
    "N-010",
    seed=OTHER_SEED,
    swarm_id=SWARM,
    verifier=PEER,
    nonce=bytes(16),
    epoch=2**53 - 1,
    body=pattern(4096),
)
fingerprints.valid("judge", "judge", "N-020", answer=answer(), **ASKED)
fingerprints.valid(
    "judge-any-epoch",
    "judge",
    "N-020",
    "the request names no epoch",
    answer=answer(_4=9),
    **{**ASKED, "epoch": None},
)
fingerprints.valid(
    "judge-largest", "judge", "N-020", answer=answer(pattern(4096), _5=sha256(pattern(4096))), **ASKED
)
for _slug, _why, _answer_bytes in (
    ("other-swarm", "a statement of another swarm", answer(_0=flip(SWARM, 0))),
    (
        "other-holder",
        "a statement of another holder, and signed by that one",
        answer(_1=OTHER, seed=OTHER_SEED),
    ),
    ("other-verifier", "a statement for another verifier", answer(_2=PEER)),
    ("other-epoch", "another epoch than was asked for", answer(_4=8)),
    ("other-digest", "the digest of another body", answer(_5=sha256(b"another"))),
    ("other-body", "another body than the digest's", answer(b"a bodx")),
    ("signature", "signed by another key", answer(seed=OTHER_SEED)),
    ("other-domain", "signed under another domain", answer(domain="update")),
):
    fingerprints.invalid(
        f"judge-{_slug}", "judge", "E_FP_BINDING", "N-020", _why, answer=_answer_bytes, **ASKED
    )
fingerprints.invalid(
    "judge-other-nonce",
    "judge",
    "drop",
    "N-021",
    "an answer to another request",
    answer=answer(_3=bytes(16)),
    **ASKED,
)
for _slug, _why, _changed in (
    ("swarm-31", "a swarm id of 31 bytes", {"_0": SWARM[:31]}),
    ("nonce-15", "a nonce of 15 bytes", {"_3": NONCE[:15]}),
    ("epoch-54-bits", "an epoch of 54 bits", {"_4": 2**53}),
    ("digest-31", "a digest of 31 bytes", {"_5": bytes(31)}),
    ("without-verifier", "key 2 is missing", {"_2": None}),
    ("key-6", "an unknown key below 64", {"_6": 0}),
):
    fingerprints.invalid(
        f"judge-{_slug}", "judge", "E_SCHEMA", "C-020", _why, answer=answer(**_changed), **ASKED
    )
fingerprints.invalid(
    "judge-statement-193",
    "judge",
    "E_TOO_BIG",
    "I-013",
    "a statement of more than 192 bytes",
    answer=item({0: 2, 1: signed(filled(STATEMENT, 193), "fingerprint"), 2: BODY}),
    **ASKED,
)
fingerprints.invalid(
    "judge-no-envelope",
    "judge",
    "E_SCHEMA",
    "I-011",
    "the statement without its envelope",
    answer=item({0: 2, 1: item(STATEMENT), 2: BODY}),
    **ASKED,
)

FAMILIES = (records, fingerprints)
