"""Classifiers in plain NumPy: softmax regression and multilayer perceptrons, with nothing to install."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quinkgl.core.seeds import Purpose, generator, generator_state, restore_generator
from quinkgl.core.weights import Weights
from quinkgl.models.base import (
    ModelWrapper,
    TrainingConfig,
    TrainingResult,
    as_arrays,
    check_weights,
    require,
    short_hash,
)
from quinkgl.models.optimizers import Optimizer, check_optimizer_state, is_state_of, make_optimizer

_LOG = logging.getLogger("quinkgl.models")
_EVALUATION_BATCH = 1024


class NumPyModel(ModelWrapper):
    """A stack of fully connected layers with ReLU between them and softmax cross entropy at the end.

    Weights are `layers.<i>.weight` (inputs, outputs) and `layers.<i>.bias` (outputs,), float32. Without
    hidden layers it starts from zeros, where the loss is convex; otherwise hidden weights are N(0, 2/inputs)
    (He et al. 2015, arXiv 1502.01852), output weights N(0, 1/inputs), biases zero. Training is minibatch
    gradient descent; equal seeds and data give equal bits on one platform.

    Data are `(x, y)` or have `.x` and `.y`: x (n, …) is flattened to (n, layers[0]), y (n,) holds labels.

    Args:
        layers: sizes from input to output, such as (64, 32, 10).
        seed: the seed of the run: initial weights depend on it alone, so peers with one seed start alike.
        peer: index or id of the peer; with the seed it decides the order of examples.
        model_version: see `ModelWrapper`.
    """

    framework = "numpy"

    def __init__(
        self,
        layers: Sequence[int],
        *,
        seed: int = 0,
        peer: int | bytes | None = None,
        model_version: str = "1.0.0",
    ) -> None:
        if len(layers) < 2 or any(size < 1 for size in layers):
            raise ValueError(f"layers must be at least two sizes from 1 up, not {list(layers)}")
        self.layers = tuple(int(size) for size in layers)
        super().__init__(_initial_weights(self.layers, seed), model_version)
        self._rng = generator(seed, Purpose.SAMPLING, peer)
        self._optimizer: Optimizer | None = None
        self._saved_optimizer: Mapping[str, Any] | None = None

    @classmethod
    def softmax(
        cls, inputs: int, classes: int, *, seed: int = 0, peer: int | bytes | None = None
    ) -> NumPyModel:
        """Return softmax regression: `inputs` features, `classes` classes."""
        return cls((inputs, classes), seed=seed, peer=peer)

    @classmethod
    def mlp(
        cls, inputs: int, hidden: int, classes: int, *, seed: int = 0, peer: int | bytes | None = None
    ) -> NumPyModel:
        """Return a perceptron with one hidden layer of `hidden` units."""
        return cls((inputs, hidden, classes), seed=seed, peer=peer)

    # --- weights ---

    def get_weights(self) -> dict[str, NDArray[np.float32]]:
        """Return copies of all weights and biases."""
        return {name: array.copy() for name, array in self.model.items()}

    def set_weights(self, weights: Weights) -> None:
        """Replace all weights and biases; ValueError as `ModelWrapper.set_weights` says."""
        check_weights(self.model, weights)
        for name, array in self.model.items():
            array[...] = weights[name]

    # --- training ---

    def fit(self, data: Any, config: TrainingConfig | None = None) -> TrainingResult:
        """Train on `data`.

        `config.optimizer` is `"sgd"` (default), `"adam"`, or a class or instance of
        `quinkgl.models.optimizers`; its state is kept until another one is asked for. A loss that is not
        finite in the result means that training diverged: take a smaller learning rate.

        Raises:
            ValueError: data that do not fit, or a `config` that this model cannot follow.
        """
        config = config or TrainingConfig()
        if config.loss_fn is not None:
            raise ValueError("NumPyModel trains with cross entropy; loss_fn must be None")
        x, y = self._checked(data)
        anchor = self._anchor(config)
        optimizer = self._optimizer_for(config)
        loss, accuracy = 0.0, 0.0
        for epoch in range(1, config.epochs + 1):
            loss, accuracy = self._epoch(x, y, config, optimizer, anchor)
            _LOG.log(logging.INFO if config.verbose else logging.DEBUG, "epoch %d: loss %.4f", epoch, loss)
            if config.on_epoch_end is not None:
                config.on_epoch_end(epoch, loss)
        return TrainingResult(config.epochs, loss, accuracy, len(y))

    def _epoch(
        self,
        x: NDArray[np.float32],
        y: NDArray[np.int64],
        config: TrainingConfig,
        optimizer: Optimizer,
        anchor: Weights | None,
    ) -> tuple[float, float]:
        """One pass in a fresh order; returns mean loss and share of right answers."""
        order = self._rng.permutation(len(y))
        loss_sum, hits = 0.0, 0
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # divergence shows in the loss
            for start in range(0, len(y), config.batch_size):
                batch = order[start : start + config.batch_size]
                gradients, batch_loss, batch_hits = self._gradients(x[batch], y[batch])
                loss_sum += batch_loss
                hits += batch_hits
                if anchor is not None:
                    mu = np.float32(config.proximal_coefficient)
                    for name in gradients:
                        gradients[name] += mu * (self.model[name] - anchor[name])
                if config.grad_clip_norm is not None:
                    _clip(gradients, config.grad_clip_norm)
                optimizer.step(self.model, gradients, config.learning_rate)
        return loss_sum / len(y), hits / len(y)

    def _forward(self, x: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Return the input of every layer, then the logits."""
        activations = [x]
        last = len(self.layers) - 2
        for layer in range(last + 1):
            z = activations[-1] @ self.model[f"layers.{layer}.weight"]
            z += self.model[f"layers.{layer}.bias"]
            activations.append(z if layer == last else np.maximum(z, 0, out=z))
        return activations

    def _gradients(
        self, x: NDArray[np.float32], y: NDArray[np.int64]
    ) -> tuple[dict[str, NDArray[np.float32]], float, int]:
        """Return the mean gradient over a batch, the summed loss and the number of right answers."""
        activations = self._forward(x)
        logits = activations.pop()
        loss, hits, delta = _cross_entropy(logits, y)
        delta[np.arange(len(y)), y] -= 1
        delta /= np.float32(len(y))
        gradients: dict[str, NDArray[np.float32]] = {}
        for layer in range(len(activations) - 1, -1, -1):
            gradients[f"layers.{layer}.weight"] = activations[layer].T @ delta
            gradients[f"layers.{layer}.bias"] = delta.sum(axis=0)
            if layer:
                delta = delta @ self.model[f"layers.{layer}.weight"].T
                delta[activations[layer] <= 0] = 0
        return gradients, loss, hits

    def evaluate(self, data: Any, loss_fn: Any = None) -> dict[str, float]:
        """Return mean cross entropy and share of right answers; ValueError for data that do not fit."""
        if loss_fn is not None:
            raise ValueError("NumPyModel evaluates with cross entropy; loss_fn must be None")
        x, y = self._checked(data)
        loss_sum, hits = 0.0, 0
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, len(y), _EVALUATION_BATCH):
                stop = start + _EVALUATION_BATCH
                loss, right, _ = _cross_entropy(self._forward(x[start:stop])[-1], y[start:stop])
                loss_sum += loss
                hits += right
        return {"loss": loss_sum / len(y), "accuracy": hits / len(y)}

    def _checked(self, data: Any) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        x, y = as_arrays(data)
        x = np.ascontiguousarray(x.reshape(len(x), -1), np.float32)
        if x.shape[1] != self.layers[0]:
            raise ValueError(f"examples have {x.shape[1]} features, the model takes {self.layers[0]}")
        if y.ndim != 1 or y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= self.layers[-1]:
            raise ValueError(
                f"labels must be whole numbers from 0 to {self.layers[-1] - 1}, one for each example"
            )
        return x, y.astype(np.int64, copy=False)

    def _optimizer_for(self, config: TrainingConfig) -> Optimizer:
        """Return the optimiser that is asked for: the one in use, with its state, if it is the same."""
        wanted = make_optimizer(config.optimizer, config.optimizer_kwargs)
        current = self._optimizer
        same = current is not None and is_state_of(current.state_dict(), wanted)
        if current is None or not same or wanted is config.optimizer:
            if self._saved_optimizer is not None and is_state_of(self._saved_optimizer, wanted):
                wanted.load_state_dict(self._saved_optimizer)
            self._optimizer = current = wanted
        self._saved_optimizer = None
        return current

    def _anchor(self, config: TrainingConfig) -> Weights | None:
        """Return g of the proximal term, None where there is no such term."""
        if not config.proximal_coefficient:
            return None
        if config.global_weights is None:
            return self.get_weights()
        check_weights(self.model, config.global_weights)
        return config.global_weights

    # --- state ---

    def get_data_schema_hash(self) -> str:
        """Return 16 hex digits of the number of features and classes."""
        return short_hash(f"numpy_({self.layers[0]},)_({self.layers[-1]},)")

    def state_dict(self) -> dict[str, Any]:
        """Return weights, rounds, optimiser and random stream: what is needed to train on to equal bits."""
        optimizer = self._saved_optimizer if self._optimizer is None else self._optimizer.state_dict()
        return {**super().state_dict(), "optimizer": optimizer, "rng": generator_state(self._rng)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; the optimiser follows at the next `fit` that asks for it.

        Raises:
            ValueError: the state is one of another model; this one is unchanged then.
        """
        saved = require(state, "optimizer", (Mapping, type(None)))
        if saved is not None:
            check_optimizer_state(saved, self.model)
        rng = generator(0, Purpose.SAMPLING)
        restore_generator(rng, require(state, "rng", Mapping))
        super().load_state_dict(state)
        self._optimizer, self._saved_optimizer, self._rng = None, saved, rng


def _initial_weights(layers: tuple[int, ...], seed: int) -> dict[str, NDArray[np.float32]]:
    rng = generator(seed, Purpose.INIT)
    weights: dict[str, NDArray[np.float32]] = {}
    last = len(layers) - 2
    for layer, (inputs, outputs) in enumerate(pairwise(layers)):
        if last == 0:
            weight = np.zeros((inputs, outputs), np.float32)
        else:
            variance = (1 if layer == last else 2) / inputs
            weight = (rng.standard_normal((inputs, outputs)) * variance**0.5).astype(np.float32)
        weights[f"layers.{layer}.weight"] = weight
        weights[f"layers.{layer}.bias"] = np.zeros(outputs, np.float32)
    return weights


def _cross_entropy(
    logits: NDArray[np.float32], y: NDArray[np.int64]
) -> tuple[float, int, NDArray[np.float32]]:
    """Return the summed loss, the number of right answers and the probabilities; overwrites `logits`."""
    hits = int((logits.argmax(axis=1) == y).sum())
    logits -= logits.max(axis=1, keepdims=True)
    chosen = logits[np.arange(len(y)), y].astype(np.float64)
    np.exp(logits, out=logits)
    total = logits.sum(axis=1, keepdims=True)
    loss = float((np.log(total[:, 0], dtype=np.float64) - chosen).sum())
    logits /= total
    return loss, hits, logits


def _clip(gradients: dict[str, NDArray[np.float32]], limit: float) -> None:
    """Scale gradients down to a joint Euclidean norm of `limit`."""
    norm = float(np.sqrt(sum(float(np.square(g, dtype=np.float64).sum()) for g in gradients.values())))
    if norm > limit:
        for name in gradients:
            gradients[name] *= np.float32(limit / norm)
