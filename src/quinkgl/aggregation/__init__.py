"""Aggregation: how a node makes one model of its own and its neighbours', and which of those it lets in."""

from __future__ import annotations

from quinkgl.aggregation.admission import (
    Admission,
    AdmissionPolicy,
    Rejection,
    RejectionReason,
    SampleCounts,
    admit,
)
from quinkgl.aggregation.base import AggregatedModel, AggregationStrategy, Batch, ModelUpdate
from quinkgl.aggregation.fedavg import FedAvg, WeightBy

__all__ = [
    "Admission",
    "AdmissionPolicy",
    "AggregatedModel",
    "AggregationStrategy",
    "Batch",
    "FedAvg",
    "ModelUpdate",
    "Rejection",
    "RejectionReason",
    "SampleCounts",
    "WeightBy",
    "admit",
]
