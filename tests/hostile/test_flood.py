"""A flood at a training node: 100,000 forged first packets, as many random datagrams, as many mutated ones.

Beside the flood itself, in a network namespace (root or user namespaces; it fails without), what refusing one
datagram costs, measured against one call of the cipher. `make hostile` runs this.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import timeit
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from quinkgl.testing.endpoints import A, B, Dialogue, ScriptedPeer, drain, make_endpoint
from quinkgl.transport import EndpointConfig
from quinkgl.wire.frames import PING
from quinkgl.wire.limits import LIMITS

pytestmark = pytest.mark.hostile

_HERE = Path(__file__).parent
_NAMESPACE = _HERE.parent / "netns" / "in_own_namespace.py"

EACH = 100_000
ROUNDS = 400
LIMIT_S = 200.0
GROWTH_LIMIT_BYTES = 5_000_000


def test_a_flood_from_many_addresses_neither_stops_the_training_nor_hits_others():
    seed = random.SystemRandom().getrandbits(32)
    command = [sys.executable, str(_NAMESPACE), "--timeout", str(LIMIT_S), "--", sys.executable]
    arguments = ["--each", EACH, "--rounds", ROUNDS, "--seed", seed, "--limit", 0.9 * LIMIT_S]
    print("to repeat:", *command[1:], "tests/hostile/flood.py", *arguments)
    process = subprocess.run(
        [*command, str(_HERE / "flood.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=2 * LIMIT_S,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    outcome = json.loads(process.stdout)
    assert outcome["returncode"] == 0, outcome["stderr"]
    report = json.loads(outcome["stdout"])
    print(f"sent {report['sent']} from {report['addresses']} addresses in {report['seconds']:.1f} s")
    print(f"the node used {report['node_cpu_s']:.1f} s of CPU for it and for {report['rounds']} rounds")
    print(f"dropped {report['dropped']}; {report['lost_in_kernel']} lost in the kernel")
    print(f"answers {report['answers']}, largest {report['largest']} bytes")
    print(f"bytes: {report['bytes_sent']} sent, {report['bytes_received']} received; at most", end=" ")
    print(f"{report['worst_ratio']:.2f} times what an address sent")
    memory = report["memory"]
    print(f"memory {memory['at_20_percent'] / 1e6:.1f} MB at 20 %, growth {memory['growth'] / 1e6:.2f} MB")
    print(f"{report['updates']} updates, accuracy {report['accuracy']:.4f}")
    print(f"one more peer joined after {report['joined_after_s']:.2f} s")

    # Honest peers keep training, and others can still join.
    assert "Traceback" not in report["error"]
    assert report["returncode"] == 0
    assert report["rounds"] == ROUNDS
    assert report["breaks"] == []
    assert report["updates"] >= ROUNDS
    assert report["accuracy"] >= 0.9
    assert report["joined_after_s"] <= 10.0
    assert report["late_rounds"] > 0

    # All of it reached the node, and its memory stays where it was.
    assert report["sent"] == {"init": EACH, "random": EACH, "mutated": EACH}
    assert report["lost_in_kernel"] <= 0.05 * 3 * EACH
    assert memory["growth"] < GROWTH_LIMIT_BYTES

    # Nobody is hit by its answers: each address got less than three times what came from it, for the first
    # answer and for a cookie less than came.
    assert report["answers_lost_in_kernel"] <= 0.001 * EACH
    assert report["worst_ratio"] <= LIMITS.unvalidated_factor
    assert report["first_answers_too_large"] == 0
    assert report["largest"]["COOKIE"] < report["largest"]["RESP"] <= LIMITS.init_min_datagram_bytes
    assert report["answers"]["COOKIE"] > 0.5 * EACH
    assert report["bytes_received"] < 0.1 * report["bytes_sent"]


def cost_us(call, count=100):
    """The least time of one call, microseconds: short series, since other work comes between."""
    return min(timeit.repeat(call, number=count, repeat=200)) / count * 1e6


def test_the_cost_of_refusing_a_datagram():
    """Bounds are an order of magnitude above what is measured: this reports, and notices what went wrong."""
    key, nonce, body = bytes(range(32)), bytes(12), bytes(1168)
    sealed = AESGCM(key).encrypt(nonce, body, None)
    cipher = AESGCM(key)
    aead = cost_us(lambda: cipher.decrypt(nonce, sealed, None))
    print(f"one AEAD call on 1,168 bytes: {aead:.2f} us")

    quiet = make_endpoint(1)
    loaded = make_endpoint(1, config=EndpointConfig(init_rate_total_per_s=0))
    table = Dialogue()
    genuine = ScriptedPeer().init()
    damaged = bytearray(table.peer.bulk(1, 0, bytes(1150)))
    damaged[-1] ^= 1
    seen = table.peer.seal(PING)
    table.deliver(seen)
    cases = {
        "another protocol's": (quiet, b"\x00" * 1200, B, 12),
        "of an unknown session": (quiet, b"\x40" * 1200, B, 12),
        "INIT of another swarm": (quiet, ScriptedPeer().init(mac_key=bytes(32)), B, 30),
        "cut INIT": (quiet, genuine[:1100], B, 20),
        "another version": (quiet, genuine[:1] + b"\x0a" * 4 + genuine[5:], B, 30),
        "INIT under load": (loaded, genuine, A, 100),
        "of a session, wrong tag": (table.endpoint.machine, bytes(damaged), A, 100),
        "of a session, repeated": (table.endpoint.machine, seen, A, 60),
    }
    for name, (endpoint, datagram, source, bound) in cases.items():

        def refuse(endpoint=endpoint, datagram=datagram, source=source):
            endpoint.receive_datagram(datagram, source, now=1.0)
            endpoint.next_datagram(1.0)

        drain(endpoint, 1.0)
        cost = cost_us(refuse)
        print(f"{name:26s} {cost:6.2f} us = {cost / aead:5.1f} AEAD calls")
        assert cost <= bound * max(aead, 0.5), name
