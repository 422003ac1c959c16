"""How much one transfer may have on the way (spec 9.4): grows with the bandwidth-delay product of the path.

What one round trip brings is what the window must hold for the sender never to wait, so the window is kept at
twice that, between what it began with and the maximum of ``credit_per_transfer_bytes``. On a path of a few
milliseconds it stays: a window larger than half of the socket's buffer could fill that faster than it is
read.
"""

from __future__ import annotations

from quinkgl.wire.limits import HARD, LIMITS

_LEAST_ROUND_TRIP_S = 0.005
_GAIN = 2
"""A window of exactly one round trip's bytes would keep a path that gets faster at its old rate."""


class CreditWindow:
    """The window of one connection's incoming transfers."""

    __slots__ = ("_ends_at", "_received", "size_bytes")

    def __init__(self, size_bytes: int = LIMITS.credit_per_transfer_bytes) -> None:
        """Begin with ``size_bytes``."""
        self.size_bytes = size_bytes
        self._received = 0
        self._ends_at = 0.0

    def on_received(self, size: int, rtt_s: float, now: float) -> None:
        """Take note of ``size`` bytes of chunks; once a round trip, see whether the window holds them."""
        if now >= self._ends_at:
            if self._received and rtt_s >= _LEAST_ROUND_TRIP_S:
                wished = min(_GAIN * self._received, HARD.credit_per_transfer_bytes)
                self.size_bytes = max(self.size_bytes, wished)
            self._received = 0
            self._ends_at = now + rtt_s
        self._received += size
