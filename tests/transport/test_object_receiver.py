"""The receiving side of one transfer: every leaf is verified, nothing beyond the credit is taken."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.transport.object_receiver import ObjectReceiver, ReceiverEvent, ReceiverState
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.merkle import LEAF_BYTES, leaf_hashes, list_bytes, merkle_root

BODY = random.Random(1).randbytes(3 * LEAF_BYTES + 100)
LEAVES = leaf_hashes(BODY)
LIST = list_bytes(len(BODY))
SPACE = b"".join(LEAVES) + BODY
TOTAL = len(SPACE)


def receiver(body: bytes = BODY) -> ObjectReceiver:
    """Return a receiver that has granted its first credit."""
    made = ObjectReceiver(7, merkle_root(leaf_hashes(body)), len(body), b"header")
    made.next_credit()
    return made


def feed(made: ObjectReceiver, start: int, stop: int, *, space: bytes = SPACE) -> None:
    made.receive_untrusted(start, space[start:stop])


def refusal(made: ObjectReceiver, offset: int, data: bytes) -> ErrorCode:
    with pytest.raises(RemoteProtocolError) as caught:
        made.receive_untrusted(offset, data)
    return caught.value.code


@pytest.mark.req("O-023")
@given(st.integers(0, 2**32), st.integers(200, 9000))
def test_any_order_and_overlap_gives_the_object(seed, piece):
    rng = random.Random(seed)
    made = receiver()
    starts = list(range(0, TOTAL, piece))
    rng.shuffle(starts)
    for start in starts:
        early = max(0, start - rng.randrange(300))
        feed(made, early, min(TOTAL, start + piece))
    assert made.state is ReceiverState.COMPLETE
    assert made.sink.body() == BODY
    assert made.sink.body().readonly


def test_an_object_of_one_leaf_needs_no_list():
    body = BODY[:5000]
    made = receiver(body)
    assert made.total == 5000
    made.receive_untrusted(1000, body[1000:])
    made.receive_untrusted(0, body[:1000])
    assert made.sink.body() == body


def test_one_chunk_may_hold_the_list_and_several_leaves():
    made = receiver()
    feed(made, 0, TOTAL)
    assert made.sink.body() == BODY


@pytest.mark.req("O-024")
@pytest.mark.parametrize("list_first", [True, False])
def test_a_wrong_bit_is_found_in_its_leaf(list_first):
    for leaf in range(len(LEAVES)):
        wrong = bytearray(SPACE)
        wrong[LIST + leaf * LEAF_BYTES] ^= 1
        made = receiver()
        if list_first:
            feed(made, 0, TOTAL - 1, space=wrong)
            assert refusal(made, TOTAL - 1, bytes(wrong[TOTAL - 1 :])) is ErrorCode.E_OBJ_HASH
            assert list(made.sink.verified()) == ([(0, leaf)] if leaf else [])
        else:
            feed(made, LIST, TOTAL, space=wrong)
            assert refusal(made, 0, bytes(wrong[:LIST])) is ErrorCode.E_OBJ_HASH
        assert made.state is ReceiverState.RECEIVING


@pytest.mark.req("O-024")
def test_a_wrong_leaf_is_found_long_before_the_object_is_whole():
    body = random.Random(2).randbytes(80 * LEAF_BYTES)
    wrong = bytearray(b"".join(leaf_hashes(body)) + body)
    begin = list_bytes(len(body))
    wrong[begin + 7] ^= 1
    made = receiver(body)
    feed(made, 0, begin + 31 * LEAF_BYTES, space=bytes(wrong))
    at = begin + 31 * LEAF_BYTES
    assert refusal(made, at, bytes(wrong[at : at + LEAF_BYTES])) is ErrorCode.E_OBJ_HASH


@pytest.mark.parametrize("is_right", [True, False])
def test_whole_leaves_that_wait_are_verified_when_the_transfer_ends(is_right):
    given_space = bytearray(SPACE)
    given_space[LIST] ^= not is_right
    made = receiver()
    feed(made, 0, LIST + 2 * LEAF_BYTES + 5, space=bytes(given_space))
    assert list(made.sink.verified()) == []
    made.end(ReceiverEvent.CLOSED)
    assert list(made.sink.verified()) == ([(0, 2)] if is_right else [])


@pytest.mark.req("O-024")
def test_a_wrong_leaf_of_a_single_leaf_object():
    made = receiver(BODY[:5000])
    assert refusal(made, 0, bytes(5000)) is ErrorCode.E_OBJ_HASH


@pytest.mark.req("O-024")
def test_a_list_that_does_not_give_the_root():
    wrong = bytearray(SPACE)
    wrong[0] ^= 1
    assert refusal(receiver(), 0, bytes(wrong[:LIST])) is ErrorCode.E_OBJ_HASH


@pytest.mark.req("O-023")
def test_bytes_that_have_arrived_are_not_overwritten():
    made = receiver()
    feed(made, 0, LIST + 100)
    made.receive_untrusted(LIST, b"\x00" * 100)
    feed(made, LIST + 100, TOTAL)
    assert made.sink.body() == BODY


@pytest.mark.req("O-017", "O-022")
def test_credit_is_a_window_ahead_of_what_arrived():
    window = LIMITS.credit_per_transfer_bytes
    size = 3 * window
    made = ObjectReceiver(7, bytes(32), size, b"")
    assert made.next_credit() == window
    assert made.credit == window
    assert made.next_credit() is None
    assert refusal(made, window - 10, bytes(11)) is ErrorCode.E_FLOW
    made.receive_untrusted(list_bytes(size), bytes(window // 2 - 1))
    assert made.next_credit() is None
    made.receive_untrusted(window - 1, bytes(1))
    assert made.next_credit() == window + window // 2


def test_the_last_credit_is_the_whole():
    made = ObjectReceiver(7, bytes(32), 5000, b"")
    assert made.next_credit() == made.total == 5000
    assert made.next_credit() is None


@pytest.mark.req("O-022")
def test_nothing_is_taken_without_credit():
    made = ObjectReceiver(7, bytes(32), 5000, b"")
    assert refusal(made, 0, b"x") is ErrorCode.E_FLOW


@pytest.mark.req("O-022")
@pytest.mark.parametrize("offset", [TOTAL, TOTAL - 1, 2**64 - 1])
def test_a_chunk_beyond_the_end(offset):
    assert refusal(receiver(), offset, b"xx") is ErrorCode.E_FLOW


@pytest.mark.req("O-022")
def test_an_empty_chunk():
    assert refusal(receiver(), 0, b"") is ErrorCode.E_FLOW


@pytest.mark.req("O-026")
def test_crumbs_are_refused_before_they_cost_much():
    made = receiver()
    crumbs = range(LIST, LIST + 2 * 4096, 2)
    for offset in crumbs:
        made.receive_untrusted(offset, b"x")
    assert refusal(made, crumbs.stop, b"x") is ErrorCode.E_FLOW


@pytest.mark.req("O-021")
def test_after_the_end_chunks_are_late():
    made = receiver()
    made.end(ReceiverEvent.CLOSED)
    assert made.state is ReceiverState.ENDED
    feed(made, 0, 100)
    assert made.state is ReceiverState.ENDED
