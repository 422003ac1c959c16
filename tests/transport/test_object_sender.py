"""The offering side of one transfer: which bytes go out, within which credit, and again after which loss."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.transport.object_sender import Chunk, ObjectSender, SenderEvent, SenderState
from quinkgl.transport.wanted import WantedRanges
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.merkle import LEAF_BYTES, leaf_hashes, list_bytes, merkle_root
from quinkgl.wire.messages.objects import Want

BODY = random.Random(1).randbytes(2 * LEAF_BYTES + 100)
LEAVES = b"".join(leaf_hashes(BODY))
LIST = list_bytes(len(BODY))
SPACE = LEAVES + BODY
TOTAL = len(SPACE)


def sender(body: bytes = BODY) -> ObjectSender:
    leaves = leaf_hashes(body)
    return ObjectSender(7, merkle_root(leaves), b"".join(leaves), memoryview(body))


def wanted(*ranges: tuple[int, int], credit: int = TOTAL) -> ObjectSender:
    made = sender()
    made.on_want_untrusted(Want(7, ranges, credit))
    return made


def take_all(made: ObjectSender, room: int = 1000) -> list[Chunk]:
    """Take chunks until there are none; each must hold the bytes that it names."""
    chunks = []
    while (taken := made.take(room)) is not None:
        chunk, data = taken
        assert 0 < len(data) <= room
        assert bytes(data) == SPACE[chunk.start : chunk.stop]
        chunks.append(chunk)
    assert not made.has_output
    return chunks


@pytest.mark.req("O-013")
def test_nothing_leaves_before_it_is_wanted():
    made = sender()
    assert made.state is SenderState.OFFERED
    made.on_credit(TOTAL)
    made.on_lost(Chunk(7, 0, 10))
    assert take_all(made) == []


@pytest.mark.req("O-018", "P-015")
def test_everything_leaves_in_order_leaf_list_first_and_no_chunk_crosses_into_the_body():
    chunks = take_all(wanted((0, TOTAL)))
    assert chunks[0] == Chunk(7, 0, LIST)
    assert [chunk.start for chunk in chunks[1:]] == [chunk.stop for chunk in chunks[:-1]]
    assert chunks[-1].stop == TOTAL


def test_an_object_of_one_leaf_has_no_list():
    body = BODY[:5000]
    made = sender(body)
    made.on_want_untrusted(Want(7, ((0, 5000),), 5000))
    chunk, data = made.take(6000)
    assert chunk == Chunk(7, 0, 5000)
    assert bytes(data) == body
    assert made.take(6000) is None


@pytest.mark.req("F-050", "O-013", "O-016")
def test_the_credit_counts_wanted_bytes_and_never_shrinks():
    made = wanted((0, LIST), (5000, 6000), (20_000, 30_000), credit=LIST + 1500)
    chunks = take_all(made)
    assert chunks == [Chunk(7, 0, LIST), Chunk(7, 5000, 6000), Chunk(7, 20_000, 20_500)]
    made.on_credit(LIST + 1400)
    assert take_all(made) == []
    made.on_credit(LIST + 1600)
    made.on_credit(LIST + 1550)
    assert take_all(made) == [Chunk(7, 20_500, 20_600)]


def test_lost_chunks_go_first_and_need_no_credit():
    made = wanted((0, TOTAL), credit=5000)
    chunks = take_all(made)
    made.on_credit(6000)
    made.on_lost(chunks[3])
    chunk, _ = made.take(1000)
    assert chunk == chunks[3]
    chunk, _ = made.take(1000)
    assert chunk.start == 5000


@pytest.mark.req("P-015")
def test_a_lost_piece_of_the_list_and_one_of_the_body_do_not_share_a_chunk():
    made = wanted((0, TOTAL))
    take_all(made)
    made.on_lost(Chunk(7, LIST - 10, LIST))
    made.on_lost(Chunk(7, LIST, LIST + 10))
    assert take_all(made) == [Chunk(7, LIST - 10, LIST), Chunk(7, LIST, LIST + 10)]


@pytest.mark.req("O-014")
def test_a_want_beyond_the_object_is_an_error():
    made = sender()
    with pytest.raises(RemoteProtocolError) as caught:
        made.on_want_untrusted(Want(7, ((0, TOTAL + 1),), TOTAL))
    assert caught.value.code is ErrorCode.E_OBJ_SIZE
    assert made.state is SenderState.OFFERED


@pytest.mark.req("O-032")
def test_the_end_lets_go_of_everything():
    body = bytearray(b"x" * 5000)
    made = ObjectSender(7, bytes(32), bytes(32), memoryview(body))
    made.on_want_untrusted(Want(7, ((0, 5000),), 5000))
    assert made.take(1000)[0] == Chunk(7, 0, 1000)
    with pytest.raises(BufferError):
        body.clear()  # the sender shares it
    made.end(SenderEvent.CLOSED)
    body.clear()
    made.on_lost(Chunk(7, 0, 1000))
    assert made.take(1000) is None
    assert made.state is SenderState.ENDED


@st.composite
def ranges(draw) -> tuple[tuple[int, int], ...]:
    bounds = sorted(draw(st.sets(st.integers(0, TOTAL), min_size=2, max_size=12)))
    return tuple(zip(bounds[: len(bounds) // 2 * 2 : 2], bounds[1::2], strict=True))


@pytest.mark.req("O-013")
@given(ranges(), st.integers(10, 3000), st.integers(0, TOTAL), st.integers(0, 2**32))
def test_exactly_the_wanted_bytes_leave_whatever_is_lost(wants, room, credit, seed):
    """Every wanted byte arrives once the credit allows it, and no other byte leaves."""
    rng = random.Random(seed)
    made = wanted(*wants, credit=credit)
    expected = sum(stop - start for start, stop in wants)
    arrived = bytearray(TOTAL)
    for trial in range(4):
        lost: list[Chunk] = []
        chunks = take_all(made, room)
        if trial == 0:
            assert sum(chunk.stop - chunk.start for chunk in chunks) == min(credit, expected)
        for chunk in chunks:
            if trial < 3 and rng.random() < 0.5:
                lost.append(chunk)
            else:
                arrived[chunk.start : chunk.stop] = b"\x01" * (chunk.stop - chunk.start)
        for chunk in lost:
            made.on_lost(chunk)
        made.on_credit(TOTAL)
    take_all(made, room)
    assert sum(arrived) == expected
    assert all(all(arrived[start:stop]) for start, stop in wants)


@given(ranges())
def test_ranks_lay_the_ranges_end_to_end(wants):
    laid = [value for start, stop in wants for value in range(start, stop)]
    made = WantedRanges(wants)
    assert made.total == len(laid)
    for rank in range(0, len(laid), 97):
        position, stop = made.position(rank)
        assert position == laid[rank]
        assert (position, stop) == next((position, high) for low, high in wants if low <= position < high)
