"""The clocks of a node: a monotonic one with origin, drift and steps, and a wall clock that may be wrong."""

from __future__ import annotations

UNIX_START = 1_800_000_000.0
"""The true wall-clock time at virtual time 0, seconds since 1970."""


class Clock:
    """What one node believes about time: ``origin + rate × virtual time``, and the steps so far.

    ``unix_error_s`` is by how much its wall clock is wrong.
    """

    __slots__ = ("_local", "_rate", "_virtual", "unix_error_s")

    def __init__(self, origin: float = 0.0, drift: float = 0.0, unix_error_s: float = 0.0) -> None:
        self._virtual = 0.0
        self._local = origin
        self._rate = 1.0 + drift
        self.unix_error_s = unix_error_s

    def local(self, virtual: float) -> float:
        """Return what the node's monotonic clock shows."""
        return self._local + self._rate * (virtual - self._virtual)

    def virtual(self, local: float) -> float:
        """Return when the node's monotonic clock shows ``local``, should nothing step it until then."""
        return self._virtual + (local - self._local) / self._rate

    def unix(self, virtual: float) -> float:
        """Return what the node's wall clock shows."""
        return UNIX_START + virtual + self.unix_error_s

    def step(self, virtual: float, seconds: float) -> None:
        """Set the monotonic clock forth or back; no system does that, and every machine must bear it."""
        self._local = self.local(virtual) + seconds
        self._virtual = virtual

    def set_drift(self, virtual: float, drift: float) -> None:
        """Let the monotonic clock run at another pace from now on."""
        self._local = self.local(virtual)
        self._virtual = virtual
        self._rate = 1.0 + drift
