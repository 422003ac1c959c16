"""A whole swarm in virtual time: one plan in, one run out.

Everything a world does follows from its plan: the generators are seeded by it, nothing reads a clock, nothing
iterates over a set. Two runs of a plan have the same trace hash.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import IO, Any

from quinkgl.crypto.identity import Identity, signatures_remembered
from quinkgl.crypto.psk import derive_member_keys
from quinkgl.swarm import Capabilities, Swarm, SwarmConfig
from quinkgl.testing.sim import adversary
from quinkgl.testing.sim.adversary import Seat
from quinkgl.testing.sim.clock import Clock
from quinkgl.testing.sim.draws import below, stream
from quinkgl.testing.sim.host import Host
from quinkgl.testing.sim.invariants import InvariantError, Watch
from quinkgl.testing.sim.links import CALM
from quinkgl.testing.sim.liveness import Liveness
from quinkgl.testing.sim.nat import NatClass, Translator
from quinkgl.testing.sim.network import Network
from quinkgl.testing.sim.peer import Peer
from quinkgl.testing.sim.plan import LIVENESS_S, Action, Kind, Plan
from quinkgl.testing.sim.scheduler import Scheduler
from quinkgl.testing.sim.trace import Kind as TraceKind
from quinkgl.testing.sim.trace import Trace
from quinkgl.testing.swarms import small_manifest
from quinkgl.transport import ConnectionConfig, EndpointConfig, KeyLimits, PostQuantum
from quinkgl.wire.addresses import Address

_PHANTOM_HOST = "6.6.0."
_PHANTOMS = 8
_PORT = 4000
_LIVENESS_STEP_S = 2.0
_OFFERS_UNTIL_S = 20.0
"""Seconds after the heal in which peers still begin exchanges."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to."""

    seed: int
    virtual_s: float
    steps: int
    datagrams: int
    checks: int
    published: int
    received: int
    delivered: int
    sessions: int
    live_after_s: float | None
    """Virtual seconds from the heal until everything good had happened; None where it was not awaited."""
    failure: str
    """What went wrong, empty where nothing did."""
    trace_hash: str


class World:
    """The world of one plan. ``run`` lets it happen; the rest is for peers, misbehaviours and tests."""

    def __init__(self, plan: Plan, *, trace_file: IO[str] | None = None) -> None:
        self.plan = plan
        self.scheduler = Scheduler()
        self.trace = Trace(trace_file, contents=not plan.post_quantum)
        self.network = Network(self.scheduler, self.trace, stream(plan.seed, "links"))
        self.manifest = small_manifest(f"simulated {plan.seed}")
        self.keys = derive_member_keys(self.manifest.canonical_bytes())
        self.config = SwarmConfig(
            endpoint=EndpointConfig(
                post_quantum=PostQuantum.OFFERED if plan.post_quantum else PostQuantum.NO,
                connection=ConnectionConfig(
                    keys=KeyLimits(phase_packets=plan.key_phase_packets, ratchet_s=plan.ratchet_s)
                ),
            ),
            target_peers=plan.target_peers,
        )
        self.watch = Watch(self)
        self.liveness = Liveness(self)
        self.peers: dict[int, Peer] = {}
        self.seats: dict[int, Seat] = {}
        self.honest_by_id: dict[bytes, Peer] = {}
        self.healed = False
        self.failure = ""
        self.cause: Exception | None = None
        """What was raised, with its traceback."""
        self.live_after_s: float | None = None
        self._identities = [
            Identity.from_seed(stream(plan.seed, "identity", index).randbytes(32))
            for index in range(len(plan.nodes))
        ]
        self._hosts: dict[int, Host] = {}
        self._by_address: dict[Address, Host] = {}
        self.network.on_nowhere = self.watch.on_nowhere
        self.network.on_from_nowhere = self.watch.on_from_nowhere
        self.network.set_conditions(plan.conditions)
        for index in range(len(plan.nodes)):
            self._add(index)
        self.exchanging: dict[bytes, None] = {
            peer.identity.peer_id: None
            for index, peer in self.peers.items()
            if plan.exchanges and not plan.nodes[index].leaves
        }
        """Peers that exchange numbers with each other: the honest that stay."""
        self.total = sum(self.honest_by_id[peer].books.number for peer in self.exchanging)
        for action in plan.actions:
            self.scheduler.at(action.at_s, self._act, action)

    # The run

    def run(self) -> Outcome:
        """Let everything happen: the safety phase, the heal, and what must follow."""
        self.guard(self._run)
        return self.outcome()

    def guard(self, run: Callable[[], None]) -> None:
        """Let ``run`` do something with the world, and keep what it raises as the failure."""
        shared = signatures_remembered() if self.plan.null_cipher else nullcontext()
        try:
            with shared:
                run()
        except Exception as error:  # noqa: BLE001 - whatever a machine raises is the finding
            self.failure = f"{type(error).__name__}: {error}"
            self.cause = error

    def _run(self) -> None:
        self.scheduler.run(self.plan.heal_at_s)
        self.heal()
        self._await_liveness()

    def run_until(self, when: float, until: Callable[[], bool] | None = None, step_s: float = 0.25) -> bool:
        """Let things happen until ``until`` holds, looked at every ``step_s``, or to ``when``."""
        while self.scheduler.now < when:
            if until is not None and until():
                return True
            self.scheduler.run(min(when, self.scheduler.now + step_s))
        return until is None or until()

    def heal(self) -> None:
        """End all faults but the misbehaving: calm links, steady clocks, everybody up who stays."""
        self.healed = True
        self.trace.note(self.scheduler.now, "heal", -1, {}, TraceKind.ACTION)
        self.network.heal()
        self.network.set_conditions(CALM)
        for index, peer in self.peers.items():
            host = self._hosts[index]
            host.paused_until = min(host.paused_until, self.scheduler.now)
            host.clock.set_drift(self.scheduler.now, 0.0)
            host.replan()
            peer.crashes_at_publish = peer.crashes_at_save = False
            if not self.plan.nodes[index].leaves:
                peer.start()

    def _await_liveness(self) -> None:
        healed_at = self.scheduler.now
        reached = self.run_until(healed_at + LIVENESS_S, self.liveness.is_reached, _LIVENESS_STEP_S)
        missing = "" if reached else self.liveness.missing()
        for peer in self.peers.values():
            self.watch.check_connected(peer)
            if peer.swarm is not None:
                self.watch.check_memory(peer.swarm, peer.index)
        if missing:
            raise InvariantError(f"not live {LIVENESS_S:.0f} s after the heal: {missing}")
        if self.exchanging:
            self.watch.check_books()
        self.live_after_s = self.scheduler.now - healed_at

    def outcome(self) -> Outcome:
        """Return what the run came to so far."""
        return Outcome(
            seed=self.plan.seed,
            virtual_s=self.scheduler.now,
            steps=self.scheduler.steps,
            datagrams=self.network.sent,
            checks=self.watch.checks,
            published=sum(peer.updates_published for peer in self.peers.values()),
            received=sum(peer.updates_received for peer in self.peers.values()),
            delivered=self.watch.delivered,
            sessions=sum(len(peer.swarm.peers()) for peer in self.peers.values() if peer.swarm is not None),
            live_after_s=self.live_after_s,
            failure=self.failure,
            trace_hash=self.trace.digest,
        )

    # Who is where

    def id_of(self, index: int) -> bytes:
        """Return the peer id of a node."""
        return self._identities[index].peer_id

    def ids_of(self, indices: Sequence[int]) -> list[bytes]:
        """Return the peer ids of nodes."""
        return [self.id_of(index) for index in indices]

    def address_of(self, index: int) -> Address | None:
        """Return where a node can be called, None where a translator lets no stranger in."""
        return self._hosts[index].callable_address

    def host_at(self, address: Address) -> Host | None:
        """Return the host that can be called at an address."""
        return self._by_address.get(address)

    def callable_peers(self) -> list[tuple[bytes, Address]]:
        """Return id and address of each honest peer that can be called."""
        return [
            (self.id_of(index), address)
            for index in self.peers
            if (address := self.address_of(index)) is not None
        ]

    def phantom(self, rng: random.Random) -> Address:
        """Return an address where nobody is."""
        return f"{_PHANTOM_HOST}{1 + below(rng, _PHANTOMS)}", _PORT

    @staticmethod
    def is_phantom(address: Address) -> bool:
        """Whether an address is one of those where nobody is."""
        return address[0].startswith(_PHANTOM_HOST)

    @property
    def may_offer(self) -> bool:
        """Whether there is time to begin an exchange: all must be over before the judgement."""
        return self.scheduler.now < self.plan.heal_at_s + _OFFERS_UNTIL_S

    def make_swarm(
        self,
        host: Host,
        identity: Identity,
        rng: random.Random,
        *,
        state: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Swarm:
        """Return a member of the swarm that runs on a host."""
        manifest = self.manifest
        address = host.callable_address
        arguments: dict[str, Any] = {
            "manifest": manifest,
            "identity": identity,
            "capabilities": Capabilities(
                manifest.model.arch_hash, manifest.task.input_shape, manifest.task.output_shape
            ),
            "addresses": () if address is None else (address,),
            "config": self.config,
            "state": state,
            "rng": rng,
            "insecure_deterministic_keys": True,
            "insecure_null_cipher": self.plan.null_cipher,
            "now": host.now,
            "unix_now": host.unix_now,
            **more,
        }
        return Swarm(**arguments)

    def on_unproven_delivery(self, peer: Peer, target: Peer, root: bytes) -> None:
        """An honest peer was told that another has an update, and that one has not said so."""
        raise InvariantError(f"node {peer.index} believes that node {target.index} has {root.hex()}")

    # Inside

    def _add(self, index: int) -> None:
        node = self.plan.nodes[index]
        clock = Clock(node.origin_s, node.drift, node.unix_error_s)
        public = f"5.{index >> 8}.{index & 255}.1"
        translator = None if node.nat is NatClass.NONE else Translator(node.nat, public)
        host_type = Seat if node.misbehaviour else Host
        host = host_type(
            index,
            (public if translator is None else f"10.{index >> 8}.{index & 255}.1", _PORT),
            scheduler=self.scheduler,
            sender=self.network,
            trace=self.trace,
            clock=clock,
            translator=translator,
            distance_s=node.distance_s,
            strict=self.plan.strict and not node.misbehaviour,
        )
        self._hosts[index] = host
        self.network.add(host)
        if host.callable_address is not None:
            self._by_address[host.callable_address] = host
        identity = self._identities[index]
        if isinstance(host, Seat):
            host.furnish(
                self,
                rng=stream(self.plan.seed, "misbehaviour", index),
                identity=identity,
                keys=self.keys,
                manifest=self.manifest,
                config=self.config,
                network=self.network,
                scheduler=self.scheduler,
            )
            self.seats[index] = host
            return
        picks = [b if a == index else a for a, b in self.plan.picks if index in (a, b)]
        self.peers[index] = self.honest_by_id[identity.peer_id] = Peer(self, host, identity, picks)

    def _act(self, action: Action) -> None:
        """Let one thing of the plan happen; after the heal only starts and leaves still do."""
        if self.healed and action.kind not in (Kind.START, Kind.LEAVE):
            return
        now = self.scheduler.now
        self.trace.note(now, action.kind.value, action.node, {"value": action.value}, TraceKind.ACTION)
        match action.kind:
            case Kind.PARTITION:
                self.network.partition(dict(enumerate(action.groups)))
            case Kind.CONDITIONS:
                self.network.set_conditions(action.conditions or CALM)
            case Kind.BLOCK:
                self.network.block(action.node, int(action.value))
            case _:
                self._act_on_node(action)

    def _act_on_node(self, action: Action) -> None:
        host = self._hosts[action.node]
        peer = self.peers.get(action.node)
        if peer is None:
            seat = self.seats[action.node]
            if action.kind is Kind.START:
                seat.start(adversary.MISBEHAVIOURS[self.plan.nodes[action.node].misbehaviour](seat))
            return
        match action.kind:
            case Kind.START:
                peer.start()
            case Kind.CRASH:
                peer.crash(keeps_disk=bool(action.value))
            case Kind.CRASH_AT_PUBLISH:
                peer.crashes_at_publish = True
            case Kind.CRASH_AT_SAVE:
                peer.crashes_at_save = True
            case Kind.LEAVE:
                peer.leave()
            case Kind.REBIND:
                if host.translator is not None:
                    host.rebind()
            case Kind.STEP:
                host.step_clock(action.value)
            case Kind.UNIX_STEP:
                host.clock.unix_error_s += action.value
                if peer.swarm is not None:
                    peer.swarm.set_unix_time(host.unix_now, now=host.now)
                    host.settle()
            case Kind.PAUSE:
                host.pause(action.value)
