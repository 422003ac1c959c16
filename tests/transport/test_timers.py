"""The table of timers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quinkgl.transport.timers import Timer, TimerTable

SETTINGS = st.dictionaries(st.sampled_from(Timer), st.floats(0, 100), max_size=len(Timer))


def table(settings: dict[Timer, float]) -> TimerTable:
    timers = TimerTable()
    for timer, when in settings.items():
        timers.set(timer, when)
    return timers


def test_a_new_table_wakes_nobody():
    timers = TimerTable()
    assert timers.next() is None
    assert not any(timers.expired(timer, 1e9) for timer in Timer)


@given(SETTINGS)
def test_next_is_the_earliest_and_the_lower_numbered_of_two(settings):
    earliest = min(((when, timer) for timer, when in settings.items()), default=None)
    assert table(settings).next() == earliest


@given(SETTINGS, st.floats(0, 100))
def test_a_timer_expires_once_and_not_before_its_time(settings, now):
    timers = table(settings)
    for timer in Timer:
        due = timer in settings and settings[timer] <= now
        assert timers.expired(timer, now) == due
        assert not timers.expired(timer, now)
    left = [when for when in settings.values() if when > now]
    following = timers.next()
    assert (following[0] if following else None) == min(left, default=None)


def test_setting_replaces_and_stopping_disarms():
    timers = table({Timer.IDLE: 5.0, Timer.CLOSE: 7.0})
    timers.set(Timer.IDLE, 9.0)
    assert timers.next() == (7.0, Timer.CLOSE)
    timers.stop(Timer.CLOSE)
    assert timers.next() == (9.0, Timer.IDLE)
    timers.stop_all()
    assert timers.next() is None
