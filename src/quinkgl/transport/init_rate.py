"""How many first packets came within one second, in all and from one network (spec 5.9)."""

from __future__ import annotations

_WINDOW_S = 1.0


class InitRate:
    """Counts within seconds, one after the other.

    Networks are counted only up to the total that is allowed, so what is remembered is bounded by that.
    """

    __slots__ = ("_by_network", "_count", "_per_network", "_started_at", "_total")

    def __init__(self, *, per_network: int, total: int, now: float) -> None:
        self._per_network = per_network
        self._total = total
        self._started_at = now
        self._count = 0
        self._by_network: dict[bytes, int] = {}

    def take(self, network: bytes | None, now: float) -> bool:
        """Count one; return whether it is within both rates. None is a network without one of its own."""
        if now - self._started_at >= _WINDOW_S:
            self._started_at = now
            self._count = 0
            self._by_network.clear()
        self._count += 1
        if self._count > self._total:
            return False
        if network is None:
            return True
        same = self._by_network.get(network, 0) + 1
        self._by_network[network] = same
        return same <= self._per_network
