"""CPU time of a handshake, both sides together, without sockets: three sans-IO stacks in one process each.

What is counted begins when one side is told to connect, and ends when both say that the session is open. What
a process makes once is made before: certificates, contexts, identities, endpoints.
"""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Callable
from statistics import median
from typing import TypeVar

from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import HandshakeCompleted

from benchmarks.carriers import credentials
from benchmarks.carriers.quic import configuration
from quinkgl.crypto.identity import Identity
from quinkgl.crypto.keys import KeySource
from quinkgl.crypto.psk import derive_member_keys
from quinkgl.transport import Endpoint, EndpointConfig, PostQuantum
from quinkgl.wire.addresses import Address

T = TypeVar("T")

_A, _B = ("192.0.2.1", 4001), ("198.51.100.2", 4002)


def _cpu_of(prepare: Callable[[], T], handshake: Callable[[T], None], repeats: int) -> float:
    handshake(prepare())  # what is loaded and cached on first use is not part of a handshake
    times = []
    for _ in range(repeats):
        prepared = prepare()
        start = time.process_time()
        handshake(prepared)
        times.append(time.process_time() - start)
    return median(times)


def _nothing() -> None:
    """Return what a stack needs that has nothing to prepare."""


def ours(repeats: int, post_quantum: PostQuantum = PostQuantum.NO) -> float:
    """Return CPU seconds of one of ours.

    Where ``post_quantum`` is offered it goes on until the exchange of ML-KEM-768 has changed the keys of both
    directions, before which no application data moves. The other stacks do without.
    """
    config = EndpointConfig(post_quantum=post_quantum)
    keys = derive_member_keys(b"the swarm of the benchmarks")
    rng = random.SystemRandom()
    identities = [Identity.generate(KeySource.system()) for _ in range(2)]

    def prepare() -> dict[Address, Endpoint]:
        return {
            address: Endpoint(identity=identity, keys=keys, rng=rng, now=0.0, config=config)
            for address, identity in zip((_A, _B), identities, strict=True)
        }

    def handshake(ends: dict[Address, Endpoint]) -> None:
        now = 0.0
        ends[_A].connect(_B, now=now)
        busy = True
        whole = post_quantum is not PostQuantum.NO
        while busy and (whole or not all(end.peers() for end in ends.values())):
            busy = False
            for address, end in ends.items():
                while (transmit := end.next_datagram(now)) is not None:
                    busy = True
                    ends[transmit.destination].receive_datagram(bytes(transmit.data), address, now=now)
            now += 0.0001
        if not all(end.peers() for end in ends.values()):
            raise SystemExit("benchmarks: the handshake did not finish")

    return _cpu_of(prepare, handshake, repeats)


def aioquic(repeats: int) -> float:
    """Return CPU seconds of one of aioquic's."""
    server_configuration = configuration(client=False, datagram=1200)

    def handshake(_: None) -> None:
        client = QuicConnection(configuration=configuration(client=True, datagram=1200))
        server = QuicConnection(
            configuration=server_configuration,
            original_destination_connection_id=client.original_destination_connection_id,
        )
        done = set()
        client.connect(_B, now=0.0)
        now = 0.0
        for _ in range(20):
            for name, end, other, source in (("a", client, server, _A), ("b", server, client, _B)):
                for data, _ in end.datagrams_to_send(now=now):
                    other.receive_datagram(data, source, now=now)
                while (event := end.next_event()) is not None:
                    if isinstance(event, HandshakeCompleted):
                        done.add(name)
            now += 0.001
            if len(done) == 2:
                return
        raise SystemExit("benchmarks: aioquic's handshake did not finish")

    return _cpu_of(_nothing, handshake, repeats)


def tls(repeats: int) -> float:
    """Return CPU seconds of one of TLS 1.3 with an ECDSA certificate."""
    server_context, client_context = credentials.server_context(), credentials.client_context()

    def handshake(_: None) -> None:
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = server_context.wrap_bio(to_server, to_client, server_side=True)
        client = client_context.wrap_bio(to_client, to_server, server_hostname="localhost")
        left = [client, server]
        while left:
            for end in list(left):
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    continue
                left.remove(end)

    return _cpu_of(_nothing, handshake, repeats)
