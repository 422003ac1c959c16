"""The token bucket against a model that remembers every moment."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quinkgl.protocol.rate import TokenBucket


@given(st.integers(1, 5), st.lists(st.integers(0, 8), max_size=40))
def test_no_window_ever_passes_more_than_burst_and_rate(burst, gaps):
    bucket = TokenBucket(burst=burst, interval_s=2.0, now=0.0)
    now, taken = 0.0, []
    for gap in gaps:
        now += gap / 4
        if bucket.take(now):
            taken.append(now)
    for index, start in enumerate(taken):
        for offset, end in enumerate(taken[index:]):
            assert offset + 1 <= burst + (end - start) / 2.0


def test_a_full_bucket_gives_a_burst_and_then_one_an_interval():
    bucket = TokenBucket(burst=3, interval_s=2.0, now=10.0)
    assert [bucket.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(11.5)
    assert bucket.take(12.0)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]


def test_no_interval_means_no_limit():
    bucket = TokenBucket(burst=1, interval_s=0.0, now=0.0)
    assert all(bucket.take(0.0) for _ in range(100))
