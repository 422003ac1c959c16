"""Events as lines for people: ``[NODE alice][ROUND 3] aggregated models peers=2 total_samples=512``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from quinkgl.observability.events import EventName, RuntimeEvent

_BANNER_WIDTH: Final = 72
_HEAD_KEYS: Final = ("node_id", "round")
_SAFE_KEYS: Final = frozenset(
    {
        "accuracy",
        "bytes",
        "code",
        "connection_mode",
        "count",
        "error",
        "failed_event",
        "from",
        "loss",
        "node_id",
        "peer",
        "peers",
        "reason",
        "round",
        "rounds",
        "samples",
        "seconds",
        "size",
        "targets",
        "to",
        "total_samples",
    }
)
"""Keys of unknown events whose values may be shown; anything else could be somebody's data."""

_Formatter = Callable[[Mapping[str, Any]], str]


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _figures(payload: Mapping[str, Any], *keys: str) -> str:
    return " ".join(f"{key}={_number(payload[key])}" for key in keys if payload.get(key) is not None)


def _names(value: object) -> str:
    if isinstance(value, str) or not isinstance(value, Sequence):
        return str(value)
    return ", ".join(map(str, value)) if value else "nobody"


def _with_figures(words: str, *keys: str) -> _Formatter:
    return lambda payload: f"{words} {_figures(payload, *keys)}".rstrip()


def _with_peers(words: str, key: str) -> _Formatter:
    return lambda payload: f"{words} {_names(payload.get(key, 'nobody'))}"


_FORMATTERS: Final[dict[str, _Formatter]] = {
    EventName.ROUND_STARTED: lambda _payload: "round started",
    EventName.ROUND_COMPLETED: _with_figures("round completed", "loss", "accuracy", "seconds"),
    EventName.TRAINING_STARTED: _with_figures("training started", "samples"),
    EventName.TRAINING_COMPLETED: _with_figures("training completed", "loss", "accuracy", "samples"),
    EventName.TARGETS_SELECTED: _with_peers("selected peers ->", "targets"),
    EventName.MODEL_SEND_STARTED: _with_peers("sending model ->", "targets"),
    EventName.MODEL_SENT: _with_peers("sent model ->", "peer"),
    EventName.MODEL_RECEIVED: _with_peers("received model <-", "peer"),
    EventName.AGGREGATION_COMPLETED: _with_figures("aggregated models", "peers", "total_samples"),
    EventName.POST_AGGREGATION_EVAL: _with_figures("evaluated model", "loss", "accuracy"),
    EventName.PEER_DISCOVERED: _with_peers("met peer", "peer"),
    EventName.PEER_DISCONNECTED: _with_peers("lost peer", "peer"),
}


def format_runtime_event(event: RuntimeEvent) -> str:
    """Format an event as one line; ``node.config`` as a banner of several.

    Of an event that is not known here only harmless keys are shown, the others as ``<redacted:key>``.
    """
    payload = event.payload
    if event.event_type == EventName.NODE_CONFIG:
        return _banner(payload)
    head = f"[NODE {payload.get('node_id', '-')}]"
    if payload.get("round") is not None:
        head += f"[ROUND {payload['round']}]"
    known = _FORMATTERS.get(event.event_type)
    return f"{head} {known(payload) if known is not None else _unknown(event)}"


def _unknown(event: RuntimeEvent) -> str:
    shown = [
        f"{key}={_number(value)}" if key in _SAFE_KEYS else f"<redacted:{key}>"
        for key, value in event.payload.items()
        if key not in _HEAD_KEYS
    ]
    return " ".join([event.event_type, *shown])


def _banner(payload: Mapping[str, Any]) -> str:
    rule = "=" * _BANNER_WIDTH
    width = max((len(key) for key in payload), default=0)
    return "\n".join([rule, *(f"{key:<{width}}  {value}" for key, value in payload.items()), rule])


class TerminalObserver:
    """Prints every event it is handed: ``emitter.subscribe(TerminalObserver().handle)``."""

    def __init__(self, printer: Callable[[str], object] = print) -> None:
        """``printer`` takes one formatted event; the default writes to standard output."""
        self._printer = printer

    def handle(self, event: RuntimeEvent) -> None:
        """Print one event."""
        self._printer(format_runtime_event(event))
