"""Whole swarms in virtual time: the very ``Swarm`` objects that run on real networks, in bad ones.

A :class:`Plan` says what a world is made of and what happens to it; :func:`draw_plan` draws one from a
seed, and a :class:`World` runs it. ``python -m quinkgl.testing.sim --seed 7`` does both;
``docs/simulator.md`` tells the rest.
"""

from quinkgl.testing.sim import intruders as _intruders  # noqa: F401 - makes its misbehaviours known
from quinkgl.testing.sim import members as _members  # noqa: F401 - as above
from quinkgl.testing.sim.adversary import MISBEHAVIOURS, Misbehaviour, Seat, misbehaviour
from quinkgl.testing.sim.invariants import InvariantError
from quinkgl.testing.sim.links import CALM, Bursts, Conditions
from quinkgl.testing.sim.nat import NatClass
from quinkgl.testing.sim.plan import LIVENESS_S, Action, Kind, NodePlan, Plan, Wishes, draw_plan
from quinkgl.testing.sim.world import Outcome, World

__all__ = [
    "CALM",
    "LIVENESS_S",
    "MISBEHAVIOURS",
    "Action",
    "Bursts",
    "Conditions",
    "InvariantError",
    "Kind",
    "Misbehaviour",
    "NatClass",
    "NodePlan",
    "Outcome",
    "Plan",
    "Seat",
    "Wishes",
    "World",
    "draw_plan",
    "misbehaviour",
]
