"""The whole protocol: a Swarm at each end behind the Trio driver, and an Endpoint for small messages."""

from __future__ import annotations

import random
import time
from statistics import median
from typing import Any

import trio

from benchmarks.worker import WARM_UP_BYTES, Clock, payload, say
from quinkgl.crypto.identity import Identity
from quinkgl.crypto.keys import KeySource
from quinkgl.crypto.psk import derive_member_keys
from quinkgl.swarm import (
    Capabilities,
    PeerConnected,
    PeerDisconnected,
    Swarm,
    SwarmConfig,
    UpdateDelivered,
    UpdateReceived,
)
from quinkgl.testing.swarms import small_manifest
from quinkgl.transport import (
    ConnectionConfig,
    ConnectionEstablished,
    Endpoint,
    EndpointConfig,
    MessageReceived,
    ObjectConfig,
)
from quinkgl.udp import Offload
from quinkgl.wire.control import Channel
from quinkgl_trio.driver import UdpDriver, open_driver
from quinkgl_trio.hashing import hash_off_loop
from quinkgl_trio.sockets import BoundSocket, bind_udp

_LOOPBACK = ("127.0.0.1", 0)
_KEYS = derive_member_keys(b"the swarm of the benchmarks")


def _endpoint_config(datagram: int, bound: BoundSocket) -> EndpointConfig:
    return EndpointConfig(
        connection=ConnectionConfig(datagram_bytes=datagram, max_datagram_bytes=datagram),
        objects=ObjectConfig(receive_buffer_bytes=bound.receive_buffer_bytes),
    )


def _swarm(name: str, bound: BoundSocket, datagram: int) -> Swarm:
    manifest = small_manifest(name)
    return Swarm(
        manifest=manifest,
        identity=Identity.generate(KeySource.system()),
        capabilities=Capabilities(
            manifest.model.arch_hash, manifest.task.input_shape, manifest.task.output_shape
        ),
        addresses=(bound.address,),
        config=SwarmConfig(endpoint=_endpoint_config(datagram, bound), offer_interval_s=0.0, target_peers=0),
        now=trio.current_time(),
        unix_now=time.time(),
    )


async def _wait_for(driver: UdpDriver[Any], kind: type[Any]) -> Any:
    while not isinstance(event := await driver.next_event(), kind):
        pass
    return event


def receive(
    clock: Clock, *, size: int, seed: int, datagram: int, offload: Offload, receivers: int = 1
) -> None:
    """Take a warm-up and then the bytes, at each of ``receivers`` members."""
    trio.run(_receive, clock, size, seed, datagram, offload, receivers)


def send(clock: Clock, *, port: list[int], size: int, seed: int, datagram: int, offload: Offload) -> None:
    """Publish a warm-up and then the bytes to every member that listens."""
    trio.run(_send, clock, port, size, seed, datagram, offload)


async def _receive(
    clock: Clock, size: int, seed: int, datagram: int, offload: Offload, receivers: int
) -> None:
    ports: list[int] = []
    warm: list[bool] = []
    whole: list[bool] = []

    async def member(*, task_status: trio.TaskStatus[None]) -> None:
        bound = bind_udp(_LOOPBACK)
        swarm = _swarm("bench", bound, datagram)
        async with open_driver(swarm, bound, offload=offload) as driver:
            ports.append(bound.address[1])
            task_status.started()
            await _wait_for(driver, UpdateReceived)
            warm.append(True)
            if len(warm) == receivers:
                clock.begin()
            update = await _wait_for(driver, UpdateReceived)
            clock.end()
            whole.append(update.body == payload(size, seed))
            with trio.move_on_after(1.0):
                await _wait_for(driver, PeerDisconnected)
        bound.socket.close()

    async with trio.open_nursery() as nursery:
        for _ in range(receivers):
            await nursery.start(member)
        say(port=ports)
    clock.more["whole"] = all(whole)


async def _send(
    clock: Clock, ports: list[int], size: int, seed: int, datagram: int, offload: Offload
) -> None:
    body = payload(size, seed)
    bound = bind_udp(_LOOPBACK)
    swarm = _swarm("bench", bound, datagram)
    async with open_driver(swarm, bound, offload=offload) as driver:
        for port in ports:
            driver.call(lambda now, port=port: swarm.connect(("127.0.0.1", port), now=now))
        for _ in ports:
            await _wait_for(driver, PeerConnected)
        targets = [view.peer for view in swarm.peers()]
        for round_number, data in ((1, bytes(WARM_UP_BYTES)), (2, body)):
            if round_number == 2:
                await trio.sleep(0.3)
                clock.begin()
            update = await hash_off_loop(data)
            driver.call(
                lambda now, update=update, round_number=round_number: swarm.publish_update(
                    update, round=round_number, sample_count=1, targets=targets, now=now
                )
            )
            for _ in ports:
                await _wait_for(driver, UpdateDelivered)
        clock.end()
        stats = swarm.stats
        clock.more.update(datagrams=stats.datagrams_sent, lost=stats.packets_lost)
    bound.socket.close()


def _endpoint() -> Endpoint:
    return Endpoint(
        identity=Identity.generate(KeySource.system()),
        keys=_KEYS,
        rng=random.SystemRandom(),
        now=trio.current_time(),
    )


def echo(clock: Clock, *, count: int, message: int) -> None:
    """Answer ``count`` messages."""
    del message
    trio.run(_echo, clock, count)


def ping(clock: Clock, *, port: int, count: int, message: int) -> None:
    """Time ``count`` round trips of ``message`` bytes."""
    trio.run(_ping, clock, port, count, message)


async def _echo(clock: Clock, count: int) -> None:
    bound = bind_udp(_LOOPBACK)
    endpoint = _endpoint()
    async with open_driver(endpoint, bound) as driver:
        say(port=bound.address[1])
        clock.begin()
        for _ in range(count):
            came = await _wait_for(driver, MessageReceived)
            driver.call(
                lambda now, came=came: endpoint.send_message(came.peer, came.channel, came.data, now=now)
            )
        clock.end()
        await trio.sleep(0.2)
    bound.socket.close()


async def _ping(clock: Clock, port: int, count: int, message: int) -> None:
    data = bytes(message)
    times = []
    bound = bind_udp(_LOOPBACK)
    endpoint = _endpoint()
    async with open_driver(endpoint, bound) as driver:
        driver.call(lambda now: endpoint.connect(("127.0.0.1", port), now=now))
        peer = (await _wait_for(driver, ConnectionEstablished)).peer
        clock.begin()
        for _ in range(count):
            start = time.perf_counter()
            driver.call(lambda now: endpoint.send_message(peer, Channel.GOSSIP, data, now=now))
            await _wait_for(driver, MessageReceived)
            times.append(time.perf_counter() - start)
        clock.end()
    bound.socket.close()
    clock.more["round_trip_s"] = median(times)
