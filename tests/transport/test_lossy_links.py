"""Two hundred bad links: each object arrives whole in a stated time; strangers get three times their bytes.

Each seed is one link (loss, reordering, duplication, corruption, delay, rate) and one object of at least
256 kB. Its whole life is checked: the machine contract on every call, the bytes that leave for an address
that has not proved itself on every datagram, and that nothing is left behind after the end.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import pytest

from quinkgl.testing.endpoints import A, B, Pair, ScriptedPeer, events_of, make_endpoint
from quinkgl.testing.network import Link, VirtualNetwork
from quinkgl.transport import (
    ConnectFailed,
    ConnectionEstablished,
    ConnectionLost,
    EndpointConfig,
    ObjectArrived,
    ObjectSent,
    OfferReceived,
    leaf_hashes,
    merkle_root,
)
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.packets import BULK_OVERHEAD_BYTES

SEEDS = 200
RECORD = bytes(LIMITS.record_bytes)
"""With a record of the largest size the answer to an INIT is as large as it can be."""


@dataclass(frozen=True)
class Conditions:
    """One link and the object that crosses it."""

    link: Link
    size: int

    @classmethod
    def of(cls, seed: int) -> Conditions:
        rng = random.Random(f"conditions {seed}")
        delay_s = rng.choice([0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5])
        link = Link(
            delay_s=delay_s,
            jitter_s=delay_s * rng.choice([0.0, 0.0, 0.1, 0.5, 1.0]),
            loss=rng.choice([0.0, 0.001, 0.01, 0.03, 0.05, 0.1, 0.2]),
            duplicate=rng.choice([0.0, 0.0, 0.01, 0.1]),
            corrupt=rng.choice([0.0, 0.0, 0.01, 0.05]),
            rate=rng.choice([None, None, 1.25e6]),
        )
        return cls(link, 256 * 1024 + rng.randrange(60_000))

    @property
    def limit_s(self) -> float:
        """The virtual time within which the object must be there and acknowledged.

        A loss-based sender needs, for each packet, the time of Padhye, Firoiu, Towsley and Kurose ("Modeling
        TCP throughput", SIGCOMM 1998, equation 30) for loss p, round trip R, time-out T and b = 2 packets an
        ACK:

            R·√(2bp/3) + T·min(1, 3·√(3bp/8))·p·(1 + 32p²)

        A packet that is corrupted or overtaken by three others counts as lost, so p is at least 5 % where
        jitter reorders. T is the probe time-out of a path whose round trip varies by the jitter. Two and a
        half times the mean, since one object is a short sample of a long average; 40 s for a handshake that
        repeats its INIT to the last try and starts once more, which 20 % of loss both ways makes likely among
        200 seeds; ten round trips for the handshake itself and slow start.
        """
        link = self.link
        lost = 1 - (1 - link.loss) * (1 - link.corrupt)
        lost = max(lost, 0.05 if link.jitter_s else 1e-4)
        round_trip = 2 * link.delay_s + link.jitter_s
        time_out = 2 * round_trip + 4 * link.jitter_s + 2 * LIMITS.max_ack_delay_s
        packets = self.size / (LIMITS.init_min_datagram_bytes - BULK_OVERHEAD_BYTES)
        acked = 2
        waits = min(1.0, 3 * math.sqrt(3 * acked * lost / 8)) * lost * (1 + 32 * lost**2)
        per_packet = round_trip * math.sqrt(2 * acked * lost / 3) + time_out * waits
        line = 0.0 if link.rate is None else self.size / link.rate
        return 40.0 + line + 10 * round_trip + 2.5 * packets * per_packet


class Guard:
    """Watches every datagram: an address that has not proved itself gets three times its bytes at most.

    An address that a node itself opens to is the node's own choice: :attr:`chosen` names these.
    """

    def __init__(self, network: VirtualNetwork) -> None:
        self.network = network
        self.chosen: set = set()
        self.seen = 0
        network.tap = self.check

    def check(self, _now, source, destination, _data) -> None:
        node = self.network.nodes.get(source)
        if node is None or (source, destination) in self.chosen:
            return
        self.seen += 1
        sent = node.sent_to.get(destination, 0)
        if sent > LIMITS.unvalidated_factor * node.received_from.get(destination, 0):
            proved = any(event.address == destination for event in events_of(node, ConnectionEstablished))
            assert proved, (
                f"{sent} bytes to {destination}, which sent {node.received_from.get(destination, 0)}"
            )


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_object_arrives_in_time(seed):
    conditions = Conditions.of(seed)
    print(f"pytest 'tests/transport/test_lossy_links.py::test_every_object_arrives_in_time[{seed}]'")
    print(conditions, f"limit {conditions.limit_s:.1f} s")
    pair = Pair(seed, conditions.link)
    guard = Guard(pair.network)
    guard.chosen.add((A, B))
    body = random.Random(seed).randbytes(conditions.size)
    leaves = leaf_hashes(body)
    root = merkle_root(leaves)
    pair.b.machine.set_record(RECORD)

    def drive_a(event) -> None:
        """Offer the object on each session; open another when an attempt or a session came to nothing."""
        if isinstance(event, ConnectionEstablished):
            pair.a.machine.offer_object(
                pair.id_b, root, b"".join(leaves), b"header", memoryview(body), now=pair.now
            )
        elif isinstance(event, (ConnectFailed, ConnectionLost)):
            pair.a.machine.connect(B, now=pair.now)

    def drive_b(event) -> None:
        if isinstance(event, OfferReceived):
            assert pair.b.machine.accept_object(event.peer, event.transfer, now=pair.now)

    pair.a.on_event, pair.b.on_event = drive_a, drive_b
    pair.a.machine.connect(B, now=0.0)
    assert pair.run(lambda: events_of(pair.a, ObjectSent), limit_s=conditions.limit_s)
    print(f"took {pair.now:.1f} s, {pair.now / conditions.limit_s:.0%} of the limit")
    arrived = events_of(pair.b, ObjectArrived)
    assert [bytes(event.body) for event in arrived] == [body] * len(arrived)
    assert arrived
    assert guard.seen
    pair.a.on_event = None
    pair.a.machine.close(now=pair.now)
    pair.b.machine.close(now=pair.now)
    ended = pair.now
    assert pair.run(lambda: pair.a.machine.drained and pair.b.machine.drained, limit_s=10.0)
    assert pair.now - ended <= LIMITS.close_timeout_s + 1e-6  # virtual time is a sum of floats
    assert (pair.a.machine.deadline(), pair.b.machine.deadline()) == (None, None)


@pytest.mark.parametrize("seed", range(20))
def test_handshakes_that_never_finish_get_three_times_their_bytes_at_most(seed):
    """INITs of members from many addresses, repeated, never followed up, and the largest answer there is."""
    print(f"pytest tests/transport/test_lossy_links.py -k 'never_finish and {seed}'")
    rng = random.Random(f"hostile {seed}")
    network = VirtualNetwork(seed, Link(delay_s=0.02, jitter_s=0.02, loss=0.1, duplicate=0.2))
    config = EndpointConfig(handshake_timeout_s=rng.choice([0.05, 0.2, 1.0]))
    endpoint = make_endpoint(1, config=config)
    endpoint.set_record(RECORD)
    node = network.add(B, endpoint)
    guard = Guard(network)
    sources = [(f"10.{rng.randrange(4)}.0.{host}", 4000 + host) for host in range(1, 20)]
    hostile = [ScriptedPeer(1000 * seed + index) for index in range(len(sources))]
    for _ in range(150):
        index = rng.randrange(len(sources))
        network.inject(sources[index], B, hostile[index].init())
        if rng.random() < 0.2:
            network.inject(sources[index], B, bytes([0xC2]) + rng.randbytes(rng.randrange(1200)))
        network.run(limit_s=rng.choice([0.0, 0.01, 0.2]))
    network.run(limit_s=60.0)
    assert guard.seen > 50
    assert node.events == []
    assert endpoint.deadline() is None
