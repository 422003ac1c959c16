"""The named timers of a connection: a small table, never a heap of callbacks."""

from __future__ import annotations

import math
from enum import IntEnum


class Timer(IntEnum):
    """Why a connection wants to be woken."""

    PACING = 0
    KEEPALIVE = 1
    IDLE = 2
    FINISH = 3
    """The handshake's last message is sent again until the peer has shown that it has it."""
    CLOSE_AGAIN = 4
    """CLOSE is sent again while we wait for the peer's."""
    CLOSE = 5
    SILENCE = 6
    """Nothing came for a while although the peer has something to send: our address may have changed."""


_TIMERS = tuple(Timer)


class TimerTable:
    """When each timer is due, absolute on the caller's clock; an unset timer never is."""

    __slots__ = ("_due",)

    def __init__(self) -> None:
        self._due = [math.inf] * len(Timer)

    def set(self, timer: Timer, when: float) -> None:
        """Arm a timer, replacing what it was set to."""
        self._due[timer] = when

    def stop(self, timer: Timer) -> None:
        """Disarm a timer."""
        self._due[timer] = math.inf

    def stop_all(self) -> None:
        """Disarm every timer."""
        self._due = [math.inf] * len(Timer)

    def earliest(self) -> float | None:
        """When the earliest timer is due."""
        when = min(self._due)
        return None if when == math.inf else when

    def next(self) -> tuple[float, Timer] | None:
        """Return the earliest timer, the lower-numbered one of two that are due together."""
        when = min(self._due)
        return None if when == math.inf else (when, _TIMERS[self._due.index(when)])

    def expired(self, timer: Timer, now: float) -> bool:
        """Whether a timer is due at ``now``; a due timer is disarmed by asking."""
        if self._due[timer] > now:
            return False
        self._due[timer] = math.inf
        return True
