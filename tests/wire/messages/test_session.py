"""The handshake payload: round trip, ranges of the parameters, and what is refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.wire.cbor import decode_untrusted, encode
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.messages.session import (
    HandshakePayload,
    PostQuantum,
    TransportParameters,
    decode_handshake_payload_untrusted,
    encode_handshake_payload,
)

MILLISECONDS = st.integers(1000, 600_000)
PARAMETERS = st.builds(
    TransportParameters,
    idle_timeout_s=MILLISECONDS.map(lambda ms: ms / 1000),
    max_datagram_bytes=st.integers(LIMITS.init_min_datagram_bytes, LIMITS.max_datagram_bytes),
    max_ack_delay_s=st.integers(0, 1000).map(lambda ms: ms / 1000),
    pq=st.sampled_from(PostQuantum),
    reset_token=st.just(b"") | st.binary(min_size=16, max_size=16),
)
ADDRESSES = st.sampled_from([("192.0.2.1", 1), ("2001:db8::1", 65535)])
PAYLOADS = st.builds(
    HandshakePayload,
    peer_id=st.binary(min_size=32, max_size=32),
    signature=st.binary(min_size=64, max_size=64),
    parameters=PARAMETERS,
    connection_id=st.binary(min_size=8, max_size=8),
    record=st.binary(max_size=LIMITS.record_bytes),
    observed_address=st.none() | ADDRESSES,
)
LARGEST = HandshakePayload(
    b"\xff" * 32,
    b"\xff" * 64,
    TransportParameters(reset_token=b"\xff" * 16),
    b"\xff" * 8,
    b"\xff" * LIMITS.record_bytes,
    ("2001:db8::1", 65535),
)


def fields_of(payload: HandshakePayload) -> dict:
    return decode_untrusted(encode_handshake_payload(payload), max_bytes=2000, where="test")


def refusal(fields: dict) -> ErrorCode:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_handshake_payload_untrusted(encode(fields))
    return caught.value.code


@given(PAYLOADS)
def test_round_trip(payload):
    assert decode_handshake_payload_untrusted(encode_handshake_payload(payload)) == payload


@pytest.mark.req("S-028")
def test_empty_fields_are_left_out():
    bare = HandshakePayload(bytes(32), bytes(64), TransportParameters(), bytes(8))
    assert sorted(fields_of(bare)) == [0, 1, 2, 5]
    assert sorted(fields_of(LARGEST)) == [0, 1, 2, 3, 4, 5]


@pytest.mark.req("P-011", "S-024")
def test_the_largest_payload_fits():
    assert len(encode_handshake_payload(LARGEST)) <= LIMITS.handshake_payload_bytes


@pytest.mark.req("S-021")
@pytest.mark.parametrize(
    "parameters",
    [
        {0: 999, 1: 1200, 2: 25},
        {0: 600_001, 1: 1200, 2: 25},
        {0: 60_000, 1: 1199, 2: 25},
        {0: 60_000, 1: LIMITS.max_datagram_bytes + 1, 2: 25},
        {0: 60_000, 1: 1200, 2: 1001},
        {0: 60_000, 1: 1200, 2: 25, 3: 3},
    ],
)
def test_parameters_out_of_range(parameters):
    assert refusal({**fields_of(LARGEST), 2: parameters}) is ErrorCode.E_HS_PARAMS


@pytest.mark.req("S-021")
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {0: 60_000, 1: 1200},
        {0: 60_000, 1: 1200, 2: -1},
        {0: 60_000, 1: 1200, 2: 25, 4: b""},
        {0: 60_000, 1: 1200, 2: 25, 4: bytes(15)},
        {0: 60_000, 1: 1200, 2: 25, 5: 0},
    ],
)
def test_parameters_that_do_not_fit_the_schema(parameters):
    assert refusal({**fields_of(LARGEST), 2: parameters}) is ErrorCode.E_SCHEMA


@pytest.mark.req("S-028")
def test_parameters_that_may_be_missing_have_their_plain_meaning():
    fields = {**fields_of(LARGEST), 2: {0: 60_000, 1: 1200, 2: 25}}
    parameters = decode_handshake_payload_untrusted(encode(fields)).parameters
    assert parameters.pq == PostQuantum.NO
    assert parameters.reset_token == b""


@pytest.mark.req("C-022")
def test_parameters_of_a_later_version_are_ignored():
    fields = fields_of(LARGEST)
    fields[2][64] = b"grease"
    fields[100] = 1
    assert decode_handshake_payload_untrusted(encode(fields)) == LARGEST


@pytest.mark.req("S-021")
@pytest.mark.parametrize(
    "change",
    [
        {0: bytes(31)},
        {1: bytes(63)},
        {2: 5},
        {3: b""},
        {3: bytes(LIMITS.record_bytes + 1)},
        {4: bytes(5)},
        {4: bytes(6)},
        {5: 0},
    ],
)
def test_other_fields_that_do_not_fit_the_schema(change):
    assert refusal({**fields_of(LARGEST), **change}) is ErrorCode.E_SCHEMA


@pytest.mark.req("S-024")
def test_a_payload_over_the_limit():
    fields = {**fields_of(LARGEST), 64: bytes(LIMITS.handshake_payload_bytes)}
    assert refusal(fields) is ErrorCode.E_TOO_BIG


@pytest.mark.parametrize(
    "wrong",
    [
        {"idle_timeout_s": 0.5},
        {"idle_timeout_s": 601.0},
        {"max_datagram_bytes": 1000},
        {"max_datagram_bytes": 70_000},
        {"max_ack_delay_s": -0.1},
        {"max_ack_delay_s": 1.5},
        {"pq": 3},
        {"reset_token": bytes(8)},
    ],
)
def test_nobody_is_made_to_send_parameters_that_peers_refuse(wrong):
    with pytest.raises(LocalProtocolError) as caught:
        TransportParameters(**wrong)
    assert caught.value.code is ErrorCode.E_USAGE


@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_only_remote_protocol_error(data):
    with contextlib.suppress(RemoteProtocolError):
        decode_handshake_payload_untrusted(data)


@given(PAYLOADS, st.data())
def test_mutated_bytes_raise_only_remote_protocol_error(payload, data):
    encoded = bytearray(encode_handshake_payload(payload))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(RemoteProtocolError):
        decode_handshake_payload_untrusted(bytes(encoded))


@pytest.mark.parametrize("extension", [None, {1: 2}, [{0: None}], dict.fromkeys(range(20), 0)], ids=str)
@pytest.mark.req("C-022")
def test_parameters_of_a_later_version_are_ignored_whatever_they_hold(extension):
    """Key 2 is not a map for somebody else: its keys from 64 on may have any value."""
    fields = fields_of(LARGEST)
    fields[2][64] = extension
    assert decode_handshake_payload_untrusted(encode(fields)) == LARGEST


@pytest.mark.req("C-022")
def test_any_number_of_parameters_of_a_later_version_is_ignored():
    fields = fields_of(LARGEST)
    fields[2].update(dict.fromkeys(range(64, 96), 0))
    assert decode_handshake_payload_untrusted(encode(fields)) == LARGEST
