from __future__ import annotations

import dataclasses
import json
import logging
from datetime import UTC, datetime

import pytest

from quinkgl.observability import EventEmitter, EventName, RuntimeEvent

PUBLISHED_NAMES = """
    aggregation_completed aggregation_failed consensus_reached early_stopping ipv8_payload_dropped
    model_received model_rejected_backpressure model_rejected_duplicate model_rejected_stale
    model_send_started model_send_failed model_sent models_converged node.config node.started node.stopped
    peer_discovered peer_disconnected post_aggregation_eval round_started round_completed subscriber.error
    targets_selected telemetry.connected telemetry.delivery_failed telemetry.disconnected
    telemetry.events_dropped telemetry.status_provider_warning training_started training_completed
    tunnel_payload_dropped security.identity_mismatch security.signature_missing security.signature_rejected
    security.replay_rejected security.future_round_rejected security.oversized_message
    security.duplicate_chunk_transfer security.nack_rate_limited security.discovery_manifest_mismatch
    security.tunnel_downgrade node.state.init node.state.manifest_resolved node.state.community_started
    node.state.peers_discovered node.state.training node.state.failed"""


def test_subscribers_get_events_in_the_order_in_which_they_subscribed():
    emitter, seen = EventEmitter(), []
    emitter.subscribe(lambda event: seen.append(("first", event)))
    emitter.subscribe(lambda event: seen.append(("second", event)))
    event = emitter.emit("model_sent", {"peer": "bob"})
    assert seen == [("first", event), ("second", event)]
    assert (event.event_type, event.payload["peer"], event.schema_version) == ("model_sent", "bob", 1)
    assert event.timestamp.tzinfo is UTC


def test_an_event_is_a_snapshot_that_nobody_can_change():
    emitter = EventEmitter()
    payload = {"peers": ["a"], "nested": {"loss": 1.0}}
    event = emitter.emit("round_completed", payload)
    payload["peers"].append("b")
    payload["nested"]["loss"] = 2.0
    assert event.payload == {"peers": ["a"], "nested": {"loss": 1.0}}
    with pytest.raises(TypeError):
        event.payload["peers"] = []
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.event_type = "other"


def test_names_are_strings_and_events_carry_plain_ones():
    event = EventEmitter().emit(EventName.NODE_STARTED)
    assert event.event_type == "node.started"
    assert type(event.event_type) is str
    assert event.payload == {}


def test_an_event_as_a_dictionary_goes_through_json():
    event = RuntimeEvent("model_sent", {"peers": ["a"]}, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    plain = event.to_dict()
    assert json.loads(json.dumps(plain)) == {
        "event_type": "model_sent",
        "payload": {"peers": ["a"]},
        "timestamp": "2026-01-02T03:04:05+00:00",
        "schema_version": 1,
    }
    plain["payload"]["peers"].append("b")
    assert event.payload["peers"] == ["a"]


@pytest.mark.parametrize(
    "name",
    PUBLISHED_NAMES.split(),
)
def test_every_published_name_is_there(name):
    assert EventName[name.upper().replace(".", "_")] == name


def test_a_failing_subscriber_is_reported_to_the_others_and_hurts_nobody(caplog):
    emitter, seen = EventEmitter(), []

    def broken(event: RuntimeEvent) -> None:
        raise ValueError(f"cannot take {event.event_type}")

    emitter.subscribe(broken)
    emitter.subscribe(seen.append)
    with caplog.at_level(logging.ERROR):
        event = emitter.emit("round_started", {"round": 1})
    assert [item.event_type for item in seen] == ["round_started", "subscriber.error"]
    assert seen[0] is event
    assert seen[1].payload == {
        "failed_event": "round_started",
        "error": "ValueError: cannot take round_started",
    }
    assert "cannot take round_started" in caplog.text


def test_subscribers_that_fail_on_the_report_too_end_there(caplog):
    emitter, calls = EventEmitter(), []

    def broken(event: RuntimeEvent) -> None:
        calls.append(event.event_type)
        raise RuntimeError("no")

    def also_broken(event: RuntimeEvent) -> None:
        calls.append(event.event_type)
        raise RuntimeError("no")

    emitter.subscribe(broken)
    emitter.subscribe(also_broken)
    emitter.emit("round_started")
    emitter.emit("subscriber.error")
    assert calls == ["round_started"] * 2 + ["subscriber.error"] * 4


def test_a_subscription_ends_once_and_for_all():
    emitter, seen = EventEmitter(), []
    with emitter.subscribe(seen.append) as subscription:
        emitter.emit("node.started")
    emitter.emit("node.stopped")
    subscription()
    assert [event.event_type for event in seen] == ["node.started"]
    again = emitter.subscribe(seen.append)
    emitter.subscribe(seen.append)
    emitter.emit("node.started")
    assert len(seen) == 2
    again()
    emitter.emit("node.stopped")
    assert len(seen) == 2


def test_a_subscriber_may_end_its_subscription_while_it_is_called():
    emitter, seen = EventEmitter(), []

    def once(event: RuntimeEvent) -> None:
        seen.append(event)
        emitter.unsubscribe(once)

    emitter.subscribe(once)
    emitter.emit("node.started")
    emitter.emit("node.started")
    assert len(seen) == 1
