"""Floods a training node from forged addresses and counts what each of them gets back; prints JSON.

To be run inside a network namespace (`in_own_namespace.py`): 10.0.0.0/8 becomes local there, so that one
socket can send from any of its addresses and sees every answer to any of them. The node and its honest peers
are `quinkgl-trio run` processes; a relay records what they say, and the flood is made of that: INITs that
were recorded come again from addresses that never sent them, with random and mutated datagrams between.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import socket
import struct
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from relay import Attacker, Relay
from test_hostile import PEERS, Peer, lost_in_kernel

KIND = ("init", "random", "mutated")
JOIN_AT = 0.4
"""How much of the flood is over when one more honest peer comes."""
BURST = 100
PAUSE_S = 0.002
_SIOCSIFADDR, _SIOCSIFNETMASK = 0x8916, 0x891C  # linux/sockios.h
_SO_RCVBUFFORCE, _IP_PKTINFO = 33, 8  # asm-generic/socket.h, linux/in.h
_PKTINFO = struct.Struct("=i4s4s")
_INIT, _COOKIE = 0xC0, 0xC3


def make_addresses_local():
    """Give the loopback interface 10.0.0.1/8: every address in it is this machine's then."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        for request, address in ((_SIOCSIFADDR, "10.0.0.1"), (_SIOCSIFNETMASK, "255.0.0.0")):
            packed = struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))
            fcntl.ioctl(handle, request, struct.pack("16s16s", b"lo:1", packed))


class ForgedSources:
    """One socket that sends from every address of 10.0.0.0/8, and the account of each address."""

    def __init__(self, node):
        self.node = node
        self.sent: Counter[bytes] = Counter()
        self.received: Counter[bytes] = Counter()
        self.answers: Counter[str] = Counter()
        self.largest = {"COOKIE": 0, "RESP": 0, "VERNEG": 0}
        self.first_answers_too_large = 0
        self._least: dict[bytes, int] = {}
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with contextlib.suppress(PermissionError):  # in a user namespace the ordinary limit has to do
            self._udp.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 24)
        self._udp.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        self._udp.bind(("0.0.0.0", 0))
        self._udp.settimeout(0.1)
        self.port = self._udp.getsockname()[1]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    def send(self, source, datagram):
        """Send the node a datagram from a forged address (4 bytes)."""
        self.sent[source] += len(datagram)
        self._least[source] = min(self._least.get(source, 1 << 20), len(datagram))
        info = (socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO.pack(0, source, bytes(4)))
        self._udp.sendmsg([datagram], [info], 0, self.node)

    def close(self):
        time.sleep(0.5)
        self._stop.set()
        self._thread.join()
        self._udp.close()

    def _collect(self):
        names = {0xC1: "RESP", _COOKIE: "COOKIE", 0xC4: "VERNEG"}
        while not self._stop.is_set():
            try:
                datagram, ancillary, _, _ = self._udp.recvmsg(65_535, 64)
            except TimeoutError:
                continue
            _, _, address = _PKTINFO.unpack(ancillary[0][2])
            name = names.get(datagram[0], "other")
            self.answers[name] += 1
            if not self.received[address] and len(datagram) > self.sent[address]:
                self.first_answers_too_large += 1
            self.received[address] += len(datagram)
            if name in self.largest:
                self.largest[name] = max(self.largest[name], len(datagram))

    def report(self):
        """How much any address got for what it sent."""
        ratios = [size / max(1, self.sent[address]) for address, size in self.received.items()]
        return {
            "addresses": len(self.sent),
            "addresses_answered": len(self.received),
            "bytes_sent": sum(self.sent.values()),
            "bytes_received": sum(self.received.values()),
            "worst_ratio": max(ratios, default=0.0),
            "answers": dict(self.answers),
            "largest": self.largest,
            "first_answers_too_large": self.first_answers_too_large,
        }


class Flood(Attacker):
    """In turn a recorded INIT from a fresh address, a random datagram and a mutated one."""

    def __init__(self, relay, sources, *, each, seed):
        super().__init__(relay, lines=PEERS, seed=seed)
        self.each = each
        self.flood: Counter[str] = Counter()
        self._sources = sources

    @property
    def total(self):
        return sum(self.flood.values())

    def send_one(self):
        rng = self._rng
        kind = min(KIND, key=lambda each: self.flood[each])
        if kind == "init":
            datagram = rng.choice([each for each in self._relay.handshakes if each[0] == _INIT])
        elif kind == "random":
            datagram = self._random()
        else:
            datagram = self._mutated(rng.choice(self.KINDS))
        source = bytes([10]) + rng.randbytes(2) + bytes([rng.randrange(2, 255)])
        for _ in range(1 if rng.random() < 0.9 else rng.randrange(2, 5)):  # some of them insist
            if kind != "init" and rng.random() < 0.3:
                self._relay.inject(rng.randrange(self._lines), datagram)  # as if from an honest peer
            else:
                self._sources.send(source, datagram)
            self.flood[kind] += 1
            if self.flood[kind] >= self.each:
                break


def cpu_s(pid):
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(folder, *, each, rounds, seed, limit_s):
    with contextlib.ExitStack() as stack:
        node = Peer(1, folder, rounds=rounds)
        stack.callback(node.end)
        relay = stack.enter_context(Relay(node.address, PEERS))
        peers = []
        for number, (host, port) in enumerate(relay.doors, start=2):
            peers.append(Peer(number, folder, "--peer", f"{host}:{port}", rounds=2 * rounds))
            stack.callback(peers[-1].end)
        sources = ForgedSources(relay.node)
        flood = stack.enter_context(Flood(relay, sources, each=each, seed=seed))
        node.wait_for("round_completed")
        memory, lost, late, joined_after_s = [], 0, None, None
        start, cpu = time.monotonic(), cpu_s(node.process.pid)
        while node.process.poll() is None and not node.named("node.stopped"):
            if time.monotonic() - start > limit_s:
                sys.exit(f"flood: only {len(node.named('round_completed'))} rounds: {node.error}")
            progress = min(1.0, len(node.named("round_completed")) / (0.9 * rounds))
            for _ in range(BURST):
                if flood.total >= progress * each * len(KIND):
                    break
                flood.send_one()
            if late is None and flood.total >= JOIN_AT * each * len(KIND):
                host, port = relay.node
                late = Peer(PEERS + 1, folder, "--peer", f"{host}:{port}", rounds=2 * rounds)
                stack.callback(late.end)
                late.wait_for("node.started")
                began = time.monotonic()
            if late is not None and joined_after_s is None and late.named("peer_discovered"):
                joined_after_s = time.monotonic() - began
            with contextlib.suppress(OSError, AssertionError, IndexError):  # it has just ended
                if rss := node.rss_bytes:
                    memory.append((flood.total, rss))
                    lost = lost_in_kernel(relay.node[1])
                    seconds, used = time.monotonic() - start, cpu_s(node.process.pid) - cpu
            time.sleep(PAUSE_S)
        lost_answers = lost_in_kernel(sources.port)
        node.finish(20)
        sources.close()
        completed = node.named("round_completed")
        marks = [rss for total, rss in memory if total >= 0.2 * flood.total]
        return {
            "sent": dict(flood.flood),
            "seconds": seconds,
            "node_cpu_s": used,
            "returncode": node.process.returncode,
            "error": node.error,
            "rounds": len(completed),
            "updates": sum(each["updates"] for each in completed),
            "accuracy": completed[-1]["accuracy"],
            "breaks": [each for each in node.named("peer_disconnected") if each["code"] != "NO_ERROR"],
            "dropped": node.named("node.stopped")[-1]["dropped"],
            "lost_in_kernel": lost,
            "answers_lost_in_kernel": lost_answers,
            "joined_after_s": joined_after_s,
            "late_rounds": len(late.named("round_completed")) if late is not None else 0,
            "memory": {
                "at_20_percent": marks[0],
                "growth": marks[-1] - marks[0],
                "peak": max(marks) - marks[0],
            },
            **sources.report(),
        }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--each", type=int, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--limit", type=float, required=True)
    arguments = parser.parse_args()
    make_addresses_local()
    with tempfile.TemporaryDirectory() as folder:
        report = run(
            Path(folder),
            each=arguments.each,
            rounds=arguments.rounds,
            seed=arguments.seed,
            limit_s=arguments.limit,
        )
    print(json.dumps(report))


if __name__ == "__main__":
    main()
