"""The replay window, and when and what is acknowledged: RFC 9000 13.2 with our numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.transport.received import ReceivedPackets
from quinkgl.wire.limits import LIMITS

DELAY_S = 0.025


def receive(received: ReceivedPackets, *numbers: int, now: float = 0.0, eliciting: bool = True) -> None:
    for number in numbers:
        assert received.is_new(number)
        received.add(number, now, eliciting=eliciting, max_ack_delay_s=DELAY_S)


def acknowledged(received: ReceivedPackets) -> set[int]:
    return {number for first, last in received.take_ack(0.0).ranges for number in range(first, last + 1)}


@pytest.mark.req("P-022")
def test_a_number_is_new_once():
    received = ReceivedPackets()
    receive(received, 0, 5)
    assert [received.is_new(number) for number in (0, 1, 4, 5, 6)] == [False, True, True, False, True]


@pytest.mark.req("P-022")
def test_numbers_below_the_window_are_not_new():
    received = ReceivedPackets()
    window = LIMITS.replay_window
    receive(received, 0, window)
    assert not received.is_new(0)
    assert received.is_new(1)
    receive(received, 2 * window)
    assert not received.is_new(window)
    assert received.is_new(window + 1)
    assert received.take_ack(0.0).ranges == ((2 * window, 2 * window),)


@pytest.mark.req("P-022")
@given(st.lists(st.integers(0, 3 * LIMITS.replay_window), max_size=60))
def test_the_window_against_a_plain_set(numbers):
    received, seen = ReceivedPackets(), set()
    for number in numbers:
        floor = max(seen, default=-1) + 1 - LIMITS.replay_window
        new = number >= floor and number not in seen
        assert received.is_new(number) == new
        if new:
            received.add(number, 0.0, eliciting=True, max_ack_delay_s=DELAY_S)
            seen.add(number)
    floor = max(seen, default=-1) + 1 - LIMITS.replay_window
    if seen:
        in_window = {number for number in seen if number >= floor}
        told = acknowledged(received)
        assert told <= in_window
        assert max(seen) in told
        assert len(in_window) > LIMITS.ack_ranges or told == in_window


@pytest.mark.req("R-010", "R-011")
def test_one_eliciting_packet_may_wait_and_a_second_may_not():
    received = ReceivedPackets()
    assert (received.ack_at, received.wants_ack) == (None, False)
    receive(received, 0, now=1.0)
    assert (received.ack_at, received.wants_ack) == (1.0 + DELAY_S, True)
    receive(received, 1, now=1.01)
    assert received.ack_at == 1.01
    received.take_ack(1.01)
    assert (received.ack_at, received.wants_ack) == (None, False)


@pytest.mark.req("R-010")
def test_a_gap_is_told_at_once():
    received = ReceivedPackets()
    receive(received, 0)
    received.take_ack(0.0)
    receive(received, 2, now=1.0)  # 1 is missing
    assert received.ack_at == 1.0
    received.take_ack(1.0)
    receive(received, 1, now=2.0)  # it comes late
    assert received.ack_at == 2.0


@pytest.mark.req("R-012")
def test_packets_that_ask_for_nothing_are_recorded_and_not_acknowledged_for_themselves():
    received = ReceivedPackets()
    receive(received, 0, 3, eliciting=False)
    assert received.ack_at is None
    assert not received.wants_ack
    receive(received, 4, now=1.0)
    assert received.ack_at == 1.0 + DELAY_S
    assert received.take_ack(1.0).ranges == ((3, 4), (0, 0))


@pytest.mark.req("F-022")
def test_the_delay_counts_from_the_largest_number():
    received = ReceivedPackets()
    receive(received, 7, now=1.0)
    receive(received, 3, now=1.5)
    assert received.take_ack(2.0).delay_s == 1.0


@pytest.mark.req("F-021")
def test_an_ack_has_the_highest_ranges():
    received = ReceivedPackets()
    numbers = range(0, 4 * LIMITS.ack_ranges, 2)
    receive(received, *numbers)
    ranges = received.take_ack(0.0).ranges
    assert len(ranges) == LIMITS.ack_ranges
    assert ranges[0] == (numbers[-1], numbers[-1])
    assert list(ranges) == sorted(ranges, reverse=True)


@pytest.mark.req("P-016")
def test_a_run_is_recorded_as_its_packets():
    one_by_one, at_once = ReceivedPackets(), ReceivedPackets()
    receive(one_by_one, *range(3, 20), now=2.0)
    assert at_once.is_new_run(3, 17)
    at_once.add(3, 2.0, eliciting=True, max_ack_delay_s=DELAY_S, count=17)
    assert [at_once.is_new_run(first, 2) for first in (1, 2, 19, 20)] == [True, False, False, True]
    assert at_once.ack_at == one_by_one.ack_at == 2.0
    assert at_once.take_ack(3.0) == one_by_one.take_ack(3.0)


@pytest.mark.req("R-016")
def test_what_the_peer_was_told_is_told_no_more():
    received = ReceivedPackets()
    receive(received, 0, 1, 3, 4)
    assert received.take_ack(0.0).ranges == ((3, 4), (0, 1))
    received.on_ack_acknowledged(4)
    receive(received, 5)
    assert received.take_ack(0.0).ranges == ((5, 5),)
    assert not received.is_new(3)  # the window remembers all the same


@pytest.mark.req("R-016")
def test_what_came_after_an_ack_was_written_is_told_even_if_it_is_late():
    received = ReceivedPackets()
    receive(received, 0, 4)
    received.take_ack(0.0)
    receive(received, 2)  # late, and then the ACK's own acknowledgement
    received.on_ack_acknowledged(4)
    assert received.take_ack(0.0).ranges == ((4, 4), (2, 2))


@pytest.mark.req("R-016")
def test_a_late_number_below_what_was_told_is_told():
    received = ReceivedPackets()
    receive(received, 0, 4)
    received.take_ack(0.0)
    received.on_ack_acknowledged(4)
    receive(received, 2)
    assert received.take_ack(0.0).ranges == ((4, 4), (2, 2))


def test_a_late_number_is_not_the_newest():
    received = ReceivedPackets()
    told = [
        received.add(number, 0.0, eliciting=eliciting, max_ack_delay_s=0.025)
        for number, eliciting in ((3, True), (1, True), (2, False), (4, False), (5, True))
    ]
    assert told == [True, False, False, True, True]
    assert received.add(6, 0.0, eliciting=True, max_ack_delay_s=0.025, count=4)
    assert not received.add(0, 0.0, eliciting=False, max_ack_delay_s=0.025)
