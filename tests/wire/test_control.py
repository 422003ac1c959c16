"""The CONTROL stream's framing: messages come out whole and in order, however the bytes are cut."""

from __future__ import annotations

import contextlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.wire.control import HEADER_BYTES, Channel, ControlReader, encode_control, is_grease
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from quinkgl.wire.limits import CONSTANTS, LIMITS
from quinkgl.wire.spec_data import load

MESSAGES = st.tuples(st.sampled_from(Channel), st.binary(max_size=60))
GREASE = [code for code in range(256) if is_grease(code)]


def refusal(data: bytes) -> ErrorCode:
    with pytest.raises(RemoteProtocolError) as caught:
        ControlReader().feed_untrusted(data)
    return caught.value.code


def feed_in_pieces(stream: bytes, cuts: list[int]) -> list[tuple[Channel, bytes]]:
    reader = ControlReader()
    messages: list[tuple[Channel, bytes]] = []
    bounds = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for start, stop in pairwise(bounds):
        messages += reader.feed_untrusted(stream[start:stop])
    return messages


def test_channels_are_those_of_the_registry():
    registry = {
        name: entry["code"]
        for name, entry in load("registries/channels").items()
        if entry.get("status") != "reserved"
    }
    channels = {member.name.lower(): int(member) for member in Channel}
    assert channels == registry


def test_grease_codes_are_those_of_the_constants():
    step = range(CONSTANTS.grease_base, 256, CONSTANTS.grease_step)
    assert list(step) == GREASE


def test_layout():
    assert encode_control(Channel.GOSSIP, b"\xa0") == bytes.fromhex("03 0001 a0")


@pytest.mark.req("F-042")
@given(st.lists(MESSAGES, max_size=8), st.lists(st.integers(0, 1000), max_size=10))
def test_messages_come_out_whole_and_in_order(messages, cuts):
    stream = b"".join(encode_control(channel, body) for channel, body in messages)
    assert feed_in_pieces(stream, cuts) == messages


@pytest.mark.req("F-041", "W-021")
@given(st.lists(MESSAGES | st.tuples(st.sampled_from(GREASE), st.binary(max_size=60)), max_size=8))
def test_grease_channels_are_skipped(messages):
    stream = b"".join(encode_control(channel, body) for channel, body in messages)
    expected = [message for message in messages if message[0] not in GREASE]
    assert ControlReader().feed_untrusted(stream) == expected


def test_the_largest_message_passes_and_one_byte_more_does_not():
    largest = bytes(LIMITS.control_message_bytes)
    stream = encode_control(Channel.MANIFEST, largest)
    assert ControlReader().feed_untrusted(stream) == [(Channel.MANIFEST, largest)]
    with pytest.raises(LocalProtocolError) as caught:
        encode_control(Channel.MANIFEST, largest + b"\x00")
    assert caught.value.code is ErrorCode.E_TOO_BIG


@pytest.mark.req("C-010", "F-040")
def test_a_length_over_the_limit_is_refused_before_the_message_is_there():
    header = bytes([Channel.MANIFEST]) + (LIMITS.control_message_bytes + 1).to_bytes(2, "big")
    assert refusal(header) is ErrorCode.E_TOO_BIG


@pytest.mark.req("F-041")
@pytest.mark.parametrize("code", [0x0F, 0x3F, 0xFF])
def test_unknown_channels_are_refused(code):
    assert refusal(bytes([code, 0, 0])) is ErrorCode.E_FRAME_UNKNOWN


@pytest.mark.req("F-042")
def test_half_a_header_waits():
    reader = ControlReader()
    stream = encode_control(Channel.OBJECTS, b"x")
    for byte in range(HEADER_BYTES):
        assert reader.feed_untrusted(stream[byte : byte + 1]) == []
    assert reader.feed_untrusted(b"x") == [(Channel.OBJECTS, b"x")]


@given(st.lists(st.binary(max_size=50), max_size=10))
def test_arbitrary_bytes_raise_only_remote_protocol_error(pieces):
    reader = ControlReader()
    with contextlib.suppress(RemoteProtocolError):
        for piece in pieces:
            reader.feed_untrusted(piece)
