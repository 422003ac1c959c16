"""What a case needs to know of a driver: how to open it, how to wait, how to be cancelled."""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self, TypeVar

from quinkgl.testing.drivers.machine import Arrived, Correspondent
from quinkgl.udp import BoundSocket, DriverStats, Offload, bind_udp
from quinkgl.wire.addresses import Address

ResultT = TypeVar("ResultT")

LIMIT_S: Final = 10.0
"""How long a case may wait for what must come; it comes within milliseconds."""


class CaseUnavailableError(Exception):
    """This machine cannot show the case: no IPv6, say. The message is for people."""


class Driver(Protocol):
    """An open driver, as a case uses it."""

    @property
    def address(self) -> Address:
        """Where its socket is bound."""

    @property
    def stats(self) -> DriverStats:
        """What went through the socket."""

    @property
    def offload(self) -> dict[str, str]:
        """How runs cross the socket: ``send`` and ``receive``."""

    def call(self, command: Callable[[float], ResultT]) -> ResultT:
        """Run a command of the machine and send what it causes, before returning."""

    async def next_event(self) -> Any:
        """Wait for the next event; raises the adapter's ``closed_error`` after the last."""


class DriverAdapter(Protocol):
    """What a driver's author writes. Everything is called inside one `run`."""

    closed_error: type[BaseException]
    """What ``next_event`` raises when the driver is closed and every event was taken."""

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run ``main()`` to its end in the driver's event loop; what it raises comes out as it is."""

    def open(
        self,
        machine: Correspondent,
        bound: BoundSocket,
        *,
        max_events: int = 1024,
        close_timeout_s: float = 3.0,
        offload: Offload = "auto",
    ) -> AbstractAsyncContextManager[Driver]:
        """Drive a machine for the length of a block."""

    async def sleep(self, seconds: float) -> None:
        """Let everything else run for so long."""

    async def cancelled_after(self, seconds: float, body: Callable[[], Awaitable[object]]) -> bool:
        """Run ``body()`` and cancel it after ``seconds``; whether that was necessary."""


@dataclass(frozen=True)
class Case:
    """One thing that a driver owes; ``str`` of it says which."""

    name: str
    body: Callable[[DriverAdapter], Coroutine[Any, Any, None]]

    def __str__(self) -> str:
        return self.name

    def check(self, adapter: DriverAdapter) -> None:
        """Run the case.

        AssertionError when the driver does not keep this part of the contract; CaseUnavailableError when it
        cannot be shown on this machine.
        """
        adapter.run(lambda: self.body(adapter))


def case(body: Callable[[DriverAdapter], Coroutine[Any, Any, None]]) -> Case:
    """Make a coroutine function a case of its own name."""
    return Case(body.__name__, body)


def cases(
    values: tuple[Any, ...], body: Callable[[DriverAdapter, Any], Coroutine[Any, Any, None]]
) -> tuple[Case, ...]:
    """Make a coroutine function one case for each of several values of its second argument."""

    def bind(value: Any) -> Case:
        return Case(f"{body.__name__}[{value}]", lambda adapter: body(adapter, value))

    return tuple(bind(value) for value in values)


def loopback(host: str = "127.0.0.1") -> BoundSocket:
    """Bind a socket on this machine.

    CaseUnavailableError where the family is missing.
    """
    try:
        return bind_udp((host, 0))
    except OSError as error:
        raise CaseUnavailableError(f"cannot bind {host}: {error}") from error


def plain_peer(host: str = "127.0.0.1") -> BoundSocket:
    """Bind a socket that no driver drives: what it sends and gets is exactly what the case says."""
    return loopback(host)


def take(peer: BoundSocket) -> list[bytes]:
    """Return the datagrams that have arrived at a socket that no driver drives."""
    taken = []
    while True:
        try:
            taken.append(peer.socket.recv(1 << 16))
        except BlockingIOError:
            return taken


async def within(adapter: DriverAdapter, body: Callable[[], Awaitable[object]], what: str) -> None:
    """Run ``body()``; AssertionError, saying what was awaited, if it takes unreasonably long."""
    if await adapter.cancelled_after(LIMIT_S, body):
        raise AssertionError(f"{what}: did not happen within {LIMIT_S} s")


async def until(adapter: DriverAdapter, condition: Callable[[], object], what: str) -> None:
    """Wait until ``condition()`` is true."""

    async def poll() -> None:
        while not condition():
            await adapter.sleep(0.002)

    await within(adapter, poll, what)


async def events(adapter: DriverAdapter, driver: Driver, count: int) -> list[Arrived]:
    """Take ``count`` events."""
    taken: list[Arrived] = []

    async def collect() -> None:
        while len(taken) < count:
            taken.append(await driver.next_event())

    await within(adapter, collect, f"{count} events")
    return taken


def expect(held: object, what: str) -> None:
    """AssertionError with a text, where a bare assert would be compiled away."""
    if not held:
        raise AssertionError(what)


class FaultySocket(socket.socket):
    """A UDP socket whose system calls go through here, for cases that make them fail."""

    @classmethod
    def bind_loopback(cls) -> Self:
        """Bind one at an address of this machine."""
        udp = cls(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        return udp


def os_error(number: int) -> OSError:
    """The error that a system call with this errno raises."""
    return OSError(number, os.strerror(number))
