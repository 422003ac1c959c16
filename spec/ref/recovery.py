"""Round-trip time and time-outs (8.3 to 8.5)."""

from dataclasses import dataclass, replace

from .data import CONSTANTS

GRANULARITY_S: float = CONSTANTS["timer_granularity_s"]


@dataclass(frozen=True)
class Rtt:
    """What a sender knows of the path, in seconds; `minimum` is None before the first sample."""

    smoothed: float = CONSTANTS["initial_rtt_s"]
    variation: float = CONSTANTS["initial_rtt_s"] / 2
    latest: float = 0.0
    minimum: float | None = None


def sample(old: Rtt, rtt: float, ack_delay: float) -> Rtt:
    """Take one sample in (8.3); `ack_delay` is cut to what the peer announced, and 0 for the handshake's."""
    if old.minimum is None:
        return Rtt(smoothed=rtt, variation=rtt / 2, latest=rtt, minimum=rtt)
    minimum = min(old.minimum, rtt)
    adjusted = rtt - ack_delay if rtt >= minimum + ack_delay else rtt
    variation = old.variation + (abs(old.smoothed - adjusted) - old.variation) / 4
    smoothed = old.smoothed + (adjusted - old.smoothed) / 8
    return replace(old, smoothed=smoothed, variation=variation, latest=rtt, minimum=minimum)


def probe_timeout(rtt: Rtt, max_ack_delay: float) -> float:
    """8.5, before any doubling."""
    return rtt.smoothed + max(4 * rtt.variation, GRANULARITY_S) + max_ack_delay


def probe_wait(rtt: Rtt, max_ack_delay: float, probes: int, idle_timeout: float) -> float:
    """How long to wait for the next probe after so many in a row (R-040, R-042)."""
    once = probe_timeout(rtt, max_ack_delay)
    return float(min(once * 2 ** min(probes, 10), max(once, idle_timeout / 10)))


def loss_delay(rtt: Rtt) -> float:
    """8.4."""
    return max(float(CONSTANTS["time_threshold"]) * max(rtt.latest, rtt.smoothed), GRANULARITY_S)


def is_lost(number: int, sent_at: float, largest_acknowledged: int, rtt: Rtt, now: float) -> bool:
    """Whether a packet that is not acknowledged counts as lost (8.4)."""
    if number > largest_acknowledged:
        return False
    return largest_acknowledged - number >= CONSTANTS["packet_threshold"] or sent_at + loss_delay(rtt) <= now
