"""Frames: byte layout, round trips, and what closes a session."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from quinkgl.wire.control import is_grease
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.frames import (
    ACK_DELAY_UNIT_S,
    CLOSE_REASON_BYTES,
    CONTROL_OVERHEAD_BYTES,
    PING,
    Ack,
    Close,
    Control,
    FrameType,
    MaxControl,
    MaxData,
    NewCid,
    PathChallenge,
    PathResponse,
    Ping,
    RetireCid,
    decode_frames_untrusted,
    encode_ack,
    encode_close,
    encode_control_frame,
    encode_max_control,
    encode_max_data,
    encode_new_cid,
    encode_path_challenge,
    encode_path_response,
    encode_retire_cid,
)
from quinkgl.wire.limits import HARD, LIMITS
from quinkgl.wire.spec_data import load

U16, U32, U64 = (st.integers(0, 2**bits - 1) for bits in (16, 32, 64))
COUNTERS = st.tuples(U64, U64, U64)


@st.composite
def acks(draw) -> Ack:
    """Ranges from the highest number down, with at least one number missing between two."""
    high = draw(st.integers(0, 2**63))
    ranges: list[tuple[int, int]] = []
    for _ in range(draw(st.integers(1, HARD.ack_ranges))):
        low = max(0, high - draw(st.integers(0, 5000)))
        ranges.append((low, high))
        high = low - 2 - draw(st.integers(0, 5000))
        if high < 0:
            break
    units = draw(st.integers(0, 0xFFFF))
    return Ack(tuple(ranges), units * ACK_DELAY_UNIT_S, draw(st.none() | COUNTERS))


SAMPLES = [
    (Ping(), PING),
    (Control(5, b"bytes"), encode_control_frame(5, b"bytes")),
    (MaxControl(70_000), encode_max_control(70_000)),
    (MaxData(3, 2**40), encode_max_data(3, 2**40)),
    (PathChallenge(b"8 bytes!"), encode_path_challenge(b"8 bytes!")),
    (PathResponse(b"8 bytes!"), encode_path_response(b"8 bytes!")),
    (
        NewCid(2**32 - 1, b"8 bytes!", b"sixteen bytes..."),
        encode_new_cid(2**32 - 1, b"8 bytes!", b"sixteen bytes..."),
    ),
    (RetireCid(7), encode_retire_cid(7)),
    (Ack(((0, 1),), 0.0), encode_ack(Ack(((0, 1),), 0.0))),
    (Close(7, "why"), encode_close(7, "why")),
]
GREASE = [code for code in range(256) if is_grease(code)]


def refusal(payload: bytes) -> ErrorCode:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_frames_untrusted(payload)
    return caught.value.code


# Layout


def test_types_are_those_of_the_registry():
    registry = {
        name: entry["code"]
        for name, entry in load("registries/frames").items()
        if entry.get("status") != "reserved"
    }
    assert {member.name: int(member) for member in FrameType} == registry


@pytest.mark.req("W-010")
def test_layout():
    assert encode_max_control(1) == bytes.fromhex("05 0000000000000001")
    assert encode_max_data(2, 3) == bytes.fromhex("06 00000002 0000000000000003")
    assert encode_control_frame(4, b"ab") == bytes.fromhex("04 0000000000000004 0002 6162")
    assert encode_path_challenge(b"12345678") == b"\x0c12345678"
    assert encode_path_response(b"12345678") == b"\x0d12345678"
    assert encode_new_cid(5, b"12345678", b"0123456789abcdef") == b"\x0e\0\0\0\x05123456780123456789abcdef"
    assert encode_retire_cid(5) == b"\x0f\0\0\0\x05"
    assert encode_close(0x12, "no") == bytes.fromhex("1c 0012 02 6e6f")
    assert len(encode_control_frame(0, b"")) == CONTROL_OVERHEAD_BYTES


@pytest.mark.req("W-010")
def test_layout_of_an_ack():
    """Packets 0-2, 5 and 8-10 of the specification's example: a gap of two packets is written as 1."""
    ack = Ack(((8, 10), (5, 5), (0, 2)), 500 * ACK_DELAY_UNIT_S)
    assert encode_ack(ack) == bytes.fromhex(
        "02 000000000000000a 01f4 02 00000002 00000001 00000000 00000001 00000002"
    )
    marked = Ack(((0, 0),), 0.0, ecn=(1, 2, 3))
    assert encode_ack(marked) == bytes.fromhex(
        "03 0000000000000000 0000 00 00000000 0000000000000001 0000000000000002 0000000000000003"
    )


@pytest.mark.req("F-022")
@pytest.mark.parametrize(("delay_s", "units"), [(-1.0, 0), (0.0, 0), (0.025, 3125), (0.6, 0xFFFF)])
def test_ack_delay_saturates(delay_s, units):
    (ack,) = decode_frames_untrusted(encode_ack(Ack(((0, 0),), delay_s)))
    assert ack.delay_s == pytest.approx(units * ACK_DELAY_UNIT_S)


# Round trips


@given(acks())
def test_ack_round_trip(ack):
    (decoded,) = decode_frames_untrusted(encode_ack(ack))
    assert decoded.ranges == ack.ranges
    assert decoded.ecn == ack.ecn
    assert decoded.delay_s == pytest.approx(ack.delay_s)


@given(U64, st.binary(max_size=1200))
def test_control_round_trip(offset, data):
    assert decode_frames_untrusted(encode_control_frame(offset, data)) == [Control(offset, data)]


@given(U32, U64, st.binary(min_size=8, max_size=8))
def test_fixed_frames_round_trip(transfer, limit, data):
    payload = (
        encode_max_data(transfer, limit)
        + encode_max_control(limit)
        + encode_path_challenge(data)
        + encode_path_response(data)
        + PING
    )
    assert decode_frames_untrusted(payload) == [
        MaxData(transfer, limit),
        MaxControl(limit),
        PathChallenge(data),
        PathResponse(data),
        Ping(),
    ]


@pytest.mark.req("E-004")
@given(U16, st.text())
@example(1, "ä" * 33)
@example(1, "x" * 63 + "€")
def test_close_round_trip_cuts_the_reason_at_a_character(code, reason):
    (close,) = decode_frames_untrusted(encode_close(code, reason))
    assert close.code == code
    assert reason.startswith(close.reason)
    size = len(close.reason.encode())
    assert size <= CLOSE_REASON_BYTES
    rest = reason[len(close.reason) :]
    assert not rest or size + len(rest[0].encode()) > CLOSE_REASON_BYTES


@pytest.mark.req("E-004")
def test_a_reason_that_is_no_utf8_is_replaced():
    (close,) = decode_frames_untrusted(bytes([FrameType.CLOSE, 0, 1, 2, 0xFF, 0x41]))
    assert close == Close(1, "\ufffdA")


@pytest.mark.req("F-003", "W-021")
@given(st.lists(st.sampled_from(SAMPLES), min_size=1, max_size=6), st.data())
def test_padding_and_grease_between_frames_are_ignored(samples, data):
    payload, expected = b"", []
    for frame, encoded in samples:
        payload += bytes(data.draw(st.integers(0, 40)))
        if data.draw(st.booleans()):
            body = data.draw(st.binary(max_size=20))
            payload += bytes([data.draw(st.sampled_from(GREASE))]) + len(body).to_bytes(2, "big") + body
        payload += encoded
        expected.append(frame)
    assert decode_frames_untrusted(payload + bytes(3)) == expected


def test_padding_alone_is_a_packet_without_effect():
    assert decode_frames_untrusted(bytes(1000)) == []


# What is refused


@pytest.mark.req("F-001")
def test_a_packet_without_frames():
    assert refusal(b"") is ErrorCode.E_FRAME_FORMAT


@pytest.mark.req("F-001")
@pytest.mark.parametrize("frame", [frame for frame, _ in SAMPLES[1:]], ids=lambda frame: type(frame).__name__)
def test_each_frame_is_refused_at_every_cut(frame):
    encoded = dict(SAMPLES)[frame]
    for end in range(1, len(encoded)):
        assert refusal(PING + encoded[:end]) is ErrorCode.E_FRAME_FORMAT


@pytest.mark.req("F-001", "F-003")
@pytest.mark.parametrize("code", GREASE)
def test_a_grease_frame_must_be_whole(code):
    assert decode_frames_untrusted(bytes([code, 0, 1, 9])) == []
    for cut in (bytes([code]), bytes([code, 0]), bytes([code, 0, 1])):
        assert refusal(cut) is ErrorCode.E_FRAME_FORMAT


@pytest.mark.req("F-002")
def test_unknown_types():
    known = {int(member) for member in FrameType} | set(GREASE)
    for code in set(range(256)) - known:
        assert refusal(bytes([code]) + bytes(40)) is ErrorCode.E_FRAME_UNKNOWN


@pytest.mark.req("F-020")
def test_an_ack_below_packet_zero():
    assert refusal(bytes.fromhex("02 0000000000000005 0000 00 00000006")) is ErrorCode.E_FRAME_FORMAT
    second = "02 0000000000000005 0000 01 00000000 00000004 00000000"
    assert refusal(bytes.fromhex(second)) is ErrorCode.E_FRAME_FORMAT


@pytest.mark.req("F-020", "L-002")
def test_an_ack_with_too_many_ranges():
    most = tuple((2 * index, 2 * index) for index in reversed(range(HARD.ack_ranges)))
    assert decode_frames_untrusted(encode_ack(Ack(most, 0.0))) == [Ack(most, 0.0)]
    above = ((2 * HARD.ack_ranges, 2 * HARD.ack_ranges), *most)
    assert refusal(encode_ack(Ack(above, 0.0))) is ErrorCode.E_FRAME_FORMAT


@pytest.mark.req("E-004")
def test_a_reason_over_the_limit():
    long = bytes([FrameType.CLOSE, 0, 1, LIMITS.reason_bytes + 1]) + bytes(LIMITS.reason_bytes + 1)
    assert refusal(long) is ErrorCode.E_FRAME_FORMAT


@pytest.mark.req("F-001")
def test_one_bad_frame_spoils_the_packet():
    assert refusal(PING + encode_max_control(3) + b"\x3f") is ErrorCode.E_FRAME_UNKNOWN


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_only_remote_protocol_error(payload):
    with contextlib.suppress(RemoteProtocolError):
        decode_frames_untrusted(payload)


@given(st.lists(st.sampled_from([encoded for _, encoded in SAMPLES]), min_size=1, max_size=4), st.data())
def test_mutated_frames_raise_only_remote_protocol_error(encoded, data):
    payload = bytearray(b"".join(encoded))
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(RemoteProtocolError):
        decode_frames_untrusted(bytes(payload))
