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
    """Names of the events that a node emits; equal to their strings, so either can be compared."""

    AGGREGATION_COMPLETED = "aggregation_completed"
    AGGREGATION_FAILED = "aggregation_failed"
    MODEL_RECEIVED = "model_received"
    MODEL_REJECTED_BACKPRESSURE = "model_rejected_backpressure"
    MODEL_REJECTED_DUPLICATE = "model_rejected_duplicate"
    MODEL_REJECTED_STALE = "model_rejected_stale"
    MODEL_SEND_FAILED = "model_send_failed"
    MODEL_SEND_STARTED = "model_send_started"
    MODEL_SENT = "model_sent"
    NODE_CONFIG = "node.config"
    NODE_STARTED = "node.started"
    NODE_STOPPED = "node.stopped"
    PEER_DISCONNECTED = "peer_disconnected"
    PEER_DISCOVERED = "peer_discovered"
    POST_AGGREGATION_EVAL = "post_aggregation_eval"
    ROUND_COMPLETED = "round_completed"
    ROUND_STARTED = "round_started"
    SUBSCRIBER_ERROR = "subscriber.error"
    TARGETS_SELECTED = "targets_selected"
    TRAINING_COMPLETED = "training_completed"
    TRAINING_STARTED = "training_started"


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
