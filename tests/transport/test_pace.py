"""The least rate of a transfer: windows of 60 s, 1,000 bytes in each, and a byte in 180 s."""

from __future__ import annotations

import pytest

from quinkgl.transport.pace import Pace, Speed


def pace() -> Pace:
    return Pace(least_bytes=1000, window_s=60, stall_s=180, now=0.0)


def test_nothing_is_judged_within_a_window():
    made = pace()
    assert made.check_at == 60
    assert made.judge(0, now=59.9) is Speed.ENOUGH
    assert made.check_at == 60


@pytest.mark.req("O-037")
def test_each_window_counts_for_itself():
    made = pace()
    assert made.judge(5000, now=60.0) is Speed.ENOUGH
    assert made.judge(5999, now=120.0) is Speed.SLOW
    assert made.judge(6999, now=180.0) is Speed.ENOUGH


@pytest.mark.req("O-037")
def test_what_stands_still_is_slow_at_first_and_stalled_in_the_end():
    made = pace()
    assert made.judge(10, now=60.0) is Speed.SLOW
    assert made.judge(10, now=120.0) is Speed.SLOW
    assert made.judge(10, now=180.0) is Speed.SLOW
    assert made.judge(10, now=240.0) is Speed.STALLED


def test_a_crumb_ends_the_standstill():
    made = pace()
    for window in range(1, 20):
        assert made.judge(window, now=60.0 * window) is Speed.SLOW


def test_the_window_is_no_longer_than_the_standstill():
    assert Pace(least_bytes=0, window_s=600, stall_s=60, now=5.0).check_at == 65
