"""What a connection tells its endpoint, and the states of its life."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from quinkgl.transport.object_events import ObjectEvent
from quinkgl.wire.addresses import Address
from quinkgl.wire.control import Channel


class ConnectionState(Enum):
    """Where a session is between the end of its handshake and its end."""

    OPEN = "open"
    CLOSING = "closing"
    """We sent CLOSE, and answer what still comes with it."""
    DRAINING = "draining"
    """The peer sent CLOSE; we answer with ours once and say nothing more."""
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class ControlMessage:
    """A message for one of the machines above."""

    channel: Channel
    data: bytes


@dataclass(frozen=True, slots=True)
class Moved:
    """The session runs to another address of the peer now."""

    address: Address


@dataclass(frozen=True, slots=True)
class Closed:
    """The session is over; no other event follows."""

    code: int
    reason: str
    by_remote: bool


ConnectionEvent = ControlMessage | Moved | Closed | ObjectEvent
