"""One end of a single update, as a process of its own: a Swarm behind the UDP driver and nothing else.

    one_update_process.py receive                       prints where it listens, then what arrived
    one_update_process.py send HOST PORT SIZE SEED      sends SIZE bytes drawn from SEED

Both print JSON, one object a line. Sizes are bytes, times are seconds; CPU time is user and system time of
this process from the meeting to the end of the transfer.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import time

import trio

from quinkgl.crypto.identity import Identity
from quinkgl.crypto.keys import KeySource
from quinkgl.swarm import Capabilities, PeerConnected, Swarm, UpdateDelivered, UpdateReceived
from quinkgl.testing.swarms import small_manifest
from quinkgl_trio.driver import open_driver
from quinkgl_trio.sockets import bind_udp

PATIENCE_S = 60.0


def say(**values):
    print(json.dumps(values), flush=True)


def cpu_seconds():
    times = os.times()
    return times.user + times.system


def make_swarm(address):
    manifest = small_manifest("one-update")
    return Swarm(
        manifest=manifest,
        identity=Identity.generate(KeySource.system()),
        capabilities=Capabilities(
            manifest.model.arch_hash, manifest.task.input_shape, manifest.task.output_shape
        ),
        addresses=(address,),
        now=trio.current_time(),
        unix_now=time.time(),
    )


async def wait_for(driver, kind):
    while not isinstance(event := await driver.next_event(), kind):
        print(event, file=sys.stderr)
    return event


def measure(start, cpu, stats):
    return {
        "seconds": trio.current_time() - start,
        "cpu_seconds": cpu_seconds() - cpu,
        "datagrams_sent": stats.datagrams_sent,
        "datagrams_received": stats.datagrams_received,
        "packets_lost": stats.packets_lost,
        "dropped": stats.dropped,
    }


async def receive(driver, swarm):
    say(host=driver.address[0], port=driver.address[1])
    await wait_for(driver, PeerConnected)
    start, cpu = trio.current_time(), cpu_seconds()
    update = await wait_for(driver, UpdateReceived)
    figures = measure(start, cpu, swarm.stats)
    say(size=len(update.body), sha256=hashlib.sha256(update.body).hexdigest(), **figures)
    await trio.sleep(0.5)  # the sender must still hear that it is done


async def send(driver, swarm, host, port, size, seed):
    body = random.Random(seed).randbytes(size)
    driver.call(lambda now: swarm.connect((host, port), now=now))
    peer = (await wait_for(driver, PeerConnected)).peer
    start, cpu = trio.current_time(), cpu_seconds()
    driver.call(lambda now: swarm.publish_update(body, round=1, sample_count=1, targets=[peer], now=now))
    await wait_for(driver, UpdateDelivered)
    say(size=size, sha256=hashlib.sha256(body).hexdigest(), **measure(start, cpu, swarm.stats))


async def main(role, arguments):
    with bind_udp(("127.0.0.1", 0)) as bound, trio.fail_after(PATIENCE_S):
        swarm = make_swarm(bound.address)
        async with open_driver(swarm, bound) as driver:
            if role == "receive":
                await receive(driver, swarm)
            else:
                host, port, size, seed = arguments
                await send(driver, swarm, host, int(port), int(size), int(seed))


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2:])
