"""Swarm: the one object that a driver drives.

It composes the transport's endpoint with the protocol's machines (manifest handshake, membership, gossip) and
is the only place that knows them all. It hands opaque update bytes and a signed header up, and takes them
down.
"""

from __future__ import annotations

from quinkgl.swarm.events import (
    Capabilities,
    ConnectFailed,
    PeerConnected,
    PeerDisconnected,
    PeerRefused,
    PeerView,
    SwarmClosed,
    SwarmConfig,
    SwarmEvent,
    SwarmStats,
    UpdateDelivered,
    UpdateNotDelivered,
    UpdateReceived,
)
from quinkgl.swarm.swarm import Swarm
from quinkgl.transport import Transmit

__all__ = [
    "Capabilities",
    "ConnectFailed",
    "PeerConnected",
    "PeerDisconnected",
    "PeerRefused",
    "PeerView",
    "Swarm",
    "SwarmClosed",
    "SwarmConfig",
    "SwarmEvent",
    "SwarmStats",
    "Transmit",
    "UpdateDelivered",
    "UpdateNotDelivered",
    "UpdateReceived",
]
