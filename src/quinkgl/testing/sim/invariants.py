"""What must hold at every step of every world, whatever the network, the nodes and the misbehaving do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from quinkgl.swarm import (
    FingerprintNotReceived,
    FingerprintReceived,
    PeerConnected,
    PeerConvicted,
    PeerDisconnected,
    Swarm,
    SwarmClosed,
    UpdateDelivered,
    UpdateNotDelivered,
    UpdateReceived,
)
from quinkgl.testing.sim.books import check_books
from quinkgl.testing.sim.host import Host
from quinkgl.transport import leaf_hashes, merkle_root
from quinkgl.wire.addresses import Address
from quinkgl.wire.errors import ErrorCode
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.packets import FIRST_BYTE_OF_INIT

if TYPE_CHECKING:
    from quinkgl.testing.sim.peer import Peer
    from quinkgl.testing.sim.world import World

_COUNT_EVERY = 64
"""Events of a node between two looks at what its collections hold."""

_NOBODYS_FAULT = (
    ErrorCode.NO_ERROR,
    ErrorCode.E_BUSY,
    ErrorCode.E_HS_DUP,
    ErrorCode.E_HS_TIMEOUT,
    ErrorCode.E_IDLE,
    ErrorCode.E_MAN_TIMEOUT,
    ErrorCode.E_NO_PATH,
    ErrorCode.E_RESET,
)
"""Why a session of two honest peers may end; with every other code one says that the other broke a rule."""
_BEGINS_WITHIN_S = 5.0
"""A session that is reported so soon after the heal may have begun before it, with a life of the other side
that ended in between."""
_ON_THE_WAY_S = 5.0
"""Seconds for which an update may be on its way after the heal; a round is longer."""


class InvariantError(AssertionError):
    """Something happened that must never happen."""


@dataclass(slots=True)
class _Published:
    root: bytes
    body: bytes


@dataclass(slots=True)
class Memory:
    """What a peer has learned and must still know in a later life: it is in the state that it saves."""

    had: dict[tuple[bytes, int, int], None] = field(default_factory=dict)
    """Author, incarnation and round of every update that came."""
    convicted: dict[bytes, None] = field(default_factory=dict)

    def copy(self) -> Memory:
        """Return what goes into a checkpoint."""
        return Memory(dict(self.had), dict(self.convicted))


@dataclass(slots=True)
class _Life:
    """What one life of an honest peer has said so far."""

    incarnation: int
    memory: Memory
    connected: dict[bytes, float] = field(default_factory=dict)
    owed: dict[tuple[bytes, bytes], None] = field(default_factory=dict)
    """Target and root of each update whose fate is not told yet."""
    missed: dict[tuple[bytes, bytes], None] = field(default_factory=dict)
    """Those whose session ended first: the newest is offered again, and its fate told once more."""
    again: dict[tuple[bytes, bytes], None] = field(default_factory=dict)
    """Those that are offered again, if their sender still has them."""
    newest: bytes = b""
    asked: dict[bytes, None] = field(default_factory=dict)
    """Who was asked for a fingerprint and has not answered."""
    closed: bool = False
    events: int = 0


class Watch:
    """Sees all that honest peers say and send, and raises :class:`InvariantError` for what must not be."""

    def __init__(self, world: World) -> None:
        self.checks = 0
        """Looks taken so far."""
        self.delivered = 0
        self._world = world
        self._lives: dict[int, _Life] = {}
        self._published: dict[tuple[bytes, int, int], _Published] = {}
        self._arrived: dict[tuple[bytes, bytes], None] = {}
        self._addressed: dict[bytes, dict[bytes, float]] = {}
        self._wrote_to: set[tuple[bytes, bytes]] = set()
        """By target, the updates that honest peers addressed to it since the heal, and when."""
        """Receiver and root of every update that an honest peer got."""
        self._from_nowhere: dict[tuple[int, Address], list[int]] = {}
        """Bytes that a host got from, and sent to, an address where nobody is."""

    # What peers do

    def on_started(self, peer: Peer) -> None:
        """A life begins."""
        memory = Memory() if peer.disk is None else peer.disk.memory.copy()
        self._lives[peer.index] = _Life(_incarnation(peer), memory)

    def on_stopped(self, peer: Peer) -> None:
        """A life ends by a crash."""
        self._lives.pop(peer.index, None)

    def memory_of(self, peer: Peer) -> Memory:
        """Return what a checkpoint that is made now lets a later life know."""
        return self._lives[peer.index].memory.copy()

    def on_published(self, peer: Peer, round: int, root: bytes, body: bytes, targets: list[bytes]) -> None:
        """An update goes out."""
        life = self._lives[peer.index]
        incarnation = _incarnation(peer)
        if incarnation < life.incarnation:
            raise InvariantError(f"node {peer.index} went back from {life.incarnation} to {incarnation}")
        life.incarnation = incarnation
        key = peer.identity.peer_id, incarnation, round
        if key in self._published:
            raise InvariantError(f"node {peer.index} published twice as {incarnation}, {round}")
        self._published[key] = _Published(root, body)
        life.newest = root
        life.missed.clear()
        for target in targets:
            life.owed[target, root] = None
            if self._world.healed:
                self._addressed.setdefault(target, {})[root] = self._world.scheduler.now
                self._wrote_to.add((peer.identity.peer_id, target))

    def on_asked(self, peer: Peer, other: bytes) -> None:
        """A fingerprint is asked for."""
        self._lives[peer.index].asked[other] = None

    def on_event(self, peer: Peer, event: Any) -> None:
        """A swarm says something: it must fit what it said before, and what is true."""
        life = self._lives[peer.index]
        life.events += 1
        self.checks += 1
        if life.closed:
            raise InvariantError(f"node {peer.index} said {event} after SwarmClosed")
        match event:
            case PeerConnected() | PeerDisconnected():
                self._on_session(peer, life, event)
            case UpdateReceived():
                self._on_received(peer, life, event)
            case UpdateDelivered(other, root):
                self._on_answer(peer, life, other, root)
                self._on_delivered(peer, other, root)
            case UpdateNotDelivered(other, root):
                self._on_answer(peer, life, other, root)
                if root == life.newest:
                    life.missed[other, root] = None
            case FingerprintReceived() | FingerprintNotReceived():
                self._on_fingerprint(peer, life, event)
            case PeerConvicted(other):
                life.memory.convicted[other] = None
                self._on_convicted(peer, event)
            case SwarmClosed():
                life.closed = True
        if life.events % _COUNT_EVERY == 0 and peer.swarm is not None:
            self.check_memory(peer.swarm, peer.index)

    def _on_session(self, peer: Peer, life: _Life, event: PeerConnected | PeerDisconnected) -> None:
        other = event.peer
        if isinstance(event, PeerDisconnected):
            if other not in life.connected:
                raise InvariantError(f"node {peer.index} lost {other.hex()}, whom it never had")
            if other in life.asked:
                raise InvariantError(f"node {peer.index} lost {other.hex()} and left a request unanswered")
            if any(target == other for target, _ in life.owed):
                raise InvariantError(f"node {peer.index} lost {other.hex()} and left an update unanswered")
            self._check_loss(peer, event, began_at=life.connected.pop(other))
            return
        if other in life.connected:
            raise InvariantError(f"node {peer.index} connected twice to {other.hex()}")
        life.connected[other] = self._world.scheduler.now
        if life.missed.pop((other, life.newest), True) is None:
            life.again[other, life.newest] = None

    def _check_loss(self, peer: Peer, event: PeerDisconnected, began_at: float) -> None:
        """No honest peer accuses another one, and a session of two that began after the heal stays.

        Unless there is a newer one.
        """
        other = self._world.honest_by_id.get(event.peer)
        if other is not None and event.code not in _NOBODYS_FAULT:
            raise InvariantError(
                f"node {peer.index} ended with node {other.index}, which is honest: "
                f"{ErrorCode(event.code).name}, {event.reason}"
            )
        if not self._world.healed or began_at < self._world.plan.heal_at_s + _BEGINS_WITHIN_S:
            return
        if other is None or other.left or event.code == ErrorCode.E_HS_DUP:
            return
        raise InvariantError(
            f"node {peer.index} lost its session with node {other.index} though nothing was wrong: "
            f"{ErrorCode(event.code).name}, {event.reason}"
        )

    def _on_fingerprint(
        self, peer: Peer, life: _Life, event: FingerprintReceived | FingerprintNotReceived
    ) -> None:
        if event.peer not in life.asked:
            raise InvariantError(f"node {peer.index} was answered for a fingerprint that it did not ask for")
        del life.asked[event.peer]
        shown = self._world.honest_by_id.get(event.peer)
        if isinstance(event, FingerprintReceived) and shown is not None and event.body != shown.fingerprint:
            raise InvariantError(f"node {peer.index} got a fingerprint that is not node {shown.index}'s")

    def _on_received(self, peer: Peer, life: _Life, event: UpdateReceived) -> None:
        header = event.header
        if event.peer not in life.connected:
            raise InvariantError(
                f"node {peer.index} got an update of {event.peer.hex()}, who is not connected"
            )
        if header.author in life.memory.convicted:
            raise InvariantError(f"node {peer.index} got an update of {header.author.hex()}, a convict")
        position = header.author, header.incarnation, header.round
        if position in life.memory.had:
            raise InvariantError(f"node {peer.index} got round {header.round} of {header.author.hex()} twice")
        life.memory.had[position] = None
        self._arrived[peer.identity.peer_id, header.root] = None
        author = self._world.honest_by_id.get(header.author)
        body = bytes(event.body)
        if author is None:  # a member that misbehaves may say anything, but not with another root
            if merkle_root(leaf_hashes(body)) != header.root:
                raise InvariantError(f"node {peer.index} got a body that does not have its root")
            return
        published = self._published.get(position)
        if published is None or published.root != header.root:
            raise InvariantError(
                f"node {peer.index} got round {header.round} of {header.incarnation} of node {author.index}, "
                "which nobody published"
            )
        if body != published.body:
            raise InvariantError(f"node {peer.index} got another body than node {author.index} published")

    def _on_answer(self, peer: Peer, life: _Life, other: bytes, root: bytes) -> None:
        if (other, root) in life.owed:
            del life.owed[other, root]
        elif life.again.pop((other, root), True) is not None:
            raise InvariantError(f"node {peer.index} was told twice, or for nothing, of {root.hex()}")

    def _on_delivered(self, peer: Peer, other: bytes, root: bytes) -> None:
        self.delivered += 1
        target = self._world.honest_by_id.get(other)
        if target is not None and (other, root) not in self._arrived:
            self._world.on_unproven_delivery(peer, target, root)

    def _on_convicted(self, peer: Peer, event: PeerConvicted) -> None:
        convict = self._world.honest_by_id.get(event.peer)
        if convict is not None:
            raise InvariantError(
                f"node {peer.index} convicted node {convict.index}, which is honest, for round {event.round}"
            )

    @property
    def owed(self) -> int:
        """How many updates are on their way, by what their authors know."""
        return sum(len(life.owed) for life in self._lives.values())

    def outstanding(self, peer: Peer) -> list[bytes]:
        """Return the updates addressed to a peer since the heal that should have come by now and have not."""
        until = self._world.scheduler.now - _ON_THE_WAY_S
        addressed = self._addressed.get(peer.identity.peer_id, {})
        return [
            root
            for root, at in addressed.items()
            if at < until and (peer.identity.peer_id, root) not in self._arrived
        ]

    def has_written(self, author: Peer, peer: Peer) -> bool:
        """Whether an author has addressed any update to a peer since the heal."""
        return (author.identity.peer_id, peer.identity.peer_id) in self._wrote_to

    # What hosts send

    def on_from_nowhere(self, host: Host, source: Address, size: int) -> None:
        """A host hears from an address where nobody is: somebody has forged it."""
        if self._world.is_phantom(source):
            self._from_nowhere.setdefault((host.index, source), [0, 0])[0] += size

    def on_nowhere(self, host: Host, destination: Address, data: bytes) -> None:
        """A host sends where nobody is: it may send three times what it thinks it got from there."""
        if not self._world.is_phantom(destination) or host.index not in self._world.peers:
            return
        self.checks += 1
        if data[0] == FIRST_BYTE_OF_INIT:
            return  # it was told to call there, and asks who is there, a few times and no more
        counts = self._from_nowhere.setdefault((host.index, destination), [0, 0])
        counts[1] += len(data)
        if counts[1] > LIMITS.unvalidated_factor * counts[0]:
            raise InvariantError(
                f"node {host.index} sent {counts[1]} bytes to {destination}, which has not proved itself, "
                f"for {counts[0]} that came from there"
            )

    # What nodes hold

    def check_memory(self, swarm: Swarm, index: int) -> None:
        """Every collection of a swarm is inside its bound."""
        self.checks += 1
        for name, (held, bound) in swarm.occupancy().items():
            if held > bound:
                raise InvariantError(f"node {index} holds {held} {name}, its bound is {bound}")

    def check_books(self) -> None:
        """No exchange has one side alone, and the sum of all numbers is what it was."""
        world = self._world
        books = [world.honest_by_id[peer].books for peer in world.exchanging]
        self.checks += 1
        check_books(books, world.total)

    def check_connected(self, peer: Peer) -> None:
        """What a swarm lists as its peers is what it has said."""
        swarm, life = peer.swarm, self._lives.get(peer.index)
        if swarm is None or life is None:
            return
        listed = [view.peer for view in swarm.peers()]
        if listed != sorted(life.connected):
            raise InvariantError(f"node {peer.index} lists other peers than it has told of")


def _incarnation(peer: Peer) -> int:
    """Return under which incarnation a peer publishes: it may grow in the course of a life."""
    return 0 if peer.swarm is None else int(peer.swarm.state()["gossip"]["incarnation"])
