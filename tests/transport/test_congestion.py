"""NewReno: RFC 9002 section 7 and appendix B."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.transport.congestion import NewReno

SIZE = 1200


def grow(controller: NewReno, packets: int, sent_at: float = 10.0) -> None:
    for _ in range(packets):
        controller.on_acknowledged(SIZE, sent_at, window_limited=True)


@pytest.mark.req("R-061")
@pytest.mark.parametrize(("datagram", "window"), [(1200, 12000), (1472, 14720), (1500, 14720), (9000, 18000)])
def test_the_initial_window(datagram, window):
    """Section 7.2: 10 datagrams, at most the larger of 14,720 bytes and two datagrams."""
    assert NewReno(datagram).window == window


@pytest.mark.req("R-061")
def test_slow_start_doubles_the_window_in_a_round_trip():
    controller = NewReno(SIZE)
    grow(controller, 10)
    assert controller.window == 24000


@pytest.mark.req("R-061")
def test_growth_needs_a_sender_that_is_limited_by_the_window():
    """Section 7.8."""
    controller = NewReno(SIZE)
    controller.on_acknowledged(SIZE, 1.0, window_limited=False)
    assert controller.window == 12000


@pytest.mark.req("R-061")
def test_a_loss_halves_the_window_and_ends_slow_start():
    controller = NewReno(SIZE)
    grow(controller, 10)
    controller.on_congestion(1.0, 2.0)
    assert controller.window == 12000
    grow(controller, 10, sent_at=3.0)  # one window of acknowledgements: one datagram more
    assert controller.window == pytest.approx(12000 + SIZE, abs=60)


@pytest.mark.req("R-061")
def test_losses_of_one_round_trip_count_once():
    """Section 7.3.2: packets sent before recovery began neither shrink nor grow the window."""
    controller = NewReno(SIZE)
    controller.on_congestion(1.0, 2.0)
    window = controller.window
    controller.on_congestion(1.5, 2.1)
    controller.on_congestion(2.0, 2.2)
    grow(controller, 5, sent_at=1.9)
    assert controller.window == window
    controller.on_congestion(2.3, 2.5)
    assert controller.window == window // 2


def test_the_minimum_window_is_two_datagrams():
    controller = NewReno(SIZE)
    for when in range(20):
        controller.on_congestion(when + 0.5, when + 1.0)
    assert controller.window == 2 * SIZE


@pytest.mark.req("R-061")
def test_persistent_congestion_starts_over_from_the_minimum():
    """Section 7.6.2; then slow start up to the threshold."""
    controller = NewReno(SIZE)
    grow(controller, 30)
    controller.on_congestion(11.0, 12.0)
    threshold = controller.window
    controller.on_persistent_congestion()
    assert controller.window == 2 * SIZE
    grow(controller, 4, sent_at=5.0)  # no recovery period any more
    assert controller.window == 6 * SIZE
    grow(controller, 30, sent_at=20.0)
    assert threshold <= controller.window < threshold + 4 * SIZE


@pytest.mark.req("R-061")
@given(st.lists(st.sampled_from(["ack", "loss", "persistent"]), max_size=60))
def test_the_window_never_falls_below_the_minimum_and_grows_by_no_more_than_was_acknowledged(steps):
    controller = NewReno(SIZE)
    for now, step in enumerate(steps):
        before = controller.window
        if step == "ack":
            controller.on_acknowledged(SIZE, now, window_limited=True)
            assert before <= controller.window <= before + SIZE
        elif step == "loss":
            controller.on_congestion(now - 0.5, now)
            assert controller.window <= before
        else:
            controller.on_persistent_congestion()
        assert controller.window >= 2 * SIZE
