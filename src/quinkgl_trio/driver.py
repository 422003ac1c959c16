"""The Trio UDP driver: one machine, one socket, and all that a sans-IO core leaves to its surroundings.

A driver does four things: it drains events, flushes datagrams, reads a bounded burst and fires the timer. It
never awaits per datagram (a checkpoint costs more than the datagram), it stops pulling when the kernel is
full, and it leaves packets in the kernel when the application is slow. Retransmission, pacing, limits and the
close handshake are the machine's business: a datagram that could not be sent is a lost packet, nothing more.
"""

from __future__ import annotations

import errno
import math
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

import trio

from quinkgl.swarm import Swarm, SwarmEvent
from quinkgl.wire.addresses import Address
from quinkgl_trio.background import background
from quinkgl_trio.sockets import BoundSocket, error_name, from_socket_address, to_socket_address

BURST: Final = 64
"""Datagrams read, and sent, before other tasks get a turn; below 64 the loop costs more than they do."""
_LARGEST_DATAGRAM: Final = 65_535
_FULL_KERNEL_TICK_S: Final = 0.01
_BROKEN_SOCKET: Final = frozenset({errno.EBADF, errno.ENOTSOCK})

EventT_co = TypeVar("EventT_co", covariant=True)
EventT = TypeVar("EventT")
ResultT = TypeVar("ResultT")


class Transmittable(Protocol):
    """What a machine gives out to be sent (`quinkgl.swarm.Transmit`)."""

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
    """What this driver can drive: any machine that keeps the contract of `quinkgl.swarm.Swarm`."""

    @property
    def drained(self) -> bool:
        """Whether the close handshake is over."""

    def receive_datagram(self, data: bytes, source: Address, *, now: float) -> None:
        """Take one datagram; never raises, whatever the bytes."""

    def handle_timer(self, *, now: float) -> None:
        """Do what is due."""

    def next_event(self) -> EventT_co | None:
        """Give out the next event."""

    def next_datagram(self, now: float) -> Transmittable | None:
        """Build and give out the next datagram."""

    def deadline(self) -> float | None:
        """When to call `handle_timer`, on the clock of ``now``; not after now while output is ready."""

    def close(self, *, now: float) -> None:
        """Begin the close handshake."""


@dataclass(slots=True)
class DriverStats:
    """What went through the socket. Sizes are UDP payloads, without IP and UDP headers."""

    bytes_sent: int = 0
    bytes_received: int = 0
    datagrams_sent: int = 0
    datagrams_received: int = 0
    send_errors: Counter[str] = field(default_factory=Counter)
    """Datagrams that the kernel refused for good, by error name; to the protocol they are lost packets."""
    receive_errors: Counter[str] = field(default_factory=Counter)
    """Errors read from the socket, by name: ICMP answers to earlier datagrams, mostly."""


class UdpDriver(Generic[EventT]):
    """Drives one machine over one UDP socket; made by `open_driver`.

    Attributes:
        machine: what is driven. Change it through `call` only.
        address: where the socket is bound.
        stats: what went through the socket.
    """

    def __init__(self, machine: Machine[EventT], bound: BoundSocket, *, max_events: int) -> None:
        self.machine = machine
        self.address = bound.address
        self.stats = DriverStats()
        self._socket = bound.socket
        self._family = bound.socket.family
        self._max_events = max_events
        self._events: deque[EventT] = deque()
        self._unsent: deque[tuple[bytes | memoryview, Address]] = deque()  # what the kernel refused, in order
        self._closing = False
        self._stopped = False
        self._wake_at = math.inf
        self._earlier = trio.Event()  # the machine wants to be woken before `_wake_at`
        self._kernel_full = trio.Event()
        self._changed = trio.lowlevel.ParkingLot()  # whoever waits for events, for room, or for the end

    def call(self, command: Callable[[float], ResultT]) -> ResultT:
        """Give the machine a command: ``command(now)`` runs at once, and what it causes is sent."""
        now = trio.current_time()
        try:
            return command(now)
        finally:
            self._settle(now)

    async def next_event(self) -> EventT:
        """The machine's next event, in order; waits for one.

        Raises:
            trio.EndOfChannel: the driver is closed and every event has been taken.
        """
        await trio.lowlevel.checkpoint()
        while not self._events:
            if self._closing:
                raise trio.EndOfChannel
            await self._changed.park()
        event = self._events.popleft()
        self._changed.unpark_all()
        return event

    # -- one turn: what the contract asks for after every input and every command

    def _settle(self, now: float) -> None:
        while (event := self.machine.next_event()) is not None:
            self._events.append(event)
        self._flush(now)
        due = self.machine.deadline()
        if due is not None and due < self._wake_at:
            self._earlier.set()
        self._changed.unpark_all()

    def _flush(self, now: float) -> None:
        # What is ready beyond one burst keeps deadline() <= now, and the timer task comes back for it.
        for _ in range(BURST):
            if self._unsent or (transmit := self.machine.next_datagram(now)) is None:
                return
            for data in _datagrams(transmit):
                if self._unsent or not self._send(data, transmit.destination):
                    self._unsent.append((data, transmit.destination))
                    self._kernel_full.set()

    def _send(self, data: bytes | memoryview, destination: Address) -> bool:
        """Hand one datagram to the kernel; False if it has no room now."""
        try:
            self._socket.sendto(data, to_socket_address(destination, self._family))
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _BROKEN_SOCKET:
                raise
            self.stats.send_errors[error_name(error)] += 1
        else:
            self.stats.datagrams_sent += 1
            self.stats.bytes_sent += len(data)
        return True

    # -- the three tasks

    async def _receive(self) -> None:
        while True:
            while len(self._events) >= self._max_events and not self._closing:
                await self._changed.park()
            await trio.lowlevel.wait_readable(self._socket)
            now = trio.current_time()
            for _ in range(BURST):
                try:
                    data, source = self._socket.recvfrom(_LARGEST_DATAGRAM)
                except BlockingIOError:
                    break
                except OSError as error:  # an ICMP answer to something sent earlier
                    if error.errno in _BROKEN_SOCKET:
                        raise
                    self.stats.receive_errors[error_name(error)] += 1
                    continue
                self.stats.datagrams_received += 1
                self.stats.bytes_received += len(data)
                self.machine.receive_datagram(data, from_socket_address(source), now=now)
            self._settle(now)

    async def _resend(self) -> None:
        while True:
            await self._kernel_full.wait()
            await trio.lowlevel.wait_writable(self._socket)
            while self._unsent and self._send(*self._unsent[0]):
                self._unsent.popleft()
            if not self._unsent:
                self._kernel_full = trio.Event()
                self._settle(trio.current_time())

    async def _keep_time(self) -> None:
        while True:
            due = self.machine.deadline()
            self._wake_at = math.inf if due is None else due
            if self._unsent:  # output that is ready but cannot leave must not make this loop spin
                self._wake_at = max(self._wake_at, trio.current_time() + _FULL_KERNEL_TICK_S)
            self._earlier = trio.Event()
            with trio.move_on_at(self._wake_at):
                await self._earlier.wait()
            now = trio.current_time()
            due = self.machine.deadline()
            if due is not None and due <= now:
                self.machine.handle_timer(now=now)
                self._settle(now)

    async def _run(self, scope: trio.CancelScope, task_status: trio.TaskStatus[None]) -> None:
        try:
            with scope:
                async with trio.open_nursery() as nursery:
                    for task in (self._receive, self._resend, self._keep_time):
                        nursery.start_soon(task)
                    self._settle(trio.current_time())
                    task_status.started()
        finally:
            self._stopped = True
            self._changed.unpark_all()

    async def _close(self) -> None:
        self._closing = True  # nobody takes events any more: do not let a full queue stop the handshake
        if not self._stopped:  # a driver that failed cannot say goodbye
            self.call(lambda now: self.machine.close(now=now))
        while not self._stopped and (self._unsent or not self.machine.drained):
            await self._changed.park()


def _datagrams(transmit: Transmittable) -> Iterator[bytes | memoryview]:
    """The single datagrams of a transmit: one, or a run of equal ones (the last may be shorter)."""
    size = transmit.segment_size
    if size is None or len(transmit.data) <= size:
        yield transmit.data
        return
    run = memoryview(transmit.data)
    for start in range(0, len(run), size):
        yield run[start : start + size]


@asynccontextmanager
async def open_driver(
    machine: Machine[EventT], bound: BoundSocket, *, max_events: int = 1024, close_timeout_s: float = 3.0
) -> AsyncGenerator[UdpDriver[EventT]]:
    """Drive ``machine`` over ``bound`` for the length of the block; the socket stays the caller's.

    Leaving the block, also by an exception or by cancellation, closes the machine and gives its close
    handshake up to ``close_timeout_s``: the driver's tasks live in a shielded cancel scope of their own. An
    exception of the block comes out as it is, not inside an ExceptionGroup.

    Args:
        machine: the machine to drive; it is the driver's from now on.
        bound: from `bind_udp` or `adopt_udp`.
        max_events: events that may wait for the application before packets are left in the kernel.
        close_timeout_s: upper bound for the close handshake; the machine itself normally ends it sooner.
    """
    driver = UdpDriver(machine, bound, max_events=max_events)
    scope = trio.CancelScope(shield=True)
    async with background() as nursery:
        await nursery.start(driver._run, scope)  # noqa: SLF001  this function is the class's other half
        try:
            yield driver
        finally:
            with trio.move_on_after(close_timeout_s, shield=True):
                await driver._close()  # noqa: SLF001
            scope.cancel()


def open_swarm(
    swarm: Swarm, bound: BoundSocket, *, close_timeout_s: float = 3.0
) -> AbstractAsyncContextManager[UdpDriver[SwarmEvent]]:
    """Drive a swarm; see `open_driver`."""
    machine: Machine[SwarmEvent] = swarm
    return open_driver(machine, bound, close_timeout_s=close_timeout_s)
