"""The object exchange alone, over a plain ordered pipe for messages and a lossy one for chunks."""

from __future__ import annotations

import contextlib
import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.transport.object_events import ObjectDelivered, ObjectFailed, ObjectOffered, ObjectReceived
from quinkgl.transport.object_sender import Chunk
from quinkgl.transport.objects import ObjectExchange
from quinkgl.transport.reassembly import ObjectConfig, Reassembly
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.merkle import LEAF_BYTES, leaf_hash, leaf_hashes, list_bytes, merkle_root
from quinkgl.wire.messages.objects import (
    Cancel,
    Done,
    ObjectMessage,
    Offer,
    Want,
    decode_object_message_untrusted,
    encode_object_message,
)

SMALL = b"a small object"
ONE_LEAF = random.Random(1).randbytes(LIMITS.unsolicited_bytes + 1)
LARGE = random.Random(2).randbytes(5 * LEAF_BYTES + 77)
ROOM = 1155


def leaves_of(body: bytes) -> tuple[bytes, bytes]:
    leaves = leaf_hashes(body)
    return merkle_root(leaves), b"".join(leaves)


def offer(exchange: ObjectExchange, body: bytes, header: bytes = b"header") -> int | None:
    root, leaves = leaves_of(body)
    return exchange.offer(root, leaves, header, memoryview(body), now=0.0)


def events_of(exchange: ObjectExchange) -> list[Any]:
    events = []
    while (event := exchange.next_event()) is not None:
        events.append(event)
    return events


def tell(exchange: ObjectExchange, message: ObjectMessage) -> None:
    """Let a message of the peer arrive."""
    exchange.receive_message_untrusted(encode_object_message(message), now=0.0)


def said(exchange: ObjectExchange) -> list[ObjectMessage]:
    """Take the messages that an exchange has ready."""
    messages = []
    while (message := exchange.next_message()) is not None:
        messages.append(decode_object_message_untrusted(message))
    return messages


def chunks_of(exchange: ObjectExchange, room: int = ROOM) -> list[tuple[Chunk, bytes]]:
    chunks = []
    while (taken := exchange.next_chunk(room)) is not None:
        chunks.append((taken[0], bytes(taken[1])))
    return chunks


def credits_of(exchange: ObjectExchange) -> list[tuple[int, int]]:
    granted = []
    while (credit := exchange.next_credit()) is not None:
        granted.append(credit)
    return granted


def move(
    source: ObjectExchange, destination: ObjectExchange, is_lost: Callable[[], bool] = lambda: False
) -> bool:
    """Carry everything one way; chunks may be lost, and credits too. Tell whether anything moved."""
    messages = []
    while (message := source.next_message()) is not None:
        messages.append(message)
        destination.receive_message_untrusted(message, now=0.0)
    grants = credits_of(source)
    for transfer, limit in grants:
        if is_lost():
            source.on_credit_lost(transfer)
        else:
            destination.receive_credit(transfer, limit)
    chunks = chunks_of(source)
    for chunk, data in chunks:
        if is_lost():
            source.on_chunk_lost(chunk)
        else:
            destination.receive_chunk_untrusted(chunk.transfer, chunk.start, data)
    return bool(messages or grants or chunks)


def carry(one: ObjectExchange, other: ObjectExchange, is_lost: Callable[[], bool] = lambda: False) -> None:
    """Carry everything both ways until both are quiet."""
    for _ in range(1000):
        moved = move(one, other, is_lost)
        moved = move(other, one, is_lost) or moved
        if not moved:
            return
    raise AssertionError("the exchanges never become quiet")


def pair() -> tuple[ObjectExchange, ObjectExchange]:
    return ObjectExchange(Reassembly()), ObjectExchange(Reassembly())


def refusal(exchange: ObjectExchange, message: ObjectMessage) -> ErrorCode:
    with pytest.raises(RemoteProtocolError) as caught:
        tell(exchange, message)
    return caught.value.code


# A transfer, from offer to end


@pytest.mark.req("O-010", "O-027")
@pytest.mark.parametrize("body", [SMALL, ONE_LEAF, LARGE], ids=["small", "one leaf", "large"])
def test_offer_accept_deliver(body):
    alice, bob = pair()
    root, _ = leaves_of(body)
    assert offer(alice, body) == 0
    assert alice.has_open_transfers
    carry(alice, bob)
    assert events_of(bob) == [ObjectOffered(0, root, len(body), b"header")]
    assert bob.accept(0, now=0.0)
    carry(alice, bob)
    (received,) = events_of(bob)
    assert isinstance(received, ObjectReceived)
    assert (received.transfer, received.root, received.header) == (0, root, b"header")
    assert received.body == body
    assert received.body.readonly
    assert events_of(alice) == [ObjectDelivered(0, root)]
    assert not alice.has_open_transfers
    assert not bob.has_open_transfers
    assert not bob.accept(0, now=0.0)


@pytest.mark.req("O-010", "O-027")
def test_the_empty_object():
    alice, bob = pair()
    offer(alice, b"")
    carry(alice, bob)
    assert bob.accept(0, now=0.0)
    carry(alice, bob)
    assert [type(event) for event in events_of(bob)] == [ObjectOffered, ObjectReceived]
    assert [type(event) for event in events_of(alice)] == [ObjectDelivered]


@pytest.mark.req("O-004")
def test_a_small_object_rides_in_its_offer_and_a_larger_one_does_not():
    alice, _ = pair()
    offer(alice, bytes(LIMITS.unsolicited_bytes))
    offer(alice, bytes(LIMITS.unsolicited_bytes + 1))
    small, larger = said(alice)
    assert small.body == bytes(LIMITS.unsolicited_bytes)
    assert larger.body is None


@pytest.mark.req("O-013")
def test_nothing_leaves_before_it_is_wanted():
    alice, bob = pair()
    offer(alice, LARGE)
    move(alice, bob)
    assert not alice.has_chunk
    assert chunks_of(alice) == []


@pytest.mark.req("O-015")
def test_a_later_want_replaces_the_one_before_with_its_credit():
    alice, _ = pair()
    offer(alice, LARGE)
    tell(alice, Want(0, ((0, 50_000),), 50_000))
    assert alice.next_chunk(ROOM)[0] == Chunk(0, 0, list_bytes(len(LARGE)))
    tell(alice, Want(0, ((60_000, 70_000), (80_000, 80_100)), 700))
    assert [(chunk.start, chunk.stop) for chunk, _ in chunks_of(alice)] == [(60_000, 60_700)]
    alice.receive_credit(0, 20_000)
    sent = [(chunk.start, chunk.stop) for chunk, _ in chunks_of(alice)]
    assert (sent[0][0], sent[-1]) == (60_700, (80_000, 80_100))


@pytest.mark.req("R-080")
def test_transfers_take_turns():
    alice, bob = pair()
    for body in (LARGE, LARGE[::-1]):
        offer(alice, body)
    move(alice, bob)
    assert bob.accept(0, now=0.0)
    assert bob.accept(1, now=0.0)
    move(bob, alice)
    order = [chunk.transfer for chunk, _ in chunks_of(alice)]
    assert order[:20] == [0, 1] * 10


def test_ten_targets_share_one_body():
    """Memory stays flat however many receive: chunks are slices of the one body that all transfers hold."""
    body = bytearray(random.Random(4).randbytes(4_000_000))
    leaves = leaf_hashes(body)
    root, joined = merkle_root(leaves), b"".join(leaves)
    total = list_bytes(len(body)) + len(body)
    want = encode_object_message(Want(0, ((0, total),), total))
    exchanges = [ObjectExchange(Reassembly(), bytes([index]) * 32) for index in range(10)]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    taken = 0
    for exchange in exchanges:
        assert exchange.offer(root, joined, b"", memoryview(body), now=0.0) == 0
        exchange.receive_message_untrusted(want, now=0.0)
    for exchange in exchanges:
        while (chunk := exchange.next_chunk(60_000)) is not None:
            taken += len(chunk[1])
    growth = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert taken == 10 * total
    assert growth < 0.05 * len(body)
    for exchange in exchanges:
        with pytest.raises(BufferError):
            body.clear()
        tell(exchange, Done(0))
    del chunk
    body.clear()  # nobody holds a piece of it any more


@pytest.mark.req("O-013", "O-017")
def test_credit_is_granted_as_bytes_arrive():
    alice, bob = pair()
    body = random.Random(3).randbytes(3 * LIMITS.credit_per_transfer_bytes)
    offer(alice, body)
    move(alice, bob)
    assert bob.accept(0, now=0.0)
    move(bob, alice)
    first = chunks_of(alice)
    assert sum(len(data) for _, data in first) == LIMITS.credit_per_transfer_bytes
    for chunk, data in first:
        bob.receive_chunk_untrusted(chunk.transfer, chunk.start, data)
    assert bob.has_credit
    assert alice.next_chunk(ROOM) is None
    carry(alice, bob)
    received = [event for event in events_of(bob) if isinstance(event, ObjectReceived)]
    assert received[0].body == body


def test_a_lost_grant_is_granted_again():
    alice, bob = pair()
    body = random.Random(3).randbytes(3 * LIMITS.credit_per_transfer_bytes)
    offer(alice, body)
    move(alice, bob)
    assert bob.accept(0, now=0.0)
    move(bob, alice)
    for chunk, data in chunks_of(alice):
        bob.receive_chunk_untrusted(chunk.transfer, chunk.start, data)
    (grant,) = credits_of(bob)
    bob.on_credit_lost(0)
    assert credits_of(bob) == [grant]


@pytest.mark.req("O-002")
@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.1, 0.5]))
def test_objects_cross_both_ways_over_a_lossy_carrier(seed, loss):
    rng = random.Random(seed)
    alice, bob = pair()
    sides = {"alice": alice, "bob": bob}
    bodies = {name: [rng.randbytes(rng.randrange(3 * LEAF_BYTES)) for _ in range(3)] for name in sides}
    for name, exchange in sides.items():
        for body in bodies[name]:
            offer(exchange, body)
    received: dict[str, list[bytes]] = {"alice": [], "bob": []}
    waiting: dict[str, list[int]] = {"alice": [], "bob": []}
    for _ in range(10):
        carry(alice, bob, lambda: rng.random() < loss)
        for name, exchange in sides.items():
            for event in events_of(exchange):
                if isinstance(event, ObjectOffered):
                    waiting[name].append(event.transfer)
                elif isinstance(event, ObjectReceived):
                    received[name].append(bytes(event.body))
            waiting[name] = [transfer for transfer in waiting[name] if not exchange.accept(transfer, now=0.0)]
    assert sorted(received["bob"]) == sorted(bodies["alice"])
    assert sorted(received["alice"]) == sorted(bodies["bob"])


# Ends without success


@pytest.mark.req("O-011", "O-021", "O-031")
@pytest.mark.parametrize("accepted", [False, True])
def test_refusing_and_stopping(accepted):
    alice, bob = pair()
    offer(alice, LARGE)
    carry(alice, bob)
    if accepted:
        assert bob.accept(0, now=0.0)
        move(bob, alice)
    late = chunks_of(alice)
    bob.refuse(0, ErrorCode.NOT_WANTED)
    bob.refuse(0, ErrorCode.NOT_WANTED)
    assert said(bob) == [Cancel(0, ErrorCode.NOT_WANTED, by_offerer=False)]
    tell(alice, Cancel(0, ErrorCode.NOT_WANTED, by_offerer=False))
    root, _ = leaves_of(LARGE)
    assert events_of(alice) == [ObjectFailed(0, root, ErrorCode.NOT_WANTED, outgoing=True)]
    for chunk, data in late:  # on their way when the transfer ended
        bob.receive_chunk_untrusted(chunk.transfer, chunk.start, data)
        alice.on_chunk_lost(chunk)
    assert not alice.has_chunk
    assert not alice.has_open_transfers
    assert not bob.has_open_transfers


@pytest.mark.parametrize("accepted", [False, True])
def test_withdrawing(accepted):
    alice, bob = pair()
    offer(alice, LARGE)
    carry(alice, bob)
    events_of(bob)
    if accepted:
        assert bob.accept(0, now=0.0)
        move(bob, alice)
    alice.withdraw(0, ErrorCode.SUPERSEDED)
    alice.withdraw(0, ErrorCode.SUPERSEDED)
    assert events_of(alice) == []
    carry(alice, bob)
    root, _ = leaves_of(LARGE)
    assert events_of(bob) == [ObjectFailed(0, root, ErrorCode.SUPERSEDED, outgoing=False)]
    assert not bob.accept(0, now=0.0)
    assert not bob.has_open_transfers


@pytest.mark.req("O-002", "O-032")
def test_closing_ends_everything_with_the_code():
    alice, bob = pair()
    offer(alice, LARGE)
    offer(alice, ONE_LEAF)
    offer(bob, LARGE)
    carry(alice, bob)
    assert bob.accept(0, now=0.0)
    events_of(alice), events_of(bob)
    bob.close(ErrorCode.E_IDLE, now=0.0)
    root, other = leaves_of(LARGE)[0], leaves_of(ONE_LEAF)[0]
    assert events_of(bob) == [
        ObjectFailed(0, root, ErrorCode.E_IDLE, outgoing=True),
        ObjectFailed(0, root, ErrorCode.E_IDLE, outgoing=False),
        ObjectFailed(1, other, ErrorCode.E_IDLE, outgoing=False),
    ]
    assert not bob.has_open_transfers
    assert (bob.next_message(), bob.next_credit(), bob.next_chunk(ROOM)) == (None, None, None)


@pytest.mark.req("F-050", "O-019")
def test_messages_about_transfers_that_are_over_are_late_and_ignored():
    alice, _ = pair()
    tell(alice, Want(9, ((0, 10),), 10))
    tell(alice, Done(9))
    tell(alice, Cancel(9, 0, by_offerer=False))
    tell(alice, Cancel(9, 0, by_offerer=True))
    alice.receive_credit(9, 100)
    alice.on_credit_lost(9)
    alice.on_chunk_lost(Chunk(9, 0, 10))
    alice.withdraw(9, 0)
    alice.refuse(9, 0)
    assert not alice.accept(9, now=0.0)
    assert events_of(alice) == []
    assert said(alice) == []


# Bounds


@pytest.mark.req("O-001", "O-003", "O-030")
def test_outgoing_transfers_are_bounded():
    alice, bob = pair()
    numbers = [offer(alice, SMALL + bytes([index])) for index in range(LIMITS.transfers_out_per_peer + 1)]
    assert numbers == [*range(LIMITS.transfers_out_per_peer), None]
    move(alice, bob)
    assert bob.accept(0, now=0.0)
    carry(alice, bob)
    assert offer(alice, SMALL) == LIMITS.transfers_out_per_peer


def large_offer(transfer: int, size: int = len(LARGE)) -> Offer:
    return Offer(transfer, bytes(32), size, b"")


@pytest.mark.req("O-012")
def test_incoming_transfers_of_one_peer_are_bounded():
    bob = ObjectExchange(Reassembly())
    for transfer in range(3):
        tell(bob, large_offer(transfer))
    assert [bob.accept(transfer, now=0.0) for transfer in range(3)] == [True, True, False]
    bob.refuse(0, ErrorCode.NOT_WANTED)
    assert bob.accept(2, now=0.0)


@pytest.mark.req("O-012")
def test_bytes_held_for_one_peer_are_bounded():
    bob = ObjectExchange(Reassembly())
    limit = LIMITS.reassembly_per_peer_bytes
    tell(bob, large_offer(1, limit - 5000))
    tell(bob, large_offer(2, 5001))
    tell(bob, large_offer(3, 5000))
    assert [bob.accept(transfer, now=0.0) for transfer in range(1, 4)] == [True, False, True]


def test_one_object_may_exceed_a_peer_s_share_when_nothing_else_is_held_for_it():
    bob = ObjectExchange(Reassembly())
    tell(bob, large_offer(0, LIMITS.object_bytes))
    tell(bob, large_offer(1, 5000))
    assert [bob.accept(transfer, now=0.0) for transfer in range(2)] == [True, False]
    bob.refuse(0, ErrorCode.NOT_WANTED)
    assert bob.accept(1, now=0.0)


@pytest.mark.req("O-012", "W-040")
def test_bytes_and_transfers_of_all_peers_share_one_budget():
    budget = Reassembly(ObjectConfig(reassembly_bytes=100_000, transfers=2))
    bob, carol = ObjectExchange(budget), ObjectExchange(budget)
    for exchange in (bob, carol):
        tell(exchange, large_offer(0, 60_000))
        tell(exchange, large_offer(1, 10_000))
    assert bob.accept(0, now=0.0)
    assert not carol.accept(0, now=0.0)
    assert carol.accept(1, now=0.0)
    assert not bob.accept(1, now=0.0)  # there is room for its bytes, and two transfers are open
    bob.close(ErrorCode.NO_ERROR, now=0.0)
    assert carol.accept(0, now=0.0)


@pytest.mark.req("O-032")
def test_the_budget_comes_back_with_the_object():
    budget = Reassembly(ObjectConfig(reassembly_bytes=len(LARGE)))
    alice, bob = ObjectExchange(Reassembly()), ObjectExchange(budget)
    for _ in range(3):
        transfer = offer(alice, LARGE)
        carry(alice, bob)
        assert bob.accept(transfer, now=0.0)
        assert not budget.make_room(1, now=0.0)
        carry(alice, bob)
        assert budget.make_room(len(LARGE), now=0.0)
    assert budget.transfers == 0


@pytest.mark.req("L-003", "O-006")
def test_offers_that_wait_are_bounded():
    bob = ObjectExchange(Reassembly())
    for transfer in range(LIMITS.offers_queued + 1):
        tell(bob, large_offer(transfer))
    assert said(bob) == [Cancel(LIMITS.offers_queued, ErrorCode.E_BUSY, by_offerer=False)]
    assert len(events_of(bob)) == LIMITS.offers_queued


@pytest.mark.req("O-007")
def test_answers_that_wait_are_bounded():
    bob = ObjectExchange(Reassembly())
    for transfer in range(LIMITS.offers_queued + 256):
        tell(bob, large_offer(transfer))
    assert refusal(bob, large_offer(1000)) is ErrorCode.E_FLOW


@pytest.mark.req("O-006")
def test_an_object_over_our_limit_is_refused():
    bob = ObjectExchange(Reassembly())
    tell(bob, large_offer(0, LIMITS.object_bytes + 1))
    assert events_of(bob) == []
    assert said(bob) == [Cancel(0, ErrorCode.E_OBJ_SIZE, by_offerer=False)]


@pytest.mark.req("O-020")
def test_a_chunk_needs_an_accepted_offer():
    bob = ObjectExchange(Reassembly())
    for offered in (False, True):
        if offered:
            tell(bob, large_offer(0))
        with pytest.raises(RemoteProtocolError) as caught:
            bob.receive_chunk_untrusted(0, 0, b"x")
        assert caught.value.code is ErrorCode.E_FLOW


@pytest.mark.req("O-005")
@pytest.mark.parametrize(
    ("message", "code"),
    [
        (Offer(0, leaf_hash(SMALL), len(SMALL) + 1, b"", SMALL), ErrorCode.E_OBJ_SIZE),
        (Offer(0, leaf_hash(SMALL), len(LARGE), b"", SMALL), ErrorCode.E_OBJ_SIZE),
        (Offer(0, bytes(32), len(SMALL), b"", SMALL), ErrorCode.E_OBJ_HASH),
        (Offer(0, bytes(32), 0, b""), ErrorCode.E_OBJ_HASH),
    ],
    ids=["size", "several leaves", "root", "root of the empty object"],
)
def test_an_inline_body_must_be_the_object(message, code):
    assert refusal(ObjectExchange(Reassembly()), message) is code


@pytest.mark.req("O-001")
def test_transfer_numbers_count_up():
    bob = ObjectExchange(Reassembly())
    tell(bob, large_offer(5))
    assert refusal(bob, large_offer(5)) is ErrorCode.E_PROTOCOL
    assert refusal(bob, large_offer(4)) is ErrorCode.E_PROTOCOL
    tell(bob, large_offer(9))


def test_misuse_leaves_the_exchange_as_it_was():
    alice, _ = pair()
    root, leaves = leaves_of(LARGE)
    with pytest.raises(LocalProtocolError) as caught:
        alice.offer(root, leaves, bytes(LIMITS.header_bytes + 1), memoryview(LARGE), now=0.0)
    assert caught.value.code is ErrorCode.E_OBJ_SIZE
    with pytest.raises(LocalProtocolError) as caught:
        alice.offer(root, leaves[32:], b"", memoryview(LARGE), now=0.0)
    assert caught.value.code is ErrorCode.E_USAGE
    with pytest.raises(LocalProtocolError) as caught:
        alice.offer(root[1:], leaves, b"", memoryview(LARGE), now=0.0)
    assert caught.value.code is ErrorCode.E_USAGE
    assert said(alice) == []
    assert offer(alice, LARGE) == 0


@given(st.binary(max_size=200))
def test_arbitrary_messages_raise_only_remote_protocol_error(data):
    alice, _ = pair()
    offer(alice, LARGE)
    with contextlib.suppress(RemoteProtocolError):
        alice.receive_message_untrusted(data, now=0.0)


HOSTILE = st.one_of(
    st.builds(
        Offer,
        transfer=st.integers(0, 4),
        root=st.just(bytes(32)),
        size=st.integers(0, 60_000),
        header=st.just(b""),
        body=st.none() | st.binary(min_size=1, max_size=8),
    ),
    st.builds(
        Want,
        transfer=st.integers(0, 4),
        ranges=st.sampled_from([((0, 10),), ((5, 6), (40, 90_000)), ((0, 2**60),)]),
        credit=st.integers(0, 2**64 - 1),
    ),
    st.builds(Done, transfer=st.integers(0, 4)),
    st.builds(Cancel, transfer=st.integers(0, 4), code=st.integers(0, 0xFFFF), by_offerer=st.booleans()),
    st.tuples(st.integers(0, 4), st.integers(0, 2**64 - 1), st.binary(max_size=50)),
)


@given(st.lists(HOSTILE, max_size=15))
def test_well_formed_messages_in_any_order_raise_only_remote_protocol_error(steps):
    """A hostile peer's messages and chunks: refused or not, the exchange goes on and stays in its bounds."""
    budget = Reassembly(ObjectConfig(reassembly_bytes=100_000))
    exchange = ObjectExchange(budget)
    offer(exchange, LARGE)
    offer(exchange, SMALL)
    for step in steps:
        with contextlib.suppress(RemoteProtocolError):
            if isinstance(step, tuple):
                exchange.receive_chunk_untrusted(*step)
            else:
                tell(exchange, step)
        for event in events_of(exchange):
            if isinstance(event, ObjectOffered):
                exchange.accept(event.transfer, now=0.0)
        for _ in range(3):
            exchange.next_chunk(ROOM)
        assert 0 <= budget.used <= budget.config.reassembly_bytes
    exchange.close(ErrorCode.NO_ERROR, now=0.0)
    assert (budget.used, budget.transfers) == (0, 0)
