"""The CONTROL stream's framing: messages of several machines on one ordered byte stream (spec 7.4).

A message is ``channel (1) ‖ length (2) ‖ body``; the body is one deterministic CBOR item that belongs to the
machine behind the channel. Channels of GREASE form are skipped, so that new channels can be added.
"""

from __future__ import annotations

import struct
from enum import IntEnum

from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from quinkgl.wire.limits import LIMITS

_HEADER = struct.Struct(">BH")
HEADER_BYTES = _HEADER.size


class Channel(IntEnum):
    """Who a CONTROL message is for (``spec/registries/channels.toml``)."""

    OBJECTS = 0
    MANIFEST = 1
    MEMBERSHIP = 2
    GOSSIP = 3
    FINGERPRINT = 4
    SESSION = 5
    EXCHANGE = 6


def is_grease(code: int) -> bool:
    """Whether a one-byte code has the form 0x1f·k + 0x1b that receivers must ignore."""
    return code % 0x1F == 0x1B


def encode_control(channel: int, body: bytes) -> bytes:
    """Frame one message. LocalProtocolError (E_TOO_BIG) over ``control_message_bytes``."""
    if len(body) > LIMITS.control_message_bytes:
        raise LocalProtocolError(
            ErrorCode.E_TOO_BIG,
            f"CONTROL message of {len(body)} bytes; the limit is {LIMITS.control_message_bytes}",
            section="7.4",
        )
    return _HEADER.pack(channel, len(body)) + body


class ControlReader:
    """Cuts the ordered bytes of a CONTROL stream into messages; holds at most one unfinished message."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed_untrusted(self, data: bytes | bytearray | memoryview) -> list[tuple[Channel, bytes]]:
        """Take the next bytes of the stream and return the messages that they complete [F-040, F-042].

        Raises RemoteProtocolError (E_TOO_BIG for a length over the limit, E_FRAME_UNKNOWN for an unknown
        channel).
        """
        buffer = self._buffer
        buffer += data
        messages: list[tuple[Channel, bytes]] = []
        start = 0
        while len(buffer) - start >= HEADER_BYTES:
            code, length = _HEADER.unpack_from(buffer, start)
            if length > LIMITS.control_message_bytes:
                raise RemoteProtocolError(
                    ErrorCode.E_TOO_BIG,
                    f"CONTROL message of {length} bytes; the limit is {LIMITS.control_message_bytes}",
                    layer="wire",
                    section="7.4",
                )
            end = start + HEADER_BYTES + length
            if len(buffer) < end:
                break
            channel = _channel_untrusted(code)
            if channel is not None:
                messages.append((channel, bytes(buffer[start + HEADER_BYTES : end])))
            start = end
        del buffer[:start]
        return messages


def _channel_untrusted(code: int) -> Channel | None:
    # F-041
    if is_grease(code):
        return None
    try:
        return Channel(code)
    except ValueError:
        raise RemoteProtocolError(
            ErrorCode.E_FRAME_UNKNOWN, f"CONTROL channel {code} is not in use", layer="wire", section="7.4"
        ) from None
