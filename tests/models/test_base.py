"""The wrapper that users subclass: which methods are needed, and what the rest does with them."""

from __future__ import annotations

import asyncio
import hashlib

import numpy as np
import pytest

from quinkgl.models import ModelWrapper, TrainingConfig, TrainingResult
from quinkgl.models.base import as_arrays


class Mean(ModelWrapper):
    """Predicts one number."""

    def __init__(self):
        super().__init__({"w": np.zeros(2, np.float32)})

    def get_weights(self):
        return {"w": self.model["w"].copy()}

    def set_weights(self, weights):
        self.model["w"][:] = weights["w"]

    def evaluate(self, data, loss_fn=None):
        return {"loss": float(np.square(self.model["w"] - np.asarray(data)).mean())}


class OnlyFit(Mean):
    def fit(self, data, config=None):
        self.model["w"][:] = data
        return TrainingResult(1, 0.0)


class OnlyTrain(Mean):
    async def train(self, data, config=None):
        self.model["w"][:] = data
        return TrainingResult(2, 0.0)


class Waits(Mean):
    async def train(self, data, config=None):
        await asyncio.sleep(0)
        return TrainingResult(1, 0.0)


class CallsBase(Mean):
    async def train(self, data, config=None):
        return await super().train(data, config)


@pytest.mark.parametrize("kind", [OnlyFit, OnlyTrain])
def test_overriding_either_way_to_train_is_enough(kind):
    model = kind()
    by_fit = model.fit([1.0, 2.0])
    assert model.get_weights()["w"].tolist() == [1.0, 2.0]
    assert asyncio.run(model.train([3.0, 4.0])) == by_fit
    assert model.get_weights()["w"].tolist() == [3.0, 4.0]


def test_a_class_that_can_train_in_neither_way_is_refused():
    with pytest.raises(TypeError, match="Mean must override fit or train"):
        Mean()


def test_a_train_that_waits_cannot_run_in_a_thread_and_says_so():
    assert asyncio.run(Waits().train(None)).epochs_completed == 1
    with pytest.raises(RuntimeError, match="train waits for something"):
        Waits().fit(None)


def test_a_train_that_calls_the_default_is_told_so():
    with pytest.raises(NotImplementedError, match=r"CallsBase.train must not call super\(\).train"):
        CallsBase().fit(None)


def test_rounds_and_weights_are_the_state():
    model = OnlyFit()
    model.fit([1.0, 2.0])
    assert [model.increment_round(), model.increment_round(), model.current_round] == [1, 2, 2]
    restored = OnlyFit()
    restored.load_state_dict(model.state_dict())
    assert restored.current_round == 2
    assert restored.get_weights()["w"].tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="'weights' is missing"):
        restored.load_state_dict({"current_round": 1})
    with pytest.raises(ValueError, match="'current_round' is a str"):
        restored.load_state_dict({"current_round": "1", "weights": {}})
    assert restored.current_round == 2


def test_the_default_schema_hash_knows_classes_only_and_warns():
    with pytest.warns(UserWarning, match="does not override get_data_schema_hash"):
        first = OnlyFit().get_data_schema_hash()
    with pytest.warns(UserWarning, match="OnlyTrain"):
        assert OnlyTrain().get_data_schema_hash() != first
    assert first == hashlib.sha256(b"OnlyFit_dict").hexdigest()[:16]
    assert OnlyFit().get_model_version() == "1.0.0"


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 0},
        {"epochs": 1.5},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"grad_clip_norm": 0.0},
        {"proximal_coefficient": -1.0},
        {"proximal_coefficient": float("inf")},
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused_by_name(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        TrainingConfig(**options)


@pytest.mark.parametrize("data", [None, 5, (1, 2, 3), ([], []), ([[1.0]], [1, 2]), (1, 2), {"x": 1}])
def test_data_of_no_known_form_are_refused(data):
    with pytest.raises(ValueError, match=r"must be \(features, labels\)|empty or differ"):
        as_arrays(data)
