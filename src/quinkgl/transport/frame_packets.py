"""What waits to be said in frames, and its packing into the payload of one packet (spec chapter 7)."""

from __future__ import annotations

from collections import deque

from quinkgl.transport.connection_ids import LocalIds, RemoteIds
from quinkgl.transport.contents import (
    AckSent,
    Content,
    Contents,
    MaxControlSent,
    MaxDataSent,
    NewCidSent,
    RetireCidSent,
)
from quinkgl.transport.control_stream import ControlReceiver, ControlSender
from quinkgl.transport.key_schedule import KeySchedule
from quinkgl.transport.objects import ObjectExchange
from quinkgl.transport.received import ReceivedPackets
from quinkgl.wire.control import Channel, encode_control
from quinkgl.wire.frames import (
    CONTROL_OVERHEAD_BYTES,
    NEW_CID_BYTES,
    PING,
    encode_ack,
    encode_control_frame,
    encode_max_control,
    encode_max_data,
    encode_new_cid,
    encode_retire_cid,
)
from quinkgl.wire.limits import CONSTANTS, LIMITS
from quinkgl.wire.packets import SHORT_OVERHEAD_BYTES

_SMALLEST_CONTROL = 64
"""Less room than this in a packet is not worth a piece of the CONTROL stream."""
_FEW_RANGES = 3
"""An ACK with more ranges than this tells mostly what the peer may know already."""
_SCATTERED_ACKS = 8
"""After this many of those, an ACK asks to be acknowledged itself, so that less is told (RFC 9000 13.2.4)."""
_SMALLEST_PAYLOAD = CONSTANTS.least_eliciting_bytes - SHORT_OVERHEAD_BYTES
"""A packet that asks for an ACK can be answered with a reset, and with three challenges (spec Q-045)."""
_CONTROL_QUEUE_BYTES = 4 * LIMITS.control_window_bytes


class FramePackets:
    """Frames that are due: acknowledgements, credits, the CONTROL stream, answers to path challenges, PING.

    ``control_out`` and ``control_in`` are the two halves of the CONTROL stream.
    """

    def __init__(
        self,
        received: ReceivedPackets,
        objects: ObjectExchange,
        local_ids: LocalIds,
        remote_ids: RemoteIds,
    ) -> None:
        self.control_out = ControlSender()
        self.control_in = ControlReceiver()
        self.ping_due = False
        self.max_control_due = False
        self._scattered_acks = 0
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._granted_control = self.control_in.limit
        self._received = received
        self._objects = objects
        self._local_ids = local_ids
        self._remote_ids = remote_ids

    @property
    def has_message_room(self) -> bool:
        """Whether the CONTROL queue takes another message [F-035]."""
        return self.queued_bytes < _CONTROL_QUEUE_BYTES

    @property
    def queued_bytes(self) -> int:
        """Bytes of messages that the peer is not known to have."""
        return self.control_out.queued_bytes + self._held_bytes

    def write(self, channel: Channel, body: bytes) -> None:
        """Queue a message on the CONTROL stream."""
        self.control_out.write(encode_control(channel, body))

    def hold(self, channel: Channel, body: bytes) -> None:
        """Keep a message until :meth:`release`: the keys are not yet what they are to be."""
        self._held.append(encode_control(channel, body))
        self._held_bytes += len(self._held[-1])

    def release(self) -> None:
        """Queue what was held."""
        while self._held:
            self.control_out.write(self._held.popleft())
        self._held_bytes = 0

    def move_key_messages(self, keys: KeySchedule) -> None:
        """Queue a message of the secret exchange."""
        message = keys.next_message()
        if message is not None:
            self.write(Channel.SESSION, message)
            keys.on_message_written(self.control_out.end)

    def on_control_read(self) -> None:
        """Grant more of the CONTROL stream once half of what was granted is read [F-034]."""
        if self.control_in.limit - self._granted_control >= LIMITS.control_window_bytes // 2:
            self.max_control_due = True

    def move_object_messages(self) -> None:
        """Queue the object exchange's messages while there is room."""
        while self.has_message_room:
            message = self._objects.next_message()
            if message is None:
                return
            self.write(Channel.OBJECTS, message)

    def is_ack_due(self, now: float) -> bool:
        """Whether an ACK must leave now, whatever else does."""
        ack_at = self._received.ack_at
        return ack_at is not None and ack_at <= now

    def wants_to_elicit(self, now: float, *, probing: bool) -> bool:
        """Whether a frame that asks for an ACK is due."""
        return (
            self.ping_due
            or (self._scattered_acks >= _SCATTERED_ACKS and self.is_ack_due(now))
            or self.max_control_due
            or self._local_ids.has_news
            or self._remote_ids.has_news
            or self._objects.has_credit
            or self.control_out.has_output
            or (probing and not self._objects.has_chunk)
        )

    def payload(self, room: int, now: float, *, elicit: bool) -> tuple[bytes, Contents]:
        """Return the frames of one packet, at most ``room`` bytes, and what to remember of it [R-013].

        Without ``elicit``, there is an ACK alone.
        """
        parts: list[bytes] = []
        contents: list[Content] = []
        if self._received.wants_ack:
            ack = self._received.take_ack(now)
            parts.append(encode_ack(ack))
            contents.append(AckSent(ack.ranges[0][1]))
            room -= len(parts[0])
            if len(ack.ranges) > _FEW_RANGES:
                self._scattered_acks += 1
        if elicit:
            self._fill(parts, contents, room)
        payload = b"".join(parts)
        if elicit and len(payload) < _SMALLEST_PAYLOAD:
            payload += bytes(_SMALLEST_PAYLOAD - len(payload))
        return payload, tuple(contents)

    def _fill(self, parts: list[bytes], contents: list[Content], room: int) -> None:
        """Add ack-eliciting frames while there is room; there is at least one to add."""
        before = len(parts)
        if self.max_control_due:
            self.max_control_due = False
            self._granted_control = self.control_in.limit
            parts.append(encode_max_control(self._granted_control))
            contents.append(MaxControlSent())
        room -= sum(map(len, parts[before:]))
        room -= self._fill_ids(parts, contents, room)
        while room >= _SMALLEST_CONTROL and (credit := self._objects.next_credit()) is not None:
            parts.append(encode_max_data(*credit))
            contents.append(MaxDataSent(credit[0]))
            room -= len(parts[-1])
        while room >= _SMALLEST_CONTROL:
            taken = self.control_out.take(room - CONTROL_OVERHEAD_BYTES)
            if taken is None:
                break
            parts.append(encode_control_frame(taken[0].start, taken[1]))
            contents.append(taken[0])
            room -= len(parts[-1])
        if len(parts) == before:
            parts.append(PING)
        self.ping_due = False
        self._scattered_acks = 0

    def _fill_ids(self, parts: list[bytes], contents: list[Content], room: int) -> int:
        """Add what is to be said about connection ids, and return how many bytes that took."""
        before = len(parts)
        room -= NEW_CID_BYTES
        while room >= 0 and (sequence := self._remote_ids.next_news()) is not None:
            parts.append(encode_retire_cid(sequence))
            contents.append(RetireCidSent(sequence))
            room -= len(parts[-1])
        while room >= 0 and (entry := self._local_ids.next_news()) is not None:
            parts.append(encode_new_cid(entry.sequence, entry.id, entry.token))
            contents.append(NewCidSent(entry))
            room -= len(parts[-1])
        return sum(map(len, parts[before:]))
