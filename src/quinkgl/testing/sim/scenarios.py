"""Worlds that are not drawn but stand for one question each, with a judge that answers it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from quinkgl.testing.sim.draws import between, sample, stream
from quinkgl.testing.sim.invariants import InvariantError
from quinkgl.testing.sim.plan import Action, Kind, NodePlan, Plan
from quinkgl.testing.sim.world import Outcome, World

_ROUNDS = 5
_SESSIONS = 8
_UPDATE_BYTES = 9600
"""An update of 2,400 float32 parameters."""
_STARTS_WITHIN_S = 2.0
_ROUND_S = 4.0
_LIMIT_S = 120.0


class Scenario(NamedTuple):
    """How to make a world from a seed, a number of peers and the null cipher or not, and how to run it."""

    plan: Callable[[int, int | None, bool], Plan]
    run: Callable[[World], Outcome]


def _rounds_plan(seed: int, peers: int | None, null_cipher: bool) -> Plan:
    """Honest peers on calm links, each picking as many others as it needs sessions."""
    count = 500 if peers is None else peers
    rng = stream(seed, "rounds")
    pairs: dict[tuple[int, int], None] = {}
    degree = [0] * count
    while min(degree) < min(_SESSIONS, count - 1):
        order = sample(rng, range(count), count)
        for position, index in enumerate(order):
            other = order[position - 1]
            pair = min(index, other), max(index, other)
            if index != other and pair not in pairs and min(degree[index], degree[other]) < _SESSIONS:
                pairs[pair] = None
                degree[index] += 1
                degree[other] += 1
    return Plan(
        seed=seed,
        nodes=tuple(NodePlan(distance_s=between(rng, 0.0, 0.04)) for _ in range(count)),
        picks=tuple(pairs),
        actions=tuple(
            Action(between(rng, 0.0, _STARTS_WITHIN_S), Kind.START, index) for index in range(count)
        ),
        heal_at_s=_LIMIT_S,
        round_s=_ROUND_S,
        update_bytes=_UPDATE_BYTES,
        target_peers=0,  # it keeps to those that it picked
        least_sessions=min(_SESSIONS, count - 1),
        rounds=_ROUNDS,
        null_cipher=null_cipher,
        strict=False,
    )


def _run_rounds(world: World) -> Outcome:
    """Run until every peer has ended its rounds and every update has arrived where it was sent."""
    peers = list(world.peers.values())

    def is_done() -> bool:
        return world.watch.owed == 0 and all(peer.round >= _ROUNDS for peer in peers)

    def judge() -> None:
        done = world.run_until(_LIMIT_S, is_done)
        outcome = world.outcome()
        wanted = len(peers) * _ROUNDS * world.plan.fan_out
        least = min((len(peer.swarm.peers()) for peer in peers if peer.swarm is not None), default=0)
        if not done or outcome.delivered != wanted or outcome.received != wanted:
            raise InvariantError(f"{outcome.delivered} of {wanted} updates were delivered")
        if least < world.plan.least_sessions:
            raise InvariantError(f"a peer has {least} sessions, not {world.plan.least_sessions}")

    world.guard(judge)
    return world.outcome()


SCENARIOS = {"rounds500": Scenario(_rounds_plan, _run_rounds)}
"""All that there are, by name."""
