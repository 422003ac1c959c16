"""Finding a version: what is offered, how two nodes come together, and why nobody can talk them down."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.testing.contract import Checked
from quinkgl.testing.endpoints import MEMBER, A, B, Pair, ScriptedPeer, drain, events_of, make_endpoint
from quinkgl.testing.network import Link
from quinkgl.transport import ConnectFailed, ConnectionEstablished, EndpointConfig
from quinkgl.wire.addresses import Address
from quinkgl.wire.errors import ErrorCode, LocalProtocolError
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.packets import (
    LongType,
    PacketForm,
    decode_long_untrusted,
    decode_version_negotiation_untrusted,
    encode_version_negotiation,
    grease_version,
    is_grease_version,
    packet_form,
)

OLD, NEW, NEWER = 1, 2, 0x00010003
GREASE = 0x1A2A3A4A


def config(*versions: int) -> EndpointConfig:
    return EndpointConfig(versions=versions)


def kind(data: bytes | memoryview) -> LongType | None:
    return LongType(data[0] & 0x0F) if packet_form(data) is PacketForm.LONG else None


def checked(seed: int, *versions: int) -> Checked:
    return Checked(make_endpoint(seed, config=config(*versions)), deep=False)


def answers(endpoint, datagram: bytes, source: Address, now: float = 0.0) -> list[bytes]:
    endpoint.receive_datagram(datagram, source, now=now)
    return [bytes(transmit.data) for transmit in drain(endpoint, now)[1]]


def opening(*versions: int, seed: int = 5) -> tuple[Checked, bytes]:
    endpoint = checked(seed, *versions)
    endpoint.connect(B, now=0.0)
    (transmit,) = drain(endpoint, 0.0)[1]
    return endpoint, bytes(transmit.data)


def version_of(init: bytes) -> int:
    return int.from_bytes(init[1:5], "big")


# Coming together


@pytest.mark.req("S-070", "S-072")
@pytest.mark.parametrize(
    ("ours", "theirs", "agreed", "asked"),
    [
        ((OLD,), (OLD,), OLD, False),
        ((NEW, OLD), (OLD,), OLD, True),
        ((OLD, NEW), (NEW,), NEW, True),
        ((NEW, OLD), (OLD, NEW), NEW, False),
        ((NEWER, NEW, OLD), (OLD, NEW), NEW, True),
        ((OLD,), (NEWER, NEW, OLD), OLD, False),
    ],
)
def test_two_nodes_come_together_in_what_the_initiator_likes_best(ours, theirs, agreed, asked):
    pair = Pair(config_a=config(*ours), config_b=config(*theirs))
    pair.connect()
    for node in (pair.a, pair.b):
        assert [event.version for event in events_of(node, ConnectionEstablished)] == [agreed]
    assert pair.a.machine.stats.version_negotiations_received == asked
    assert pair.b.machine.stats.version_negotiations_sent == asked


@pytest.mark.req("S-072")
def test_without_a_common_version_the_attempt_ends_at_once():
    pair = Pair(config_a=config(NEW), config_b=config(OLD))
    pair.a.machine.connect(B, now=0.0)
    pair.run(limit_s=1.0)
    assert [event.code for event in events_of(pair.a, ConnectFailed)] == [ErrorCode.E_VERSION]
    assert pair.b.events == []


@pytest.mark.parametrize("seed", range(5))
def test_over_a_bad_link(seed):
    link = Link(delay_s=0.02, loss=0.3, duplicate=0.2, jitter_s=0.05)
    pair = Pair(seed, link, config_a=config(NEW, OLD), config_b=config(OLD))
    pair.connect(limit_s=60.0)
    assert [event.version for event in events_of(pair.a, ConnectionEstablished)] == [OLD]


def test_a_version_and_a_cookie_in_one_handshake():
    theirs = EndpointConfig(versions=(OLD,), init_rate_total_per_s=0)
    pair = Pair(config_a=config(NEW, OLD), config_b=theirs)
    pair.connect()
    stats = pair.a.machine.stats
    assert (stats.version_negotiations_received, stats.cookies_received) == (1, 1)


# What is sent


@pytest.mark.req("S-070")
def test_what_is_offered_has_the_spoken_versions_in_order_and_one_that_nobody_speaks():
    places = []
    for seed in range(40):
        _, init = opening(NEW, OLD, seed=seed)
        offered = decode_long_untrusted(init, (NEW,)).versions
        (grease,) = [version for version in offered if is_grease_version(version)]
        places.append(offered.index(grease))
        assert [version for version in offered if version != grease] == [NEW, OLD]
    assert sorted(set(places)) == [0, 1, 2]


@pytest.mark.req("V-005")
@given(st.integers(0, 0xFFFF))
def test_grease_versions_have_their_form(bits):
    version = grease_version(bits)
    assert all(byte & 0x0F == 0x0A for byte in version.to_bytes(4, "big"))
    assert is_grease_version(version)
    assert grease_version(0xFFFF ^ bits) != version


@pytest.mark.req("S-071", "V-011")
def test_layout_of_the_answer():
    endpoint, init = opening(NEW, OLD)
    (answer,) = answers(checked(1, OLD, NEWER), init, A)
    assert answer[:5] == b"\xc4" + bytes(4)
    assert answer[5:13] == init[13:21]
    assert answer[13:21] == init[5:13]
    destination, source, versions = decode_version_negotiation_untrusted(answer)
    assert (destination, source) == (init[13:21], init[5:13])
    assert [version for version in versions if not is_grease_version(version)] == [OLD, NEWER]
    assert len(versions) == 3
    assert len(answer) == 22 + 4 * 3 < len(init)
    assert endpoint.stats.dropped == {}


@pytest.mark.req("S-071", "V-004")
def test_nothing_is_remembered_of_another_version():
    endpoint = checked(1, OLD)
    _, init = opening(NEW)
    assert len(answers(endpoint, init, A)) == 1
    assert endpoint.deadline() is None
    assert endpoint.stats.dropped == {"E_VERSION": 1}


@pytest.mark.req("S-071", "V-004", "V-007", "V-011")
def test_only_what_looks_like_an_init_is_answered():
    endpoint = checked(1, OLD)
    _, init = opening(NEW)
    size = LIMITS.init_min_datagram_bytes
    for data in (init[: size - 1], b"\xc1" + init[1:], b"\xc4" + init[1:], init[:1] + bytes(4) + init[5:]):
        assert answers(endpoint, data, A) == []
    grease = init[:1] + GREASE.to_bytes(4, "big") + bytes(size)
    assert [kind(data) for data in answers(endpoint, grease, A)] == [LongType.VERSION_NEGOTIATION]


@pytest.mark.req("S-071")
def test_answers_have_a_rate():
    endpoint = checked(1, OLD)
    _, init = opening(NEW)
    rate = LIMITS.version_negotiations_per_s
    assert sum(len(answers(endpoint, init, (A[0], 1 + port))) for port in range(3 * rate)) == rate
    assert len(answers(endpoint, init, A, now=1.0)) == 1


# What is believed


def negotiation(init: bytes, *versions: int) -> bytes:
    return encode_version_negotiation(destination_id=init[13:21], source_id=init[5:13], versions=versions)


@pytest.mark.req("S-072", "V-012")
def test_a_list_that_nobody_could_have_written_in_answer_is_not_believed():
    endpoint, init = opening(NEW, OLD)
    ids = {"destination_id": init[13:21], "source_id": init[5:13]}
    wrong = encode_version_negotiation(**{**ids, "destination_id": bytes(8)}, versions=(OLD,))
    guessed = encode_version_negotiation(**{**ids, "source_id": bytes(8)}, versions=(OLD,))
    for data in (wrong, guessed):
        assert answers(endpoint, data, B) == []
    assert answers(endpoint, negotiation(init, OLD), A) == []
    assert endpoint.stats.dropped == {"unknown_connection": 3}


@pytest.mark.req("S-072", "V-012")
def test_a_list_with_the_version_that_was_used_is_ignored():
    endpoint, init = opening(NEW, OLD)
    assert answers(endpoint, negotiation(init, OLD, NEW), B) == []
    assert endpoint.stats.dropped == {"version_negotiation": 1}


@pytest.mark.req("S-072")
def test_a_list_is_heeded_once():
    endpoint, init = opening(NEWER, NEW, OLD)
    (second,) = answers(endpoint, negotiation(init, OLD, NEW), B)
    assert version_of(second) == NEW
    opened, anew = (decode_long_untrusted(data, (NEWER, NEW)) for data in (init, second))
    assert anew.versions == opened.versions
    assert anew.noise[:32] != opened.noise[:32]
    assert answers(endpoint, negotiation(second, OLD), B) == []
    assert answers(endpoint, negotiation(init, OLD), B) == []
    assert endpoint.stats.dropped == {"version_negotiation": 1, "unknown_connection": 1}


@pytest.mark.req("S-072")
def test_after_an_answer_a_list_comes_too_late():
    endpoint, init = opening(OLD, NEW)
    peer = ScriptedPeer(address=B)
    assert [kind(data) for data in answers(endpoint, peer.respond(init), B)] == [LongType.FIN]
    assert answers(endpoint, negotiation(init, NEW), B) == []
    assert endpoint.peers() == (peer.peer_id,)


@pytest.mark.req("S-074")
def test_an_answer_in_another_version_than_asked_is_none():
    endpoint, init = opening(OLD, NEW)
    peer = ScriptedPeer(address=B)
    resp = peer.respond(init)
    changed = resp[:1] + NEW.to_bytes(4, "big") + resp[5:]
    assert answers(endpoint, changed, B) == []
    assert endpoint.stats.dropped == {"unknown_connection": 1}


@pytest.mark.req("S-074")
def test_the_last_message_in_another_version_than_the_first_is_dropped():
    """The responder speaks both, so that it is this rule alone that refuses the packet."""
    responder, peer = checked(1, OLD, NEW), ScriptedPeer(version=OLD, versions=(OLD,))
    (resp,) = answers(responder, peer.init(), A)
    fin = peer.finish(resp)
    assert answers(responder, fin[:1] + NEW.to_bytes(4, "big") + fin[5:], A) == []
    assert responder.peers() == ()
    assert sum(responder.stats.dropped.values()) == 1
    answers(responder, fin, A)
    assert responder.peers() == (peer.peer_id,)


@pytest.mark.req("P-010")
def test_a_cookie_in_another_version_than_the_first_packet_is_dropped():
    endpoint, init = opening(OLD, NEW)
    loaded = EndpointConfig(init_rate_total_per_s=0)
    (cookie,) = answers(Checked(make_endpoint(1, config=loaded), deep=False), init, A)
    assert kind(cookie) is LongType.COOKIE
    assert answers(endpoint, cookie[:1] + NEW.to_bytes(4, "big") + cookie[5:], B) == []
    assert sum(endpoint.stats.dropped.values()) == 1
    assert [kind(data) for data in answers(endpoint, cookie, B)] == [LongType.INIT]


@pytest.mark.req("P-010", "V-012")
def test_malformed_lists_are_dropped():
    endpoint, init = opening(NEW, OLD)
    good = negotiation(init, OLD)
    for data in (good[:-1], good + b"\x00", good[:21], good[:21] + b"\x00", good[:21] + b"\x11" + bytes(68)):
        assert answers(endpoint, data, B) == []
    assert endpoint.stats.dropped == {"E_PROTOCOL": 5}


# Downgrades


@pytest.mark.req("S-073")
def test_an_initiator_that_was_talked_down_is_refused():
    """Somebody forged the list: both speak the newer version, and the offer shows it."""
    endpoint, init = opening(NEW, OLD)
    (second,) = answers(endpoint, negotiation(init, OLD), B)
    assert version_of(second) == OLD
    responder = checked(1, OLD, NEW)
    assert answers(responder, second, A) == []
    assert responder.stats.dropped == {"E_VERSION": 1}


@pytest.mark.req("S-006")
@pytest.mark.parametrize(("version", "versions"), [(OLD, (OLD,)), (OLD, (OLD, NEW)), (NEW, (NEW, OLD))])
def test_whoever_rewrites_the_offer_breaks_the_handshake(version, versions):
    """A member can make the mac1 of what it rewrites; the prologue is what it cannot make good."""
    asked = ScriptedPeer(version=OLD, versions=(NEW, OLD))
    rewritten = ScriptedPeer(version=version, versions=versions)
    rewritten.initiator.message1 = asked.initiator.message1
    responder = checked(1, OLD, NEW)
    assert answers(responder, rewritten.init(), A) == []
    assert responder.stats.dropped == {"E_HS_DECRYPT": 1}


@pytest.mark.req("S-073")
def test_an_init_of_a_version_that_it_does_not_offer_is_refused():
    responder = checked(1, OLD)
    assert answers(responder, ScriptedPeer(version=OLD, versions=(GREASE,)).init(), A) == []
    assert responder.stats.dropped == {"E_VERSION": 1}


@pytest.mark.req("V-005")
@pytest.mark.parametrize(
    "versions", [(), (0,), (GREASE,), (1, 1), (2**32,), (-1,), tuple(range(1, 17))], ids=str
)
def test_versions_that_nobody_can_speak(versions):
    with pytest.raises(LocalProtocolError):
        config(*versions)


def test_the_whole_list_fits():
    endpoint = Checked(make_endpoint(1, keys=MEMBER, config=config(*range(1, 16))), deep=False)
    endpoint.connect(B, now=0.0)
    (transmit,) = drain(endpoint, 0.0)[1]
    assert len(decode_long_untrusted(bytes(transmit.data)).versions) == 16


def test_runs_are_the_same_for_the_same_seed():
    first, second = random.Random(3), random.Random(3)
    assert grease_version(first.getrandbits(16)) == grease_version(second.getrandbits(16))
