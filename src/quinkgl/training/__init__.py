"""Training: the round, as a machine that decides and leaves the work to its driver."""

from __future__ import annotations

from quinkgl.training.round_machine import (
    TRANSITIONS,
    AggregateRequested,
    CollectEnd,
    EvaluateRequested,
    KeptReason,
    OwnModelKept,
    PendingUpdate,
    PublishRequested,
    RoundCompleted,
    RoundConfig,
    RoundEvent,
    RoundInput,
    RoundMachine,
    RoundPhase,
    RunCompleted,
    RunEnd,
    TrainRequested,
)

__all__ = [
    "TRANSITIONS",
    "AggregateRequested",
    "CollectEnd",
    "EvaluateRequested",
    "KeptReason",
    "OwnModelKept",
    "PendingUpdate",
    "PublishRequested",
    "RoundCompleted",
    "RoundConfig",
    "RoundEvent",
    "RoundInput",
    "RoundMachine",
    "RoundPhase",
    "RunCompleted",
    "RunEnd",
    "TrainRequested",
]
