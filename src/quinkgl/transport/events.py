"""What an endpoint tells: events about connections, messages and objects, and datagrams to send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from quinkgl.crypto.psk import Mode
from quinkgl.wire.addresses import Address
from quinkgl.wire.control import Channel


class Transmit(NamedTuple):
    """A datagram to send.

    With ``segment_size`` it is a run of datagrams of that size (the last may be shorter).
    """

    data: bytes | memoryview
    destination: Address
    segment_size: int | None = None
    ecn: int = 0


@dataclass(frozen=True, slots=True)
class ConnectionEstablished:
    """A session with ``peer`` is open and its identity proven.

    ``record`` is the signed peer record that it sent (empty when none), ``observed_address`` where it sees
    us. ``mode`` and ``swarm_id`` are those of the keys that the initiator chose: an endpoint with several
    keys must look at them before it lets the peer do anything.
    """

    peer: bytes
    address: Address
    incoming: bool
    record: bytes
    observed_address: Address | None
    mode: Mode
    swarm_id: bytes
    version: int


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """The session with ``peer`` is over."""

    peer: bytes
    code: int
    reason: str
    by_remote: bool


@dataclass(frozen=True, slots=True)
class PathChanged:
    """The session with ``peer`` runs to another address now, which has proved itself."""

    peer: bytes
    address: Address


@dataclass(frozen=True, slots=True)
class ConnectFailed:
    """An attempt to reach ``address`` was given up."""

    address: Address
    expected_peer: bytes | None
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A message of the CONTROL stream for one of the machines above."""

    peer: bytes
    channel: Channel
    data: bytes


@dataclass(frozen=True, slots=True)
class OfferReceived:
    """``peer`` offers an object; answer with ``accept_object`` or ``refuse_object``."""

    peer: bytes
    transfer: int
    root: bytes
    size: int
    header: bytes


@dataclass(frozen=True, slots=True)
class ObjectArrived:
    """An accepted object is whole and verified; ``body`` is read-only."""

    peer: bytes
    transfer: int
    root: bytes
    header: bytes
    body: memoryview


@dataclass(frozen=True, slots=True)
class ObjectSent:
    """``peer`` has all of an object that we offered."""

    peer: bytes
    transfer: int
    root: bytes


@dataclass(frozen=True, slots=True)
class TransferFailed:
    """A transfer with ``peer`` ended without success; ``outgoing`` tells whose offer it was."""

    peer: bytes
    transfer: int
    root: bytes
    code: int
    outgoing: bool


EndpointEvent = (
    ConnectionEstablished
    | ConnectionLost
    | PathChanged
    | ConnectFailed
    | MessageReceived
    | OfferReceived
    | ObjectArrived
    | ObjectSent
    | TransferFailed
)
