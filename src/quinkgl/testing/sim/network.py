"""The network between hosts: paths, translators, partitions, and who hears what."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import NamedTuple

from quinkgl.testing.sim.host import Host
from quinkgl.testing.sim.links import CALM, Conditions, Path
from quinkgl.testing.sim.scheduler import Scheduler
from quinkgl.testing.sim.trace import Kind, Trace
from quinkgl.wire.addresses import Address

Tap = Callable[[float, Address, Address, bytes], None]
"""Is shown a datagram: time, public source, destination, bytes."""


class _Flight(NamedTuple):
    """A datagram, or a run, on its way."""

    data: bytes
    source: Address
    destination: Address
    segment_size: int | None


class Network:
    """Carries datagrams between hosts by their public addresses."""

    def __init__(self, scheduler: Scheduler, trace: Trace, rng: random.Random) -> None:
        self.conditions: Conditions = CALM
        self.taps: list[Tap] = []
        """See every datagram as it leaves, as somebody on the path would."""
        self.on_nowhere: Callable[[Host, Address, bytes], None] | None = None
        """Called with each datagram that a host sends to an address where nobody is."""
        self.on_from_nowhere: Callable[[Host, Address, int], None] | None = None
        """Called with each datagram that a host hears from an address where nobody is, and its bytes."""
        self.sent = 0
        self.arrived = 0
        self._scheduler = scheduler
        self._trace = trace
        self._rng = rng
        self._hosts: dict[Address, Host] = {}
        """By public address, those that translators have given up included."""
        self._paths: dict[tuple[int, int], Path] = {}
        self._own: dict[tuple[int, int], Conditions] = {}
        self._groups: Mapping[int, int] = {}
        self._blocked: dict[tuple[int, int], None] = {}

    def add(self, host: Host) -> None:
        """Put a host on the network."""
        if host.translator is None:
            self._hosts[host.address] = host
        else:
            self.register(host)

    def set_conditions(self, conditions: Conditions) -> None:
        """Let all paths without conditions of their own behave so from now on."""
        self.conditions = conditions
        self._paths.clear()

    def set_path(self, source: int, destination: int, conditions: Conditions | None) -> None:
        """Give one direction between two hosts conditions of its own, or take them away."""
        self._own.pop((source, destination), None)
        if conditions is not None:
            self._own[source, destination] = conditions
        self._paths.pop((source, destination), None)

    def partition(self, groups: Mapping[int, int]) -> None:
        """Let only hosts of one group hear each other; who is in no group is in group 0. Empty to heal."""
        self._groups = dict(groups)

    def block(self, source: int, destination: int) -> None:
        """Let nothing through in one direction between two hosts."""
        self._blocked[source, destination] = None

    def heal(self) -> None:
        """End every partition and everything that paths have of their own."""
        self._groups = {}
        self._blocked.clear()
        self._own.clear()
        self._paths.clear()

    def is_cut(self, source: int, destination: int) -> bool:
        """Whether nothing gets through in this direction."""
        groups = self._groups
        if groups and groups.get(source, 0) != groups.get(destination, 0):
            return True
        return (source, destination) in self._blocked

    def register(self, host: Host) -> None:
        """Learn of addresses that a host's translator has opened."""
        translator = host.translator
        if translator is not None:
            for outside in translator.opened:
                self._hosts[outside] = host
            translator.opened.clear()

    def send(self, host: Host, data: bytes, destination: Address, segment_size: int | None) -> None:
        """Carry what a host sends."""
        source = host.address
        if host.translator is not None:
            source = host.translator.outgoing(destination, self._scheduler.now)
            if host.translator.opened:
                self.register(host)
        self._launch(host, source, data, destination, segment_size)

    def inject(self, host: Host, source: Address, destination: Address, data: bytes) -> None:
        """Carry a datagram from ``host`` that claims to come from ``source``."""
        self._launch(host, source, data, destination, None)

    def _launch(
        self, host: Host, source: Address, data: bytes, destination: Address, segment_size: int | None
    ) -> None:
        now = self._scheduler.now
        self._trace.datagram(Kind.SENT, now, host.index, destination, data)
        for tap in self.taps:
            for datagram in split(data, segment_size):
                tap(now, source, destination, datagram)
        target = self._hosts.get(destination)
        if target is None:
            if self.on_nowhere is not None:
                self.on_nowhere(host, destination, data)
            return
        pair = host.index, target.index
        if (self._groups or self._blocked) and self.is_cut(*pair):
            self._trace.datagram(Kind.LOST, now, target.index, source, data)
            return
        path = self._paths.get(pair)
        if path is None:
            conditions = self._own.get(pair, self.conditions)
            path = self._paths[pair] = Path(conditions, host.distance_s + target.distance_s)
        if path.is_clean:
            self.sent += 1
            flight = _Flight(data, source, destination, segment_size)
            self._scheduler.at(now + path.delay_s, self._land, flight)
            return
        for datagram in split(data, segment_size):
            self.sent += 1
            arrivals = path.carry(datagram, now, self._rng)
            if not arrivals:
                self._trace.datagram(Kind.LOST, now, target.index, source, datagram)
            for when, body in arrivals:
                self._scheduler.at(when, self._land, _Flight(body, source, destination, None))

    def _land(self, flight: _Flight) -> None:
        data, source, destination, segment_size = flight
        host = self._hosts.get(destination)
        if host is None:
            return
        now = self._scheduler.now
        translator = host.translator
        if translator is not None and not translator.admits(destination, source, now):
            self._trace.datagram(Kind.LOST, now, host.index, source, data)
            return
        self.arrived += 1
        if source not in self._hosts and self.on_from_nowhere is not None:
            self.on_from_nowhere(host, source, len(data))
        self._trace.datagram(Kind.ARRIVED, now, host.index, source, data)
        host.arrive(data, source, segment_size)


def split(data: bytes, segment_size: int | None) -> list[bytes]:
    """Return the datagrams of a run."""
    if not segment_size or segment_size >= len(data):
        return [data]
    return [data[start : start + segment_size] for start in range(0, len(data), segment_size)]
