"""Pacing: a window is spread over its round trip, in bursts of ten packets at most."""

from __future__ import annotations

import pytest

from quinkgl.transport.pacer import Pacer

SIZE = 1200
WINDOW = 60 * SIZE
RTT_S = 0.1
RATE = 1.25 * WINDOW / RTT_S


def burst(pacer: Pacer, now: float, *, window: int = WINDOW, rtt_s: float = RTT_S) -> int:
    """Send what may leave at one instant; return how many packets that were."""
    packets = 0
    while pacer.ready_at(now, window, rtt_s) <= now:
        pacer.on_sent(SIZE)
        packets += 1
    return packets


@pytest.mark.req("R-070")
def test_the_first_burst_is_the_initial_window():
    """RFC 9002 7.7."""
    assert burst(Pacer(SIZE), 0.0) == 10


def test_the_wait_is_over_when_it_said():
    pacer = Pacer(SIZE)
    burst(pacer, 0.0)
    ready = pacer.ready_at(0.0, WINDOW, RTT_S)
    assert ready == pytest.approx(SIZE / RATE)
    assert pacer.ready_at(ready, WINDOW, RTT_S) == ready
    assert burst(pacer, ready) == 1


@pytest.mark.req("R-070")
def test_waits_are_not_shorter_than_a_timer_can_be():
    """Where the rate is 125 packets a millisecond, bursts grow to 2 ms of it."""
    pacer = Pacer(SIZE)
    burst(pacer, 0.0, window=1000 * SIZE, rtt_s=0.01)
    assert pacer.ready_at(0.0, 1000 * SIZE, 0.01) == 0.001
    assert burst(pacer, 1.0, window=1000 * SIZE, rtt_s=0.01) == 250


@pytest.mark.req("R-070")
def test_a_window_takes_four_fifths_of_a_round_trip():
    """The gain of 1.25: a sender that is late catches up."""
    pacer = Pacer(SIZE)
    now, sent = 0.0, 0
    while sent < 600:
        ready = pacer.ready_at(now, WINDOW, RTT_S)
        if ready > now:
            now = ready
            continue
        pacer.on_sent(SIZE)
        sent += 1
    assert now == pytest.approx((600 - 10) * SIZE / RATE, rel=0.05)


@pytest.mark.req("R-070")
def test_idle_time_does_not_add_up():
    pacer = Pacer(SIZE)
    burst(pacer, 0.0)
    assert burst(pacer, 1000.0) == 10


def test_a_path_without_delay_is_not_divided_by_zero():
    pacer = Pacer(SIZE)
    assert pacer.ready_at(0.0, WINDOW, 0.0) == 0.0
