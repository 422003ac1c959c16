"""What a world is made of and what will happen to it, all drawn from one seed before anything runs.

A plan is plain data: it can be printed, changed, made smaller and run again. It has two phases. In the first,
until ``heal_at_s``, links lose and tear, nodes crash, clocks jump and some peers misbehave: nothing unsafe
may happen. Then everything heals but the misbehaving: within ``LIVENESS_S`` everything good must happen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from enum import Enum
from random import Random
from typing import Any

from quinkgl.testing.sim import adversary
from quinkgl.testing.sim.draws import below, between, chance, choose, sample, stream, weighted
from quinkgl.testing.sim.links import CALM, Bursts, Conditions
from quinkgl.testing.sim.nat import NatClass
from quinkgl.wire.limits import CONSTANTS

LIVENESS_S = 120.0
"""Virtual seconds after the heal within which everything good must have happened."""
_STARTS_WITHIN_S = 5.0
_CHORDS = 1.0
"""Further picks, for each peer, besides the ring that joins all."""
LEAST_COMPANY = 3
"""Sessions with honest peers that each must find, those that it picked and those that it was told of."""


class Kind(Enum):
    """What can happen to a world."""

    START = "start"
    """A node starts, for the first time or again; from its saved state where it has one."""
    CRASH = "crash"
    """It is gone without a word, and its memory with it; ``value`` 0 takes its disk too."""
    CRASH_AT_PUBLISH = "crash at publish"
    """It crashes as its next round ends: what it published is on its way, and not on its disk."""
    CRASH_AT_SAVE = "crash at save"
    """It crashes while it writes a checkpoint that an exchange asked for, or just after."""
    LEAVE = "leave"
    """It closes as it should, for ever."""
    PARTITION = "partition"
    """Only nodes of one of the ``groups`` hear each other; empty for no partition."""
    BLOCK = "block"
    """Nothing passes from ``node`` to node ``value``."""
    CONDITIONS = "conditions"
    """All paths become as ``conditions`` say."""
    REBIND = "rebind"
    """The translator before a node forgets its mappings."""
    STEP = "step"
    """Its monotonic clock jumps by ``value`` seconds."""
    UNIX_STEP = "unix step"
    """Its wall clock jumps by ``value`` seconds, and the node is told."""
    PAUSE = "pause"
    """It does nothing for ``value`` seconds, as when a machine sleeps."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that happens at a point of virtual time."""

    at_s: float
    kind: Kind
    node: int = -1
    value: float = 0.0
    groups: tuple[int, ...] = ()
    conditions: Conditions | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlan:
    """One node as it begins."""

    misbehaviour: str = ""
    """Name of what it does, empty for an honest peer."""
    nat: NatClass = NatClass.NONE
    origin_s: float = 0.0
    drift: float = 0.0
    unix_error_s: float = 0.0
    distance_s: float = 0.0
    leaves: bool = False
    """Whether it leaves for ever in the course of the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole world."""

    seed: int
    nodes: tuple[NodePlan, ...]
    picks: tuple[tuple[int, int], ...] = ()
    """Pairs of nodes that picked each other."""
    actions: tuple[Action, ...] = ()
    conditions: Conditions = CALM
    heal_at_s: float = 60.0
    round_s: float = 10.0
    fan_out: int = 3
    update_bytes: int = 3000
    target_peers: int = 6
    least_sessions: int = 0
    """A peer begins with its rounds when it has so many sessions."""
    rounds: int | None = None
    """How many rounds a peer goes through, None for no end."""
    exchanges: bool = False
    """Whether honest peers also exchange numbers two-sidedly; nobody then loses its disk."""
    post_quantum: bool = False
    """Whether ML-KEM-768 goes into the keys. The library draws it by itself, so that the trace hash of such a
    world covers sizes and times of datagrams, and not their contents."""
    key_phase_packets: int = CONSTANTS.key_phase_packets
    """Packets under one key, and seconds between two fresh secrets."""
    ratchet_s: float = CONSTANTS.ratchet_s
    null_cipher: bool = True
    strict: bool = True
    """Whether hosts check all that they can at each step."""

    @property
    def honest(self) -> list[int]:
        """Numbers of the honest nodes."""
        return [index for index, node in enumerate(self.nodes) if not node.misbehaviour]

    def without_actions(self, unwanted: Callable[[Action], bool]) -> Plan:
        """Return the plan without some of its actions, for making a failing one smaller."""
        return replace(self, actions=tuple(action for action in self.actions if not unwanted(action)))

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain values, fit for JSON."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Plan:
        """Return the plan that :meth:`to_dict` gave."""
        made = dict(values)
        made["nodes"] = tuple(NodePlan(**{**node, "nat": NatClass(node["nat"])}) for node in made["nodes"])
        made["picks"] = tuple((a, b) for a, b in made["picks"])
        made["conditions"] = _conditions(made["conditions"])
        made["actions"] = tuple(
            Action(
                at_s=action["at_s"],
                kind=Kind(action["kind"]),
                node=action["node"],
                value=action["value"],
                groups=tuple(action["groups"]),
                conditions=None if action["conditions"] is None else _conditions(action["conditions"]),
            )
            for action in made["actions"]
        )
        return cls(**made)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a drawn plan shall be like."""

    peers: int = 30
    misbehaving: float = 0.2
    """Share of the nodes that misbehave."""
    names: tuple[str, ...] = ()
    """Which misbehaviours are drawn from; all that are known where it is empty."""
    safety_s: float = 60.0
    """Virtual seconds of the first phase."""
    round_s: float = 12.0
    update_bytes: int = 3000
    null_cipher: bool = True
    churn: bool = True
    partitions: bool = True
    skew: bool = True
    nat: bool = True
    bad_links: bool = True


def draw_plan(seed: int, wishes: Wishes | None = None) -> Plan:
    """Draw a whole world from a seed."""
    wishes = wishes if wishes is not None else Wishes()
    rng = stream(seed, "plan")
    count = wishes.peers
    bad = int(count * wishes.misbehaving + 0.5)
    names = adversary.draw_names(rng, bad, wishes.names) if bad else []
    places = sample(rng, range(1, count), bad)  # node 0 is honest and has no translator: whom all know first
    by_place = dict(zip(places, names, strict=True))
    exchanges = chance(rng, 0.5)
    nodes = tuple(_node(rng, index, by_place.get(index, ""), wishes) for index in range(count))
    actions = [
        Action(between(rng, 0.0, _STARTS_WITHIN_S), Kind.START, index)
        if index
        else Action(0.0, Kind.START, 0)
        for index in range(count)
    ]
    honest = [index for index in range(count) if not nodes[index].misbehaviour]
    if wishes.churn:
        actions, nodes = _churn(rng, actions, nodes, honest, wishes.safety_s, keeps_disks=exchanges)
    if wishes.partitions:
        actions += _partitions(rng, count, wishes.safety_s)
    if wishes.skew:
        actions += _skew(rng, honest, wishes.safety_s)
    if wishes.nat:
        translated = [index for index in honest if nodes[index].nat is not NatClass.NONE]
        actions += [
            Action(between(rng, 10.0, wishes.safety_s), Kind.REBIND, index)
            for index in translated
            if chance(rng, 0.3)
        ]
    if wishes.bad_links:
        actions += [
            Action(between(rng, 0.0, wishes.safety_s), Kind.CONDITIONS, conditions=_bad(rng))
            for _ in range(3)
        ]
    return Plan(
        seed=seed,
        nodes=nodes,
        picks=_picks(rng, nodes),
        actions=tuple(sorted(actions, key=lambda action: action.at_s)),
        conditions=_bad(rng) if wishes.bad_links else CALM,
        heal_at_s=wishes.safety_s,
        round_s=wishes.round_s,
        update_bytes=wishes.update_bytes,
        exchanges=exchanges,
        post_quantum=chance(rng, 0.1),
        key_phase_packets=choose(rng, [20, 50]) if chance(rng, 0.3) else CONSTANTS.key_phase_packets,
        ratchet_s=choose(rng, [3.0, 20.0]) if chance(rng, 0.3) else CONSTANTS.ratchet_s,
        null_cipher=wishes.null_cipher,
    )


def _node(rng: Random, index: int, misbehaviour: str, wishes: Wishes) -> NodePlan:
    nat = NatClass.NONE
    if wishes.nat and not misbehaviour and index and chance(rng, 0.3):
        nat = choose(rng, [kind for kind in NatClass if kind is not NatClass.NONE])
    skewed = wishes.skew and not misbehaviour
    return NodePlan(
        misbehaviour=misbehaviour,
        nat=nat,
        origin_s=between(rng, 0.0, 1e6) if skewed else 0.0,
        drift=between(rng, -2e-3, 2e-3) if skewed and chance(rng, 0.5) else 0.0,
        unix_error_s=between(rng, -120.0, 120.0) if skewed and chance(rng, 0.5) else 0.0,
        distance_s=choose(rng, [0.0, 0.005, 0.02, 0.08]),
    )


def _churn(
    rng: Random,
    actions: list[Action],
    nodes: tuple[NodePlan, ...],
    honest: list[int],
    until_s: float,
    *,
    keeps_disks: bool,
) -> tuple[list[Action], tuple[NodePlan, ...]]:
    """Let some come late, some leave, and some crash once or twice."""
    changed = list(nodes)
    for index in honest[1:]:
        fate = rng.random()
        if fate < 0.1:
            actions = [action for action in actions if action.node != index]
            actions.append(Action(between(rng, 10.0, until_s * 0.9), Kind.START, index))
        elif fate < 0.15:
            changed[index] = replace(changed[index], leaves=True)
            actions.append(Action(between(rng, until_s * 0.5, until_s), Kind.LEAVE, index))
        elif fate < 0.45:
            at_s = between(rng, 8.0, until_s * 0.8)
            for _ in range(1 + below(rng, 2)):
                disk = 1.0 if keeps_disks or chance(rng, 0.6) else 0.0
                kind = Kind.CRASH
                if disk and chance(rng, 0.6):
                    kind = Kind.CRASH_AT_SAVE if keeps_disks and chance(rng, 0.7) else Kind.CRASH_AT_PUBLISH
                actions.append(Action(at_s, kind, index, disk))
                at_s += between(rng, 0.05, 25.0)
                actions.append(Action(at_s, Kind.START, index))
                at_s += between(rng, 0.05, 20.0)
    return actions, tuple(changed)


def _partitions(rng: Random, count: int, until_s: float) -> list[Action]:
    """One or two partitions, and some pairs that hear each other in one direction alone."""
    actions: list[Action] = []
    for _ in range(1 + below(rng, 2)):
        begins = between(rng, 5.0, until_s * 0.8)
        groups = tuple(below(rng, choose(rng, [2, 2, 3])) for _ in range(count))
        actions.append(Action(begins, Kind.PARTITION, groups=groups))
        actions.append(Action(begins + between(rng, 2.0, 30.0), Kind.PARTITION))
    for _ in range(below(rng, count)):
        source, destination = sample(rng, range(count), 2)
        actions.append(Action(between(rng, 0.0, until_s), Kind.BLOCK, source, float(destination)))
    return actions


def _skew(rng: Random, honest: list[int], until_s: float) -> list[Action]:
    """Clocks that jump, and nodes that sleep."""
    actions: list[Action] = []
    for index in honest:
        if chance(rng, 0.1):
            seconds = choose(rng, [-5.0, -0.5, 0.5, 5.0])
            actions.append(Action(between(rng, 1.0, until_s), Kind.STEP, index, seconds))
        if chance(rng, 0.1):
            seconds = choose(rng, [-100.0, -3.0, 3.0, 100.0])
            actions.append(Action(between(rng, 1.0, until_s), Kind.UNIX_STEP, index, seconds))
        if chance(rng, 0.1):
            seconds = choose(rng, [0.3, 2.0, 20.0])
            actions.append(Action(between(rng, 1.0, until_s), Kind.PAUSE, index, seconds))
    return actions


def _bad(rng: Random) -> Conditions:
    """Links with some faults; seldom with all."""

    def some(probability: float, values: list[Any], otherwise: Any) -> Any:
        return choose(rng, values) if chance(rng, probability) else otherwise

    return Conditions(
        delay_s=weighted(rng, [(0.002, 2.0), (0.02, 3.0), (0.1, 1.0)]),
        jitter_s=some(0.4, [0.001, 0.02, 0.1], 0.0),
        loss=some(0.5, [0.01, 0.05, 0.2], 0.0),
        bursts=some(0.2, [Bursts(enter=0.005, leave=0.2), Bursts(enter=0.02, leave=0.3, loss=0.8)], None),
        reorder=some(0.3, [0.01, 0.1], 0.0),
        duplicate=some(0.3, [0.01, 0.2], 0.0),
        corrupt=some(0.3, [0.01, 0.1], 0.0),
        rate=some(0.2, [50_000.0, 500_000.0], None),
        mtu=some(0.2, [1200, 1280, 1400], None),
    )


def _picks(rng: Random, nodes: tuple[NodePlan, ...]) -> tuple[tuple[int, int], ...]:
    """A ring through all in random order, and chords: everybody picks some, and is picked by them.

    Honest peers that know only each other would be a swarm of their own; one of them picks node 0.
    """
    count = len(nodes)
    order = sample(rng, range(count), count)
    pairs: dict[tuple[int, int], None] = {}
    for position, index in enumerate(order):
        other = order[(position + 1) % count]
        if index != other:
            pairs[min(index, other), max(index, other)] = None
    for _ in range(int(count * _CHORDS)):
        if count > 2:
            first, second = sample(rng, range(count), 2)
            pairs[min(first, second), max(first, second)] = None
    for island in _islands(nodes, list(pairs)):
        if 0 not in island:
            pairs[0, min(island)] = None
    return tuple(pairs)


def _islands(nodes: tuple[NodePlan, ...], pairs: list[tuple[int, int]]) -> list[list[int]]:
    """Return the honest nodes that stay, grouped by who can reach whom over the pairs."""
    stays = [not node.misbehaviour and not node.leaves for node in nodes]
    door = [node.nat in (NatClass.NONE, NatClass.FULL_CONE) for node in nodes]
    group = list(range(len(nodes)))
    for a, b in pairs:
        if stays[a] and stays[b] and (door[a] or door[b]) and group[a] != group[b]:
            kept, merged = sorted((group[a], group[b]))
            group = [kept if each == merged else each for each in group]
    found: dict[int, list[int]] = {}
    for index, each in enumerate(group):
        if stays[index]:
            found.setdefault(each, []).append(index)
    return list(found.values())


def _conditions(values: dict[str, Any]) -> Conditions:
    bursts = values["bursts"]
    return Conditions(**{**values, "bursts": None if bursts is None else Bursts(**bursts)})


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
