"""Round-trip time estimation: RFC 9002 section 5, number for number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.transport.rtt import RttEstimator


@pytest.mark.req("R-040")
def test_before_any_sample():
    """Section 6.2.2: 333 ms and half of it, so the first probe time-out is one second and the ACK delay."""
    rtt = RttEstimator()
    assert (rtt.smoothed, rtt.variation, rtt.has_sample) == (0.333, 0.1665, False)
    assert rtt.probe_timeout(0.0) == pytest.approx(0.999)
    assert rtt.probe_timeout(0.025) == pytest.approx(1.024)


def test_the_first_sample_sets_everything():
    """Section 5.3: smoothed = sample, variation = half of it; the ACK delay has no say."""
    rtt = RttEstimator()
    rtt.sample(0.1, 0.02)
    assert rtt.has_sample
    assert (rtt.latest, rtt.minimum, rtt.smoothed, rtt.variation) == (0.1, 0.1, 0.1, 0.05)
    assert rtt.probe_timeout(0.025) == pytest.approx(0.1 + 0.2 + 0.025)


@pytest.mark.req("R-021")
def test_a_worked_example():
    """Section 5.3: variation first (3/4, 1/4), then smoothed (7/8, 1/8), both from the adjusted sample."""
    rtt = RttEstimator()
    rtt.sample(0.1, 0.0)
    rtt.sample(0.18, 0.02)  # 160 ms without the peer's delay
    assert rtt.variation == pytest.approx(0.75 * 0.05 + 0.25 * abs(0.1 - 0.16))
    assert rtt.smoothed == pytest.approx(0.875 * 0.1 + 0.125 * 0.16)
    assert rtt.latest == 0.18


def test_a_delay_that_would_lead_below_the_minimum_is_not_believed():
    rtt = RttEstimator()
    rtt.sample(0.1, 0.0)
    rtt.sample(0.11, 0.02)  # 90 ms would be less than the path ever took
    assert rtt.smoothed == pytest.approx(0.875 * 0.1 + 0.125 * 0.11)


def test_the_minimum_is_kept():
    rtt = RttEstimator()
    for sample in (0.3, 0.1, 0.2):
        rtt.sample(sample, 0.0)
    assert rtt.minimum == 0.1


@pytest.mark.req("R-030")
def test_granularity_bounds_the_probe_time_out_and_the_loss_delay():
    """Sections 6.2.1 and 6.1.2: never less than kGranularity, 1 ms."""
    rtt = RttEstimator()
    for _ in range(100):
        rtt.sample(1e-5, 0.0)
    assert rtt.probe_timeout(0.0) == pytest.approx(1e-5 + 0.001)
    assert rtt.loss_delay() == 0.001


@pytest.mark.req("R-030")
def test_loss_delay_is_nine_eighths_of_the_larger_of_latest_and_smoothed():
    rtt = RttEstimator()
    rtt.sample(0.1, 0.0)
    rtt.sample(0.3, 0.0)
    assert rtt.loss_delay() == pytest.approx(1.125 * 0.3)
    rtt.sample(0.05, 0.0)
    assert rtt.loss_delay() == pytest.approx(1.125 * rtt.smoothed)


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 1)), min_size=1, max_size=50))
def test_the_estimate_stays_between_what_was_seen(samples):
    rtt = RttEstimator()
    for sample, delay in samples:
        rtt.sample(sample, delay)
    seen = [sample for sample, _ in samples]
    assert rtt.minimum == min(seen)
    assert min(seen) - 1e-9 <= rtt.smoothed <= max(seen) + 1e-9
    assert rtt.probe_timeout(0.0) >= rtt.smoothed
