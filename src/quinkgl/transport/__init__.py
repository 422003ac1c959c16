"""Transport: secure sessions over datagrams, many peers on one address.

``Endpoint`` is the socket-level machine, ``Connection`` one session with one peer, ``ObjectExchange`` the
transfers of one session. All are pure: datagrams and time in; datagrams, events and a deadline out.
"""

from __future__ import annotations

from quinkgl.transport.config import ConnectionConfig, EndpointConfig
from quinkgl.transport.connection_events import ConnectionState
from quinkgl.transport.endpoint import Endpoint
from quinkgl.transport.events import (
    ConnectFailed,
    ConnectionEstablished,
    ConnectionLost,
    EndpointEvent,
    MessageReceived,
    ObjectArrived,
    ObjectSent,
    OfferReceived,
    PathChanged,
    TransferFailed,
    Transmit,
)
from quinkgl.transport.key_schedule import KeyLimits, KeyLog
from quinkgl.transport.objects import ObjectExchange
from quinkgl.transport.reassembly import ObjectConfig
from quinkgl.transport.sinks import MemorySink, ObjectSink
from quinkgl.transport.stats import EndpointStats
from quinkgl.wire.merkle import leaf_hashes, merkle_root
from quinkgl.wire.messages.session import PostQuantum

__all__ = [
    "ConnectFailed",
    "ConnectionConfig",
    "ConnectionEstablished",
    "ConnectionLost",
    "ConnectionState",
    "Endpoint",
    "EndpointConfig",
    "EndpointEvent",
    "EndpointStats",
    "KeyLimits",
    "KeyLog",
    "MemorySink",
    "MessageReceived",
    "ObjectArrived",
    "ObjectConfig",
    "ObjectExchange",
    "ObjectSent",
    "ObjectSink",
    "OfferReceived",
    "PathChanged",
    "PostQuantum",
    "TransferFailed",
    "Transmit",
    "leaf_hashes",
    "merkle_root",
]
