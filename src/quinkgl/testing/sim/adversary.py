"""Where misbehaving peers are plugged in.

A :class:`Misbehaviour` owns an address of the network and may do what it likes there. It usually holds the
swarm's keys and an identity of its own, as any member does. Three ways, which can be mixed:

* *wrap an honest machine*: :meth:`Misbehaviour.build` returns a ``Swarm`` (the default) or an ``Endpoint``;
  :meth:`~Misbehaviour.outgoing` and :meth:`~Misbehaviour.incoming` alter, drop, repeat or invent what it
  sends and hears, :meth:`~Misbehaviour.on_event` and :meth:`~Misbehaviour.on_timer` call its commands;
* *no machine*: ``build`` returns None, and everything is written by hand with :meth:`Seat.send`;
* *on the path*: with ``taps`` set, :meth:`~Misbehaviour.overheard` is shown every datagram of the network.

Everything random comes from ``seat.rng``; nothing else may decide anything. A subclass is made known by
:func:`misbehaviour`, and worlds draw from all that are known::

    @misbehaviour("shouts")
    class Shouts(Misbehaviour):
        def on_start(self): self.seat.wake_after(1.0)
        def on_timer(self):
            self.seat.send(b"?" * 1200, choose(self.seat.rng, self.seat.addresses()))
            self.seat.wake_after(1.0)

What a misbehaving peer may do is bounded by what a real one could: it cannot break ciphers, and it cannot
send more than :data:`BYTES_PER_S`, since a line that is full for ever shows nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from quinkgl.crypto.identity import Identity
from quinkgl.crypto.psk import SwarmKeys
from quinkgl.manifest import SwarmManifest
from quinkgl.swarm import Swarm, SwarmConfig
from quinkgl.testing.sim.draws import between, choose
from quinkgl.testing.sim.host import Host
from quinkgl.testing.sim.network import Network, split
from quinkgl.testing.sim.scheduler import Scheduler
from quinkgl.transport import Endpoint
from quinkgl.wire.addresses import Address

if TYPE_CHECKING:
    from quinkgl.testing.sim.world import World

BYTES_PER_S = 500_000.0
_BURST_BYTES = 1_000_000.0

M = TypeVar("M", bound="type[Misbehaviour]")


class Misbehaviour:
    """A peer that does not keep the rules. This one does keep them: it is the base of those that do not."""

    name: ClassVar[str] = ""
    taps: ClassVar[bool] = False
    """Whether it hears everything that is sent on the network."""

    def __init__(self, seat: Seat) -> None:
        self.seat = seat

    def build(self) -> Any:
        """Return the machine to run here, or None. Called at the start, and again by ``seat.restart()``."""
        return self.seat.make_swarm()

    def on_start(self) -> None:
        """Begin; by default, join as an honest member does."""
        self.seat.join()

    def on_event(self, event: Any) -> None:
        """See an event of the own machine; commands may be called."""

    def incoming(self, data: bytes, source: Address) -> Iterable[bytes]:  # noqa: ARG002 - for subclasses
        """Return what the own machine hears in place of a datagram that arrived."""
        yield data

    def outgoing(self, data: bytes, destination: Address) -> Iterable[tuple[bytes, Address]]:
        """Return what is sent, and where to, in place of a datagram of the own machine."""
        yield data, destination

    def overheard(self, data: bytes, source: Address, destination: Address) -> None:
        """See a datagram of others; called where ``taps`` is set."""

    def on_timer(self) -> None:
        """Do what is due; called when ``seat.wake_after`` asked for it."""


MISBEHAVIOURS: dict[str, type[Misbehaviour]] = {}
"""All that are known, by name, in the order in which they were made known."""


def misbehaviour(name: str) -> Callable[[M], M]:
    """Make a class known under ``name``."""

    def register(cls: M) -> M:
        if name in MISBEHAVIOURS:
            raise ValueError(f"there is a misbehaviour {name!r} already")
        cls.name = name
        MISBEHAVIOURS[name] = cls
        return cls

    return register


class Seat(Host):
    """The host of a misbehaving peer, and everything that it has to misbehave with.

    ``identity`` is its own, ``keys`` are those of every member, ``manifest`` and ``config`` those of the
    honest peers, ``rng`` decides all of its choices. ``machine`` is what ``build`` returned.
    """

    rng: random.Random
    identity: Identity
    keys: SwarmKeys
    manifest: SwarmManifest
    config: SwarmConfig
    world: World
    misbehaviour: Misbehaviour

    def furnish(
        self,
        world: World,
        *,
        rng: random.Random,
        identity: Identity,
        keys: SwarmKeys,
        manifest: SwarmManifest,
        config: SwarmConfig,
        network: Network,
        scheduler: Scheduler,
    ) -> None:
        """Give the seat what its peer may use."""
        self.world = world
        self.misbehaviour = Misbehaviour(self)
        self.rng = rng
        self.identity = identity
        self.keys = keys
        self.manifest = manifest
        self.config = config
        self._network = network
        self._clockwork = scheduler
        self._allowance = _BURST_BYTES
        self._allowed_at = 0.0

    # What a misbehaving peer may use

    def start(self, misbehaviour: Misbehaviour) -> None:
        """Let a misbehaviour begin here."""
        self.misbehaviour = misbehaviour
        if misbehaviour.taps:
            self._network.taps.append(self._overhear)
        self.restart()
        misbehaviour.on_start()
        self.settle()

    def restart(self) -> None:
        """Run a fresh machine in the place of the present one."""
        machine = self.misbehaviour.build()
        if machine is None:
            self.uninstall()
        else:
            self.install(machine, self.misbehaviour.on_event)

    def send(self, data: bytes, destination: Address, *, source: Address | None = None) -> None:
        """Send a datagram, with a forged source address where one is given."""
        now = self._clockwork.now
        self._allowance = min(_BURST_BYTES, self._allowance + (now - self._allowed_at) * BYTES_PER_S)
        self._allowed_at = now
        if len(data) > self._allowance:
            return
        self._allowance -= len(data)
        if source is None:
            self._network.send(self, data, destination, None)
        else:
            self._network.inject(self, source, destination, data)

    def wake_after(self, seconds: float) -> None:
        """Have ``on_timer`` called so many virtual seconds from now."""
        self._clockwork.after(seconds, self._on_timer)

    def settle_soon(self) -> None:
        """Have the own machine drained; needed after commands outside ``on_event`` and ``on_timer``."""
        self._clockwork.at(self._clockwork.now, self._on_settle)

    def make_swarm(self, **more: Any) -> Swarm:
        """Return a member of the swarm with the own identity; ``more`` replaces arguments of ``Swarm``."""
        return self.world.make_swarm(self, self.identity, self.rng, **more)

    def make_endpoint(self, **more: Any) -> Endpoint:
        """Return a bare endpoint with the own identity and the swarm's keys."""
        arguments: dict[str, Any] = {
            "identity": self.identity,
            "keys": self.keys,
            "rng": self.rng,
            "config": self.config.endpoint,
            "now": self.now,
            "insecure_deterministic_keys": True,
            "insecure_null_cipher": self.world.plan.null_cipher,
            **more,
        }
        return Endpoint(**arguments)

    def make_identity(self) -> Identity:
        """Return a fresh identity: keys cost nothing."""
        return Identity.from_seed(self.rng.randbytes(32))

    def honest(self) -> list[tuple[bytes, Address]]:
        """Return id and address of each honest peer that can be called."""
        return self.world.callable_peers()

    def addresses(self) -> list[Address]:
        """Return the addresses of the honest peers that can be called."""
        return [address for _, address in self.honest()]

    def join(self, count: int = 3) -> None:
        """Open sessions with some honest peers."""
        for _ in range(count):
            peer, address = choose(self.rng, self.honest())
            self.machine.connect(address, expected_peer=peer, now=self.now)

    # The host

    def arrive(self, data: bytes, source: Address, segment_size: int | None) -> None:
        """Take what came from the network, as the misbehaviour wants it."""
        now = self.now
        for datagram in split(data, segment_size):
            for heard in self.misbehaviour.incoming(datagram, source):
                if self.machine is not None:
                    self._receive(heard, source, None, now)
        self.settle(now)

    def _emit(self, data: bytes, destination: Address, segment_size: int | None) -> None:
        for datagram in split(data, segment_size):
            for sent, where in self.misbehaviour.outgoing(datagram, destination):
                self._network.send(self, sent, where, None)

    def _overhear(self, _: float, source: Address, destination: Address, data: bytes) -> None:
        if source != self.address:
            self.misbehaviour.overheard(data, source, destination)

    def _on_timer(self, _: object) -> None:
        self.misbehaviour.on_timer()
        self.settle()

    def _on_settle(self, _: object) -> None:
        self.settle()


def draw_names(rng: random.Random, count: int, among: Sequence[str] = ()) -> list[str]:
    """Return the names of ``count`` misbehaviours, each as likely as the others."""
    names = list(among) if among else list(MISBEHAVIOURS)
    return [choose(rng, names) for _ in range(count)]


@misbehaviour("garbage flood")
class GarbageFlood(Misbehaviour):
    """Sends bytes that mean nothing or nearly something, from its own and forged addresses."""

    def build(self) -> Any:
        """It needs no machine."""
        return None

    def on_start(self) -> None:
        """Begin at once."""
        self.seat.wake_after(between(self.seat.rng, 0.0, 0.2))

    def on_timer(self) -> None:
        """Send a burst to somebody."""
        rng = self.seat.rng
        destination = choose(rng, self.seat.addresses())
        source = self.seat.world.phantom(rng) if rng.random() < 0.5 else None
        for _ in range(4):
            body = bytearray(rng.randbytes(choose(rng, [0, 1, 20, 40, 60, 1200, 1452])))
            if body:
                body[0] = choose(rng, [0x00, 0x40, 0x60, 0xC0, 0xC1, 0xC2, 0xC3, body[0]])
            self.seat.send(bytes(body), destination, source=source)
        self.seat.wake_after(between(rng, 0.1, 0.5))


@misbehaviour("replay")
class Replay(Misbehaviour):
    """Hears everything, and sends it again later: unchanged, from where it came or from elsewhere."""

    taps = True

    def build(self) -> Any:
        """It needs no machine."""
        return None

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self._heard: list[tuple[Address, Address, bytes]] = []

    def on_start(self) -> None:
        """Listen first."""
        self.seat.wake_after(1.0)

    def overheard(self, data: bytes, source: Address, destination: Address) -> None:
        """Keep a sample of what is said."""
        if self.seat.rng.random() < 0.05:
            self._heard.append((source, destination, data))
            del self._heard[:-500]

    def on_timer(self) -> None:
        """Send some of it again."""
        rng = self.seat.rng
        for _ in range(3):
            if self._heard:
                source, destination, data = choose(rng, self._heard)
                claimed = (None, source, self.seat.world.phantom(rng))[rng.getrandbits(8) % 3]
                self.seat.send(data, destination, source=claimed)
        self.seat.wake_after(between(rng, 0.2, 0.6))
