"""A reliable, ordered carrier in memory and virtual time, for machines that need no transport."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class OrderedPipe(Generic[T]):
    """Carries items one way, whole and in order; ``delay()`` gives the seconds that one takes at least."""

    last_arrival: float
    """When the item that was sent last arrives."""

    def __init__(self, delay: Callable[[], float] = lambda: 0.0) -> None:
        self._delay = delay
        self._items: deque[tuple[float, T]] = deque()
        self.last_arrival = 0.0

    def send(self, item: T, now: float) -> None:
        """Put an item in; it arrives after its delay, but not before those that were sent earlier."""
        self.last_arrival = max(self.last_arrival, now + self._delay())
        self._items.append((self.last_arrival, item))

    def next_arrival(self) -> float | None:
        """When the next item arrives, None if nothing is on the way."""
        return self._items[0][0] if self._items else None

    def receive(self, now: float) -> T | None:
        """Return the next item that has arrived by ``now``, or None."""
        if self._items and self._items[0][0] <= now:
            return self._items.popleft()[1]
        return None
