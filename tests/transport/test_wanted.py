"""What is asked for of an object that is partly here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.transport.ranges import RangeSet
from quinkgl.transport.wanted import WantedRanges, missing_ranges

TOTAL = 300


def held(*ranges: tuple[int, int]) -> RangeSet:
    made = RangeSet()
    for start, stop in ranges:
        made.add(start, stop)
    return made


def test_nothing_held_is_one_range_and_everything_held_is_none():
    assert missing_ranges(held(), TOTAL, 4) == ((0, TOTAL),)
    assert missing_ranges(held((0, TOTAL)), TOTAL, 4) == ()
    assert missing_ranges(held((10, 20)), TOTAL, 4) == ((0, 10), (20, TOTAL))


@pytest.mark.req("O-008")
def test_the_shortest_held_pieces_are_asked_for_again_where_there_are_too_many_gaps():
    pieces = held((10, 12), (20, 60), (70, 75), (80, 90))
    assert missing_ranges(pieces, 100, 5) == ((0, 10), (12, 20), (60, 70), (75, 80), (90, 100))
    assert missing_ranges(pieces, 100, 4) == ((0, 20), (60, 70), (75, 80), (90, 100))
    assert missing_ranges(pieces, 100, 3) == ((0, 20), (60, 80), (90, 100))
    assert missing_ranges(pieces, 100, 1) == ((0, 100),)


@pytest.mark.req("O-008", "O-010")
@given(st.sets(st.integers(0, TOTAL - 1)), st.integers(1, 20))
def test_every_missing_byte_is_asked_for_in_few_ascending_ranges(here, most):
    pieces = held(*[(value, value + 1) for value in sorted(here)])
    ranges = missing_ranges(pieces, TOTAL, most)
    assert len(ranges) <= most
    flat = [bound for pair in ranges for bound in pair]
    assert flat == sorted(set(flat))
    asked = {value for start, stop in ranges for value in range(start, stop)}
    missing = set(range(TOTAL)) - here
    assert missing <= asked
    if len(ranges) < most:
        assert asked == missing


@pytest.mark.parametrize(
    ("start", "stop", "rank"),
    [
        *[(10, 11, 1), (10, 20, 10), (19, 20, 10), (30, 35, 15), (39, 40, 20), (9, 11, None)],
        *[(19, 21, None), (20, 30, None), (10, 40, None), (39, 41, None), (0, 5, None), (50, 60, None)],
    ],
)
def test_the_rank_behind_a_chunk(start, stop, rank):
    made = WantedRanges(((10, 20), (30, 40)))
    assert made.rank_behind(start, stop) == rank
    assert made.as_pairs() == ((10, 20), (30, 40))
