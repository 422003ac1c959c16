"""A node that trains with two honest peers takes 20,000 hostile datagrams and does not mind.

Three `quinkgl-trio run` processes over real loopback sockets; the peers reach the node through a relay that
records what they say, so that the attack is made of their own live datagrams. `make hostile` runs this.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.hostile

RANDOM = 10_000
MUTATED = 10_000
ROUNDS = 120
PEERS = 2
LIMIT_S = 150.0
BURST = 20
PAUSE_S = 0.004
GROWTH_LIMIT_BYTES = 5_000_000


class Peer:
    """A `quinkgl-trio run --json` process; its events are collected as they come."""

    def __init__(self, number, folder, *arguments, rounds):
        self.events = []
        self._changed = threading.Condition()
        self._silent = False  # its standard output has ended
        self._error = (folder / f"peer-{number}.err").open("w+b")
        flags = [
            *("--data", "digits", "--shard", f"{number}/{PEERS + 1}", "--model", "softmax", "--seed", "5"),
            *("--peer-index", str(number), "--listen", "127.0.0.1:0", "--min-peers", str(PEERS)),
            *("--join-timeout", "60", "--min-collect", "0.1", "--max-collect", "2", "--offer-interval", "0"),
            *("--rounds", str(rounds), *arguments),
        ]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "quinkgl_trio", "run", "--json", *flags],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._error,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self._changed:
                self.events.append(json.loads(line))
                self._changed.notify_all()
        with self._changed:
            self._silent = True
            self._changed.notify_all()

    def wait_for(self, name, timeout_s=60.0):
        """The first event of that name."""
        with self._changed:
            found = self._changed.wait_for(lambda: self.named(name) or self._silent, timeout_s)
        assert found, f"no {name} within {timeout_s} s"
        assert self.named(name), f"ended without {name}: {self.error}"
        return self.named(name)[0]

    def named(self, name):
        return [event for event in self.events if event["event"] == name]

    @property
    def error(self):
        self._error.seek(0)
        return self._error.read().decode()

    @property
    def address(self):
        host, port = self.wait_for("node.started")["address"].rsplit(":", 1)
        return host, int(port)

    @property
    def rss_bytes(self):
        pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGESIZE")

    def finish(self, timeout_s):
        """Wait until it has ended by itself and all that it said is here."""
        self.process.wait(timeout_s)
        self._reader.join(timeout_s)

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        self.process.stdout.close()
        self._error.close()


def lost_in_kernel(port):
    """Datagrams that the kernel dropped for want of room in the buffer of the socket on ``port``."""
    for line in Path("/proc/net/udp").read_text(encoding="ascii").splitlines()[1:]:
        columns = line.split()
        if int(columns[1].split(":")[1], 16) == port:
            return int(columns[-1])
    raise AssertionError(f"nothing is bound to port {port}")


class Run:
    """What one run of the three came to."""

    def __init__(self, node):
        rounds = node.named("round_completed")
        self.error = node.error
        self.rounds = len(rounds)
        self.accuracy = rounds[-1]["accuracy"]
        self.updates = sum(each["updates"] for each in rounds)
        self.stopped = node.named("node.stopped")[-1]
        self.dropped = self.stopped["dropped"]
        self.breaks = [each for each in node.named("peer_disconnected") if each["code"] != "NO_ERROR"]
        self.memory = []
        self.lost = 0


def train(relay_module, folder, attack_seed=None):
    """Train, under attack if there is a seed for one; returns the run and the attacker."""
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        node = Peer(1, folder, rounds=ROUNDS)
        stack.callback(node.end)
        relay = stack.enter_context(relay_module.Relay(node.address, PEERS))
        for number, (host, port) in enumerate(relay.doors, start=2):
            # More rounds than the node's, so that it never trains alone at its end.
            peer = Peer(number, folder, "--peer", f"{host}:{port}", rounds=ROUNDS + ROUNDS // 2)
            stack.callback(peer.end)
        attacker = stack.enter_context(relay_module.Attacker(relay, lines=PEERS, seed=attack_seed))
        memory, lost = [], 0
        node.wait_for("round_completed")
        deadline = time.monotonic() + LIMIT_S
        while node.process.poll() is None and not node.named("node.stopped"):
            assert time.monotonic() < deadline, (
                f"only {len(node.named('round_completed'))} rounds: {node.error}"
            )
            # The attack keeps pace with the training and is over a little before it.
            progress = len(node.named("round_completed")) / (0.9 * ROUNDS)
            for _ in range(BURST):
                if attack_seed is None or attacker.total >= min(1, progress) * (RANDOM + MUTATED):
                    break
                attacker.send_one()
            if (rss := node.rss_bytes) and not node.named("node.stopped"):  # 0: it has just ended
                memory.append((attacker.total, rss))
                with contextlib.suppress(AssertionError):  # the socket is closed by now
                    lost = lost_in_kernel(relay.node[1])
            time.sleep(PAUSE_S)
        node.finish(15)
        assert node.process.returncode == 0, node.error
        run = Run(node)
        run.memory, run.lost = memory, lost
        return run, attacker


def test_hostile_datagrams_change_neither_the_training_nor_the_memory(relay_module, tmp_path):
    seed = random.SystemRandom().getrandbits(32)
    print(f"attack seed {seed}")
    calm, _ = train(relay_module, tmp_path / "calm")
    attacked, attacker = train(relay_module, tmp_path / "attacked", seed)
    print(f"sent {attacker.sent}, {attacker.answered_inits} of them whole INITs")
    print(
        f"dropped {attacked.dropped}; without the attack {calm.dropped}; {attacked.lost} lost in the kernel"
    )
    print(f"accuracy {attacked.accuracy:.4f}, without the attack {calm.accuracy:.4f}")
    print(f"updates taken {attacked.updates}, without the attack {calm.updates}")

    # No exception leaves the driver, and every round is done.
    for run in (calm, attacked):
        assert "Traceback" not in run.error
        assert run.rounds == ROUNDS
        assert run.breaks == []
    assert attacker.sent["random"] == RANDOM
    assert attacker.total == RANDOM + MUTATED

    # What the attack did not change.
    assert abs(attacked.accuracy - calm.accuracy) <= 0.03
    assert attacked.updates >= calm.updates // 2 > 0

    # Every hostile datagram that reached the node is in its counters, under a reason.
    harmless = attacker.answered_inits + attacked.lost
    assert attacked.lost <= 0.05 * attacker.total
    assert sum(attacked.dropped.values()) >= attacker.total - harmless
    assert {"foreign", "tag", "replay", "unknown_connection", "short_packet"} <= attacked.dropped.keys()
    assert {"E_MAC1", "E_PROTOCOL"} <= attacked.dropped.keys()

    # And its memory stays where it was.
    marks = [rss for total, rss in attacked.memory if total >= 0.2 * attacker.total]
    growth, peak = marks[-1] - marks[0], max(marks) - marks[0]
    print(
        f"memory {marks[0] / 1e6:.1f} MB at 20 %, growth {growth / 1e6:.2f} MB, highest {peak / 1e6:.2f} MB"
    )
    assert growth < GROWTH_LIMIT_BYTES
