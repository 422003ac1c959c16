"""Virtual time: one heap of what will happen, in the order of time, then of asking."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any


class Scheduler:
    """Calls functions at points of virtual time. Nothing waits, and nothing depends on a real clock."""

    __slots__ = ("_heap", "_sequence", "now", "steps")

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = 0
        """Functions that were called so far."""
        self._heap: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._sequence = 0

    def at(self, when: float, call: Callable[[Any], None], argument: Any = None) -> None:
        """Have ``call(argument)`` run at ``when``, at once where that has passed."""
        self._sequence += 1
        heapq.heappush(self._heap, (when, self._sequence, call, argument))

    def after(self, seconds: float, call: Callable[[Any], None], argument: Any = None) -> None:
        """Have ``call(argument)`` run so many seconds from now."""
        self.at(self.now + seconds, call, argument)

    def run(self, until: float) -> None:
        """Let everything happen that is due up to ``until``; time stands there afterwards."""
        heap = self._heap
        pop = heapq.heappop
        while heap and heap[0][0] <= until:
            when, _, call, argument = pop(heap)
            self.now = max(self.now, when)
            self.steps += 1
            call(argument)
        self.now = max(self.now, until)

    @property
    def pending(self) -> int:
        """How much is still to happen."""
        return len(self._heap)
