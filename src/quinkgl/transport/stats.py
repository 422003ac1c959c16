"""Counters of an endpoint: what went in and out, and every drop by its reason."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class EndpointStats:
    """Totals since the endpoint was made. Bytes are UDP payload bytes."""

    bytes_sent: int = 0
    bytes_received: int = 0
    datagrams_sent: int = 0
    datagrams_received: int = 0
    packets_lost: int = 0
    resets_sent: int = 0
    resets_received: int = 0
    """Stateless resets that ended a session."""
    paths_validated: int = 0
    """How often a session moved to another address of its peer."""
    mtu_raised: int = 0
    mtu_black_holes: int = 0
    clock_steps_back: int = 0
    """How often ``now`` went backwards and was held at the latest time seen."""
    cookies_sent: int = 0
    """First packets that were answered with a demand for proof of their address."""
    cookies_received: int = 0
    version_negotiations_sent: int = 0
    version_negotiations_received: int = 0
    """Lists of versions that an attempt of ours heeded."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Datagrams and packets that had no effect, by reason: an error code's name or a lower-case word."""

    def drop(self, reason: str) -> None:
        """Count one drop."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1
