"""What the machines of this package share: a clock that cannot go back, one owner, bounded events, counts."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

EventT = TypeVar("EventT")
P = ParamSpec("P")
R = TypeVar("R")
M = TypeVar("M", bound="Machine[Any]")


def exclusive(method: Callable[Concatenate[M, P], R]) -> Callable[Concatenate[M, P], R]:
    """Refuse a call from inside another call of the same machine with RuntimeError: it has a single owner."""

    @functools.wraps(method)
    def guarded(self: M, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if self._busy:
            raise RuntimeError(f"{type(self).__name__}.{method.__name__} was called from inside another call")
        self._busy = True
        try:
            return method(self, *args, **kwargs)
        finally:
            self._busy = False

    return guarded


@dataclass(slots=True)
class MachineStats:
    """Counts of a machine, for people: what was dropped and why, and how often the clock went backwards."""

    dropped: dict[str, int] = field(default_factory=dict)
    clock_steps_back: int = 0

    def drop(self, reason: str, count: int = 1) -> None:
        """Count something dropped; ``reason`` is a word of the machine's own, never one from the network."""
        self.dropped[reason] = self.dropped.get(reason, 0) + count


class Machine(Generic[EventT]):
    """Base of a machine. Every public method that changes anything is marked with :func:`exclusive`."""

    def __init__(self, *, now: float, max_events: int) -> None:
        self.stats = MachineStats()
        self._now = now
        self._busy = False
        self._events: deque[EventT] = deque()
        self._max_events = max_events

    @exclusive
    def next_event(self) -> EventT | None:
        """Return the oldest event that was not returned yet, or None."""
        return self._events.popleft() if self._events else None

    def _advance(self, now: float) -> float:
        """Move the clock to ``now`` and return it; a step back leaves it where it is and is counted."""
        if now < self._now:
            self.stats.clock_steps_back += 1
        else:
            self._now = now
        return self._now

    def _emit(self, event: EventT) -> None:
        """Keep an event for the caller; one that does not drain loses the newest, counted."""
        if len(self._events) < self._max_events:
            self._events.append(event)
        else:
            self.stats.drop("event_queue_full")
