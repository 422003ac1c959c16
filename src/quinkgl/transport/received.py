"""What has arrived: the replay window, and when and what to acknowledge (spec 6.5 and 8.2)."""

from __future__ import annotations

from quinkgl.transport.ranges import RangeSet
from quinkgl.wire.frames import Ack
from quinkgl.wire.limits import LIMITS

_ELICITING_PER_ACK = 2
"""RFC 9000 13.2.2: acknowledge at least every second ack-eliciting packet of a burst at once."""


class ReceivedPackets:
    """Packet numbers that were authenticated; answers whether one is new, and what the next ACK says."""

    __slots__ = ("_ack_at", "_eliciting", "_floor", "_largest_at", "_ranges", "_told_below", "_untold_from")

    def __init__(self) -> None:
        self._ranges = RangeSet()
        self._floor = 0
        self._largest_at = 0.0
        self._eliciting = 0
        self._ack_at: float | None = None
        self._told_below = 0
        """Numbers below are reported no more: the peer has seen an ACK that spoke of them."""
        self._untold_from: int | None = None
        """The lowest number that came since the last ACK was written."""

    def is_new(self, number: int) -> bool:
        """Whether a packet number is inside the window and was not seen: checked before any decryption."""
        # P-022
        return number >= self._floor and number not in self._ranges

    def is_new_run(self, first: int, count: int) -> bool:
        """Whether ``count`` consecutive numbers are all new."""
        return first >= self._floor and not self._ranges.overlaps(first, first + count)

    def add(
        self, number: int, now: float, *, eliciting: bool, max_ack_delay_s: float, count: int = 1
    ) -> bool:
        """Record an authenticated packet, or ``count`` of them with consecutive numbers.

        Decides when they must be acknowledged, and returns whether the highest number so far is among them.
        Rules: R-010, R-011, R-012.
        """
        ranges = self._ranges
        expected = ranges.last()[1] if len(ranges) else 0
        stop = number + count
        ranges.add(number, stop)
        if stop > expected:
            self._largest_at = now
            floor = stop - LIMITS.replay_window
            if floor > self._floor:
                self._floor = floor
                ranges.drop_below(floor)
        if self._untold_from is None or number < self._untold_from:
            self._untold_from = number
            self._told_below = min(self._told_below, number)
        if not eliciting:
            return stop > expected
        self._eliciting += count
        if number != expected or self._eliciting >= _ELICITING_PER_ACK:
            self._ack_at = now
        else:
            self._ack_at = now + max_ack_delay_s
        return stop > expected

    @property
    def ack_at(self) -> float | None:
        """When an ACK must leave, None when nothing asks for one."""
        return self._ack_at

    @property
    def wants_ack(self) -> bool:
        """Whether something eliciting is unacknowledged, so that an ACK may ride along with other frames."""
        return self._eliciting > 0

    def take_ack(self, now: float) -> Ack:
        """Return the ACK to send now: the highest ranges not told yet, as many as one frame takes."""
        # F-021, F-022
        self._eliciting = 0
        self._ack_at = None
        self._untold_from = None
        told_below = self._told_below
        ranges: list[tuple[int, int]] = []
        for start, stop in self._ranges.descending():
            if stop <= told_below or len(ranges) == LIMITS.ack_ranges:
                break
            ranges.append((max(start, told_below), stop - 1))
        return Ack(tuple(ranges), max(0.0, now - self._largest_at))

    def on_ack_acknowledged(self, largest: int) -> None:
        """Report no more what an ACK up to ``largest`` told, which the peer has (RFC 9000 13.2.4) [R-016].

        What came after that ACK was written is still to be told, late numbers below ``largest`` among it.
        """
        told = largest + 1
        if self._untold_from is not None:
            told = min(told, self._untold_from)
        self._told_below = max(self._told_below, told)
