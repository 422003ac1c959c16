"""Cases about runs: whole, in order and unmixed in every mode, and what happens when the kernel refuses.

A driver that does not use the kernel's segmentation passes most of these all the same: what counts is which
datagrams leave and what the machine is told. Those that make system calls fail expect the driver to use
`quinkgl.udp.BurstSocket`, or a Python socket in the same manner.
"""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Iterator
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
)
from quinkgl.testing.drivers.machine import Correspondent
from quinkgl.udp import BoundSocket, Offload, adopt_udp

_MODES: tuple[Offload, ...] = ("auto", "gather", "none")
_WAYS = tuple((mode, other) for mode in _MODES for other in _MODES)
_SOL_UDP = 17
_OFFLOAD_OPTIONS = (103, 104)
_FLAGS = {"MSG_TRUNC": 0x20, "MSG_CTRUNC": 0x08}


def _pieces(run: bytes, size: int) -> list[bytes]:
    return [run[start : start + size] for start in range(0, len(run), size)]


def _random_run(rng: random.Random) -> tuple[bytes, int]:
    size = rng.choice((1, 40, 700, 1200, 1452, 8900))
    most = min(64, 65_507 // size)
    return rng.randbytes(rng.randint(1, most * size)), size


async def runs_cross_whole_in_every_mode(adapter: DriverAdapter, modes: tuple[Offload, Offload]) -> None:
    """Runs of every shape, both ways at once, arrive datagram for datagram and in order."""
    seed = random.SystemRandom().getrandbits(32)
    rng = random.Random(seed)  # noqa: S311  what is sent, not who may read it
    near, far = Correspondent(), Correspondent()
    with loopback() as one, loopback() as two:
        async with (
            adapter.open(near, one, offload=modes[0]) as left,
            adapter.open(far, two, offload=modes[1]) as right,
        ):
            for _ in range(12):
                (there, size), (back, other) = _random_run(rng), _random_run(rng)
                near.write(there, right.address, size)
                left.call(lambda _now: None)
                far.write(back, left.address, other)
                right.call(lambda _now: None)
                for driver, run, cut in ((right, there, size), (left, back, other)):
                    wanted = _pieces(run, cut)
                    told = await events(adapter, driver, len(wanted))
                    expect([event.data for event in told] == wanted, f"seed {seed}: {len(run)} by {cut}")
        for driver in (left, right):
            expect(not driver.stats.send_errors and not driver.stats.receive_errors, f"{driver.stats}")


async def a_run_beyond_what_one_call_takes_leaves_in_pieces(adapter: DriverAdapter, mode: Offload) -> None:
    """More than 64 datagrams, or more than 65,507 bytes: the driver cuts, and nothing is lost at the cuts."""
    machine = Correspondent()
    with loopback() as bound, plain_peer() as peer:
        async with adapter.open(machine, bound, offload=mode) as driver:
            for count, size in ((200, 300), (90, 1400), (5, 40_000), (3, 65_507)):
                run = b"".join(bytes([number]) * size for number in range(count)) + b"end"
                machine.write(run, peer.address, size)
                driver.call(lambda _now: None)
                expect(take(peer) == _pieces(run, size), f"{count} datagrams of {size} bytes")
        expect(not driver.stats.send_errors, f"{driver.stats.send_errors}")


async def datagrams_of_all_sizes_and_sources_stay_apart(adapter: DriverAdapter, mode: Offload) -> None:
    """Equal and unequal, empty and largest, from three sources in turn: none is glued to another, or lost."""
    seed = random.SystemRandom().getrandbits(32)
    rng = random.Random(seed)  # noqa: S311  as above
    with loopback() as bound, plain_peer() as a, plain_peer() as b, plain_peer() as c:
        async with adapter.open(Correspondent(), bound, offload=mode) as driver:
            for _ in range(12):
                sent: list[tuple[bytes, Any]] = []
                for data in _datagrams(rng):
                    peer = rng.choice((a, a, a, b, c))
                    peer.socket.sendto(data, driver.address)
                    sent.append((data, peer.address))
                told = await events(adapter, driver, len(sent))
                got = [(event.data, event.source) for event in told]
                expect(got == sent, f"seed {seed}: datagrams were mixed up")
        expect(not driver.stats.receive_errors, f"{driver.stats.receive_errors}")


def _datagrams(rng: random.Random) -> Iterator[bytes]:
    """Groups of equal datagrams, as a sender of runs makes them, with odd ones in between."""
    for _ in range(rng.randint(1, 8)):
        size = rng.choice((0, 1, 2, 40, 41, 1199, 1200, 1200, 1452, 9000, 65_507))
        for _ in range(rng.randint(1, 3 if size > 2000 else 12)):
            yield rng.randbytes(size)


async def equal_datagrams_reach_the_machine_together(adapter: DriverAdapter, mode: Offload) -> None:
    """What has piled up in the kernel is handed over as a run; ``none`` is there to compare with."""
    with loopback() as bound, plain_peer() as peer:
        machine = Correspondent()
        async with adapter.open(machine, bound, offload=mode) as driver:
            wanted = [bytes([number]) * 1200 for number in range(40)] + [b"shorter"]
            for data in wanted:
                peer.socket.sendto(data, driver.address)
            told = await events(adapter, driver, len(wanted))
    expect([event.data for event in told] == wanted, "the datagrams of a run")
    together = max(event.together for event in told)
    expect((together == 1) == (mode == "none"), f"{together} datagrams came in one call")
    expect(
        (driver.stats.runs_received == 0) == (mode == "none"), f"{driver.stats.runs_received} runs counted"
    )


async def an_empty_datagram_ends_a_run(adapter: DriverAdapter, mode: Offload) -> None:
    """Nothing is shorter than anything, and still a datagram of its own."""
    wanted = [b"a" * 100, b"b" * 100, b"", b"", b"c" * 100, b""]
    with loopback() as bound, plain_peer() as peer:
        async with adapter.open(Correspondent(), bound, offload=mode) as driver:
            for data in wanted:
                peer.socket.sendto(data, driver.address)
            told = await events(adapter, driver, len(wanted))
    expect([event.data for event in told] == wanted, "empty datagrams")


async def two_sources_never_share_a_run(adapter: DriverAdapter, mode: Offload) -> None:
    """Equal datagrams from two peers in turn: each is told with the source that sent it."""
    with loopback() as bound, plain_peer() as one, plain_peer() as two:
        async with adapter.open(Correspondent(), bound, offload=mode) as driver:
            wanted = []
            for number in range(30):
                peer = one if number % 3 else two
                peer.socket.sendto(b"%03d" % number, driver.address)
                wanted.append((b"%03d" % number, peer.address))
            told = await events(adapter, driver, 30)
    expect([(event.data, event.source) for event in told] == wanted, "sources")


class RefusesRuns(FaultySocket):
    """A socket whose kernel, route or network card does not take runs after all."""

    error = errno.EIO

    def sendmsg(self, *_arguments: Any) -> int:
        """Refuse."""
        raise os_error(self.error)


async def a_refused_run_leaves_as_single_datagrams(adapter: DriverAdapter, error: str) -> None:
    """The kernel says no to a run, but not to its datagrams: all are sent, and runs are not tried again."""
    machine = Correspondent()
    udp = RefusesRuns.bind_loopback()
    udp.error = getattr(errno, error)
    run = b"".join(bytes([number]) * 1000 for number in range(20)) + b"end"
    with adopt_udp(udp) as bound, plain_peer() as peer:
        async with adapter.open(machine, bound) as driver:
            for _ in range(3):
                driver.call(lambda _now: machine.write(run, peer.address, 1000))
            expect(take(peer) == _pieces(run, 1000) * 3, "the datagrams of a refused run")
            expect(driver.offload["send"] == "single", "runs are tried again and again")
    expect(not driver.stats.send_errors, f"{driver.stats.send_errors}")
    expect(driver.stats.datagrams_sent == 63, f"{driver.stats.datagrams_sent} counted")
    expect(driver.stats.offload_refusals.total() in {0, 1}, f"{driver.stats.offload_refusals}")


class SmallPath(FaultySocket):
    """A socket whose path takes 1,500 bytes: larger datagrams, alone or in a run, are too large."""

    error = errno.EMSGSIZE

    def sendto(self, *arguments: Any) -> int:
        """Send what fits."""
        if len(arguments[0]) > 1472:
            raise os_error(errno.EMSGSIZE)
        return super().sendto(*arguments)

    def sendmsg(self, *arguments: Any) -> int:
        """Send a run whose datagrams fit."""
        if int.from_bytes(arguments[1][0][2], "little") > 1472:
            raise os_error(self.error)
        return super().sendmsg(*arguments)


async def a_run_above_the_path_mtu_is_lost_and_runs_go_on(adapter: DriverAdapter, error: str) -> None:
    """Too large for the path is no reason to give runs up, whatever an older kernel calls it."""
    machine = Correspondent()
    udp = SmallPath.bind_loopback()
    udp.error = getattr(errno, error)
    with adopt_udp(udp) as bound, plain_peer() as peer:
        async with adapter.open(machine, bound) as driver:
            before = driver.offload["send"]
            driver.call(lambda _now: machine.write(bytes(9 * 8900 // 2), peer.address, 8900))
            expect(take(peer) == [], "datagrams above the path's MTU")
            run = b"".join(bytes([number]) * 1472 for number in range(10))
            driver.call(lambda _now: machine.write(run, peer.address, 1472))
            expect(take(peer) == _pieces(run, 1472), "the run after it")
            expect(driver.offload["send"] == before, "runs were given up")
    expect(driver.stats.send_errors == {"EMSGSIZE": 5}, f"{driver.stats.send_errors}")


class TooSmallBuffer(FaultySocket):
    """A socket whose first reads find a run that did not fit: the rest of it is gone."""

    truncated = 3
    flag = 0

    def recvmsg_into(self, *arguments: Any) -> tuple[int, list[tuple[int, int, bytes]], int, Any]:
        """Receive, and say that it was cut short."""
        length, ancillary, flags, source = super().recvmsg_into(*arguments)
        if self.truncated:
            self.truncated -= 1
            flags |= self.flag
        return length, ancillary, flags, source


async def a_truncated_run_is_dropped_and_counted(adapter: DriverAdapter, flag: str) -> None:
    """Nobody knows where its datagrams end: the machine is told nothing of it."""
    machine = Correspondent()
    udp = TooSmallBuffer.bind_loopback()
    udp.flag = _FLAGS[flag]
    with adopt_udp(udp) as bound, plain_peer() as peer:
        async with adapter.open(machine, bound) as driver:
            merges = driver.offload["receive"] == "kernel"
            for number in range(6):
                peer.socket.sendto(b"%d" % number, driver.address)
            wanted = [b"%d" % number for number in range(3 if merges else 0, 6)]
            told = await events(adapter, driver, len(wanted))
    expect([event.data for event in told] == wanted, "what follows a truncated run")
    expect(driver.stats.receive_errors[flag] == (3 if merges else 0), "truncated runs are counted")
    expect(driver.stats.datagrams_received == len(wanted), "a truncated run is no datagram")


class OldKernel(FaultySocket):
    """A socket of a kernel that knows neither UDP_SEGMENT nor UDP_GRO."""

    def setsockopt(self, *arguments: Any) -> None:
        """Set an option that there is."""
        if arguments[0] == _SOL_UDP and arguments[1] in _OFFLOAD_OPTIONS:
            raise os_error(errno.ENOPROTOOPT)
        super().setsockopt(*arguments)

    def getsockopt(self, *arguments: Any) -> Any:
        """Read an option that there is."""
        if arguments[0] == _SOL_UDP and arguments[1] in _OFFLOAD_OPTIONS:
            raise os_error(errno.ENOPROTOOPT)
        return super().getsockopt(*arguments)

    def sendmsg(self, *_arguments: Any) -> int:
        """Refuse what this kernel does not know."""
        raise os_error(errno.EINVAL)


async def an_old_kernel_gathers_in_user_space(adapter: DriverAdapter) -> None:
    """Without the options the driver finds its other ways by itself."""
    machine = Correspondent()
    with adopt_udp(OldKernel.bind_loopback()) as bound, plain_peer() as peer:
        async with adapter.open(machine, bound) as driver:
            expect(driver.offload == {"send": "single", "receive": "gathered"}, f"{driver.offload}")
            run = bytes(1200) * 30
            driver.call(lambda _now: machine.write(run, peer.address, 1200))
            expect(take(peer) == [bytes(1200)] * 30, "a run under an old kernel")
            for _ in range(30):
                peer.socket.sendto(bytes(1200), driver.address)
            told = await events(adapter, driver, 30)
    expect(max(event.together for event in told) > 1, "nothing was gathered")


async def datagrams_leave_whole_or_not_at_all(adapter: DriverAdapter) -> None:
    """Path MTU discovery needs datagrams that are never cut up: the option is set where there is one."""
    with loopback() as bound:
        async with adapter.open(Correspondent(), bound) as driver:
            expect(driver.address == bound.address, "the address")
        granted = bound.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        expect(bound.receive_buffer_bytes in {granted, granted // 2}, "the receive buffer, read back")
        expect(_may_fragment(bound) is not bound.probes_path_mtu, "fragments")


def _may_fragment(bound: BoundSocket) -> bool:
    """Whether the kernel may cut datagrams of this socket up (Linux; elsewhere what the socket says)."""
    try:
        return bound.socket.getsockopt(socket.IPPROTO_IP, 10) not in {2, 3}
    except OSError:
        return not bound.probes_path_mtu


async def a_run_over_ipv6_and_a_dual_stack_socket(adapter: DriverAdapter, hosts: tuple[str, str]) -> None:
    """Runs are the same whichever family carries them."""
    near, far = Correspondent(), Correspondent()
    driver: Driver
    with loopback(hosts[0]) as one, loopback(hosts[1]) as two:
        to_far = (hosts[0] if hosts[1] == "::" else hosts[1], two.address[1])
        async with adapter.open(near, one) as left, adapter.open(far, two) as driver:
            run = b"".join(bytes([number]) * 1400 for number in range(45))
            left.call(lambda _now: near.write(run, to_far, 1400))
            told = await events(adapter, driver, 45)
            expect([event.data for event in told] == _pieces(run, 1400), "a run")
            expect({event.source for event in told} == {left.address}, "its source")
            driver.call(lambda _now: far.write(run, left.address, 1400))
            told = await events(adapter, left, 45)
            expect([event.data for event in told] == _pieces(run, 1400), "a run back")


CASES = (
    *cases(_WAYS, runs_cross_whole_in_every_mode),
    *cases(_MODES, a_run_beyond_what_one_call_takes_leaves_in_pieces),
    *cases(_MODES, datagrams_of_all_sizes_and_sources_stay_apart),
    *cases(_MODES, equal_datagrams_reach_the_machine_together),
    *cases(_MODES, an_empty_datagram_ends_a_run),
    *cases(_MODES, two_sources_never_share_a_run),
    *cases(("EIO", "EINVAL", "EMSGSIZE", "EOPNOTSUPP"), a_refused_run_leaves_as_single_datagrams),
    *cases(("EMSGSIZE", "EINVAL"), a_run_above_the_path_mtu_is_lost_and_runs_go_on),
    *cases(tuple(_FLAGS), a_truncated_run_is_dropped_and_counted),
    case(an_old_kernel_gathers_in_user_space),
    case(datagrams_leave_whole_or_not_at_all),
    *cases((("::1", "::1"), ("127.0.0.1", "::"), ("::1", "::")), a_run_over_ipv6_and_a_dual_stack_socket),
)
