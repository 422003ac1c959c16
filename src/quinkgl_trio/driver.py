"""The Trio UDP driver: one machine, one socket, and all that a sans-IO core leaves to its surroundings.

The pump (`quinkgl.udp`) drains events, sends datagrams and reads bursts; what is left is the waiting. Nothing
here awaits per datagram: a checkpoint costs more than the datagram. A slow application leaves packets in the
kernel, a full kernel stops the machine, and one timer follows the machine's deadline. Retransmission, pacing,
limits and the close handshake are the machine's business: a datagram that could not be sent is a lost packet.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Generic, TypeVar

import trio

from quinkgl.swarm import Swarm, SwarmEvent
from quinkgl.udp import BoundSocket, DriverStats, Machine, Offload, Pump, Transmittable
from quinkgl_trio.background import background

__all__ = ["DriverStats", "Machine", "Transmittable", "UdpDriver", "open_driver", "open_swarm"]

_EVENTS_BEFORE_A_CHECKPOINT: Final = 32

EventT = TypeVar("EventT")
ResultT = TypeVar("ResultT")


class UdpDriver(Generic[EventT]):
    """Drives one machine over one UDP socket; made by `open_driver`.

    Attributes:
        machine: what is driven. Change it through `call` only.
        address: where the socket is bound.
        stats: what went through the socket.
    """

    def __init__(
        self, machine: Machine[EventT], bound: BoundSocket, *, max_events: int, offload: Offload = "auto"
    ) -> None:
        self.machine = machine
        self.address = bound.address
        self._socket = bound.socket
        self._pump = Pump(machine, bound, max_events=max_events, offload=offload)
        self.stats = self._pump.socket.stats
        self._stopped = False
        self._taken = 0
        self._alarm = trio.CancelScope()  # its deadline is when the timer task wakes
        self._blocked = trio.lowlevel.ParkingLot()  # of the task that waits for a kernel without room
        self._room = trio.lowlevel.ParkingLot()  # ... for an application that is behind
        self._listeners = trio.lowlevel.ParkingLot()  # whoever waits for events
        self._ended = trio.Event()

    @property
    def offload(self) -> dict[str, str]:
        """How runs cross the socket just now: ``send`` and ``receive``, each in a word."""
        return self._pump.socket.offload

    def call(self, command: Callable[[float], ResultT]) -> ResultT:
        """Give the machine a command: ``command(now)`` runs at once, and what it causes is sent."""
        now = trio.current_time()
        try:
            return command(now)
        finally:
            self._pump.settle(now)
            self._wake_others(now)

    async def next_event(self) -> EventT:
        """The machine's next event, in order; waits for one.

        Raises:
            trio.EndOfChannel: the driver is closed and every event has been taken.
        """
        events = self._pump.events
        if not events:  # parking is a checkpoint
            while not events:
                if self._pump.is_closing:
                    await trio.lowlevel.checkpoint()
                    raise trio.EndOfChannel
                await self._listeners.park()
        elif (taken := self._taken + 1) < _EVENTS_BEFORE_A_CHECKPOINT:
            self._taken = taken
            await trio.lowlevel.checkpoint_if_cancelled()  # a whole checkpoint costs more than most events
        else:
            self._taken = 0
            await trio.lowlevel.checkpoint()
            if not events:  # another listener took it meanwhile
                return await self.next_event()
        event = events.popleft()
        if self._room and not self._pump.is_full:
            self._room.unpark_all()
        return event

    def _wake_others(self, now: float) -> None:
        """After the pump ran: wake exactly those tasks that have something to do now."""
        pump = self._pump
        if pump.events and self._listeners:
            self._listeners.unpark(count=len(pump.events))
        if pump.is_blocked:
            self._blocked.unpark_all()
        # Only ever earlier: a deadline that moved later is found out when the earlier one has passed, which
        # is far rarer than datagrams that move it.
        wake_at = pump.wake_at(now)
        if wake_at < self._alarm.deadline:  # noqa: PLR1730  setting it costs something
            self._alarm.deadline = wake_at
        if pump.is_finished:
            self._ended.set()

    # -- the three tasks

    async def _receive(self) -> None:
        pump = self._pump
        while True:
            while pump.is_full:
                await self._room.park()
            await trio.lowlevel.wait_readable(self._socket)
            now = trio.current_time()
            pump.read(now)
            self._wake_others(now)

    async def _resend(self) -> None:
        while True:
            while not self._pump.is_blocked:
                await self._blocked.park()
            await trio.lowlevel.wait_writable(self._socket)
            now = trio.current_time()
            self._pump.resend(now)
            self._wake_others(now)

    async def _keep_time(self) -> None:
        while True:
            with trio.CancelScope(deadline=self._pump.wake_at(trio.current_time())) as self._alarm:
                await trio.sleep_forever()
            now = trio.current_time()
            self._pump.fire(now)
            self._wake_others(now)

    async def _run(self, scope: trio.CancelScope, task_status: trio.TaskStatus[None]) -> None:
        try:
            with scope:
                async with trio.open_nursery() as nursery:
                    for task in (self._receive, self._resend, self._keep_time):
                        nursery.start_soon(task)
                    self.call(lambda _now: None)
                    task_status.started()
        finally:
            self._stopped = True
            self._ended.set()
            self._listeners.unpark_all()

    async def _close(self) -> None:
        now = trio.current_time()
        self._pump.is_closing = True
        if not self._stopped:  # a driver that failed cannot say goodbye
            self._pump.close(now)
            self._wake_others(now)
        self._listeners.unpark_all()
        self._room.unpark_all()
        await self._ended.wait()


@asynccontextmanager
async def open_driver(
    machine: Machine[EventT],
    bound: BoundSocket,
    *,
    max_events: int = 1024,
    close_timeout_s: float = 3.0,
    offload: Offload = "auto",
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
        offload: how runs cross the socket; anything but ``auto`` is for comparing and for tests.
    """
    driver = UdpDriver(machine, bound, max_events=max_events, offload=offload)
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
    swarm: Swarm, bound: BoundSocket, *, close_timeout_s: float = 3.0, offload: Offload = "auto"
) -> AbstractAsyncContextManager[UdpDriver[SwarmEvent]]:
    """Drive a swarm; see `open_driver`."""
    machine: Machine[SwarmEvent] = swarm
    return open_driver(machine, bound, close_timeout_s=close_timeout_s, offload=offload)
