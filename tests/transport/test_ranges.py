"""RangeSet against a plain set of integers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.transport.ranges import RangeSet

TOP = 40
BOUNDS = st.tuples(st.integers(0, TOP), st.integers(0, TOP))
OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["add", "remove", "drop_below"]), st.integers(0, TOP), st.integers(0, TOP)),
    max_size=20,
)


def ranges_of(model: set[int]) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for value in sorted(model):
        if ranges and ranges[-1][1] == value:
            ranges[-1] = (ranges[-1][0], value + 1)
        else:
            ranges.append((value, value + 1))
    return ranges


def members(ranges) -> set[int]:
    return {value for start, stop in ranges for value in range(start, stop)}


def build(operations) -> tuple[RangeSet, set[int]]:
    """Do the same to both; what ``add`` returns is checked on the way."""
    ranges, model = RangeSet(), set()
    for operation, start, stop in operations:
        piece = set(range(start, stop))
        if operation == "add":
            missing = ranges.add(start, stop)
            assert missing == ranges_of(piece - model)
            model |= piece
        elif operation == "remove":
            ranges.remove(start, stop)
            model -= piece
        else:
            ranges.drop_below(start)
            model -= set(range(start))
    return ranges, model


@given(OPERATIONS)
def test_it_is_the_same_set_after_any_operations(operations):
    ranges, model = build(operations)
    expected = ranges_of(model)
    assert list(ranges) == expected
    assert len(ranges) == len(expected)
    assert list(ranges.descending()) == expected[::-1]
    assert all((value in ranges) == (value in model) for value in range(TOP + 2))


@given(OPERATIONS, BOUNDS)
def test_covers(operations, bounds):
    ranges, model = build(operations)
    start, stop = bounds
    if start < stop:
        assert ranges.covers(start, stop) == (set(range(start, stop)) <= model)


@given(OPERATIONS)
def test_first_and_last(operations):
    ranges, model = build(operations)
    if model:
        assert ranges.first() == ranges_of(model)[0]
        assert ranges.last() == ranges_of(model)[-1]
    else:
        for end in (ranges.first, ranges.last):
            with pytest.raises(IndexError):
                end()


@given(st.lists(BOUNDS, max_size=12))
def test_pieces_that_were_missing_are_disjoint_and_make_up_the_whole(pieces):
    ranges = RangeSet()
    seen: list[int] = []
    for start, stop in pieces:
        for missing in ranges.add(start, stop):
            seen += range(*missing)
    assert len(seen) == len(set(seen))
    assert set(seen) == members(ranges)


def test_repr_shows_the_ranges():
    ranges = RangeSet()
    ranges.add(1, 3)
    ranges.add(5, 6)
    assert repr(ranges) == "RangeSet([(1, 3), (5, 6)])"
