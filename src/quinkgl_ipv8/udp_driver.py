"""The asyncio UDP driver: one machine, one socket, on the event loop that asyncio programs already have.

The pump (`quinkgl.udp`) drains events, sends datagrams and reads bursts; the loop's own callbacks do the
waiting: a reader, a writer while the kernel is full, and one timer. No task and no await per datagram, and
nothing of pyipv8. The loop must offer `add_reader`: every selector loop and uvloop do, Windows' proactor loop
does not.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Generic, TypeVar

from quinkgl.swarm import Swarm, SwarmEvent
from quinkgl.udp import BoundSocket, Machine, Offload, Pump

_EVENTS_BEFORE_A_YIELD: Final = 32

EventT = TypeVar("EventT")
ResultT = TypeVar("ResultT")


class DriverClosedError(Exception):
    """The driver is closed, and every event has been taken."""


class UdpDriver(Generic[EventT]):
    """Drives one machine over one UDP socket; made by `open_driver`, inside its event loop.

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
        self._loop = asyncio.get_running_loop()
        self._owner = asyncio.current_task()
        self._owners_cancellations = self._owner.cancelling() if self._owner is not None else 0
        self._cancelled_owner = False
        self._pump = Pump(machine, bound, max_events=max_events, offload=offload)
        self.stats = self._pump.socket.stats
        self.failure: BaseException | None = None
        self._reads = self._writes = self._stopped = False
        self._taken = 0
        self._wake_at = math.inf
        self._alarm: asyncio.TimerHandle | None = None
        self._listeners: list[asyncio.Future[None]] = []
        self._ended = asyncio.Event()

    @property
    def offload(self) -> dict[str, str]:
        """How runs cross the socket just now: ``send`` and ``receive``, each in a word."""
        return self._pump.socket.offload

    def call(self, command: Callable[[float], ResultT]) -> ResultT:
        """Give the machine a command: ``command(now)`` runs at once, and what it causes is sent."""
        now = self._loop.time()
        try:
            return command(now)
        finally:
            self._pump.settle(now)
            self._arrange(now)

    async def next_event(self) -> EventT:
        """The machine's next event, in order; waits for one.

        Raises:
            DriverClosedError: the driver is closed and every event has been taken.
        """
        events = self._pump.events
        self._taken += 1
        if not self._taken % _EVENTS_BEFORE_A_YIELD:
            await asyncio.sleep(0)  # whoever takes events without end must let the loop breathe
        while not events:
            if self._pump.is_closing:
                raise DriverClosedError
            arrival: asyncio.Future[None] = self._loop.create_future()
            self._listeners.append(arrival)
            try:
                await arrival
            except asyncio.CancelledError:
                self._pass_on(arrival)
                raise
        event = events.popleft()
        if not self._reads and not self._stopped and not self._pump.is_full:
            self._arrange(self._loop.time())
        return event

    def _pass_on(self, arrival: asyncio.Future[None]) -> None:
        """A listener that was cancelled just when it was woken wakes the next in its place."""
        if arrival in self._listeners:
            self._listeners.remove(arrival)
        elif self._pump.events:
            self._wake(1)

    def _wake(self, count: int) -> None:
        for arrival in self._listeners[:count]:
            if not arrival.done():
                arrival.set_result(None)
        del self._listeners[:count]

    def _arrange(self, now: float) -> None:
        """After the pump ran: wake who has something to do, and wait for what is to come."""
        pump, loop = self._pump, self._loop
        if self._stopped:
            return
        if pump.events and self._listeners:
            self._wake(len(pump.events))
        if self._reads == pump.is_full:  # a slow application leaves packets in the kernel
            self._reads = not self._reads
            if self._reads:
                loop.add_reader(self._socket, self._run, pump.read)
            else:
                loop.remove_reader(self._socket)
        if self._writes != pump.is_blocked:
            self._writes = not self._writes
            if self._writes:
                loop.add_writer(self._socket, self._run, pump.resend)
            else:
                loop.remove_writer(self._socket)
        # Only ever earlier: a deadline that moved later is found out when the earlier one has passed.
        wake_at = pump.wake_at(now)
        if wake_at < self._wake_at:
            if self._alarm is not None:
                self._alarm.cancel()
            self._wake_at = wake_at
            self._alarm = loop.call_at(wake_at, self._run, self._fire)
        if pump.is_finished:
            self._ended.set()

    def _fire(self, now: float) -> None:
        self._wake_at, self._alarm = math.inf, None
        self._pump.fire(now)

    def _run(self, step: Callable[[float], None]) -> None:
        """One callback of the event loop. What a step raises ends the driver and comes out of its block."""
        now = self._loop.time()
        try:
            step(now)
            self._arrange(now)
        except BaseException as error:  # noqa: BLE001  nobody above a callback could take it
            self.failure = error
            self.stop()
            if self._owner is not None and not self._pump.is_closing:
                self._cancelled_owner = self._owner.cancel()

    def take_cancellation_back(self) -> bool:
        """Whether a cancellation that reached the block was our own alone, made to end it."""
        if self._owner is None or not self._cancelled_owner:
            return False
        self._cancelled_owner = False
        return self._owner.uncancel() <= self._owners_cancellations

    def stop(self) -> None:
        """Let go of the socket and the timer."""
        self._stopped = True
        if self._reads:
            self._loop.remove_reader(self._socket)
        if self._writes:
            self._loop.remove_writer(self._socket)
        if self._alarm is not None:
            self._alarm.cancel()
        self._ended.set()
        self._wake(len(self._listeners))

    async def close(self, timeout_s: float) -> None:
        """Say goodbye and wait for the end of the close handshake, ``timeout_s`` at most."""
        try:
            now = self._loop.time()
            self._pump.is_closing = True
            if not self._stopped:  # a driver that failed cannot say goodbye
                self._pump.close(now)
                self._arrange(now)
            self._wake(len(self._listeners))
            async with asyncio.timeout(timeout_s):
                await self._ended.wait()
        except TimeoutError:
            pass
        finally:
            self.stop()


async def _shielded(task: asyncio.Task[None]) -> None:
    """Wait until ``task`` is done, whoever cancels meanwhile; then let the cancellation go on."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
        except BaseException:  # noqa: BLE001  it is in the task, and raised from there
            break
    if cancelled is not None:
        raise cancelled
    task.result()


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
    handshake up to ``close_timeout_s``, whatever is cancelled meanwhile. A machine or a socket that breaks
    ends the block with its own exception.

    Args:
        machine: the machine to drive; it is the driver's from now on.
        bound: from `quinkgl.udp.bind_udp` or `adopt_udp`.
        max_events: events that may wait for the application before packets are left in the kernel.
        close_timeout_s: upper bound for the close handshake; the machine itself normally ends it sooner.
        offload: how runs cross the socket; anything but ``auto`` is for comparing and for tests.
    """
    driver = UdpDriver(machine, bound, max_events=max_events, offload=offload)
    try:
        driver.call(lambda _now: None)
        yield driver
    except asyncio.CancelledError:
        if not driver.take_cancellation_back():
            raise
    finally:
        try:
            await _shielded(asyncio.create_task(driver.close(close_timeout_s)))
        except asyncio.CancelledError:
            if not driver.take_cancellation_back():
                raise
    if driver.failure is not None:
        raise driver.failure


def open_swarm(
    swarm: Swarm, bound: BoundSocket, *, close_timeout_s: float = 3.0, offload: Offload = "auto"
) -> AbstractAsyncContextManager[UdpDriver[SwarmEvent]]:
    """Drive a swarm; see `open_driver`."""
    machine: Machine[SwarmEvent] = swarm
    return open_driver(machine, bound, close_timeout_s=close_timeout_s, offload=offload)
