"""Swarm: the one object that a driver drives.

It composes the transport's endpoint with the protocol's machines (manifest handshake, membership, gossip,
fingerprints, two-sided exchanges) and is the only place that knows them all. It hands opaque update bytes and
a signed header up, and takes them down. ``ManifestFetcher`` is what a joiner drives before it has the
manifest.
"""

from __future__ import annotations

from quinkgl.protocol.exchange import (
    ExchangeAbandoned,
    ExchangeAborted,
    ExchangeCommitted,
    ExchangeObjectReceived,
    ExchangeOffered,
    ExchangeView,
    SaveWanted,
)
from quinkgl.protocol.scores import Band
from quinkgl.swarm.events import (
    Attachment,
    Capabilities,
    ConnectFailed,
    FingerprintNotReceived,
    FingerprintReceived,
    PeerConnected,
    PeerConvicted,
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
from quinkgl.swarm.hashed import HashedObject, hash_object
from quinkgl.swarm.manifest_fetcher import (
    FetchFailed,
    ManifestFetched,
    ManifestFetcher,
    ManifestFetcherEvent,
    ManifestNotFetched,
)
from quinkgl.swarm.swarm import Swarm
from quinkgl.transport import Transmit

__all__ = [
    "Attachment",
    "Band",
    "Capabilities",
    "ConnectFailed",
    "ExchangeAbandoned",
    "ExchangeAborted",
    "ExchangeCommitted",
    "ExchangeObjectReceived",
    "ExchangeOffered",
    "ExchangeView",
    "FetchFailed",
    "FingerprintNotReceived",
    "FingerprintReceived",
    "HashedObject",
    "ManifestFetched",
    "ManifestFetcher",
    "ManifestFetcherEvent",
    "ManifestNotFetched",
    "PeerConnected",
    "PeerConvicted",
    "PeerDisconnected",
    "PeerRefused",
    "PeerView",
    "SaveWanted",
    "Swarm",
    "SwarmClosed",
    "SwarmConfig",
    "SwarmEvent",
    "SwarmStats",
    "Transmit",
    "UpdateDelivered",
    "UpdateNotDelivered",
    "UpdateReceived",
    "hash_object",
]
