"""Whom a member calls, seen over the virtual network."""

from __future__ import annotations

from quinkgl.swarm import PeerConnected, SwarmConfig
from quinkgl.testing.network import Link
from quinkgl.testing.swarms import SwarmNetwork

TARGET = 3


def test_a_member_that_hears_of_many_at_once_calls_twice_what_it_lacks_at_most():
    net = SwarmNetwork(seed=8, link=Link(delay_s=0.3))
    for _ in range(11):
        net.add(config=SwarmConfig(target_peers=TARGET))
    for index in range(1, 11):
        net.connect(index, 0)
    net.network.run(limit_s=5)
    newcomer = net.add(config=SwarmConfig(target_peers=TARGET))
    net.connect(11, 0)
    net.network.run(limit_s=12)
    opened = [event for event in newcomer.events if isinstance(event, PeerConnected) and not event.incoming]
    assert len(opened) > TARGET
    assert len(opened) <= 1 + 2 * TARGET
