"""What the machines of this package share: a clock that cannot go back, one owner, bounded events, counts."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from quinkgl.wire.errors import ErrorCode, LocalProtocolError
from quinkgl.wire.exclusive import Exclusive, exclusive

EventT = TypeVar("EventT")

_MAX_UNIX = 1 << 42
"""Seconds since 1970 whose milliseconds are below 2^52; the year 139,000."""


@dataclass(slots=True)
class MachineStats:
    """Counts of a machine, for people: what was dropped and why, and how often the clock went backwards."""

    dropped: dict[str, int] = field(default_factory=dict)
    clock_steps_back: int = 0

    def drop(self, reason: str, count: int = 1) -> None:
        """Count something dropped; ``reason`` is a word of the machine's own, never one from the network."""
        self.dropped[reason] = self.dropped.get(reason, 0) + count


class Machine(Exclusive, Generic[EventT]):
    """Base of a machine. Every public method that changes anything is marked ``@exclusive``."""

    def __init__(self, *, now: float, max_events: int) -> None:
        self.stats = MachineStats()
        self._now = now
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


class PeerMachine(Machine[EventT]):
    """Base of a machine that talks with one peer: messages that wait to be taken, and one time-out."""

    def __init__(self, *, now: float, max_events: int) -> None:
        super().__init__(now=now, max_events=max_events)
        self._outbox: deque[bytes] = deque()
        self._timeout_at: float | None = None

    @exclusive
    def next_message(self, now: float) -> bytes | None:
        """Return the next message for the peer, or None."""
        self._advance(now)
        return self._outbox.popleft() if self._outbox else None

    @property
    def has_output(self) -> bool:
        """Whether there is an event or a message to take."""
        return bool(self._events or self._outbox)

    def deadline(self) -> float | None:
        """When to call ``handle_timer``; at once while there is an event or a message to take."""
        return self._now if self._events or self._outbox else self._timeout_at

    @property
    def deadline_reason(self) -> str:
        """What the deadline is for."""
        if self._events or self._outbox:
            return "output"
        return "" if self._timeout_at is None else "timeout"


def misuse(message: str) -> LocalProtocolError:
    """Return the error for a caller that asks for what it must not; raise it before anything changes."""
    return LocalProtocolError(ErrorCode.E_USAGE, message, layer="protocol")


def check_unix(unix_now: float) -> None:
    """Raise LocalProtocolError for a wall-clock time before 1970, or beyond what a signed item can say."""
    if not 0 <= unix_now <= _MAX_UNIX:
        raise misuse(f"{unix_now} is no wall-clock time in seconds since 1970")
