"""Packets: the outermost bytes of every datagram (spec chapter 6).

Two shapes share the socket with other protocols: *long* packets (``11......``) carry the handshake, *short*
packets (``01......``) carry everything after it. Bit 6 is always set, so a datagram of another protocol on
the same socket (one that begins ``0x00``, say) is told apart by its first byte alone.

A short packet is either a *frame* packet or a *bulk* packet. The whole header of a bulk packet is in the
clear and is associated data of its AEAD, and its body is one chunk of one object: headers of a run of bulk
packets form an array of fixed-size records that can be built and read at once.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.limits import LIMITS

VERSION = 1
CONNECTION_ID_BYTES = 8
MAC_BYTES = 16
TAG_BYTES = 16

_FORM_MASK = 0xC0
_LONG = 0xC0
SHORT_FORM = 0x40
"""The two highest bits of every short packet's first byte."""
_LONG_RESERVED = 0x30
FIRST_BYTE_OF_INIT = _LONG
"""Of a packet that opens a session, in every version (spec V-010)."""
FIRST_BYTE_OF_FIN = _LONG | 0x02
FIRST_BYTE_OF_VERSION_NEGOTIATION = _LONG | 0x04
_TYPE_MASK = 0x0F

KEY_PHASE_BIT = 0x20
BULK_BIT = 0x10
MASKED_BIT = 0x08
"""Reserved for a later, header-protected form; a version 1 receiver drops packets that set it."""
GREASE_MASK = 0x07

_LONG_HEADER = struct.Struct(">BI8s8s")
_LENGTH = struct.Struct(">H")
SHORT_HEADER = struct.Struct(">B8sQ")
"""First byte, destination connection id, packet number."""
BULK_HEADER = struct.Struct(">B8sQIQ")
"""First byte, destination connection id, packet number, transfer, offset."""

LONG_HEADER_BYTES = _LONG_HEADER.size
DESTINATION_ID_OF_LONG = slice(5, 13)
SOURCE_ID_OF_LONG = slice(13, 21)
SHORT_OVERHEAD_BYTES = SHORT_HEADER.size + TAG_BYTES
BULK_OVERHEAD_BYTES = BULK_HEADER.size + TAG_BYTES

_MACS_END = LONG_HEADER_BYTES + 2 * MAC_BYTES
MAX_VERSIONS = 16
"""Versions that one INIT offers, GREASE included; also those in one answer to an unknown version."""
NO_VERSION = 0
"""Stands in the version field of a packet that belongs to no version: the list of those that are spoken."""
COOKIE_NONCE_BYTES = 16
SEALED_COOKIE_BYTES = 16 + TAG_BYTES
_NO_ID = bytes(CONNECTION_ID_BYTES)
_GREASE = 0x0A0A0A0A


class PacketForm(IntEnum):
    """What a first byte announces."""

    FOREIGN = 0
    """Not ours: another protocol's datagram on a shared socket, or noise."""
    LONG = 1
    FRAMES = 2
    BULK = 3


class LongType(IntEnum):
    """Types of long packets (``spec/registries/packets.toml``)."""

    INIT = 0
    RESP = 1
    FIN = 2
    COOKIE = 3
    VERSION_NEGOTIATION = 4


def _form_of(first: int) -> PacketForm:
    form = first & _FORM_MASK
    if form == _LONG:
        return PacketForm.LONG
    if form == SHORT_FORM and not first & MASKED_BIT:
        return PacketForm.BULK if first & BULK_BIT else PacketForm.FRAMES
    return PacketForm.FOREIGN


_FORMS = tuple(map(_form_of, range(256)))


def packet_form(data: bytes | memoryview) -> PacketForm:
    """Tell what a datagram is from its first byte; an empty datagram is foreign [V-002, P-002]."""
    return _FORMS[data[0]] if data else PacketForm.FOREIGN


_ANSWERS = {kind.value: kind for kind in (LongType.RESP, LongType.FIN)}
"""The long packets that are a handshake message and nothing else, by the lower half of their first byte."""


class LongPacket(NamedTuple):
    """A handshake packet (spec 6.2).

    ``mac1``, ``mac2`` and ``versions`` belong to INIT alone and are empty elsewhere. The ``noise`` of a
    COOKIE is its nonce and the sealed cookie.
    """

    type: LongType
    version: int
    destination_id: bytes
    source_id: bytes
    noise: bytes
    mac1: bytes = b""
    mac2: bytes = b""
    versions: tuple[int, ...] = ()


def encode_init(
    *, version: int, destination_id: bytes, source_id: bytes, versions: tuple[int, ...], noise: bytes
) -> tuple[bytes, bytes]:
    """Build an INIT without its MACs [V-003, V-007, S-010].

    The bytes before them and the bytes after them, padded to the minimum size.

    The two parts are exactly what ``mac1`` is computed over; the datagram is ``head + mac1 + mac2 + tail``.
    """
    head = _LONG_HEADER.pack(_LONG | LongType.INIT, version, destination_id, source_id)
    offered = struct.pack(f">B{len(versions)}I", len(versions), *versions)
    tail = offered + _LENGTH.pack(len(noise)) + noise
    padding = LIMITS.init_min_datagram_bytes - _MACS_END - len(tail)
    return head, tail + bytes(max(0, padding))


def encode_long(
    type_: LongType, *, version: int, destination_id: bytes, source_id: bytes, noise: bytes
) -> bytes:
    """Build a RESP or FIN packet around a Noise message [V-003]."""
    return (
        _LONG_HEADER.pack(_LONG | type_, version, destination_id, source_id)
        + _LENGTH.pack(len(noise))
        + noise
    )


def encode_cookie(*, version: int, destination_id: bytes, nonce: bytes, sealed: bytes) -> bytes:
    """Build a COOKIE: nobody has chosen an id for the session that it may lead to."""
    return _LONG_HEADER.pack(_LONG | LongType.COOKIE, version, destination_id, _NO_ID) + nonce + sealed


def encode_version_negotiation(
    *, destination_id: bytes, source_id: bytes, versions: tuple[int, ...]
) -> bytes:
    """Build the list of versions that answers a packet of another one (spec 1.6, in every version)."""
    head = _LONG_HEADER.pack(_LONG | LongType.VERSION_NEGOTIATION, NO_VERSION, destination_id, source_id)
    return head + struct.pack(f">B{len(versions)}I", len(versions), *versions)


def decode_version_negotiation_untrusted(data: bytes | memoryview) -> tuple[bytes, bytes, tuple[int, ...]]:
    """Return destination id, source id and versions; raise RemoteProtocolError for anything malformed."""
    # V-012
    count = data[LONG_HEADER_BYTES] if len(data) > LONG_HEADER_BYTES else 0
    if not 1 <= count <= MAX_VERSIONS or len(data) != LONG_HEADER_BYTES + 1 + 4 * count:
        raise _malformed("a list of versions that does not fill its packet")
    first, version, destination_id, source_id = _LONG_HEADER.unpack_from(data)
    if first != _LONG | LongType.VERSION_NEGOTIATION or version != NO_VERSION:
        raise _malformed("not a list of versions")
    return destination_id, source_id, struct.unpack_from(f">{count}I", data, LONG_HEADER_BYTES + 1)


def grease_version(bits: int) -> int:
    """Return a version that is never assigned, of the form 0x?a?a?a?a, from 16 random bits (spec V-005)."""
    spread = 0
    for nibble in range(4):
        spread |= (bits >> 4 * nibble & 0xF) << 8 * nibble + 4
    return _GREASE | spread


def is_grease_version(version: int) -> bool:
    """Whether a version is of the form that is never assigned."""
    return version & 0x0F0F0F0F == _GREASE


def decode_long_untrusted(data: bytes | memoryview, versions: tuple[int, ...] = (VERSION,)) -> LongPacket:
    """Read a long packet of one of these versions; raise RemoteProtocolError for anything malformed.

    An INIT below the minimum size, non-zero padding, reserved bits, unknown types and other versions are
    refused: they are dropped in silence by the endpoint, which counts the code [P-001, P-010].
    """
    if len(data) <= LONG_HEADER_BYTES:
        raise _malformed("long packet is cut short")
    first, version, destination_id, source_id = _LONG_HEADER.unpack_from(data)
    if first & _FORM_MASK != _LONG:
        raise _malformed("not a long packet")
    if version not in versions:
        raise RemoteProtocolError(
            ErrorCode.E_VERSION, f"version {version} is not spoken here", layer="wire", section="P-013"
        )
    if first & _LONG_RESERVED:
        raise _malformed("reserved bits of a long packet are set")
    kind = first & _TYPE_MASK
    if kind == LongType.INIT:
        return _decode_init_untrusted(data, version, destination_id, source_id)
    answer = _ANSWERS.get(kind)
    if answer is not None:
        noise, end = _read_noise_untrusted(data, LONG_HEADER_BYTES)
        if end != len(data):
            raise _malformed("bytes after the handshake message")
        return LongPacket(answer, version, destination_id, source_id, noise)
    if kind == LongType.COOKIE:
        noise = bytes(data[LONG_HEADER_BYTES:])
        if len(noise) != COOKIE_NONCE_BYTES + SEALED_COOKIE_BYTES:
            raise _malformed(f"COOKIE of {len(data)} bytes")
        return LongPacket(LongType.COOKIE, version, destination_id, source_id, noise)
    raise _malformed(f"long packet type {kind} is not in use")


def long_version_untrusted(data: bytes | memoryview) -> int | None:
    """Return the version of a long packet, without reading the rest; None where it is cut short."""
    return int.from_bytes(data[1:5], "big") if len(data) > LONG_HEADER_BYTES else None


class InitParts(NamedTuple):
    """What of an INIT is looked at before anything else: its MACs and what they cover."""

    source_id: bytes
    head: bytes
    mac1: bytes
    mac2: bytes
    tail: bytes


def split_init_untrusted(data: bytes) -> InitParts | None:
    """Cut an INIT at its fixed offsets, without reading the rest; None for one below the minimum size."""
    # S-013
    if len(data) < LIMITS.init_min_datagram_bytes:
        return None
    return InitParts(
        data[SOURCE_ID_OF_LONG],
        data[:LONG_HEADER_BYTES],
        data[LONG_HEADER_BYTES : LONG_HEADER_BYTES + MAC_BYTES],
        data[LONG_HEADER_BYTES + MAC_BYTES : _MACS_END],
        data[_MACS_END:],
    )


def _decode_init_untrusted(
    data: bytes | memoryview, version: int, destination_id: bytes, source_id: bytes
) -> LongPacket:
    if len(data) < LIMITS.init_min_datagram_bytes:
        raise _malformed(
            f"INIT of {len(data)} bytes is below the minimum of {LIMITS.init_min_datagram_bytes}"
        )
    count = data[_MACS_END]
    if not 1 <= count <= MAX_VERSIONS:
        raise _malformed(f"INIT offers {count} versions")
    versions = struct.unpack_from(f">{count}I", data, _MACS_END + 1)
    noise, end = _read_noise_untrusted(data, _MACS_END + 1 + 4 * count)
    if bytes(data[end:]).strip(b"\x00"):
        raise _malformed("INIT padding is not zero")
    return LongPacket(
        LongType.INIT,
        version,
        destination_id,
        source_id,
        noise,
        mac1=bytes(data[LONG_HEADER_BYTES : LONG_HEADER_BYTES + MAC_BYTES]),
        mac2=bytes(data[LONG_HEADER_BYTES + MAC_BYTES : _MACS_END]),
        versions=versions,
    )


def _read_noise_untrusted(data: bytes | memoryview, offset: int) -> tuple[bytes, int]:
    start = offset + _LENGTH.size
    length = int.from_bytes(data[offset:start], "big")
    if start + length > len(data):
        raise _malformed("handshake message is longer than its packet")
    return bytes(data[start : start + length]), start + length


def _malformed(message: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.E_PROTOCOL, message, layer="wire", section="6.2")
