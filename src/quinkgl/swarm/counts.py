"""What was dropped and why, counted for a swarm that outlives the parts which dropped it."""

from __future__ import annotations

from collections.abc import Mapping


class Counts:
    """Drops by reason; those of a machine that ends are added when it does."""

    __slots__ = ("dropped",)

    def __init__(self) -> None:
        self.dropped: dict[str, int] = {}

    def add(self, dropped: Mapping[str, int]) -> None:
        """Add the counts of a part."""
        for reason, count in dropped.items():
            self.dropped[reason] = self.dropped.get(reason, 0) + count

    def drop(self, reason: str) -> None:
        """Count one thing dropped."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1
