"""A real `Swarm` and a peer of the second implementation, each on a UDP socket of its own, in turns."""

from __future__ import annotations

import json
import os
import select
import socket
import time
from collections.abc import Callable
from typing import Any, Self

from ref import manifest as ref_manifest
from ref.opening import Me
from ref.peer import Peer

from quinkgl import Identity, Swarm, SwarmManifest
from quinkgl.crypto.keys import KeySource
from quinkgl.swarm import Capabilities, SwarmConfig
from quinkgl.transport import EndpointConfig

SHAPES: dict[str, Any] = {
    "arch_hash": "sha256:" + "ab" * 32,
    "input_shape": (64,),
    "output_shape": (10,),
}
MANIFEST = SwarmManifest.build("interop", framework="custom", created_at="2026-01-01T00:00:00Z", **SHAPES)
PATIENCE_S = 60.0  # how long a stuck test waits; no result depends on it


def hello_of(text: bytes) -> dict[str, Any]:
    """The terms of a HELLO, read from a manifest's JSON as a stranger reads it."""
    terms = json.loads(text)
    return {
        "schema_version": terms["schema_version"],
        "arch_hash": terms["model"]["arch_hash"],
        "input_shape": terms["task"]["input_shape"],
        "output_shape": terms["task"]["output_shape"],
        "aggregation": terms["aggregation"]["name"],
        "topology": terms["topology"]["name"],
        "compression_enabled": terms["compression"]["enabled"],
        "byzantine_f": terms["byzantine"]["f"],
        "max_object_bytes": 2**28,
        "features": [],
    }


def ref_peer(
    keys: list[ref_manifest.Keys] | None = None,
    *,
    post_quantum: int = 1,
    expected: bytes | None = None,
    under_load: bool = False,
    served: tuple[bytes, bytes | None] = (b"", None),
    draw: Callable[[int], bytes] = os.urandom,
    **terms: Any,
) -> Peer:
    """A peer of the second implementation, a member of the swarm unless other keys are given."""
    text = MANIFEST.to_json()
    keys = keys or [ref_manifest.member_keys(ref_manifest.canonical_bytes(json.loads(text)))]
    parameters = {
        "idle_timeout_ms": 60_000,
        "max_datagram_bytes": 65_507,
        "max_ack_delay_ms": 25,
        "post_quantum": post_quantum,
    }
    me = Me(draw(32), draw(32), keys, parameters, expected=expected, under_load=under_load)
    return Peer(me, draw, hello_of(text) | terms, *served)


def swarm(manifest: SwarmManifest = MANIFEST, **endpoint: Any) -> Swarm:
    """A member as the library makes it."""
    return Swarm(
        manifest=manifest,
        identity=Identity.generate(KeySource.system()),
        capabilities=Capabilities(**SHAPES),
        config=SwarmConfig(endpoint=EndpointConfig(**endpoint)),
        now=time.monotonic(),
        unix_now=time.time(),
    )


class Loopback:
    """Both nodes, their sockets, and what the library's node reported."""

    def __init__(self, theirs: Any, ours: Peer, lost: Callable[[], bool] = lambda: False) -> None:
        self.theirs, self.ours, self.lost = theirs, ours, lost
        self.their_socket, self.our_socket = _socket(), _socket()
        self.events: list[Any] = []
        self.react: Callable[[Any], None] = lambda event: None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        self.their_socket.close()
        self.our_socket.close()

    @property
    def address(self) -> tuple[str, int]:
        """Where the library's node is."""
        return self.their_socket.getsockname()

    @property
    def our_address(self) -> tuple[str, int]:
        """Where the second implementation is."""
        return self.our_socket.getsockname()

    def run(self, until: Callable[[], bool]) -> None:
        """Move datagrams until a condition holds."""
        end = time.monotonic() + PATIENCE_S
        while not until():
            assert time.monotonic() < end, f"stuck; {self.ours.events[-5:]} and {self.events[-5:]}"
            self._step_theirs()
            self._step_ours()
            due = min(self.ours.deadline(), self.theirs.deadline() or float("inf"))
            wait = min(max(due - time.monotonic(), 0.0), 0.05)
            select.select([self.their_socket, self.our_socket], [], [], wait)

    def _step_theirs(self) -> None:
        for data, source in self._waiting(self.their_socket):
            self.theirs.receive_datagram(data, source, now=time.monotonic())
        self.theirs.handle_timer(now=time.monotonic())
        while (event := self.theirs.next_event()) is not None:
            self.events.append(event)
            self.react(event)
        while (transmit := self.theirs.next_datagram(time.monotonic())) is not None:
            size = transmit.segment_size or len(transmit.data)
            for start in range(0, len(transmit.data), size):
                self.their_socket.sendto(transmit.data[start : start + size], transmit.destination)

    def _step_ours(self) -> None:
        for data, source in self._waiting(self.our_socket):
            if source == self.address:
                self.ours.receive(data, time.monotonic(), time.time())
        for datagram in self.ours.poll(time.monotonic(), time.time()):
            self.our_socket.sendto(datagram, self.address)

    def _waiting(self, sock: socket.socket) -> list[tuple[bytes, Any]]:
        datagrams = []
        while len(datagrams) < 64:
            try:
                datagrams.append(sock.recvfrom(65535))
            except BlockingIOError:
                break
        return [each for each in datagrams if not self.lost()]

    def said(self, name: str) -> list[tuple[Any, ...]]:
        """What the second implementation reported under a name."""
        return [event for event in self.ours.events if event[0] == name]

    def reported(self, kind: type) -> list[Any]:
        """What the library reported of a kind."""
        return [event for event in self.events if isinstance(event, kind)]


def _socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock
