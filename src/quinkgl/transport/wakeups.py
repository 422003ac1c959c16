"""When each of many things is due next: cheap to set and to ask, however many there are."""

from __future__ import annotations

import heapq

_SPARE = 16
"""Outdated entries that are kept whatever the number of things."""


class Wakeups:
    """One time for each key, absolute seconds, and the earliest of them at once.

    Setting costs the logarithm of the number of keys. An entry that was replaced stays in the heap until it
    comes to the top or outdated ones outnumber the others, so memory is bounded by the number of keys.
    """

    __slots__ = ("_heap", "_when")

    def __init__(self) -> None:
        self._when: dict[bytes, float] = {}
        self._heap: list[tuple[float, bytes]] = []

    def set(self, key: bytes, when: float) -> None:
        """Set, or set anew, when something is due."""
        self._when[key] = when
        heapq.heappush(self._heap, (when, key))
        self._prune()

    def discard(self, key: bytes) -> None:
        """Forget a key; nothing happens where it is unknown."""
        self._when.pop(key, None)
        self._prune()

    def clear(self) -> None:
        """Forget every key."""
        self._when.clear()
        self._heap.clear()

    def next(self) -> float | None:
        """Return when the earliest is due."""
        return self._heap[0][0] if self._heap else None

    def take_due(self, now: float) -> list[bytes]:
        """Take the keys that are due, the earliest first; each is forgotten, and may be set again."""
        due: list[bytes] = []
        while self._heap and self._heap[0][0] <= now:
            _, key = heapq.heappop(self._heap)
            del self._when[key]
            due.append(key)
            self._prune()
        return due

    def _prune(self) -> None:
        """Drop outdated entries: those on top always, the rest when they are the larger part."""
        if len(self._heap) > 2 * len(self._when) + _SPARE:
            self._heap = [(when, key) for key, when in self._when.items()]
            heapq.heapify(self._heap)
        while self._heap and self._when.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
