"""What a session costs while nothing happens: memory, timers and datagrams."""

from __future__ import annotations

import gc
import tracemalloc

from quinkgl.testing.endpoints import A, B, Pair, ScriptedPeer, drain, make_endpoint
from quinkgl.testing.network import Link
from quinkgl.transport import EndpointConfig, PostQuantum
from quinkgl.wire.limits import LIMITS

_SESSIONS = 40
_BYTES = 40_000
_SECONDS = 600


def test_an_idle_session_takes_at_most_40_kilobytes():
    """Python's memory for one more session at an endpoint, averaged over many."""
    endpoint = make_endpoint(1)
    peers = [ScriptedPeer(1000 + number, address=(f"10.0.{number}.1", 4000)) for number in range(_SESSIONS)]
    datagrams = []
    for peer in peers:
        endpoint.receive_datagram(peer.init(), peer.address, now=0.0)
        _, answers = drain(endpoint, 0.0)
        fin = peer.finish(bytes(answers[-1].data))
        datagrams.append((fin, peer.seal(peer.acknowledge(0)), peer.address))
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for fin, ack, address in datagrams:
        for datagram in (fin, ack):
            endpoint.receive_datagram(datagram, address, now=0.1)
            drain(endpoint, 0.1)
    gc.collect()
    growth = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert len(endpoint.peers()) == _SESSIONS
    assert growth / _SESSIONS <= _BYTES, f"{growth / _SESSIONS:.0f} bytes a session"


def test_an_idle_session_wakes_nobody_more_often_than_its_keepalives_need():
    """A keepalive each way, its acknowledgement, and one change of keys in ten minutes."""
    pair = Pair(1, Link(delay_s=0.02))
    pair.connect()
    pair.run(limit_s=5.0)
    woken = 0
    machine = pair.a.machine
    handle = machine.machine.handle_timer

    def count(*, now: float) -> None:
        nonlocal woken
        woken += 1
        handle(now=now)

    machine.machine.handle_timer = count
    before = machine.stats.datagrams_sent
    pair.run(limit_s=_SECONDS)
    assert pair.is_open
    keepalives = _SECONDS / LIMITS.keepalive_s
    assert woken <= 3 * keepalives + 4
    assert machine.stats.datagrams_sent - before <= 2 * keepalives + 4


def test_a_new_session_waits_its_time_before_the_first_keepalive():
    """Right after message 3 nothing is due; what comes next is to send it again."""
    config = EndpointConfig(post_quantum=PostQuantum.NO)  # which has no message waiting
    initiator, responder = (make_endpoint(seed, config=config) for seed in (1, 2))
    initiator.connect(B, now=0.0)
    for source, target, address in ((initiator, responder, A), (responder, initiator, B)):
        for transmit in drain(source, 0.0)[1]:
            target.receive_datagram(transmit.data, address, now=0.0)
    assert initiator.peers()
    drain(initiator, 0.0)
    assert initiator.deadline() > 0.0
    assert initiator.deadline_reason == "finish"
