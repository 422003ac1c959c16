"""CPU time of a handshake, both sides together, without sockets: three sans-IO stacks in one process each.

What is counted begins with an object for each side that knows its keys, and ends when both say that the
session is open. Certificates and identities are made before.
"""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Callable
from statistics import median

from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import HandshakeCompleted

from benchmarks.carriers import credentials
from benchmarks.carriers.quic import configuration
from quinkgl.crypto.identity import Identity
from quinkgl.crypto.keys import KeySource
from quinkgl.crypto.psk import derive_member_keys
from quinkgl.transport import Endpoint

_A, _B = ("192.0.2.1", 4001), ("198.51.100.2", 4002)


def _cpu_of(handshake: Callable[[], None], repeats: int) -> float:
    handshake()  # what is loaded and cached on first use is not part of a handshake
    times = []
    for _ in range(repeats):
        start = time.process_time()
        handshake()
        times.append(time.process_time() - start)
    return median(times)


def ours(repeats: int) -> float:
    """Return CPU seconds of one of ours, post-quantum exchange included where both sides offer it."""
    keys = derive_member_keys(b"the swarm of the benchmarks")
    rng = random.SystemRandom()
    identities = [Identity.generate(KeySource.system()) for _ in range(2)]

    def handshake() -> None:
        now = 0.0
        ends = {
            address: Endpoint(identity=identity, keys=keys, rng=rng, now=now)
            for address, identity in zip((_A, _B), identities, strict=True)
        }
        ends[_A].connect(_B, now=now)
        busy = True
        while busy:
            busy = False
            for address, end in ends.items():
                while (transmit := end.next_datagram(now)) is not None:
                    busy = True
                    ends[transmit.destination].receive_datagram(bytes(transmit.data), address, now=now)
            now += 0.0001
        if not all(end.peers() for end in ends.values()):
            raise SystemExit("benchmarks: the handshake did not finish")

    return _cpu_of(handshake, repeats)


def aioquic(repeats: int) -> float:
    """Return CPU seconds of one of aioquic's."""
    server_configuration = configuration(client=False, datagram=1200)

    def handshake() -> None:
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

    return _cpu_of(handshake, repeats)


def tls(repeats: int) -> float:
    """Return CPU seconds of one of TLS 1.3 with an ECDSA certificate."""
    server_context, client_context = credentials.server_context(), credentials.client_context()

    def handshake() -> None:
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

    return _cpu_of(handshake, repeats)
