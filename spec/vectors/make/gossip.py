"""Families of gossip: update headers, rounds, proofs of equivocation."""

from __future__ import annotations

from typing import Any

from ref import SpecError, cbor, identity
from ref import messages as ref_messages
from ref import statements as ref
from ref.data import LIMITS

from .encoding import shown
from .family import BOOL, HEX, NUM, VALUE, Family, Json, array, either, pair, record
from .raw import filled, flip, item, pattern
from .statements import (
    NONCE,
    NOW,
    NULL,
    OTHER,
    OTHER_SEED,
    PEER,
    ROOT,
    SEED,
    SMALL_ORDER,
    SWARM,
    signed,
    unsigned_bytes,
)

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

FAMILIES = (headers, rounds, proofs)
