"""Frames: bytes to dicts and back (chapter 7). Every frame is a dict with its name under "type"."""

from collections.abc import Callable
from typing import Any

from .data import FRAMES, LIMITS, SpecError, is_grease, need

Frame = dict[str, Any]

# Fixed layouts: field and bytes; "int" fields are unsigned and big-endian.
FIXED: dict[str, tuple[tuple[str, int, type], ...]] = {
    "PADDING": (),
    "PING": (),
    "MAX_CONTROL": (("limit", 8, int),),
    "MAX_DATA": (("transfer", 4, int), ("limit", 8, int)),
    "PATH_CHALLENGE": (("data", 8, bytes),),
    "PATH_RESPONSE": (("data", 8, bytes),),
    "NEW_CID": (("sequence", 4, int), ("connection_id", 8, bytes), ("token", 16, bytes)),
    "RETIRE_CID": (("sequence", 4, int),),
}
NAMES = {code: name for name, code in FRAMES.items()}
QUIET = {"PADDING", "ACK", "ACK_ECN", "CLOSE", "GREASE"}


def asks_for_ack(frames: list[Frame]) -> bool:
    """Whether a packet with these frames asks for an ACK (7.1)."""
    return any(frame["type"] not in QUIET for frame in frames)


def encode_frame(frame: Frame) -> bytes:
    """One frame."""
    name = frame["type"]
    if name == "GREASE":
        return bytes([frame["code"]]) + len(frame["data"]).to_bytes(2, "big") + bytes(frame["data"])
    head = bytes([FRAMES[name]])
    if name in FIXED:
        values = ((frame[field], size) for field, size, _ in FIXED[name])
        return head + b"".join(
            v if isinstance(v, bytes) else int(v).to_bytes(size, "big") for v, size in values
        )
    if name == "CONTROL":
        return head + _u(frame["offset"], 8) + _u(len(frame["data"]), 2) + bytes(frame["data"])
    if name == "CLOSE":
        reason = frame["reason"].encode()
        return head + _u(frame["code"], 2) + _u(len(reason), 1) + bytes(reason)
    return head + _encode_ack(frame)


def _encode_ack(frame: Frame) -> bytes:
    (low, high), *further = frame["ranges"]
    data = _u(high, 8) + _u(frame["delay"], 2) + _u(len(further), 1) + _u(high - low, 4)
    for next_low, next_high in further:
        data += _u(low - next_high - 2, 4) + _u(next_high - next_low, 4)
        low = next_low
    if frame["type"] == "ACK_ECN":
        data += b"".join(_u(frame[count], 8) for count in ("ect0", "ect1", "ce"))
    return data


def encode_frames(frames: list[Frame]) -> bytes:
    """The plaintext of a packet."""
    return b"".join(map(encode_frame, frames))


def decode_frames(data: bytes) -> list[Frame]:
    """All frames of a packet, PADDING and GREASE among them (F-001 to F-003)."""
    need(data, "E_FRAME_FORMAT", "a packet without frames")
    frames, at = [], 0

    def take(count: int) -> bytes:
        nonlocal at
        need(at + count <= len(data), "E_FRAME_FORMAT", "a frame that is cut short")
        at += count
        return data[at - count : at]

    while at < len(data):
        frames.append(_decode_frame(take))
    return frames


def _decode_frame(take: Callable[[int], bytes]) -> Frame:
    def number(size: int) -> int:
        return int.from_bytes(take(size), "big")

    code = number(1)
    if is_grease(code):
        return {"type": "GREASE", "code": code, "data": take(number(2))}
    name = NAMES.get(code)
    if name is None:
        raise SpecError("E_FRAME_UNKNOWN", f"a frame of type {code:#04x}")
    if name in FIXED:
        fields = {field: number(size) if kind is int else take(size) for field, size, kind in FIXED[name]}
        return {"type": name} | fields
    if name == "CONTROL":
        return {"type": name, "offset": number(8), "data": take(number(2))}
    if name == "CLOSE":
        close, length = number(2), number(1)
        need(length <= LIMITS["reason_bytes"], "E_FRAME_FORMAT", "a reason that is too long")
        return {"type": name, "code": close, "reason": take(length).decode(errors="replace")}
    return _decode_ack(name, number)


def _decode_ack(name: str, number: Callable[[int], int]) -> Frame:
    high, delay, more = number(8), number(2), number(1)
    need(more < 64, "E_FRAME_FORMAT", "64 further ranges or more")
    low = high - number(4)
    ranges = [(low, high)]
    for _ in range(more):
        high = low - number(4) - 2
        low = high - number(4)
        ranges.append((low, high))
    need(low >= 0, "E_FRAME_FORMAT", "an ACK that reaches below packet 0")
    counts = {field: number(8) for field in ("ect0", "ect1", "ce")} if name == "ACK_ECN" else {}
    return {"type": name, "delay": delay, "ranges": ranges} | counts


def _u(value: int, size: int) -> bytes:
    return value.to_bytes(size, "big")
