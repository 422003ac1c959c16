"""Outcome tests of the UDP driver over real loopback sockets.

The machine here is about the smallest that keeps the contract: it sends notes, reports what arrives and says
goodbye.
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from contextlib import nullcontext
from dataclasses import dataclass

import pytest
import trio

from quinkgl_trio.driver import open_driver
from quinkgl_trio.sockets import adopt_udp, bind_udp

_GOODBYE = b"goodbye"
_IP_RECVERR = 11  # linux/in.h; the socket module has no name for it


@dataclass(frozen=True, slots=True)
class Note:
    data: bytes
    source: tuple[str, int]


@dataclass(frozen=True, slots=True)
class Parcel:
    data: bytes
    destination: tuple[str, int]
    segment_size: int | None = None


class Correspondent:
    """Sends what it is told to, reports what it gets; `close` says goodbye and waits for one (or 0.5 s)."""

    def __init__(self, partner=None):
        self.partner = partner
        self.parcels = deque()
        self.notes = deque()
        self.goodbyes = 0
        self.ticks = []
        self.alarm = None
        self.broken = False
        self.drained = False

    def write(self, data, destination, segment_size=None):
        self.parcels.append(Parcel(data, destination, segment_size))

    def receive_datagram(self, data, source, *, now, segment_size=None):
        if self.broken:
            raise RuntimeError("this machine is broken")
        size = segment_size or len(data)
        for start in range(0, len(data), size):
            one = bytes(data[start : start + size])
            if one == _GOODBYE:
                self.goodbyes += 1
                self.drained = True
            else:
                self.notes.append(Note(one, source))

    def handle_timer(self, *, now):
        if self.alarm is not None and now >= self.alarm:
            self.ticks.append(now)
            self.alarm = None

    def next_event(self):
        return self.notes.popleft() if self.notes else None

    def next_datagram(self, now):
        return self.parcels.popleft() if self.parcels else None

    def deadline(self):
        return 0.0 if self.parcels else self.alarm

    def close(self, *, now):
        if self.partner is None:
            self.drained = True
        elif not self.drained:
            self.write(_GOODBYE, self.partner)


@pytest.fixture
def sockets():
    with bind_udp(("127.0.0.1", 0)) as left, bind_udp(("127.0.0.1", 0)) as right:
        yield left, right


async def test_notes_travel_both_ways_and_the_payload_is_counted(sockets):
    left, right = sockets
    async with open_driver(Correspondent(), left) as one, open_driver(Correspondent(), right) as two:
        one.call(lambda _now: one.machine.write(b"question", two.address))
        with trio.fail_after(60):
            note = await two.next_event()
            two.call(lambda _now: two.machine.write(b"answer!", note.source))
            answer = await one.next_event()
    assert (note.data, note.source) == (b"question", left.address)
    assert answer.data == b"answer!"
    assert (one.stats.bytes_sent, one.stats.bytes_received) == (8, 7)
    assert (two.stats.datagrams_sent, two.stats.datagrams_received) == (1, 1)


async def test_a_run_of_equal_datagrams_is_sent_one_by_one(sockets):
    left, right = sockets
    async with open_driver(Correspondent(), left) as one, open_driver(Correspondent(), right) as two:
        one.call(lambda _now: one.machine.write(b"aaaabbbbcc", two.address, segment_size=4))
        with trio.fail_after(60):
            notes = [(await two.next_event()).data for _ in range(3)]
    assert notes == [b"aaaa", b"bbbb", b"cc"]


async def test_ipv6_and_ipv4_meet_at_a_dual_stack_socket():
    try:
        wide = bind_udp(("::", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    with wide, bind_udp(("127.0.0.1", 0)) as v4, bind_udp(("::1", 0)) as v6:
        async with open_driver(Correspondent(), wide) as host:
            for guest_socket, way in ((v4, "127.0.0.1"), (v6, "::1")):
                async with open_driver(Correspondent(), guest_socket) as guest:
                    guest.machine.write(b"from " + way.encode(), (way, host.address[1]))
                    guest.call(lambda _now: None)
                    with trio.fail_after(60):
                        note = await host.next_event()
                        assert note.source == (way, guest.address[1])
                        host.machine.write(b"back", note.source)
                        host.call(lambda _now: None)
                        assert (await guest.next_event()).data == b"back"


async def test_the_timer_fires_at_the_deadline_and_not_before(sockets):
    async with open_driver(Correspondent(), sockets[0]) as driver:

        def set_alarm(now):
            driver.machine.alarm = now + 0.05

        start = trio.current_time()
        driver.call(set_alarm)
        with trio.fail_after(60):
            while not driver.machine.ticks:  # noqa: ASYNC110  the machine has no awaitable
                await trio.sleep(0.005)
    assert driver.machine.ticks[0] >= start + 0.05


@pytest.mark.parametrize("ending", ["cancelled", "raised", "left"])
async def test_goodbye_is_said_however_the_block_ends(sockets, ending):
    left, right = sockets
    witness, leaver = Correspondent(), Correspondent(right.address)
    async with open_driver(witness, right) as far:
        raised = pytest.raises(KeyError, match="as it is") if ending == "raised" else nullcontext()
        with trio.fail_after(60), trio.CancelScope() as scope, raised:
            async with open_driver(leaver, left, close_timeout_s=0.3):
                if ending == "cancelled":
                    scope.cancel()
                    await trio.sleep_forever()
                if ending == "raised":
                    raise KeyError("as it is")
        with trio.move_on_after(2):
            while not witness.goodbyes:  # noqa: ASYNC110
                await trio.sleep(0.005)
    assert witness.goodbyes == 1
    assert scope.cancelled_caught == (ending == "cancelled")
    assert far.stats.datagrams_received == 1


async def test_a_partner_that_never_answers_holds_the_end_up_for_the_time_limit_only(sockets):
    left, right = sockets  # nobody drives `right`
    start = trio.current_time()
    async with open_driver(Correspondent(right.address), left, close_timeout_s=0.2):
        pass
    assert 0.19 <= trio.current_time() - start < 2


async def test_a_machine_that_breaks_ends_the_block_with_its_own_exception(sockets):
    left, right = sockets
    machine = Correspondent()
    machine.broken = True
    right.socket.sendto(b"x", left.address)
    with pytest.raises(RuntimeError, match="this machine is broken"):
        async with open_driver(machine, left):
            await trio.sleep(5)


async def test_events_end_when_the_driver_is_closed(sockets):
    async with open_driver(Correspondent(), sockets[0]) as driver:
        pass
    with pytest.raises(trio.EndOfChannel):
        await driver.next_event()


async def test_a_slow_application_leaves_packets_in_the_kernel_and_loses_none(sockets):
    left, right = sockets
    machine = Correspondent()
    count = 400
    async with open_driver(machine, left, max_events=4) as driver:
        for number in range(count):
            right.socket.sendto(struct.pack(">I", number), left.address)
        await trio.sleep(0.2)
        taken = driver.stats.datagrams_received
        assert 4 <= taken < count  # one burst may overshoot the bound, the rest waits in the kernel
        with trio.fail_after(60):
            numbers = [struct.unpack(">I", (await driver.next_event()).data)[0] for _ in range(count)]
    assert numbers == list(range(count))


async def test_the_end_does_not_wait_for_an_application_that_stopped_listening(sockets):
    left, right = sockets
    witness = Correspondent(left.address)
    async with open_driver(witness, right, close_timeout_s=0.2):
        async with open_driver(Correspondent(right.address), left, max_events=1, close_timeout_s=5) as driver:
            for _ in range(100):
                right.socket.sendto(b"unread", left.address)
            await trio.sleep(0.05)
            start = trio.current_time()
            right.socket.sendto(_GOODBYE, left.address)
        assert driver.machine.drained
    assert trio.current_time() - start < 4


class RoomForOneInTen(socket.socket):
    """A socket whose kernel has no room for nine calls of ten."""

    calls = 0

    def sendto(self, data, address):  # single datagrams go this way
        self.calls += 1
        if self.calls % 10:
            raise BlockingIOError
        return super().sendto(data, address)


async def test_a_full_kernel_delays_datagrams_but_loses_and_reorders_none(sockets):
    udp = RoomForOneInTen(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    with adopt_udp(udp) as narrow:
        async with (
            open_driver(Correspondent(), narrow) as sender,
            open_driver(Correspondent(), sockets[0]) as far,
        ):
            for number in range(200):
                sender.machine.write(struct.pack(">I", number), far.address)
            sender.call(lambda _now: None)
            with trio.fail_after(60):
                numbers = [struct.unpack(">I", (await far.next_event()).data)[0] for _ in range(200)]
        assert numbers == list(range(200))
        assert sender.stats.datagrams_sent == 200
        assert not sender.stats.send_errors


async def test_what_the_kernel_refuses_for_good_is_counted_and_lost(sockets):
    left, right = sockets
    async with open_driver(Correspondent(), left) as one, open_driver(Correspondent(), right) as two:
        one.machine.write(bytes(65_508), two.address)  # over what UDP can carry: EMSGSIZE
        one.machine.write(b"after", two.address)
        one.call(lambda _now: None)
        with trio.fail_after(60):
            assert (await two.next_event()).data == b"after"
    assert one.stats.send_errors == {"EMSGSIZE": 1}
    assert one.stats.datagrams_sent == 1


async def test_a_storm_of_connection_refused_is_survived(sockets):
    left, right = sockets
    try:
        left.socket.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
    except OSError:
        pytest.skip("this kernel does not report ICMP errors to unconnected sockets")
    with bind_udp(("127.0.0.1", 0)) as closed:
        nobody = closed.address
    async with open_driver(Correspondent(), left) as one, open_driver(Correspondent(), right) as two:
        for number in range(300):
            one.machine.write(b"anyone?", nobody)
            one.call(lambda _now: None)
            if number % 3 == 0:
                two.machine.write(b"still here", one.address)
                two.call(lambda _now: None)
                with trio.fail_after(60):
                    assert (await one.next_event()).data == b"still here"
    refused = one.stats.send_errors["ECONNREFUSED"] + one.stats.receive_errors["ECONNREFUSED"]
    assert refused > 0
    assert one.stats.datagrams_sent + one.stats.send_errors.total() == 300


def test_a_port_in_use_is_an_oserror():
    with bind_udp(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        bind_udp(taken.address)


def test_the_granted_buffers_are_what_the_kernel_says(sockets):
    granted = sockets[0].socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    assert sockets[0].receive_buffer_bytes in (granted, granted // 2)
    assert sockets[0].receive_buffer_bytes >= 64 * 1024
