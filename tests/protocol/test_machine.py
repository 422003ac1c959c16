"""What every machine of the package can do."""

from __future__ import annotations

import pytest

from quinkgl.protocol.machine import Machine, check_unix, misuse
from quinkgl.wire.errors import ErrorCode, LocalProtocolError


class Counter(Machine):
    def tick(self, now):
        self._emit(self._advance(now))


def test_time_is_clamped_and_counted():
    machine = Counter(now=5.0, max_events=10)
    for now in (5.0, 6.0, 4.0, 6.5):
        machine.tick(now)
    assert [machine.next_event() for _ in range(5)] == [5.0, 6.0, 6.0, 6.5, None]
    assert machine.stats.clock_steps_back == 1


def test_events_are_bounded_and_the_newest_are_lost():
    machine = Counter(now=0.0, max_events=2)
    for now in (1.0, 2.0, 3.0):
        machine.tick(now)
    assert [machine.next_event() for _ in range(3)] == [1.0, 2.0, None]
    assert machine.stats.dropped == {"event_queue_full": 1}


def test_misuse_is_a_local_error():
    assert misuse("no").code is ErrorCode.E_USAGE
    for unix_now in (0.0, 1.7e9):
        check_unix(unix_now)
    for unix_now in (-1.0, float("nan"), float("inf"), 1e13):
        with pytest.raises(LocalProtocolError):
            check_unix(unix_now)
