"""The CONTROL stream's halves: what was written comes out, in order and once, whatever happens on the way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.transport.control_stream import ControlPiece, ControlReceiver, ControlSender
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.limits import LIMITS

WINDOW = LIMITS.control_window_bytes


def sender(data: bytes) -> ControlSender:
    out = ControlSender()
    out.write(data)
    return out


def pieces(out: ControlSender, room: int) -> list[tuple[ControlPiece, bytes]]:
    taken = []
    while (piece := out.take(room)) is not None:
        taken.append(piece)
    return taken


# The sender


def test_pieces_follow_each_other():
    out = sender(b"abcdefg")
    assert out.has_output
    assert pieces(out, 3) == [((0, 3), b"abc"), ((3, 6), b"def"), ((6, 7), b"g")]
    assert not out.has_output
    assert out.queued_bytes == 7


def test_acknowledged_bytes_are_released_from_the_front():
    out = sender(b"abcdefg")
    pieces(out, 3)
    out.on_acknowledged(ControlPiece(3, 6))
    assert out.queued_bytes == 7
    out.on_acknowledged(ControlPiece(0, 3))
    assert out.queued_bytes == 1
    out.on_acknowledged(ControlPiece(6, 7))
    assert out.queued_bytes == 0


def test_lost_pieces_go_first():
    out = sender(b"abcdefg")
    first = out.take(3)
    out.on_lost(first[0])
    assert pieces(out, 2) == [((0, 2), b"ab"), ((2, 3), b"c"), ((3, 5), b"de"), ((5, 7), b"fg")]


@pytest.mark.req("F-005")
def test_only_what_is_not_acknowledged_is_sent_again():
    out = sender(b"abcdefg")
    pieces(out, 7)
    out.on_lost(ControlPiece(0, 7))
    again = out.take(2)
    assert again == ((0, 2), b"ab")
    out.on_acknowledged(ControlPiece(2, 4))
    out.on_acknowledged(again[0])
    assert pieces(out, 7) == [((4, 7), b"efg")]
    out.on_lost(ControlPiece(0, 7))  # the packet that is lost now carried bytes that have arrived since
    assert pieces(out, 7) == [((4, 7), b"efg")]


def test_a_piece_acknowledged_twice_holds_nothing_back():
    """A probe may repeat a piece in smaller parts; the whole and one part are acknowledged, one is lost."""
    out = sender(b"abcdefgh")
    whole, _ = out.take(4)
    out.on_lost(whole)
    part, _ = out.take(2)
    out.on_acknowledged(whole)
    out.on_acknowledged(part)
    last, _ = out.take(4)
    out.on_acknowledged(last)
    assert out.queued_bytes == 0


@pytest.mark.req("F-030", "F-032")
def test_nothing_is_sent_beyond_the_credit():
    out = sender(bytes(WINDOW + 10))
    assert sum(len(data) for _, data in pieces(out, 1000)) == WINDOW
    assert not out.has_output
    out.on_credit(WINDOW - 5)  # limits never shrink
    assert not out.has_output
    out.on_credit(WINDOW + 4)
    assert pieces(out, 1000) == [((WINDOW, WINDOW + 4), bytes(4))]


# The receiver


@pytest.mark.req("F-033")
def test_order_is_restored():
    receiver = ControlReceiver()
    assert receiver.receive_untrusted(3, b"def") == b""
    assert receiver.receive_untrusted(0, b"abc") == b"abcdef"
    assert receiver.receive_untrusted(0, b"abc") == b""
    assert receiver.receive_untrusted(4, b"efgh") == b"gh"


@pytest.mark.req("F-033")
def test_the_first_copy_of_a_byte_counts():
    receiver = ControlReceiver()
    receiver.receive_untrusted(1, b"bc")
    assert receiver.receive_untrusted(0, b"aXXd") == b"abcd"


def test_an_empty_piece_changes_nothing():
    receiver = ControlReceiver()
    assert receiver.receive_untrusted(100, b"") == b""
    assert receiver.receive_untrusted(0, b"") == b""
    assert receiver.receive_untrusted(0, b"a") == b"a"


@pytest.mark.req("F-031")
def test_the_credit_is_a_window_above_what_was_delivered():
    receiver = ControlReceiver()
    assert receiver.limit == WINDOW
    receiver.receive_untrusted(WINDOW - 1, b"z")
    for offset in (WINDOW, WINDOW + 1, 2**64 - 1):
        with pytest.raises(RemoteProtocolError) as caught:
            receiver.receive_untrusted(offset, b"z")
        assert caught.value.code is ErrorCode.E_FLOW
    assert len(receiver.receive_untrusted(0, bytes(WINDOW - 1))) == WINDOW
    assert receiver.limit == 2 * WINDOW


# Both


@st.composite
def histories(draw) -> list[tuple[str, int]]:
    step = st.tuples(st.sampled_from(["write", "send", "lose", "acknowledge", "late"]), st.integers(1, 5000))
    return draw(st.lists(step, max_size=60))


@pytest.mark.req("F-033")
@given(histories(), st.randoms(use_true_random=False))
def test_a_stream_survives_loss_reordering_and_repetition(history, rng):
    """Pieces are carried by packets that are lost, delivered late or twice; acknowledgements are lost too."""
    out, receiver = ControlSender(), ControlReceiver()
    written, delivered = bytearray(), bytearray()
    flying: list[tuple[ControlPiece, bytes]] = []

    def arrive(piece: ControlPiece, data: bytes) -> None:
        delivered.extend(receiver.receive_untrusted(piece.start, data))
        out.on_credit(receiver.limit)

    for action, amount in history:
        if action == "write":
            chunk = rng.randbytes(amount)
            written += chunk
            out.write(chunk)
        elif action == "send":
            taken = out.take(amount)
            if taken is not None:
                flying.append(taken)
        elif flying:
            piece, data = flying[amount % len(flying)]
            if action == "lose":
                out.on_lost(piece)
            elif action == "late":
                arrive(piece, data)
                out.on_lost(piece)  # declared lost although it arrived
            else:
                arrive(piece, data)
                out.on_acknowledged(piece)
        assert written.startswith(delivered)
    for piece, _ in flying:
        out.on_lost(piece)
    for _ in range(10_000):
        taken = out.take(1000)
        if taken is None:
            break
        arrive(*taken)
        out.on_acknowledged(taken[0])
    assert delivered == written
    assert out.queued_bytes == 0
    assert not out.has_output
