"""Which outgoing transfer of a session sends next: the newest first, and none starves (spec 9.3)."""

from __future__ import annotations

from collections import deque

_SHARE = 8
"""One turn in so many goes to whoever waited longest, whatever its priority: a transfer that is under way
stays above the least rate while newer ones overtake it."""


class Turns:
    """The order in which transfers are asked for a chunk, or for a run of chunks [O-009]."""

    __slots__ = ("_count", "_priorities", "_waiting")

    def __init__(self) -> None:
        self._waiting: deque[int] = deque()
        self._priorities: dict[int, int] = {}
        self._count = 0

    def add(self, transfer: int, priority: int) -> None:
        """Let a transfer take turns; those of the highest priority go first."""
        self._priorities[transfer] = priority
        self._waiting.append(transfer)

    def remove(self, transfer: int) -> None:
        """Forget a transfer."""
        del self._priorities[transfer]
        self._waiting.remove(transfer)

    def candidates(self) -> list[int]:
        """Whom to ask, in order; the first that has something takes the turn."""
        order = list(self._waiting)
        if len(order) > 1 and self._count % _SHARE != _SHARE - 1:
            order.sort(key=lambda transfer: -self._priorities[transfer])
        return order

    def took(self, transfer: int) -> None:
        """Take note of who sent."""
        self._count += 1
        if len(self._waiting) > 1:
            self._waiting.remove(transfer)
            self._waiting.append(transfer)
