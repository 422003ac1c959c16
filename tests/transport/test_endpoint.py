"""Many peers on one address: who gets in, what strangers cost, and which session stays."""

from __future__ import annotations

import functools
import gc
import hmac
import random
from collections import deque
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quinkgl.crypto.identity import Identity
from quinkgl.crypto.psk import Mode, SwarmKeys, derive_fetch_keys, derive_member_keys
from quinkgl.testing.contract import Checked, assert_refuses_reentry
from quinkgl.testing.endpoints import (
    MEMBER,
    A,
    B,
    Dialogue,
    Pair,
    ScriptedPeer,
    drain,
    events_of,
    make_endpoint,
    make_identity,
)
from quinkgl.testing.network import Link, Node
from quinkgl.transport import (
    ConnectFailed,
    ConnectionEstablished,
    ConnectionLost,
    Endpoint,
    EndpointConfig,
    MessageReceived,
    Transmit,
)
from quinkgl.transport.connection import Connection
from quinkgl.wire.addresses import Address
from quinkgl.wire.control import Channel
from quinkgl.wire.errors import ErrorCode, LocalProtocolError
from quinkgl.wire.frames import PING, Close, NewCid, Ping, encode_close
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.packets import LONG_HEADER_BYTES, LongType, PacketForm, decode_long_untrusted, packet_form

RECORD = bytes(range(256)) * 2
"""As large as a peer record may be: with it, the answer to an INIT is as large as it can be."""


def long_type(data: bytes) -> LongType | None:
    """Return what a handshake packet is, None for every other datagram."""
    if packet_form(data) is not PacketForm.LONG:
        return None
    return LongType(data[0] & 0x0F)


def is_reset_of(transmit: Transmit, trigger: bytes, source: Address) -> bool:
    """Whether a datagram is what a packet for no session may be answered with."""
    form = packet_form(transmit.data)
    return form is PacketForm.FRAMES and len(transmit.data) < len(trigger) and transmit.destination == source


def checked(seed: int, **more) -> Checked:
    return Checked(make_endpoint(seed, **more), deep=False)


def datagrams_of(endpoint, now: float) -> list[Transmit]:
    return drain(endpoint, now)[1]


def run_timers(endpoint, until: float) -> list[tuple[float, Transmit]]:
    """Let an endpoint alone until a time; return what it sends and when."""
    sent = [(endpoint.now, transmit) for transmit in datagrams_of(endpoint, endpoint.now)]
    while (deadline := endpoint.deadline()) is not None and deadline <= until:
        endpoint.handle_timer(now=deadline)
        sent += [(deadline, transmit) for transmit in datagrams_of(endpoint, deadline)]
    return sent


def answer_to(endpoint, datagram: bytes, source: Address, now: float = 0.0) -> list[bytes]:
    endpoint.receive_datagram(datagram, source, now=now)
    return [bytes(transmit.data) for transmit in datagrams_of(endpoint, now)]


class Translator:
    """A middlebox: what comes from one side leaves for the other, and bears this box's address."""

    def __init__(self, one: Address, other: Address) -> None:
        self.sides = {one: other, other: one}
        self.queue: deque[Transmit] = deque()

    def receive_datagram(self, data, source, *, now):
        self.queue.append(Transmit(bytes(data), self.sides[source]))

    def handle_timer(self, *, now):
        pass

    def next_event(self):
        return None

    def next_datagram(self, now):
        return self.queue.popleft() if self.queue else None

    def deadline(self):
        return None


def assert_one_session(pair: Pair) -> None:
    """Both sides have one session, it is the same one, and it works both ways."""
    assert pair.a.machine.peers() == (pair.id_b,)
    assert pair.b.machine.peers() == (pair.id_a,)
    before = [len(events_of(node, MessageReceived)) for node in (pair.a, pair.b)]
    assert pair.a.machine.send_message(pair.id_b, Channel.GOSSIP, b"from a", now=pair.now)
    assert pair.b.machine.send_message(pair.id_a, Channel.GOSSIP, b"from b", now=pair.now)
    pair.run(limit_s=20.0)
    after = [len(events_of(node, MessageReceived)) for node in (pair.a, pair.b)]
    assert [later - earlier for earlier, later in zip(before, after, strict=True)] == [1, 1]
    assert pair.is_open


def opened(node: Node) -> int:
    """How many sessions were opened and not lost since, by the events alone."""
    return len(events_of(node, ConnectionEstablished)) - len(events_of(node, ConnectionLost))


# Opening


@pytest.mark.req("S-020")
def test_both_sides_are_told_who_is_there():
    pair = Pair()
    pair.a.machine.set_record(b"record of a")
    pair.b.machine.set_record(b"record of b")
    pair.connect()
    keys = {"mode": Mode.MEMBER, "swarm_id": MEMBER.swarm_id, "version": 1}
    assert pair.a.events == [
        ConnectionEstablished(pair.id_b, B, incoming=False, record=b"record of b", observed_address=A, **keys)
    ]
    assert pair.b.events == [
        ConnectionEstablished(pair.id_a, A, incoming=True, record=b"record of a", observed_address=B, **keys)
    ]
    assert pair.a.machine.peers() == (pair.id_b,)
    assert pair.a.machine.address_of(pair.id_b) == B


def live_connections() -> int:
    return sum(isinstance(each, Connection) for each in gc.get_objects())


def test_a_session_is_freed_when_it_is_over_without_the_collector_of_cycles():
    gc.collect()
    before = live_connections()
    gc.disable()
    try:
        pair = Pair()
        pair.connect()
        assert live_connections() == before + 2
        pair.a.machine.disconnect(pair.id_b, ErrorCode.NO_ERROR, "", now=pair.now)
        pair.run(limit_s=60.0)
        assert live_connections() == before
    finally:
        gc.enable()


def test_connecting_again_changes_nothing():
    pair = Pair(link=Link(delay_s=0.1))
    pair.a.machine.connect(B, now=0.0)
    pair.a.machine.connect(B, now=0.0)
    pair.run(lambda: pair.is_open, limit_s=5.0)
    pair.a.machine.connect(B, now=pair.now)
    pair.a.machine.connect(B, expected_peer=pair.id_b, now=pair.now)
    pair.a.machine.connect(("203.0.113.1", 5), expected_peer=pair.id_b, now=pair.now)
    pair.run(limit_s=60.0)
    assert len(pair.a.events) == 1
    assert pair.a.machine.stats.dropped == {}


FETCH = derive_fetch_keys(MEMBER.swarm_id)
OTHER = derive_member_keys(b"the manifest of another swarm")


@pytest.mark.req("K-007")
@pytest.mark.parametrize("keys", [MEMBER, FETCH, OTHER])
def test_the_keys_that_fit_tell_swarm_and_mode(keys: SwarmKeys):
    pair = Pair()
    pair.a = pair.add(A, make_endpoint(1, keys=keys))
    pair.b = pair.add(B, make_endpoint(2, also_keys=(FETCH, OTHER)))
    pair.connect()
    for node in (pair.a, pair.b):
        (event,) = events_of(node, ConnectionEstablished)
        assert (event.mode, event.swarm_id) == (keys.mode, keys.swarm_id)
    assert_one_session(pair)


@pytest.mark.req("K-002", "K-006")
def test_keys_that_an_endpoint_does_not_answer_meet_silence():
    endpoint = checked(1)
    assert answer_to(endpoint, ScriptedPeer(keys=FETCH).init(), A) == []
    assert endpoint.stats.dropped == {"E_MAC1": 1}


@pytest.mark.req("S-051", "S-052")
def test_who_has_fetched_the_manifest_comes_again_as_a_member():
    """The second session is another one: not a crossing of two handshakes, though it begins soon after."""
    pair = Pair()
    pair.a = pair.add(A, make_endpoint(1, keys=FETCH, also_keys=(MEMBER,)))
    pair.b = pair.add(B, make_endpoint(2, also_keys=(FETCH,)))
    pair.connect()
    pair.a.machine.connect(B, now=pair.now)
    pair.a.machine.connect(B, expected_peer=pair.id_b, keys=MEMBER, now=pair.now)
    pair.run(limit_s=5.0)
    for node in (pair.a, pair.b):
        modes = [event.mode for event in events_of(node, ConnectionEstablished)]
        assert modes == [Mode.FETCH, Mode.MEMBER]
        assert [event.code for event in events_of(node, ConnectionLost)] == [ErrorCode.E_HS_DUP]
    assert_one_session(pair)


def test_an_endpoint_connects_with_its_own_keys_alone():
    endpoint = make_endpoint(1)
    with pytest.raises(LocalProtocolError):
        endpoint.connect(B, keys=FETCH, now=0.0)
    assert endpoint.deadline() is None


@pytest.mark.req("W-031")
def test_a_seeded_generator_needs_to_be_called_insecure():
    with pytest.raises(LocalProtocolError):
        Endpoint(identity=make_identity(1), keys=MEMBER, rng=random.Random(1), now=0.0)
    assert Endpoint(identity=make_identity(1), keys=MEMBER, rng=random.SystemRandom(), now=0.0)


@pytest.mark.req("S-030")
def test_an_init_is_repeated_with_back_off_and_then_given_up():
    endpoint = checked(1)
    endpoint.connect(B, now=0.0)
    sent = run_timers(endpoint, 100.0)
    times = [when for when, _ in sent]
    gaps = [later - earlier for earlier, later in zip([*times], [*times[1:], endpoint.now], strict=True)]
    assert len(sent) == LIMITS.handshake_retries
    assert {bytes(transmit.data) for _, transmit in sent} == {bytes(sent[0][1].data)}
    for index, gap in enumerate(gaps):
        assert 0.9 * 2**index <= gap / LIMITS.handshake_timeout_s <= 1.1 * 2**index
    assert drain(endpoint, endpoint.now) == ([], [])
    assert endpoint.deadline() is None


@pytest.mark.req("S-030")
def test_nobody_there_is_told_in_time():
    pair = Pair(link=Link(loss=1.0))
    pair.a.machine.connect(B, now=0.0)
    assert pair.run(lambda: pair.a.events, limit_s=LIMITS.handshake_total_s * 1.1)
    (failed,) = pair.a.events
    assert (failed.address, failed.code) == (B, ErrorCode.E_HS_TIMEOUT)
    assert pair.a.machine.deadline() is None


@pytest.mark.req("S-033", "S-046")
@pytest.mark.parametrize("lost", [LongType.INIT, LongType.RESP, LongType.FIN, None])
def test_any_message_of_the_handshake_may_be_lost_once(lost):
    """None: the packet that shows that FIN arrived."""
    pair = Pair(link=Link(delay_s=0.05))
    clean, broken = Link(delay_s=0.05), Link(loss=1.0)
    seen = []

    def tap(_now, source, destination, data):
        if not seen and long_type(data) is lost:
            seen.append(data)
            pair.network.set_link(source, destination, broken)
        else:
            pair.network.set_link(source, destination, clean)

    pair.network.tap = tap
    pair.connect()
    assert seen
    pair.run(limit_s=5.0)
    assert_one_session(pair)


@pytest.mark.req("S-010", "S-011", "V-007", "P-012")
def test_an_init_is_padded_and_authenticated_and_names_ids_that_nobody_can_guess():
    destinations, sources = set(), set()
    for seed in range(20):
        endpoint = make_endpoint(seed)
        endpoint.connect(B, now=0.0)
        (init,) = [bytes(transmit.data) for transmit in datagrams_of(endpoint, 0.0)]
        assert len(init) == LIMITS.init_min_datagram_bytes
        noise_ends = 54 + 4 * init[53] + 2 + 48
        assert not any(init[noise_ends:])
        assert init[21:37] == hmac.digest(MEMBER.mac1_key, init[:21] + init[53:], "sha256")[:16]
        assert init[37:53] == bytes(16)
        destinations.add(init[5:13])
        sources.add(init[13:21])
    assert len(destinations | sources) == 40


@pytest.mark.req("S-033")
def test_a_session_that_nobody_answers_is_given_up_when_the_responder_has_forgotten_it():
    endpoint, peer = checked(1), ScriptedPeer(address=B)
    endpoint.connect(B, now=0.0)
    (init,) = datagrams_of(endpoint, 0.0)
    endpoint.receive_datagram(peer.respond(bytes(init.data)), B, now=0.1)
    times, lost = [], []
    while not lost:
        events, sent = drain(endpoint, endpoint.now)
        times += [endpoint.now] * sum(long_type(bytes(each.data)) is LongType.FIN for each in sent)
        lost = [event for event in events if isinstance(event, ConnectionLost)]
        deadline = endpoint.deadline()
        if deadline is not None:
            endpoint.handle_timer(now=deadline)
    assert [event.code for event in lost] == [ErrorCode.E_HS_TIMEOUT]
    assert endpoint.now == pytest.approx(0.1 + 2 * LIMITS.half_open_lifetime_s)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps[0] <= LIMITS.handshake_timeout_s
    assert all(later == pytest.approx(2 * earlier) for earlier, later in pairwise(gaps))


@pytest.mark.req("P-032", "S-033")
def test_a_fin_is_repeated_until_the_session_is_seen():
    peer = ScriptedPeer(address=B)
    endpoint = checked(1)
    endpoint.connect(B, now=0.0)
    (init,) = datagrams_of(endpoint, 0.0)
    fins = answer_to(endpoint, peer.respond(bytes(init.data)), B, now=0.1)
    assert [long_type(data) for data in fins] == [LongType.FIN]
    again = [bytes(transmit.data) for _, transmit in run_timers(endpoint, 20.0)]
    repeated = [data for data in again if long_type(data) is LongType.FIN]
    assert 4 <= len(repeated) <= 8
    assert set(repeated) == set(fins)
    peer.take_fin(fins[0])
    endpoint.receive_datagram(peer.seal(PING), B, now=20.0)
    assert not any(
        long_type(bytes(transmit.data)) is LongType.FIN for _, transmit in run_timers(endpoint, 60.0)
    )


@pytest.mark.req("S-046")
def test_a_repeated_fin_is_answered_with_a_ping():
    endpoint, peer = checked(1), ScriptedPeer()
    (resp,) = answer_to(endpoint, peer.init(), A)
    fin = peer.finish(resp)
    (answer,) = answer_to(endpoint, fin, A)
    assert {type(frame) for frame in peer.open(answer)} == {NewCid}
    for _ in range(2):
        (answer,) = answer_to(endpoint, fin, A)
        assert peer.open(answer) == [Ping()]
    assert endpoint.stats.dropped == {"late_finish": 2}
    endpoint.receive_datagram(peer.seal(encode_close(0, "")), A, now=0.0)
    datagrams_of(endpoint, 0.0)
    assert answer_to(endpoint, fin, A) == []


# Strangers


@pytest.mark.req("S-012", "S-013", "V-009", "W-041")
def test_another_manifest_meets_silence_and_is_counted():
    """Removing the check of mac1 would answer this stranger, or at least work for it."""
    pair = Pair()
    stranger = make_endpoint(77, keys=derive_member_keys(b"another manifest"))
    node = pair.add(A, stranger)
    node.machine.connect(B, now=0.0)
    pair.run(limit_s=60.0)
    assert [event.code for event in node.events] == [ErrorCode.E_HS_TIMEOUT]
    assert pair.b.bytes_sent == 0
    assert pair.b.events == []
    assert pair.b.machine.stats.dropped == {"E_MAC1": LIMITS.handshake_retries}


@pytest.mark.req("K-001", "S-013", "V-009")
def test_another_join_secret_meets_silence():
    endpoint = checked(1, keys=derive_member_keys(b"m", b"secret"))
    peer = ScriptedPeer(keys=derive_member_keys(b"m", b"guess"))
    assert answer_to(endpoint, peer.init(), A) == []
    assert endpoint.stats.dropped == {"E_MAC1": 1}
    assert endpoint.deadline() is None


@pytest.mark.req("K-006", "S-012", "V-009")
def test_mac1_is_checked_before_anything_is_remembered_or_computed():
    """The message behind a wrong mac1 is genuine: it is the mac1 alone that keeps it out."""
    endpoint, peer = checked(1), ScriptedPeer()
    assert answer_to(endpoint, peer.init(mac_key=bytes(32)), A) == []
    assert endpoint.stats.dropped == {"E_MAC1": 1}
    assert endpoint.deadline() is None


@pytest.mark.req("P-010", "S-011", "S-012", "S-013")
def test_every_changed_byte_of_an_init_meets_silence():
    peer = ScriptedPeer()
    genuine = peer.init()
    for position in [0, *range(5, LONG_HEADER_BYTES + 16), *range(53, 120), len(genuine) - 1]:
        endpoint = make_endpoint(1)
        changed = bytearray(genuine)
        changed[position] ^= 0x01
        assert answer_to(endpoint, bytes(changed), A) == [], position
        assert sum(endpoint.stats.dropped.values()) == 1
        assert endpoint.deadline() is None


@pytest.mark.req("P-002", "P-010", "P-031", "S-013", "V-002", "V-009", "W-041")
def test_datagrams_that_are_not_ours_are_counted_by_reason():
    endpoint, peer = checked(1), ScriptedPeer()
    init = peer.init()
    cases = [
        (b"", "foreign"),
        (b"\x00\x02ipv8", "foreign"),
        (b"\x48" + bytes(40), "foreign"),
        (b"\x40" + bytes(5), "short_packet"),
        (b"\x40" + bytes(40), "unknown_connection"),
        (b"\x50" + bytes(60), "unknown_connection"),
        (b"\xc0\x00", "E_PROTOCOL"),
        (init[:1100], "E_PROTOCOL"),
        (init[:1] + b"\x00\x00\x00\x02" + init[5:1100], "E_VERSION"),
        (init[:1] + b"\x00\x00\x00\x00" + init[5:], "E_PROTOCOL"),
        (b"\xc4" + bytes(30), "E_PROTOCOL"),
        (b"\xc4" + bytes(20) + b"\x01" + bytes(4), "unknown_connection"),
    ]
    expected: dict[str, int] = {}
    for data, reason in cases:
        answers = answer_to(endpoint, data, A)
        assert len(answers) == (reason == "unknown_connection" and data[0] != 0xC4)  # a stateless reset
        assert all(len(answer) < len(data) for answer in answers)
        expected[reason] = expected.get(reason, 0) + 1
        assert endpoint.stats.dropped == expected
    assert endpoint.stats.datagrams_received == len(cases)
    assert endpoint.stats.bytes_received == sum(len(data) for data, _ in cases)


@pytest.mark.req("S-042", "V-008")
def test_an_unvalidated_address_gets_at_most_three_times_what_it_sent():
    """Removing the limit would go on answering for as long as the handshake is half open."""
    endpoint, peer = checked(1, config=EndpointConfig(handshake_timeout_s=0.1)), ScriptedPeer()
    endpoint.set_record(RECORD)
    endpoint.receive_datagram(peer.init(), A, now=0.0)
    sizes = [len(transmit.data) for _, transmit in run_timers(endpoint, 60.0)]
    assert len(sizes) > 2
    assert sum(sizes) <= LIMITS.unvalidated_factor * LIMITS.init_min_datagram_bytes
    assert endpoint.deadline() is None


@pytest.mark.req("S-042", "V-008")
@pytest.mark.parametrize("repeats", [1, 2, 5, 40])
def test_repeated_inits_are_answered_within_the_limit(repeats):
    endpoint, peer = checked(1), ScriptedPeer()
    endpoint.set_record(RECORD)
    init = peer.init()
    sent = 0
    for index in range(repeats):
        sent += sum(map(len, answer_to(endpoint, init, A, now=0.001 * index)))
        assert sent <= LIMITS.unvalidated_factor * (index + 1) * len(init)
    sent += sum(len(transmit.data) for _, transmit in run_timers(endpoint, 60.0))
    assert sent <= LIMITS.unvalidated_factor * repeats * len(init)


@pytest.mark.req("S-041")
def test_a_repeated_init_gets_the_same_answer_and_creates_nothing():
    endpoint, peer = checked(1), ScriptedPeer()
    init = peer.init()
    (first,), (second,) = answer_to(endpoint, init, A), answer_to(endpoint, init, A, now=0.1)
    assert first == second
    assert len(answer_to(endpoint, peer.finish(first), A, now=0.2)) == 1
    assert endpoint.peers() == (peer.peer_id,)


def address(network: int, host: int = 1) -> Address:
    return (f"10.{network // 256}.{network % 256}.{host}", 4000)


def proven(endpoint, peer: ScriptedPeer, source: Address, now: float = 0.0) -> list[bytes]:
    """Answers to an INIT whose sender shows that it is at its address, if it is asked to."""
    answers = answer_to(endpoint, peer.init(), source, now)
    if [long_type(data) for data in answers] != [LongType.COOKIE]:
        return answers
    return answer_to(endpoint, peer.init(cookie=peer.cookie(answers[0])), source, now)


@pytest.mark.req("S-040", "S-043", "W-040")
def test_half_open_handshakes_are_bounded_and_forgotten_in_time():
    endpoint = make_endpoint(1)
    seconds = LIMITS.half_open // LIMITS.init_rate_total_per_s + 1
    for network in range(LIMITS.half_open):
        now = float(network % seconds)
        (answer,) = proven(endpoint, ScriptedPeer(network), address(network), now)
        assert long_type(answer) is LongType.RESP
    late = ScriptedPeer(9999)
    assert proven(endpoint, late, address(9999), seconds) == []
    assert endpoint.stats.dropped == {"half_open_full": 1}
    endpoint.handle_timer(now=seconds + LIMITS.half_open_lifetime_s)
    assert (
        len(answer_to(endpoint, late.init(), address(9999), now=seconds + LIMITS.half_open_lifetime_s)) == 1
    )


@pytest.mark.req("S-040", "W-040")
@pytest.mark.parametrize(
    ("prefix", "other"),
    [("192.0.2.{}", ("198.51.100.1", 4000)), ("2001:db8:1:{}::1", ("2001:db8:2::1", 4000))],
)
def test_half_open_handshakes_of_one_network_are_bounded(prefix, other):
    endpoint = make_endpoint(1)
    for host in range(LIMITS.half_open_per_prefix):
        (answer,) = proven(endpoint, ScriptedPeer(host), (prefix.format(host), 4000))
        assert long_type(answer) is LongType.RESP
    assert proven(endpoint, ScriptedPeer(100), (prefix.format(99), 4000)) == []
    assert endpoint.stats.dropped == {"half_open_full": 1}
    (answer,) = answer_to(endpoint, ScriptedPeer(101).init(), other)
    assert long_type(answer) is LongType.RESP


@pytest.mark.req("S-040")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_loopback_is_one_host_with_many_peers(host):
    endpoint = make_endpoint(1)
    for port in range(3 * LIMITS.half_open_per_prefix):
        assert len(answer_to(endpoint, ScriptedPeer(port).init(), (host, 4000 + port))) == 1


@pytest.mark.req("K-011", "S-004", "S-045")
def test_a_forged_fin_ends_nothing():
    endpoint, peer = checked(1), ScriptedPeer()
    (resp,) = answer_to(endpoint, peer.init(), A)
    fin = peer.finish(resp)
    for position in (30, -1):
        forged = bytearray(fin)
        forged[position] ^= 1
        assert answer_to(endpoint, bytes(forged), A) == []
    assert answer_to(endpoint, fin, B) == []  # not from there
    another_id = fin[:13] + bytes(8) + fin[21:]
    assert answer_to(endpoint, another_id, A) == []
    assert endpoint.stats.dropped == {"E_HS_DECRYPT": 2, "unknown_connection": 2}
    assert len(answer_to(endpoint, fin, A)) == 1
    assert endpoint.peers() == (peer.peer_id,)


@pytest.mark.req("K-011", "S-004", "S-031")
def test_a_forged_resp_ends_nothing():
    peer = ScriptedPeer(address=B)
    endpoint = checked(1)
    endpoint.connect(B, now=0.0)
    (init,) = datagrams_of(endpoint, 0.0)
    resp = peer.respond(bytes(init.data))
    forged = bytearray(resp)
    forged[-1] ^= 1
    assert answer_to(endpoint, bytes(forged), B) == []
    assert answer_to(endpoint, resp, A) == []  # not from there
    assert endpoint.stats.dropped == {"E_HS_DECRYPT": 1, "unknown_connection": 1}
    assert [long_type(data) for data in answer_to(endpoint, resp, B)] == [LongType.FIN]
    assert answer_to(endpoint, resp, B) == []  # it is over


@pytest.mark.req("S-027")
def test_a_changed_source_id_in_the_header_of_a_resp_does_no_harm():
    """Where packets go is told in the encrypted payload; the header's id would lead to nobody."""
    peer = ScriptedPeer(address=B)
    endpoint = checked(1)
    endpoint.connect(B, now=0.0)
    (init,) = datagrams_of(endpoint, 0.0)
    resp = bytearray(peer.respond(bytes(init.data)))
    resp[13] ^= 0xFF
    (fin,) = answer_to(endpoint, bytes(resp), B)
    assert fin[5:13] == peer.local_id
    peer.take_fin(fin)
    assert endpoint.peers() == (peer.peer_id,)


def posing_as(victim: Identity) -> Identity:
    poser = make_identity(55)
    poser.peer_id = victim.peer_id
    return poser


@pytest.mark.req("S-031", "S-045")
def test_an_answer_to_another_connection_id_is_for_nobody_here():
    endpoint, peer = checked(1), ScriptedPeer(address=B)
    endpoint.connect(B, now=0.0)
    (init,) = datagrams_of(endpoint, 0.0)
    resp = peer.respond(bytes(init.data))
    assert answer_to(endpoint, resp[:5] + b"somebody" + resp[13:], B) == []
    caller = ScriptedPeer(2000)
    (resp_to_caller,) = answer_to(endpoint, caller.init(), A)
    fin = caller.finish(resp_to_caller)
    assert answer_to(endpoint, fin[:5] + b"somebody" + fin[13:], A) == []
    assert endpoint.stats.dropped == {"unknown_connection": 2}
    assert endpoint.peers() == ()


@pytest.mark.req("P-003", "P-030")
def test_ids_and_bits_that_mean_nothing_are_drawn_anew_for_each_session():
    endpoint = make_endpoint(1)
    ids, bits = set(), set()
    for seed in range(20):
        peer, source = ScriptedPeer(100 + seed), (f"203.0.{seed}.1", 4000)
        (resp,) = answer_to(endpoint, peer.init(), source)
        (first, *_) = answer_to(endpoint, peer.finish(resp), source)
        ids.add(resp[13:21])
        bits.add(first[0] & 0x07)
    assert len(ids) == 20
    assert len(bits) > 2


@pytest.mark.req("S-002", "K-012")
def test_a_static_key_lasts_from_a_start_to_the_next():
    statics = []
    for start in range(2):
        endpoint = Endpoint(
            identity=make_identity(1),
            keys=MEMBER,
            rng=random.Random(start),
            now=0.0,
            insecure_deterministic_keys=True,
        )
        for seed in range(2):
            peer = ScriptedPeer(100 + seed)
            peer.join(endpoint)
            statics.append(peer.session.remote_static)
    assert statics[0] == statics[1] != statics[2] == statics[3]


@pytest.mark.req("P-011", "S-024")
def test_the_largest_answers_of_a_handshake_fit_the_smallest_datagram():
    here = ("2001:db8::1", 65535)
    endpoint, caller = checked(1), ScriptedPeer(record=RECORD)
    endpoint.set_record(RECORD)
    (resp,) = answer_to(endpoint, caller.init(), here)
    endpoint.connect(("2001:db8::2", 65535), now=0.0)
    (init,) = datagrams_of(endpoint, 0.0)
    answerer = ScriptedPeer(2000, record=RECORD)
    (fin,) = answer_to(endpoint, answerer.respond(bytes(init.data), observed=here), init.destination)
    assert [long_type(data) for data in (resp, fin)] == [LongType.RESP, LongType.FIN]
    assert 512 < len(fin) < len(resp) <= 1143


@pytest.mark.req("S-029")
def test_a_peer_record_is_for_members_alone():
    pair = Pair()
    pair.a = pair.add(A, make_endpoint(1, keys=FETCH))
    pair.b = pair.add(B, make_endpoint(2, also_keys=(FETCH,)))
    pair.a.machine.set_record(b"record of a")
    pair.b.machine.set_record(b"record of b")
    pair.connect()
    told = [event.record for node in (pair.a, pair.b) for event in events_of(node, ConnectionEstablished)]
    assert told == [b"", b""]


@pytest.mark.req("S-021", "S-044")
def test_a_caller_with_a_false_identity_is_forgotten():
    """Removing the check of the signature would open a session with the victim's name."""
    endpoint, peer = checked(1), ScriptedPeer(identity=posing_as(make_identity(9)))
    (resp,) = answer_to(endpoint, peer.init(), A)
    endpoint.receive_datagram(peer.finish(resp), A, now=0.0)
    assert drain(endpoint, 0.0) == ([], [])
    assert endpoint.stats.dropped == {"E_HS_IDENTITY": 1}
    assert endpoint.deadline() is None


@pytest.mark.req("S-021", "S-032")
def test_an_answerer_with_a_false_identity_is_refused():
    endpoint, peer = checked(1), ScriptedPeer(address=B, identity=posing_as(make_identity(9)))
    endpoint.connect(B, expected_peer=peer.peer_id, now=0.0)
    (init,) = datagrams_of(endpoint, 0.0)
    endpoint.receive_datagram(peer.respond(bytes(init.data)), B, now=0.0)
    events, sent = drain(endpoint, 0.0)
    assert [(event.code, event.expected_peer) for event in events] == [
        (ErrorCode.E_HS_IDENTITY, peer.peer_id)
    ]
    assert sent == []


@pytest.mark.req("S-022", "S-032")
def test_another_peer_than_the_expected_one_is_refused_and_not_told_who_we_are():
    pair = Pair()
    somebody_else = make_identity(500).peer_id
    pair.a.machine.connect(B, expected_peer=somebody_else, now=0.0)
    fins = []
    pair.network.tap = lambda _now, _source, _destination, data: (
        fins.append(data) if long_type(data) is LongType.FIN else None
    )
    pair.run(limit_s=60.0)
    (failed,) = pair.a.events
    assert (failed.address, failed.expected_peer, failed.code) == (B, somebody_else, ErrorCode.E_HS_IDENTITY)
    assert pair.b.events == []
    assert fins == []
    pair.a.machine.connect(B, expected_peer=pair.id_b, now=pair.now)
    assert pair.run(lambda: pair.is_open, limit_s=5.0)


@pytest.mark.req("S-023")
def test_an_address_that_leads_back_to_this_node():
    pair = Pair()
    pair.a.machine.connect(A, now=0.0)
    pair.run(limit_s=60.0)
    assert [event.code for event in pair.a.events] == [ErrorCode.E_HS_SELF]
    assert pair.a.machine.peers() == ()
    assert pair.a.machine.deadline() is None


@pytest.mark.req("S-023")
def test_another_process_with_our_identity_is_refused_as_a_caller():
    endpoint, twin = checked(1), ScriptedPeer(identity=make_identity(1))
    (resp,) = answer_to(endpoint, twin.init(), A)
    assert answer_to(endpoint, twin.finish(resp), A) == []
    assert endpoint.stats.dropped == {"E_HS_SELF": 1}
    assert endpoint.peers() == ()


# Bounds of sessions


def test_no_more_sessions_than_configured_are_opened():
    pair = Pair(config_a=EndpointConfig(connections=1))
    pair.connect()
    pair.a.machine.connect(("203.0.113.1", 5), now=pair.now)
    pair.network.settle_all()
    assert [event.code for event in events_of(pair.a, ConnectFailed)] == [ErrorCode.E_BUSY]


@pytest.mark.req("L-003", "S-053")
def test_no_more_sessions_than_configured_are_accepted():
    pair = Pair(config_b=EndpointConfig(connections=1))
    pair.connect()
    third = pair.add(("203.0.113.1", 5), make_endpoint(50))
    third.machine.connect(B, now=pair.now)
    pair.run(lambda: events_of(third, ConnectionLost), limit_s=5.0)
    assert [(event.code, event.by_remote) for event in events_of(third, ConnectionLost)] == [
        (ErrorCode.E_BUSY, True)
    ]
    assert pair.b.machine.peers() == (pair.id_a,)
    assert len(pair.b.events) == 1


@pytest.mark.req("S-053")
def test_a_full_node_takes_a_session_in_place_of_one_with_the_same_peer():
    endpoint = checked(1, config=EndpointConfig(connections=1))
    first = ScriptedPeer(1000)
    again = ScriptedPeer(2000, address=B, identity=first.identity)  # the same node after a restart
    first.join(endpoint)
    (resp,) = answer_to(endpoint, again.init(), B)
    answer_to(endpoint, again.finish(resp), B)
    assert endpoint.peers() == (first.peer_id,)
    assert endpoint.address_of(first.peer_id) == B
    stranger, source = ScriptedPeer(3000), ("203.0.113.1", 5)
    (resp,) = answer_to(endpoint, stranger.init(), source)
    (close,) = answer_to(endpoint, stranger.finish(resp), source)
    assert [(type(frame), frame.code) for frame in stranger.open(close)] == [(Close, ErrorCode.E_BUSY)]
    assert endpoint.address_of(first.peer_id) == B


# Two sessions with one peer


def assert_simultaneous_open(pair: Pair, starts: tuple[float, float]) -> None:
    """Let both sides connect, each at its time; exactly one session must come of it."""
    for start, node, destination in sorted(
        zip(starts, (pair.a, pair.b), (B, A), strict=True), key=lambda x: x[0]
    ):
        pair.run(limit_s=start - pair.now)
        node.machine.connect(destination, now=pair.now)
    assert pair.run(lambda: pair.is_open, limit_s=60.0)
    pair.run(limit_s=40.0)
    assert (opened(pair.a), opened(pair.b)) == (1, 1)
    assert events_of(pair.a, ConnectFailed) == events_of(pair.b, ConnectFailed) == []
    pair.network.link = Link(delay_s=0.01)
    assert_one_session(pair)


@pytest.mark.req("S-050", "S-051")
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("starts", [(0.0, 0.0), (0.0, 0.04), (0.06, 0.0), (0.0, 0.13)])
def test_simultaneous_open(seed, starts):
    print(f"seed {seed}, connecting at {starts}")
    pair = Pair(seed, Link(delay_s=0.05))
    assert_simultaneous_open(pair, starts)
    assert len(events_of(pair.a, ConnectionEstablished)) == len(events_of(pair.b, ConnectionEstablished)) == 1


@pytest.mark.req("S-050", "S-051")
@pytest.mark.parametrize("seed", range(6))
def test_simultaneous_open_over_unequal_delays(seed):
    print(f"seed {seed}")
    pair = Pair(seed)
    pair.network.set_link(A, B, Link(delay_s=0.01))
    pair.network.set_link(B, A, Link(delay_s=0.2))
    for starts in ((0.0, 0.0), (0.0, 0.1)):
        pair = Pair(seed, Link(delay_s=0.01))
        pair.network.set_link(B, A, Link(delay_s=0.2))
        assert_simultaneous_open(pair, starts)


@pytest.mark.parametrize("seed", range(20))
def test_simultaneous_open_over_a_bad_link(seed):
    print(f"seed {seed}")
    assert_simultaneous_open(
        Pair(seed, Link(delay_s=0.05, jitter_s=0.05, loss=0.2, duplicate=0.1)), (0.0, 0.02)
    )


BOX, BOX2 = ("203.0.113.1", 1), ("203.0.113.2", 2)


@pytest.mark.req("S-051", "S-052")
@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("late_s", [0.0, 0.03, 0.07])
def test_handshakes_that_cross_behind_address_translation(seed, late_s):
    """The INITs do not meet, since each comes from a box: both handshakes succeed, and one session stays."""
    print(f"seed {seed}, late by {late_s}")
    pair = Pair(seed, Link(delay_s=0.02, jitter_s=0.01))
    pair.network.add(BOX, Translator(A, B))
    pair.network.add(BOX2, Translator(A, B))
    pair.a.machine.connect(BOX, now=0.0)
    pair.run(limit_s=late_s)
    pair.b.machine.connect(BOX2, now=pair.now)
    pair.run(lambda: pair.is_open, limit_s=5.0)
    pair.run(limit_s=30.0)
    assert (opened(pair.a), opened(pair.b)) == (1, 1)
    lost = events_of(pair.a, ConnectionLost) + events_of(pair.b, ConnectionLost)
    assert {event.code for event in lost} <= {ErrorCode.E_HS_DUP}
    assert_one_session(pair)


@pytest.mark.req("S-051")
@pytest.mark.parametrize("seed", range(12))
def test_two_ways_to_one_peer_give_one_session(seed):
    print(f"seed {seed}")
    pair = Pair(seed, Link(delay_s=0.02, jitter_s=0.05))
    pair.network.add(BOX, Translator(A, B))
    pair.a.machine.connect(BOX, now=0.0)
    pair.a.machine.connect(B, now=0.0)
    pair.run(lambda: pair.is_open, limit_s=5.0)
    pair.run(limit_s=30.0)
    assert (opened(pair.a), opened(pair.b)) == (1, 1)
    assert events_of(pair.a, ConnectionLost) == []
    assert_one_session(pair)


def test_attempts_by_other_ways_end_with_the_session():
    pair = Pair(link=Link(delay_s=0.02))
    nowhere = ("203.0.113.77", 7)
    pair.a.machine.connect(nowhere, expected_peer=pair.id_b, now=0.0)
    pair.connect()
    pair.run(limit_s=60.0)
    assert events_of(pair.a, ConnectFailed) == []
    assert pair.a.sent_to[nowhere] == LIMITS.init_min_datagram_bytes


def test_an_attempt_for_somebody_else_at_the_same_address_goes_on():
    pair = Pair(link=Link(delay_s=0.02))
    pair.a.machine.connect(B, expected_peer=make_identity(500).peer_id, now=0.0)
    pair.connect()
    pair.run(limit_s=5.0)
    assert [event.code for event in events_of(pair.a, ConnectFailed)] == [ErrorCode.E_HS_IDENTITY]
    assert_one_session(pair)


@pytest.mark.req("S-051", "S-052")
@pytest.mark.parametrize("delay_s", [0.01, 0.3])
def test_after_a_restart_the_newer_session_stays(delay_s):
    pair = Pair(link=Link(delay_s=delay_s))
    pair.connect()
    pair.run(limit_s=2.0)
    restarted = Endpoint(
        identity=make_identity(1),
        keys=MEMBER,
        rng=random.Random(999),
        now=pair.now,
        insecure_deterministic_keys=True,
    )
    pair.a = pair.add(A, restarted)
    pair.a.machine.connect(B, now=pair.now)
    pair.run(lambda: pair.a.events, limit_s=5.0)
    pair.run(limit_s=5.0)
    kinds = [(type(event), getattr(event, "code", None)) for event in pair.b.events]
    assert kinds == [
        (ConnectionEstablished, None),
        (ConnectionLost, ErrorCode.E_HS_DUP),
        (ConnectionEstablished, None),
    ]
    assert_one_session(pair)


@pytest.mark.req("S-051")
def test_a_second_call_of_the_same_process_replaces_a_session_that_it_has_lost():
    """The peer closed and its CLOSE was lost: when it calls again, the old session does not keep it out."""
    pair = Pair(link=Link(delay_s=0.02))
    pair.connect()
    pair.network.set_link(A, B, Link(loss=1.0))
    pair.a.machine.disconnect(pair.id_b, ErrorCode.NO_ERROR, "", now=pair.now)
    pair.run(limit_s=LIMITS.close_timeout_s)
    pair.network.set_link(A, B, Link(delay_s=0.02))
    pair.a.machine.connect(B, now=pair.now)
    pair.run(pair.a.machine.peers, limit_s=2.0)
    pair.run(limit_s=2.0)
    assert_one_session(pair)


# Yielding to the peer's own handshake


def yielding(*, expected_peer: bytes | None = None) -> tuple[Checked, ScriptedPeer, bytes, bytes]:
    """Return an endpoint that yields to a peer, the peer, the endpoint's INIT, and its RESP."""
    for seed in range(100):
        endpoint, peer = checked(1), ScriptedPeer(seed, address=B)
        endpoint.connect(B, expected_peer=expected_peer, now=0.0)
        (init,) = [bytes(transmit.data) for transmit in datagrams_of(endpoint, 0.0)]
        ours = decode_long_untrusted(init).noise[:32]
        if ours < peer.initiator.ephemeral_public:
            (resp,) = answer_to(endpoint, peer.init(), B)
            return endpoint, peer, init, resp
    raise AssertionError("no seed gives a peer with the greater key")


@pytest.mark.req("S-050")
def test_the_side_with_the_greater_key_stays_initiator():
    for seed in range(10):
        endpoint, peer = checked(1), ScriptedPeer(seed, address=B)
        endpoint.connect(B, now=0.0)
        (init,) = datagrams_of(endpoint, 0.0)
        ours_is_greater = decode_long_untrusted(init.data).noise[:32] > peer.initiator.ephemeral_public
        answers = answer_to(endpoint, peer.init(), B)
        assert [long_type(data) for data in answers] == ([] if ours_is_greater else [LongType.RESP])
        assert endpoint.stats.dropped == ({"simultaneous_open": 1} if ours_is_greater else {})


@pytest.mark.req("S-050")
def test_while_it_yields_an_attempt_sends_nothing_and_then_goes_on():
    endpoint, _peer, init, resp = yielding()
    sent = [(when, bytes(transmit.data)) for when, transmit in run_timers(endpoint, 100.0)]
    early = [data for when, data in sent if when < LIMITS.half_open_lifetime_s]
    assert set(early) == {resp}
    later = [data for when, data in sent if when >= LIMITS.half_open_lifetime_s]
    assert later == [init] * (LIMITS.handshake_retries - 1)
    assert endpoint.deadline() is None


def test_a_peer_that_opens_again_and_again_and_never_finishes_does_not_hold_an_attempt_for_ever():
    endpoint, peer, _, _ = yielding()
    now = 0.0
    events = []
    while not events and now < 300.0:
        endpoint.receive_datagram(peer.init(), B, now=now)
        events, _ = drain(endpoint, now)
        deadline = endpoint.deadline()
        if deadline is None:
            break
        now = max(now + 0.5, deadline)
        endpoint.handle_timer(now=now)
        events += drain(endpoint, now)[0]
    assert [event.code for event in events] == [ErrorCode.E_HS_TIMEOUT]


def test_an_answer_is_taken_even_while_the_attempt_yields():
    """Whoever forges the INIT that made it yield must not be able to keep the genuine answer out."""
    endpoint, _, init, _ = yielding()
    genuine = ScriptedPeer(4000, address=B)
    fins = answer_to(endpoint, genuine.respond(init), B, now=0.1)
    assert [long_type(data) for data in fins] == [LongType.FIN]
    assert endpoint.peers() == (genuine.peer_id,)


def test_when_the_other_handshake_is_refused_ours_goes_on_at_once():
    victim = make_identity(9)
    endpoint, peer, init, resp = yielding()
    peer.identity.peer_id = victim.peer_id  # signs with a key of its own
    peer.party.identity.peer_id = victim.peer_id
    assert answer_to(endpoint, peer.finish(resp), B, now=0.5) == [init]


def test_the_peers_own_handshake_answers_our_attempt():
    endpoint, peer, _, resp = yielding()
    endpoint.receive_datagram(peer.finish(resp), B, now=0.5)
    events, _ = drain(endpoint, 0.5)
    assert [(type(event), event.incoming) for event in events] == [(ConnectionEstablished, True)]
    assert all(long_type(bytes(transmit.data)) is None for _, transmit in run_timers(endpoint, 50.0))
    assert endpoint.peers() == (peer.peer_id,)


# The endpoint as a machine


@pytest.mark.req("R-081")
def test_sessions_take_turns():
    table = Dialogue()
    second = ScriptedPeer(2000, address=B)
    second.join(table.endpoint, now=table.now)
    for peer in (table.peer, second):
        table.command("send_message", peer.peer_id, Channel.GOSSIP, bytes(8000))
    order = [transmit.destination for transmit in datagrams_of(table.endpoint, table.now)]
    assert order[:12] in ([A, B] * 6, [B, A] * 6)


@pytest.mark.req("V-001")
def test_a_run_of_datagrams_is_taken_apart():
    table = Dialogue()
    packets = [table.peer.seal(PING) for _ in range(3)]
    run = b"".join(packets)
    before = table.endpoint.stats.datagrams_received
    table.endpoint.receive_datagram(run, A, now=table.now, segment_size=len(packets[0]))
    table.endpoint.receive_datagram(
        memoryview(run + packets[0][:5]), A, now=table.now, segment_size=len(packets[0])
    )
    table.endpoint.receive_datagram(packets[0], A, now=table.now, segment_size=0)
    assert table.endpoint.stats.datagrams_received - before == 3 + 4 + 1
    assert table.dropped == {"replay": 4, "short_packet": 1}


def test_counters_add_up():
    pair = Pair(link=Link(delay_s=0.01))
    pair.connect()
    pair.a.machine.send_message(pair.id_b, Channel.GOSSIP, bytes(5000), now=pair.now)
    pair.run(limit_s=1.0)
    a, b = pair.a.machine.stats, pair.b.machine.stats
    assert (a.bytes_sent, a.datagrams_sent) == (b.bytes_received, b.datagrams_received)
    assert (b.bytes_sent, b.datagrams_sent) == (a.bytes_received, a.datagrams_received)
    assert a.bytes_sent == pair.a.bytes_sent > 5000
    assert (a.packets_lost, a.dropped) == (0, {})


def test_the_deadline_has_a_reason():
    pair = Pair(link=Link(delay_s=0.05))
    machine = pair.a.machine
    assert machine.deadline_reason == "nothing"
    machine.connect(B, now=0.0)
    reasons = {machine.deadline_reason}
    pair.network.settle_all()
    reasons.add(machine.deadline_reason)
    for step in range(500):
        if step == 400:
            machine.send_message(pair.id_b, Channel.GOSSIP, b"x", now=pair.now)
        pair.run(limit_s=0.004)
        reasons |= {machine.deadline_reason, pair.b.machine.deadline_reason}
    machine.close(now=pair.now)
    assert machine.deadline_reason == "events"
    assert {"handshake", "half-open handshake", "loss", "ack", "keepalive", "keys", "finish"} <= reasons | {
        "finish"
    }
    pair.network.settle_all()
    assert machine.deadline_reason == "close_again"


def test_closing_ends_attempts_and_half_open_handshakes_at_once():
    endpoint = checked(1)
    endpoint.connect(("203.0.113.1", 5), now=0.0)
    endpoint.receive_datagram(ScriptedPeer().init(), A, now=0.0)
    datagrams_of(endpoint, 0.0)
    assert not endpoint.drained
    endpoint.close(now=0.1)
    assert endpoint.drained
    assert endpoint.deadline() is None
    assert drain(endpoint, 0.1) == ([], [])


def test_after_closing_nobody_is_answered_and_nothing_can_be_opened():
    endpoint = Checked(make_endpoint(1))
    endpoint.close(now=0.0)
    assert answer_to(endpoint, ScriptedPeer().init(), A) == []
    assert endpoint.stats.dropped == {"closing": 1}
    with pytest.raises(LocalProtocolError) as caught:
        endpoint.connect(B, now=1.0)
    assert caught.value.code is ErrorCode.E_USAGE


def test_closing_while_a_session_drains():
    table = Dialogue()
    table.deliver(table.peer.seal(encode_close(0, "")))
    table.command("close")
    assert not table.endpoint.drained
    table.wait(LIMITS.close_timeout_s)
    assert table.endpoint.drained


@pytest.mark.req("W-030")
def test_a_clock_that_goes_back_is_held_and_counted():
    table = Dialogue(deep=True)
    table.wait(0.0)
    table.endpoint.step_back()
    assert table.endpoint.stats.clock_steps_back == 1


def test_calls_from_inside_a_call_are_refused():
    endpoint = make_endpoint(1)
    init = ScriptedPeer().init()
    for call in (
        functools.partial(endpoint.connect, B, now=0.0),
        functools.partial(endpoint.receive_datagram, init, A, now=0.0),
        functools.partial(endpoint.next_datagram, 0.0),
    ):
        assert_refuses_reentry(endpoint, call, now=0.0)


# Bytes that nobody wrote


@functools.cache
def busy() -> tuple[Checked, list[bytes]]:
    """Return an endpoint with an attempt, a half-open handshake and a session, and datagrams meant for it."""
    table = Dialogue()
    endpoint = table.endpoint
    table.command("connect", B)
    (init,) = [transmit.data for transmit in datagrams_of(endpoint, table.now)]
    answerer, caller = ScriptedPeer(2000, address=B), ScriptedPeer(3000, address=A)
    init_of_caller = caller.init()
    (resp,) = answer_to(endpoint, init_of_caller, A, now=table.now)
    packets = [table.peer.seal(PING), table.peer.seal(b"\x04" + bytes(20)), table.peer.bulk(0, 0, b"x" * 50)]
    return endpoint, [answerer.respond(bytes(init)), caller.finish(resp), init_of_caller, *packets]


@pytest.mark.req("P-010", "W-041")
@settings(max_examples=200)
@given(st.lists(st.binary(max_size=100), max_size=5), st.sampled_from([A, B, ("192.0.2.1", 0)]))
def test_arbitrary_datagrams_change_nothing(datagrams, source):
    endpoint, _ = busy()
    before = sum(endpoint.stats.dropped.values())
    for data in datagrams:
        endpoint.receive_datagram(data, source, now=endpoint.now)
        events, sent = drain(endpoint, endpoint.now)
        assert events == []
        assert all(is_reset_of(transmit, data, source) for transmit in sent)
    assert sum(endpoint.stats.dropped.values()) - before == len(datagrams)


@pytest.mark.req("P-010", "P-023")
@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1300), st.integers(1, 255)), min_size=1, max_size=6)
)
def test_mutated_datagrams_of_real_handshakes_and_sessions_change_nothing(mutations):
    endpoint, genuine = busy.__wrapped__()
    for which, position, mask in mutations:
        data = bytearray(genuine[which])
        changed = position % len(data)
        if which == 0 and 13 <= changed < 21:
            changed += 8  # the source id of a RESP is taken from its payload: a change would have no effect
        data[changed] ^= mask
        endpoint.receive_datagram(bytes(data), B if which == 0 else A, now=endpoint.now)
        events, sent = drain(endpoint, endpoint.now)
        assert events == []
        at = B if which == 0 else A
        answers = {
            long_type(bytes(transmit.data)) for transmit in sent if not is_reset_of(transmit, data, at)
        }
        assert answers <= {LongType.RESP, LongType.VERSION_NEGOTIATION}
    assert len(endpoint.peers()) == 1
