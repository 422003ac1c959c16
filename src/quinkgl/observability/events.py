"""Runtime events: their names, and the value that carries one."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

EVENT_SCHEMA_VERSION = 1


class EventName(StrEnum):
    """Names of runtime events; equal to their strings, so either can be compared."""

    AGGREGATION_COMPLETED = "aggregation_completed"
    AGGREGATION_FAILED = "aggregation_failed"
    CONSENSUS_REACHED = "consensus_reached"
    EARLY_STOPPING = "early_stopping"
    IPV8_PAYLOAD_DROPPED = "ipv8_payload_dropped"
    MODEL_RECEIVED = "model_received"
    MODEL_REJECTED_BACKPRESSURE = "model_rejected_backpressure"
    MODEL_REJECTED_DUPLICATE = "model_rejected_duplicate"
    MODEL_REJECTED_STALE = "model_rejected_stale"
    MODEL_SEND_FAILED = "model_send_failed"
    MODEL_SEND_STARTED = "model_send_started"
    MODEL_SENT = "model_sent"
    MODELS_CONVERGED = "models_converged"
    NODE_CONFIG = "node.config"
    NODE_STARTED = "node.started"
    NODE_STATE_COMMUNITY_STARTED = "node.state.community_started"
    NODE_STATE_FAILED = "node.state.failed"
    NODE_STATE_INIT = "node.state.init"
    NODE_STATE_MANIFEST_RESOLVED = "node.state.manifest_resolved"
    NODE_STATE_PEERS_DISCOVERED = "node.state.peers_discovered"
    NODE_STATE_TRAINING = "node.state.training"
    NODE_STOPPED = "node.stopped"
    PEER_DISCONNECTED = "peer_disconnected"
    PEER_DISCOVERED = "peer_discovered"
    POST_AGGREGATION_EVAL = "post_aggregation_eval"
    ROUND_COMPLETED = "round_completed"
    ROUND_STARTED = "round_started"
    SECURITY_DISCOVERY_MANIFEST_MISMATCH = "security.discovery_manifest_mismatch"
    SECURITY_DUPLICATE_CHUNK_TRANSFER = "security.duplicate_chunk_transfer"
    SECURITY_FUTURE_ROUND_REJECTED = "security.future_round_rejected"
    SECURITY_IDENTITY_MISMATCH = "security.identity_mismatch"
    SECURITY_NACK_RATE_LIMITED = "security.nack_rate_limited"
    SECURITY_OVERSIZED_MESSAGE = "security.oversized_message"
    SECURITY_REPLAY_REJECTED = "security.replay_rejected"
    SECURITY_SIGNATURE_MISSING = "security.signature_missing"
    SECURITY_SIGNATURE_REJECTED = "security.signature_rejected"
    SECURITY_TUNNEL_DOWNGRADE = "security.tunnel_downgrade"
    SECURITY_UPDATE_REJECTED = "security.update_rejected"
    SUBSCRIBER_ERROR = "subscriber.error"
    TARGETS_SELECTED = "targets_selected"
    TELEMETRY_CONNECTED = "telemetry.connected"
    TELEMETRY_DELIVERY_FAILED = "telemetry.delivery_failed"
    TELEMETRY_DISCONNECTED = "telemetry.disconnected"
    TELEMETRY_EVENTS_DROPPED = "telemetry.events_dropped"
    TELEMETRY_STATUS_PROVIDER_WARNING = "telemetry.status_provider_warning"
    TRAINING_COMPLETED = "training_completed"
    TRAINING_STARTED = "training_started"
    TUNNEL_PAYLOAD_DROPPED = "tunnel_payload_dropped"


@dataclass(frozen=True, slots=True)
class RuntimeEvent:
    """One event: what happened, and a snapshot of the particulars.

    The payload is copied deeply when the event is made and is read-only afterwards, so a subscriber sees what
    was true then, whatever the node goes on to do. ``timestamp`` is in UTC.
    """

    event_type: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))
    schema_version: int = EVENT_SCHEMA_VERSION

    def __post_init__(self) -> None:
        object.__setattr__(self, "event_type", str(self.event_type))
        object.__setattr__(self, "payload", MappingProxyType(copy.deepcopy(dict(self.payload))))

    def to_dict(self) -> dict[str, Any]:
        """Return the event as a dictionary for JSON: a copy of the payload, the time in ISO 8601."""
        return {
            "event_type": self.event_type,
            "payload": copy.deepcopy(dict(self.payload)),
            "timestamp": self.timestamp.isoformat(),
            "schema_version": self.schema_version,
        }
