"""CPU time of a whole connect over loopback sockets, both sides in one process: open, handshake, close.

This is what an application pays, through the stack's own driver. A node of ours has one socket for all its
sessions; aioquic makes one for each connection that it opens.
"""

from __future__ import annotations

import asyncio
import random
import time
from statistics import median
from typing import Any

import trio
from aioquic.asyncio import connect, serve

from benchmarks.carriers.quic import configuration
from quinkgl.crypto.identity import Identity
from quinkgl.crypto.keys import KeySource
from quinkgl.crypto.psk import derive_member_keys
from quinkgl.transport import (
    ConnectionEstablished,
    ConnectionLost,
    Endpoint,
    EndpointConfig,
    EndpointEvent,
    PostQuantum,
)
from quinkgl.wire.errors import ErrorCode
from quinkgl_trio.driver import UdpDriver, open_driver
from quinkgl_trio.sockets import bind_udp

_LOOPBACK = ("127.0.0.1", 0)
_WARM_UP = 3


def ours(repeats: int, post_quantum: PostQuantum = PostQuantum.NO) -> float:
    """Return CPU seconds of one of ours, over the Trio driver."""
    return trio.run(_ours, repeats, EndpointConfig(post_quantum=post_quantum))


def aioquic(repeats: int) -> float:
    """Return CPU seconds of one of aioquic's, over its asyncio driver."""
    return asyncio.run(_aioquic(repeats))


async def _ours(repeats: int, config: EndpointConfig) -> float:
    keys = derive_member_keys(b"the swarm of the benchmarks")
    bounds = [bind_udp(_LOOPBACK) for _ in range(2)]
    client, server = (
        Endpoint(
            identity=Identity.generate(KeySource.system()),
            keys=keys,
            rng=random.SystemRandom(),
            now=trio.current_time(),
            config=config,
        )
        for _ in bounds
    )
    times = []
    async with open_driver(server, bounds[1]) as far, open_driver(client, bounds[0]) as near:
        for _ in range(repeats + _WARM_UP):
            start = time.process_time()
            near.call(lambda now: client.connect(bounds[1].address, now=now))
            peer = (await _wait_for(near, ConnectionEstablished)).peer
            await _wait_for(far, ConnectionEstablished)
            near.call(lambda now, peer=peer: client.disconnect(peer, ErrorCode.NO_ERROR, "", now=now))
            await _wait_for(far, ConnectionLost)
            times.append(time.process_time() - start)
            await trio.sleep(0.02)
    for bound in bounds:
        bound.socket.close()
    return median(times[_WARM_UP:])


async def _wait_for(driver: UdpDriver[EndpointEvent], kind: type[Any]) -> Any:
    while not isinstance(event := await driver.next_event(), kind):
        pass
    return event


async def _aioquic(repeats: int) -> float:
    server = await serve("127.0.0.1", 0, configuration=configuration(client=False, datagram=1200))
    port = server._transport.get_extra_info("sockname")[1]  # noqa: SLF001 - the library has no other way
    times = []
    for _ in range(repeats + _WARM_UP):
        start = time.process_time()
        async with connect("127.0.0.1", port, configuration=configuration(client=True, datagram=1200)):
            pass
        times.append(time.process_time() - start)
    server.close()
    return median(times[_WARM_UP:])
