"""Pacing (RFC 9002 section 7.7): a token bucket that spreads a window over its round trip."""

from __future__ import annotations

from quinkgl.wire.limits import CONSTANTS

_QUANTUM_S = 0.001
"""Event loops wake with a granularity of a millisecond; shorter waits only cost."""


class Pacer:
    """Allows a packet when the bucket is not in debt; a packet may overdraw it once [R-070]."""

    __slots__ = ("_datagram", "_tokens", "_updated")

    def __init__(self, datagram_bytes: int) -> None:
        self._datagram = datagram_bytes
        self._tokens = float(CONSTANTS.pacing_burst_packets * datagram_bytes)
        self._updated: float | None = None

    def set_datagram_bytes(self, datagram_bytes: int) -> None:
        """Count bursts in datagrams of another size from now on."""
        self._datagram = datagram_bytes

    def ready_at(self, now: float, window: int, rtt_s: float) -> float:
        """When the next packet may leave: ``now``, or a time at least one quantum later."""
        rate = self._rate(window, rtt_s)
        self._refill(now, rate)
        if self._tokens > 0:
            return now
        return now + max(_QUANTUM_S, (self._datagram - self._tokens) / rate)

    @property
    def burst_bytes(self) -> int:
        """What may leave at once now that ``ready_at`` allows a packet."""
        return int(self._tokens)

    def on_sent(self, size: int) -> None:
        """Charge what left, bytes."""
        self._tokens -= size

    def _refill(self, now: float, rate: float) -> None:
        capacity = max(CONSTANTS.pacing_burst_packets * self._datagram, CONSTANTS.pacing_burst_s * rate)
        if self._updated is not None:
            self._tokens += (now - self._updated) * rate
        self._tokens = min(self._tokens, capacity)
        self._updated = now

    @staticmethod
    def _rate(window: int, rtt_s: float) -> float:
        """Bytes a second."""
        return CONSTANTS.pacing_gain * window / max(rtt_s, 1e-6)
