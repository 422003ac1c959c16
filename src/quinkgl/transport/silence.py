"""Notices that nothing comes although the peer has something to send.

Whoever only receives has nothing to repeat. When an address translator on the way gives it another address,
the peer sends on to the old one, and nobody would ever notice before a keepalive: so the receiver of an
unfinished transfer that hears nothing shows where it is (spec 6b.5).
"""

from __future__ import annotations

from quinkgl.transport.timers import Timer, TimerTable

_LEAST_S = 1.0


class SilenceWatch:
    """A timer that runs while a transfer to us is under way, and is set back by all that arrives.

    It is looked at when it is due, not moved with each packet.
    """

    __slots__ = ("_most_s", "_timers", "heard_at", "is_on")

    def __init__(self, timers: TimerTable, most_s: float, now: float) -> None:
        """``most_s`` is the keepalive interval, which shows where we are anyway."""
        self._timers = timers
        self._most_s = most_s
        self.heard_at = now
        """When something authentic came last; whoever takes it says so here."""
        self.is_on = False

    def begin(self, probe_timeout_s: float, now: float) -> None:
        """More of a transfer has to come: watch."""
        self.is_on = True
        self._timers.set(Timer.SILENCE, now + self._wait_s(probe_timeout_s))

    def is_due(self, probe_timeout_s: float, now: float, *, expects: bool) -> bool:
        """Whether to ask the peer for a sign of life: the timer fired, and nothing came [Q-030]."""
        if not self._timers.expired(Timer.SILENCE, now):
            return False
        self.is_on = expects
        if not expects:
            return False
        due = self.heard_at + self._wait_s(probe_timeout_s)
        if due > now:
            self._timers.set(Timer.SILENCE, due)
            return False
        self._timers.set(Timer.SILENCE, now + self._wait_s(probe_timeout_s))
        return True

    def _wait_s(self, probe_timeout_s: float) -> float:
        return min(max(_LEAST_S, probe_timeout_s), self._most_s)
