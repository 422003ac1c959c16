"""The codec of the manifest handshake: exact, bounded, and open for what comes later."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.wire.cbor import decode_untrusted, encode
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from quinkgl.wire.limits import HARD
from quinkgl.wire.messages.manifest import (
    MAX_MESSAGE_BYTES,
    Agree,
    Hello,
    Refuse,
    Terms,
    decode_manifest_message_untrusted,
    encode_manifest_message,
)

ASCII = st.characters(min_codepoint=32, max_codepoint=126)
SHAPES = st.lists(st.integers(1, 2**32 - 1), max_size=16).map(tuple)
TERMS = st.builds(
    Terms,
    swarm_id=st.binary(min_size=32, max_size=32),
    schema_version=st.integers(0, 255),
    arch_hash=st.text(ASCII, max_size=128),
    input_shape=SHAPES,
    output_shape=SHAPES,
    aggregation=st.text(ASCII, max_size=64),
    topology=st.text(ASCII, max_size=64),
    compression_enabled=st.booleans(),
    byzantine_f=st.integers(0, 65535),
    expires_unix=st.none() | st.integers(0, 2**53 - 1),
    max_object_bytes=st.integers(1, HARD.object_bytes),
    features=st.lists(st.text(ASCII, max_size=32), max_size=32, unique=True).map(lambda f: tuple(sorted(f))),
)
MESSAGES = st.one_of(
    st.builds(Hello, terms=TERMS, initiator=st.booleans()),
    st.just(Agree()),
    st.builds(
        Refuse,
        code=st.integers(0, 65535),
        field=st.text(ASCII, max_size=32),
        reason=st.text(ASCII, max_size=64),
    ),
)
PLAIN = Terms(bytes(32), 3, "sha256:0", (64,), (10,), "FedAvg", "Random", False, 0, None, 1000, ("a", "b"))


def fields_of(message):
    return decode_untrusted(encode_manifest_message(message), max_bytes=MAX_MESSAGE_BYTES, where="test")


@given(MESSAGES)
def test_round_trip(message):
    data = encode_manifest_message(message)
    assert len(data) <= MAX_MESSAGE_BYTES
    assert decode_manifest_message_untrusted(data) == message


@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_only_what_they_may(data):
    with contextlib.suppress(RemoteProtocolError):
        decode_manifest_message_untrusted(data)


@given(MESSAGES, st.integers(0, 4095), st.integers(1, 255))
def test_one_changed_byte_raises_only_what_it_may(message, position, change):
    data = bytearray(encode_manifest_message(message))
    data[position % len(data)] ^= change
    try:
        decoded = decode_manifest_message_untrusted(bytes(data))
    except RemoteProtocolError:
        return
    assert decoded != message


@pytest.mark.req("C-022")
@given(MESSAGES, st.integers(64, 2**32 - 1))
def test_an_unknown_key_from_64_up_is_ignored(message, key):
    fields = fields_of(message) | {key: b"grease"}
    if len(encode(fields)) <= MAX_MESSAGE_BYTES:
        assert decode_manifest_message_untrusted(encode(fields)) == message


@pytest.mark.req("C-021")
@given(MESSAGES, st.integers(14, 63))
def test_an_unknown_key_below_64_is_refused(message, key):
    with pytest.raises(RemoteProtocolError) as refused:
        decode_manifest_message_untrusted(encode(fields_of(message) | {key: 0}))
    assert refused.value.code in (ErrorCode.E_SCHEMA, ErrorCode.E_TOO_BIG)


@pytest.mark.req("C-020")
@given(MESSAGES, st.data())
def test_a_missing_key_is_refused(message, data):
    fields = fields_of(message)
    key = data.draw(st.sampled_from(sorted(set(fields) - {13})))
    del fields[key]
    with pytest.raises(RemoteProtocolError) as refused:
        decode_manifest_message_untrusted(encode(fields))
    assert refused.value.code is ErrorCode.E_SCHEMA


@pytest.mark.req("H-004")
def test_kinds():
    assert decode_manifest_message_untrusted(encode({0: 64, 1: b"later"})) is None
    for reserved in (0, 4, 5, 63):
        with pytest.raises(RemoteProtocolError):
            decode_manifest_message_untrusted(encode({0: reserved}))


@pytest.mark.req("H-003")
@pytest.mark.parametrize("features", [["b", "a"], ["a", "a"]])
def test_features_must_ascend(features):
    with pytest.raises(RemoteProtocolError) as refused:
        decode_manifest_message_untrusted(encode(fields_of(Hello(PLAIN, True)) | {12: features}))
    assert refused.value.code is ErrorCode.E_SCHEMA


def test_features_are_sent_in_ascending_order():
    unsorted = dataclasses.replace(PLAIN, features=("b", "a"))
    assert encode_manifest_message(Hello(unsorted, True)) == encode_manifest_message(Hello(PLAIN, True))


@pytest.mark.parametrize(
    "change",
    [
        {"swarm_id": bytes(31)},
        {"schema_version": 256},
        {"arch_hash": "x" * 129},
        {"input_shape": (0,)},
        {"output_shape": (1,) * 17},
        {"aggregation": "x" * 65},
        {"byzantine_f": -1},
        {"expires_unix": 2**53},
        {"max_object_bytes": 0},
        {"max_object_bytes": HARD.object_bytes + 1},
        {"features": tuple(f"f{i:02}" for i in range(33))},
        {"features": ("x" * 33,)},
        {"topology": "e\N{COMBINING ACUTE ACCENT}"},
    ],
)
def test_terms_out_of_bounds_are_not_sent(change):
    with pytest.raises(LocalProtocolError):
        encode_manifest_message(Hello(dataclasses.replace(PLAIN, **change), True))
