"""The asyncio driver and the Trio driver speak the same datagrams: a whole update crosses, both ways."""

from __future__ import annotations

import asyncio
import hashlib
import random
import sys
import threading
import time

import pytest
import trio

from quinkgl.crypto.identity import Identity
from quinkgl.crypto.keys import KeySource
from quinkgl.swarm import Capabilities, PeerConnected, Swarm, UpdateDelivered, UpdateReceived
from quinkgl.testing.swarms import small_manifest
from quinkgl.udp import bind_udp
from quinkgl_ipv8 import DriverClosedError
from quinkgl_ipv8 import open_swarm as open_on_asyncio
from quinkgl_trio.driver import open_swarm as open_on_trio

_SIZE = 3_000_000
_LIMIT_S = 60.0


def make_swarm(address, now):
    manifest = small_manifest("meeting")
    return Swarm(
        manifest=manifest,
        identity=Identity.generate(KeySource.system()),
        capabilities=Capabilities(
            manifest.model.arch_hash, manifest.task.input_shape, manifest.task.output_shape
        ),
        addresses=(address,),
        now=now,
        unix_now=time.time(),
    )


async def play(driver, swarm, call_peer, body, got):
    """Meet, send an update of one's own, and wait until it is delivered and the other's has come."""
    if call_peer is not None:
        driver.call(lambda now: swarm.connect(call_peer, now=now))
    delivered = False
    while not (delivered and got):
        match await driver.next_event():
            case PeerConnected(peer):
                targets = [peer]
                driver.call(
                    lambda now, to=targets: swarm.publish_update(
                        body, round=1, sample_count=1, targets=to, now=now
                    )
                )
            case UpdateReceived(_peer, _header, update):
                got.append(hashlib.sha256(update).digest())
            case UpdateDelivered():
                delivered = True


def on_asyncio(bound, call_peer, body, got):
    async def main():
        swarm = make_swarm(bound.address, asyncio.get_running_loop().time())
        async with asyncio.timeout(_LIMIT_S), open_on_asyncio(swarm, bound) as driver:
            await play(driver, swarm, call_peer, body, got)
            await asyncio.sleep(0.3)  # the other must still hear that its update arrived

    asyncio.run(main())


def on_trio(bound, call_peer, body, got):
    async def main():
        swarm = make_swarm(bound.address, trio.current_time())
        with trio.fail_after(_LIMIT_S):
            async with open_on_trio(swarm, bound) as driver:
                await play(driver, swarm, call_peer, body, got)
                await trio.sleep(0.3)

    trio.run(main)


@pytest.mark.parametrize("caller", ["asyncio", "trio"])
def test_updates_cross_between_asyncio_and_trio_both_ways(caller):
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    bodies = rng.randbytes(_SIZE), rng.randbytes(_SIZE)
    got = [], []
    failures = []

    def beside():
        try:
            on_asyncio(sockets[0], sockets[1].address if caller == "asyncio" else None, bodies[0], got[0])
        except BaseException as error:  # noqa: BLE001  told by the thread that waits
            failures.append(error)

    with bind_udp(("127.0.0.1", 0)) as one, bind_udp(("127.0.0.1", 0)) as two:
        sockets = one, two
        thread = threading.Thread(target=beside)
        thread.start()
        try:
            on_trio(two, one.address if caller == "trio" else None, bodies[1], got[1])
        finally:
            thread.join()
    assert not failures
    assert got[0] == [hashlib.sha256(bodies[1]).digest()]
    assert got[1] == [hashlib.sha256(bodies[0]).digest()]


def test_the_package_needs_no_pyipv8():
    assert "ipv8" not in sys.modules
    assert issubclass(DriverClosedError, Exception)
