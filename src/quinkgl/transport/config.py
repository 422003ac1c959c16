"""Knobs of an endpoint and its sessions; the defaults are the specification's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from quinkgl.transport.congestion import CongestionController, NewReno
from quinkgl.transport.reassembly import ObjectConfig
from quinkgl.wire.limits import CONSTANTS, LIMITS
from quinkgl.wire.messages.session import TransportParameters


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionConfig:
    """Knobs of a session; the defaults are the specification's."""

    datagram_bytes: int = LIMITS.init_min_datagram_bytes
    """Size of the datagrams sent, bytes of UDP payload."""
    keepalive_s: float = LIMITS.keepalive_s
    close_timeout_s: float = LIMITS.close_timeout_s
    key_packets: int = CONSTANTS.key_phase_packets
    """Packets that may be sealed under one key; the session ends then, well inside what the cipher allows."""


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
    controller: Callable[[int], CongestionController] = NewReno
    """Makes the congestion controller of a session from the size of its datagrams."""
