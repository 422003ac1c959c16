"""Families of the manifest handshake and of the walk of a two-sided exchange."""

from __future__ import annotations

from typing import Any

from ref import SpecError
from ref.agreement import Agreement
from ref.exchange import INITIATOR, RESPONDER
from ref.messages import decode_message, encode_message

from .family import HEX, NUM, TEXT, Family, Json, array, record
from .raw import flip, item, pattern

terms = Family(
    "manifest-handshake",
    "The manifest handshake at one side: terms that fit, and the code of the first that differs (chapter "
    "4b).",
    "A side whose HELLO is `own` takes the other side's messages in order; `unix_now` is its wall clock. "
    "Compare its state, what it sent, and once "
    "the other's HELLO fits, the largest update between both and the features that both have. Where it "
    "refuses, or breaks the session off, or "
    "is refused, compare the code.",
)


@terms.op(
    "take",
    "messages to the state of the handshake",
    takes=record(own=HEX, messages=array(HEX), unix_now=NUM),
    gives=record(state=TEXT, sent=array(HEX), largest_update=NUM, features=array(TEXT)),
)
def _take(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    own = decode_message("manifest", bytes.fromhex(given["own"]))
    own.pop("name")
    side = Agreement(own, 0.0)
    for message in given["messages"]:
        side.receive(bytes.fromhex(message), given["unix_now"])
    if side.state == "REFUSED":
        raise SpecError(side.code, "refused")
    largest, features = 0, []
    if side.theirs:
        largest = min(own["max_object_bytes"], side.theirs["max_object_bytes"])
        features = [each for each in own["features"] if each in side.theirs["features"]]
    return {}, {"state": side.state, "sent": side.out, "largest_update": largest, "features": features}


OWN: dict[str, Any] = {
    "initiator": True,
    "swarm_id": pattern(32),
    "schema_version": 3,
    "arch_hash": "sha256:" + "ab" * 32,
    "input_shape": [64],
    "output_shape": [10],
    "aggregation": "FedAvg",
    "topology": "Random",
    "compression_enabled": False,
    "byzantine_f": 0,
    "max_object_bytes": 1 << 28,
    "features": ["introduce", "relay"],
    "expires_unix": 2_000_000_000,
}
NOW = 1_900_000_000


def hello(**changed: Any) -> bytes:
    """Return the HELLO of the other side."""
    return encode_message("manifest", "HELLO", **{**OWN, "initiator": False, **changed})


MINE = encode_message("manifest", "HELLO", **OWN)
AGREE = item({0: 2})


def refuse(code: int) -> bytes:
    """Return a REFUSE."""
    return item({0: 3, 1: code, 2: "", 3: ""})


_LARGER = {"messages[0][146:149]": "the other side takes larger updates than this one"}
_CLOCK = {"unix_now": "the manifest has not ended"}
terms.valid(
    "hello", "take", "H-001 H-007 H-010", "", (), _CLOCK | _LARGER, own=MINE, messages=[hello()], unix_now=NOW
)
terms.valid(
    "agreed",
    "take",
    "H-007 H-013",
    "",
    (),
    _CLOCK | _LARGER,
    own=MINE,
    messages=[hello(), AGREE],
    unix_now=NOW,
)
terms.valid(
    "smaller-update",
    "take",
    "H-013",
    "",
    (),
    _CLOCK,
    own=MINE,
    messages=[hello(max_object_bytes=1000), AGREE],
    unix_now=NOW,
)
terms.valid(
    "features",
    "take",
    "H-014",
    "names that it does not know are ignored",
    (),
    {**_CLOCK, **_LARGER, "messages[0][152:159]": "a feature that only one side has"},
    own=MINE,
    messages=[hello(features=["another", "relay"])],
    unix_now=NOW,
)
terms.valid(
    "last-second", "take", "H-011", "", (), _LARGER, own=MINE, messages=[hello()], unix_now=1_999_999_999
)
terms.valid("nothing-yet", "take", "H-001", "", (), _CLOCK, own=MINE, messages=[], unix_now=NOW)
terms.valid(
    "ignored-kind",
    "take",
    "H-004",
    "",
    (),
    {
        **_CLOCK,
        "messages[0][3:4]": "any kind from 64 on is ignored",
        "messages[1][146:149]": "the other side takes larger updates than this one",
    },
    own=MINE,
    messages=[item({0: 64}), hello()],
    unix_now=NOW,
)


def _differs(
    slug: str, code: str, rules: str, why: str, *messages: bytes, own: bytes = MINE, now: int = NOW
) -> None:
    terms.invalid(slug, "take", code, rules, why, own=own, messages=list(messages), unix_now=now)


for _term, _code, _value in (
    ("swarm_id", "E_MAN_UNKNOWN", flip(pattern(32), 31)),
    ("schema_version", "E_MAN_VERSION", 4),
    ("arch_hash", "E_MAN_ARCH", "sha256:" + "ac" * 32),
    ("input_shape", "E_MAN_SHAPE", [64, 1]),
    ("output_shape", "E_MAN_SHAPE", []),
    ("aggregation", "E_MAN_TERMS", "Krum"),
    ("topology", "E_MAN_TERMS", "Ring"),
    ("compression_enabled", "E_MAN_TERMS", True),
    ("byzantine_f", "E_MAN_TERMS", 1),
    ("expires_unix", "E_MAN_TERMS", 2_000_000_001),
):
    _differs(f"other-{_term.replace('_', '-')}", _code, "H-010", f"{_term} differs", hello(**{_term: _value}))
_differs("no-end", "E_MAN_TERMS", "H-010", "only one manifest has an end", hello(expires_unix=None))
_differs(
    "first-of-two",
    "E_MAN_ARCH",
    "H-010",
    "arch_hash comes before topology",
    hello(arch_hash="other", topology="Ring"),
)
_differs(
    "first-of-all",
    "E_MAN_UNKNOWN",
    "H-010",
    "swarm_id comes first",
    hello(swarm_id=bytes(32), schema_version=9, arch_hash="other", byzantine_f=3),
)
_differs("ended", "E_MAN_EXPIRED", "H-011", "the manifest has ended", hello(), now=2_000_000_000)
_differs(
    "ended-and-differs",
    "E_MAN_TERMS",
    "H-010 H-011",
    "a term that differs comes before the end",
    hello(byzantine_f=1),
    now=2_000_000_000,
)
_differs("echo", "E_PROTOCOL", "H-005", "the side's own HELLO comes back", MINE)
_differs("hello-twice", "E_PROTOCOL", "H-004", "a second HELLO", hello(), hello())
_differs(
    "second-hello-differs",
    "E_PROTOCOL",
    "H-004",
    "a second HELLO that differs",
    hello(),
    hello(byzantine_f=1),
)
_differs("agree-twice", "E_PROTOCOL", "H-004", "a second AGREE", hello(), AGREE, AGREE)
_differs("refused", "E_MAN_ARCH", "H-006", "the other side refuses", refuse(0x39))
_differs(
    "refused-after-agree",
    "E_MAN_TIMEOUT",
    "H-006",
    "the other side refuses after AGREE",
    hello(),
    AGREE,
    refuse(0x3D),
)
_differs(
    "refused-unknown-code",
    "E_PROTOCOL",
    "H-006 E-002",
    "refused with a code that nobody knows",
    refuse(0xFFFF),
)
_differs("get", "E_SCHEMA", "H-004", "a message of fetch mode", item({0: 4, 1: pattern(32), 2: 0}))
_differs("no-cbor", "E_CBOR", "C-002", "no CBOR", b"\xff")

# --- two-sided exchanges ---

walks = Family(
    "two-sided-exchange",
    "Walks through the states of a two-sided exchange, at its initiator and at its responder (chapter "
    "11b.5).",
    "Begin in the first state of the side and take the events of the tables of 11b.5 in order. Compare "
    "what is done at each, as the cell says it, and "
    "the state that follows. A protocol error ends the session.",
)


@walks.op(
    "walk",
    "events to actions and states",
    takes=record(side={"enum": ["initiator", "responder"]}, events=array(TEXT)),
    gives=record(steps=array(record(do=TEXT, state=TEXT))),
)
def _walk(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    table, state = {"initiator": (INITIATOR, "OFFERED"), "responder": (RESPONDER, "ASKED")}[given["side"]]
    steps = []
    for event in given["events"]:
        actions, state = table[state][event]
        if "protocol error" in actions:
            raise SpecError("E_PROTOCOL", "a protocol error")
        steps.append({"do": ", ".join(actions), "state": state})
    return {}, {"steps": steps}


for _slug, _side, _rules, _events in (
    ("initiator-whole", "initiator", "B-010 B-011 B-020", "ACCEPT HOLD READY APPLY SAVED ACK"),
    ("initiator-ready-first", "initiator", "B-010", "ACCEPT READY HOLD APPLY SAVED RETRY ACK"),
    ("initiator-given-up", "initiator", "B-041", "ACCEPT GIVE_UP"),
    ("initiator-late", "initiator", "B-040", "ACCEPT HOLD LATE"),
    (
        "initiator-told-again",
        "initiator",
        "B-033",
        "ACCEPT HOLD READY APPLY SAVED READY ASK RETRY GIVE_UP ACK",
    ),
    ("initiator-departed", "initiator", "B-050", "ACCEPT HOLD READY GIVE_UP GONE"),
    ("initiator-refused", "initiator", "B-023", "ABORT"),
    ("responder-whole", "responder", "B-011 B-012", "ACCEPT HOLD SAVED COMMIT APPLY SAVED"),
    (
        "responder-in-doubt",
        "responder",
        "B-014 B-033 B-040",
        "ACCEPT HOLD SAVED GIVE_UP RETRY LATE RETRY COMMIT APPLY SAVED",
    ),
    ("responder-aborted-in-doubt", "responder", "B-023", "ACCEPT OFFER HOLD OFFER SAVED OFFER ABORT"),
    ("responder-refuses", "responder", "B-041", "GIVE_UP"),
    ("responder-departed", "responder", "B-050", "ACCEPT HOLD SAVED LATE GONE COMMIT"),
):
    walks.valid(_slug, "walk", _rules, side=_side, events=_events.split())
for _slug, _why, _events in (
    ("commit-while-taking", "COMMIT before READY was said", "ACCEPT COMMIT"),
    ("commit-while-taking-after-offer", "COMMIT before READY was said", "ACCEPT OFFER COMMIT"),
    ("commit-while-taking-after-retry", "COMMIT before READY was said", "ACCEPT RETRY COMMIT"),
    ("commit-while-taking-after-ask", "COMMIT before READY was said", "ACCEPT ASK COMMIT"),
    ("commit-while-taking-after-ready", "COMMIT before READY was said", "ACCEPT READY COMMIT"),
    ("commit-while-taking-after-ack", "COMMIT before READY was said", "ACCEPT ACK COMMIT"),
    ("commit-while-prepared", "COMMIT before the checkpoint is saved", "ACCEPT HOLD COMMIT"),
    (
        "commit-while-prepared-after-offer",
        "COMMIT before the checkpoint is saved",
        "ACCEPT HOLD OFFER COMMIT",
    ),
    (
        "commit-while-prepared-after-retry",
        "COMMIT before the checkpoint is saved",
        "ACCEPT HOLD RETRY COMMIT",
    ),
    (
        "commit-while-prepared-after-apply",
        "COMMIT before the checkpoint is saved",
        "ACCEPT HOLD APPLY COMMIT",
    ),
    ("commit-while-prepared-after-ask", "COMMIT before the checkpoint is saved", "ACCEPT HOLD ASK COMMIT"),
    ("commit-while-prepared-after-hold", "COMMIT before the checkpoint is saved", "ACCEPT HOLD HOLD COMMIT"),
):
    walks.invalid(
        f"responder-{_slug}", "walk", "E_PROTOCOL", "B-024", _why, side="responder", events=_events.split()
    )

FAMILIES = (terms, walks)
