"""How fast an object crosses a known link, in virtual time, against what the link and theory allow."""

from __future__ import annotations

import math
import random

import pytest

from quinkgl.testing.endpoints import A, B, Pair, events_of, make_endpoint, make_identity
from quinkgl.testing.network import Link
from quinkgl.transport import (
    ConnectionEstablished,
    ObjectArrived,
    ObjectSent,
    OfferReceived,
    leaf_hashes,
    merkle_root,
)
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.packets import BULK_OVERHEAD_BYTES

RATE = 1.25e6
"""10 Mbit/s, in bytes a second."""
MTU_BYTES = 1452
"""What Ethernet carries of UDP over IPv6."""
DELAY_S = 0.03
"""There and back in the shorter of two cases, one way in the longer."""
C = ("192.0.2.3", 4003)
CHUNK_BYTES = LIMITS.init_min_datagram_bytes - BULK_OVERHEAD_BYTES


class Sending:
    """A node that offers one object on its session with B."""

    def __init__(self, pair: Pair, node, size: int) -> None:
        self.pair, self.node = pair, node
        self.body = random.Random(size).randbytes(size)
        self.started_at = math.inf
        node.on_event = self.drive

    def drive(self, event) -> None:
        if isinstance(event, ConnectionEstablished):
            leaves = leaf_hashes(self.body)
            self.started_at = self.pair.now
            self.node.machine.offer_object(
                event.peer,
                merkle_root(leaves),
                b"".join(leaves),
                b"",
                memoryview(self.body),
                now=self.pair.now,
            )

    @property
    def is_done(self) -> bool:
        return bool(events_of(self.node, ObjectSent))


def accept_all(pair: Pair) -> None:
    def drive(event) -> None:
        if isinstance(event, OfferReceived):
            assert pair.b.machine.accept_object(event.peer, event.transfer, now=pair.now)

    pair.b.on_event = drive


def goodput(link: Link, size: int, *, seed: int = 0) -> float:
    """Bytes of the object a second, from the session's begin to the last acknowledgement."""
    pair = Pair(seed, link)
    accept_all(pair)
    sending = Sending(pair, pair.a, size)
    pair.a.machine.connect(B, now=0.0)
    assert pair.run(lambda: sending.is_done, limit_s=1000.0)
    assert [len(event.body) for event in events_of(pair.b, ObjectArrived)] == [size]
    return size / (pair.now - sending.started_at)


@pytest.mark.parametrize("delay_s", [DELAY_S / 2, DELAY_S])
@pytest.mark.parametrize("queue_round_trips", [1.0, 4.0])
def test_an_object_fills_an_ideal_link(delay_s, queue_round_trips):
    """The headers alone cost 4 %; the rest is the start, and how the window breathes."""
    queue = int(queue_round_trips * 2 * delay_s * RATE)
    reached = goodput(Link(delay_s=delay_s, rate=RATE, queue_bytes=queue, mtu=MTU_BYTES), 8_000_000) / RATE
    print(f"{reached:.1%} of 10 Mbit/s, {delay_s * 1000:.0f} ms one way, {queue} bytes of queue")
    assert reached >= 0.9


@pytest.mark.parametrize("seed", range(2))
def test_two_flows_share_a_link(seed):
    link = Link(
        delay_s=DELAY_S / 2, rate=RATE, queue_bytes=int(DELAY_S * RATE), shared="bottleneck", mtu=MTU_BYTES
    )
    pair = Pair(seed)
    accept_all(pair)
    other = pair.add(C, make_endpoint(900 + seed))
    flows = [Sending(pair, pair.a, 20_000_000), Sending(pair, other, 20_000_001)]
    for flow in flows:
        pair.network.set_link(flow.node.address, B, link)
        pair.network.set_link(B, flow.node.address, Link(delay_s=DELAY_S / 2))
    received = dict.fromkeys((A, C), 0)

    def count(_now, source, destination, data):
        if destination == B:
            received[source] += len(data)

    flows[0].node.machine.connect(B, now=0.0)
    flows[1].node.machine.connect(B, now=0.0)
    pair.run(limit_s=5.0)  # until both are past their slow start
    pair.network.tap = count
    pair.run(limit_s=14.0)
    assert not any(flow.is_done for flow in flows)
    share = received[A] / sum(received.values())
    print(f"seed {seed}: {share:.1%} and {1 - share:.1%}")
    assert make_identity(900 + seed).peer_id in pair.b.machine.peers()
    assert 0.4 <= share <= 0.6


def test_a_lossy_link_gives_what_newreno_allows():
    """Mathis, Semke, Mahdavi and Ott, "The macroscopic behavior of the TCP congestion avoidance algorithm",
    CCR 1997: MSS / RTT · √(3/2) / √p for a window that grows by a packet a round trip and halves at a loss.
    """
    loss, seeds, size = 0.01, 3, 4_000_000
    link = Link(delay_s=DELAY_S, loss=loss, mtu=LIMITS.init_min_datagram_bytes)
    # The loss is of both directions; a lost ACK costs nothing, so p is that of one.
    allowed = CHUNK_BYTES / (2 * DELAY_S) * math.sqrt(1.5 / loss)
    reached = sum(goodput(link, size, seed=seed) for seed in range(seeds)) / seeds
    print(f"{reached / 1000:.0f} kB/s, {reached / allowed:.0%} of {allowed / 1000:.0f} kB/s")
    assert reached >= 0.8 * allowed
