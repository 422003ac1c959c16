"""The form of the chapters: ids of rules, the schema files, and that no program is named."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from quinkgl.wire.cbor import decode_untrusted
from quinkgl.wire.messages import exchange
from quinkgl.wire.messages.fetch import FetchRefused, Get, Piece, encode_fetch_message
from quinkgl.wire.messages.fingerprint import (
    Answer,
    Decline,
    Request,
    Statement,
    encode_fingerprint_message,
    encode_statement,
)
from quinkgl.wire.messages.gossip import (
    Proof,
    UpdateHeader,
    UpdateObject,
    encode_gossip_message,
    encode_update_header,
)
from quinkgl.wire.messages.manifest import Agree, Hello, Refuse, Terms, encode_manifest_message
from quinkgl.wire.messages.membership import (
    PeerRecord,
    Records,
    encode_membership_message,
    encode_record,
)
from quinkgl.wire.messages.objects import Cancel, Done, Offer, Want, encode_object_message
from quinkgl.wire.messages.secrets import ExchangeOffer, ExchangeReply, encode_exchange_message
from quinkgl.wire.messages.session import HandshakePayload, TransportParameters, encode_handshake_payload

ROOT = Path(__file__).resolve().parents[2]
SPEC = ROOT / "spec"
CHAPTERS = sorted(SPEC.glob("[0-9]*.md"))

RULE = re.compile(r"\*\*\[([A-Z]-[0-9]{3})\]\*\*")
NORM = re.compile(r"\b(MUST|SHOULD)\b")


def rules(path: Path) -> list[str]:
    return RULE.findall(path.read_text(encoding="utf-8"))


@pytest.mark.req("W-002")
def test_no_id_is_given_twice() -> None:
    counts = Counter(rule for path in CHAPTERS for rule in rules(path))
    assert [rule for rule, count in counts.items() if count > 1] == []


def test_no_two_chapters_share_a_letter() -> None:
    letters: dict[str, str] = {}
    for path in CHAPTERS:
        for letter in {rule[0] for rule in rules(path)}:
            assert letters.setdefault(letter, path.name) == path.name


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.name)
def test_the_ids_of_a_chapter_ascend(path: Path) -> None:
    assert rules(path) == sorted(rules(path))


@pytest.mark.req("W-003")
@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.name)
def test_every_norm_belongs_to_a_rule(path: Path) -> None:
    """A list item or a table row with MUST or SHOULD carries an id; prose carries none of these words."""
    text = path.read_text(encoding="utf-8").replace("MUST, MUST NOT, SHOULD, SHOULD NOT and MAY have the", "")
    for block in re.split(r"\n(?=- |\| |\n)", text):
        if NORM.search(block) and path.name != "00-conventions.md":
            assert RULE.search(block), block


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.name)
def test_a_chapter_names_no_language_and_stays_readable(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\b(Python|asyncio|trio|struct\.|dataclass|quinkgl[._])", text, re.IGNORECASE)
    assert text.count("\n") <= 600


def test_every_rule_that_the_security_chapter_leans_on_exists() -> None:
    known = {rule for path in CHAPTERS for rule in rules(path)}
    text = (SPEC / "17-security.md").read_text(encoding="utf-8")
    named = {rule for rule in re.findall(r"\b[A-Z]-[0-9]{3}\b", text) if rule[0] != "X"}
    assert len(named) > 30
    assert sorted(named - known) == []


def test_every_threat_has_a_defence_a_rule_and_a_test() -> None:
    text = (SPEC / "17-security.md").read_text(encoding="utf-8")
    threats = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| X-")]
    assert [cells[0] for cells in threats] == [f"X-{number:03d}" for number in range(1, len(threats) + 1)]
    for cells in threats:
        assert len(cells) == 5
        assert "::test_" in cells[4], cells[0]


@pytest.mark.req("G-046")
def test_no_message_has_a_place_for_a_score() -> None:
    """Nobody can tell a score, or take one, where no message and no signed statement can carry it."""
    schemas = sorted((SPEC / "schema").glob("*.cddl"))
    assert len(schemas) >= 8
    for path in schemas:
        assert not re.search(r"score|reputation|rating", path.read_text(encoding="utf-8"), re.IGNORECASE)


# --- the schema files say what the codecs do ---

MEMBER = re.compile(r"^\s*(\?\s*)?([0-9]+) => ", re.MULTILINE)


def maps_of(name: str) -> dict[str, tuple[set[int], set[int]]]:
    """Required and optional keys of each map of a schema file."""
    text = (SPEC / "schema" / f"{name}.cddl").read_text(encoding="utf-8")
    found: dict[str, tuple[set[int], set[int]]] = {}
    for match in re.finditer(r"^([a-z-]+) = \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL):
        members = MEMBER.findall(match[2])
        assert "* extension => any" in match[2]
        found[match[1]] = (
            {int(key) for optional, key in members if not optional},
            {int(key) for optional, key in members if optional},
        )
    return found


def keys(data: bytes) -> set[int]:
    value: Any = decode_untrusted(data, max_bytes=16384, where="a message")
    return set(value)


def test_the_object_schema_has_the_codec_s_keys() -> None:
    root = bytes(32)
    schema = maps_of("objects")
    shown = {
        "offer": (Offer(1, root, 5000, b""), Offer(1, root, 3, b"", b"abc")),
        "want": (Want(1, ((0, 2),), 2),),
        "done": (Done(1),),
        "cancel": (Cancel(1, 0x44, by_offerer=False),),
    }
    assert schema.keys() == shown.keys()
    for name, messages in shown.items():
        required, optional = schema[name]
        assert keys(encode_object_message(messages[0])) == required
        assert keys(encode_object_message(messages[-1])) == required | optional


def test_the_session_schema_has_the_codec_s_keys() -> None:
    schema = maps_of("session")
    least = HandshakePayload(bytes(32), bytes(64), TransportParameters(), bytes(8))
    told = TransportParameters(reset_token=bytes(16))
    most = HandshakePayload(bytes(32), bytes(64), told, bytes(8), b"record", ("192.0.2.1", 7000))
    required, optional = schema["handshake-payload"]
    assert keys(encode_handshake_payload(least)) == required
    assert keys(encode_handshake_payload(most)) == required | optional
    encoded = decode_untrusted(encode_handshake_payload(most), max_bytes=1024, where="a payload")
    required, optional = schema["transport-parameters"]
    assert set(encoded[2]) == required | optional
    messages = {"exchange-offer": ExchangeOffer(2, bytes(32)), "exchange-reply": ExchangeReply(2, bytes(32))}
    for name, message in messages.items():
        assert keys(encode_exchange_message(message)) == schema[name][0]
    assert schema.keys() == {"handshake-payload", "transport-parameters", *messages}


def test_the_manifest_schema_has_the_codec_s_keys() -> None:
    terms = Terms(bytes(32), 3, "", (), (), "", "", False, 0, None, 1)
    lasting = dataclasses.replace(terms, expires_unix=1)
    schema = maps_of("manifest")
    required, optional = schema["hello"]
    assert keys(encode_manifest_message(Hello(terms, initiator=True))) == required
    assert keys(encode_manifest_message(Hello(lasting, initiator=True))) == required | optional
    assert keys(encode_manifest_message(Agree())) == schema["agree"][0]
    assert keys(encode_manifest_message(Refuse(0, "", ""))) == schema["refuse"][0]
    assert schema.keys() == {"hello", "agree", "refuse", "get", "piece"}
    assert keys(encode_fetch_message(Get(bytes(32), 0))) == schema["get"][0]
    required, optional = schema["piece"]
    assert keys(encode_fetch_message(Piece(0, 1, b"x"))) == required
    assert keys(encode_fetch_message(Piece(0, 1, b"x", bytes(64)))) == required | optional
    assert keys(encode_fetch_message(FetchRefused(0, ""))) == schema["refuse"][0]


def test_the_fingerprint_schema_has_the_codec_s_keys() -> None:
    schema = maps_of("fingerprint")
    assert schema.keys() == {"request", "answer", "decline", "statement"}
    required, optional = schema["request"]
    assert keys(encode_fingerprint_message(Request(bytes(16)))) == required
    assert keys(encode_fingerprint_message(Request(bytes(16), 0))) == required | optional
    assert keys(encode_fingerprint_message(Answer(b"x", b"x"))) == schema["answer"][0]
    assert keys(encode_fingerprint_message(Decline(bytes(16), 0))) == schema["decline"][0]
    statement = Statement(bytes(32), bytes(32), bytes(32), bytes(16), 0, bytes(32))
    assert keys(encode_statement(statement)) == schema["statement"][0]


def test_the_membership_schema_has_the_codec_s_keys() -> None:
    schema = maps_of("membership")
    assert schema.keys() == {"records", "peer-record"}
    assert keys(encode_membership_message(Records((b"record",)))) == schema["records"][0]
    assert keys(encode_record(PeerRecord(bytes(32), 0, 0, 1, bytes(8), (), 0))) == schema["peer-record"][0]


def test_the_gossip_schema_has_the_codec_s_keys() -> None:
    schema = maps_of("gossip")
    assert schema.keys() == {"update-header", "proof"}
    assert keys(encode_gossip_message(Proof(b"1", b"2"))) == schema["proof"][0]
    required, optional = schema["update-header"]
    header = UpdateHeader(bytes(32), bytes(32), 0, bytes(32), 1, 1, 0, 0, bytes(16), 0)
    assert keys(encode_update_header(header)) == required
    more = dataclasses.replace(header, base=bytes(32), objects=(UpdateObject(bytes([1]) * 32, 1, 1, ""),))
    assert keys(encode_update_header(more)) == required | optional


def test_the_exchange_schema_has_the_codec_s_keys() -> None:
    schema = maps_of("exchange")
    name, root = bytes(16), bytes(32)
    shown: dict[str, tuple[exchange.ExchangeMessage, ...]] = {
        "exchange-offer": (exchange.Offer(name, root, 1, 1, 0, 1),),
        "exchange-accept": (exchange.Accept(name, name, root, 1),),
        "exchange-ready": (exchange.Ready(name, name),),
        "exchange-ask": (exchange.Ask(name, name),),
        "exchange-commit": (exchange.Commit(name, name),),
        "exchange-abort": (exchange.Abort(name, None, 0), exchange.Abort(name, name, 0)),
        "exchange-ack": (exchange.Ack(name, name),),
    }
    assert schema.keys() == shown.keys()
    for label, messages in shown.items():
        required, optional = schema[label]
        assert keys(exchange.encode_exchange_message(messages[0])) == required
        assert keys(exchange.encode_exchange_message(messages[-1])) == required | optional
