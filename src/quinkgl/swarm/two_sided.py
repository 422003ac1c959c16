"""Two-sided exchanges over the endpoint: messages on their channel, objects with an empty header."""

from __future__ import annotations

from collections import deque

from quinkgl.protocol.exchange import (
    ExchangeAbandoned,
    ExchangeAborted,
    ExchangeCommitted,
    ExchangeEvent,
    Exchanges,
)
from quinkgl.swarm.counts import Counts
from quinkgl.swarm.deliveries import Publication
from quinkgl.swarm.events import SwarmEvent
from quinkgl.swarm.hashed import Body, HashedObject, hash_object
from quinkgl.transport import (
    Endpoint,
    ObjectArrived,
    ObjectSent,
    OfferReceived,
    TransferFailed,
)
from quinkgl.wire.control import Channel
from quinkgl.wire.errors import ErrorCode

Name = tuple[bytes, bytes]
"""The peer and the name of an exchange."""


def published(body: Body | HashedObject) -> Publication:
    """Return a body with its leaf list and root; the body is shared, not copied."""
    hashed = body if isinstance(body, HashedObject) else hash_object(body)
    return Publication(hashed.root, hashed.leaves, hashed.body)


class TwoSided:
    """Carries out what the exchanges want done, and tells them what became of it."""

    def __init__(
        self, machine: Exchanges, *, endpoint: Endpoint, events: deque[SwarmEvent], counts: Counts
    ) -> None:
        self.machine = machine
        self._endpoint = endpoint
        self._events = events
        self._counts = counts
        self._own: dict[Name, Publication] = {}
        self._outgoing: dict[tuple[bytes, int], bytes] = {}
        self._incoming: dict[tuple[bytes, int], bytes] = {}

    def keep(self, peer: bytes, exchange: bytes, publication: Publication) -> None:
        """Keep an own object until it is sent, or not wanted any more."""
        self._own[peer, exchange] = publication

    def close(self, peer: bytes, *, now: float) -> None:
        """The session with ``peer`` is over."""
        self.machine.peer_disconnected(peer, now=now)
        for transfers in (self._outgoing, self._incoming):
            for name in [name for name in transfers if name[0] == peer]:
                del transfers[name]

    def on_object(
        self, event: OfferReceived | ObjectArrived | ObjectSent | TransferFailed, *, now: float
    ) -> bool:
        """Take what the endpoint reports of an object of an exchange; False for any other object [B-043]."""
        match event:
            case OfferReceived(peer, transfer, root, size, header):
                if header:
                    return False
                self._on_offer(peer, transfer, root, size, now)
            case ObjectArrived(peer, transfer, root, _, body):
                if self._incoming.pop((peer, transfer), None) is None:
                    return False
                self.machine.object_received(peer, root, body, now=now)
            case ObjectSent(peer, transfer):
                return self._outgoing.pop((peer, transfer), None) is not None
            case TransferFailed(peer, transfer, root, code, outgoing):
                transfers = self._outgoing if outgoing else self._incoming
                if transfers.pop((peer, transfer), None) is None:
                    return False
                self.machine.object_failed(peer, root, code, now=now)
        return True

    def drain(self, now: float) -> bool:
        """Carry out what the machine has ready; whether there was anything."""
        busy = False
        while (action := self.machine.next_action(now)) is not None:
            busy = True
            self._send(action.peer, action.exchange, action.root, now)
        while (message := self.machine.next_message(now)) is not None:
            busy = True
            if not self._endpoint.send_message(message[0], Channel.EXCHANGE, message[1], now=now):
                self._counts.drop("message_not_sent")
        while (event := self.machine.next_event()) is not None:
            busy = True
            self._on_event(event, now)
        return busy

    def _on_offer(self, peer: bytes, transfer: int, root: bytes, size: int, now: float) -> None:
        if not self.machine.wants_object(peer, root, size):
            self._counts.drop("object_not_wanted")
            self._endpoint.refuse_object(peer, transfer, ErrorCode.NOT_WANTED, now=now)
        elif self._endpoint.accept_object(peer, transfer, now=now):
            self._incoming[peer, transfer] = root
        else:
            self._endpoint.refuse_object(peer, transfer, ErrorCode.E_BUSY, now=now)
            self.machine.object_failed(peer, root, ErrorCode.E_BUSY, now=now)

    def _send(self, peer: bytes, exchange: bytes, root: bytes, now: float) -> None:
        publication = self._own.pop((peer, exchange), None)
        if publication is None:
            return  # given up in the same breath
        transfer = self._endpoint.offer_object(
            peer, publication.root, publication.leaves, b"", publication.body, now=now
        )
        if transfer is None:
            self.machine.object_failed(peer, root, ErrorCode.E_BUSY, now=now)
        else:
            self._outgoing[peer, transfer] = root

    def _on_event(self, event: ExchangeEvent, now: float) -> None:
        self._events.append(event)
        match event:
            case ExchangeAborted(peer, exchange) | ExchangeAbandoned(peer, exchange):
                self._own.pop((peer, exchange), None)
                self._give_up(peer, now)
            case ExchangeCommitted(view):
                self._own.pop((view.peer, view.exchange), None)

    def _give_up(self, peer: bytes, now: float) -> None:
        """Cancel objects on the way that no exchange waits for any more."""
        for (sender, transfer), root in list(self._incoming.items()):
            if sender == peer and not self.machine.waits_for(peer, root):
                del self._incoming[sender, transfer]
                self._endpoint.refuse_object(peer, transfer, ErrorCode.NOT_WANTED, now=now)
