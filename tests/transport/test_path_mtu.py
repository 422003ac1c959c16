"""Path MTU discovery: the search, what its losses mean, and the fall when large datagrams vanish."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from quinkgl.transport.congestion import NewReno
from quinkgl.transport.flow import Flow
from quinkgl.transport.path_mtu import MtuState, PathMtu
from quinkgl.transport.stats import EndpointStats
from quinkgl.transport.timers import TimerTable
from quinkgl.wire.limits import CONSTANTS

BASE = CONSTANTS.base_mtu_bytes
TIMEOUT_S = 0.1


class Search:
    """Probes a path that carries ``limit`` bytes, as a sender does that always has bulk data."""

    def __init__(self, limit: int, *, cap: int = 65507, start: int = BASE, discovery: bool = True) -> None:
        self.mtu = PathMtu(start=start, cap=cap, discovery=discovery)
        self.limit = limit
        self.now = 0.0
        self.number = 0
        self.probes: list[tuple[float, int]] = []

    def run(self, seconds: float, step: float = 0.05) -> int:
        end = self.now + seconds
        while self.now < end:
            size = self.mtu.probe_due(self.now)
            if size is not None:
                self.probes.append((round(self.now, 2), size))
                self.number += 7
                self.mtu.on_probe_sent(self.number, size, self.now, TIMEOUT_S)
                if size <= self.limit:
                    self.now += step
                    assert self.mtu.on_ranges_acknowledged(((self.number, self.number), (0, 3)))
                    continue
            self.now += step
        return self.mtu.datagram_bytes


@pytest.mark.req("Q-050")
@pytest.mark.parametrize(
    ("limit", "found"),
    [(1200, 1200), (1280, 1252), (1400, 1400), (1472, 1452), (8972, 8952), (65507, 65000)],
)
def test_the_search_ends_at_the_largest_size_that_gets_through(limit, found):
    search = Search(limit)
    assert search.run(10.0) == found
    assert search.mtu.state is MtuState.COMPLETE


@pytest.mark.req("P-040", "Q-050")
@pytest.mark.parametrize(("cap", "found"), [(1200, 1200), (1300, 1300), (8900, 8900), (65507, 65000)])
def test_nothing_above_the_cap_is_probed_and_the_cap_itself_is(cap, found):
    search = Search(65507, cap=cap)
    assert search.run(10.0) == found
    assert all(size <= cap for _, size in search.probes)


def test_a_new_path_is_not_suspected():
    assert not PathMtu(start=BASE, cap=9000, discovery=True).is_suspicious


def test_a_cap_below_the_start_wins():
    assert PathMtu(start=9000, cap=1200, discovery=True).datagram_bytes == 1200


@pytest.mark.req("Q-055")
def test_without_discovery_the_size_stays():
    search = Search(65507, discovery=False)
    assert search.run(10.0) == BASE
    assert search.probes == []
    assert search.mtu.state is MtuState.OFF


@pytest.mark.req("Q-052")
def test_each_size_is_tried_three_times_a_second_apart_and_again_after_ten_minutes():
    search = Search(1300)
    search.run(590.0)
    assert [size for _, size in search.probes] == [1252, 1400, 1400, 1400]
    times = [when for when, size in search.probes if size == 1400]
    assert [round(later - earlier, 1) for earlier, later in pairwise(times)] == [1.1, 1.1]
    search.limit = 9000
    search.run(30.0)
    assert search.mtu.datagram_bytes == 8952


@pytest.mark.req("Q-051")
def test_one_probe_is_on_its_way_at_a_time():
    mtu = PathMtu(start=BASE, cap=9000, discovery=True)
    mtu.on_probe_sent(5, mtu.probe_due(0.0), 0.0, TIMEOUT_S)
    assert mtu.is_waiting
    assert mtu.probe_due(0.05) is None


def flow(found: int) -> Flow:
    """The sending side of a path that is known to carry ``found`` bytes, with the window of the start."""
    made = Flow(
        make_mtu=lambda: PathMtu(start=found, cap=65507, discovery=True),
        new_controller=NewReno,
        max_ack_delay_s=0.025,
        max_probe_interval_s=6.0,
        run_packets=64,
        timers=TimerTable(),
        stats=EndpointStats(),
        rng=random.Random(1),
    )
    made.recovery.rtt.sample(0.1, 0.0)
    return made


@pytest.mark.req("Q-051")
def test_a_probe_is_no_larger_than_the_window():
    """8,952 bytes fit into a window of 14,720, 65,000 do not."""
    assert flow(1452).mtu_probe_due(0.0) == 8952
    large = flow(8952)
    assert large.recovery.controller.window == 2 * 8952
    assert large.mtu_probe_due(0.0) is None


@pytest.mark.req("Q-051")
def test_a_probe_is_sent_where_a_full_datagram_might_be_and_is_paced():
    full = flow(1200)
    for _ in range(10):
        number = full.recovery.take_number()
        full.recovery.on_sent(number, 1200, (), 0.0)
    assert full.mtu_probe_due(0.0) is None  # the window is full
    paced = flow(1452)
    size = paced.mtu_probe_due(0.0)
    assert size == 8952
    paced.recovery.take_number()
    paced.on_mtu_probe_sent(size, 0.0)
    followers = 0
    while paced.may_send(0.0):
        paced.on_sent(1452)
        followers += 1
    assert followers == 4  # of a burst of ten


@pytest.mark.req("P-040", "Q-050")
def test_an_ack_of_other_packets_proves_nothing():
    mtu = PathMtu(start=BASE, cap=9000, discovery=True)
    mtu.on_probe_sent(5, mtu.probe_due(0.0), 0.0, TIMEOUT_S)
    assert not mtu.on_ranges_acknowledged(((6, 9), (0, 4)))
    assert mtu.datagram_bytes == BASE
    assert mtu.on_ranges_acknowledged(((6, 9), (0, 5)))
    assert mtu.datagram_bytes == 1252


def grown() -> PathMtu:
    search = Search(1400)
    search.run(5.0)
    return search.mtu


@pytest.mark.req("Q-053")
def test_three_losses_of_large_packets_in_a_row_are_a_black_hole():
    mtu = grown()
    assert not mtu.is_suspicious
    assert not mtu.on_packets_lost(1400, 10.0)
    assert mtu.is_suspicious  # so an acknowledgement of a large one is looked for
    assert not mtu.on_packets_lost(1300, 11.0)
    assert mtu.is_suspicious
    assert mtu.on_packets_lost(1400, 12.0)
    assert mtu.datagram_bytes == BASE
    assert mtu.state is MtuState.COOLING


@pytest.mark.req("Q-053")
def test_a_large_packet_that_arrives_clears_the_suspicion():
    mtu = grown()
    for _ in range(10):
        mtu.on_packets_lost(1400, 10.0)
        mtu.on_packets_lost(1400, 10.0)
        mtu.on_packet_acknowledged(1300)
    assert mtu.datagram_bytes == 1400


@pytest.mark.req("Q-053")
def test_a_small_packet_that_arrives_clears_nothing():
    mtu = grown()
    for _ in range(3):
        mtu.on_packets_lost(1400, 10.0)
        mtu.on_packet_acknowledged(BASE)
    assert mtu.datagram_bytes == BASE


@pytest.mark.req("Q-053")
def test_losses_that_took_small_packets_too_say_nothing_of_the_size():
    mtu = grown()
    for _ in range(10):
        assert not mtu.on_packets_lost(60, 10.0)
    assert mtu.datagram_bytes == 1400


def test_the_size_never_falls_below_the_start():
    mtu = PathMtu(start=BASE, cap=9000, discovery=True)
    for _ in range(10):
        assert not mtu.on_packets_lost(1400, 10.0)
    assert mtu.datagram_bytes == BASE


@pytest.mark.req("Q-053")
def test_after_a_black_hole_the_path_rests_for_a_minute():
    search = Search(1400)
    search.run(5.0)
    for _ in range(3):
        search.mtu.on_packets_lost(1400, search.now)
    fell_at = search.now
    search.probes.clear()
    search.limit = 1300
    search.run(120.0)
    assert search.probes[0][0] - fell_at == pytest.approx(CONSTANTS.mtu_cool_off_s, abs=0.1)
    assert search.mtu.datagram_bytes == 1252


def test_a_probe_that_arrives_after_the_fall_raises_nothing():
    search = Search(1300)
    search.run(0.08)
    mtu = search.mtu
    mtu.on_probe_sent(1000, 1400, 1.0, TIMEOUT_S)
    for _ in range(3):
        mtu.on_packets_lost(1252, 1.0)
    assert mtu.datagram_bytes == BASE
    assert not mtu.on_ranges_acknowledged(((1000, 1000),))
    assert mtu.datagram_bytes == BASE
