"""A node's side that learns: model, data and rules. Everything here computes, so it runs in worker threads.

One call at a time: the round decides the order, and nothing here locks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quinkgl.aggregation import AdmissionPolicy, AggregationStrategy, ModelUpdate, Rejection, admit
from quinkgl.core import signature
from quinkgl.data import Dataset
from quinkgl.models import ModelWrapper, TrainingResult
from quinkgl.serialization import decode_tensors_untrusted, encode_tensors, encoded_size
from quinkgl.swarm import UpdateReceived
from quinkgl_trio.training import TrainingPlan


class TrainingStopped(Exception):  # noqa: N818  named in the past tense like every other thing that happened
    """Training was told to stop between two epochs; the model is somewhere in the middle of a round."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """What became of a round's updates."""

    contributors: tuple[str, ...]
    """Peers whose weights are in the new model, in order of their ids; without this node itself."""
    rejected: tuple[Rejection, ...]
    applied: bool
    """False: there were too few updates for the rule, and the model stayed as it was."""


class Learner:
    """Trains, encodes, judges, mixes and evaluates.

    Args:
        model: the model; this object is its only user from now on.
        data: what it trains on.
        evaluation: what it is evaluated on; None for nothing.
        aggregation: the rule.
        plan: hyperparameters.
        policy: what updates must be like to be let in.
        peer_id: this node, in hexadecimal, as rules order peers.
        exact_counts: tell peers the exact number of samples; otherwise the nearest power of two, since the
            size of a shard is nobody's business (the manifest's privacy level decides).
    """

    def __init__(
        self,
        *,
        model: ModelWrapper,
        data: Dataset,
        evaluation: Dataset | None,
        aggregation: AggregationStrategy,
        plan: TrainingPlan,
        policy: AdmissionPolicy,
        peer_id: str,
        exact_counts: bool,
    ) -> None:
        self.model = model
        self.aggregation = aggregation
        self.plan = plan
        self.samples = len(data)
        """Samples that it trains on."""
        self.sample_count = len(data) if exact_counts else nearest_power_of_two(len(data))
        """Samples that peers are told of, and that the own model counts with."""
        self._data = data
        self._evaluation = evaluation
        self._policy = policy
        self._peer_id = peer_id
        self._signature = signature(model.get_weights())
        self.update_bytes = encoded_size(self._signature)
        """Size of one encoded update."""

    def train(self, round: int, should_stop: Callable[[], bool]) -> TrainingResult:
        """Train one round's epochs.

        Raises:
            TrainingStopped: ``should_stop()`` was true after an epoch.
        """

        def after_epoch(_epoch: int, _loss: float) -> None:
            if should_stop():
                raise TrainingStopped

        config = self.plan.config(round)
        config.on_epoch_end = after_epoch
        return self.model.fit(self._data, config)

    def encode(self) -> bytes:
        """The model as it is now, as peers take it."""
        return encode_tensors(self.model.get_weights())

    def read(self, update: UpdateReceived) -> ModelUpdate:
        """Decode a peer's update, without a copy where the machine allows it.

        Raises:
            RemoteProtocolError: it is not the encoding of a finite model of this architecture.
        """
        weights = decode_tensors_untrusted(
            update.body,
            expected=self._signature,
            max_bytes=self.update_bytes,
            allow_nonfinite=self._policy.allow_nonfinite,
        )
        return ModelUpdate(
            peer_id=update.header.author.hex(),
            weights=weights,
            sample_count=update.header.sample_count,
            round_number=update.header.round,
        )

    def mix(self, updates: Sequence[ModelUpdate], trained: TrainingResult) -> Mixture:
        """Let the rule make one model of the own one and those of ``updates`` that are let in; take it."""
        own = ModelUpdate(
            peer_id=self._peer_id,
            weights=self.model.get_weights(),
            sample_count=self.sample_count,
            loss=trained.final_loss,
            accuracy=trained.final_accuracy,
        )
        admission = admit(updates, own, self._policy)
        enough = 1 + len(admission.accepted) >= self.aggregation.minimum_updates
        if not admission.accepted or not enough:
            return Mixture((), admission.rejected, applied=False)
        mixed = self.aggregation.aggregate_sync(admission.accepted, own=admission.own)
        self.model.set_weights(mixed.weights)
        others = tuple(peer for peer in mixed.contributing_peers if peer != self._peer_id)
        return Mixture(others, admission.rejected, applied=True)

    def evaluate(self) -> dict[str, float] | None:
        """Loss and accuracy on the evaluation data; None without any."""
        return None if self._evaluation is None else self.model.evaluate(self._evaluation)

    def state(self) -> dict[str, Any]:
        """All that evolves here: the model with its optimiser and random streams, and the rule's memory."""
        return {"model": self.model.state_dict(), "aggregation": self.aggregation.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state` gave.

        Raises:
            ValueError: it is the state of another model or rule.
        """
        self.model.load_state_dict(state["model"])
        self.aggregation.load_state_dict(state["aggregation"])


def nearest_power_of_two(count: int) -> int:
    """The power of two whose logarithm is nearest; 0 stays 0."""
    return 1 << round(math.log2(count)) if count else 0
