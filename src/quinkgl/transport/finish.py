"""The initiator's last handshake datagram (spec 5.6): sent until the peer shows that it came.

Message 3 has no acknowledgement of its own; the first authentic packet of the session is one. Whoever
answered the handshake and lost message 3 forgets it, so waiting longer than that would be for nothing.
"""

from __future__ import annotations

from quinkgl.transport.timers import Timer, TimerTable
from quinkgl.wire.limits import LIMITS

LIFETIME_S = 2 * LIMITS.half_open_lifetime_s
"""How long an initiator waits for the first packet of its session."""
_MOST_DOUBLINGS = 6


class Finish:
    """Message 3 on its way; nothing at all on the side that answered."""

    __slots__ = ("_datagram", "_due", "_timers", "_tries")

    def __init__(self, datagram: bytes | None, timers: TimerTable) -> None:
        self._datagram = datagram
        self._due = datagram is not None
        self._tries = 0
        self._timers = timers

    @property
    def is_unproven(self) -> bool:
        """Whether no packet has shown yet that it came."""
        return self._datagram is not None

    def handle_timer(self, now: float) -> None:
        """Send it again if it is time to."""
        if self._timers.expired(Timer.FINISH, now):
            self._due = True

    def take(self, probe_timeout_s: float, now: float) -> bytes | None:
        """Return the datagram if it is to be sent now; the next time is after twice the wait [S-033]."""
        if not self._due or self._datagram is None:
            return None
        self._due = False
        wait_s = min(probe_timeout_s, LIMITS.handshake_timeout_s) * 2 ** min(self._tries, _MOST_DOUBLINGS)
        self._tries += 1
        self._timers.set(Timer.FINISH, now + wait_s)
        return self._datagram

    def prove(self) -> None:
        """A packet of the session came: the peer has message 3."""
        self._datagram = None
        self._due = False
        self._timers.stop(Timer.FINISH)
