"""Cases about one turn: events in order, output at once, timers exact, no turn without a reason."""

from __future__ import annotations

from quinkgl.testing.drivers.adapter import (
    DriverAdapter,
    case,
    cases,
    events,
    expect,
    loopback,
    plain_peer,
    take,
    until,
)
from quinkgl.testing.drivers.machine import Correspondent, Parcel
from quinkgl.wire.addresses import Address

_LATE_S = 1.0
"""How late a timer may be on a busy machine. What it must never be is early."""


async def events_come_in_order(adapter: DriverAdapter) -> None:
    """What arrives in an order is told in that order."""
    with loopback() as bound, plain_peer() as peer:
        async with adapter.open(Correspondent(), bound) as driver:
            for number in range(300):
                peer.socket.sendto(b"%d" % number, driver.address)
            told = await events(adapter, driver, 300)
    expect([event.data for event in told] == [b"%d" % number for number in range(300)], "order")
    expect({event.source for event in told} == {peer.address}, "the source of a datagram")


async def several_listeners_share_the_events(adapter: DriverAdapter) -> None:
    """Each event goes to one caller of next_event; a cancelled one takes none with it."""
    with loopback() as bound, plain_peer() as peer:
        async with adapter.open(Correspondent(), bound) as driver:
            expect(await adapter.cancelled_after(0.02, driver.next_event), "nothing has come yet")
            for number in range(3):
                peer.socket.sendto(b"%d" % number, driver.address)
            told = await events(adapter, driver, 3)
    expect([event.data for event in told] == [b"0", b"1", b"2"], "an event went to a cancelled caller")


async def what_a_command_causes_is_sent_before_it_returns(adapter: DriverAdapter) -> None:
    """No turn of the event loop lies between a command and its datagrams."""
    machine = Correspondent()
    with loopback() as bound, plain_peer() as peer:
        async with adapter.open(machine, bound) as driver:
            driver.call(lambda _now: machine.write(b"at once", peer.address))
            expect(take(peer) == [b"at once"], "the datagram of a command")
            value = driver.call(lambda now: now)
            expect(driver.call(lambda now: now) >= value, "time in commands")
        expect(driver.stats.datagrams_sent == 1, "datagrams_sent")
        expect(driver.stats.bytes_sent == 7, "bytes_sent")


async def a_command_that_raises_leaves_the_driver_whole(adapter: DriverAdapter) -> None:
    """The caller gets the exception, and what the command queued before it is sent."""
    machine = Correspondent()

    def command(_now: float) -> None:
        machine.write(b"before", peer.address)
        raise LookupError("of the caller")

    with loopback() as bound, plain_peer() as peer:
        async with adapter.open(machine, bound) as driver:
            try:
                driver.call(command)
            except LookupError:
                pass
            else:
                raise AssertionError("the exception of a command is lost")
            expect(take(peer) == [b"before"], "what was queued before")
            peer.socket.sendto(b"still there", driver.address)
            expect((await events(adapter, driver, 1))[0].data == b"still there", "the driver afterwards")


async def timers_are_never_early_and_send_at_once(adapter: DriverAdapter) -> None:
    """Alarms, one after the other, each with a datagram; and no call in between."""
    machine = Correspondent()
    with loopback() as bound, plain_peer() as peer:
        machine.on_ring = Parcel(b"ring", peer.address)
        async with adapter.open(machine, bound) as driver:
            before = machine.timer_calls
            for number in range(5):

                def set_alarm(now: float) -> float:
                    machine.alarm = now + 0.011
                    return machine.alarm

                due = driver.call(set_alarm)
                await until(adapter, lambda: len(machine.rings) > number, "the alarm")  # noqa: B023
                expect(due <= machine.rings[-1] <= due + _LATE_S, f"due {due}, rang {machine.rings[-1]}")
            expect(take(peer) == [b"ring"] * 5, "the datagrams of the timer")
            expect(machine.timer_calls - before <= 15, f"{machine.timer_calls} timer calls for five alarms")


async def a_deadline_that_moves_is_followed(adapter: DriverAdapter) -> None:
    """Earlier: at once. Later: the old time passes without a ring."""
    machine = Correspondent()

    def set_alarm(seconds: float) -> float:
        def command(now: float) -> float:
            machine.alarm = now + seconds
            return machine.alarm

        return driver.call(command)

    with loopback() as bound:
        async with adapter.open(machine, bound) as driver:
            set_alarm(3600.0)
            await adapter.sleep(0.01)
            due = set_alarm(0.02)
            await until(adapter, lambda: machine.rings, "an alarm that was moved forward")
            expect(due <= machine.rings[0] <= due + _LATE_S, "an alarm that was moved forward")
            set_alarm(0.03)
            due = set_alarm(0.12)
            await until(adapter, lambda: len(machine.rings) > 1, "an alarm that was put off")
            expect(due <= machine.rings[1] <= due + _LATE_S, "an alarm that was put off")
            machine.alarm = None
            await adapter.sleep(0.02)
    expect(len(machine.rings) == 2, "an alarm rang twice")


async def an_idle_driver_sleeps(adapter: DriverAdapter) -> None:
    """Without a deadline, or with one far away, the machine is left alone."""
    machine = Correspondent()

    def far_away(now: float) -> None:
        machine.alarm = now + 3600.0

    with loopback() as bound:
        async with adapter.open(machine, bound) as driver:
            await adapter.sleep(0.1)
            driver.call(far_away)
            timer_calls, pulls = machine.timer_calls, machine.pulls
            await adapter.sleep(0.2)
            expect(machine.timer_calls - timer_calls <= 2, f"{machine.timer_calls} timer calls while idle")
            expect(machine.pulls - pulls <= 4, f"{machine.pulls} datagrams asked for while idle")


async def more_output_than_a_burst_leaves_whole(adapter: DriverAdapter) -> None:
    """However much is ready at once, all of it is sent, and other tasks get their turn in between."""
    machine = Correspondent()
    count = 1000
    turns = 0

    def write_all(_now: float) -> None:
        for number in range(count):
            machine.write(b"%d" % number, peer.address)

    with loopback() as bound, plain_peer() as peer:
        arrived: list[bytes] = []
        async with adapter.open(machine, bound) as driver:
            driver.call(write_all)
            while len(arrived) < count and turns < 5000:
                arrived += take(peer)
                turns += 1
                await adapter.sleep(0)
    expect(arrived == [b"%d" % number for number in range(count)], f"{len(arrived)} of {count} arrived")
    expect(turns > 2, "a thousand datagrams in one turn")


async def two_drivers_meet(adapter: DriverAdapter, hosts: tuple[str, str]) -> None:
    """There and back between two drivers; ``::`` is a dual-stack socket that the other reaches."""
    near, far = Correspondent(), Correspondent()
    with loopback(hosts[0]) as one, loopback(hosts[1]) as two:
        to_far: Address = (hosts[0] if hosts[1] == "::" else hosts[1], two.address[1])
        async with adapter.open(near, one) as left, adapter.open(far, two) as right:
            left.call(lambda _now: near.write(b"question", to_far))
            question = (await events(adapter, right, 1))[0]
            expect((question.data, question.source) == (b"question", left.address), f"got {question}")
            right.call(lambda _now: far.write(b"answer!", question.source))
            answer = (await events(adapter, left, 1))[0]
            expect((answer.data, answer.source) == (b"answer!", to_far), f"got {answer}")
        expect((left.stats.bytes_sent, left.stats.bytes_received) == (8, 7), "bytes counted")


CASES = (
    case(events_come_in_order),
    case(several_listeners_share_the_events),
    case(what_a_command_causes_is_sent_before_it_returns),
    case(a_command_that_raises_leaves_the_driver_whole),
    case(timers_are_never_early_and_send_at_once),
    case(a_deadline_that_moves_is_followed),
    case(an_idle_driver_sleeps),
    case(more_output_than_a_burst_leaves_whole),
    *cases(
        (("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("127.0.0.1", "::"), ("::1", "::")), two_drivers_meet
    ),
)
