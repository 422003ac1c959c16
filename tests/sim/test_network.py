"""Paths, translators, clocks and the scheduler, each by itself."""

from __future__ import annotations

import itertools
import random

import pytest

from quinkgl.testing.sim import CALM, Bursts, Conditions, NatClass
from quinkgl.testing.sim.clock import UNIX_START, Clock
from quinkgl.testing.sim.links import Path, flip_bit
from quinkgl.testing.sim.nat import Translator
from quinkgl.testing.sim.scheduler import Scheduler

A, B, C = ("5.0.0.1", 1), ("5.0.0.1", 2), ("5.0.0.2", 1)


def carried(conditions: Conditions, count: int = 2000, size: int = 100) -> list[list[tuple[float, bytes]]]:
    rng = random.Random(1)
    path = Path(conditions, 0.0)
    return [path.carry(bytes([index % 256]) * size, index * 0.001, rng) for index in range(count)]


# The scheduler


def test_what_is_due_at_one_instant_happens_in_the_order_of_asking():
    scheduler, seen = Scheduler(), []
    for name in "abc":
        scheduler.at(1.0, seen.append, name)
    scheduler.at(0.5, lambda _: scheduler.at(1.0, seen.append, "late"))
    scheduler.at(0.7, seen.append, "first")
    scheduler.run(1.0)
    assert seen == ["first", "a", "b", "c", "late"]
    assert scheduler.now == 1.0
    assert scheduler.pending == 0


def test_what_is_asked_for_in_the_past_happens_at_once():
    scheduler, seen = Scheduler(), []
    scheduler.run(5.0)
    scheduler.at(1.0, lambda _: seen.append(scheduler.now))
    scheduler.run(5.0)
    assert seen == [5.0]


# Clocks


def test_a_clock_drifts_and_jumps_and_can_be_asked_the_other_way():
    clock = Clock(origin=1000.0, drift=0.01, unix_error_s=-3.0)
    assert clock.local(10.0) == pytest.approx(1010.1)
    clock.step(10.0, -5.0)
    assert clock.local(10.0) == pytest.approx(1005.1)
    assert clock.virtual(clock.local(20.0)) == pytest.approx(20.0)
    clock.set_drift(20.0, 0.0)
    assert clock.local(21.0) - clock.local(20.0) == pytest.approx(1.0)
    assert clock.unix(4.0) == UNIX_START + 1.0


# Paths


def test_a_calm_path_changes_nothing():
    assert CALM.is_clean
    assert carried(CALM, 3) == [[(index * 0.001 + 0.01, bytes([index]) * 100)] for index in range(3)]


@pytest.mark.parametrize("loss", [0.05, 0.3])
def test_loss(loss):
    lost = sum(not each for each in carried(Conditions(loss=loss)))
    assert lost / 2000 == pytest.approx(loss, rel=0.25)


def test_bursts_are_longer_than_chance_would_have_them():
    arrived = [bool(each) for each in carried(Conditions(bursts=Bursts(enter=0.01, leave=0.2)))]
    lost = arrived.count(False)
    both = sum(not first and not second for first, second in itertools.pairwise(arrived))
    assert 0.02 < lost / 2000 < 0.09
    assert both / lost > 0.6


def test_jitter_and_reordering_let_datagrams_overtake():
    for conditions in (Conditions(jitter_s=0.05), Conditions(reorder=0.2)):
        times = [when for each in carried(conditions) for when, _ in each]
        assert times != sorted(times)
        assert len(times) == 2000


def test_duplication_and_corruption():
    twice = sum(len(each) == 2 for each in carried(Conditions(duplicate=0.1)))
    assert 120 < twice < 280
    changed = [
        sum((one ^ index % 256).bit_count() for one in body)
        for index, each in enumerate(carried(Conditions(corrupt=0.2)))
        for _, body in each
    ]
    assert set(changed) == {0, 1}
    assert 300 < changed.count(1) < 500
    assert flip_bit(b"", random.Random(1)) == b""


def test_a_rate_makes_a_queue_and_a_full_queue_loses_the_tail():
    conditions = Conditions(rate=10_000.0, queue_bytes=1000)
    path, rng = Path(conditions, 0.0), random.Random(1)
    arrivals = [path.carry(bytes(100), 0.0, rng) for _ in range(30)]
    times = [each[0][0] for each in arrivals if each]
    assert times == pytest.approx([0.01 + 0.01 * (index + 1) for index in range(11)])
    assert not arrivals[-1]


def test_a_datagram_beyond_the_mtu_vanishes():
    assert all(carried(Conditions(mtu=1200), 3, size=1200))
    assert not any(carried(Conditions(mtu=1200), 3, size=1201))


# Translators


@pytest.mark.parametrize("kind", [kind for kind in NatClass if kind is not NatClass.NONE])
def test_whom_a_translator_lets_in(kind):
    translator = Translator(kind, "9.9.9.9")
    outside = translator.outgoing(A, 0.0)
    admitted = [translator.admits(outside, source, 1.0) for source in (A, B, C)]
    expected = {
        NatClass.FULL_CONE: [True, True, True],
        NatClass.RESTRICTED: [True, True, False],
        NatClass.PORT_RESTRICTED: [True, False, False],
        NatClass.SYMMETRIC: [True, False, False],
    }
    assert admitted == expected[kind]
    assert (translator.outgoing(B, 1.0) == outside) is (kind is not NatClass.SYMMETRIC)
    assert not translator.admits(("9.9.9.9", 1), A, 1.0)


def test_a_translator_forgets_what_nothing_leaves_through():
    translator = Translator(NatClass.PORT_RESTRICTED, "9.9.9.9", forgets_after_s=30.0)
    outside = translator.outgoing(A, 0.0)
    assert translator.admits(outside, A, 30.0)
    assert not translator.admits(outside, A, 31.0)
    assert translator.outgoing(A, 31.0) != outside


def test_a_translator_that_starts_anew_gives_other_ports_but_keeps_what_is_forwarded():
    translator = Translator(NatClass.RESTRICTED, "9.9.9.9")
    before = translator.outgoing(A, 0.0)
    translator.rebind()
    assert not translator.admits(before, A, 0.0)
    assert translator.outgoing(A, 0.0) != before
    cone = Translator(NatClass.FULL_CONE, "9.9.9.9")
    assert cone.forwarded == cone.outgoing(A, 0.0)
    cone.rebind()
    assert cone.forwarded == cone.outgoing(A, 1e9)
