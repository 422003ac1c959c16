"""Two endpoints in network namespaces of their own, joined by a virtual cable whose MTU this program sets.

    path_mtu.py

Nothing in here can reach this machine's network. The near end sends objects to the far end: over a cable of
1,500 bytes, after its MTU was lowered in the middle of a transfer, and over one that carries jumbo frames.
Prints one JSON object with the datagram sizes that each transfer ended with, and what the endpoint counted.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading

import trio
from two_namespaces import in_namespace, ip

from quinkgl.crypto.identity import Identity
from quinkgl.crypto.keys import KeySource
from quinkgl.crypto.psk import derive_member_keys
from quinkgl.transport import (
    ConnectionConfig,
    ConnectionEstablished,
    Endpoint,
    EndpointConfig,
    ObjectSent,
    OfferReceived,
    leaf_hashes,
    merkle_root,
)
from quinkgl_trio.driver import open_driver
from quinkgl_trio.sockets import bind_udp

_NEAR, _FAR = ("10.9.8.1", 7001), ("10.9.8.2", 7002)
_KEYS = derive_member_keys(b"the swarm of the path MTU test")
_BODY = random.Random(1).randbytes(4_000_000)


def endpoint():
    return Endpoint(
        identity=Identity.generate(KeySource.system()),
        keys=_KEYS,
        rng=random.SystemRandom(),
        now=trio.current_time(),
        config=EndpointConfig(connection=ConnectionConfig(mtu_discovery=True)),
    )


async def far():
    ip("addr", "add", f"{_FAR[0]}/24", "dev", "far")
    ip("link", "set", "far", "mtu", "9000", "up")
    machine = endpoint()
    with bind_udp(_FAR) as bound:
        async with open_driver(machine, bound) as driver:
            print("ready", flush=True)
            while True:
                event = await driver.next_event()
                if isinstance(event, OfferReceived):
                    driver.call(
                        lambda now, event=event: machine.accept_object(event.peer, event.transfer, now=now)
                    )


async def near():
    machine = endpoint()
    results = {}
    with bind_udp(_NEAR) as bound:
        async with open_driver(machine, bound) as driver:
            ip("link", "set", "near", "mtu", "1500")
            driver.call(lambda now: machine.connect(_FAR, now=now))
            while not isinstance(event := await driver.next_event(), ConnectionEstablished):
                pass
            peer = event.peer

            async def send(name, number, *, lower_to=None):
                # The MTU changes in the middle of a transfer that takes a good deal longer than `ip` does.
                body = number.to_bytes(4, "big") + _BODY * (1 if lower_to is None else 30)
                leaves = leaf_hashes(body)
                driver.call(
                    lambda now: machine.offer_object(
                        peer, merkle_root(leaves), b"".join(leaves), b"", memoryview(body), now=now
                    )
                )
                began = trio.current_time()
                if lower_to is not None:
                    await trio.sleep(0.02)
                    ip("link", "set", "near", "mtu", lower_to)
                with trio.fail_after(20):
                    while not isinstance(await driver.next_event(), ObjectSent):
                        pass
                results[name] = {
                    "datagram_bytes": machine.datagram_bytes_of(peer),
                    "seconds": round(trio.current_time() - began, 3),
                    "black_holes": machine.stats.mtu_black_holes,
                    "errors": dict(driver.stats.send_errors),
                }

            await send("1500", 0)
            await send("lowered to 1300", 1, lower_to="1300")
            driver.call(lambda now: machine.disconnect(peer, 0, "", now=now))
            ip("link", "set", "near", "mtu", "9000")
            await trio.sleep(0.5)
            driver.call(lambda now: machine.connect(_FAR, now=now))
            while not isinstance(await driver.next_event(), ConnectionEstablished):
                pass
            await send("9000", 2)
    return {"probes": bound.probes_path_mtu, **results}


def main():
    with subprocess.Popen(
        in_namespace("far", __file__), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        try:
            inside = process.stdout.readline().split()
            assert inside[0] == "namespace", inside
            ip("link", "add", "near", "type", "veth", "peer", "name", "far", "netns", inside[1])
            ip("addr", "add", f"{_NEAR[0]}/24", "dev", "near")
            ip("link", "set", "near", "up")
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "ready\n"
            print(json.dumps(trio.run(near)))
        finally:
            watchdog.cancel()
            process.kill()


if __name__ == "__main__":
    if len(sys.argv) == 1:
        command = in_namespace("near", __file__)
        os.execv(command[0], command)
    if sys.argv[1] == "far":
        print("namespace", os.getpid(), flush=True)
        sys.stdin.readline()
        trio.run(far)
    else:
        main()
