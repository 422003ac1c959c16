"""Choices are uniform, and their sequence stays the same."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from quinkgl.protocol.draw import below, choose, sample


@given(st.integers(1, 1000), st.integers())
def test_a_draw_stays_below_its_bound(bound, seed):
    assert 0 <= below(random.Random(seed), bound) < bound


@given(st.lists(st.integers(), unique=True, max_size=20), st.integers(0, 25), st.integers())
def test_a_sample_holds_different_elements(items, count, seed):
    drawn = sample(random.Random(seed), items, count)
    assert len(drawn) == len(set(drawn)) == min(count, len(items))
    assert set(drawn) <= set(items)


def test_draws_are_uniform():
    rng = random.Random(1)
    counts = Counter(choose(rng, "abcde") for _ in range(10_000))
    firsts = Counter(sample(rng, "abcde", 2)[0] for _ in range(10_000))
    for count in (*counts.values(), *firsts.values()):
        assert 1800 < count < 2200, "seed 1"


def test_the_sequence_is_fixed():
    rng = random.Random(7)
    assert [below(rng, 10) for _ in range(8)] == [5, 2, 6, 0, 1, 8, 1, 5]
    assert sample(random.Random(7), range(6), 6) == [2, 0, 5, 1, 4, 3]
