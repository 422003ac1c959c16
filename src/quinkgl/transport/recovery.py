"""Loss detection and probe time-outs (RFC 9002 sections 6 and 7, appendix A).

One packet number space a session.

What a packet carried is remembered as opaque *contents*; this module decides only which packets were
acknowledged and which are lost. Contents are sent again in new packets.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

from quinkgl.transport.congestion import CongestionController
from quinkgl.transport.rtt import RttEstimator
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.limits import CONSTANTS

_MAX_BACKOFF = 10
"""2**10 probe time-outs exceed every idle time-out; more only risks overflow."""

C = TypeVar("C")


class SentPacket(NamedTuple, Generic[C]):
    """One packet in flight.

    Only ack-eliciting packets are remembered, and all of those count as in flight.
    """

    number: int
    sent_at: float
    size: int
    contents: C


class AckResult(NamedTuple, Generic[C]):
    """What an ACK told.

    Packets newly acknowledged, and packets that it shows to be lost, both in ascending order.
    """

    acknowledged: list[SentPacket[C]]
    lost: list[SentPacket[C]]


class LossRecovery(Generic[C]):
    """Tracks packets in flight and says which arrived, which are lost and when to look again."""

    __slots__ = (
        "_first_sample_at",
        "_largest_acknowledged",
        "_last_sent_at",
        "_loss_time",
        "_next_number",
        "_sent",
        "bytes_in_flight",
        "controller",
        "max_ack_delay_s",
        "probe_count",
        "rtt",
    )

    def __init__(self, controller: CongestionController, *, max_ack_delay_s: float) -> None:
        self.controller = controller
        self.rtt = RttEstimator()
        self.max_ack_delay_s = max_ack_delay_s
        self.bytes_in_flight = 0
        self.probe_count = 0
        self._sent: dict[int, SentPacket[C]] = {}
        self._next_number = 0
        self._largest_acknowledged = -1
        self._loss_time: float | None = None
        self._last_sent_at = 0.0
        self._first_sample_at: float | None = None

    @property
    def next_number(self) -> int:
        """The number that the next packet gets."""
        return self._next_number

    def take_number(self) -> int:
        """Use up a packet number."""
        number = self._next_number
        self._next_number += 1
        return number

    def on_sent(self, number: int, size: int, contents: C, now: float) -> None:
        """Remember an ack-eliciting packet. Packets that elicit no ACK are not reported here."""
        self._sent[number] = SentPacket(number, now, size, contents)
        self.bytes_in_flight += size
        self._last_sent_at = now

    def oldest(self, count: int) -> list[SentPacket[C]]:
        """Return up to ``count`` of the oldest packets in flight, whose contents probes carry again."""
        return list(islice(self._sent.values(), count))

    def on_ack_untrusted(
        self, ranges: Sequence[tuple[int, int]], ack_delay_s: float, now: float
    ) -> AckResult[C]:
        """Process an ACK's inclusive ranges, highest first.

        Raises RemoteProtocolError E_ACK when it acknowledges a packet that was never sent.
        """
        largest = ranges[0][1]
        if largest >= self._next_number:
            raise RemoteProtocolError(
                ErrorCode.E_ACK,
                f"ACK of packet {largest}, which was never sent",
                layer="transport",
                section="8.1",
            )
        acknowledged = self._take_acknowledged(ranges)
        if not acknowledged:
            return AckResult([], [])
        self._largest_acknowledged = max(self._largest_acknowledged, largest)
        newest = acknowledged[-1]
        if newest.number == largest:
            self.rtt.sample(max(0.0, now - newest.sent_at), min(ack_delay_s, self.max_ack_delay_s))
            if self._first_sample_at is None:
                self._first_sample_at = now
        lost = self._detect_lost(now)
        window_limited = 2 * self.bytes_in_flight >= self.controller.window
        for packet in acknowledged:
            self.bytes_in_flight -= packet.size
        for packet in acknowledged:
            self.controller.on_acknowledged(packet.size, packet.sent_at, window_limited=window_limited)
        self.probe_count = 0
        return AckResult(acknowledged, lost)

    def deadline(self) -> float | None:
        """When to call ``on_timeout``: the loss time, or the probe time-out of what is in flight."""
        if self._loss_time is not None:
            return self._loss_time
        if not self._sent:
            return None
        backoff = 1 << min(self.probe_count, _MAX_BACKOFF)
        return self._last_sent_at + self.rtt.probe_timeout(self.max_ack_delay_s) * backoff

    def on_timeout(self, now: float) -> list[SentPacket[C]]:
        """Act on the timer: return packets lost by time; an empty list asks for a probe (RFC 9002 6.2.4)."""
        if self._loss_time is not None:
            return self._detect_lost(now)
        self.probe_count += 1
        # The next time-out counts from this probe, or a sender with nothing new to say would fire at once
        # again.
        self._last_sent_at = now
        return []

    def _take_acknowledged(self, ranges: Sequence[tuple[int, int]]) -> list[SentPacket[C]]:
        sent = self._sent
        acknowledged: list[SentPacket[C]] = []
        oldest = next(iter(sent), self._next_number)
        for first, last in reversed(ranges):
            numbers: Sequence[int] = range(max(first, oldest), last + 1)
            if len(numbers) > len(sent):
                # A peer that never acknowledges the oldest must not make us walk over all numbers since.
                numbers = [number for number in sent if first <= number <= last]
            for number in numbers:
                packet = sent.pop(number, None)
                if packet is not None:
                    acknowledged.append(packet)
        return acknowledged

    def _detect_lost(self, now: float) -> list[SentPacket[C]]:
        self._loss_time = None
        delay = self.rtt.loss_delay()
        lost: list[SentPacket[C]] = []
        for packet in self._sent.values():
            if packet.number > self._largest_acknowledged:
                break
            due = packet.sent_at + delay
            if due <= now or self._largest_acknowledged >= packet.number + CONSTANTS.packet_threshold:
                lost.append(packet)
            elif self._loss_time is None or due < self._loss_time:
                self._loss_time = due
        for packet in lost:
            del self._sent[packet.number]
            self.bytes_in_flight -= packet.size
        if lost:
            self.controller.on_congestion(lost[-1].sent_at, now)
            if self._is_persistent(lost):
                self.controller.on_persistent_congestion()
        return lost

    def _is_persistent(self, lost: list[SentPacket[C]]) -> bool:
        """Whether a run of losses without a gap spans the persistent congestion period (RFC 9002 7.6.2).

        A packet that elicited no ACK interrupts a run: that errs on the side of not declaring it.
        """
        if self._first_sample_at is None:
            return False
        period = CONSTANTS.persistent_congestion_threshold * self.rtt.probe_timeout(self.max_ack_delay_s)
        start: SentPacket[C] | None = None
        previous: SentPacket[C] | None = None
        for packet in lost:
            if packet.sent_at < self._first_sample_at:
                continue
            if previous is None or packet.number != previous.number + 1:
                start = packet
            if start is not None and packet.sent_at - start.sent_at > period:
                return True
            previous = packet
        return False
