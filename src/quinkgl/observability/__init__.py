"""What a node tells about itself: named events with plain payloads, and a terminal view of them."""

from __future__ import annotations

from quinkgl.observability.emitter import EventEmitter, Subscription
from quinkgl.observability.events import EVENT_SCHEMA_VERSION, EventName, RuntimeEvent
from quinkgl.observability.terminal import TerminalObserver, format_runtime_event

__all__ = [
    "EVENT_SCHEMA_VERSION",
    "EventEmitter",
    "EventName",
    "RuntimeEvent",
    "Subscription",
    "TerminalObserver",
    "format_runtime_event",
]
