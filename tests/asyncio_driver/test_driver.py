"""What the asyncio driver has of its own, beyond the driver contract (test_contract.py)."""

from __future__ import annotations

import asyncio

import pytest

from quinkgl.testing.drivers import Correspondent
from quinkgl.udp import bind_udp
from quinkgl_ipv8 import open_driver


@pytest.fixture
def sockets():
    with bind_udp(("127.0.0.1", 0)) as left, bind_udp(("127.0.0.1", 0)) as right:
        yield left, right


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  the machine has no awaitable
            await asyncio.sleep(0.001)


def test_taking_events_lets_other_tasks_run(sockets):
    left, right = sockets

    async def main():
        async with open_driver(Correspondent(), left) as driver:
            for _ in range(200):
                right.socket.sendto(b"x", left.address)
            await until(lambda: driver.stats.datagrams_received == 200)
            turns = 0

            async def count_turns():
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            counting = asyncio.create_task(count_turns())
            for _ in range(200):
                assert (await driver.next_event()).data == b"x"
            counting.cancel()
            assert turns > 1

    asyncio.run(main())


def test_a_listener_cancelled_as_it_is_woken_leaves_the_event_to_the_next(sockets):
    left, right = sockets

    async def main():
        async with open_driver(Correspondent(), left) as driver:
            first, second = (asyncio.create_task(driver.next_event()) for _ in range(2))
            await asyncio.sleep(0)
            right.socket.sendto(b"for somebody", left.address)
            await until(lambda: driver.stats.datagrams_received or first.cancelled())
            first.cancel()
            async with asyncio.timeout(10):
                if not second.done():
                    right.socket.sendto(b"for the other", left.address)
                results = await asyncio.gather(first, second, return_exceptions=True)
            told = [result.data for result in results if not isinstance(result, BaseException)]
            assert b"for somebody" in [*told, (await driver.next_event()).data if len(told) < 2 else b""]

    asyncio.run(main())


def test_a_broken_machine_ends_the_block_with_its_own_exception_and_no_cancellation_is_left(sockets):
    left, right = sockets
    machine = Correspondent()
    machine.breaks = True

    async def body():
        async with open_driver(machine, left):
            right.socket.sendto(b"x", left.address)
            await asyncio.sleep(60)

    async def main():
        with pytest.raises(RuntimeError, match="this machine is broken"):
            await body()
        assert asyncio.current_task().cancelling() == 0
        await asyncio.sleep(0)  # a cancellation that is still on its way would come out here

    asyncio.run(main())


def test_a_cancellation_from_outside_is_no_failure_of_the_driver(sockets):
    left, _right = sockets

    async def body():
        async with open_driver(Correspondent(), left):
            await asyncio.sleep(60)

    async def main():
        task = asyncio.create_task(body())
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
