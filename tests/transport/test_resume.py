"""A broken transfer goes on from what was verified: after a lost session, from another holder, in bounds."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.testing.endpoints import A, B, Dialogue, Pair, make_endpoint, make_identity
from quinkgl.testing.endpoints import events_of as node_events
from quinkgl.testing.network import Link, Node
from quinkgl.transport import EndpointConfig, ObjectArrived, OfferReceived, TransferFailed
from quinkgl.transport.object_events import ObjectDelivered, ObjectFailed, ObjectOffered, ObjectReceived
from quinkgl.transport.objects import ObjectExchange
from quinkgl.transport.reassembly import ObjectConfig, Reassembly
from quinkgl.transport.sinks import MemorySink
from quinkgl.wire.control import Channel, encode_control
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from quinkgl.wire.frames import PING, encode_control_frame
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.merkle import LEAF_BYTES, leaf_hashes, list_bytes, merkle_root
from quinkgl.wire.messages.objects import (
    Cancel,
    Done,
    Offer,
    Want,
    decode_object_message_untrusted,
    encode_object_message,
)

BODY = random.Random(1).randbytes(10 * LEAF_BYTES + 99)
LEAVES = leaf_hashes(BODY)
ROOT = merkle_root(LEAVES)
LIST = list_bytes(len(BODY))
SPACE = b"".join(LEAVES) + BODY
PEER, OTHER = b"p" * 32, b"o" * 32
WINDOW_S = LIMITS.transfer_min_rate_window_s
CONFIG = ObjectConfig(reassembly_bytes=2 * len(BODY), reassembly_per_peer_bytes=2 * len(BODY))


class Receiver:
    """An endpoint's worth of receiving: exchanges with scripted peers that share one reassembly."""

    def __init__(self, config: ObjectConfig = CONFIG) -> None:
        self.reassembly = Reassembly(config)
        self.transfers: dict[int, int] = {}

    def session(self, peer: bytes = PEER) -> ObjectExchange:
        return ObjectExchange(self.reassembly, peer)


def offer(exchange: ObjectExchange, body: bytes = BODY, *, transfer: int = 0, now: float = 0.0) -> None:
    message = Offer(transfer, merkle_root(leaf_hashes(body)), len(body), b"")
    exchange.receive_message_untrusted(encode_object_message(message), now=now)


def said(exchange: ObjectExchange) -> list[Any]:
    messages = []
    while (message := exchange.next_message()) is not None:
        messages.append(decode_object_message_untrusted(message))
    return messages


def events_of(exchange: ObjectExchange, kind: type[Any]) -> list[Any]:
    events = []
    while (event := exchange.next_event()) is not None:
        events.append(event)
    return [event for event in events if isinstance(event, kind)]


def failure(code: ErrorCode) -> ObjectFailed:
    return ObjectFailed(0, ROOT, code, outgoing=False)


def want(exchange: ObjectExchange, *, transfer: int = 0, now: float = 0.0, sink: Any = None) -> Want:
    assert exchange.accept(transfer, sink, now=now)
    (message,) = said(exchange)
    assert isinstance(message, Want)
    return message


def half_received(receiver: Receiver, leaves: int = 5, *, now: float = 0.0) -> ObjectExchange:
    """A session in which the list and the first leaves came, and 100 bytes of the next leaf."""
    exchange = receiver.session()
    offer(exchange, now=now)
    want(exchange, now=now)
    exchange.receive_chunk_untrusted(0, 0, SPACE[: LIST + leaves * LEAF_BYTES + 100])
    return exchange


def complete(exchange: ObjectExchange, ranges: tuple[tuple[int, int], ...], *, transfer: int = 0) -> bytes:
    """Send what is wanted and return the object."""
    for start, stop in ranges:
        exchange.receive_chunk_untrusted(transfer, start, SPACE[start:stop])
    (received,) = events_of(exchange, ObjectReceived)
    assert said(exchange) == [Done(transfer)]
    return bytes(received.body)


@pytest.mark.req("O-008", "O-033", "O-034")
def test_a_lost_session_s_verified_leaves_are_not_asked_for_again():
    receiver = Receiver()
    half_received(receiver).close(ErrorCode.E_IDLE, now=1.0)
    for peer in (PEER, OTHER):
        again = receiver.session(peer)
        offer(again)
        message = want(again, now=2.0)
        # The 100 bytes of the sixth leaf were not verified: they are wanted again.
        assert message.ranges == ((LIST + 5 * LEAF_BYTES, len(SPACE)),)
        assert message.credit == len(SPACE) - LIST - 5 * LEAF_BYTES
        if peer == PEER:
            again.close(ErrorCode.E_IDLE, now=3.0)  # nothing came this time; what was kept is kept on
        else:
            assert complete(again, message.ranges) == BODY
    assert (receiver.reassembly.used, receiver.reassembly.transfers) == (0, 0)


@pytest.mark.req("O-033")
@pytest.mark.parametrize("code", [ErrorCode.GONE, ErrorCode.E_BUSY, ErrorCode.SUPERSEDED])
def test_a_cancelled_transfer_is_kept_unless_the_object_is_superseded(code):
    receiver = Receiver()
    exchange = half_received(receiver)
    exchange.receive_message_untrusted(encode_object_message(Cancel(0, code, by_offerer=True)), now=0.0)
    offer(exchange, transfer=1)
    start = 0 if code is ErrorCode.SUPERSEDED else LIST + 5 * LEAF_BYTES
    assert want(exchange, transfer=1).ranges == ((start, len(SPACE)),)


def test_what_the_application_stops_is_not_kept():
    receiver = Receiver()
    half_received(receiver).refuse(0, ErrorCode.NOT_WANTED)
    assert receiver.reassembly.used == 0


@pytest.mark.req("O-034")
def test_leaves_before_a_poisoned_one_are_kept_and_its_sender_is_the_one_to_blame():
    receiver = Receiver()
    exchange = receiver.session()
    offer(exchange)
    want(exchange)
    poisoned = bytearray(SPACE)
    poisoned[LIST + 3 * LEAF_BYTES + 5] ^= 1
    with pytest.raises(RemoteProtocolError) as caught:
        exchange.receive_chunk_untrusted(0, 0, bytes(poisoned))
    assert caught.value.code is ErrorCode.E_OBJ_HASH
    exchange.close(caught.value.code, now=0.0)
    honest = receiver.session(OTHER)
    offer(honest)
    message = want(honest)
    assert message.ranges == ((LIST + 3 * LEAF_BYTES, len(SPACE)),)
    assert complete(honest, message.ranges) == BODY


@pytest.mark.req("O-034")
def test_nothing_is_kept_before_the_list_is_known():
    receiver = Receiver()
    exchange = receiver.session()
    offer(exchange)
    want(exchange)
    exchange.receive_chunk_untrusted(0, LIST, SPACE[LIST:])
    exchange.close(ErrorCode.E_IDLE, now=0.0)
    assert receiver.reassembly.partial_objects == 0


def test_another_size_is_another_object():
    receiver = Receiver()
    half_received(receiver).close(ErrorCode.E_IDLE, now=0.0)
    exchange = receiver.session()
    message = Offer(0, ROOT, len(BODY) - 1, b"")
    exchange.receive_message_untrusted(encode_object_message(message), now=0.0)
    assert want(exchange).ranges == ((0, len(SPACE) - 1),)


@pytest.mark.req("O-034")
@given(st.integers(0, 2**32), st.integers(1, 5))
def test_any_breaks_at_any_place_end_with_the_object(seed, most_breaks):
    """Each verified leaf crosses once, whatever order the chunks came in and wherever sessions broke."""
    rng = random.Random(seed)
    receiver = Receiver()
    sent = 0
    for session in range(most_breaks + 1):
        exchange = receiver.session(bytes([session]) * 32)
        offer(exchange)
        message = want(exchange)
        chunks = [
            (at, min(at + 3000, stop)) for start, stop in message.ranges for at in range(start, stop, 3000)
        ]
        rng.shuffle(chunks)
        last = session == most_breaks
        for start, stop in chunks if last else chunks[: rng.randrange(len(chunks))]:
            exchange.receive_chunk_untrusted(0, start, SPACE[start:stop])
            sent += stop - start
        if last:
            (received,) = events_of(exchange, ObjectReceived)
            assert received.body == BODY
        else:
            exchange.close(ErrorCode.E_IDLE, now=0.0)
    assert sent <= len(SPACE) * (most_breaks + 1)


@pytest.mark.req("O-008")
def test_more_gaps_than_a_want_may_name():
    """Every second leaf is here; a WANT of two ranges asks for some of them again, and they do no harm."""
    size = 10 * LEAF_BYTES
    body = BODY[:size]
    space = b"".join(leaf_hashes(body)) + body
    sink = MemorySink(merkle_root(leaf_hashes(body)), size)
    sink.keep_list(b"".join(leaf_hashes(body)))
    for leaf in range(0, 2 * LIMITS.want_ranges, 2):
        if leaf < 10:
            sink.write(leaf * LEAF_BYTES, body[leaf * LEAF_BYTES : (leaf + 1) * LEAF_BYTES])
            sink.keep_leaves(leaf, leaf + 1)
    exchange = Receiver().session()
    offer(exchange, body)
    message = want(exchange, sink=sink)
    assert len(message.ranges) == 5
    for start, stop in message.ranges:
        exchange.receive_chunk_untrusted(0, start, space[start:stop])
    (received,) = events_of(exchange, ObjectReceived)
    assert received.body == body


# Bounds of what is kept


@pytest.mark.req("O-033")
def test_what_is_kept_is_let_go_in_time():
    receiver = Receiver()
    half_received(receiver).close(ErrorCode.E_IDLE, now=10.0)
    assert receiver.reassembly.used == len(BODY)
    due = receiver.reassembly.deadline()
    assert due == 10.0 + LIMITS.partial_keep_s
    receiver.reassembly.handle_timer(now=due - 1)
    assert receiver.reassembly.partial_objects == 1
    receiver.reassembly.handle_timer(now=due)
    assert (receiver.reassembly.used, receiver.reassembly.deadline()) == (0, None)


@pytest.mark.req("O-035")
def test_what_is_kept_counts_against_the_budget_and_gives_way():
    receiver = Receiver(replace(CONFIG, reassembly_bytes=2 * len(BODY) - 1))
    half_received(receiver).close(ErrorCode.E_IDLE, now=0.0)
    assert receiver.reassembly.used == len(BODY)
    exchange = receiver.session(OTHER)
    offer(exchange, BODY[::-1])
    want(exchange)
    assert receiver.reassembly.used == len(BODY)
    assert receiver.reassembly.partial_objects == 0


@pytest.mark.req("O-033")
def test_the_number_of_objects_kept_is_bounded():
    receiver = Receiver(replace(CONFIG, partials=2, reassembly_bytes=10**9))
    bodies = [bytes([index]) * (2 * LEAF_BYTES) for index in range(3)]
    for body in bodies:
        exchange = receiver.session()
        offer(exchange, body)
        want(exchange)
        exchange.receive_chunk_untrusted(0, 0, b"".join(leaf_hashes(body)) + body[:LEAF_BYTES])
        exchange.close(ErrorCode.E_IDLE, now=0.0)
    assert receiver.reassembly.partial_objects == 2
    exchange = receiver.session()
    offer(exchange, bodies[0])
    assert want(exchange).ranges[0][0] == 0  # the oldest gave way


@pytest.mark.parametrize("change", [{"partials": 0}, {"partial_keep_s": 0.0}])
def test_keeping_can_be_turned_off(change):
    receiver = Receiver(replace(CONFIG, **change))
    half_received(receiver).close(ErrorCode.E_IDLE, now=0.0)
    assert receiver.reassembly.used == 0


def test_a_kept_object_survives_an_acceptance_that_finds_no_room():
    receiver = Receiver(replace(CONFIG, transfers=1))
    half_received(receiver).close(ErrorCode.E_IDLE, now=0.0)
    busy = receiver.session(OTHER)
    offer(busy, BODY[::-1])
    want(busy)
    exchange = receiver.session()
    offer(exchange)
    assert not exchange.accept(0, now=0.0)
    busy.refuse(0, ErrorCode.NOT_WANTED)
    assert want(exchange).ranges == ((LIST + 5 * LEAF_BYTES, len(SPACE)),)


# The least rate


@pytest.mark.req("O-037", "O-038")
def test_silent_peers_give_way_when_another_needs_the_room():
    """Four silent members, each with a share of the budget, and one honest one."""
    config = replace(CONFIG, reassembly_bytes=4 * len(BODY))
    receiver = Receiver(config)
    silent = [receiver.session(bytes([index]) * 32) for index in range(4)]
    for exchange in silent:
        offer(exchange)
        want(exchange)
    honest = receiver.session(OTHER)
    offer(honest)
    assert not honest.accept(0, now=WINDOW_S - 1)
    for exchange in silent:
        assert exchange.deadline() == WINDOW_S
        exchange.handle_timer(now=WINDOW_S)
        assert said(exchange) == [Cancel(0, ErrorCode.TOO_SLOW, by_offerer=False)]
        assert events_of(exchange, ObjectFailed) == [
            ObjectFailed(0, ROOT, ErrorCode.TOO_SLOW, outgoing=False)
        ]
        offer(exchange, transfer=1)
        assert not exchange.accept(1, now=WINDOW_S)  # their turn is over for a while
        assert exchange.deadline() is None
    assert complete(honest, want(honest, now=WINDOW_S).ranges) == BODY
    assert silent[0].accept(1, now=2 * WINDOW_S)


@pytest.mark.req("O-037")
def test_a_slow_transfer_that_is_in_nobody_s_way_goes_on():
    receiver = Receiver()
    exchange = half_received(receiver)
    for window in range(1, 40):
        now = window * WINDOW_S
        exchange.handle_timer(now=now)
        start = LIST + 5 * LEAF_BYTES + 100 * window
        exchange.receive_chunk_untrusted(0, start, SPACE[start : start + 100])
    assert events_of(exchange, ObjectFailed) == []


@pytest.mark.req("O-037")
def test_a_transfer_that_moves_is_not_in_the_way():
    receiver = Receiver(replace(CONFIG, transfers=1))
    exchange = receiver.session()
    body = bytes(20 * LEAF_BYTES)
    config = receiver.reassembly.config
    assert config.min_window_bytes < len(body)
    offer(exchange, body)
    want(exchange)
    space = b"".join(leaf_hashes(body)) + body
    exchange.receive_chunk_untrusted(0, 0, space[: int(config.min_window_bytes)])
    other = receiver.session(OTHER)
    offer(other)
    assert not other.accept(0, now=1.0)
    exchange.handle_timer(now=WINDOW_S)
    assert events_of(exchange, ObjectFailed) == []


@pytest.mark.req("O-037")
def test_a_transfer_that_stands_still_ends_though_nobody_needs_the_room():
    exchange = half_received(Receiver())
    now = 0.0
    while not events_of(exchange, ObjectFailed):
        now = exchange.deadline() or 0.0
        assert now <= LIMITS.transfer_stall_s + WINDOW_S
        exchange.handle_timer(now=now)
    assert now >= LIMITS.transfer_stall_s


@pytest.mark.req("O-039")
@pytest.mark.parametrize("wanted", [False, True])
def test_a_receiver_that_does_nothing_does_not_hold_the_object_for_ever(wanted):
    sender = Receiver().session()
    assert sender.offer(ROOT, b"".join(LEAVES), b"", memoryview(BODY), now=0.0) == 0
    said(sender)
    if wanted:
        message = encode_object_message(Want(0, ((0, 1000),), 1000))
        sender.receive_message_untrusted(message, now=1.0)
        assert sender.next_chunk(1000) is not None
    while not (failed := events_of(sender, ObjectFailed)):
        due = sender.deadline()
        assert due is not None
        assert due <= 2 * LIMITS.transfer_stall_s
        sender.handle_timer(now=due)
    assert failed == [ObjectFailed(0, ROOT, ErrorCode.TOO_SLOW, outgoing=True)]
    assert said(sender) == [Cancel(0, ErrorCode.TOO_SLOW, by_offerer=True)]
    assert sender.deadline() is None


# Sinks


class FailingSink(MemorySink):
    """A sink on a full disk."""

    def __init__(self, room: int) -> None:
        super().__init__(ROOT, len(BODY))
        self.room = room

    def write(self, start: int, data: bytes | memoryview) -> None:
        self.room -= len(data)
        if self.room < 0:
            raise OSError(28, "No space left on device")
        super().write(start, data)

    def verified(self) -> Any:
        if self.room < 0:
            raise OSError(5, "Input/output error")
        return super().verified()


def test_an_object_goes_where_the_application_says():
    exchange = Receiver().session()
    sink = MemorySink(ROOT, len(BODY))
    offer(exchange)
    assert complete(exchange, want(exchange, sink=sink).ranges) == BODY
    assert sink.body() == BODY
    assert list(sink.verified()) == [(0, len(LEAVES))]


@pytest.mark.req("O-010")
def test_an_object_that_is_here_already_is_not_asked_for():
    sink = MemorySink(ROOT, len(BODY))
    sink.write(0, BODY)
    sink.keep_list(b"".join(LEAVES))
    sink.keep_leaves(0, len(LEAVES))
    exchange = Receiver().session()
    offer(exchange)
    assert exchange.accept(0, sink, now=0.0)
    assert said(exchange) == [Done(0)]
    assert [type(event) for event in (exchange.next_event(), exchange.next_event())] == [
        ObjectOffered,
        ObjectReceived,
    ]


@pytest.mark.parametrize("body", [b"", b"a few bytes"])
def test_an_object_inside_its_offer_goes_into_the_sink_too(body):
    root = merkle_root(leaf_hashes(body))
    sink = MemorySink(root, len(body))
    exchange = Receiver().session()
    message = Offer(0, root, len(body), b"", body or None)
    exchange.receive_message_untrusted(encode_object_message(message), now=0.0)
    assert exchange.accept(0, sink, now=0.0)
    assert sink.body() == body
    (received,) = events_of(exchange, ObjectReceived)
    assert received.body == body


def test_a_sink_that_fails_ends_its_transfer_alone():
    receiver = Receiver()
    exchange = receiver.session()
    offer(exchange)
    want(exchange, sink=FailingSink(3 * LEAF_BYTES))
    exchange.receive_chunk_untrusted(0, 0, SPACE[: LIST + 2 * LEAF_BYTES])
    exchange.receive_chunk_untrusted(0, LIST + 2 * LEAF_BYTES, SPACE[LIST + 2 * LEAF_BYTES :])
    assert said(exchange) == [Cancel(0, ErrorCode.E_INTERNAL, by_offerer=False)]
    assert events_of(exchange, ObjectFailed) == [failure(ErrorCode.E_INTERNAL)]
    assert (receiver.reassembly.used, receiver.reassembly.transfers) == (0, 0)
    exchange.receive_chunk_untrusted(0, 0, b"late")


def test_a_sink_that_cannot_say_what_it_holds():
    receiver = Receiver()
    exchange = receiver.session()
    offer(exchange)
    sink = FailingSink(-1)
    sink.keep_list(b"".join(LEAVES))
    assert exchange.accept(0, sink, now=0.0)
    assert events_of(exchange, ObjectFailed) == [failure(ErrorCode.E_INTERNAL)]
    assert (receiver.reassembly.used, receiver.reassembly.transfers) == (0, 0)


def test_a_sink_for_another_object_is_the_application_s_mistake():
    exchange = Receiver().session()
    offer(exchange)
    with pytest.raises(LocalProtocolError) as caught:
        exchange.accept(0, MemorySink(ROOT, 5), now=0.0)
    assert caught.value.code is ErrorCode.E_USAGE
    want(exchange)


# Both sides


def test_progress_can_be_asked_for():
    receiver = Receiver()
    half_received(receiver).close(ErrorCode.E_IDLE, now=0.0)
    alice, bob = Receiver().session(), receiver.session()
    alice.offer(ROOT, b"".join(LEAVES), b"", memoryview(BODY), now=0.0)
    assert alice.progress(0, outgoing=True) == (0, 0)
    bob.receive_message_untrusted(alice.next_message() or b"", now=0.0)
    assert bob.progress(0, outgoing=False) is None
    assert bob.accept(0, now=0.0)
    here = LIST + 5 * LEAF_BYTES
    assert bob.progress(0, outgoing=False) == (here, len(SPACE))
    alice.receive_message_untrusted(bob.next_message() or b"", now=0.0)
    chunk, data = alice.next_chunk(1000) or (None, b"")
    assert chunk is not None
    assert alice.progress(0, outgoing=True) == (1000, len(SPACE) - here)
    bob.receive_chunk_untrusted(0, chunk.start, data)
    assert bob.progress(0, outgoing=False) == (here + 1000, len(SPACE))
    while (taken := alice.next_chunk(60_000)) is not None:
        bob.receive_chunk_untrusted(0, taken[0].start, taken[1])
    alice.receive_message_untrusted(bob.next_message() or b"", now=0.0)
    assert events_of(alice, ObjectDelivered) == [ObjectDelivered(0, ROOT)]
    assert events_of(bob, ObjectReceived)[0].body == BODY


@pytest.mark.req("O-009")
def test_the_newest_is_sent_first_and_the_older_one_goes_on():
    alice, bob = Receiver().session(), Receiver().session()
    for priority, body in ((1, BODY), (2, BODY[::-1])):
        leaves = leaf_hashes(body)
        alice.offer(merkle_root(leaves), b"".join(leaves), b"", memoryview(body), priority=priority, now=0.0)
    while (message := alice.next_message()) is not None:
        bob.receive_message_untrusted(message, now=0.0)
    assert bob.accept(0, now=0.0)
    assert bob.accept(1, now=0.0)
    while (message := bob.next_message()) is not None:
        alice.receive_message_untrusted(message, now=0.0)
    order = [taken[0].transfer for taken in iter(lambda: alice.next_chunk(1000), None)]
    newest = len(order) - order[::-1].index(1)
    assert 0.8 * len(order) / 2 < order[:newest].count(1)
    assert order[:newest].count(0) == pytest.approx(newest / 8, abs=2)
    assert order[newest:] == [0] * (len(order) - newest)


def test_an_endpoint_goes_on_with_another_holder_when_the_first_one_dies():
    pair = Pair(link=Link(delay_s=0.01, rate=1e6, mtu=1500))
    body = random.Random(5).randbytes(600_000)
    leaves = leaf_hashes(body)
    root = merkle_root(leaves)
    other = pair.add(("203.0.113.3", 4003), make_endpoint(99))
    holders = {pair.id_a: pair.a, make_identity(99).peer_id: other}

    def accept(event: Any) -> None:
        if isinstance(event, OfferReceived):
            pair.b.machine.accept_object(event.peer, event.transfer, now=pair.now)

    def offer_to_b(node: Node) -> None:
        node.machine.offer_object(pair.id_b, root, b"".join(leaves), b"", memoryview(body), now=pair.now)

    pair.b.on_event = accept
    pair.connect()
    offer_to_b(pair.a)

    def half() -> bool:
        done, total = pair.b.machine.progress_of(pair.id_a, 0, outgoing=False) or (0, 1)
        return done > total / 2

    assert pair.run(half, limit_s=10.0)
    pair.network.remove(A)
    assert pair.run(lambda: not pair.b.machine.peers(), limit_s=100.0)
    sent_before = other.machine.stats.bytes_sent
    other.machine.connect(B, now=pair.now)
    assert pair.run(pair.b.machine.peers, limit_s=10.0)
    offer_to_b(other)
    assert pair.run(lambda: node_events(pair.b, ObjectArrived), limit_s=20.0)
    (arrived,) = node_events(pair.b, ObjectArrived)
    assert (arrived.body, holders[arrived.peer]) == (body, other)
    assert other.machine.stats.bytes_sent - sent_before < 0.55 * len(body)
    assert pair.b.machine.progress_of(arrived.peer, 0, outgoing=False) is None
    assert pair.b.machine.progress_of(pair.id_a, 0, outgoing=False) is None


def test_an_endpoint_lets_go_of_what_it_kept():
    pair = Pair(link=Link(delay_s=0.01, rate=1e6, mtu=1500))
    body = random.Random(5).randbytes(600_000)
    leaves = leaf_hashes(body)
    offer_of_a = (merkle_root(leaves), b"".join(leaves), b"", memoryview(body))

    def accept(event: Any) -> None:
        if isinstance(event, OfferReceived):
            pair.b.machine.accept_object(event.peer, event.transfer, now=pair.now)

    pair.b.on_event = accept
    pair.connect()
    pair.a.machine.offer_object(pair.id_b, *offer_of_a, now=pair.now)
    assert pair.run(
        lambda: (pair.b.machine.progress_of(pair.id_a, 0, outgoing=False) or (0,))[0] > 300_000, limit_s=10.0
    )
    pair.a.machine.disconnect(pair.id_b, ErrorCode.NO_ERROR, "", now=pair.now)
    assert pair.run(lambda: pair.b.machine.deadline_reason == "partial", limit_s=10.0)
    pair.run(limit_s=LIMITS.partial_keep_s + 1)
    assert pair.b.machine.deadline() is None


def test_a_session_ends_a_transfer_that_stands_still_in_time():
    """The peer is alive, and says so; its object does not come."""
    stall_s = 20.0
    table = Dialogue(config=EndpointConfig(objects=replace(CONFIG, transfer_stall_s=stall_s)))
    message = encode_control(Channel.OBJECTS, encode_object_message(Offer(0, ROOT, len(BODY), b"")))
    table.deliver(table.peer.seal(encode_control_frame(0, message)))
    assert table.command("accept_object", table.peer.peer_id, 0)
    begun = table.now
    failed: list[Any] = []
    while not failed:
        table.wait(1.0)
        table.deliver(table.peer.seal(table.peer.acknowledge(), PING))
        failed = table.events_of(TransferFailed)
        assert table.now - begun < 2 * stall_s
    assert [(event.code, event.outgoing) for event in failed] == [(ErrorCode.TOO_SLOW, False)]
    assert table.now - begun >= stall_s
    assert table.endpoint.peers() == (table.peer.peer_id,)
