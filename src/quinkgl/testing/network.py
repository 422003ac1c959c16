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
        self._links: dict[tuple[Address, Address], Link] = {}
        self._free_at: dict[tuple[Address, Address], float] = {}
        self._queue: list[tuple[float, int, Address, Address, bytes]] = []
        self._sequence = 0

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
            data = bytes(transmit.data)
            node.bytes_sent += len(data)
            node.sent_to[transmit.destination] = node.sent_to.get(transmit.destination, 0) + len(data)
            self._push(node.address, transmit.destination, data)
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
            node = self.nodes.get(destination)
            if node is None:
                continue
            self.delivered += 1
            node.received_from[source] = node.received_from.get(source, 0) + len(data)
            node.machine.receive_datagram(data, source, now=self.now)
            self.settle(node)
        for node in list(self.nodes.values()):
            deadline = node.machine.deadline()
            if deadline is not None and deadline <= self.now:
                node.machine.handle_timer(now=self.now)
                self.settle(node)

    def _push(self, source: Address, destination: Address, data: bytes) -> None:
        if self.tap is not None:
            self.tap(self.now, source, destination, data)
        link = self._links.get((source, destination), self.link)
        rng = self.rng
        leaves_at = self._leaves_at(source, destination, len(data), link)
        if leaves_at is None or rng.random() < link.loss:
            return
        copies = 2 if rng.random() < link.duplicate else 1
        for _ in range(copies):
            body = data
            if data and rng.random() < link.corrupt:
                position = rng.randrange(len(data))
                flipped = data[position] ^ (1 << rng.randrange(8))
                body = data[:position] + bytes([flipped]) + data[position + 1 :]
            when = leaves_at + link.delay_s + link.jitter_s * rng.random()
            self._sequence += 1
            heapq.heappush(self._queue, (when, self._sequence, source, destination, body))

    def _leaves_at(self, source: Address, destination: Address, size: int, link: Link) -> float | None:
        """When the datagram has left the sender, None when the link's queue is full."""
        if link.rate is None:
            return self.now
        free_at = max(self.now, self._free_at.get((source, destination), 0.0))
        if (free_at - self.now) * link.rate > link.queue_bytes:
            return None
        leaves_at = free_at + size / link.rate
        self._free_at[source, destination] = leaves_at
        return leaves_at
