"""Who is compatible with whom, and how topologies of users are asked."""

from __future__ import annotations

import asyncio

import pytest

from quinkgl.topology import PeerInfo, SelectionContext, TopologyStrategy


def peer(peer_id="b", domain="d", schema="s", **fields):
    return PeerInfo(peer_id, domain, schema, **fields)


def ids(*peers, **fields):
    context = SelectionContext("me", "d", "s", known_peers=list(peers), **fields)
    return [found.peer_id for found in context.get_compatible_peers()]


def test_compatible_peers_come_sorted_each_once_and_without_oneself():
    assert ids(peer("c"), peer("a"), peer("me"), peer("b"), peer("c")) == ["a", "b", "c"]
    context = SelectionContext("me", "d", "s", known_peers=[peer("me"), peer("a")])
    assert [p.peer_id for p in context.get_compatible_peers(exclude_self=False)] == ["a", "me"]


@pytest.mark.parametrize(
    ("other", "mine", "fits"),
    [
        (peer(), {}, True),
        (peer(domain="x"), {}, False),
        (peer(schema="x"), {}, False),
        (peer(model_version="1.9.2"), {"my_model_version": "1.0.0"}, True),
        (peer(model_version="2.0.0"), {"my_model_version": "1.0.0"}, False),
        (peer(model_version="10.0.0"), {"my_model_version": "1.0.0"}, False),
        (peer(manifest_id="m"), {"my_manifest_id": "m"}, True),
        (peer(domain="x", manifest_id="m"), {"my_manifest_id": "m"}, True),
        (peer(manifest_id="n"), {"my_manifest_id": "m"}, False),
        (peer(manifest_id="n"), {}, True),
        (peer(), {"my_manifest_id": "m"}, True),
    ],
)
def test_what_decides_who_is_compatible(other, mine, fits):
    assert ids(other, **mine) == (["b"] if fits else [])


def test_of_two_entries_with_one_id_the_one_seen_last_counts():
    old, new = peer(domain="x", last_seen=1.0), peer(last_seen=2.0)
    assert ids(old, new) == ids(new, old) == ["b"]


class First(TopologyStrategy):
    def select(self, context, count=3):
        return [p.peer_id for p in context.get_compatible_peers()][:count]


class FirstAsync(TopologyStrategy):
    async def select_targets(self, context, count=3):
        return [p.peer_id for p in context.get_compatible_peers()][:count]


class CallsBase(TopologyStrategy):
    async def select_targets(self, context, count=3):
        return await super().select_targets(context, count)


@pytest.mark.parametrize("kind", [First, FirstAsync])
def test_overriding_either_way_to_pick_is_enough(kind):
    context = SelectionContext("me", "d", "s", known_peers=[peer("b"), peer("a"), peer("c")])
    assert kind().select(context, 2) == ["a", "b"]
    assert asyncio.run(kind().select_targets(context)) == ["a", "b", "c"]


def test_a_class_that_picks_nobody_is_refused():
    class Nobody(TopologyStrategy):
        pass

    with pytest.raises(TypeError, match="Nobody must override select or select_targets"):
        Nobody()
    with pytest.raises(NotImplementedError, match="must not call super"):
        CallsBase().select(SelectionContext("me", "d", "s"))


def test_hooks_do_nothing_by_default():
    topology, context = First(), SelectionContext("me", "d", "s")

    async def call_all():
        await topology.start()
        await topology.on_new_peer_discovered(peer())
        await topology.periodic_maintenance(context)
        await topology.on_peer_disconnected("b")
        await topology.stop()
        return await topology.should_accept_connection(context, peer())

    assert asyncio.run(call_all()) is True
    assert topology.get_active_view() == []
    assert topology.state_dict() == {}
    topology.load_state_dict({})
    with pytest.raises(ValueError, match="First keeps no state, and was given view"):
        topology.load_state_dict({"view": []})
