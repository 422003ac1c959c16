"""Round-trip time estimation (RFC 9002 section 5)."""

from __future__ import annotations

from quinkgl.wire.limits import CONSTANTS

_GRANULARITY_S = CONSTANTS.timer_granularity_s


class RttEstimator:
    """Smoothed round-trip time and its variation, seconds."""

    __slots__ = ("has_sample", "latest", "minimum", "smoothed", "variation")

    def __init__(self) -> None:
        self.latest = 0.0
        self.minimum = 0.0
        self.smoothed = CONSTANTS.initial_rtt_s
        self.variation = CONSTANTS.initial_rtt_s / 2
        self.has_sample = False

    def sample(self, rtt_s: float, ack_delay_s: float) -> None:
        """Take one measurement.

        ``ack_delay_s`` is the peer's, already capped at what it promised (section 5.3).
        """
        self.latest = rtt_s
        if not self.has_sample:
            self.has_sample = True
            self.minimum = rtt_s
            self.smoothed = rtt_s
            self.variation = rtt_s / 2
            return
        self.minimum = min(self.minimum, rtt_s)
        adjusted = rtt_s - ack_delay_s if rtt_s >= self.minimum + ack_delay_s else rtt_s
        self.variation += (abs(self.smoothed - adjusted) - self.variation) / 4
        self.smoothed += (adjusted - self.smoothed) / 8

    def probe_timeout(self, max_ack_delay_s: float) -> float:
        """PTO before back-off (section 6.2.1)."""
        return self.smoothed + max(4 * self.variation, _GRANULARITY_S) + max_ack_delay_s

    def loss_delay(self) -> float:
        """How long a packet may stay unacknowledged after a later one was acknowledged (section 6.1.2)."""
        return max(CONSTANTS.time_threshold * max(self.latest, self.smoothed), _GRANULARITY_S)
