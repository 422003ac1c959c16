"""Cases about the end: goodbye is said however the block ends, and nothing holds it up for long."""

from __future__ import annotations

import errno
from typing import Any

from quinkgl.testing.drivers.adapter import (
    Driver,
    DriverAdapter,
    FaultySocket,
    case,
    cases,
    events,
    expect,
    loopback,
    os_error,
    plain_peer,
    take,
    until,
    within,
)
from quinkgl.testing.drivers.machine import GOODBYE, Correspondent, Parcel
from quinkgl.udp import Offload, adopt_udp
from quinkgl.wire.addresses import Address


class _OfTheBlockError(Exception):
    """What the block of a case raises."""


def _raise_if(wanted: object) -> None:
    if wanted:
        raise _OfTheBlockError


def _answer_goodbye(peer: Any, to: Any) -> None:
    peer.socket.sendto(GOODBYE, to)


async def goodbye_is_said_however_the_block_ends(adapter: DriverAdapter, ending: str) -> None:
    """Left, raised or cancelled: the machine is closed, once, and its goodbye leaves."""
    with loopback() as bound, plain_peer() as peer:
        machine = Correspondent(peer.address)
        seen = None

        async def block() -> None:
            nonlocal seen
            try:
                async with adapter.open(machine, bound, close_timeout_s=0.1):
                    if ending == "cancelled":
                        await adapter.sleep(3600)
                    _raise_if(ending == "raised")
            except _OfTheBlockError as error:
                seen = error

        cancelled = await adapter.cancelled_after(0.05 if ending == "cancelled" else 20.0, block)
        expect(cancelled == (ending == "cancelled"), "the cancellation of the block")
        expect((seen is not None) == (ending == "raised"), "the exception of the block, as it is")
        expect(take(peer) == [GOODBYE], "one goodbye")


class _Polite(Correspondent):
    """Answers a goodbye, some time after it came."""

    def __init__(self, delay_s: float) -> None:
        super().__init__()
        self._delay_s = delay_s

    def receive_datagram(
        self, data: bytes | memoryview, source: Address, *, now: float, segment_size: int | None = None
    ) -> None:
        """Set the alarm at which the answer leaves."""
        super().receive_datagram(data, source, now=now, segment_size=segment_size)
        if self.goodbyes:
            self.alarm = now + self._delay_s
            self.on_ring = Parcel(GOODBYE, source)


async def the_close_handshake_survives_cancellation(adapter: DriverAdapter, times: int) -> None:
    """The partner answers long after the block was cancelled, once or again while it closes, and is heard."""
    with loopback() as bound, loopback() as far:
        machine, partner = Correspondent(far.address), _Polite(0.15)

        async def block() -> None:
            async with adapter.open(machine, bound, close_timeout_s=20.0):
                await adapter.sleep(3600)

        async def cancelled_once() -> bool:
            return await adapter.cancelled_after(0.03, block)

        async def cancelled() -> None:
            if times == 1:
                await cancelled_once()
            else:
                await adapter.cancelled_after(0.06, cancelled_once)

        async with adapter.open(partner, far):
            await within(adapter, cancelled, "the end of a cancelled block")
        expect(machine.drained, "the partner's answer was not heard")
        expect(partner.goodbyes == 1, f"{partner.goodbyes} goodbyes")


async def a_silent_partner_holds_the_end_up_for_the_time_limit_only(adapter: DriverAdapter) -> None:
    """Nobody answers the goodbye."""
    with loopback() as bound, plain_peer() as peer, loopback() as clock_socket:
        machine = Correspondent(peer.address)
        async with adapter.open(Correspondent(), clock_socket) as clock:
            start = clock.call(lambda now: now)
            async with adapter.open(machine, bound, close_timeout_s=0.15):
                pass
            took = clock.call(lambda now: now) - start
    expect(0.14 <= took < 5, f"the end took {took} s")


async def a_machine_that_breaks_ends_the_block_with_its_own_exception(adapter: DriverAdapter) -> None:
    """What a machine raises is no concern of the event loop: it comes out of the block."""
    machine = Correspondent()
    machine.breaks = True
    seen: list[RuntimeError] = []

    async def block() -> None:
        try:
            async with adapter.open(machine, bound):
                peer.socket.sendto(b"x", bound.address)
                await adapter.sleep(3600)
        except RuntimeError as error:
            seen.append(error)

    with loopback() as bound, plain_peer() as peer:
        await within(adapter, block, "the end of a broken machine's block")
    expect(seen and str(seen[0]) == "this machine is broken", f"came out: {seen}")


class _Breaking(FaultySocket):
    """A socket that breaks for good."""

    is_broken = False

    def _check(self) -> None:
        if self.is_broken:
            raise os_error(errno.EBADF)

    def recvfrom_into(self, *arguments: Any) -> tuple[int, Any]:
        """Receive, unless broken."""
        self._check()
        return super().recvfrom_into(*arguments)

    def recvmsg_into(self, *arguments: Any) -> tuple[int, list[tuple[int, int, bytes]], int, Any]:
        """Receive, unless broken."""
        self._check()
        return super().recvmsg_into(*arguments)


async def a_broken_socket_ends_the_block(adapter: DriverAdapter) -> None:
    """A socket that is none any more is not read again and again."""
    udp = _Breaking.bind_loopback()
    seen: list[OSError] = []

    async def block() -> None:
        try:
            async with adapter.open(Correspondent(), bound, close_timeout_s=0.2):
                udp.is_broken = True
                peer.socket.sendto(b"x", bound.address)
                await adapter.sleep(3600)
        except OSError as error:
            seen.append(error)

    with adopt_udp(udp) as bound, plain_peer() as peer:
        await within(adapter, block, "the end of a block whose socket broke")
    expect(seen and seen[0].errno == errno.EBADF, f"came out: {seen}")


async def events_end_when_the_driver_is_closed(adapter: DriverAdapter) -> None:
    """What was not taken can still be taken; then the adapter's error."""
    with loopback() as bound, plain_peer() as peer:
        machine = Correspondent()
        async with adapter.open(machine, bound) as driver:
            peer.socket.sendto(b"unread", driver.address)
            await until(adapter, lambda: driver.stats.datagrams_received, "the datagram")
        expect((await events(adapter, driver, 1))[0].data == b"unread", "an event from before the end")
        try:
            await driver.next_event()
        except adapter.closed_error:
            return
    raise AssertionError("there is an event after the last one")


async def the_end_does_not_wait_for_an_application_that_stopped_listening(adapter: DriverAdapter) -> None:
    """A queue of events that is full does not keep the answer to the goodbye in the kernel."""
    with loopback() as bound, plain_peer() as peer:
        machine = Correspondent(peer.address)

        async def block() -> None:
            async with adapter.open(machine, bound, max_events=1, close_timeout_s=3600.0):
                for _ in range(50):
                    peer.socket.sendto(b"unread", bound.address)
                await adapter.sleep(0.05)
                _answer_goodbye(peer, bound.address)

        await within(adapter, block, "the end, with a queue full of events")
    expect(machine.drained, "the close handshake")


async def one_driver_after_another_on_the_same_socket(adapter: DriverAdapter) -> None:
    """The socket stays the caller's: a second driver takes it over, also in another mode."""
    with loopback() as bound, plain_peer() as peer:
        modes: tuple[Offload, ...] = ("auto", "none", "gather", "auto")
        for offload in modes:
            machine = Correspondent()
            driver: Driver
            async with adapter.open(machine, bound, offload=offload) as driver:
                for _ in range(3):
                    peer.socket.sendto(b"hello", driver.address)
                told = await events(adapter, driver, 3)
            expect([event.data for event in told] == [b"hello"] * 3, f"under {offload}")


CASES = (
    *cases(("left", "raised", "cancelled"), goodbye_is_said_however_the_block_ends),
    *cases((1, 2), the_close_handshake_survives_cancellation),
    case(a_silent_partner_holds_the_end_up_for_the_time_limit_only),
    case(a_machine_that_breaks_ends_the_block_with_its_own_exception),
    case(a_broken_socket_ends_the_block),
    case(events_end_when_the_driver_is_closed),
    case(the_end_does_not_wait_for_an_application_that_stopped_listening),
    case(one_driver_after_another_on_the_same_socket),
)
