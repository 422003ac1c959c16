"""Two members agree on a manifest and one sends the other an update, over a WebSocket.

The machines are `quinkgl.protocol.manifest_handshake` and `quinkgl.protocol.gossip`; `gossip_link.py` joins
them to a carrier. On loopback the WebSocket is plain; over a network use wss:// and check who is there.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

from gossip_link import Link, converse
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from quinkgl import Identity
from quinkgl.crypto.keys import KeySource


def receiver(socket: Any) -> Any:
    """Return a function that waits for the next message of a WebSocket, None when time is up."""

    def receive(timeout_s: float) -> bytes | None:
        with suppress(TimeoutError):
            message: bytes = socket.recv(timeout=timeout_s)
            return message
        return None

    return receive


def answer(socket: ServerConnection) -> None:
    """The called member: takes what is offered."""
    link = Link(Identity.generate(KeySource.system()), initiator=False)
    converse(link, socket.send, receiver(socket))
    if link.update is not None:
        header = link.update.header
        print(f"round {header.round}: {len(link.update.body)} bytes from {header.author.hex()[:8]}")


def main() -> None:
    """Run the called member in a thread, and call it."""
    with serve(answer, "127.0.0.1", 0, max_size=1 << 21) as server:
        threading.Thread(target=server.serve_forever).start()
        host, port = server.socket.getsockname()[:2]
        with connect(f"ws://{host}:{port}", max_size=1 << 21) as socket:
            link = Link(Identity.generate(KeySource.system()), initiator=True, body=bytes(100_000))
            converse(link, socket.send, receiver(socket))
            with suppress(Exception):
                socket.recv(timeout=10)  # the other side hangs up when it has everything
        server.shutdown()


if __name__ == "__main__":
    main()
