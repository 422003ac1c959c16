"""What gossip is compared with: each peer alone, and one model on all the data. No network, no averaging."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from quinkgl.data import Dataset
from quinkgl.models import ModelWrapper
from quinkgl_trio.demo.plan import Stage
from quinkgl_trio.training import TrainingPlan


def train_alone(stage: Stage, peer: int, *, progress: Callable[[], None] = lambda: None) -> float:
    """Accuracy that a peer reaches on its own: its steps, its order of examples, its shard, nothing else."""
    model = stage.model(peer)
    _train(model, stage.shards[peer], stage.plan.training, progress)
    return model.evaluate(stage.test)["accuracy"]


def train_central(stage: Stage, *, progress: Callable[[], None] = lambda: None) -> list[float]:
    """Accuracy of one model on the pooled shards, after each round's worth of all peers' steps."""
    first = stage.shards[0]
    pool = Dataset(
        np.concatenate([shard.x for shard in stage.shards]),
        np.concatenate([shard.y for shard in stage.shards]),
        "pool",
        first.num_classes,
        first.input_shape,
    )
    model = stage.model(None)
    curve: list[float] = []

    def measure() -> None:
        curve.append(model.evaluate(stage.test)["accuracy"])
        progress()

    _train(model, pool, stage.plan.training, measure)
    return curve


def _train(model: ModelWrapper, data: Dataset, plan: TrainingPlan, after_round: Callable[[], None]) -> None:
    for round in range(1, plan.rounds + 1):
        model.fit(data, plan.config(round))
        after_round()
