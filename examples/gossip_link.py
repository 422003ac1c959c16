"""Manifest handshake and gossip over any carrier that keeps messages whole, in order and authentic.

`Link` is one side of one carrier, without any I/O: `converse` drives it with a function that sends a message
and one that waits for the next. `gossip_over_websocket.py` and `gossip_over_pipe.py` are such carriers. No
transport of ours is in it, so the carrier brings what a transport brings: whole bodies, and the certainty of
who is at the other end (over a network that means TLS with certificates on both sides).
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from random import SystemRandom

from quinkgl import Identity
from quinkgl.protocol.gossip import Accept, Gossip, OfferOut, Refuse, UpdateReceived
from quinkgl.protocol.manifest_handshake import ManifestAgreed, ManifestHandshake, Terms
from quinkgl.wire.merkle import leaf_hashes, merkle_root

SWARM = bytes(range(32))
TERMS = Terms(
    swarm_id=SWARM,
    schema_version=3,
    arch_hash="sha256:" + "ab" * 32,
    input_shape=(64,),
    output_shape=(10,),
    aggregation="FedAvg",
    topology="Random",
    compression_enabled=False,
    byzantine_f=0,
    expires_unix=None,
    max_object_bytes=1 << 20,
)
_OFFER = struct.Struct(">II32s")  # transfer, size, root; the signed header follows
_TRANSFER = struct.Struct(">I")


class Link:
    """One member and one peer. A message is a letter that tells whose it is, then its bytes."""

    def __init__(self, identity: Identity, *, initiator: bool, body: bytes = b"") -> None:
        now = time.monotonic()
        self.handshake = ManifestHandshake(TERMS, role_initiator=initiator, now=now, unix_now=time.time())
        self.gossip = Gossip(identity, SWARM, rng=SystemRandom(), now=now, unix_now=time.time())
        self.outbox = [b"I" + identity.peer_id]
        self.update: UpdateReceived | None = None
        self.done = False
        self.peer = b""
        self._body = body  # what this side has to offer, nothing if empty
        self._offered: dict[int, tuple[bytes, bytes]] = {}
        self._expected: dict[int, bytes] = {}

    def receive(self, message: bytes) -> None:
        """Take a message of the peer. RemoteProtocolError where it breaks the rules: then hang up."""
        now, kind, data = time.monotonic(), message[:1], message[1:]
        if kind == b"I":
            self.peer = data
        elif kind == b"M":
            self.handshake.receive_message(data, now=now)
        elif kind == b"G":
            self.gossip.receive_message(self.peer, data, now=now)
        elif kind == b"O":
            transfer, size, root = _OFFER.unpack_from(data)
            self._expected[transfer] = root
            self.gossip.object_offered(self.peer, transfer, root, size, data[_OFFER.size :], now=now)
        elif kind == b"A":  # accepted: here it is
            root, body = self._offered[_TRANSFER.unpack(data)[0]]
            self.outbox.append(b"B" + data + body)
            self.gossip.object_delivered(self.peer, root, now=now)
            self.done = True
        elif kind == b"B":
            transfer, body = _TRANSFER.unpack_from(data)[0], data[_TRANSFER.size :]
            if merkle_root(leaf_hashes(body)) == self._expected.pop(transfer):  # gossip relies on this
                self.gossip.object_received(self.peer, transfer, body, now=now)
        self._settle(now)

    def handle_timer(self) -> None:
        """Let the machines notice that time has passed."""
        now = time.monotonic()
        self.handshake.handle_timer(now=now)
        self.gossip.handle_timer(now=now)
        self._settle(now)

    def deadline(self) -> float:
        """When to call `handle_timer`, or much later."""
        due = (self.handshake.deadline(), self.gossip.deadline())
        return min((when for when in due if when is not None), default=time.monotonic() + 60.0)

    def _settle(self, now: float) -> None:
        while (message := self.handshake.next_message(now)) is not None:
            self.outbox.append(b"M" + message)
        while (event := self.handshake.next_event()) is not None:
            if not isinstance(event, ManifestAgreed):
                raise SystemExit(f"no agreement: {event.code.name} {event.reason}")
            self.gossip.peer_connected(self.peer, now=now)
            if self._body:
                root = merkle_root(leaf_hashes(self._body))
                size, to = len(self._body), (self.peer,)
                self.gossip.publish(root, size, round=1, codec=1, sample_count=64, targets=to, now=now)
        while (action := self.gossip.next_action(now)) is not None:
            match action:
                case OfferOut(_, root, header):
                    self._offered[1] = (root, self._body)
                    self.outbox.append(b"O" + _OFFER.pack(1, len(self._body), root) + header)
                case Accept(_, transfer):
                    self.outbox.append(b"A" + _TRANSFER.pack(transfer))
                case Refuse(_, transfer, code):
                    raise SystemExit(f"offer {transfer} refused: {code.name}")
        while (told := self.gossip.next_message(now)) is not None:
            self.outbox.append(b"G" + told[1])
        while (news := self.gossip.next_event()) is not None:
            if isinstance(news, UpdateReceived):
                self.update, self.done = news, True


def converse(link: Link, send: Callable[[bytes], object], receive: Callable[[float], bytes | None]) -> None:
    """Drive a link until it is done; `receive` waits at most so many seconds and may return None."""
    while not link.done:
        link.handle_timer()
        _flush(link, send)
        message = receive(max(0.0, link.deadline() - time.monotonic()))
        if message is not None:
            link.receive(message)
    _flush(link, send)


def _flush(link: Link, send: Callable[[bytes], object]) -> None:
    while link.outbox:
        send(link.outbox.pop(0))
