"""What a connection tells, in the words of its endpoint: the same event with the peer that it is about."""

from __future__ import annotations

from quinkgl.transport.connection_events import Closed, ConnectionEvent, ControlMessage, Moved
from quinkgl.transport.events import (
    ConnectionLost,
    EndpointEvent,
    MessageReceived,
    ObjectArrived,
    ObjectSent,
    OfferReceived,
    PathChanged,
    TransferFailed,
)
from quinkgl.transport.object_events import ObjectDelivered, ObjectOffered, ObjectReceived


def endpoint_event(peer: bytes, event: ConnectionEvent) -> EndpointEvent:
    """Return the endpoint's event for one of the session with ``peer``."""
    match event:
        case ControlMessage(channel, data):
            return MessageReceived(peer, channel, data)
        case Moved(address):
            return PathChanged(peer, address)
        case Closed(code, reason, by_remote):
            return ConnectionLost(peer, code, reason, by_remote)
        case ObjectOffered(transfer, root, size, header):
            return OfferReceived(peer, transfer, root, size, header)
        case ObjectReceived(transfer, root, header, body):
            return ObjectArrived(peer, transfer, root, header, body)
        case ObjectDelivered(transfer, root):
            return ObjectSent(peer, transfer, root)
        case failed:
            return TransferFailed(peer, failed.transfer, failed.root, failed.code, failed.outgoing)
