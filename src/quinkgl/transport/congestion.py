"""Congestion control behind a small interface; NewReno (RFC 9002 section 7) is the conformance baseline."""

from __future__ import annotations

from typing import Protocol

from quinkgl.wire.limits import CONSTANTS


class CongestionController(Protocol):
    """Decides how many bytes may be in flight.

    Sizes are UDP payload bytes, times are the connection's clock.
    """

    @property
    def window(self) -> int:
        """Bytes that may be in flight now."""

    def on_acknowledged(self, size: int, sent_at: float, *, window_limited: bool) -> None:
        """Take note of an acknowledged packet; the window grows only while it is what limits the sender."""

    def on_congestion(self, sent_at: float, now: float) -> None:
        """React to a loss (or an ECN mark) of a packet sent at ``sent_at``: once a round trip."""

    def on_persistent_congestion(self) -> None:
        """Fall back to the minimum window (RFC 9002 7.6.2)."""

    def set_datagram_bytes(self, datagram_bytes: int) -> None:
        """The path carries datagrams of another size: the window has room for the minimum of them."""


class NewReno:
    """RFC 9002 appendix B: slow start, one halving a round trip, linear growth [R-061]."""

    __slots__ = ("_datagram", "_recovery_started", "_threshold", "_window")

    def __init__(self, datagram_bytes: int) -> None:
        self._datagram = datagram_bytes
        self._window = min(CONSTANTS.initial_window_packets * datagram_bytes, max(14720, self._minimum))
        self._threshold: int | None = None
        self._recovery_started: float | None = None

    @property
    def window(self) -> int:
        """Congestion window, bytes."""
        return self._window

    def on_acknowledged(self, size: int, sent_at: float, *, window_limited: bool) -> None:
        """Grow: by what was acknowledged in slow start, by one datagram a window afterwards."""
        if not window_limited or self._in_recovery(sent_at):
            return
        if self._threshold is None or self._window < self._threshold:
            self._window += size
        else:
            self._window += max(1, self._datagram * size // self._window)

    def on_congestion(self, sent_at: float, now: float) -> None:
        """Halve the window unless the packet was sent before the present recovery period began."""
        if self._in_recovery(sent_at):
            return
        self._recovery_started = now
        self._window = max(self._window // 2, self._minimum)
        self._threshold = self._window

    def on_persistent_congestion(self) -> None:
        """Start over from the minimum window, in slow start up to the old threshold."""
        self._window = self._minimum
        self._recovery_started = None

    def set_datagram_bytes(self, datagram_bytes: int) -> None:
        """Count in datagrams of another size; the window never lies below the minimum of them."""
        self._datagram = datagram_bytes
        self._window = max(self._window, self._minimum)

    @property
    def _minimum(self) -> int:
        return CONSTANTS.minimum_window_packets * self._datagram

    def _in_recovery(self, sent_at: float) -> bool:
        return self._recovery_started is not None and sent_at <= self._recovery_started
