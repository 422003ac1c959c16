"""A datagram network in virtual time.

Machines joined by links that lose, delay, reorder, duplicate and corrupt.

Nothing here sleeps, opens a socket or reads a clock. Each node is any machine with the datagram interface
(``receive_datagram``, ``handle_timer``, ``next_event``, ``next_datagram``, ``deadline``): an ``Endpoint``, a
``Swarm``, or either behind :class:`quinkgl.testing.contract.Checked`. One seed gives one run.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from quinkgl.wire.addresses import Address

_MOST_GATHERED = 64
"""Datagrams that arrive at one instant and are delivered together."""
_FIRST_TRANSLATED = 20_000
_TRANSLATED_PORTS = 40_000
"""Ports of translated addresses; no test gives a node one of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bursts:
    """Losses that come in bursts: the chain of Gilbert and Elliott, one step a datagram.

    In its good state a path loses what its :class:`Link` says, in its bad state ``loss`` of all datagrams.
    """

    enter: float = 0.01
    """Probability of turning bad."""
    leave: float = 0.25
    """Probability of turning good again: a burst has 1 / leave datagrams on average."""
    loss: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Blackouts:
    """Times in which a path carries nothing: the last ``dark_s`` of every ``period_s``, seconds."""

    period_s: float = 5.0
    dark_s: float = 2.0

    def is_dark(self, now: float) -> bool:
        """Whether the path is dead now."""
        return now % self.period_s >= self.period_s - self.dark_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """How a path treats datagrams.

    Probabilities are per datagram; ``rate`` is in bytes a second, None for no limit.
    """

    delay_s: float = 0.01
    jitter_s: float = 0.0
    """Extra delay, uniform in 0 … jitter: more than the spacing of datagrams reorders them."""
    loss: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    rate: float | None = None
    queue_bytes: int = 1 << 20
    """What may wait for the link's rate; more is dropped at the tail."""
    shared: str | None = None
    """Paths whose links name the same queue share its rate; None for a queue of one's own."""
    mtu: int | None = None
    """Bytes of the largest datagram (UDP payload) that passes; a larger one vanishes without a word."""
    mtu_changes: tuple[tuple[float, int], ...] = ()
    """Later values of ``mtu``: since which second each holds, ascending."""
    bursts: Bursts | None = None
    blackouts: Blackouts | None = None

    def mtu_at(self, now: float) -> int | None:
        """Return the largest datagram that passes at a time, None where any does."""
        mtu = self.mtu
        for since, changed in self.mtu_changes:
            if since <= now:
                mtu = changed
        return mtu


@dataclass(frozen=True, slots=True)
class _Binding:
    """How an address translator shows a node to the others."""

    every_s: float | None
    moves_host: bool
    extra: int = 0
    """Changes that were asked for one by one."""

    def outside(self, inside: Address, now: float) -> Address:
        """Return the public address of a node at a time."""
        changes = self.extra + (0 if self.every_s is None else int(now / self.every_s))
        if not changes:
            return inside
        host, port = inside
        if self.moves_host:
            network = host.rpartition("." if "." in host else ":")[0]
            separator = "." if "." in host else ":"
            host = f"{network}{separator}{100 + changes % 100}"
        return host, _FIRST_TRANSLATED + (port + 7 * changes) % _TRANSLATED_PORTS


@dataclass(slots=True)
class Node:
    """One machine on the network, with everything it said."""

    address: Address
    machine: Any
    events: list[Any] = field(default_factory=list)
    on_event: Callable[[Any], None] | None = None
    """Called for each event right after it was drained; may call commands of the machine."""
    bytes_sent: int = 0
    sent_to: dict[Address, int] = field(default_factory=dict)
    received_from: dict[Address, int] = field(default_factory=dict)


def datagrams_of(transmit: Any) -> list[bytes]:
    """Return the datagrams of a ``Transmit``: one, or those of a run."""
    data = bytes(transmit.data)
    size = transmit.segment_size or max(1, len(data))
    return [data[start : start + size] for start in range(0, max(1, len(data)), size)]


class VirtualNetwork:
    """Moves datagrams between nodes in order of virtual time, honouring every deadline exactly."""

    def __init__(self, seed: int = 0, link: Link | None = None) -> None:
        self.now = 0.0
        self.rng = random.Random(seed)  # noqa: S311 - it decides which datagrams are lost
        self.link = link if link is not None else Link()
        self.nodes: dict[Address, Node] = {}
        self.tap: Callable[[float, Address, Address, bytes], None] | None = None
        """Sees every datagram as it leaves: time, source, destination, bytes."""
        self.delivered = 0
        self.gathers = False
        """Whether datagrams that arrive at one instant are delivered together, as runs."""
        self._links: dict[tuple[Address, Address], Link] = {}
        self._free_at: dict[tuple[Address, Address] | str, float] = {}
        self._queue: list[tuple[float, int, Address, Address, bytes]] = []
        self._sequence = 0
        self._bad: dict[tuple[Address, Address], bool] = {}
        self._bindings: dict[Address, _Binding] = {}

    def add(self, address: Address, machine: Any) -> Node:
        """Put a machine on the network.

        One that is there already at this address is replaced, as after a crash.
        """
        node = Node(address, machine)
        self.nodes[address] = node
        return node

    def remove(self, address: Address) -> None:
        """Take a machine off without a word, as a crash does."""
        del self.nodes[address]

    def set_link(self, source: Address, destination: Address, link: Link) -> None:
        """Give one direction of one path a link of its own."""
        self._links[source, destination] = link

    def translate(self, address: Address, *, every_s: float | None = None, moves_host: bool = False) -> None:
        """Put the node at ``address`` behind a translator that gives it another public address now and then.

        Its public address changes every ``every_s`` seconds of virtual time, and with each :meth:`rebind`: to
        another port, with ``moves_host`` to another host too. What is still sent to an address that it had
        before vanishes. Links stay those of ``address``.
        """
        self._bindings[address] = _Binding(every_s, moves_host)

    def rebind(self, address: Address, *, moves_host: bool | None = None) -> Address:
        """Change the public address of a node now, and return it."""
        old = self._bindings.get(address, _Binding(None, moves_host=False))
        moves = old.moves_host if moves_host is None else moves_host
        self._bindings[address] = _Binding(old.every_s, moves, old.extra + 1)
        return self.public_address(address)

    def public_address(self, address: Address) -> Address:
        """Return where others see the node at ``address`` now."""
        binding = self._bindings.get(address)
        return address if binding is None else binding.outside(address, self.now)

    def inject(self, source: Address, destination: Address, data: bytes) -> None:
        """Put a datagram on the wire as if ``source`` had sent it."""
        self._push(source, destination, data)

    def settle(self, node: Node) -> None:
        """Drain a machine as the contract asks: events, then datagrams."""
        while True:
            while (event := node.machine.next_event()) is not None:
                node.events.append(event)
                if node.on_event is not None:
                    node.on_event(event)
            transmit = node.machine.next_datagram(self.now)
            if transmit is None:
                break
            for data in datagrams_of(transmit):
                node.bytes_sent += len(data)
                node.sent_to[transmit.destination] = node.sent_to.get(transmit.destination, 0) + len(data)
                self._push(self.public_address(node.address), transmit.destination, data)
        # Sending may have made events ready; a machine that keeps the contract says so in its deadline.
        deadline = node.machine.deadline()
        if deadline is not None and deadline < self.now:
            raise AssertionError(f"deadline {deadline} lies before now {self.now} after a drain")

    def settle_all(self) -> None:
        """Drain every machine."""
        for node in list(self.nodes.values()):
            self.settle(node)

    def run(self, until: Callable[[], bool] | None = None, *, limit_s: float) -> bool:
        """Run until the condition holds, nothing is left to happen, or time is up.

        ``limit_s`` is virtual time from now on.

        Returns whether the condition held (True without one). Time stands at the limit when it was reached.
        """
        stop_at = self.now + limit_s
        self.settle_all()
        while True:
            if until is not None and until():
                return True
            when = self._next_time()
            if when is None or when > stop_at:
                self.now = stop_at
                return until is None or until()
            self.now = max(self.now, when)
            self._step()

    def _next_time(self) -> float | None:
        times = [
            deadline for node in self.nodes.values() if (deadline := node.machine.deadline()) is not None
        ]
        if self._queue:
            times.append(self._queue[0][0])
        return min(times, default=None)

    def _step(self) -> None:
        while self._queue and self._queue[0][0] <= self.now:
            _, _, source, destination, data = heapq.heappop(self._queue)
            segment_size, count = len(data), 1
            if self.gathers:
                data, count = self._gather(source, destination, data)
            inside = self._inside(destination)
            node = None if inside is None else self.nodes.get(inside)
            if node is None:
                continue
            self.delivered += count
            node.received_from[source] = node.received_from.get(source, 0) + len(data)
            if count == 1:
                node.machine.receive_datagram(data, source, now=self.now)
            else:
                node.machine.receive_datagram(data, source, now=self.now, segment_size=segment_size)
            self.settle(node)
        for node in list(self.nodes.values()):
            deadline = node.machine.deadline()
            if deadline is not None and deadline <= self.now:
                node.machine.handle_timer(now=self.now)
                self.settle(node)

    def _gather(self, source: Address, destination: Address, first: bytes) -> tuple[bytes, int]:
        """Join datagrams that arrive at this instant, as a kernel does: a shorter one ends them."""
        parts = [first]
        while self._queue and self._queue[0][0] <= self.now and len(parts) < _MOST_GATHERED:
            _, _, next_source, next_destination, data = self._queue[0]
            same_path = next_source == source and next_destination == destination
            if not same_path or len(parts[-1]) != len(first) or not 0 < len(data) <= len(first):
                break
            parts.append(data)
            heapq.heappop(self._queue)
        return b"".join(parts), len(parts)

    def _push(self, source: Address, destination: Address, data: bytes) -> None:
        if self.tap is not None:
            self.tap(self.now, source, destination, data)
        for when, body in self._arrivals(source, destination, data):
            self._sequence += 1
            heapq.heappush(self._queue, (when, self._sequence, source, destination, body))

    def _arrivals(self, source: Address, destination: Address, data: bytes) -> list[tuple[float, bytes]]:
        """Decide what becomes of a datagram: when each copy arrives, and its bytes; none where it is lost."""
        path = self._inside(source) or source, self._inside(destination) or destination
        link = self._links.get(path, self.link)
        rng = self.rng
        mtu = link.mtu_at(self.now)
        if mtu is not None and len(data) > mtu:
            return []
        leaves_at = self._leaves_at(path, len(data), link)
        if leaves_at is None or rng.random() < link.loss:
            return []
        if link.bursts is not None and self._is_lost_in_burst(path, link.bursts):
            return []
        if link.blackouts is not None and link.blackouts.is_dark(leaves_at):
            return []
        arrivals = []
        for _ in range(2 if rng.random() < link.duplicate else 1):
            body = data
            if data and rng.random() < link.corrupt:
                position = rng.randrange(len(data))
                flipped = data[position] ^ (1 << rng.randrange(8))
                body = data[:position] + bytes([flipped]) + data[position + 1 :]
            arrivals.append((leaves_at + link.delay_s + link.jitter_s * rng.random(), body))
        return arrivals

    def _inside(self, public: Address) -> Address | None:
        """Return the node behind a public address, None when a translator has given that address up."""
        if self._bindings:
            for address, binding in self._bindings.items():
                if binding.outside(address, self.now) == public:
                    return address
            if public in self._bindings:
                return None
        return public

    def _is_lost_in_burst(self, path: tuple[Address, Address], bursts: Bursts) -> bool:
        bad = self._bad.get(path, False)
        bad = self.rng.random() >= bursts.leave if bad else self.rng.random() < bursts.enter
        self._bad[path] = bad
        return bad and self.rng.random() < bursts.loss

    def _leaves_at(self, path: tuple[Address, Address], size: int, link: Link) -> float | None:
        """When the datagram has left the sender, None when the link's queue is full."""
        if link.rate is None:
            return self.now
        queue = link.shared if link.shared is not None else path
        free_at = max(self.now, self._free_at.get(queue, 0.0))
        if (free_at - self.now) * link.rate > link.queue_bytes:
            return None
        leaves_at = free_at + size / link.rate
        self._free_at[queue] = leaves_at
        return leaves_at
