"""An honest node: a ``Swarm`` and the least application that a learner is, with a disk that survives crashes.

Each round it "trains" (makes an update that nobody else could make), publishes it to a few peers, and counts
what came in meanwhile. It keeps up sessions with the peers that it picked, as a driver with a list of
addresses does, and saves its state after each round.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from quinkgl.crypto.identity import Identity
from quinkgl.swarm import Swarm, SwarmClosed, UpdateReceived
from quinkgl.testing.sim.draws import between, sample, stream
from quinkgl.testing.sim.host import Host

if TYPE_CHECKING:
    from quinkgl.testing.sim.world import World

_MAINTAIN_S = 4.0
"""How often the sessions with the picked peers are looked after."""
_WAIT_S = 0.5
"""How often a peer looks whether it has company enough to begin."""


class Peer:
    """One honest member, through all of its lives."""

    def __init__(self, world: World, host: Host, identity: Identity, picks: list[int]) -> None:
        self.world = world
        self.host = host
        self.identity = identity
        self.picks = picks
        self.life = 0
        self.round = 0
        self.disk: Mapping[str, Any] | None = None
        self.left = False
        self.received: dict[bytes, float] = {}
        """When the last update of each author came, virtual time."""
        self.productive: list[float] = []
        """When each round ended in which something came, virtual time."""
        self.updates_received = 0
        self.updates_published = 0
        self._came = 0
        self._body_rng = stream(world.plan.seed, "bodies", host.index)
        self._rng = stream(world.plan.seed, "application", host.index)

    @property
    def index(self) -> int:
        """Its number."""
        return self.host.index

    @property
    def swarm(self) -> Swarm | None:
        """The running member, None while the node is down."""
        machine: Swarm | None = self.host.machine
        return machine

    # Lives

    def start(self) -> None:
        """Begin a life, from the disk where there is something on it."""
        if self.host.is_up or self.left:
            return
        self.life += 1
        rng = stream(self.world.plan.seed, "swarm", self.index, self.life)
        state = None if self.disk is None else self.disk["swarm"]
        self.round = 0 if self.disk is None else self.disk["round"]
        swarm = self.world.make_swarm(self.host, self.identity, rng, state=state)
        self.host.install(swarm, self.on_event)
        self.world.watch.on_started(self)
        if self.round:
            swarm.set_round(self.round, now=self.host.now)
        self._maintain(self.life)
        wait_s = between(self._rng, 0.2, 1.0) * self.world.plan.round_s
        self.world.scheduler.after(wait_s, self._end_round, self.life)

    def crash(self, *, keeps_disk: bool) -> None:
        """Be gone without a word."""
        if self.host.is_up:
            self.world.watch.on_stopped(self)
        self.host.uninstall()
        if not keeps_disk:
            self.disk = None

    def leave(self) -> None:
        """Close, for ever."""
        self.left = True
        swarm = self.swarm
        if swarm is not None:
            swarm.close(now=self.host.now)
            self.host.settle()

    # The application

    def on_event(self, event: Any) -> None:
        """See an event of the swarm."""
        self.world.watch.on_event(self, event)
        if isinstance(event, UpdateReceived):
            self.updates_received += 1
            self._came += 1
            self.received[event.header.author] = self.world.scheduler.now
        elif isinstance(event, SwarmClosed):
            self.host.uninstall()

    def _end_round(self, life: int) -> None:
        swarm = self.swarm
        if life != self.life or swarm is None or self.left:
            return
        plan = self.world.plan
        if plan.least_sessions and len(swarm.peers()) < plan.least_sessions:
            self.world.scheduler.after(_WAIT_S, self._end_round, life)
            return
        if self._came:
            self.productive.append(self.world.scheduler.now)
        self._came = 0
        self.round += 1
        now = self.host.now
        swarm.set_round(self.round, now=now)
        self._publish(swarm, now)
        self.disk = {"swarm": swarm.state(), "round": self.round}
        self.host.settle(now)
        if plan.rounds is None or self.round < plan.rounds:
            self.world.scheduler.after(plan.round_s * between(self._rng, 0.9, 1.1), self._end_round, life)

    def _publish(self, swarm: Swarm, now: float) -> None:
        plan = self.world.plan
        peers = [view.peer for view in swarm.peers()]
        if not peers:
            return
        picked = [peer for peer in self.world.ids_of(self.picks) if peer in peers]
        # What it picked comes first, a different one each round, so that everybody's turn comes.
        turn = self.round % len(picked) if picked else 0
        targets = [*picked[turn:], *picked[:turn]][: plan.fan_out - 1]
        others = [peer for peer in peers if peer not in targets]
        targets += sample(self._rng, others, plan.fan_out - len(targets))
        body = self._body_rng.randbytes(plan.update_bytes)
        root = swarm.publish_update(body, round=self.round, sample_count=64, targets=targets, now=now)
        self.updates_published += 1
        self.world.watch.on_published(self, self.round, root, body, targets)

    def _maintain(self, life: int) -> None:
        """Call the peers that were picked and are not there."""
        swarm = self.swarm
        if life != self.life or swarm is None or self.left:
            return
        connected = {view.peer: None for view in swarm.peers()}
        for index in self.picks:
            address = self.world.address_of(index)
            peer = self.world.id_of(index)
            if address is not None and peer not in connected:
                swarm.connect(address, expected_peer=peer, now=self.host.now)
        self.host.settle()
        self.world.scheduler.after(_MAINTAIN_S * between(self._rng, 0.8, 1.2), self._maintain, life)
