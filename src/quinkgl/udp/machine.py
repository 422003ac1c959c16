"""What a driver can drive, and what the two owe each other about memory."""

from __future__ import annotations

from typing import Protocol, TypeVar

from quinkgl.wire.addresses import Address

EventT_co = TypeVar("EventT_co", covariant=True)


class Transmittable(Protocol):
    """What a machine gives out to be sent (`quinkgl.swarm.Transmit`).

    ``data`` may be a view of memory that the machine uses again: it is valid until the next call of the
    machine, and a driver that cannot send it by then copies it.
    """

    @property
    def data(self) -> bytes | memoryview:
        """One datagram, or a run of equal ones."""

    @property
    def destination(self) -> Address:
        """Where it goes."""

    @property
    def segment_size(self) -> int | None:
        """Size of each datagram of a run (the last may be shorter); None for a single one."""


class Machine(Protocol[EventT_co]):
    """What a driver can drive: any machine that keeps the contract of `quinkgl.swarm.Swarm`."""

    @property
    def drained(self) -> bool:
        """Whether the close handshake is over."""

    def receive_datagram(
        self, data: bytes | memoryview, source: Address, *, now: float, segment_size: int | None = None
    ) -> None:
        """Take one datagram, or a run of datagrams of ``segment_size`` bytes; never raises.

        The last datagram of a run may be shorter, and a run may have a single one. ``data`` is valid during
        this call alone: it may be a view of the driver's receive buffer, which the next datagram overwrites.
        What the machine keeps, it copies.
        """

    def handle_timer(self, *, now: float) -> None:
        """Do what is due."""

    def next_event(self) -> EventT_co | None:
        """Give out the next event."""

    def next_datagram(self, now: float) -> Transmittable | None:
        """Build and give out the next datagram, or the next run."""

    def deadline(self) -> float | None:
        """When to call `handle_timer`, on the clock of ``now``; not after now while output is ready."""

    def close(self, *, now: float) -> None:
        """Begin the close handshake."""
