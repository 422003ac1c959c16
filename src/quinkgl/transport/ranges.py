"""Sets of integers kept as sorted half-open ranges.

Packet numbers received, bytes received, bytes to send again.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class RangeSet:
    """A set of non-negative integers as disjoint, non-adjacent, ascending half-open ranges."""

    __slots__ = ("_starts", "_stops")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []

    def __len__(self) -> int:
        """Count the ranges (not the integers)."""
        return len(self._starts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Iterate over ``(start, stop)`` in ascending order."""
        return iter(zip(self._starts, self._stops, strict=True))

    def __contains__(self, value: int) -> bool:
        """Tell whether one integer is in the set."""
        index = bisect_right(self._starts, value) - 1
        return index >= 0 and value < self._stops[index]

    def __repr__(self) -> str:
        """Show the ranges."""
        return f"RangeSet({list(self)!r})"

    def descending(self) -> Iterator[tuple[int, int]]:
        """Iterate over ``(start, stop)`` from the highest range down."""
        return zip(reversed(self._starts), reversed(self._stops), strict=True)

    def add(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Add ``[start, stop)`` and return the parts of it that were missing."""
        starts, stops = self._starts, self._stops
        if start >= stop:
            return []
        if not starts or start > stops[-1]:
            starts.append(start)
            stops.append(stop)
            return [(start, stop)]
        if start == stops[-1]:
            stops[-1] = stop
            return [(start, stop)]
        low = bisect_left(stops, start)
        high = bisect_right(starts, stop)
        missing: list[tuple[int, int]] = []
        cursor = start
        for index in range(low, high):
            if cursor < starts[index]:
                missing.append((cursor, min(stop, starts[index])))
            cursor = max(cursor, stops[index])
        if cursor < stop:
            missing.append((cursor, stop))
        if low < high:
            start = min(start, starts[low])
            stop = max(stop, stops[high - 1])
        starts[low:high] = [start]
        stops[low:high] = [stop]
        return missing

    def remove(self, start: int, stop: int) -> None:
        """Take ``[start, stop)`` out of the set, wherever it was in it."""
        starts, stops = self._starts, self._stops
        low = bisect_right(stops, start)
        high = bisect_left(starts, stop)
        if low >= high or start >= stop:
            return
        keep_starts: list[int] = []
        keep_stops: list[int] = []
        if starts[low] < start:
            keep_starts.append(starts[low])
            keep_stops.append(start)
        if stops[high - 1] > stop:
            keep_starts.append(stop)
            keep_stops.append(stops[high - 1])
        starts[low:high] = keep_starts
        stops[low:high] = keep_stops

    def first(self) -> tuple[int, int]:
        """Return the lowest range; IndexError when the set is empty."""
        return self._starts[0], self._stops[0]

    def last(self) -> tuple[int, int]:
        """Return the highest range; IndexError when the set is empty."""
        return self._starts[-1], self._stops[-1]

    def covers(self, start: int, stop: int) -> bool:
        """Tell whether all of ``[start, stop)`` is in the set."""
        index = bisect_right(self._starts, start) - 1
        return index >= 0 and stop <= self._stops[index]

    def overlaps(self, start: int, stop: int) -> bool:
        """Tell whether any integer of ``[start, stop)`` is in the set."""
        index = bisect_left(self._starts, stop) - 1
        return index >= 0 and self._stops[index] > start

    def drop_below(self, value: int) -> None:
        """Forget every integer below ``value``."""
        if self._starts and self._starts[0] < value:
            self.remove(self._starts[0], value)
