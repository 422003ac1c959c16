"""The codec of the update header, and of the gossip channel's messages."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.wire.cbor import decode_untrusted, encode
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from quinkgl.wire.limits import HARD, LIMITS
from quinkgl.wire.messages.gossip import (
    UpdateHeader,
    UpdateObject,
    decode_gossip_message_untrusted,
    decode_update_header_untrusted,
    encode_update_header,
)

HASHES = st.binary(min_size=32, max_size=32)
PLAIN_VALUES = st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=16) | st.booleans()
OPAQUE = st.dictionaries(
    st.integers(0, 2**32 - 1), PLAIN_VALUES | st.lists(PLAIN_VALUES, max_size=2), max_size=3
)
HEADERS = st.builds(
    UpdateHeader,
    swarm_id=HASHES,
    author=HASHES,
    round=st.integers(0, 2**32 - 1),
    root=HASHES,
    size=st.integers(1, HARD.object_bytes),
    codec=st.integers(0, 255),
    sample_count=st.integers(0, 2**53 - 1),
    issued=st.integers(0, 2**53 - 1),
    nonce=st.binary(min_size=16, max_size=16),
    incarnation=st.integers(0, 2**53 - 1),
    params=OPAQUE,
    metadata=OPAQUE,
    base=st.none() | HASHES,
).filter(lambda header: len(str(header.params)) + len(str(header.metadata)) < 200)
PLAIN = UpdateHeader(bytes(32), bytes(32), 7, bytes(32), 100, 1, 64, 1000, bytes(16), 5)


def fields_of(header):
    return decode_untrusted(encode_update_header(header), max_bytes=LIMITS.header_bytes, where="test")


@given(HEADERS)
def test_round_trip(header):
    assert decode_update_header_untrusted(encode_update_header(header)) == header


@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_only_what_they_may(data):
    for decode in (decode_update_header_untrusted, decode_gossip_message_untrusted):
        with contextlib.suppress(RemoteProtocolError):
            decode(data)


@given(HEADERS, st.integers(0, 511), st.integers(1, 255))
def test_one_changed_byte_is_refused_or_shows(header, position, change):
    data = bytearray(encode_update_header(header))
    data[position % len(data)] ^= change
    try:
        decoded = decode_update_header_untrusted(bytes(data))
    except RemoteProtocolError:
        return
    assert encode_update_header(decoded) != encode_update_header(header) or decoded != header


@pytest.mark.req("C-022")
@given(HEADERS, st.integers(64, 2**32 - 1))
def test_an_unknown_key_from_64_up_is_ignored(header, key):
    data = encode(fields_of(header) | {key: 0})
    if len(data) <= LIMITS.header_bytes:
        assert decode_update_header_untrusted(data) == header


@pytest.mark.req("C-021")
@given(st.integers(13, 63))
def test_an_unknown_key_below_64_is_refused(key):
    with pytest.raises(RemoteProtocolError) as refused:
        decode_update_header_untrusted(encode(fields_of(PLAIN) | {key: 0}))
    assert refused.value.code is ErrorCode.E_SCHEMA


@pytest.mark.req("C-020", "G-010")
@pytest.mark.parametrize("key", [*range(11), 12])
def test_a_header_needs_every_key(key):
    fields = fields_of(PLAIN)
    del fields[key]
    with pytest.raises(RemoteProtocolError) as refused:
        decode_update_header_untrusted(encode(fields))
    assert refused.value.code is ErrorCode.E_SCHEMA


@pytest.mark.parametrize(
    "change",
    [
        {"swarm_id": bytes(33)},
        {"author": b""},
        {"round": 2**32},
        {"round": -1},
        {"size": 0},
        {"size": HARD.object_bytes + 1},
        {"codec": 256},
        {"sample_count": 2**53},
        {"nonce": bytes(15)},
        {"incarnation": 2**53},
        {"base": bytes(31)},
        {"params": {1: {2: 3}}},
        {"params": dict.fromkeys(range(17), 0)},
        {"metadata": {1: None}},
        {"metadata": {1: bytes(512)}},
    ],
)
def test_a_header_out_of_bounds_is_not_sent(change):
    with pytest.raises(LocalProtocolError):
        encode_update_header(dataclasses.replace(PLAIN, **change))


def test_the_position_orders_incarnations_before_rounds():
    later = dataclasses.replace(PLAIN, incarnation=6, round=0)
    assert PLAIN.position == (5, 7)
    assert later.position > PLAIN.position


@pytest.mark.req("G-006")
def test_other_kinds_are_for_later():
    assert decode_gossip_message_untrusted(encode({0: 64})) is None
    for data in (b"", encode([]), encode({0: 0}), encode({0: 1}), encode({0: 63})):
        with pytest.raises(RemoteProtocolError):
            decode_gossip_message_untrusted(data)


VARIATE = UpdateObject(b"v" * 32, 9, 1, "control variate")


def test_further_objects_come_back_as_they_were():
    more = tuple(UpdateObject(bytes([n]) * 32, n, 1, "x" * n) for n in range(1, LIMITS.update_objects + 1))
    header = dataclasses.replace(PLAIN, objects=more)
    assert decode_update_header_untrusted(encode_update_header(header)) == header
    assert header.total_bytes == PLAIN.size + sum(item.size for item in more)
    assert next(iter(header.parts)) == PLAIN.root


@pytest.mark.req("G-010", "G-043")
@pytest.mark.parametrize(
    "objects",
    [
        [],
        [[]],
        [[b"v" * 32, 1, 1]],
        [[b"v" * 31, 1, 1, ""]],
        [[b"v" * 32, 0, 1, ""]],
        [[b"v" * 32, 1, 256, ""]],
        [[b"v" * 32, 1, 1, "x" * 33]],
        [[b"v" * 32, 1, 1, ""]] * 2,
        [[PLAIN.root, 1, 1, ""]],
        [[bytes([n]) * 32, 1, 1, ""] for n in range(LIMITS.update_objects + 1)],
    ],
)
def test_further_objects_out_of_bounds_are_refused(objects):
    fields = decode_untrusted(encode_update_header(PLAIN), max_bytes=512, where="test")
    with pytest.raises(RemoteProtocolError) as refused:
        decode_update_header_untrusted(encode({**fields, 13: objects}))
    assert refused.value.code is ErrorCode.E_SCHEMA


@pytest.mark.req("G-043")
def test_an_object_named_twice_is_not_sent():
    with pytest.raises(LocalProtocolError):
        encode_update_header(dataclasses.replace(PLAIN, objects=(VARIATE, VARIATE)))
