"""The codec of peer records and of the message that carries them."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.wire.addresses import decode_address_untrusted, encode_address
from quinkgl.wire.cbor import decode_untrusted, encode
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from quinkgl.wire.limits import HARD, LIMITS
from quinkgl.wire.messages.membership import (
    MAX_MESSAGE_BYTES,
    PeerRecord,
    Records,
    decode_membership_message_untrusted,
    decode_record_untrusted,
    encode_membership_message,
    encode_record,
)


def usable(address):
    try:
        return decode_address_untrusted(encode_address(address)) == address
    except (LocalProtocolError, RemoteProtocolError):
        return False


HOSTS = st.ip_addresses().filter(lambda ip: ip.version == 4 or ip.scope_id is None).map(str)
ADDRESSES = st.tuples(HOSTS, st.integers(1, 65535)).filter(usable)
UNIX = st.integers(0, 2**53 - 1)
RECORDS = st.builds(
    PeerRecord,
    key=st.binary(min_size=32, max_size=32),
    seq=st.integers(0, 2**63 - 1),
    issued=UNIX,
    ttl=st.integers(1, int(HARD.record_ttl_s)),
    swarm_tag=st.binary(min_size=8, max_size=8),
    addresses=st.lists(ADDRESSES, max_size=LIMITS.record_addresses).map(tuple),
    period=UNIX,
    vouchers=st.lists(st.binary(min_size=1, max_size=60), max_size=LIMITS.record_vouchers).map(tuple),
)
MESSAGES = st.lists(
    st.binary(min_size=1, max_size=LIMITS.record_bytes), min_size=1, max_size=HARD.shuffle_length
).map(lambda records: Records(tuple(records)))
PLAIN = PeerRecord(bytes(32), 1, 1000, 7200, bytes(8), (("192.0.2.1", 4000),), 100)


def fields_of(data):
    return decode_untrusted(data, max_bytes=MAX_MESSAGE_BYTES, where="test")


@given(RECORDS)
def test_round_trip_of_records(record):
    assert decode_record_untrusted(encode_record(record)) == record


@given(MESSAGES)
def test_round_trip_of_messages(message):
    assert decode_membership_message_untrusted(encode_membership_message(message)) == message


@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_only_what_they_may(data):
    for decode in (decode_record_untrusted, decode_membership_message_untrusted):
        with contextlib.suppress(RemoteProtocolError):
            decode(data)


@given(RECORDS, st.integers(0, 511), st.integers(1, 255))
def test_one_changed_byte_raises_only_what_it_may(record, position, change):
    data = bytearray(encode_record(record))
    data[position % len(data)] ^= change
    try:
        decoded = decode_record_untrusted(bytes(data))
    except RemoteProtocolError:
        return
    # An IPv4-mapped IPv6 address is another spelling of the IPv4 address, nothing else is.
    assert decoded != record or any(":" in host for host, _ in record.addresses)


@pytest.mark.req("C-022")
@given(st.integers(64, 2**32 - 1))
def test_an_unknown_key_from_64_up_is_ignored(key):
    assert decode_record_untrusted(encode(fields_of(encode_record(PLAIN)) | {key: 1})) == PLAIN
    message = Records((b"record",))
    fields = fields_of(encode_membership_message(message)) | {key: 1}
    assert decode_membership_message_untrusted(encode(fields)) == message


@pytest.mark.req("C-021")
@given(st.integers(8, 63))
def test_an_unknown_key_below_64_is_refused(key):
    with pytest.raises(RemoteProtocolError) as refused:
        decode_record_untrusted(encode(fields_of(encode_record(PLAIN)) | {key: 1}))
    assert refused.value.code is ErrorCode.E_SCHEMA
    with pytest.raises(RemoteProtocolError) as refused:
        decode_membership_message_untrusted(encode({0: 1, 1: [b"record"], key: 1}))
    assert refused.value.code is ErrorCode.E_SCHEMA


@pytest.mark.req("C-020", "M-011")
@pytest.mark.parametrize("key", range(8))
def test_a_record_needs_every_key(key):
    fields = fields_of(encode_record(PLAIN))
    del fields[key]
    with pytest.raises(RemoteProtocolError) as refused:
        decode_record_untrusted(encode(fields))
    assert refused.value.code is ErrorCode.E_SCHEMA


@pytest.mark.req("M-019")
def test_kinds():
    assert decode_membership_message_untrusted(encode({0: 64})) is None
    for reserved in (0, 2, 3, 63):
        with pytest.raises(RemoteProtocolError):
            decode_membership_message_untrusted(encode({0: reserved}))


@pytest.mark.req("L-002", "M-019")
@pytest.mark.parametrize(
    "records",
    [
        (),
        (b"",),
        (bytes(LIMITS.record_bytes + 1),),
        (b"record",) * (HARD.shuffle_length + 1),
    ],
    ids=["none", "empty", "too long", "too many"],
)
def test_a_message_out_of_bounds_is_neither_sent_nor_taken(records):
    with pytest.raises(LocalProtocolError):
        encode_membership_message(Records(records))
    with pytest.raises(RemoteProtocolError):
        decode_membership_message_untrusted(encode({0: 1, 1: records}))


@pytest.mark.parametrize(
    "change",
    [
        {"key": bytes(31)},
        {"seq": 2**63},
        {"ttl": 0},
        {"ttl": int(HARD.record_ttl_s) + 1},
        {"swarm_tag": bytes(7)},
        {"addresses": (("192.0.2.1", 4000),) * (LIMITS.record_addresses + 1)},
        {"addresses": (("0.0.0.0", 4000),)},
        {"addresses": (("name.example", 4000),)},
        {"vouchers": (b"v",) * (LIMITS.record_vouchers + 1)},
        {"vouchers": (bytes(LIMITS.record_bytes),)},
    ],
)
def test_a_record_out_of_bounds_is_not_sent(change):
    with pytest.raises(LocalProtocolError):
        encode_record(dataclasses.replace(PLAIN, **change))


def test_the_largest_record_leaves_room_for_its_signature():
    addresses = tuple((str(ipaddress.ip_address((0x20010DB8 << 96) + i)), 65535) for i in range(8))
    record = dataclasses.replace(
        PLAIN, addresses=addresses, seq=2**63 - 1, issued=2**53 - 1, period=2**53 - 1
    )
    cose_overhead = 1 + 1 + 4 + 1 + 3 + 2 + 64
    assert len(encode_record(record)) + cose_overhead <= LIMITS.record_bytes
    assert record.expires == record.issued + 7200
