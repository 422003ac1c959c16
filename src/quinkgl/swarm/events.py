"""What a swarm tells its driver, and what the driver tells it about itself."""

from __future__ import annotations

from dataclasses import dataclass, field

from quinkgl.protocol.exchange import ExchangeEvent
from quinkgl.protocol.scores import Band
from quinkgl.transport import EndpointConfig, EndpointStats
from quinkgl.wire.addresses import Address
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.messages.gossip import UpdateHeader


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The model that this node really runs; checked against the manifest's and told to every peer.

    Shapes are those of one sample, without the batch axis.
    """

    arch_hash: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmConfig:
    """Knobs of a swarm member; the defaults are the specification's."""

    endpoint: EndpointConfig = field(default_factory=EndpointConfig)
    target_peers: int = LIMITS.view_size
    """How many neighbours to seek among the peers that membership discovers."""
    redial_s: float = 5.0
    """How long to wait before the given addresses are tried again once no peer is left."""
    max_object_bytes: int = LIMITS.object_bytes
    """Largest update taken."""
    offer_interval_s: float = LIMITS.offer_interval_s
    offer_burst: int = LIMITS.offer_burst
    """Offers taken from one peer: a burst, then one an interval (0 for no limit)."""
    serve_manifest: bool = True
    """Give the manifest to whoever has the swarm's id, and the join secret where there is one."""


@dataclass(slots=True)
class SwarmStats(EndpointStats):
    """Counters of the datagrams and of the updates.

    ``dropped`` holds every refusal of every layer by reason.
    """

    updates_received: int = 0
    updates_sent: int = 0
    """Updates that a peer has confirmed to have whole."""
    manifests_served: int = 0
    """Strangers who were given the manifest."""


@dataclass(frozen=True, slots=True)
class PeerView:
    """A peer that agreed to the manifest.

    ``round`` is that of the last update taken from it, None before one. ``score`` is what this node has
    seen of it, and ``band`` how it is treated for that.
    """

    peer: bytes
    address: Address
    rtt_s: float
    round: int | None
    score: float = 0.0
    band: Band = Band.NORMAL


@dataclass(frozen=True, slots=True)
class PeerConnected:
    """A session with ``peer`` is open, its identity proven and the manifest agreed."""

    peer: bytes
    address: Address
    incoming: bool


@dataclass(frozen=True, slots=True)
class PeerDisconnected:
    """The session with a connected peer is over."""

    peer: bytes
    code: int
    reason: str
    by_remote: bool


@dataclass(frozen=True, slots=True)
class ConnectFailed:
    """Nobody at ``address`` answered in time, or not the peer that was expected."""

    address: Address
    expected_peer: bytes | None
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class PeerRefused:
    """A peer and we do not agree on the swarm's terms; ``by_remote`` tells who refused."""

    peer: bytes
    address: Address
    code: int
    reason: str
    by_remote: bool


@dataclass(frozen=True, slots=True)
class Attachment:
    """A further object of an update on its way out, encoded as ``codec``; its name says which it is."""

    name: str
    body: bytes | bytearray | memoryview
    codec: int = 1


@dataclass(frozen=True, slots=True)
class UpdateReceived:
    """A whole, verified update: signed by its author, every leaf checked, inside the round window.

    ``attachments`` are its further objects, in the order of ``header.objects``.
    """

    peer: bytes
    header: UpdateHeader
    body: memoryview
    attachments: tuple[memoryview, ...] = ()


@dataclass(frozen=True, slots=True)
class UpdateDelivered:
    """``peer`` has the whole update ``root`` of ours."""

    peer: bytes
    root: bytes


@dataclass(frozen=True, slots=True)
class UpdateNotDelivered:
    """``peer`` did not take the update, or the session ended first."""

    peer: bytes
    root: bytes
    code: int


@dataclass(frozen=True, slots=True)
class PeerConvicted:
    """``peer`` signed two updates for one round, as the signed headers ``first`` and ``second`` prove.

    Nothing is taken from it any more; all neighbours are told.
    """

    peer: bytes
    round: int
    first: bytes
    second: bytes


@dataclass(frozen=True, slots=True)
class FingerprintReceived:
    """``peer`` signed this body, of its data epoch ``epoch``, for us and for our request of just now.

    That proves freshness and audience; that the body describes any data is the peer's word.
    """

    peer: bytes
    body: bytes
    epoch: int


@dataclass(frozen=True, slots=True)
class FingerprintNotReceived:
    """``peer`` showed no fingerprint; how much its data have in common with ours is unknown."""

    peer: bytes
    code: int


@dataclass(frozen=True, slots=True)
class SwarmClosed:
    """Everything is said and every session over; no other event follows."""


SwarmEvent = (
    PeerConnected
    | PeerDisconnected
    | ConnectFailed
    | PeerRefused
    | UpdateReceived
    | UpdateDelivered
    | UpdateNotDelivered
    | PeerConvicted
    | FingerprintReceived
    | FingerprintNotReceived
    | ExchangeEvent
    | SwarmClosed
)
