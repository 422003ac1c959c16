from __future__ import annotations

import pytest

from quinkgl.observability import (
    EventEmitter,
    EventName,
    RuntimeEvent,
    TerminalObserver,
    format_runtime_event,
)

HEAD = {"node_id": "alice", "round": 3}


@pytest.mark.parametrize(
    ("name", "payload", "line"),
    [
        ("round_started", {}, "round started"),
        ("training_started", {"samples": 128}, "training started samples=128"),
        ("training_started", {}, "training started"),
        (
            "training_completed",
            {"loss": 0.25, "accuracy": 0.5, "samples": 128},
            "training completed loss=0.2500 accuracy=0.5000 samples=128",
        ),
        ("training_completed", {"loss": 0.25, "accuracy": None}, "training completed loss=0.2500"),
        ("targets_selected", {"targets": ["bob", "carol"]}, "selected peers -> bob, carol"),
        ("targets_selected", {"targets": []}, "selected peers -> nobody"),
        ("model_send_started", {"targets": ["bob"]}, "sending model -> bob"),
        ("model_sent", {"peer": "bob"}, "sent model -> bob"),
        ("model_received", {"peer": "bob"}, "received model <- bob"),
        (
            "aggregation_completed",
            {"peers": 2, "total_samples": 512},
            "aggregated models peers=2 total_samples=512",
        ),
        (
            "post_aggregation_eval",
            {"loss": 1.0, "accuracy": 0.875},
            "evaluated model loss=1.0000 accuracy=0.8750",
        ),
        ("peer_discovered", {"peer": "bob"}, "met peer bob"),
        ("peer_disconnected", {"peer": "bob"}, "lost peer bob"),
        ("round_completed", {"loss": 0.5}, "round completed loss=0.5000"),
    ],
)
def test_known_events_read_as_sentences(name, payload, line):
    event = RuntimeEvent(name, {**HEAD, **payload})
    assert format_runtime_event(event) == f"[NODE alice][ROUND 3] {line}"


def test_unknown_events_show_harmless_keys_only():
    event = RuntimeEvent("custom.thing", {"node_id": "alice", "loss": 0.5, "labels": [1, 2], "code": 7})
    assert format_runtime_event(event) == "[NODE alice] custom.thing loss=0.5000 <redacted:labels> code=7"


def test_an_event_without_a_node_has_a_dash():
    assert format_runtime_event(RuntimeEvent("node.started")) == "[NODE -] node.started"


def test_the_configuration_is_a_banner():
    event = RuntimeEvent(EventName.NODE_CONFIG, {"swarm": "digits", "peer": "ab12"})
    assert format_runtime_event(event).split("\n") == ["=" * 72, "swarm  digits", "peer   ab12", "=" * 72]
    assert format_runtime_event(RuntimeEvent(EventName.NODE_CONFIG)).split("\n") == ["=" * 72, "=" * 72]


def test_the_observer_prints_what_is_emitted(capsys):
    emitter, lines = EventEmitter(), []
    emitter.subscribe(TerminalObserver(lines.append).handle)
    emitter.subscribe(TerminalObserver().handle)
    emitter.emit("round_started", HEAD)
    assert lines == ["[NODE alice][ROUND 3] round started"]
    assert capsys.readouterr().out == "[NODE alice][ROUND 3] round started\n"
