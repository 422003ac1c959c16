"""Frames: what short frame packets carry (spec chapter 7).

Every frame is a type byte and a fixed binary body. Decoding is strict and linear in the packet's size; a run
of PADDING is skipped at once. Frame types of GREASE form carry a two-byte length and are ignored.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from quinkgl.wire.control import is_grease
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.limits import HARD

_ACK_HEAD = struct.Struct(">BQHBI")
_ACK_RANGE = struct.Struct(">II")
_ECN = struct.Struct(">QQQ")
_CONTROL_HEAD = struct.Struct(">BQH")
_MAX_CONTROL = struct.Struct(">BQ")
_MAX_DATA = struct.Struct(">BIQ")
_PATH = struct.Struct(">B8s")
_NEW_CID = struct.Struct(">BI8s16s")
_RETIRE_CID = struct.Struct(">BI")
_PADDING = b"\0"
_CLOSE_HEAD = struct.Struct(">BHB")
_GREASE_HEAD = struct.Struct(">BH")

PATH_FRAME_BYTES = _PATH.size
NEW_CID_BYTES = _NEW_CID.size
RETIRE_CID_BYTES = _RETIRE_CID.size
CONTROL_OVERHEAD_BYTES = _CONTROL_HEAD.size
ACK_DELAY_UNIT_S = 8e-6
"""One unit of an ACK's delay field, seconds."""
_ACK_DELAY_MAX = 0xFFFF
CLOSE_REASON_BYTES = 64


class FrameType(IntEnum):
    """Frame types in use (``spec/registries/frames.toml``)."""

    PADDING = 0x00
    PING = 0x01
    ACK = 0x02
    ACK_ECN = 0x03
    CONTROL = 0x04
    MAX_CONTROL = 0x05
    MAX_DATA = 0x06
    PATH_CHALLENGE = 0x0C
    PATH_RESPONSE = 0x0D
    NEW_CID = 0x0E
    RETIRE_CID = 0x0F
    CLOSE = 0x1C


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks for an acknowledgement and nothing else."""


@dataclass(frozen=True, slots=True)
class Ack:
    """Packet numbers received.

    ``ranges`` are inclusive ``(first, last)`` pairs, highest first, never adjacent.
    """

    ranges: tuple[tuple[int, int], ...]
    delay_s: float
    ecn: tuple[int, int, int] | None = None
    """Cumulative counts of ECT(0), ECT(1) and CE marks, when the receiver can see them."""


@dataclass(frozen=True, slots=True)
class Control:
    """Bytes of the CONTROL stream at ``offset``."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class MaxControl:
    """Highest CONTROL offset that the peer may send up to."""

    limit: int


@dataclass(frozen=True, slots=True)
class MaxData:
    """Credit of one transfer: how many of the wanted bytes may have been sent in all."""

    transfer: int
    limit: int


@dataclass(frozen=True, slots=True)
class PathChallenge:
    """Eight unpredictable bytes to be echoed on the same path."""

    data: bytes


@dataclass(frozen=True, slots=True)
class PathResponse:
    """The echo of a challenge."""

    data: bytes


@dataclass(frozen=True, slots=True)
class NewCid:
    """A further connection id that packets to the sender may bear, with its stateless reset token."""

    sequence: int
    connection_id: bytes
    token: bytes


@dataclass(frozen=True, slots=True)
class RetireCid:
    """The sender will not use one of the receiver's connection ids again."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Close:
    """The peer ends the session; its reaction depends on the code alone."""

    code: int
    reason: str


Frame = (
    Ping | Ack | Control | MaxControl | MaxData | PathChallenge | PathResponse | NewCid | RetireCid | Close
)


def encode_ack(ack: Ack) -> bytes:
    """Encode an ACK; at most ``ack_ranges`` ranges, delay saturating at 524 ms."""
    first, largest = ack.ranges[0]
    kind = FrameType.ACK if ack.ecn is None else FrameType.ACK_ECN
    delay = min(_ACK_DELAY_MAX, max(0, round(ack.delay_s / ACK_DELAY_UNIT_S)))
    parts = [_ACK_HEAD.pack(kind, largest, delay, len(ack.ranges) - 1, largest - first)]
    if len(ack.ranges) == 1 and ack.ecn is None:
        return parts[0]
    previous = first
    for low, high in ack.ranges[1:]:
        parts.append(_ACK_RANGE.pack(previous - high - 2, high - low))
        previous = low
    if ack.ecn is not None:
        parts.append(_ECN.pack(*ack.ecn))
    return b"".join(parts)


def encode_control_frame(offset: int, data: bytes | memoryview) -> bytes:
    """Encode a piece of the CONTROL stream."""
    return _CONTROL_HEAD.pack(FrameType.CONTROL, offset, len(data)) + data


def encode_max_control(limit: int) -> bytes:
    """Encode the CONTROL stream's credit."""
    return _MAX_CONTROL.pack(FrameType.MAX_CONTROL, limit)


def encode_max_data(transfer: int, limit: int) -> bytes:
    """Encode one transfer's credit."""
    return _MAX_DATA.pack(FrameType.MAX_DATA, transfer, limit)


def encode_path_challenge(data: bytes) -> bytes:
    """Encode a path challenge of eight bytes."""
    return _PATH.pack(FrameType.PATH_CHALLENGE, data)


def encode_path_response(data: bytes) -> bytes:
    """Encode the echo of a path challenge."""
    return _PATH.pack(FrameType.PATH_RESPONSE, data)


def encode_new_cid(sequence: int, connection_id: bytes, token: bytes) -> bytes:
    """Encode a further connection id (8 bytes) and its reset token (16 bytes)."""
    return _NEW_CID.pack(FrameType.NEW_CID, sequence, connection_id, token)


def encode_retire_cid(sequence: int) -> bytes:
    """Encode the end of a connection id."""
    return _RETIRE_CID.pack(FrameType.RETIRE_CID, sequence)


def encode_close(code: int, reason: str) -> bytes:
    """Encode a CLOSE; the reason is cut to 64 bytes of UTF-8 at a character boundary [E-004]."""
    text = reason.encode("utf-8")[:CLOSE_REASON_BYTES].decode("utf-8", "ignore").encode("utf-8")
    return _CLOSE_HEAD.pack(FrameType.CLOSE, code, len(text)) + text


PING = bytes([FrameType.PING])
_ACKS = (FrameType.ACK, FrameType.ACK_ECN)
_PATH_FRAMES = (FrameType.PATH_CHALLENGE, FrameType.PATH_RESPONSE)


def decode_frames_untrusted(payload: bytes) -> list[Frame]:
    """Read all frames of a packet; raise RemoteProtocolError for the first that is malformed or unknown.

    Nothing of a packet takes effect unless all of it could be read. A packet without any frame is malformed.
    Rules: F-001, F-002, F-003.
    """
    if not payload:
        raise _malformed("packet without frames")
    frames: list[Frame] = []
    position = 0
    end = len(payload)
    while position < end:
        kind = payload[position]
        try:
            if kind == FrameType.PADDING:
                position = _skip_padding(payload, position)
            elif kind == FrameType.PING:
                frames.append(Ping())
                position += 1
            elif kind in _ACKS:
                ack, position = _decode_ack_untrusted(payload, position)
                frames.append(ack)
            else:
                frame, position = _decode_other_untrusted(payload, position, kind)
                if frame is not None:
                    frames.append(frame)
        except struct.error:
            raise _malformed(f"frame of type {kind:#04x} is cut short") from None
    return frames


def _skip_padding(payload: bytes, position: int) -> int:
    return len(payload) - len(payload[position:].lstrip(_PADDING))


def _decode_ack_untrusted(payload: bytes, position: int) -> tuple[Ack, int]:
    kind, largest, delay, more, length = _ACK_HEAD.unpack_from(payload, position)
    position += _ACK_HEAD.size
    if more >= HARD.ack_ranges:
        raise _malformed(f"ACK with {more + 1} ranges; the limit is {HARD.ack_ranges}")
    low = largest - length
    ranges = [(low, largest)]
    for _ in range(more):
        gap, length = _ACK_RANGE.unpack_from(payload, position)
        position += _ACK_RANGE.size
        high = low - gap - 2
        low = high - length
        ranges.append((low, high))
    if low < 0:
        raise _malformed("ACK reaches below packet number 0")
    ecn: tuple[int, int, int] | None = None
    if kind == FrameType.ACK_ECN:
        ecn = _ECN.unpack_from(payload, position)
        position += _ECN.size
    return Ack(tuple(ranges), delay * ACK_DELAY_UNIT_S, ecn), position


def _decode_other_untrusted(payload: bytes, position: int, kind: int) -> tuple[Frame | None, int]:
    frame: Frame | None
    if kind == FrameType.CONTROL:
        _, offset, length = _CONTROL_HEAD.unpack_from(payload, position)
        start = position + _CONTROL_HEAD.size
        return Control(offset, _slice_untrusted(payload, start, length, kind)), start + length
    if kind == FrameType.MAX_DATA:
        _, transfer, limit = _MAX_DATA.unpack_from(payload, position)
        return MaxData(transfer, limit), position + _MAX_DATA.size
    if kind == FrameType.MAX_CONTROL:
        _, limit = _MAX_CONTROL.unpack_from(payload, position)
        return MaxControl(limit), position + _MAX_CONTROL.size
    if kind in _PATH_FRAMES:
        _, data = _PATH.unpack_from(payload, position)
        frame = PathChallenge(data) if kind == FrameType.PATH_CHALLENGE else PathResponse(data)
        return frame, position + _PATH.size
    if kind == FrameType.NEW_CID:
        return NewCid(*_NEW_CID.unpack_from(payload, position)[1:]), position + _NEW_CID.size
    if kind == FrameType.RETIRE_CID:
        return RetireCid(*_RETIRE_CID.unpack_from(payload, position)[1:]), position + _RETIRE_CID.size
    if kind == FrameType.CLOSE:
        return _decode_close_untrusted(payload, position)
    if is_grease(kind):
        _, length = _GREASE_HEAD.unpack_from(payload, position)
        start = position + _GREASE_HEAD.size
        _slice_untrusted(payload, start, length, kind)
        return None, start + length
    raise RemoteProtocolError(
        ErrorCode.E_FRAME_UNKNOWN, f"frame type {kind:#04x} is not in use", layer="wire", section="7.1"
    )


def _decode_close_untrusted(payload: bytes, position: int) -> tuple[Close, int]:
    _, code, length = _CLOSE_HEAD.unpack_from(payload, position)
    start = position + _CLOSE_HEAD.size
    if length > CLOSE_REASON_BYTES:
        raise _malformed(f"CLOSE with a reason of {length} bytes; the limit is {CLOSE_REASON_BYTES}")
    text = _slice_untrusted(payload, start, length, FrameType.CLOSE)
    return Close(code, text.decode("utf-8", "replace")), start + length


def _slice_untrusted(payload: bytes, start: int, length: int, kind: int) -> bytes:
    if start + length > len(payload):
        raise _malformed(f"frame of type {kind:#04x} is cut short")
    return payload[start : start + length]


def _malformed(message: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.E_FRAME_FORMAT, message, layer="wire", section="7")
