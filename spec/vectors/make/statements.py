"""Families of signed statements: peer records, update headers, rounds, proofs, fingerprints."""

from __future__ import annotations

from typing import Any

from ref import SpecError, addresses, cbor, identity
from ref import messages as ref_messages
from ref import statements as ref
from ref.data import CONSTANTS, LIMITS
from ref.manifest import member_keys, swarm_tag
from ref.primitives import sha256

from .encoding import shown
from .family import BOOL, HEX, NUM, VALUE, Family, Json, array, either, pair, record
from .raw import Pairs, filled, flip, item, pattern

SEED, OTHER_SEED = bytes([0x11]) * 32, bytes([0x22]) * 32
PEER, OTHER = identity.peer_id(SEED), identity.peer_id(OTHER_SEED)
SMALL_ORDER = (1).to_bytes(32, "little")
KEYS = member_keys(b"a manifest")
NOW = 1_900_000_005
NULL = {"type": "null"}


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

# --- update headers ---

headers = Family(
    "update-header",
    "Signed headers of updates: how one is made, and which are believed (chapter 11.3 and G-010 to G-014).",
    "`sign`: encode the payload, sign it under the domain `update`. `judge`: judge the header that comes "
    "in an offer of `peer` with this "
    "`root` and `size`, in a swarm. `value` is the map of the keys that this edition knows. The rules on "
    "rounds are not applied here.",
)
_POSITION = pair(NUM, NUM)
SWARM, ROOT, NONCE = pattern(32), pattern(32, 100), pattern(16)


def unshown(value: Json) -> cbor.Value:
    """Read back what `shown` wrote."""
    ((kind, content),) = value.items()
    if kind == "int":
        return int(content)
    if kind == "bytes":
        return bytes.fromhex(content)
    if kind == "simple":
        return {"false": False, "true": True, "null": None}[content]
    if kind == "array":
        return [unshown(element) for element in content]
    if kind == "map":
        return {int(key): unshown(entry) for key, entry in content}
    return str(content)


@headers.op(
    "sign",
    "a payload to the signed header",
    takes=record(seed=HEX, value=VALUE),
    mid=record(payload=HEX, signed=HEX),
    gives=record(header=HEX),
)
def _sign_header(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    value = unshown(given["value"])
    fields = ref_messages.named(ref_messages.SCHEMAS["update"], value)  # type: ignore[arg-type]
    envelope = ref.sign_statement(bytes.fromhex(given["seed"]), "update", fields)
    payload, _ = identity.decode_envelope(envelope, len(envelope))
    return {"payload": payload, "signed": unsigned_bytes("update", envelope)}, {"header": envelope}


@headers.op(
    "judge",
    "a header in an offer to its payload",
    takes=record(header=HEX, peer=HEX, swarm_id=HEX, root=HEX, size=NUM),
    mid=record(signed=HEX),
    gives=record(value=VALUE, position=_POSITION),
)
def _judge_header(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    envelope, peer, swarm, root = (
        bytes.fromhex(given[name]) for name in ("header", "peer", "swarm_id", "root")
    )
    fields = ref.judge_header(envelope, swarm, peer, root, given["size"])
    value = ref_messages.numbered(ref_messages.SCHEMAS["update"], fields)
    return {"signed": unsigned_bytes("update", envelope)}, {
        "value": shown(value),
        "position": [fields["incarnation"], fields["round"]],
    }


HEADER: dict[int, Any] = {
    0: SWARM,
    1: PEER,
    2: 7,
    3: ROOT,
    4: 40000,
    5: 1,
    6: 256,
    7: {},
    8: {1: 42},
    9: NOW,
    10: NONCE,
    12: 1_900_000_000_000,
}
SECOND = [pattern(32, 50), 100, 1, "momentum"]


def header(
    *, seed: bytes = SEED, domain: str = "update", without: int | None = None, **changed: object
) -> bytes:
    """Return a signed header with some keys changed."""
    value = {**HEADER, **{int(key[1:]): entry for key, entry in changed.items()}}
    value.pop(without or -1, None) if without != 0 else value.pop(0)
    return signed(value, domain, seed)


headers.valid("sign", "sign", "I-006 G-001", seed=SEED, value=shown(HEADER))
headers.valid(
    "sign-all",
    "sign",
    "I-006 G-001",
    seed=SEED,
    value=shown({**HEADER, 8: {0: [True, "text", b"bytes", -5]}, 11: pattern(32, 9), 13: [SECOND]}),
)
OFFERED = {"peer": PEER, "swarm_id": SWARM, "root": ROOT, "size": 40000}


def _taken(slug: str, envelope: bytes, comment: str = "", **offered: Any) -> None:
    headers.valid(slug, "judge", "G-010 G-013 G-014", comment, header=envelope, **{**OFFERED, **offered})


_taken("judge", header())
_taken(
    "judge-largest",
    header(_2=2**32 - 1, _4=2**32, _5=255, _6=2**53 - 1, _9=2**53 - 1, _12=2**53 - 1),
    size=2**32,
)
_taken("judge-base", header(_11=pattern(32, 9)))
_taken("judge-first-of-two-parts", header(_13=[SECOND]))
_taken(
    "judge-second-part",
    header(_13=[SECOND]),
    "the offer is of the further object",
    root=SECOND[0],
    size=SECOND[1],
)
_taken(
    "judge-four-further",
    header(_13=[[pattern(32, n), n, 0, ""] for n in range(1, 5)]),
    root=pattern(32, 4),
    size=4,
)
_taken("judge-metadata-16", header(_8=dict.fromkeys(range(16), 0)))


def _refused(slug: str, rules: str, why: str, envelope: bytes, **offered: Any) -> None:
    headers.invalid(slug, "judge", "E_UPD_HEADER", rules, why, header=envelope, **{**OFFERED, **offered})


_refused("judge-other-swarm", "G-011", "a header of another swarm", header(), swarm_id=flip(SWARM, 0))
_refused("judge-other-peer", "G-012", "offered by another peer than its author", header(), peer=OTHER)
_refused("judge-other-root", "G-013", "the offer is of another object", header(), root=flip(ROOT, 31))
_refused("judge-other-size", "G-013", "the offer has another size", header(), size=40001)
_refused(
    "judge-size-of-other-part",
    "G-013",
    "the root of one part with the size of another",
    header(_13=[SECOND]),
    size=100,
)
_refused("judge-signature", "G-014", "a byte of the signature is changed", flip(header(), -1))
_refused("judge-other-signer", "G-014", "signed by another key than the author's", header(seed=OTHER_SEED))
_refused("judge-other-domain", "G-014 I-012", "signed under another domain", header(domain="peer-record"))
_refused(
    "judge-small-order", "G-010 I-004", "an author of small order", header(_1=SMALL_ORDER), peer=SMALL_ORDER
)
for _slug, _why, _changed in (
    ("swarm-31", "a swarm id of 31 bytes", {"_0": SWARM[:31]}),
    ("author-33", "an author of 33 bytes", {"_1": PEER + b"\0"}),
    ("round-33-bits", "a round of 33 bits", {"_2": 2**32}),
    ("round-negative", "a negative round", {"_2": -1}),
    ("root-text", "a root that is text", {"_3": "r" * 32}),
    ("size-zero", "an update of 0 bytes", {"_4": 0}),
    ("size-above", "an update above 2^32 bytes", {"_4": 2**32 + 1}),
    ("codec-256", "a codec of 9 bits", {"_5": 256}),
    ("samples-54-bits", "a sample count of 54 bits", {"_6": 2**53}),
    ("parameters-17", "17 codec parameters", {"_7": dict.fromkeys(range(17), 0)}),
    ("parameters-map-inside", "a map among the codec parameters", {"_7": {1: {}}}),
    ("metadata-null", "a null among the metadata", {"_8": {1: None}}),
    ("metadata-array", "metadata that are an array", {"_8": [1]}),
    ("issued-54-bits", "a time of 54 bits", {"_9": 2**53}),
    ("nonce-15", "a nonce of 15 bytes", {"_10": NONCE[:15]}),
    ("base-31", "a base of 31 bytes", {"_11": ROOT[:31]}),
    ("incarnation-54-bits", "an incarnation of 54 bits", {"_12": 2**53}),
    ("no-objects", "an empty list of further objects", {"_13": []}),
    ("five-objects", "five further objects", {"_13": [[pattern(32, n), 1, 0, ""] for n in range(5)]}),
    ("object-of-three", "a further object without its name", {"_13": [SECOND[:3]]}),
    ("object-name-33", "a name of 33 bytes", {"_13": [[*SECOND[:3], "n" * 33]]}),
    ("object-size-0", "a further object of 0 bytes", {"_13": [[SECOND[0], 0, 1, ""]]}),
    ("key-14", "an unknown key below 64", {"_14": 0}),
):
    _refused(f"judge-{_slug}", "G-010 C-020", _why, header(**_changed))
_refused(
    "judge-root-twice",
    "G-043",
    "a further object has the root of the body",
    header(_13=[[ROOT, 40000, 1, ""]]),
)
_refused(
    "judge-further-root-twice", "G-043", "two further objects have one root", header(_13=[SECOND, SECOND])
)
for _key in HEADER:
    _refused(f"judge-without-{_key}", "G-010 C-020", f"key {_key} is missing", header(without=_key))
_refused("judge-too-big", "G-010 I-013", "more than 512 bytes", signed(filled(HEADER, 437), "update"))
_refused("judge-nothing", "G-010 I-011", "no bytes", b"")

# --- rounds ---

rounds = Family(
    "round-accept",
    "Which rounds of one author are accepted (G-020 to G-023).",
    "Judge the position (incarnation, round) of a header, given what the receiver remembers of its author: "
    "*last*, *newest*, how many own "
    "rounds and seconds have passed since newest came, and whether it came in the present session. Of an "
    "accepted header compare its "
    "staleness at the offer, what *newest* is then, and the least and the largest round that this "
    "incarnation could have had here.",
)


@rounds.op(
    "judge",
    "a position to acceptance",
    takes=record(
        position=_POSITION,
        last=either(_POSITION, NULL),
        newest=either(_POSITION, NULL),
        own_rounds=NUM,
        seconds=NUM,
        same_session=BOOL,
    ),
    gives=record(staleness=NUM, newest=_POSITION, least=NUM, most=NUM),
)
def _round(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    incarnation, number = given["position"]
    last, newest = (tuple(given[name]) if given[name] else None for name in ("last", "newest"))
    memory = {
        "last": last,
        "newest": newest,
        "own_rounds": given["own_rounds"],
        "seconds": given["seconds"],
        "this_session": given["same_session"],
    }
    verdict = ref.round_verdict((incarnation, number), memory)
    if verdict != "accepted":
        raise SpecError(verdict, "the position is refused")
    same = newest is not None and newest[0] == incarnation
    least = last[1] + 1 if last is not None and last[0] == incarnation else 0
    most = 2**32 - 1
    if newest is not None and same:
        least = max(least, newest[1] - LIMITS["round_stale"])
        if given["same_session"]:
            most = min(most, newest[1] + LIMITS["round_ahead"] * (1 + given["own_rounds"] + given["seconds"]))
    out = {
        "staleness": max(0, newest[1] - number) if newest is not None and same else 0,
        "newest": max(newest or (0, 0), (incarnation, number)),
        "least": least,
        "most": most,
    }
    return {}, out


MEMORY: dict[str, Any] = {
    "last": [5, 10],
    "newest": [5, 30],
    "own_rounds": 1,
    "seconds": 2,
    "same_session": True,
}


def _round_case(
    slug: str, rules: str, position: list[int], error: str = "", why: str = "", **changed: Any
) -> None:
    fields = {"position": position, **MEMORY, **changed}
    if error:
        rounds.invalid(slug, "judge", error, rules, why, **fields)
        return
    newest, last = fields["newest"], fields["last"]
    same = newest is not None and newest[0] == position[0]
    unused: dict[str, str] = {}
    if not (same and fields["same_session"]):
        unused |= dict.fromkeys(("own_rounds", "seconds"), "there is no bound that they could move")
    if not same:
        unused["same_session"] = "there is no newest of this incarnation"
        unused["newest[1]"] = "another incarnation's rounds are not compared with"
    if last is not None and last[0] != position[0]:
        unused["last[1]"] = "another incarnation's rounds are not compared with"
    if last is not None and same and last[1] + 1 < newest[1] - LIMITS["round_stale"]:
        unused["last[1]"] = "the stale bound lies above it"
    rounds.valid(slug, "judge", rules, why, (), unused, **fields)


_round_case("next", "G-020 G-022", [5, 31])
_round_case("stale-bound", "G-021", [5, 22])
_round_case("ahead-bound", "G-022", [5, 94])
_round_case("newest-again", "G-020", [5, 30], why="not received yet: only last makes a replay")
_round_case("above-last", "G-020", [5, 29], last=[5, 28])
_round_case("first-of-all", "G-020", [0, 0], last=None, newest=None, same_session=False)
_round_case("other-incarnation", "G-020 G-022", [6, 0], why="a new incarnation begins anywhere")
_round_case(
    "other-session",
    "G-022",
    [5, 4_000_000_000],
    same_session=False,
    why="the first header of a session is exempt",
)
_round_case("newest-alone", "G-021 G-022", [5, 46], last=None, own_rounds=0, seconds=0)
_round_case("no-time-passed", "G-022", [5, 46], own_rounds=0, seconds=0)
for _slug, _rules, _position, _error, _why, _changed in (
    ("last-again", "G-020", [5, 10], "E_RND_REPLAY", "the update that was received last", {}),
    ("below-last", "G-020", [5, 9], "E_RND_REPLAY", "older than the update that was received last", {}),
    ("zero", "G-020", [5, 0], "E_RND_REPLAY", "older than the update that was received last", {}),
    ("older-incarnation", "G-020", [4, 99], "E_RND_REPLAY", "an incarnation below that of newest", {}),
    (
        "older-incarnation-largest",
        "G-020",
        [4, 2**32 - 1],
        "E_RND_REPLAY",
        "an incarnation below that of newest",
        {"last": None},
    ),
    (
        "last-of-newer-incarnation",
        "G-020",
        [5, 31],
        "E_RND_REPLAY",
        "an incarnation below that of last",
        {"last": [6, 0], "newest": [6, 0]},
    ),
    (
        "replay-before-stale",
        "G-020 G-021",
        [5, 1],
        "E_RND_REPLAY",
        "both replayed and stale: replay comes first",
        {},
    ),
    ("stale", "G-021", [5, 21], "E_RND_STALE", "nine rounds below newest", {}),
    ("stale-just-above-last", "G-021", [5, 11], "E_RND_STALE", "above last, and too far below newest", {}),
    (
        "stale-other-session",
        "G-021",
        [5, 21],
        "E_RND_STALE",
        "staleness knows no sessions",
        {"same_session": False},
    ),
    ("ahead", "G-022", [5, 95], "E_RND_AHEAD", "one more than the rounds and seconds passed allow", {}),
    ("ahead-largest", "G-022", [5, 2**32 - 1], "E_RND_AHEAD", "the last round that there is", {}),
    (
        "ahead-at-once",
        "G-022",
        [5, 47],
        "E_RND_AHEAD",
        "nothing has passed since newest",
        {"own_rounds": 0, "seconds": 0},
    ),
    (
        "ahead-by-rounds",
        "G-022",
        [5, 63],
        "E_RND_AHEAD",
        "one own round has passed",
        {"own_rounds": 1, "seconds": 0},
    ),
):
    _round_case(_slug, _rules, _position, _error, _why, **_changed)

# --- equivocation ---

proofs = Family(
    "equivocation",
    "Proofs that an author signed two updates for one position (G-030, G-034).",
    "Judge two headers in a swarm. They convict their author where both are well-formed, of this swarm, of "
    "one author and one position, with "
    "different roots, and both signatures verify. For any other proof the session with who told it is "
    "closed.",
)


@proofs.op(
    "convict",
    "two headers to the author that they convict",
    takes=record(first=HEX, second=HEX, swarm_id=HEX),
    mid=record(roots=array(HEX)),
    gives=record(author=HEX, position=_POSITION, message=HEX),
)
def _convict(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    first, second, swarm = (bytes.fromhex(given[name]) for name in ("first", "second", "swarm_id"))
    author = ref.convicted_by(first, second, swarm)
    both = [ref.read_statement("update", envelope) for envelope in (first, second)]
    message = ref_messages.encode_message("gossip", "PROOF", first=first, second=second)
    return {"roots": [each["root"] for each in both]}, {
        "author": author,
        "position": [both[0]["incarnation"], both[0]["round"]],
        "message": message,
    }


ANOTHER = header(_3=pattern(32, 101))
proofs.valid("two-roots", "convict", "G-030 G-034", first=header(), second=ANOTHER, swarm_id=SWARM)
proofs.valid("two-roots-swapped", "convict", "G-034", first=ANOTHER, second=header(), swarm_id=SWARM)
proofs.valid(
    "also-other-size",
    "convict",
    "G-034",
    "all but position, author and swarm may differ",
    first=header(),
    second=header(_3=pattern(32, 101), _4=1, _5=0, _9=0, _10=bytes(16)),
    swarm_id=SWARM,
)
for _slug, _why, _first, _second in (
    ("same-header", "one header twice", header(), header()),
    ("same-root", "two headers of one root: that is allowed", header(), header(_10=bytes(16))),
    ("other-round", "two rounds", header(), header(_3=pattern(32, 101), _2=8)),
    ("other-incarnation", "two incarnations", header(), header(_3=pattern(32, 101), _12=5)),
    ("other-author", "two authors", header(), header(_3=pattern(32, 101), _1=OTHER, seed=OTHER_SEED)),
    ("other-swarm-both", "both of another swarm", header(_0=ROOT), header(_0=ROOT, _3=pattern(32, 101))),
    ("other-swarm-first", "the first of another swarm", header(_0=ROOT), ANOTHER),
    ("other-swarm-second", "the second of another swarm", header(), header(_0=ROOT, _3=pattern(32, 101))),
    ("signature-of-first", "the first signature is wrong", flip(header(), -1), ANOTHER),
    ("signature-of-second", "the second signature is wrong", header(), flip(ANOTHER, -1)),
    (
        "forged",
        "another key signed in the author's name",
        header(),
        header(_3=pattern(32, 101), seed=OTHER_SEED),
    ),
    (
        "other-domain",
        "signed under another domain",
        header(),
        header(_3=pattern(32, 101), domain="peer-record"),
    ),
    ("malformed-first", "the first is no envelope", item(HEADER), ANOTHER),
    ("malformed-second", "the second lacks its nonce", header(), header(_3=pattern(32, 101), without=10)),
    (
        "small-order",
        "an author of small order, who can deny everything",
        header(_1=SMALL_ORDER),
        header(_1=SMALL_ORDER, _3=pattern(32, 101)),
    ),
):
    proofs.invalid(
        _slug, "convict", "E_PROTOCOL", "G-034", _why, first=_first, second=_second, swarm_id=SWARM
    )

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

FAMILIES = (records, headers, rounds, proofs, fingerprints)
