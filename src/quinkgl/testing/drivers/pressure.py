"""Cases about pressure: a full kernel, a slow application, and errors that a socket reports now and then."""

from __future__ import annotations

import errno
import socket
from typing import Any

from quinkgl.testing.drivers.adapter import (
    CaseUnavailableError,
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
)
from quinkgl.testing.drivers.machine import Correspondent
from quinkgl.udp import adopt_udp

_IP_RECVERR = 11  # linux/in.h; the socket module has no name for it


class RoomForOneInTen(FaultySocket):
    """A socket whose kernel has no room for nine calls of ten."""

    calls = 0
    refuses_runs = False

    def _has_room(self) -> bool:
        self.calls += 1
        return self.calls % 10 == 0

    def sendto(self, *arguments: Any) -> int:
        """Send, sometimes."""
        if not self._has_room():
            raise BlockingIOError
        return super().sendto(*arguments)

    def sendmsg(self, *arguments: Any) -> int:
        """Send, sometimes; or refuse whatever is a run."""
        if self.refuses_runs:
            raise os_error(errno.EIO)
        if not self._has_room():
            raise BlockingIOError
        return super().sendmsg(*arguments)


class NoRoom(FaultySocket):
    """A socket whose kernel has no room at all, and says that it is writable."""

    is_full = False

    def sendto(self, *arguments: Any) -> int:
        """Send, unless full."""
        if self.is_full:
            raise BlockingIOError
        return super().sendto(*arguments)


async def a_full_kernel_delays_but_neither_loses_nor_reorders(
    adapter: DriverAdapter, how: tuple[int | None, str]
) -> None:
    """Nine of ten calls find no room; single datagrams and runs arrive in order all the same."""
    machine = Correspondent()
    segment_size, way = how
    size = segment_size or 500
    kernel = RoomForOneInTen.bind_loopback()
    kernel.refuses_runs = way == "refused"
    wanted = [bytes([number]) * size for number in range(120)]

    def write_all(_now: float) -> None:
        step = 1 if segment_size is None else 10
        for start in range(0, len(wanted), step):
            machine.write(b"".join(wanted[start : start + step]), peer.address, segment_size)

    with adopt_udp(kernel) as narrow, plain_peer() as peer:
        arrived: list[bytes] = []
        async with adapter.open(machine, narrow, offload="none" if way == "one by one" else "auto") as driver:
            driver.call(write_all)

            def all_there() -> bool:
                arrived.extend(take(peer))
                return len(arrived) >= len(wanted)

            await until(adapter, all_there, "what a full kernel delayed")
        expect(arrived == wanted, "the order, or a loss")
        expect(driver.stats.datagrams_sent == len(wanted), f"{driver.stats.datagrams_sent} counted")
        expect(not driver.stats.send_errors, "a full kernel is no error")


async def a_full_kernel_stops_the_machine(adapter: DriverAdapter) -> None:
    """While the kernel is full nothing more is built, timers go on, and nothing spins for long."""
    machine = Correspondent()
    udp = NoRoom.bind_loopback()

    def write_many(now: float) -> None:
        for number in range(50):
            machine.write(b"%d" % number, peer.address)
        machine.alarm = now + 0.02

    with adopt_udp(udp) as bound, plain_peer() as peer:
        async with adapter.open(machine, bound) as driver:
            udp.is_full = True
            driver.call(write_many)
            pulls, timer_calls = machine.pulls, machine.timer_calls
            await until(adapter, lambda: machine.rings, "a timer while the kernel is full")
            expect(machine.pulls - pulls <= 1, "datagrams were built for a full kernel")
            expect(machine.timer_calls - timer_calls < 30, "the timer spins")
            udp.is_full = False
            arrived: list[bytes] = []

            def all_there() -> bool:
                arrived.extend(take(peer))
                return len(arrived) == 50

            await until(adapter, all_there, "what waited for the kernel")
            expect(arrived == [b"%d" % number for number in range(50)], "the order after a full kernel")


async def a_slow_application_leaves_packets_in_the_kernel(adapter: DriverAdapter) -> None:
    """Beyond ``max_events`` the driver stops reading; nothing is lost, and it goes on afterwards."""
    machine, count = Correspondent(), 400
    with loopback() as bound, plain_peer() as peer:
        async with adapter.open(machine, bound, max_events=4) as driver:
            for number in range(count):
                peer.socket.sendto(b"%d" % number, driver.address)
            await adapter.sleep(0.1)
            taken = driver.stats.datagrams_received
            expect(4 <= taken < count, f"{taken} of {count} read for an application that takes nothing")
            told = await events(adapter, driver, count)
    expect([event.data for event in told] == [b"%d" % number for number in range(count)], "a loss")


async def what_is_too_large_is_lost_alone(adapter: DriverAdapter) -> None:
    """A datagram above what UDP carries is refused for good, and the next one leaves."""
    machine = Correspondent()
    with loopback() as bound, plain_peer() as peer:
        async with adapter.open(machine, bound) as driver:
            driver.call(lambda _now: machine.write(bytes(65_508), peer.address))
            driver.call(lambda _now: machine.write(b"after", peer.address))
            expect(take(peer) == [b"after"], "what follows a refused datagram")
    expect(driver.stats.send_errors == {"EMSGSIZE": 1}, f"{driver.stats.send_errors}")
    expect(driver.stats.datagrams_sent == 1, "a lost datagram was counted as sent")


async def answers_that_nobody_is_there_do_no_harm(adapter: DriverAdapter) -> None:
    """A port where nobody listens answers each datagram with an ICMP error, at any later call."""
    machine = Correspondent()
    with loopback() as bound, plain_peer() as peer:
        try:
            bound.socket.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        except OSError as error:
            raise CaseUnavailableError("this kernel keeps ICMP errors from unconnected sockets") from error
        with loopback() as closed:
            nobody = closed.address
        async with adapter.open(machine, bound) as driver:
            for number in range(90):
                driver.call(lambda _now: machine.write(b"anyone?", nobody))
                if number % 3 == 0:
                    peer.socket.sendto(b"I am", driver.address)
                    expect((await events(adapter, driver, 1))[0].data == b"I am", "the honest peer")
        stats = driver.stats
    refused = stats.send_errors["ECONNREFUSED"] + stats.receive_errors["ECONNREFUSED"]
    expect(refused, "the errors are counted")
    expect(stats.datagrams_sent + stats.send_errors.total() == 90, "each datagram is sent or counted")


class Failing(FaultySocket):
    """A socket whose every other call fails with an error that passes."""

    error = errno.ENOBUFS
    calls = 0

    def _fail(self) -> None:
        self.calls += 1
        if self.calls % 2:
            raise os_error(self.error)

    def sendto(self, *arguments: Any) -> int:
        """Fail, or send."""
        self._fail()
        return super().sendto(*arguments)

    def sendmsg(self, *arguments: Any) -> int:
        """Fail, or send."""
        self._fail()
        return super().sendmsg(*arguments)

    def recvfrom_into(self, *arguments: Any) -> tuple[int, Any]:
        """Fail, or receive."""
        self._fail()
        return super().recvfrom_into(*arguments)

    def recvmsg_into(self, *arguments: Any) -> tuple[int, list[tuple[int, int, bytes]], int, Any]:
        """Fail, or receive."""
        self._fail()
        return super().recvmsg_into(*arguments)


async def passing_errors_are_counted_and_survived(adapter: DriverAdapter, error: str) -> None:
    """Errors of the network, whichever call reports them, cost a datagram at most."""
    machine = Correspondent()
    udp = Failing.bind_loopback()
    udp.error = getattr(errno, error)
    with adopt_udp(udp) as bound, plain_peer() as peer:
        async with adapter.open(machine, bound) as driver:
            for number in range(10):
                machine.write(b"%d" % number, peer.address)
                driver.call(lambda _now: None)
                peer.socket.sendto(b"%d" % number, driver.address)
            told = await events(adapter, driver, 10)
            for _ in range(4):
                machine.write(bytes(800), peer.address, 100)
                driver.call(lambda _now: None)
            sent = take(peer)
    expect([event.data for event in told] == [b"%d" % number for number in range(10)], "a datagram read")
    expect(len(sent) + driver.stats.send_errors[error] == 42, "each datagram is sent or counted")
    expect(driver.stats.receive_errors[error] > 0, "errors of reading are counted")


CASES = (
    *cases(
        ((None, "singles"), (1200, "runs"), (1200, "one by one"), (1200, "refused")),
        a_full_kernel_delays_but_neither_loses_nor_reorders,
    ),
    case(a_full_kernel_stops_the_machine),
    case(a_slow_application_leaves_packets_in_the_kernel),
    case(what_is_too_large_is_lost_alone),
    case(answers_that_nobody_is_there_do_no_harm),
    *cases(
        ("ECONNREFUSED", "ENOBUFS", "ENETUNREACH", "EPERM", "EHOSTUNREACH"),
        passing_errors_are_counted_and_survived,
    ),
)
