"""What the drivers themselves can carry: dummy runs and small messages, with no protocol and no encryption.

    driver_raw.py [--size BYTES] [--seconds S] [--json]

Two processes on loopback. A flood machine gives out runs of dummy datagrams as fast as a window of
acknowledged bytes allows; a counting machine at the other end acknowledges once a burst. Rows: a bare loop of
sendto and recv_into on blocking sockets, for comparison; the Trio driver with the kernel's help at both ends,
at the sender alone (the receiver gathers), and at neither; single datagrams throughout. The last rows are a
100-byte message there and back, through bare sockets and through each driver. Throughput is what the receiver
counted; CPU is what each side used for a GB.
"""

# ruff: noqa: ARG002  a machine is given more than these need

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import socket
import statistics
import time
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import trio

from quinkgl.udp import Offload, bind_udp
from quinkgl.wire.addresses import Address
from quinkgl_ipv8 import open_driver as open_on_asyncio
from quinkgl_trio.driver import open_driver

_WINDOW_BYTES = 1_500_000
_RUN_BYTES = 65_507
_HERE: Address = ("127.0.0.1", 0)
_WARM_UP_S = 0.3
_MESSAGE_BYTES = 100


class Parcel(NamedTuple):
    """A datagram or a run on its way."""

    data: bytes
    destination: Address
    segment_size: int | None


class Silent:
    """What the machines here have in common: no events, no timer, no goodbye."""

    drained = True

    def receive_datagram(
        self, data: bytes | memoryview, source: Address, *, now: float, segment_size: int | None = None
    ) -> None:
        """Take a datagram."""

    def next_datagram(self, _now: float) -> Parcel | None:
        """Send nothing."""
        return None

    def handle_timer(self, *, now: float) -> None:
        """Do nothing."""

    def next_event(self) -> Any:
        """Tell nothing."""
        return None

    def deadline(self) -> float | None:
        """Wait for nothing."""
        return None

    def close(self, *, now: float) -> None:
        """Be done."""


class Flood(Silent):
    """Sends runs of ``size``-byte datagrams while no more than a window is unacknowledged."""

    def __init__(self, destination: Address, size: int, run_packets: int) -> None:
        self._run = bytes(size) * min(run_packets, _RUN_BYTES // size)
        self._parcel = Parcel(self._run, destination, size)
        self._sent = self._acknowledged = 0
        self._lost_at = 0.0

    def receive_datagram(
        self, data: bytes | memoryview, source: Address, *, now: float, segment_size: int | None = None
    ) -> None:
        """Take an acknowledgement: the bytes that have arrived in all."""
        self._acknowledged = max(self._acknowledged, int.from_bytes(data[-8:], "big"))

    @property
    def _is_stopped(self) -> bool:
        return self._sent - self._acknowledged > _WINDOW_BYTES

    def next_datagram(self, now: float) -> Parcel | None:
        """Give out the next run, if the window allows it."""
        if self._is_stopped:
            return None
        self._sent += len(self._run)
        self._lost_at = now + 0.2
        return self._parcel

    def handle_timer(self, *, now: float) -> None:
        """After a time, count as lost what is still missing."""
        if self._is_stopped and now >= self._lost_at:
            self._sent = self._acknowledged

    def deadline(self) -> float | None:
        """At once while there is room."""
        return self._lost_at if self._is_stopped else 0.0


class Count(Silent):
    """Counts what arrives and acknowledges it once a burst."""

    def __init__(self) -> None:
        self.received = 0
        self._answer_to: Address | None = None

    def receive_datagram(
        self, data: bytes | memoryview, source: Address, *, now: float, segment_size: int | None = None
    ) -> None:
        """Count."""
        self.received += len(data)
        self._answer_to = source

    def next_datagram(self, _now: float) -> Parcel | None:
        """Acknowledge."""
        if self._answer_to is None:
            return None
        to, self._answer_to = self._answer_to, None
        return Parcel(self.received.to_bytes(8, "big"), to, None)

    def deadline(self) -> float | None:
        """At once while an acknowledgement is due."""
        return None if self._answer_to is None else 0.0


class Mail(Silent):
    """Reports what arrives; sends what it is told to."""

    def __init__(self) -> None:
        self._arrived: deque[tuple[bytes, Address]] = deque()
        self.parcels: deque[Parcel] = deque()

    def receive_datagram(
        self, data: bytes | memoryview, source: Address, *, now: float, segment_size: int | None = None
    ) -> None:
        """Report it."""
        self._arrived.append((bytes(data), source))

    def next_datagram(self, _now: float) -> Parcel | None:
        """Give out what is to be sent."""
        return self.parcels.popleft() if self.parcels else None

    def next_event(self) -> tuple[bytes, Address] | None:
        """Tell what arrived."""
        return self._arrived.popleft() if self._arrived else None

    def deadline(self) -> float | None:
        """At once while something is to be sent."""
        return 0.0 if self.parcels else None


class Row(NamedTuple):
    """What a flood came to: bytes a second, CPU seconds a GB of both sides."""

    rate: float
    sender_s_gb: float
    receiver_s_gb: float


def _count(pipe: Connection, offload: Offload, seconds: float) -> None:
    async def main() -> None:
        machine = Count()
        with bind_udp(_HERE) as bound:
            async with open_driver(machine, bound, offload=offload) as driver:
                pipe.send(driver.address)
                await trio.sleep(_WARM_UP_S)
                before, cpu, start = machine.received, time.process_time(), time.monotonic()
                await trio.sleep(seconds)
                took = time.monotonic() - start
                pipe.send((machine.received - before, took, time.process_time() - cpu))

    trio.run(main)


def flood(size: int, *, send: Offload, receive: Offload, run_packets: int, seconds: float) -> Row:
    """Flood one Trio driver from another."""
    with _beside(_count, receive, seconds) as pipe:

        async def main() -> float:
            with bind_udp(_HERE) as bound:
                async with open_driver(Flood(pipe.recv(), size, run_packets), bound, offload=send):
                    await trio.sleep(_WARM_UP_S)
                    cpu = time.process_time()
                    await trio.sleep(seconds)
                    return time.process_time() - cpu

        sender_cpu: float = trio.run(main)
        received, took, receiver_cpu = pipe.recv()
    gigabytes = max(received, 1) / 1e9
    return Row(received / took, sender_cpu / gigabytes, receiver_cpu / gigabytes)


def _count_bare(pipe: Connection, seconds: float) -> None:
    buffer, received = bytearray(65_536), 0
    with bind_udp(_HERE) as bound:
        bound.socket.setblocking(True)
        pipe.send(bound.address)
        bound.socket.recv_into(buffer)
        cpu, start = time.process_time(), time.monotonic()
        while time.monotonic() - start < seconds:
            received += bound.socket.recv_into(buffer)
        pipe.send((received, time.monotonic() - start, time.process_time() - cpu))


def bare_flood(size: int, seconds: float) -> Row:
    """The same with a loop of sendto and one of recv_into: what the system calls cost."""
    with _beside(_count_bare, seconds) as pipe, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        to, data, sent = pipe.recv(), memoryview(bytes(size)), 0
        cpu = time.process_time()
        while not pipe.poll():
            for _ in range(64):
                udp.sendto(data, to)
            sent += 64 * size
        sender_cpu = time.process_time() - cpu
        received, took, receiver_cpu = pipe.recv()
    return Row(received / took, sender_cpu / sent * 1e9, receiver_cpu / max(received, 1) * 1e9)


def _answer_on_trio(pipe: Connection) -> None:
    async def main() -> None:
        machine = Mail()
        with bind_udp(_HERE) as bound:
            async with open_driver(machine, bound) as driver:
                pipe.send(driver.address)
                while True:
                    machine.parcels.append(Parcel(*await driver.next_event(), None))
                    driver.call(lambda _now: None)

    trio.run(main)


def _ask_on_trio(to: Address, seconds: float) -> list[float]:
    async def main() -> list[float]:
        machine, parcel, times = Mail(), Parcel(bytes(_MESSAGE_BYTES), to, None), []
        with bind_udp(_HERE) as bound:
            async with open_driver(machine, bound) as driver:
                end = time.monotonic() + seconds
                while (start := time.monotonic()) < end:
                    machine.parcels.append(parcel)
                    driver.call(lambda _now: None)
                    await driver.next_event()
                    times.append(time.monotonic() - start)
        return times

    result: list[float] = trio.run(main)
    return result


def _answer_on_asyncio(pipe: Connection) -> None:
    async def main() -> None:
        machine = Mail()
        with bind_udp(_HERE) as bound:
            async with open_on_asyncio(machine, bound) as driver:
                pipe.send(driver.address)
                while True:
                    machine.parcels.append(Parcel(*await driver.next_event(), None))
                    driver.call(lambda _now: None)

    asyncio.run(main())


def _ask_on_asyncio(to: Address, seconds: float) -> list[float]:
    async def main() -> list[float]:
        machine, parcel, times = Mail(), Parcel(bytes(_MESSAGE_BYTES), to, None), []
        with bind_udp(_HERE) as bound:
            async with open_on_asyncio(machine, bound) as driver:
                end = time.monotonic() + seconds
                while (start := time.monotonic()) < end:
                    machine.parcels.append(parcel)
                    driver.call(lambda _now: None)
                    await driver.next_event()
                    times.append(time.monotonic() - start)
        return times

    return asyncio.run(main())


def _answer_bare(pipe: Connection) -> None:
    with bind_udp(_HERE) as bound:
        bound.socket.setblocking(True)
        pipe.send(bound.address)
        while True:
            bound.socket.sendto(*bound.socket.recvfrom(65_536))


def _ask_bare(to: Address, seconds: float) -> list[float]:
    times = []
    with bind_udp(_HERE) as bound:
        bound.socket.setblocking(True)
        data, end = bytes(_MESSAGE_BYTES), time.monotonic() + seconds
        while (start := time.monotonic()) < end:
            bound.socket.sendto(data, to)
            bound.socket.recvfrom(65_536)
            times.append(time.monotonic() - start)
    return times


def round_trip(
    ask: Callable[[Address, float], list[float]], answer: Callable[[Connection], None], seconds: float
) -> float:
    """Return the median seconds of a message there and back between two processes."""
    with _beside(answer) as pipe:
        return statistics.median(ask(pipe.recv(), seconds))


@contextlib.contextmanager
def _beside(target: Callable[..., None], *arguments: Any) -> Any:
    """Run ``target(pipe, *arguments)`` in a process of its own for the length of the block."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=target, args=(there, *arguments))
    process.start()
    try:
        yield here
        process.join(0.5)
    finally:
        process.kill()
        process.join()


def main() -> None:
    """Print one line a row, or one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=1452, help="bytes of a datagram")
    parser.add_argument("--seconds", type=float, default=1.5, help="how long each row is measured")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    size, seconds = arguments.size, arguments.seconds
    result: dict[str, Any] = {"size": size, "cores": os.cpu_count(), "flood": {}, "round_trip_us": {}}

    def tell(name: str, row: Row) -> None:
        result["flood"][name] = {
            "mb_s": row.rate / 1e6,
            "cpu_s_gb": [row.sender_s_gb, row.receiver_s_gb],
        }
        if not arguments.json:
            print(
                f"{name:<38}{row.rate / 1e6:>8.0f} MB/s   CPU s/GB {row.sender_s_gb:5.2f} + "
                f"{row.receiver_s_gb:5.2f}",
                flush=True,
            )

    ways: tuple[tuple[str, Offload, Offload, int], ...] = (
        ("runs by the kernel, both ends", "auto", "auto", 64),
        ("runs by the kernel, gathered", "auto", "gather", 64),
        ("sent one by one, gathered", "gather", "gather", 64),
        ("sent one by one, kernel may merge", "gather", "auto", 64),
        ("single datagrams throughout", "none", "none", 1),
    )
    tell("bare sendto and recv_into", bare_flood(size, seconds))
    for name, send, receive, packets in ways:
        tell(name, flood(size, send=send, receive=receive, run_packets=packets, seconds=seconds))
    for name, ask, answer in (
        ("bare blocking sockets", _ask_bare, _answer_bare),
        ("Trio driver", _ask_on_trio, _answer_on_trio),
        ("asyncio driver", _ask_on_asyncio, _answer_on_asyncio),
    ):
        microseconds = round_trip(ask, answer, seconds) * 1e6
        result["round_trip_us"][name] = microseconds
        if not arguments.json:
            print(f"{_MESSAGE_BYTES} bytes there and back, {name:<22}{microseconds:>8.1f} us", flush=True)
    if arguments.json:
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
