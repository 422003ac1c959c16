"""Updates of several objects, between whole members."""

from __future__ import annotations

import random

import pytest

from quinkgl.swarm import Attachment, UpdateDelivered, UpdateNotDelivered
from quinkgl.testing.network import Link
from quinkgl.testing.swarms import SwarmNetwork, updates_of
from quinkgl.wire.errors import ErrorCode, LocalProtocolError


def pair(seed, link=None):
    net = SwarmNetwork(seed, link)
    net.mesh(2)
    if link is not None:
        for ends in ((0, 1), (1, 0)):
            net.network.set_link(net.address(ends[0]), net.address(ends[1]), link)
    return net


def publish(net, bodies, round=1):
    body, *others = bodies
    return net.members[1].machine.publish_update(
        body,
        round=round,
        sample_count=1,
        targets=[net.identity(0).peer_id],
        attachments=[Attachment(f"object {number}", other, 2) for number, other in enumerate(others)],
        now=net.network.now,
    )


@pytest.mark.req("G-044", "G-045")
@pytest.mark.parametrize("sizes", [(10, 20), (50_000, 7, 120_000), (5000, 5001, 5002, 5003, 5004)])
def test_all_objects_arrive_as_one_update(sizes):
    net = pair(3, Link(delay_s=0.01, loss=0.05))
    bodies = [random.Random(size).randbytes(size) for size in sizes]
    root = publish(net, bodies)
    assert net.network.run(lambda: bool(updates_of(net.members[0])), limit_s=60)
    (update,) = updates_of(net.members[0])
    assert [bytes(update.body), *map(bytes, update.attachments)] == bodies
    assert update.header.root == root
    assert [(item.name, item.codec) for item in update.header.objects] == [
        (f"object {number}", 2) for number in range(len(sizes) - 1)
    ]
    assert net.network.run(
        lambda: any(isinstance(event, UpdateDelivered) for event in net.members[1].events), limit_s=10
    )
    delivered = [event for event in net.members[1].events if isinstance(event, UpdateDelivered)]
    assert delivered == [UpdateDelivered(net.identity(0).peer_id, root)]
    assert net.members[1].machine.stats.updates_sent == 1


@pytest.mark.req("G-045")
def test_half_an_update_is_never_handed_on():
    net = pair(5, Link(delay_s=0.01, rate=100_000))
    root = publish(net, [bytes(1000), bytes(200_000)])
    net.network.run(limit_s=0.5)  # the body is there, the second object is not
    net.members[1].machine.disconnect(net.identity(0).peer_id, now=net.network.now)
    net.network.run(limit_s=5.0)
    assert updates_of(net.members[0]) == []
    ends = [event for event in net.members[1].events if isinstance(event, UpdateNotDelivered)]
    assert [(event.root, event.code) for event in ends] == [(root, ErrorCode.NO_ERROR)]


@pytest.mark.req("G-044")
def test_the_next_update_follows_the_last_object():
    net = pair(7)
    roots = [publish(net, [bytes([n]) * 5000, bytes([n + 10]) * 9000], round=n) for n in (1, 2)]
    assert net.network.run(lambda: len(updates_of(net.members[0])) == 2, limit_s=60)
    assert [update.header.root for update in updates_of(net.members[0])] == roots


@pytest.mark.req("G-043")
def test_an_object_may_not_be_named_twice():
    net = pair(9)
    with pytest.raises(LocalProtocolError):
        publish(net, [b"same", b"same"])
