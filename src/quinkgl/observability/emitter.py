"""Publish and subscribe in the caller's thread.

An event has reached every subscriber when ``emit`` returns.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Self

from quinkgl.observability.events import EventName, RuntimeEvent

Subscriber = Callable[[RuntimeEvent], object]

_log = logging.getLogger(__name__)


class Subscription:
    """Returned by :meth:`EventEmitter.subscribe`; calling it, or leaving its ``with`` block, ends it."""

    def __init__(self, emitter: EventEmitter, subscriber: Subscriber) -> None:
        self._emitter = emitter
        self._subscriber = subscriber

    def __call__(self) -> None:
        """End the subscription; ending it twice does nothing."""
        self._emitter.unsubscribe(self._subscriber)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self()


class EventEmitter:
    """Hands each event to every subscriber, in the order in which they subscribed.

    A subscriber that raises does not hurt the node or the other subscribers: its error is logged and told to
    the others as a ``subscriber.error`` event.
    """

    def __init__(self) -> None:
        self._subscribers: list[Subscriber] = []

    def subscribe(self, subscriber: Subscriber) -> Subscription:
        """Call ``subscriber`` with every event from now on. Subscribing the same one again does nothing."""
        if subscriber not in self._subscribers:
            self._subscribers.append(subscriber)
        return Subscription(self, subscriber)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Call ``subscriber`` no more; nothing happens if it was not subscribed."""
        if subscriber in self._subscribers:
            self._subscribers.remove(subscriber)

    def emit(self, event_type: str, payload: Mapping[str, Any] | None = None) -> RuntimeEvent:
        """Make an event of a snapshot of ``payload``, hand it out and return it."""
        event = RuntimeEvent(event_type, payload if payload is not None else {})
        failures: list[tuple[Subscriber, Exception]] = []
        for subscriber in tuple(self._subscribers):
            try:
                subscriber(event)
            except Exception as raised:  # noqa: BLE001 - a stranger's code may raise anything
                _log.exception("a subscriber failed on %s", event.event_type)
                failures.append((subscriber, raised))
        if event.event_type != EventName.SUBSCRIBER_ERROR:
            for subscriber, error in failures:
                self._report(event, subscriber, error)
        return event

    def _report(self, event: RuntimeEvent, failed: Subscriber, error: Exception) -> None:
        """Tell of a failure, to all but the one that failed."""
        report = RuntimeEvent(
            EventName.SUBSCRIBER_ERROR,
            {"failed_event": event.event_type, "error": f"{type(error).__name__}: {error}"},
        )
        for subscriber in tuple(self._subscribers):
            if subscriber is failed:
                continue
            try:
                subscriber(report)
            except Exception:  # noqa: BLE001 - as above; this failure is not reported again
                _log.exception("a subscriber failed on %s", report.event_type)
