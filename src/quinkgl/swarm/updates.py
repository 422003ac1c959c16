"""Updates in and out: gossip decides, the endpoint carries, and this stands between the two."""

from __future__ import annotations

from collections import deque

from quinkgl.protocol.gossip import (
    Accept,
    EquivocationDetected,
    Gossip,
    GossipAction,
    GossipEvent,
    OfferOut,
    Refuse,
)
from quinkgl.protocol.gossip import UpdateReceived as GossipUpdateReceived
from quinkgl.swarm.counts import Counts
from quinkgl.swarm.deliveries import Deliveries
from quinkgl.swarm.events import PeerConvicted, SwarmEvent, UpdateReceived
from quinkgl.swarm.sessions import Sessions
from quinkgl.transport import Endpoint, ObjectArrived, ObjectSent, OfferReceived, TransferFailed
from quinkgl.wire.control import Channel
from quinkgl.wire.errors import ErrorCode

ObjectEvent = OfferReceived | ObjectArrived | ObjectSent | TransferFailed


class Updates:
    """Carries out what gossip wants done with objects, and tells it what became of them."""

    def __init__(
        self,
        gossip: Gossip,
        *,
        endpoint: Endpoint,
        sessions: Sessions,
        deliveries: Deliveries,
        events: deque[SwarmEvent],
        counts: Counts,
    ) -> None:
        self._gossip = gossip
        self._endpoint = endpoint
        self._sessions = sessions
        self._deliveries = deliveries
        self._events = events
        self._counts = counts
        self.received = 0
        """Updates that came whole."""

    def on_object(self, event: ObjectEvent, *, now: float) -> None:
        """Tell gossip and the deliveries what the endpoint reports of an object."""
        match event:
            case OfferReceived(peer, transfer, root, size, header):
                self._gossip.object_offered(peer, transfer, root, size, header, now=now)
            case ObjectArrived(peer, transfer, _, _, body):
                self._gossip.object_received(peer, transfer, body, now=now)
            case ObjectSent(peer, transfer):
                update = self._deliveries.on_delivered(peer, transfer, now=now)
                if update is not None:
                    self._gossip.object_delivered(peer, update, now=now)
            case TransferFailed(peer, transfer, root, code, outgoing):
                if outgoing:
                    self._deliveries.on_failed(peer, transfer, code, now=now)
                    self._gossip.object_refused(peer, root, code, now=now)
                else:
                    self._gossip.object_failed(peer, transfer, code, now=now)

    def drain(self, now: float) -> bool:
        """Carry out what gossip has ready; whether there was anything."""
        busy = False
        while (action := self._gossip.next_action(now)) is not None:
            busy = True
            self._on_action(action, now)
        while (message := self._gossip.next_message(now)) is not None:
            busy = True
            if not self._endpoint.send_message(message[0], Channel.GOSSIP, message[1], now=now):
                self._counts.drop("message_not_sent")
        while (event := self._gossip.next_event()) is not None:
            busy = True
            self._on_event(event, now)
        return busy

    def _on_action(self, action: GossipAction, now: float) -> None:
        match action:
            case OfferOut(peer, root, header):
                self._deliveries.send(peer, root, header, now=now)
            case Accept(peer, transfer):
                if not self._endpoint.accept_object(peer, transfer, now=now):
                    self._endpoint.refuse_object(peer, transfer, ErrorCode.E_BUSY, now=now)
                    self._gossip.object_failed(peer, transfer, ErrorCode.E_BUSY, now=now)
            case Refuse(peer, transfer, code):
                self._endpoint.refuse_object(peer, transfer, code, now=now)

    def _on_event(self, event: GossipEvent, now: float) -> None:
        match event:
            case GossipUpdateReceived(peer, header, body, _, attachments):
                self.received += 1
                self._sessions.note_round(peer, header.round)
                self._events.append(UpdateReceived(peer, header, body, attachments))
            case EquivocationDetected(author, round, first, second):
                self._events.append(PeerConvicted(author, round, first, second))
                self._endpoint.disconnect(
                    author, ErrorCode.E_EQUIVOCATION, "two updates for one round", now=now
                )
