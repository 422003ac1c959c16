"""The second implementation's own runner: two of its peers over blocking sockets."""

from __future__ import annotations

import hashlib
import threading
import time

from loopback import PATIENCE_S, ref_peer
from ref.udp import open_socket, run


def test_two_peers_over_blocking_sockets():
    data = hashlib.shake_256(b"object").digest(100_000)
    caller, called = ref_peer(), ref_peer()
    with open_socket() as calling, open_socket() as listening:
        address = listening.getsockname()
        over: list[bool] = []

        def serve() -> None:
            def until(peer) -> bool:
                for event in [event for event in peer.events if event[0] == "offer"]:
                    peer.events.remove(event)
                    peer.accept(event[1])
                return any(event[0] == "closed" for event in peer.events)

            over.append(run(called, listening, None, until, PATIENCE_S))

        server = threading.Thread(target=serve)
        server.start()
        caller.connect(time.monotonic())
        happened = lambda name: lambda peer: any(event[0] == name for event in peer.events)  # noqa: E731
        assert run(caller, calling, address, happened("agreed"), PATIENCE_S)
        caller.offer(data, b"a header that nobody judges")
        assert run(caller, calling, address, happened("delivered"), PATIENCE_S)
        caller.close()
        assert run(caller, calling, address, lambda peer: not server.is_alive(), PATIENCE_S)
        server.join()
    assert over == [True]
    assert [event[2] for event in called.events if event[0] == "object"] == [data]
