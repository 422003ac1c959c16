"""Packets: what a first byte announces, the layout of long packets, and what a receiver refuses."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.limits import CONSTANTS, LIMITS
from quinkgl.wire.packets import (
    BULK_HEADER,
    BULK_OVERHEAD_BYTES,
    CONNECTION_ID_BYTES,
    LONG_HEADER_BYTES,
    MAC_BYTES,
    SHORT_HEADER,
    SHORT_OVERHEAD_BYTES,
    TAG_BYTES,
    VERSION,
    LongPacket,
    LongType,
    PacketForm,
    decode_long_untrusted,
    encode_init,
    encode_long,
    packet_form,
)
from quinkgl.wire.spec_data import load

IDS = st.binary(min_size=CONNECTION_ID_BYTES, max_size=CONNECTION_ID_BYTES)
MACS = st.binary(min_size=MAC_BYTES, max_size=MAC_BYTES)
VERSIONS = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=16).map(tuple)
DESTINATION, SOURCE = b"destinat", b"source.."


def init(noise=b"m" * 48, *, versions=(VERSION,), version=VERSION, mac=bytes(MAC_BYTES)):
    head, tail = encode_init(
        version=version, destination_id=DESTINATION, source_id=SOURCE, versions=versions, noise=noise
    )
    return head + mac + bytes(MAC_BYTES) + tail


def resp(noise=b"m" * 100, *, version=VERSION):
    return encode_long(
        LongType.RESP, version=version, destination_id=DESTINATION, source_id=SOURCE, noise=noise
    )


def refusal(data: bytes) -> ErrorCode:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_long_untrusted(data)
    return caught.value.code


def changed(data: bytes, position: int, value: int) -> bytes:
    return data[:position] + bytes([value]) + data[position + 1 :]


# What a first byte announces


@pytest.mark.req("P-002", "V-002")
@given(st.integers(0, 255), st.binary(max_size=4))
def test_the_form_follows_from_the_first_byte_alone(first, rest):
    form = packet_form(bytes([first]) + rest)
    if not first & 0x40:
        assert form is PacketForm.FOREIGN
    elif first & 0x80:
        assert form is PacketForm.LONG
    elif first & 0x08:
        assert form is PacketForm.FOREIGN
    else:
        assert form is (PacketForm.BULK if first & 0x10 else PacketForm.FRAMES)


@pytest.mark.req("V-002")
def test_an_empty_datagram_is_foreign():
    assert packet_form(b"") is PacketForm.FOREIGN


@pytest.mark.req("V-002")
def test_other_protocols_on_the_socket_are_foreign():
    ipv8, stun, dtls = b"\x00\x02", b"\x01\x01", b"\x16\xfe"
    assert {packet_form(data) for data in (ipv8, stun, dtls)} == {PacketForm.FOREIGN}


def test_types_are_those_of_the_registry():
    registry = load("registries/packets")
    long_types = {entry["code"] for entry in registry.values() if entry["form"] == "long"}
    assert long_types == set(LongType)


def test_sizes_are_those_of_the_format():
    assert CONSTANTS.connection_id_bytes == CONNECTION_ID_BYTES
    assert LONG_HEADER_BYTES == 1 + 4 + 8 + 8
    assert SHORT_OVERHEAD_BYTES == SHORT_HEADER.size + TAG_BYTES == 1 + 8 + 8 + 16
    assert BULK_OVERHEAD_BYTES == BULK_HEADER.size + TAG_BYTES == 1 + 8 + 8 + 4 + 8 + 16


# Layout


@pytest.mark.req("S-010", "V-003", "V-007", "V-010", "W-010")
def test_layout_of_an_init():
    data = init(b"m" * 48, versions=(1, 0x1A2A3A4A), mac=b"M" * MAC_BYTES)
    assert len(data) == LIMITS.init_min_datagram_bytes
    assert data[:21] == b"\xc0" + bytes.fromhex("00000001") + DESTINATION + SOURCE
    assert data[21:53] == b"M" * 16 + bytes(16)
    assert data[53:62] == bytes.fromhex("02 00000001 1a2a3a4a")
    assert data[62:64] == bytes([0, 48])
    assert data[64:112] == b"m" * 48
    assert not any(data[112:])


@pytest.mark.req("V-003", "W-010")
def test_layout_of_resp_and_fin():
    for type_, first in ((LongType.RESP, 0xC1), (LongType.FIN, 0xC2)):
        data = encode_long(type_, version=1, destination_id=DESTINATION, source_id=SOURCE, noise=b"abc")
        assert data == bytes([first]) + bytes.fromhex("00000001") + DESTINATION + SOURCE + b"\x00\x03abc"


@given(IDS, IDS, VERSIONS, st.binary(max_size=1500), MACS, MACS)
def test_init_round_trip(destination, source, versions, noise, mac1, mac2):
    head, tail = encode_init(
        version=VERSION, destination_id=destination, source_id=source, versions=versions, noise=noise
    )
    data = head + mac1 + mac2 + tail
    packet = decode_long_untrusted(data)
    assert packet == LongPacket(
        LongType.INIT,
        VERSION,
        destination,
        source,
        noise,
        mac1=mac1,
        mac2=mac2,
        versions=versions,
    )
    assert len(data) >= LIMITS.init_min_datagram_bytes
    assert decode_long_untrusted(memoryview(data)) == packet


@given(st.sampled_from([LongType.RESP, LongType.FIN]), IDS, IDS, st.binary(max_size=1500))
def test_resp_and_fin_round_trip(type_, destination, source, noise):
    data = encode_long(type_, version=VERSION, destination_id=destination, source_id=source, noise=noise)
    assert packet_form(data) is PacketForm.LONG
    assert decode_long_untrusted(data) == LongPacket(type_, VERSION, destination, source, noise)


# What is refused


@pytest.mark.req("P-001", "P-010", "S-013", "V-007")
@pytest.mark.parametrize(
    "data",
    [
        init()[: LIMITS.init_min_datagram_bytes - 1],
        changed(init(), -1, 1),
        changed(init(), 0, 0xC0 | 0x10),
        changed(init(), 0, 0xC0 | LongType.COOKIE),
        changed(init(), 0, 0xC0 | LongType.VERSION_NEGOTIATION),
        changed(init(), 0, 0xCF),
        changed(init(), 53, 0),
        changed(init(), 53, 17),
        changed(init(), 58, 0xFF),
        resp()[:22],
        resp()[:-1],
        resp() + b"\x00",
        b"\xc1",
    ],
    ids=[
        "short init",
        "padding",
        "reserved bits",
        "cookie",
        "version negotiation",
        "unknown type",
        "no version",
        "too many versions",
        "noise beyond the end",
        "cut in the header",
        "cut in the message",
        "bytes after the message",
        "one byte",
    ],
)
def test_malformed_long_packets(data):
    assert refusal(data) is ErrorCode.E_PROTOCOL


@pytest.mark.req("S-074")
def test_other_versions_have_a_code_of_their_own():
    assert refusal(init(version=2)) is ErrorCode.E_VERSION
    assert refusal(resp(version=0)) is ErrorCode.E_VERSION


@given(st.binary(max_size=1300))
def test_arbitrary_bytes_raise_only_remote_protocol_error(data):
    with contextlib.suppress(RemoteProtocolError):
        decode_long_untrusted(data)


@given(st.data())
def test_a_mutated_packet_raises_only_remote_protocol_error(data):
    original = bytearray(data.draw(st.sampled_from([init(), resp()])))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, min(len(original), 130) - 1))
        original[position] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(original)))
    for datagram in (bytes(original), bytes(original[:cut])):
        with contextlib.suppress(RemoteProtocolError):
            decode_long_untrusted(datagram)


@pytest.mark.parametrize("first", [0x00, 0x40, 0x80])
@pytest.mark.parametrize("packet", [init(), resp()], ids=["init", "resp"])
def test_only_what_has_the_long_form_is_read_as_a_long_packet(packet, first):
    assert refusal(changed(packet, 0, first | packet[0] & 0x0F)) is ErrorCode.E_PROTOCOL
