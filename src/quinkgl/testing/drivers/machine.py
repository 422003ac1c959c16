"""About the smallest machine that keeps the contract, watching whether its driver keeps its own part.

It sends what it is told to, reports what arrives, rings an alarm and says goodbye. Everything that a driver
must not do to a machine makes it raise :class:`DriverFaultError`, out of the driver and into the test.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Final

from quinkgl.wire.addresses import Address

GOODBYE: Final = b"goodbye"
"""The datagram by which a correspondent's partner knows that it closes."""
_LONGEST_RUN_BYTES: Final = 1 << 20
"""What a driver may hand on as one run; longer ones keep everything else waiting."""


class DriverFaultError(AssertionError):
    """The driver broke its part of the contract."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A datagram arrived; ``together`` tells how many came in the same call."""

    data: bytes
    source: Address
    together: int = 1


@dataclass(frozen=True, slots=True)
class Parcel:
    """A datagram or a run to send."""

    data: bytes | memoryview
    destination: Address
    segment_size: int | None = None


class Correspondent:
    """Sends what it is told to, reports what it gets; `close` says goodbye and waits for one back.

    Attributes:
        partner: who is told goodbye; with None, closing is done at once.
        parcels: what is to be sent.
        alarm: when to ring next; ``rings`` has the times at which it rang.
        on_ring: a parcel to send with each ring.
        breaks: raise RuntimeError at the next datagram.
        timer_calls: how often ``handle_timer`` was called, ``pulls`` how often a datagram was asked for.
        goodbyes: how often the partner said goodbye.
    """

    def __init__(self, partner: Address | None = None) -> None:
        self.partner = partner
        self.parcels: deque[Parcel] = deque()
        self.alarm: float | None = None
        self.on_ring: Parcel | None = None
        self.breaks = False
        self.drained = False
        self.rings: list[float] = []
        self.timer_calls = 0
        self.pulls = 0
        self.goodbyes = 0
        self._arrived: deque[Arrived] = deque()
        self._buffer = bytearray(1 << 16)
        self._lent = 0
        self._now = float("-inf")
        self._thread: int | None = None
        self._owes_events = False  # an input came, and its events have not been asked for

    def write(self, data: bytes, destination: Address, segment_size: int | None = None) -> None:
        """Queue a datagram, or a run."""
        self.parcels.append(Parcel(data, destination, segment_size))

    def receive_datagram(
        self, data: bytes | memoryview, source: Address, *, now: float, segment_size: int | None = None
    ) -> None:
        """Report what arrived, each datagram of a run as one event."""
        self._enter(now)
        self._owes_events = True
        if self.breaks:
            raise RuntimeError("this machine is broken")
        size = segment_size or max(1, len(data))
        starts = range(0, max(1, len(data)), size)
        if len(data) > _LONGEST_RUN_BYTES:
            raise DriverFaultError(f"a run of {len(data)} bytes")
        for start in starts:
            one = bytes(data[start : start + size])
            if one == GOODBYE:
                self.goodbyes += 1
                self.drained = True
            else:
                self._arrived.append(Arrived(one, source, len(starts)))

    def handle_timer(self, *, now: float) -> None:
        """Ring if it is time."""
        self._enter(now)
        self.timer_calls += 1
        self._owes_events = True
        if self.alarm is not None and now >= self.alarm:
            self.rings.append(now)
            self.alarm = None
            if self.on_ring is not None:
                self.parcels.append(self.on_ring)

    def next_event(self) -> Arrived | None:
        """Give out what arrived."""
        if self._arrived:
            return self._arrived.popleft()
        self._owes_events = False
        return None

    def next_datagram(self, now: float) -> Parcel | None:
        """Give out what is to be sent, from memory that the next call uses again."""
        self._enter(now)
        self.pulls += 1
        if self._owes_events:
            raise DriverFaultError("datagrams were taken before the events of an input")
        if not self.parcels:
            return None
        parcel = self.parcels.popleft()
        if len(parcel.data) > len(self._buffer):
            return parcel
        self._lent = len(parcel.data)
        self._buffer[: self._lent] = parcel.data
        view = memoryview(self._buffer)[: self._lent]
        return Parcel(view, parcel.destination, parcel.segment_size)

    def deadline(self) -> float | None:
        """Now, while something is to be sent; else when the alarm rings."""
        return 0.0 if self.parcels or self._arrived else self.alarm

    def close(self, *, now: float) -> None:
        """Say goodbye."""
        self._enter(now)
        if self.partner is None:
            self.drained = True
        elif not self.drained:
            self.write(GOODBYE, self.partner)

    def _enter(self, now: float) -> None:
        if now < self._now:
            raise DriverFaultError(f"time went back from {self._now} to {now}")
        self._now = now
        self._buffer[: self._lent] = b"\xa5" * self._lent  # what was given out was lent until now
        here = threading.get_ident()
        if self._thread not in {None, here}:
            raise DriverFaultError("called from two threads")
        self._thread = here
