"""Each misbehaving peer misbehaves, and a swarm with it stays safe and becomes live."""

from __future__ import annotations

import pytest

from quinkgl.testing.sim import MISBEHAVIOURS, Wishes, World, draw_plan
from quinkgl.testing.sim.members import Member


@pytest.mark.parametrize("name", list(MISBEHAVIOURS))
def test_a_swarm_lives_with_it(name):
    plan = draw_plan(2, Wishes(peers=6, misbehaving=0.34, names=(name,), safety_s=15.0))
    world = World(plan)
    outcome = world.run()
    assert not outcome.failure, f"python -m quinkgl.testing.sim --seed 2 --peers 6 --only '{name}' --until 15"
    assert outcome.live_after_s is not None
    assert len(world.seats) == 2


@pytest.mark.parametrize("name", [name for name, kind in MISBEHAVIOURS.items() if issubclass(kind, Member)])
def test_a_misbehaving_member_is_let_in_and_acts(name, monkeypatch):
    acts = []
    kind = MISBEHAVIOURS[name]
    act = kind.act

    def watched(self, peer):
        acts.append(peer)
        act(self, peer)

    monkeypatch.setattr(kind, "act", watched)
    plan = draw_plan(4, Wishes(peers=5, misbehaving=0.2, names=(name,), safety_s=10.0, bad_links=False))
    World(plan).run_until(10.0)
    assert acts
