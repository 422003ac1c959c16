"""Messages of the object exchange: round trip, layout, and what is refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.wire.cbor import decode_untrusted, encode
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from quinkgl.wire.limits import HARD, LIMITS
from quinkgl.wire.messages.objects import (
    Cancel,
    Done,
    Offer,
    Want,
    decode_object_message_untrusted,
    encode_object_message,
)

TRANSFERS = st.integers(0, 2**32 - 1)
RANGES = st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=2 * HARD.want_ranges, unique=True).map(
    lambda bounds: tuple(zip(sorted(bounds)[: len(bounds) // 2 * 2 : 2], sorted(bounds)[1::2], strict=True))
)
MESSAGES = st.one_of(
    st.builds(
        Offer,
        transfer=TRANSFERS,
        root=st.binary(min_size=32, max_size=32),
        size=st.integers(0, HARD.object_bytes),
        header=st.binary(max_size=LIMITS.header_bytes),
        body=st.none() | st.binary(min_size=1, max_size=LIMITS.unsolicited_bytes),
    ),
    st.builds(Want, transfer=TRANSFERS, ranges=RANGES, credit=st.integers(0, 2**64 - 1)),
    st.builds(Done, transfer=TRANSFERS),
    st.builds(Cancel, transfer=TRANSFERS, code=st.integers(0, 0xFFFF), by_offerer=st.booleans()),
)
OFFER = {0: 1, 1: 7, 2: bytes(32), 3: 100, 4: b"header"}
WANT = {0: 2, 1: 7, 2: [0, 100], 3: 50}
DONE = {0: 3, 1: 7}
CANCEL = {0: 4, 1: 7, 2: 0x50, 3: True}


def refusal(value: object) -> ErrorCode:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_object_message_untrusted(encode(value))
    return caught.value.code


@pytest.mark.req("L-002")
@given(MESSAGES)
def test_round_trip(message):
    encoded = encode_object_message(message)
    assert len(encoded) <= LIMITS.control_message_bytes
    assert decode_object_message_untrusted(encoded) == message


@pytest.mark.req("O-002")
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (OFFER, Offer(7, bytes(32), 100, b"header")),
        ({**OFFER, 5: b"body"}, Offer(7, bytes(32), 100, b"header", b"body")),
        (WANT, Want(7, ((0, 100),), 50)),
        (DONE, Done(7)),
        (CANCEL, Cancel(7, 0x50, by_offerer=True)),
    ],
)
def test_layout(fields, message):
    assert decode_object_message_untrusted(encode(fields)) == message
    assert decode_untrusted(encode_object_message(message), max_bytes=200, where="test") == fields


@pytest.mark.req("C-021", "C-022")
@pytest.mark.parametrize("fields", [OFFER, WANT, DONE, CANCEL])
def test_unknown_keys(fields):
    plain = decode_object_message_untrusted(encode(fields))
    assert decode_object_message_untrusted(encode({**fields, 64: b"grease"})) == plain
    assert refusal({**fields, 63: 0}) is ErrorCode.E_SCHEMA


@pytest.mark.req("C-020")
@pytest.mark.parametrize("fields", [OFFER, WANT, DONE, CANCEL])
def test_each_field_is_needed(fields):
    for key in fields:
        assert refusal({other: fields[other] for other in fields if other != key}) is ErrorCode.E_SCHEMA


@pytest.mark.req("C-020")
@pytest.mark.parametrize(
    "fields",
    [
        5,
        [],
        {0: 0, 1: 7},
        {0: 5, 1: 7},
        {0: b"x", 1: 7},
        {**DONE, 1: 2**32},
        {**OFFER, 2: bytes(31)},
        {**OFFER, 3: HARD.object_bytes + 1},
        {**OFFER, 4: bytes(LIMITS.header_bytes + 1)},
        {**OFFER, 5: b""},
        {**OFFER, 5: bytes(LIMITS.unsolicited_bytes + 1)},
        {**WANT, 2: []},
        {**WANT, 2: [0]},
        {**WANT, 2: [0, 1, 2]},
        {**WANT, 2: [5, 5]},
        {**WANT, 2: [9, 5]},
        {**WANT, 2: [0, 5, 5, 9]},
        {**WANT, 2: [10, 15, 0, 5]},
        {**WANT, 2: list(range(2 * HARD.want_ranges + 2))},
        {**CANCEL, 2: 0x10000},
        {**CANCEL, 3: 1},
    ],
)
def test_what_the_schema_does_not_allow(fields):
    assert refusal(fields) is ErrorCode.E_SCHEMA


@pytest.mark.req("C-010")
def test_a_message_over_the_limit():
    with pytest.raises(RemoteProtocolError) as caught:
        decode_object_message_untrusted(bytes(LIMITS.control_message_bytes + 1))
    assert caught.value.code is ErrorCode.E_TOO_BIG


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_only_remote_protocol_error(data):
    with contextlib.suppress(RemoteProtocolError):
        decode_object_message_untrusted(data)


@given(MESSAGES, st.data())
def test_mutated_bytes_raise_only_remote_protocol_error(message, data):
    encoded = bytearray(encode_object_message(message))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(RemoteProtocolError):
        decode_object_message_untrusted(bytes(encoded))


@pytest.mark.parametrize(
    "message",
    [
        Offer(1 << 32, bytes(32), 1, b""),
        Offer(1, bytes(31), 1, b""),
        Offer(1, bytes(32), HARD.object_bytes + 1, b""),
        Offer(1, bytes(32), 1, bytes(LIMITS.header_bytes + 1)),
        Offer(1, bytes(32), 1, b"", b""),
        Want(1, (), 1),
        Want(1, ((5, 5),), 1),
        Want(1, ((5, 9), (9, 12)), 1),
        Want(1, ((0, 1),), 1 << 64),
        Done(-1),
        Cancel(1, 1 << 16, by_offerer=True),
    ],
    ids=str,
)
@pytest.mark.req("C-009")
def test_what_a_receiver_would_refuse_is_not_encoded(message):
    with pytest.raises(LocalProtocolError) as refused:
        encode_object_message(message)
    assert refused.value.code is ErrorCode.E_USAGE
