"""Wakeups: against a plain dictionary, and bounded whatever is set anew."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from quinkgl.transport.wakeups import Wakeups

KEYS = st.sampled_from([bytes([key]) for key in range(6)])
TIMES = st.integers(0, 50).map(float)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), KEYS, TIMES),
        st.tuples(st.just("discard"), KEYS),
        st.tuples(st.just("take"), TIMES),
    ),
    max_size=60,
)


@given(STEPS)
def test_against_a_plain_dictionary(steps):
    wakeups, plain = Wakeups(), {}
    for step in steps:
        if step[0] == "set":
            wakeups.set(step[1], step[2])
            plain[step[1]] = step[2]
        elif step[0] == "discard":
            wakeups.discard(step[1])
            plain.pop(step[1], None)
        else:
            due = sorted((when, key) for key, when in plain.items() if when <= step[1])
            assert wakeups.take_due(step[1]) == [key for _, key in due]
            for _, key in due:
                del plain[key]
        assert wakeups.next() == min(plain.values(), default=None)


def test_setting_one_key_again_and_again_keeps_little():
    wakeups = Wakeups()
    wakeups.set(b"first", 0.0)
    for index in range(10_000):
        wakeups.set(b"again", 1.0 + index)
    assert sys.getsizeof(wakeups._heap) < 1000  # noqa: SLF001 - the bound is what this is about
    assert wakeups.take_due(20_000.0) == [b"first", b"again"]


def test_everything_can_be_forgotten():
    wakeups = Wakeups()
    wakeups.set(b"key", 1.0)
    wakeups.clear()
    assert wakeups.next() is None
    assert wakeups.take_due(2.0) == []
