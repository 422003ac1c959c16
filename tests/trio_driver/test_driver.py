"""What the Trio driver has of its own, beyond the driver contract (test_contract.py), and its sockets."""

from __future__ import annotations

import socket

import pytest
import trio

from quinkgl.testing.drivers import Correspondent
from quinkgl_trio.driver import open_driver
from quinkgl_trio.sockets import adopt_udp, bind_udp


@pytest.fixture
def sockets():
    with bind_udp(("127.0.0.1", 0)) as left, bind_udp(("127.0.0.1", 0)) as right:
        yield left, right


async def test_an_exception_of_the_block_comes_out_outside_any_group(sockets):
    with pytest.raises(KeyError, match="as it is"):
        async with open_driver(Correspondent(), sockets[0]):
            raise KeyError("as it is")


async def test_taking_events_lets_other_tasks_run_and_can_be_cancelled(sockets):
    left, right = sockets
    async with open_driver(Correspondent(), left) as driver:
        for _ in range(200):
            right.socket.sendto(b"x", left.address)
        with trio.fail_after(60):
            while driver.stats.datagrams_received < 200:  # noqa: ASYNC110  the machine has no awaitable
                await trio.sleep(0.001)
        turns = 0

        async def count_turns():
            nonlocal turns
            while True:
                turns += 1
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(count_turns)
            for _ in range(199):
                await driver.next_event()
            assert turns > 1
            nursery.cancel_scope.cancel()
        with trio.CancelScope() as scope:
            scope.cancel()
            await driver.next_event()
        assert scope.cancelled_caught
        assert (await driver.next_event()).data == b"x"


def test_a_port_in_use_is_an_oserror():
    with bind_udp(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        bind_udp(taken.address)


def test_the_granted_buffers_are_what_the_kernel_says(sockets):
    granted = sockets[0].socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    assert sockets[0].receive_buffer_bytes in (granted, granted // 2)
    assert sockets[0].receive_buffer_bytes >= 64 * 1024


def test_an_adopted_socket_is_non_blocking_and_whole_datagrams_only():
    with adopt_udp(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as bound:
        assert not bound.socket.getblocking()
        with pytest.raises(BlockingIOError):
            bound.socket.recv(1)
