"""A token bucket: how often something may happen, and how many times in a row."""

from __future__ import annotations


class TokenBucket:
    """Holds at most ``burst`` tokens and gains one every ``interval_s``; starts full."""

    __slots__ = ("_at", "_burst", "_interval_s", "_tokens")

    def __init__(self, *, burst: int, interval_s: float, now: float) -> None:
        """``interval_s`` may be 0: then there is no limit."""
        self._burst = burst
        self._interval_s = interval_s
        self._tokens = float(burst)
        self._at = now

    def take(self, now: float) -> bool:
        """Take a token if there is one; ``now`` never goes backwards."""
        if self._interval_s <= 0:
            return True
        self._tokens = min(float(self._burst), self._tokens + (now - self._at) / self._interval_s)
        self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
