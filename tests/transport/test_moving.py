"""Sessions whose paths change: other addresses, forged ones, larger and smaller datagrams, lost state."""

from __future__ import annotations

import random

import pytest

from quinkgl.testing.endpoints import (
    A,
    B,
    Dialogue,
    Pair,
    ScriptedPeer,
    drain,
    events_of,
    make_endpoint,
)
from quinkgl.testing.network import Blackouts, Link
from quinkgl.transport import (
    ConnectionConfig,
    ConnectionEstablished,
    ConnectionLost,
    EndpointConfig,
    ObjectArrived,
    ObjectSent,
    OfferReceived,
    PathChanged,
    leaf_hashes,
    merkle_root,
)
from quinkgl.wire.control import Channel
from quinkgl.wire.errors import ErrorCode
from quinkgl.wire.frames import (
    PING,
    NewCid,
    PathChallenge,
    PathResponse,
    RetireCid,
    encode_new_cid,
    encode_path_challenge,
    encode_path_response,
    encode_retire_cid,
)
from quinkgl.wire.limits import CONSTANTS, LIMITS
from quinkgl.wire.packets import PacketForm, packet_form

ELSEWHERE = ("203.0.113.66", 6666)
OTHER_PORT = (A[0], 6666)
BODY = random.Random(4).randbytes(300_000)


def accept_all(pair: Pair) -> None:
    for node in (pair.a, pair.b):

        def accept(event, node=node):
            if isinstance(event, OfferReceived):
                node.machine.accept_object(event.peer, event.transfer, now=pair.now)

        node.on_event = accept


def offer(pair: Pair, node, peer: bytes, body: bytes = BODY) -> None:
    leaves = leaf_hashes(body)
    transfer = node.machine.offer_object(
        peer, merkle_root(leaves), b"".join(leaves), b"", memoryview(body), now=pair.now
    )
    assert transfer is not None


def transfer(pair: Pair, body: bytes = BODY, *, limit_s: float = 300.0, from_b: bool = False) -> float:
    """Send an object, from A unless told otherwise, and return how long it took."""
    source, target = (pair.b, pair.a) if from_b else (pair.a, pair.b)
    peer = pair.id_a if from_b else pair.id_b
    before, began = len(events_of(target, ObjectArrived)), pair.now
    offer(pair, source, peer, body)
    done = pair.run(
        lambda: len(events_of(target, ObjectArrived)) > before and events_of(source, ObjectSent),
        limit_s=limit_s,
    )
    assert done, f"not there after {limit_s} s"
    assert bytes(events_of(target, ObjectArrived)[-1].body) == body
    return pair.now - began


def without_losses(pair: Pair) -> bool:
    return not (events_of(pair.a, ConnectionLost) or events_of(pair.b, ConnectionLost))


# --- addresses ---


@pytest.mark.req("P-030", "Q-002", "Q-020", "Q-030")
@pytest.mark.parametrize("from_b", [False, True])
@pytest.mark.parametrize("moves_host", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_a_transfer_survives_a_new_address_every_five_seconds(seed, moves_host, from_b):
    pair = Pair(seed, Link(delay_s=0.05, jitter_s=0.01, loss=0.02, rate=20_000))
    accept_all(pair)
    pair.connect()
    pair.network.translate(A, every_s=5.0, moves_host=moves_host)
    took = transfer(pair, from_b=from_b)
    assert took > 15.0, "the address changed a few times on the way"
    assert took < 120.0
    assert without_losses(pair)
    changes = events_of(pair.b, PathChanged)
    assert len(changes) >= 2
    assert all((change.address[0] != A[0]) == moves_host for change in changes)
    assert pair.b.machine.address_of(pair.id_a) == changes[-1].address
    assert events_of(pair.a, PathChanged) == []


@pytest.mark.req("P-030", "Q-020")
def test_messages_find_the_new_address_too():
    pair = Pair(1, Link(delay_s=0.02))
    pair.connect()
    pair.network.rebind(A)
    pair.a.machine.send_message(pair.id_b, Channel.GOSSIP, b"from elsewhere", now=pair.now)
    pair.run(limit_s=1.0)
    (change,) = events_of(pair.b, PathChanged)
    assert change == PathChanged(pair.id_a, pair.network.public_address(A))
    assert pair.b.machine.send_message(pair.id_a, Channel.GOSSIP, b"and back", now=pair.now)
    pair.run(limit_s=1.0)
    assert pair.a.events[-1].data == b"and back"
    assert pair.b.machine.stats.paths_validated == 1


@pytest.mark.req("Q-014", "V-006")
def test_each_path_has_connection_ids_of_its_own():
    """Who sees both paths cannot tell from what B sends that they carry one session."""
    pair = Pair(1, Link(delay_s=0.02))
    ids: dict[tuple[str, int], set[bytes]] = {}

    def tap(_now, source, destination, data):
        if source == B and packet_form(data) is not PacketForm.LONG:
            ids.setdefault(destination, set()).add(data[1:9])

    pair.network.tap = tap
    pair.connect()
    for _ in range(6):
        pair.run(limit_s=2.0)
        pair.network.rebind(A)
        pair.a.machine.send_message(pair.id_b, Channel.GOSSIP, b"x", now=pair.now)
    pair.run(limit_s=2.0)
    assert len(ids) == 7
    seen = [connection_id for of_path in ids.values() for connection_id in of_path]
    assert len(seen) == len(set(seen))
    assert without_losses(pair)


@pytest.mark.req("Q-001", "Q-002", "Q-011", "Q-020")
def test_a_recorded_packet_from_elsewhere_moves_nothing():
    """An attacker who overtakes the peer with a copy of its packet gets challenges, and no traffic."""
    pair = Pair(2, Link(delay_s=0.05))
    accept_all(pair)
    pair.connect()
    copied = 0
    sent: dict[tuple[str, int], int] = {}

    def tap(_now, source, destination, data):
        nonlocal copied
        if destination == ELSEWHERE:
            sent[destination] = sent.get(destination, 0) + len(data)
        if source == A and destination == B and packet_form(data) is PacketForm.BULK and copied < 20_000:
            copied += len(data)
            pair.network.set_link(ELSEWHERE, B, Link(delay_s=0.01))
            pair.network.inject(ELSEWHERE, B, data)

    pair.network.tap = tap
    transfer(pair)
    assert 0 < sent[ELSEWHERE] <= 3 * copied
    assert sent[ELSEWHERE] < 1000
    assert events_of(pair.b, PathChanged) == []
    assert pair.b.machine.address_of(pair.id_a) == A
    assert without_losses(pair)


def open_and_move(source=OTHER_PORT) -> tuple[Dialogue, list[tuple[tuple[str, int], bytes]]]:
    """A session whose peer sends one small packet from another address; what the endpoint says to it."""
    table = Dialogue()
    table.endpoint.receive_datagram(table.peer.seal(PING), source, now=table.now)
    return table, run_and_collect(table, 0.0)


def run_and_collect(table: Dialogue, seconds: float) -> list[tuple[tuple[str, int], bytes]]:
    sent = []
    end = table.now + seconds
    while True:
        while (event := table.endpoint.next_event()) is not None:
            table.events.append(event)
        while (transmit := table.endpoint.next_datagram(table.now)) is not None:
            sent.append((transmit.destination, bytes(transmit.data)))
        deadline = table.endpoint.deadline()
        if deadline is None or deadline > end:
            table.now = end
            return sent
        table.now = max(table.now, deadline)
        table.endpoint.handle_timer(now=table.now)


@pytest.mark.req("Q-002", "Q-010", "Q-011", "V-008")
def test_nothing_but_challenges_goes_to_an_address_that_has_not_proved_itself():
    """Removing the challenge before the use of a new address would send everything there at once."""
    table, sent = open_and_move()
    table.command("send_message", table.peer.peer_id, Channel.GOSSIP, b"secret " * 100)
    sent += run_and_collect(table, 10.0)
    there = [data for address, data in sent if address == OTHER_PORT]
    assert 1 <= len(there) <= CONSTANTS.path_challenge_tries
    assert sum(map(len, there)) <= LIMITS.unvalidated_factor * 34
    for data in there:
        (frame,) = table.peer.open(data)
        assert isinstance(frame, PathChallenge)
    assert any(len(data) > 700 for address, data in sent if address == A)
    assert table.endpoint.address_of(table.peer.peer_id) == A
    assert table.dropped["path_given_up"] == 1


@pytest.mark.req("Q-020")
def test_only_the_answer_moves_the_session():
    table, sent = open_and_move()
    ((_, challenge),) = [entry for entry in sent if entry[0] == OTHER_PORT]
    (frame,) = table.peer.open(challenge)
    table.endpoint.receive_datagram(
        table.peer.seal(encode_path_response(bytes(8))), OTHER_PORT, now=table.now
    )
    run_and_collect(table, 0.0)
    assert table.endpoint.address_of(table.peer.peer_id) == A
    table.endpoint.receive_datagram(
        table.peer.seal(encode_path_response(frame.data)), OTHER_PORT, now=table.now
    )
    run_and_collect(table, 0.0)
    assert table.events_of(PathChanged) == [PathChanged(table.peer.peer_id, OTHER_PORT)]
    table.command("send_message", table.peer.peer_id, Channel.GOSSIP, b"x")
    assert {address for address, _ in run_and_collect(table, 1.0)} == {OTHER_PORT}


@pytest.mark.req("Q-001")
def test_an_old_packet_from_elsewhere_does_not_even_start_a_challenge():
    table = Dialogue()
    late = table.peer.seal(PING)
    table.deliver(table.peer.seal(PING))
    table.endpoint.receive_datagram(late, ELSEWHERE, now=table.now)
    assert {address for address, _ in run_and_collect(table, 5.0)} <= {A}


@pytest.mark.req("F-010", "Q-012")
def test_a_challenge_is_answered_where_it_came_from():
    table = Dialogue()
    table.endpoint.receive_datagram(
        table.peer.seal(encode_path_challenge(b"anybody?")), ELSEWHERE, now=table.now
    )
    there = [data for address, data in run_and_collect(table, 0.0) if address == ELSEWHERE]
    frames = [frame for data in there for frame in table.peer.open(data)]
    assert PathResponse(b"anybody?") in frames


@pytest.mark.req("Q-012", "R-014")
def test_a_challenge_is_answered_though_the_window_is_full():
    table = Dialogue()
    for _ in range(3):
        table.command("send_message", table.peer.peer_id, Channel.GOSSIP, bytes(16_000))
    sent = len(run_and_collect(table, 0.2))
    assert sent == 10, "the initial window"
    table.endpoint.receive_datagram(
        table.peer.seal(encode_path_challenge(b"at home?")), table.peer.address, now=table.now
    )
    answers = [frame for _, data in run_and_collect(table, 0.0) for frame in table.peer.open(data)]
    assert PathResponse(b"at home?") in answers


@pytest.mark.req("Q-015")
def test_a_lost_challenge_says_nothing_of_the_current_path():
    """Packets after it are acknowledged and it is not: that would make any other packet a lost one."""
    table, sent = open_and_move()
    sent += run_and_collect(table, 2.0)
    challenges = {int.from_bytes(data[9:17], "big") for address, data in sent if address == OTHER_PORT}
    assert challenges
    for _ in range(8):
        table.command("send_message", table.peer.peer_id, Channel.GOSSIP, b"x" * 1000)
        run_and_collect_opened(table, 0.01)
    acknowledged = set(table.peer.received) - challenges
    assert max(acknowledged) > max(challenges) + 3
    table.deliver(table.peer.seal(table.peer.acknowledge(*acknowledged)))
    table.wait(5.0)
    assert table.endpoint.stats.packets_lost == 0


def run_and_collect_opened(table: Dialogue, seconds: float) -> None:
    """Let time pass; the peer opens what comes, so that it can acknowledge it."""
    for _, data in run_and_collect(table, seconds):
        table.peer.open(data)


@pytest.mark.req("Q-022", "Q-023")
@pytest.mark.parametrize(("source", "is_new_host"), [(OTHER_PORT, False), (ELSEWHERE, True)])
def test_a_new_host_is_another_path_and_a_new_port_is_not(source, is_new_host):
    table = Dialogue()
    known = table.endpoint.rtt_of(table.peer.peer_id)
    assert known == pytest.approx(0.1)
    for _ in range(2):
        table.command("send_message", table.peer.peer_id, Channel.GOSSIP, b"in flight " * 100)
        run_and_collect(table, 0.0)
    table.endpoint.receive_datagram(table.peer.seal(PING, bytes(200)), source, now=table.now)
    there = [data for address, data in run_and_collect(table, 0.0) if address == source]
    (frame,) = [frame for frame in table.peer.open(there[0]) if isinstance(frame, PathChallenge)]
    table.endpoint.receive_datagram(table.peer.seal(encode_path_response(frame.data)), source, now=table.now)
    probes = run_and_collect(table, 0.0)
    assert [address for address, _ in probes] == [source] * 2
    assert table.endpoint.rtt_of(table.peer.peer_id) == pytest.approx(0.333 if is_new_host else known)


@pytest.mark.req("Q-045")
def test_what_asks_for_an_ack_is_large_enough_to_be_answered_with_a_reset():
    pair = Pair(3, Link(delay_s=0.02))
    sizes = []
    pair.network.tap = lambda _now, _source, _destination, data: (
        sizes.append(len(data)) if packet_form(data) is PacketForm.FRAMES else None
    )
    pair.connect()
    pair.run(limit_s=5.0)
    sizes.clear()
    pair.run(limit_s=2 * LIMITS.keepalive_s)  # PINGs alone, which would take 34 bytes, and ACKs
    assert min(sizes) == CONSTANTS.least_eliciting_bytes


@pytest.mark.req("Q-024")
def test_a_peer_that_is_heard_but_never_reached_has_no_path():
    config = EndpointConfig(connection=ConnectionConfig(keepalive_s=1.0))
    table = Dialogue(config=config)
    for second in range(200):
        table.endpoint.receive_datagram(
            table.peer.seal(PING), ("203.0.113.1", 1000 + second // 40), now=table.now
        )
        run_and_collect(table, 1.0)
        if table.events_of(ConnectionLost):
            break
    (lost,) = table.events_of(ConnectionLost)
    assert lost.code == ErrorCode.E_NO_PATH
    assert LIMITS.idle_timeout_s <= second < LIMITS.idle_timeout_s + 60


# --- connection ids ---


@pytest.mark.req("P-032", "P-033")
def test_both_sides_supply_ids_and_packets_with_any_of_them_arrive():
    table = Dialogue()
    assert [frame.sequence for frame in table.peer.given] == [1, 2, 3]
    for frame in table.peer.given:
        table.peer.remote_id = frame.connection_id
        table.deliver(table.peer.seal(PING))
    assert table.dropped == {}


@pytest.mark.req("P-031", "P-032")
def test_a_retired_id_is_dead_and_replaced():
    table = Dialogue()
    first = table.peer.remote_id
    table.peer.remote_id = table.peer.given[0].connection_id
    heard = table.deliver(table.peer.seal(encode_retire_cid(0)))
    heard += table.wait(0.1)
    assert [frame.sequence for frame in heard if isinstance(frame, NewCid)] == [4]
    table.peer.remote_id = first
    table.deliver(table.peer.seal(PING))
    assert table.dropped == {"unknown_connection": 1}


@pytest.mark.req("P-035", "P-036", "P-037")
@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([encode_retire_cid(9)], ErrorCode.E_PROTOCOL),
        ([encode_retire_cid(0)], ErrorCode.E_PROTOCOL),
        ([encode_new_cid(4, bytes(8), bytes(16))], ErrorCode.E_CID_LIMIT),
        ([encode_new_cid(n, bytes([n]) * 8, bytes(16)) for n in range(1, 5)], ErrorCode.E_CID_LIMIT),
        ([encode_new_cid(1, bytes([n]) * 8, bytes(16)) for n in (1, 2)], ErrorCode.E_PROTOCOL),
    ],
    ids=["never given out", "bears it", "runs ahead", "too many", "two for one number"],
)
def test_a_peer_that_abuses_ids_is_disconnected(frames, code):
    table = Dialogue()
    table.deliver(table.peer.seal(*frames))
    (lost,) = table.events_of(ConnectionLost)
    assert lost.code == code


@pytest.mark.req("Q-021", "V-006")
def test_a_path_change_retires_the_old_id():
    table = Dialogue()
    table.deliver(table.peer.seal(encode_new_cid(1, b"new id 1", b"token of new id1")))
    table.peer.ids.append(b"new id 1")
    table.endpoint.receive_datagram(table.peer.seal(PING), OTHER_PORT, now=table.now)
    sent = [data for address, data in run_and_collect(table, 0.0) if address == OTHER_PORT]
    assert {data[1:9] for data in sent} == {b"new id 1"}
    (frame,) = [frame for data in sent for frame in table.peer.open(data) if isinstance(frame, PathChallenge)]
    table.endpoint.receive_datagram(
        table.peer.seal(encode_path_response(frame.data)), OTHER_PORT, now=table.now
    )
    after = [frame for _, data in run_and_collect(table, 0.2) for frame in table.peer.open(data)]
    assert RetireCid(0) in after


# --- stateless reset ---


@pytest.mark.req("Q-040", "Q-042")
def test_a_restarted_node_ends_the_old_session_at_once():
    pair = Pair(3, Link(delay_s=0.05))
    accept_all(pair)
    pair.connect()
    offer(pair, pair.a, pair.id_b)
    pair.run(limit_s=0.5)
    pair.b = pair.add(B, make_endpoint(2 * 3 + 2, now=pair.now))
    began = pair.now
    assert pair.run(lambda: events_of(pair.a, ConnectionLost), limit_s=60.0)
    assert pair.now - began < 3.0
    (lost,) = events_of(pair.a, ConnectionLost)
    assert lost.code == ErrorCode.E_RESET
    assert pair.a.machine.stats.resets_received == 1
    assert pair.b.machine.stats.resets_sent >= 1


@pytest.mark.req("Q-040", "Q-042")
def test_an_idle_session_is_reset_at_the_next_keepalive():
    pair = Pair(4, Link(delay_s=0.05))
    pair.connect()
    pair.run(limit_s=1.0)
    pair.b = pair.add(B, make_endpoint(2 * 4 + 2, now=pair.now))
    assert pair.run(lambda: events_of(pair.a, ConnectionLost), limit_s=2 * LIMITS.keepalive_s)
    assert events_of(pair.a, ConnectionLost)[0].code == ErrorCode.E_RESET


@pytest.mark.req("Q-042")
def test_another_node_at_the_address_cannot_reset():
    pair = Pair(5, Link(delay_s=0.05))
    pair.connect()
    pair.b = pair.add(B, make_endpoint(999, now=pair.now))
    pair.a.machine.send_message(pair.id_b, Channel.GOSSIP, b"x" * 500, now=pair.now)
    pair.run(limit_s=20.0)
    assert pair.b.machine.stats.resets_sent > 0
    assert events_of(pair.a, ConnectionLost) == []


@pytest.mark.req("Q-042")
def test_a_reset_of_another_session_or_a_guess_ends_nothing():
    table = Dialogue()
    table.deliver(bytes([0x40]) + bytes(60))
    assert table.endpoint.peers() == (table.peer.peer_id,)
    assert table.dropped == {"unknown_connection": 1}


@pytest.mark.req("Q-040")
def test_a_packet_that_overtakes_a_fin_is_not_answered_with_a_reset():
    endpoint, peer = make_endpoint(1), ScriptedPeer()
    endpoint.receive_datagram(peer.init(), A, now=0.0)
    _, (resp,) = drain(endpoint, 0.0)
    fin = peer.finish(bytes(resp.data))
    endpoint.receive_datagram(peer.seal(PING, bytes(100)), A, now=0.0)
    assert drain(endpoint, 0.0) == ([], [])
    endpoint.receive_datagram(fin, A, now=0.0)
    events, _ = drain(endpoint, 0.0)
    assert [type(event) for event in events] == [ConnectionEstablished]


@pytest.mark.req("Q-040", "Q-041")
def test_resets_are_limited_and_smaller_than_what_they_answer():
    endpoint = make_endpoint(1)
    for number in range(500):
        endpoint.receive_datagram(bytes([0x40]) + number.to_bytes(8, "big") * 10, ELSEWHERE, now=0.0)
        while (transmit := endpoint.next_datagram(0.0)) is not None:
            assert len(transmit.data) < 81
    assert endpoint.stats.resets_sent == LIMITS.reset_rate_per_s
    assert endpoint.stats.dropped["reset_rate"] == 500 - LIMITS.reset_rate_per_s


# --- path MTU ---


def largest(pair: Pair) -> list[int]:
    """The sizes of bulk datagrams that A sends, in order."""
    sizes: list[int] = []

    def tap(_now, source, _destination, data):
        if source == A and packet_form(data) is PacketForm.BULK:
            sizes.append(len(data))

    pair.network.tap = tap
    return sizes


@pytest.mark.req("P-040", "P-041", "Q-050")
@pytest.mark.parametrize(
    ("mtu", "found"), [(1200, 1200), (1280, 1252), (1472, 1452), (8972, 8952), (None, 65000)]
)
def test_datagrams_grow_to_what_the_path_carries(mtu, found):
    pair = Pair(7, Link(delay_s=0.01, mtu=mtu))
    accept_all(pair)
    pair.connect()
    sizes = largest(pair)
    transfer(pair, BODY * 10)
    assert max(sizes) == found
    assert pair.a.machine.stats.mtu_black_holes == 0
    assert without_losses(pair)


@pytest.mark.req("Q-051")
def test_the_search_costs_no_congestion_window():
    """A path that loses nothing but what is too large delivers as fast as one whose limit is known."""
    times = []
    for discovery in (True, False):
        config = EndpointConfig(connection=ConnectionConfig(mtu_discovery=discovery))
        pair = Pair(8, Link(delay_s=0.02, rate=500_000, mtu=1200), config_a=config)
        accept_all(pair)
        pair.connect()
        times.append(transfer(pair, BODY * 4))
        assert pair.a.machine.stats.packets_lost == 0
    assert times[0] < 1.1 * times[1]


@pytest.mark.req("P-040")
@pytest.mark.parametrize("cap", [1200, 1300, 8900])
def test_neither_side_s_cap_is_exceeded(cap):
    config = EndpointConfig(connection=ConnectionConfig(max_datagram_bytes=cap))
    pair = Pair(9, Link(delay_s=0.01), config_a=config)
    accept_all(pair)
    pair.connect()
    sizes = largest(pair)
    transfer(pair, BODY * 4)
    assert max(sizes) == cap


@pytest.mark.req("Q-053", "Q-054")
@pytest.mark.parametrize("smaller", [1200, 1252, 1400])
def test_a_path_that_shrinks_on_the_way_is_noticed(smaller):
    """Removing the fall-back would leave the transfer in the black hole for ever."""
    pair = Pair(10, Link(delay_s=0.02, rate=400_000, mtu=9000, mtu_changes=((3.0, smaller),)))
    accept_all(pair)
    pair.connect()
    took = transfer(pair, BODY * 8)
    assert took > 3.0
    assert took < 30.0
    assert pair.a.machine.stats.mtu_black_holes == 1
    assert without_losses(pair)


def test_blackouts_alone_are_no_black_hole():
    pair = Pair(11, Link(delay_s=0.02, rate=400_000, blackouts=Blackouts(period_s=5.0, dark_s=1.0)))
    accept_all(pair)
    pair.connect()
    transfer(pair, BODY * 10)
    assert pair.a.machine.stats.mtu_black_holes == 0


def test_an_idle_session_sends_no_probes():
    pair = Pair(12, Link(delay_s=0.02))
    pair.connect()
    pair.run(limit_s=1.0)
    before = pair.a.bytes_sent + pair.b.bytes_sent
    pair.run(limit_s=60.0)
    assert pair.a.bytes_sent + pair.b.bytes_sent - before < 3000
    assert len(events_of(pair.a, ConnectionEstablished)) == 1
