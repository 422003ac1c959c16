"""Knobs of an endpoint and its sessions; the defaults are the specification's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from quinkgl.transport.congestion import CongestionController, NewReno
from quinkgl.transport.key_schedule import KeyLimits, KeyLog
from quinkgl.transport.reassembly import ObjectConfig
from quinkgl.transport.staging import RUN_PACKETS
from quinkgl.wire.errors import ErrorCode, LocalProtocolError
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.messages.session import PostQuantum, TransportParameters
from quinkgl.wire.packets import MAX_VERSIONS, VERSION, is_grease_version

_VERSIONS_END = 2**32


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionConfig:
    """Knobs of a session; the defaults are the specification's."""

    datagram_bytes: int = LIMITS.init_min_datagram_bytes
    """Size of the datagrams sent from the start, bytes of UDP payload; the path is taken to carry it."""
    max_datagram_bytes: int = LIMITS.max_datagram_bytes
    """The most that path MTU discovery raises it to."""
    mtu_discovery: bool = True
    """Whether larger datagrams are probed for; off where the carrier would split them on its way."""
    run_packets: int = RUN_PACKETS
    """Most bulk packets that are handed out as one run, at least 1: without runs."""
    keepalive_s: float = LIMITS.keepalive_s
    close_timeout_s: float = LIMITS.close_timeout_s
    keys: KeyLimits = field(default_factory=KeyLimits)
    """How long a packet key is used, and how often a new secret goes into the keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointConfig:
    """What an endpoint tells its peers, how long it tries, and how much it takes."""

    parameters: TransportParameters = field(default_factory=TransportParameters)
    """What peers are told about us."""
    connection: ConnectionConfig = field(default_factory=ConnectionConfig)
    objects: ObjectConfig = field(default_factory=ObjectConfig)
    handshake_timeout_s: float = LIMITS.handshake_timeout_s
    handshake_tries: int = LIMITS.handshake_retries
    connections: int = LIMITS.connections
    post_quantum: PostQuantum = PostQuantum.OFFERED
    """Whether ML-KEM-768 goes into the keys of sessions. OFFERED does so where the peer offers it as well and
    the cryptographic library knows it; REQUIRED refuses other peers, and other libraries."""
    keylog: KeyLog | None = None
    """Called with each line of a key log (``docs/reference/key-log.md``); whoever reads the lines can read
    the sessions. It must not raise."""
    controller: Callable[[int], CongestionController] = NewReno
    """Makes the congestion controller of a session from the size of its datagrams."""
    versions: tuple[int, ...] = (VERSION,)
    """Versions that are spoken, the one liked best first; all of them have the wire format of version 1."""
    init_rate_total_per_s: int = LIMITS.init_rate_total_per_s
    """First packets a second above which their senders must prove their address; 0 asks each for proof."""

    def __post_init__(self) -> None:
        """Check the versions: LocalProtocolError (E_USAGE) for a list that nobody could be offered."""
        spoken = self.versions
        assigned = all(0 < each < _VERSIONS_END and not is_grease_version(each) for each in spoken)
        if not assigned or not 0 < len(spoken) < MAX_VERSIONS or len(set(spoken)) != len(spoken):
            raise LocalProtocolError(ErrorCode.E_USAGE, f"versions {spoken}", section="V-005")
