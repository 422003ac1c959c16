"""Dissecting packets and frames: every byte of a datagram, named.

For people who look into captures, and for tests that nothing unexplained is sent. Each function returns
fields that tile what it was given: the first begins at 0, each begins where the one before it ends, and the
last ends with the bytes. Unlike the decoders, nothing here judges: what cannot be read becomes a field named
``unexplained``, and nothing raises for any bytes. Ciphertext is a field as well; who has the key opens it and
dissects what is inside. Messages and objects are in :mod:`quinkgl.wire.dissect_messages`.
"""

from __future__ import annotations

from typing import NamedTuple

from quinkgl.wire.cbor import Buffer
from quinkgl.wire.control import is_grease
from quinkgl.wire.frames import ACK_DELAY_UNIT_S, FrameType
from quinkgl.wire.limits import CONSTANTS
from quinkgl.wire.packets import (
    BULK_HEADER,
    KEY_PHASE_BIT,
    LONG_HEADER_BYTES,
    MAC_BYTES,
    SHORT_HEADER,
    TAG_BYTES,
    LongType,
    PacketForm,
    packet_form,
)

UNEXPLAINED = "unexplained"
CIPHERTEXT = "ciphertext"
"""The name of the field that a key opens, its tag apart."""

_EPHEMERAL = CONSTANTS.key_bytes
_STATIC = CONSTANTS.key_bytes + CONSTANTS.tag_bytes
_TYPE_MASK = 0x0F


class Field(NamedTuple):
    """A name for the bytes from ``start`` up to ``stop``, and what they mean, for people."""

    name: str
    start: int
    stop: int
    text: str = ""

    def moved(self, offset: int, prefix: str = "") -> Field:
        """Return the same field as part of something that begins ``offset`` bytes earlier."""
        return Field(prefix + self.name, self.start + offset, self.stop + offset, self.text)


class Cursor:
    """Cuts fields from the front of a buffer; what is asked for and not there is cut short by the caller."""

    def __init__(self, data: Buffer) -> None:
        self.data = data
        self.at = 0
        self.fields: list[Field] = []

    @property
    def left(self) -> int:
        """How many bytes have no field yet."""
        return len(self.data) - self.at

    def take(self, name: str, size: int, text: str | None = None) -> bytes:
        """Name the next bytes and return them.

        EOFError where there are not enough, or where a length in the packet leaves fewer than none.
        """
        if not 0 <= size <= self.left:
            raise EOFError(name)
        value = bytes(self.data[self.at : self.at + size])
        shown = text if text is not None else _hex(value)
        self.fields.append(Field(name, self.at, self.at + size, shown))
        self.at += size
        return value

    def number(self, name: str, size: int) -> int:
        """Name the next bytes as a big-endian unsigned integer and return it."""
        value = int.from_bytes(self.take(name, size), "big")
        self.fields[-1] = self.fields[-1]._replace(text=str(value))
        return value

    def rest(self, name: str = UNEXPLAINED) -> list[Field]:
        """Name what is left, if anything is, and return all fields."""
        if self.left:
            self.take(name, self.left)
        return self.fields


def _hex(value: bytes) -> str:
    return value.hex() if len(value) <= _EPHEMERAL else f"{value[:16].hex()}… ({len(value)} bytes)"


def dissect_packet(data: Buffer) -> list[Field]:
    """Return the fields of a datagram, as far as they are in the clear."""
    cursor = Cursor(data)
    form = packet_form(bytes(data[:1]))
    try:
        if form is PacketForm.LONG:
            _long(cursor)
        elif form in {PacketForm.FRAMES, PacketForm.BULK}:
            _short(cursor, bulk=form is PacketForm.BULK)
    except EOFError:
        pass  # the packet is cut short; what is left has no name
    return cursor.rest()


def _short(cursor: Cursor, *, bulk: bool) -> None:
    header = BULK_HEADER if bulk else SHORT_HEADER
    if cursor.left < header.size + TAG_BYTES:
        return
    phase = int(bool(cursor.data[0] & KEY_PHASE_BIT))
    cursor.take("first byte", 1, f"short, {'bulk' if bulk else 'frames'}, key phase bit {phase}")
    cursor.take("destination id", CONSTANTS.connection_id_bytes)
    cursor.number("packet number", CONSTANTS.packet_number_bytes)
    if bulk:
        cursor.number("transfer", 4)
        cursor.number("offset", 8)
    cursor.take(CIPHERTEXT, cursor.left - TAG_BYTES)
    cursor.take("tag", TAG_BYTES)


def _long(cursor: Cursor) -> None:
    if cursor.left < LONG_HEADER_BYTES:
        return
    code = cursor.data[0] & _TYPE_MASK
    kind = LongType(code).name if code in list(LongType) else f"type {code}"
    cursor.take("first byte", 1, f"long, {kind}")
    cursor.number("version", 4)
    cursor.take("destination id", CONSTANTS.connection_id_bytes)
    cursor.take("source id", CONSTANTS.connection_id_bytes)
    if code == LongType.INIT:
        cursor.take("mac1", MAC_BYTES)
        cursor.take("mac2", MAC_BYTES)
        _versions(cursor)
        length = cursor.number("noise length", 2)
        cursor.take("noise ephemeral key", _EPHEMERAL)
        cursor.take("noise payload, encrypted", length - _EPHEMERAL)
        padding = bytes(cursor.data[cursor.at :])
        if not any(padding):
            cursor.take("padding", len(padding), f"{len(padding)} bytes")
    elif code == LongType.RESP:
        length = cursor.number("noise length", 2)
        cursor.take("noise ephemeral key", _EPHEMERAL)
        cursor.take("noise static key, encrypted", _STATIC)
        cursor.take("noise payload, encrypted", length - _EPHEMERAL - _STATIC)
    elif code == LongType.FIN:
        length = cursor.number("noise length", 2)
        cursor.take("noise static key, encrypted", _STATIC)
        cursor.take("noise payload, encrypted", length - _STATIC)
    elif code == LongType.COOKIE:
        cursor.take("cookie nonce", MAC_BYTES)
        cursor.take("cookie, sealed", MAC_BYTES + TAG_BYTES)
    elif code == LongType.VERSION_NEGOTIATION:
        _versions(cursor)


def _versions(cursor: Cursor) -> None:
    for index in range(cursor.number("version count", 1)):
        value = cursor.number(f"version {index}", 4)
        cursor.fields[-1] = cursor.fields[-1]._replace(text=f"{value:#x}")


def dissect_frames(payload: Buffer) -> list[Field]:
    """Return the fields of an opened frame packet. The data of CONTROL frames are one field each."""
    cursor = Cursor(payload)
    try:
        while cursor.left:
            code = payload[cursor.at]
            if code == FrameType.PADDING:
                _padding(cursor)
            elif code in _FRAMES:
                cursor.take(f"{FrameType(code).name} type", 1)
                _FRAMES[FrameType(code)](cursor)
            elif is_grease(code):
                cursor.take("GREASE type", 1)
                cursor.take("GREASE data", cursor.number("GREASE length", 2))
            else:
                break
    except EOFError:
        pass  # as above
    return cursor.rest()


def _padding(cursor: Cursor) -> None:
    end = cursor.at
    while end < len(cursor.data) and cursor.data[end] == FrameType.PADDING:
        end += 1
    cursor.take("PADDING", end - cursor.at, f"{end - cursor.at} bytes")


def _ack(cursor: Cursor, *, ecn: bool = False) -> None:
    name = "ACK_ECN" if ecn else "ACK"
    high = cursor.number(f"{name} largest", 8)
    units = cursor.number(f"{name} delay", 2)
    cursor.fields[-1] = cursor.fields[-1]._replace(text=f"{units * ACK_DELAY_UNIT_S * 1000:.3f} ms")
    more = cursor.number(f"{name} further ranges", 1)
    low = high - cursor.number(f"{name} first length", 4)
    cursor.fields[-1] = cursor.fields[-1]._replace(text=f"{low}-{high}")
    for index in range(1, more + 1):
        high = low - cursor.number(f"{name} gap {index}", 4) - 2
        low = high - cursor.number(f"{name} length {index}", 4)
        cursor.fields[-1] = cursor.fields[-1]._replace(text=f"{low}-{high}")
    if ecn:
        for mark in ("ECT(0)", "ECT(1)", "CE"):
            cursor.number(f"{name} {mark}", 8)


def _control(cursor: Cursor) -> None:
    cursor.number("CONTROL offset", 8)
    cursor.take("CONTROL data", cursor.number("CONTROL length", 2))


def _close(cursor: Cursor) -> None:
    cursor.number("CLOSE code", 2)
    text = cursor.take("CLOSE reason", cursor.number("CLOSE length", 1))
    cursor.fields[-1] = cursor.fields[-1]._replace(text=ascii(text.decode("utf-8", "replace")))


def _new_cid(cursor: Cursor) -> None:
    cursor.number("NEW_CID sequence", 4)
    cursor.take("NEW_CID connection id", CONSTANTS.connection_id_bytes)
    cursor.take("NEW_CID reset token", CONSTANTS.stateless_reset_token_bytes)


def _max_data(cursor: Cursor) -> None:
    cursor.number("MAX_DATA transfer", 4)
    cursor.number("MAX_DATA limit", 8)


_FRAMES = {
    FrameType.PING: lambda _cursor: None,
    FrameType.ACK: _ack,
    FrameType.ACK_ECN: lambda cursor: _ack(cursor, ecn=True),
    FrameType.CONTROL: _control,
    FrameType.MAX_CONTROL: lambda cursor: cursor.number("MAX_CONTROL limit", 8),
    FrameType.MAX_DATA: _max_data,
    FrameType.PATH_CHALLENGE: lambda cursor: cursor.take("PATH_CHALLENGE data", 8),
    FrameType.PATH_RESPONSE: lambda cursor: cursor.take("PATH_RESPONSE data", 8),
    FrameType.NEW_CID: _new_cid,
    FrameType.RETIRE_CID: lambda cursor: cursor.number("RETIRE_CID sequence", 4),
    FrameType.CLOSE: _close,
}


def dissect_reset(data: Buffer) -> list[Field]:
    """Return the fields of a stateless reset, which its last 16 bytes show it to be."""
    cursor = Cursor(data)
    size = CONSTANTS.stateless_reset_token_bytes
    cursor.take("first byte", 1, "short, as it seems")
    cursor.take("unpredictable", cursor.left - size)
    cursor.take("reset token", size)
    return cursor.fields


def field_value(data: Buffer, fields: list[Field], name: str) -> bytes:
    """Return the bytes of the first field of a name; KeyError where there is none."""
    for field in fields:
        if field.name == name:
            return bytes(data[field.start : field.stop])
    raise KeyError(name)


def unexplained(fields: list[Field]) -> int:
    """Count the bytes that have no other name."""
    return sum(field.stop - field.start for field in fields if field.name.endswith(UNEXPLAINED))


__all__ = [
    "CIPHERTEXT",
    "UNEXPLAINED",
    "Cursor",
    "Field",
    "dissect_frames",
    "dissect_packet",
    "dissect_reset",
    "field_value",
    "unexplained",
]
