"""Drive `Swarm` over blocking UDP sockets: two members meet on loopback, one sends the other an update."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

from quinkgl import Identity, Swarm, SwarmManifest
from quinkgl.crypto.keys import KeySource
from quinkgl.swarm import Capabilities, PeerConnected, PeerDisconnected, UpdateDelivered, UpdateReceived

MODEL = {"arch_hash": "sha256:" + "ab" * 32, "input_shape": (64,), "output_shape": (10,)}
MANIFEST = SwarmManifest.build("two-sockets", framework="custom", created_at="2026-01-01T00:00:00Z", **MODEL)


def member() -> tuple[Swarm, socket.socket]:
    """Return a member of the swarm and the socket that it lives on."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    identity, fit = Identity.generate(KeySource.system()), Capabilities(**MODEL)
    now, unix_now = time.monotonic(), time.time()
    return Swarm(manifest=MANIFEST, identity=identity, capabilities=fit, now=now, unix_now=unix_now), sock


def drive(swarm: Swarm, sock: socket.socket) -> None:
    """Run one member until it is closed. This is a whole driver."""
    while not swarm.drained:
        swarm.handle_timer(now=time.monotonic())
        while (event := swarm.next_event()) is not None:
            react(swarm, event)
        while (transmit := swarm.next_datagram(time.monotonic())) is not None:
            size = transmit.segment_size or len(transmit.data)  # a run of datagrams comes end to end
            for start in range(0, len(transmit.data), size):
                sock.sendto(transmit.data[start : start + size], transmit.destination)
        sock.settimeout(max(0.001, (swarm.deadline() or 0.0) - time.monotonic()))
        with suppress(TimeoutError):
            swarm.receive_datagram(*sock.recvfrom(65535), now=time.monotonic())


def react(swarm: Swarm, event: object) -> None:
    """Send 100,000 bytes to the peer that we called; close when they arrived, or when the peer closed."""
    match event:
        case PeerConnected(peer, incoming=False):
            body, now = bytes(100_000), time.monotonic()
            swarm.publish_update(body, round=1, sample_count=64, targets=[peer], now=now)
        case UpdateReceived(peer, header, body):
            print(f"round {header.round}: {len(body)} bytes from {peer.hex()[:8]}")
        case UpdateDelivered() | PeerDisconnected():
            swarm.close(now=time.monotonic())


if __name__ == "__main__":
    (caller, caller_socket), (called, called_socket) = member(), member()
    threading.Thread(target=drive, args=(called, called_socket)).start()
    caller.connect(called_socket.getsockname(), expected_peer=called.peer_id, now=time.monotonic())
    drive(caller, caller_socket)
