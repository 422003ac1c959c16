"""What has arrived: the replay window, and when and what to acknowledge (spec 6.5 and 8.2)."""

from __future__ import annotations

from quinkgl.transport.ranges import RangeSet
from quinkgl.wire.frames import Ack
from quinkgl.wire.limits import LIMITS

_ELICITING_PER_ACK = 2
"""RFC 9000 13.2.2: acknowledge at least every second ack-eliciting packet of a burst at once."""


class ReceivedPackets:
    """Packet numbers that were authenticated; answers whether one is new, and what the next ACK says."""

    __slots__ = ("_ack_at", "_eliciting", "_floor", "_largest_at", "_ranges")

    def __init__(self) -> None:
        self._ranges = RangeSet()
        self._floor = 0
        self._largest_at = 0.0
        self._eliciting = 0
        self._ack_at: float | None = None

    def is_new(self, number: int) -> bool:
        """Whether a packet number is inside the window and was not seen: checked before any decryption."""
        return number >= self._floor and number not in self._ranges

    def add(self, number: int, now: float, *, eliciting: bool, max_ack_delay_s: float) -> None:
        """Record an authenticated packet and decide when it must be acknowledged."""
        ranges = self._ranges
        expected = ranges.last()[1] if len(ranges) else 0
        ranges.add(number, number + 1)
        if number >= expected:
            self._largest_at = now
            floor = number + 1 - LIMITS.replay_window
            if floor > self._floor:
                self._floor = floor
                ranges.drop_below(floor)
        if not eliciting:
            return
        self._eliciting += 1
        if number != expected or self._eliciting >= _ELICITING_PER_ACK:
            self._ack_at = now
        else:
            self._ack_at = now + max_ack_delay_s

    @property
    def ack_at(self) -> float | None:
        """When an ACK must leave, None when nothing asks for one."""
        return self._ack_at

    @property
    def wants_ack(self) -> bool:
        """Whether something eliciting is unacknowledged, so that an ACK may ride along with other frames."""
        return self._eliciting > 0

    def take_ack(self, now: float) -> Ack:
        """Return the ACK to send now: the highest ranges, as many as one frame takes."""
        self._eliciting = 0
        self._ack_at = None
        ranges: list[tuple[int, int]] = []
        for start, stop in self._ranges.descending():
            ranges.append((start, stop - 1))
            if len(ranges) == LIMITS.ack_ranges:
                break
        return Ack(tuple(ranges), max(0.0, now - self._largest_at))
