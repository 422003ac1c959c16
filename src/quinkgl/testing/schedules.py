"""Networks whose every accident is written down: for tests that shrink to the datagrams that matter.

A :class:`Schedule` says what becomes of each datagram in the order in which they are sent. Hypothesis draws
one (:func:`quinkgl.testing.strategies.schedules`) and takes from it what the failure does not need; what
remains reads as a story: the third datagram came twice, the fifth was lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from quinkgl.testing.network import Link, VirtualNetwork
from quinkgl.wire.addresses import Address


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one datagram: how many copies arrive, and by how many seconds they are late.

    The second copy takes twice the extra time of the first.
    """

    copies: int = 1
    late_s: float = 0.0

    def __str__(self) -> str:
        """Return a word or two."""
        words = {0: "lost", 1: "passes", 2: "twice"}.get(self.copies, f"{self.copies} times")
        return words if not self.late_s or not self.copies else f"{words}, {self.late_s:g} s late"


PASSES = Fate()
LOST = Fate(0)
TWICE = Fate(2)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The fates of the first datagrams; those after them pass."""

    fates: tuple[Fate, ...] = ()

    def fate(self, index: int) -> Fate:
        """Return what becomes of the datagram with this number, counted from 0."""
        return self.fates[index] if index < len(self.fates) else PASSES

    def __str__(self) -> str:
        """Name the datagrams that do not just pass."""
        odd = [f"datagram {index} {fate}" for index, fate in enumerate(self.fates) if fate != PASSES]
        return "; ".join(odd) or "every datagram passes"


class ScheduledNetwork(VirtualNetwork):
    """A virtual network that follows a schedule; ``delay_s`` is what each datagram takes, seconds.

    With ``key`` datagrams are counted apart, each sequence from 0: by default all together, with
    ``lambda source, destination: (source, destination)`` each direction for itself. ``schedules`` are then
    given for the keys that have one.
    """

    def __init__(
        self,
        schedule: Schedule,
        *,
        delay_s: float = 0.01,
        seed: int = 0,
        key: Callable[[Address, Address], Any] = lambda _source, _destination: None,
        schedules: Iterable[tuple[Any, Schedule]] = (),
    ) -> None:
        super().__init__(seed, Link(delay_s=delay_s))
        self._schedule = schedule
        self._schedules = dict(schedules)
        self._key = key
        self._sent: dict[Any, int] = {}

    def _arrivals(self, source: Address, destination: Address, data: bytes) -> list[tuple[float, bytes]]:
        key = self._key(source, destination)
        index = self._sent.get(key, 0)
        self._sent[key] = index + 1
        fate = self._schedules.get(key, self._schedule).fate(index)
        first = self.now + self.link.delay_s
        return [(first + (copy + 1) * fate.late_s, data) for copy in range(fate.copies)]
