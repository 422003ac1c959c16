"""Loss detection and probe time-outs (RFC 9002 sections 6 and 7, appendix A).

One packet number space a session.

What a packet carried is remembered as opaque *contents*; this module decides only which packets were
acknowledged and which are lost. Contents are sent again in new packets. Packets that left together as a run
are remembered together: one entry and one bit for each, so that an ACK costs what it newly acknowledges.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from quinkgl.transport.congestion import CongestionController
from quinkgl.transport.rtt import RttEstimator
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.limits import CONSTANTS

if TYPE_CHECKING:
    import random

_MAX_BACKOFF = 10
"""2**10 probe time-outs exceed every idle time-out; more only risks overflow."""
_SKIPPED_KEPT = 64
"""Skipped numbers that are remembered: they lie among the last 8,000 packets at least."""

C = TypeVar("C")


def spans(mask: int) -> Iterator[tuple[int, int]]:
    """Iterate over the half-open ranges of bits that are set, ascending."""
    base = 0
    while mask:
        zeros = (mask & -mask).bit_length() - 1
        mask >>= zeros
        ones = (mask + 1 & ~mask).bit_length() - 1
        yield base + zeros, base + zeros + ones
        mask >>= ones
        base += zeros + ones


class SentRun(Generic[C]):
    """Packets in flight that were sent together, with consecutive numbers; most often one.

    Only ack-eliciting packets are remembered, and all of those count as in flight. All packets of a run have
    ``size`` bytes, but the last one ``last_size``. Bit i of ``mask`` stands for number ``first + i``, and is
    set while that packet is in flight.
    """

    __slots__ = ("contents", "count", "first", "last_size", "mask", "sent_at", "size")

    def __init__(
        self, first: int, count: int, sent_at: float, size: int, last_size: int, contents: C
    ) -> None:
        self.first = first
        self.count = count
        self.sent_at = sent_at
        self.size = size
        self.last_size = last_size
        self.contents = contents
        self.mask = (1 << count) - 1

    def bytes_of(self, mask: int) -> int:
        """Bytes of the packets that a mask names."""
        total = self.size * mask.bit_count()
        return total - self.size + self.last_size if mask >> (self.count - 1) else total


class RunPart(NamedTuple, Generic[C]):
    """Some packets of a run: those whose bits are set in ``mask``."""

    run: SentRun[C]
    mask: int

    @property
    def contents(self) -> C:
        """What the whole run carried."""
        return self.run.contents

    @property
    def smallest_bytes(self) -> int:
        """Bytes of the smallest of these packets."""
        run = self.run
        return min(run.size, run.last_size) if self.mask >> (run.count - 1) else run.size

    @property
    def numbers(self) -> list[int]:
        """The packet numbers, ascending."""
        return [self.run.first + bit for start, stop in spans(self.mask) for bit in range(start, stop)]


class AckResult(NamedTuple, Generic[C]):
    """What an ACK told.

    Packets newly acknowledged, and packets that it shows to be lost, both in ascending order.
    """

    acknowledged: list[RunPart[C]]
    lost: list[RunPart[C]]


class LossRecovery(Generic[C]):
    """Tracks packets in flight and says which arrived, which are lost and when to look again."""

    __slots__ = (
        "_first_sample_at",
        "_largest_acknowledged",
        "_last_sent_at",
        "_loss_time",
        "_max_probe_interval_s",
        "_next_number",
        "_path_since",
        "_rng",
        "_sent",
        "_skip_at",
        "_skipped",
        "bytes_in_flight",
        "controller",
        "max_ack_delay_s",
        "probe_count",
        "rtt",
    )

    def __init__(
        self,
        controller: CongestionController,
        *,
        max_ack_delay_s: float,
        max_probe_interval_s: float = math.inf,
        rng: random.Random | None = None,
    ) -> None:
        """Start with nothing in flight.

        ``max_probe_interval_s`` bounds the doubling of probe time-outs; ``rng`` chooses which numbers are
        skipped, none without it.
        """
        self.controller = controller
        self.rtt = RttEstimator()
        self.max_ack_delay_s = max_ack_delay_s
        self._max_probe_interval_s = max_probe_interval_s
        self.bytes_in_flight = 0
        self.probe_count = 0
        self._sent: deque[SentRun[C]] = deque()
        self._next_number = 0
        self._path_since = 0
        self._largest_acknowledged = -1
        self._loss_time: float | None = None
        self._last_sent_at = 0.0
        self._first_sample_at: float | None = None
        self._rng = rng
        self._skipped: list[int] = []
        self._skip_at = self._next_skip(0)

    @property
    def next_number(self) -> int:
        """The number that the next packet gets, unless that one is skipped."""
        return self._next_number

    def take_number(self) -> int:
        """Use up a packet number."""
        return self.take_numbers(1)

    def take_numbers(self, count: int) -> int:
        """Use up consecutive packet numbers and return the first [P-020, P-026].

        Now and then a number before them is skipped: who acknowledges it has acknowledged what was never
        sent (RFC 9000 21.4).
        """
        number = self._next_number
        if self._skip_at is not None and number >= self._skip_at:
            self._skipped.append(number)
            del self._skipped[:-_SKIPPED_KEPT]
            number += 1
            self._skip_at = self._next_skip(number)
        self._next_number = number + count
        return number

    def on_sent(
        self,
        number: int,
        size: int,
        contents: C,
        now: float,
        *,
        count: int = 1,
        last_size: int | None = None,
    ) -> None:
        """Remember an ack-eliciting packet, or a run of ``count`` of them from ``number`` on [R-001].

        ``size`` is that of each packet, in bytes; the last one may have its own. Packets that elicit no ACK
        are not reported here.
        """
        last_size = size if last_size is None else last_size
        self._sent.append(SentRun(number, count, now, size, last_size, contents))
        self.bytes_in_flight += size * (count - 1) + last_size
        self._last_sent_at = now

    def on_new_path(self, controller: CongestionController) -> None:
        """Begin to measure anew: what was sent before now went another way (RFC 9000 section 9.4) [Q-022].

        Those packets may still be acknowledged or lost, which no longer tells anything about the path.
        """
        self.controller = controller
        self.rtt = RttEstimator()
        self.bytes_in_flight = 0
        self._first_sample_at = None
        self._path_since = self._next_number

    def oldest(self, count: int) -> list[RunPart[C]]:
        """Return up to ``count`` of the oldest packets in flight, whose contents probes carry again."""
        found: list[RunPart[C]] = []
        for run in self._sent:
            mask = run.mask
            while mask and len(found) < count:
                bit = mask & -mask
                found.append(RunPart(run, bit))
                mask ^= bit
            if len(found) == count:
                break
        return found

    def on_ack_untrusted(
        self, ranges: Sequence[tuple[int, int]], ack_delay_s: float, now: float
    ) -> AckResult[C]:
        """Process an ACK's inclusive ranges, highest first [R-020, R-021].

        Raises RemoteProtocolError E_ACK when it acknowledges a packet that was never sent.
        """
        largest = ranges[0][1]
        self._check_sent_untrusted(ranges)
        acknowledged, kept = self._take_acknowledged(ranges)
        if not acknowledged:
            self._sent.extendleft(reversed(kept))
            return AckResult([], [])
        self._largest_acknowledged = max(self._largest_acknowledged, largest)
        newest, mask = acknowledged[-1]
        if newest.first + mask.bit_length() - 1 == largest and newest.first >= self._path_since:
            self.rtt.sample(max(0.0, now - newest.sent_at), min(ack_delay_s, self.max_ack_delay_s))
            if self._first_sample_at is None:
                self._first_sample_at = now
        self._sent.extendleft(reversed(kept))
        lost = self._detect_lost(now)
        window_limited = 2 * self.bytes_in_flight >= self.controller.window
        here = self._on_this_path(acknowledged)
        sizes = [run.bytes_of(mask) for run, mask in here]
        self.bytes_in_flight -= sum(sizes)
        for (run, _), size in zip(here, sizes, strict=True):
            self.controller.on_acknowledged(size, run.sent_at, window_limited=window_limited)
        self.probe_count = 0
        return AckResult(acknowledged, lost)

    def deadline(self) -> float | None:
        """When to call ``on_timeout``: the loss time, or the probe time-out of what is in flight."""
        #
        if self._loss_time is not None:
            return self._loss_time
        if not self._sent:
            return None
        timeout = self.rtt.probe_timeout(self.max_ack_delay_s)
        doubled = timeout * (1 << min(self.probe_count, _MAX_BACKOFF))
        return self._last_sent_at + min(doubled, max(timeout, self._max_probe_interval_s))

    def on_timeout(self, now: float) -> list[RunPart[C]]:
        """Act on the timer: return packets lost by time; an empty list asks for a probe (RFC 9002 6.2.4)."""
        if self._loss_time is not None:
            return self._detect_lost(now)
        self.probe_count += 1
        # The next time-out counts from this probe, or a sender with nothing new to say would fire at once
        # again.
        self._last_sent_at = now
        return []

    def _next_skip(self, number: int) -> int | None:
        if self._rng is None:
            return None
        least, most = CONSTANTS.skipped_number_interval_packets
        # One gap or two a window, or the ACKs of a large one would grow with it.
        in_flight = number - self._sent[0].first if self._sent else 0
        return number + (least + int(self._rng.random() * (most - least))) * (1 + in_flight // most)

    def _check_sent_untrusted(self, ranges: Sequence[tuple[int, int]]) -> None:
        # R-002, F-020
        never_sent = ranges[0][1] if ranges[0][1] >= self._next_number else None
        if self._skipped and self._skipped[-1] >= ranges[-1][0]:
            for first, last in ranges:
                index = bisect_left(self._skipped, first)
                if index < len(self._skipped) and self._skipped[index] <= last:
                    never_sent = self._skipped[index]
        if never_sent is not None:
            raise RemoteProtocolError(
                ErrorCode.E_ACK,
                f"ACK of packet {never_sent}, which was never sent",
                layer="transport",
                section="8.1",
            )

    def _take_acknowledged(
        self, ranges: Sequence[tuple[int, int]]
    ) -> tuple[list[RunPart[C]], list[SentRun[C]]]:
        """Take every run that begins at or below the largest number acknowledged off the front.

        Returns what is newly acknowledged, and those runs of which something is still in flight.
        """
        sent = self._sent
        acknowledged: list[RunPart[C]] = []
        kept: list[SentRun[C]] = []
        largest = ranges[0][1]
        lowest = len(ranges) - 1
        while sent and sent[0].first <= largest:
            run = sent.popleft()
            first, last = run.first, run.first + run.count - 1
            while lowest > 0 and ranges[lowest][1] < first:
                lowest -= 1
            arrived = 0
            for index in range(lowest, -1, -1):
                low, high = ranges[index]
                if low > last:
                    break
                if high >= first:
                    low = max(low, first) - first
                    high = min(high, last) - first
                    arrived |= (1 << (high + 1)) - (1 << low)
            arrived &= run.mask
            if arrived:
                run.mask ^= arrived
                acknowledged.append(RunPart(run, arrived))
            if run.mask:
                kept.append(run)
        return acknowledged, kept

    def _detect_lost(self, now: float) -> list[RunPart[C]]:
        """Take what is lost out of flight [R-030].

        Of the packets at or below the largest one acknowledged, at most ``packet_threshold`` - 1 stay: the
        runs looked at here are those lost, and few more.
        """
        self._loss_time = None
        delay = self.rtt.loss_delay()
        largest = self._largest_acknowledged
        sent = self._sent
        lost: list[RunPart[C]] = []
        kept: list[SentRun[C]] = []
        while sent and sent[0].first <= largest:
            run = sent.popleft()
            eligible = run.mask & ((2 << (largest - run.first)) - 1)
            due = run.sent_at + delay
            if due <= now:
                gone = eligible
            else:
                late = largest - run.first - CONSTANTS.packet_threshold
                gone = eligible & ((2 << late) - 1) if late >= 0 else 0
            if gone:
                run.mask ^= gone
                lost.append(RunPart(run, gone))
            if eligible != gone and (self._loss_time is None or due < self._loss_time):
                self._loss_time = due
            if run.mask:
                kept.append(run)
        sent.extendleft(reversed(kept))
        here = self._on_this_path(lost)
        for run, gone in here:
            self.bytes_in_flight -= run.bytes_of(gone)
        if here:
            self.controller.on_congestion(here[-1].run.sent_at, now)
            if self._is_persistent(here):
                self.controller.on_persistent_congestion()
        return lost

    def _on_this_path(self, parts: list[RunPart[C]]) -> list[RunPart[C]]:
        """Leave out what was sent on another path than the present one."""
        if not self._path_since:
            return parts
        return [part for part in parts if part.run.first >= self._path_since]

    def _is_persistent(self, lost: list[RunPart[C]]) -> bool:
        """Whether a run of losses without a gap spans the persistent congestion period (RFC 9002 7.6.2).

        A packet that elicited no ACK interrupts a run: that errs on the side of not declaring it [R-050].
        """
        if self._first_sample_at is None:
            return False
        period = CONSTANTS.persistent_congestion_threshold * self.rtt.probe_timeout(self.max_ack_delay_s)
        since: float | None = None
        expected = -1
        for run, mask in lost:
            if run.sent_at < self._first_sample_at:
                continue
            for start, stop in spans(mask):
                if since is None or run.first + start != expected:
                    since = run.sent_at
                expected = run.first + stop
                if run.sent_at - since > period:
                    return True
        return False
