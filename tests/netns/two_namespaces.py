"""Two drivers in network namespaces of their own, joined by a virtual cable whose MTU this program sets.

    two_namespaces.py

Nothing in here can reach this machine's network. The near end sends runs to the far end: at the cable's MTU
of 1,500 bytes, above it, after the MTU was lowered, and with the cable's checksum offload switched off, which
makes some kernels refuse runs. Prints one JSON object with what was sent, what came and how.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading

import trio

from quinkgl.testing.drivers import Correspondent
from quinkgl_trio.driver import open_driver
from quinkgl_trio.sockets import bind_udp

_NEAR, _FAR = ("10.9.8.1", 7001), ("10.9.8.2", 7002)
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
_SIOCETHTOOL, _ETHTOOL_STXCSUM = 0x8946, 0x17  # linux/sockios.h, linux/ethtool.h
_RUN_PACKETS = 40


def program(name):
    found = shutil.which(name, path=_PATH)
    if found is None:
        sys.exit(f"two_namespaces: needs {name}")
    return found


def in_namespace(role, script=__file__):
    flags = ["--net"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--net"]
    return [program("unshare"), *flags, "--", sys.executable, script, role]


def ip(*arguments):
    subprocess.run([program("ip"), *arguments], check=True)


def switch_checksums_off(interface):
    """As `ethtool -K INTERFACE tx off`."""
    value = ctypes.create_string_buffer(struct.pack("@II", _ETHTOOL_STXCSUM, 0))
    request = struct.pack("@16sP16x", interface.encode(), ctypes.addressof(value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        fcntl.ioctl(handle, _SIOCETHTOOL, request)


async def far():
    """Count what comes, and tell after each line of the near end what it was."""
    ip("addr", "add", f"{_FAR[0]}/24", "dev", "far")
    ip("link", "set", "far", "up")
    with bind_udp(_FAR) as bound:
        async with open_driver(Correspondent(), bound) as driver:
            print("ready", flush=True)
            while await trio.to_thread.run_sync(sys.stdin.readline):
                events = []
                with trio.move_on_after(0.5):
                    while len(events) < 3 * _RUN_PACKETS:
                        events.append(await driver.next_event())
                told = {
                    "sizes": sorted({len(event.data) for event in events}),
                    "datagrams": len(events),
                    "in_order": [event.data[:1] for event in events]
                    == [bytes([number]) for number in range(_RUN_PACKETS)] * (len(events) // _RUN_PACKETS),
                    "together": max((event.together for event in events), default=0),
                }
                print(json.dumps(told), flush=True)


async def near(far_process):
    machine = Correspondent()
    results = {}

    async def step(name, size):
        run = b"".join(bytes([number]) * size for number in range(_RUN_PACKETS))
        for _ in range(3):
            driver.call(lambda _now: machine.write(run, _FAR, size))
        far_process.stdin.write("\n")
        far_process.stdin.flush()
        told = json.loads(await trio.to_thread.run_sync(far_process.stdout.readline))
        results[name] = {
            **told,
            "offload": driver.offload,
            "lost": dict(driver.stats.send_errors),
            "refused": dict(driver.stats.offload_refusals),
        }

    with bind_udp(_NEAR) as bound:
        async with open_driver(machine, bound) as driver:
            await step("at the MTU", 1472)
            await step("above the MTU", 1473)
            await step("small again", 1200)
            ip("link", "set", "near", "mtu", "1400")
            await step("above the lowered MTU", 1452)
            await step("at the lowered MTU", 1372)
            switch_checksums_off("near")
            await step("without checksum offload", 1200)
    return results


def main():
    with subprocess.Popen(
        in_namespace("far"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        watchdog = threading.Timer(40, process.kill)
        watchdog.start()
        try:
            # The child waits for its end of the cable, which can be put there once its namespace exists.
            inside = process.stdout.readline().split()
            assert inside[0] == "namespace", inside
            ip("link", "add", "near", "type", "veth", "peer", "name", "far", "netns", inside[1])
            ip("addr", "add", f"{_NEAR[0]}/24", "dev", "near")
            ip("link", "set", "near", "up")
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "ready\n"
            print(json.dumps(trio.run(near, process)))
        finally:
            watchdog.cancel()
            process.kill()


if __name__ == "__main__":
    if len(sys.argv) == 1:
        command = in_namespace("near")
        os.execv(command[0], command)
    if sys.argv[1] == "far":
        print("namespace", os.getpid(), flush=True)
        sys.stdin.readline()
        trio.run(far)
    else:
        main()
