"""Rates of first packets: in all, by network, and anew each second."""

from __future__ import annotations

from quinkgl.transport.init_rate import InitRate


def taken(rate: InitRate, network: bytes | None, count: int, now: float) -> int:
    return sum(rate.take(network, now) for _ in range(count))


def test_one_network_has_its_share():
    rate = InitRate(per_network=3, total=10, now=0.0)
    assert taken(rate, b"a", 5, 0.0) == 3
    assert taken(rate, b"b", 5, 0.5) == 3


def test_what_exceeds_a_network_s_share_counts_in_all():
    rate = InitRate(per_network=3, total=10, now=0.0)
    assert taken(rate, b"a", 9, 0.0) == 3
    assert taken(rate, b"b", 3, 0.0) == 1


def test_without_a_share_only_the_total_counts():
    rate = InitRate(per_network=3, total=10, now=0.0)
    assert taken(rate, None, 20, 0.0) == 10


def test_each_second_begins_anew():
    rate = InitRate(per_network=3, total=10, now=0.0)
    assert taken(rate, b"a", 9, 0.9) == 3
    assert taken(rate, b"a", 9, 1.0) == 3
    assert taken(rate, b"a", 9, 5.0) == 3


def test_nothing_at_all():
    assert taken(InitRate(per_network=3, total=0, now=0.0), b"a", 5, 0.0) == 0
