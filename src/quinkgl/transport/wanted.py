"""Wanted ranges of a transfer's byte space, and what of an object is still to be asked for (spec 9.3)."""

from __future__ import annotations

from bisect import bisect_right

from quinkgl.transport.ranges import RangeSet


class WantedRanges:
    """The wanted ranges laid end to end: *rank* r is the r-th wanted byte."""

    __slots__ = ("_ranks", "_starts", "_stops", "total")

    def __init__(self, ranges: tuple[tuple[int, int], ...]) -> None:
        self._starts = [start for start, _ in ranges]
        self._stops = [stop for _, stop in ranges]
        self._ranks: list[int] = []
        rank = 0
        for start, stop in ranges:
            self._ranks.append(rank)
            rank += stop - start
        self.total = rank

    def position(self, rank: int) -> tuple[int, int]:
        """Return the byte at a rank below ``total``, and where its range stops."""
        index = bisect_right(self._ranks, rank) - 1
        return self._starts[index] + rank - self._ranks[index], self._stops[index]

    def rank_behind(self, start: int, stop: int) -> int | None:
        """Return the rank behind the last byte of ``[start, stop)``; None unless one range holds it all."""
        index = bisect_right(self._starts, start) - 1
        if index < 0 or stop > self._stops[index]:
            return None
        return self._ranks[index] + stop - self._starts[index]

    def as_pairs(self) -> tuple[tuple[int, int], ...]:
        """Return the ranges, as WANT carries them."""
        return tuple(zip(self._starts, self._stops, strict=True))


def missing_ranges(held: RangeSet, total: int, most: int) -> tuple[tuple[int, int], ...]:
    """Return at most ``most`` ascending ranges that hold all of ``[0, total)`` that is not ``held`` [O-008].

    Where there are more gaps than that, the shortest held pieces between them are asked for once more: that
    costs less than another round trip for a further WANT.
    """
    gaps: list[tuple[int, int]] = []
    cursor = 0
    for start, stop in held:
        if cursor < start:
            gaps.append((cursor, start))
        cursor = stop
    if cursor < total:
        gaps.append((cursor, total))
    excess = len(gaps) - most
    if excess <= 0:
        return tuple(gaps)
    bridges = sorted(range(1, len(gaps)), key=lambda index: (gaps[index][0] - gaps[index - 1][1], index))
    bridged = set(bridges[:excess])
    merged: list[tuple[int, int]] = []
    for index, (start, stop) in enumerate(gaps):
        if index in bridged:
            merged[-1] = (merged[-1][0], stop)
        else:
            merged.append((start, stop))
    return tuple(merged)
