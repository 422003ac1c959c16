"""The credit window grows with what a round trip brings, and only where a round trip takes its time."""

from __future__ import annotations

import pytest

from quinkgl.transport.credit_window import CreditWindow
from quinkgl.transport.objects import ObjectExchange
from quinkgl.transport.reassembly import ObjectConfig, Reassembly
from quinkgl.wire.limits import HARD, LIMITS

DEFAULT, MOST = LIMITS.credit_per_transfer_bytes, HARD.credit_per_transfer_bytes


def feed(window: CreditWindow, per_round_trip: int, *, rtt_s: float, round_trips: int) -> None:
    for number in range(round_trips):
        for part in range(10):
            window.on_received(per_round_trip // 10, rtt_s, (number + part / 10) * rtt_s)


def test_it_begins_at_the_default():
    assert CreditWindow().size_bytes == DEFAULT


@pytest.mark.req("O-017")
@pytest.mark.parametrize(
    ("receive_buffer_bytes", "expected"),
    [
        (0, DEFAULT),
        (212_992, DEFAULT),
        (2 * DEFAULT, DEFAULT),
        (3 * DEFAULT, 3 * DEFAULT // 2),
        (4 * DEFAULT, 2 * DEFAULT),
        (64 * DEFAULT, 2 * DEFAULT),
    ],
)
def test_an_exchange_begins_with_half_of_the_receive_buffer_within_bounds(receive_buffer_bytes, expected):
    config = ObjectConfig(receive_buffer_bytes=receive_buffer_bytes)
    assert ObjectExchange(Reassembly(config)).window.size_bytes == expected


def test_a_path_that_brings_less_than_the_first_window_leaves_it_as_it_is():
    window = CreditWindow(2 * DEFAULT)
    feed(window, DEFAULT // 2, rtt_s=0.1, round_trips=3)
    assert window.size_bytes == 2 * DEFAULT


@pytest.mark.req("O-017")
@pytest.mark.parametrize(
    ("per_round_trip", "expected"),
    [(DEFAULT // 4, DEFAULT), (DEFAULT, 2 * DEFAULT), (3 * DEFAULT, 6 * DEFAULT), (MOST, MOST)],
)
def test_it_holds_twice_what_a_round_trip_brings_within_its_bounds(per_round_trip, expected):
    window = CreditWindow()
    feed(window, per_round_trip, rtt_s=0.1, round_trips=3)
    assert window.size_bytes == pytest.approx(expected, rel=0.01)


@pytest.mark.req("O-017")
def test_it_stays_on_a_short_path():
    window = CreditWindow()
    feed(window, MOST, rtt_s=0.001, round_trips=20)
    assert window.size_bytes == DEFAULT


def test_it_never_shrinks():
    window = CreditWindow()
    feed(window, 2 * DEFAULT, rtt_s=0.1, round_trips=2)
    grown = window.size_bytes
    window.on_received(1, 0.1, 50.0)
    window.on_received(1, 0.1, 60.0)
    assert window.size_bytes == grown > DEFAULT
