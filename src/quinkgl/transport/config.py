"""Knobs of an endpoint; the defaults are the specification's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from quinkgl.transport.congestion import CongestionController, NewReno
from quinkgl.transport.connection import ConnectionConfig
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.messages.session import TransportParameters


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointConfig:
    """What an endpoint tells its peers, how long it tries, and how much it takes."""

    parameters: TransportParameters = field(default_factory=TransportParameters)
    """What peers are told about us."""
    connection: ConnectionConfig = field(default_factory=ConnectionConfig)
    handshake_timeout_s: float = LIMITS.handshake_timeout_s
    handshake_tries: int = LIMITS.handshake_retries
    connections: int = LIMITS.connections
    controller: Callable[[int], CongestionController] = NewReno
    """Makes the congestion controller of a session from the size of its datagrams."""
