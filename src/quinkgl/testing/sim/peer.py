"""An honest node: a ``Swarm`` and the least application that a learner is, with a disk that survives crashes.

Each round it "trains" (makes an update that nobody else could make), publishes it to a few peers, and counts
what came in meanwhile. It keeps up sessions with the peers that it picked, as a driver with a list of
addresses does, and saves its state after each round.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from quinkgl.crypto.identity import Identity
from quinkgl.swarm import SaveWanted, Swarm, SwarmClosed, UpdateReceived
from quinkgl.testing.sim.books import Books
from quinkgl.testing.sim.draws import below, between, chance, choose, sample, stream
from quinkgl.testing.sim.host import Host
from quinkgl.testing.sim.invariants import Memory

if TYPE_CHECKING:
    from quinkgl.testing.sim.world import World

_MAINTAIN_S = 4.0
"""How often the sessions with the picked peers are looked after."""
_ASKS = 0.3
"""How often a peer asks another for its fingerprint at the end of a round."""
_WAIT_S = 0.5
"""How often a peer looks whether it has company enough to begin."""


@dataclass(frozen=True, slots=True)
class Disk:
    """One checkpoint: everything that a later life begins with."""

    number: int
    swarm: Mapping[str, Any]
    round: int
    books: Books
    memory: Memory
    """What the watch holds the next life to."""


class _Writing(NamedTuple):
    """A checkpoint that is on its way to the disk, and the mark of the state in it."""

    life: int
    disk: Disk
    mark: int


class Peer:
    """One honest member, through all of its lives."""

    def __init__(self, world: World, host: Host, identity: Identity, picks: list[int]) -> None:
        self.world = world
        self.host = host
        self.identity = identity
        self.picks = picks
        self.life = 0
        self.round = 0
        self.disk: Disk | None = None
        self.books = Books(below(stream(world.plan.seed, "number", host.index), 1000))
        self.left = False
        self.crashes_at_publish = self.crashes_at_save = False
        self.received: dict[bytes, float] = {}
        """When the last update of each author came, virtual time."""
        self.productive: list[float] = []
        """When each round ended in which something came, virtual time."""
        self.ended: list[float] = []
        """When each round ended, virtual time."""
        self.updates_received = 0
        self.updates_published = 0
        self.fingerprint = stream(world.plan.seed, "fingerprint", host.index).randbytes(200)
        self._came = 0
        self._saves = 0
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
        self.crashes_at_publish = self.crashes_at_save = False
        rng = stream(self.world.plan.seed, "swarm", self.index, self.life)
        state = None if self.disk is None else self.disk.swarm
        self.round = 0 if self.disk is None else self.disk.round
        swarm = self.world.make_swarm(self.host, self.identity, rng, state=state)
        if self.disk is not None:
            self.books = self.disk.books.copy()
            self.books.forget_closed(swarm)
        self.host.install(swarm, self.on_event)
        self.world.watch.on_started(self)
        if self.round:
            swarm.set_round(self.round, now=self.host.now)
        swarm.set_fingerprint(self.fingerprint, 0, now=self.host.now)
        self._save()  # the incarnation of this life must outlast it before anything is published
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

    def _crash_in(self, life: int) -> None:
        if life == self.life and not self.world.healed:
            self.crash(keeps_disk=True)

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
        elif isinstance(event, SaveWanted):
            self._save()
            if self.crashes_at_save:
                self.crashes_at_save = False
                self.world.scheduler.after(between(self._rng, 0.0, 0.03), self._crash_in, self.life)
        elif self.swarm is not None:
            friend = getattr(event, "peer", b"") in self.world.exchanging
            self.books.on_event(self.swarm, event, self.host.now, answers=friend)

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
        self.ended.append(self.world.scheduler.now)
        self.round += 1
        now = self.host.now
        swarm.set_round(self.round, now=now)
        self._publish(swarm, now)
        if self.crashes_at_publish:
            self.host.settle(now)
            self.crash(keeps_disk=True)
            return
        self._talk(swarm, now)
        self._save()
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

    def _talk(self, swarm: Swarm, now: float) -> None:
        """Ask a peer for its fingerprint, and offer one an exchange."""
        peers = [view.peer for view in swarm.peers()]
        if peers and chance(self._rng, _ASKS):
            peer = choose(self._rng, peers)
            if swarm.request_fingerprint(peer, now=now):
                self.world.watch.on_asked(self, peer)
        friends = [peer for peer in peers if peer in self.world.exchanging]
        if self.identity.peer_id in self.world.exchanging and friends and self.world.may_offer:
            self.books.offer(swarm, choose(self._rng, friends), now)

    def _save(self) -> None:
        """Begin to write a checkpoint: it is on the disk a little later, and known to be, later still."""
        swarm = self.swarm
        if swarm is None:
            return
        self._saves += 1
        memory = self.world.watch.memory_of(self)
        disk = Disk(self._saves, swarm.state(), self.round, self.books.copy(), memory)
        writing = _Writing(self.life, disk, swarm.exchange_mark)
        self.world.scheduler.after(between(self._rng, 0.001, 0.02), self._write, writing)

    def _write(self, writing: _Writing) -> None:
        if writing.life != self.life or not self.host.is_up:
            return
        if self.disk is None or writing.disk.number > self.disk.number:
            self.disk = writing.disk
        self.world.scheduler.after(between(self._rng, 0.001, 0.02), self._tell_written, writing)

    def _tell_written(self, writing: _Writing) -> None:
        swarm = self.swarm
        if writing.life == self.life and swarm is not None:
            swarm.state_saved(writing.mark, now=self.host.now)
            self.host.settle()

    def _maintain(self, life: int) -> None:
        """Call the peers that were picked and are not there."""
        swarm = self.swarm
        if life != self.life or swarm is None or self.left:
            return
        connected = {view.peer: None for view in swarm.peers()}
        friends = (self.world.honest_by_id.get(view.peer) for view in swarm.open_exchanges())
        open_with = [friend.index for friend in friends if friend is not None]
        for index in dict.fromkeys((*self.picks, *open_with)):
            address = self.world.address_of(index)
            peer = self.world.id_of(index)
            if address is not None and peer not in connected:
                swarm.connect(address, expected_peer=peer, now=self.host.now)
        self.host.settle()
        self.world.scheduler.after(_MAINTAIN_S * between(self._rng, 0.8, 1.2), self._maintain, life)
