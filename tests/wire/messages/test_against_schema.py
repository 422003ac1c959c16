"""The codecs and the schemas say the same, in both directions, of every family of messages.

What a schema allows the decoder takes, and what it forbids the decoder refuses; what an encoder makes of any
fields whatever, the schema allows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quinkgl.crypto.cose import decode_sign1_untrusted
from quinkgl.testing.cddl import Tagged, decode_tagged_untrusted, load_schema
from quinkgl.testing.strategies import (
    families,
    invalid_messages,
    message_values,
    misencoded_messages,
    unknown_kinds,
)
from quinkgl.wire.cbor import decode_untrusted, encode
from quinkgl.wire.control import Channel
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from quinkgl.wire.limits import CONSTANTS, HARD, LIMITS
from quinkgl.wire.messages import (
    exchange,
    fetch,
    fingerprint,
    gossip,
    manifest,
    membership,
    objects,
    secrets,
    session,
)
from quinkgl.wire.spec_data import load

Codec = tuple[Callable[[Any], bytes], Callable[[bytes], Any]]

CODECS: dict[str, Codec] = {
    "objects": (objects.encode_object_message, objects.decode_object_message_untrusted),
    "manifest": (manifest.encode_manifest_message, manifest.decode_manifest_message_untrusted),
    "fetch": (fetch.encode_fetch_message, fetch.decode_fetch_message_untrusted),
    "membership": (membership.encode_membership_message, membership.decode_membership_message_untrusted),
    "gossip": (gossip.encode_gossip_message, gossip.decode_gossip_message_untrusted),
    "fingerprint": (fingerprint.encode_fingerprint_message, fingerprint.decode_fingerprint_message_untrusted),
    "session": (secrets.encode_exchange_message, secrets.decode_exchange_message_untrusted),
    "exchange": (exchange.encode_exchange_message, exchange.decode_exchange_message_untrusted),
    "handshake-payload": (session.encode_handshake_payload, session.decode_handshake_payload_untrusted),
    "peer-record": (membership.encode_record, membership.decode_record_untrusted),
    "update-header": (gossip.encode_update_header, gossip.decode_update_header_untrusted),
    "statement": (fingerprint.encode_statement, fingerprint.decode_statement_untrusted),
}
FAMILIES = sorted(CODECS)
WITH_KINDS = [name for name in FAMILIES if families()[name].channel is not None]
EXAMPLES = settings(max_examples=settings.default.max_examples // 3)


def test_every_family_has_its_codec_and_every_channel_its_family():
    assert CODECS.keys() == families().keys()
    assert {family.channel for family in families().values()} - {None} == set(load("registries/channels"))


def known(family: str, value: dict[int, Any]) -> dict[int, Any]:
    """The value without what a receiver leaves out; a map for somebody else keeps its keys."""
    fields = {key: item for key, item in value.items() if key < CONSTANTS.first_ignorable_key}
    if family == "handshake-payload":
        fields[2] = {
            3: 0,
            **known("", fields[2]),
        }  # key 3 counts as 0 where it is left out, and is always sent
    if family == "fetch" and fields[0] == 3:
        fields[2] = ""  # a refusal to fetch names no term
    return fields


@pytest.mark.req("C-022", "C-009")
@pytest.mark.parametrize("family", FAMILIES)
@EXAMPLES
@given(data=st.data())
def test_what_the_schema_allows_is_taken_and_made_again(family, data):
    value = data.draw(message_values(family))
    encoder, decoder = CODECS[family]
    message = decoder(encode(value))
    assert message is not None
    assert encoder(message) == encode(known(family, value))


@pytest.mark.req("C-020", "C-021", "C-041")
@pytest.mark.parametrize("family", FAMILIES)
@EXAMPLES
@given(data=st.data())
def test_what_the_schema_forbids_is_refused(family, data):
    invalid = data.draw(invalid_messages(family))
    with pytest.raises(RemoteProtocolError) as refused:
        CODECS[family][1](invalid.data)
    expected = {ErrorCode.E_SCHEMA}
    if family == "handshake-payload":
        expected.add(ErrorCode.E_HS_PARAMS)  # for transport parameters out of range (section 5.5)
    assert refused.value.code in expected, invalid


@pytest.mark.req("C-002", "C-003", "C-004", "C-005", "C-006")
@pytest.mark.parametrize("family", FAMILIES)
@EXAMPLES
@given(data=st.data())
def test_another_encoding_is_refused(family, data):
    misencoded = data.draw(misencoded_messages(family))
    with pytest.raises(RemoteProtocolError) as refused:
        CODECS[family][1](misencoded.data)
    assert refused.value.code is misencoded.code


@pytest.mark.parametrize("family", WITH_KINDS)
@EXAMPLES
@given(data=st.data())
def test_unknown_kinds_pass_where_the_family_says_so(family, data):
    message = data.draw(unknown_kinds(family))
    if families()[family].ignores_unknown_kinds:
        assert CODECS[family][1](message) is None
        return
    with pytest.raises(RemoteProtocolError) as refused:
        CODECS[family][1](message)
    assert refused.value.code is ErrorCode.E_SCHEMA


@pytest.mark.req("C-010")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_message_has_the_largest_size_that_the_data_file_gives(family):
    most = families()[family].most_bytes
    with pytest.raises(RemoteProtocolError) as refused:
        CODECS[family][1](bytes(most + 1))
    assert refused.value.code is ErrorCode.E_TOO_BIG
    with pytest.raises(RemoteProtocolError) as refused:
        CODECS[family][1](bytes(most))
    assert refused.value.code is not ErrorCode.E_TOO_BIG


# --- encoders ---

ODD_VALUES = st.one_of(
    st.sampled_from([-1, 0, 1, 255, 256, 1 << 16, 1 << 32, (1 << 32) + 1, 1 << 53, 1 << 63, (1 << 64) - 1]),
    st.sampled_from([0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 65, 512, 513, 4097, 16385]).map(bytes),
    st.sampled_from([0, 1, 31, 32, 33, 64, 65, 128, 129, 257]).map(lambda size: "a" * size),
    st.sampled_from([True, None, (), ((5, 5),), ((0, 5), (5, 9)), (("::", 1),), (("192.0.2.1", 0),)]),
    st.sampled_from([{}, dict.fromkeys(range(17), 0), {0: None}, {0: {}}, (bytes(513),), ("b", "a"), 1.5]),
)


def odd(message: Any, data: st.DataObject) -> Any:
    """A message with one field replaced; where that is a dataclass of its own, maybe inside it."""
    name = data.draw(st.sampled_from([field.name for field in dataclasses.fields(message)]))
    value = getattr(message, name)
    if dataclasses.is_dataclass(value) and data.draw(st.booleans()):
        return dataclasses.replace(message, **{name: odd(value, data)})
    return dataclasses.replace(message, **{name: data.draw(ODD_VALUES)})


@pytest.mark.req("C-009")
@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "handshake-payload"])
@EXAMPLES
@given(data=st.data())
def test_no_encoder_makes_what_the_schema_forbids(family, data):
    """Whatever the fields: they are refused here, or every receiver takes the bytes for a message.

    Not the handshake payload: it is made while a datagram is answered, of fields that the node has checked.
    """
    encoder, decoder = CODECS[family]
    message = decoder(encode(data.draw(message_values(family))))
    if not dataclasses.fields(message):
        return
    try:
        message = odd(message, data)
        encoded = encoder(message)
    except (LocalProtocolError, TypeError, AttributeError, ValueError):
        return  # a wrong type has no meaning to an encoder; it makes no bytes of it
    value = decode_untrusted(encoded, max_bytes=families()[family].most_bytes, where="a message")
    assert families()[family].schema.fault(families()[family].rule, value) is None
    decoder(encoded)


# --- what else the schema files hold ---

COSE = load_schema("common")


@EXAMPLES
@given(payload=st.binary(max_size=400), signature=st.binary(min_size=64, max_size=64))
def test_the_envelope_is_the_one_that_the_schema_gives(payload, signature):
    envelope = b"\xd2" + encode([bytes.fromhex("a10127"), {}, payload, signature])
    assert COSE.fault("cose-sign1", decode_tagged_untrusted(envelope)) is None
    assert decode_sign1_untrusted(envelope, max_bytes=512).payload == payload


@EXAMPLES
@given(
    changed=st.sampled_from(
        [(0, b""), (0, b"\xa1\x01\x26"), (1, {1: 1}), (1, []), (2, None), (3, bytes(63)), (3, "")]
    )
)
def test_another_envelope_is_refused_by_both(changed):
    parts: list[Any] = [bytes.fromhex("a10127"), {}, b"payload", bytes(64)]
    parts[changed[0]] = changed[1]
    assert COSE.fault("cose-sign1", Tagged(18, parts)) is not None
    with pytest.raises(RemoteProtocolError):
        decode_sign1_untrusted(b"\xd2" + encode(parts), max_bytes=512)


BOUNDS = [
    ("common", "reason", LIMITS.reason_bytes),
    ("gossip", "signed-header", LIMITS.header_bytes),
    ("membership", "signed-record", LIMITS.record_bytes),
]


@pytest.mark.parametrize(("name", "rule", "bound"), BOUNDS, ids=str)
def test_the_bound_of_a_schema_is_the_limit(name, rule, bound):
    schema = load_schema(name)
    text = name == "common"
    size: Any = "a" if text else b"a"
    assert schema.fault(rule, size * bound) is None
    assert schema.fault(rule, size * (bound + 1)) is not None


def test_numbers_in_the_schemas_are_those_of_the_limits():
    """Each limit that a schema file repeats, at the place where it stands."""

    def member(name: str, message: str, key: int) -> Any:
        schema = load_schema(name)
        found = schema.resolve(schema.rule(message))
        return schema.resolve(found.fields[key].value)  # type: ignore[union-attr]

    assert member("objects", "offer", 3).high == HARD.object_bytes
    assert member("objects", "offer", 4).most == LIMITS.header_bytes
    assert member("objects", "offer", 5).most == LIMITS.unsolicited_bytes
    assert member("objects", "want", 2).bounds() == (2, 2 * HARD.want_ranges)
    assert member("manifest", "hello", 11).high == HARD.object_bytes
    assert member("manifest", "get", 2).high == HARD.manifest_bytes - 1
    assert member("manifest", "piece", 2).high == HARD.manifest_bytes
    assert member("manifest", "piece", 3).most == CONSTANTS.manifest_piece_bytes
    assert member("membership", "records", 1).bounds() == (1, HARD.shuffle_length)
    assert member("membership", "peer-record", 3).high == HARD.record_ttl_s
    assert member("membership", "peer-record", 5).bounds() == (0, LIMITS.record_addresses)
    assert member("membership", "peer-record", 6).bounds() == (0, LIMITS.record_vouchers)
    assert member("gossip", "update-header", 4).high == HARD.object_bytes
    assert member("gossip", "update-header", 13).bounds() == (1, LIMITS.update_objects)
    assert member("fingerprint", "answer", 2).most == HARD.fingerprint_bytes
    assert member("fingerprint", "request", 1).most == CONSTANTS.fingerprint_nonce_bytes
    assert member("exchange", "exchange-offer", 4).high == HARD.object_bytes
    assert member("exchange", "exchange-offer", 6).high == HARD.exchange_lateness
    assert member("session", "transport-parameters", 1).low == LIMITS.init_min_datagram_bytes
    assert member("session", "transport-parameters", 1).high == LIMITS.max_datagram_bytes
    assert member("session", "transport-parameters", 4).most == CONSTANTS.stateless_reset_token_bytes


def test_the_channels_are_those_of_the_families():
    codes = {entry["code"] for entry in load("registries/channels").values()}
    assert codes == set(Channel)
