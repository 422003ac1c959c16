"""Optimisers of NumPyModel: SGD with momentum, and Adam. State is kept from round to round."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quinkgl.core.weights import Weights, signature, signature_difference
from quinkgl.models.base import require

Array: TypeAlias = NDArray[np.float32]
Arrays: TypeAlias = Mapping[str, Array]


class Optimizer(ABC):
    """Changes parameters in place, step by step. All arithmetic is float32."""

    name: ClassVar[str]

    def __init__(self) -> None:
        self.steps = 0
        self.slots: dict[str, dict[str, Array]] = {}
        """Averages that the rule keeps: what of, then by parameter."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return the arguments of the constructor that give this rule again."""

    @abstractmethod
    def _change(self, parameter: Array, gradient: Array, name: str, rate: float) -> None:
        """Apply one step to one parameter; `self.steps` already counts it. May overwrite `gradient`."""

    def step(self, parameters: Arrays, gradients: Arrays, learning_rate: float) -> None:
        """Take one step. Gradients may be overwritten."""
        self.steps += 1
        for name, parameter in parameters.items():
            self._change(parameter, gradients[name], name, learning_rate)

    def state_dict(self) -> dict[str, Any]:
        """Return the rule, its constants and all that evolves."""
        slots = {
            slot: {name: array.copy() for name, array in arrays.items()}
            for slot, arrays in self.slots.items()
        }
        return {"name": self.name, "settings": self.settings(), "steps": self.steps, "slots": slots}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` of the same rule returned; `check_optimizer_state` has looked at it."""
        self.steps = state["steps"]
        self.slots = {
            slot: {name: np.array(array, np.float32) for name, array in arrays.items()}
            for slot, arrays in state["slots"].items()
        }

    def _slot(self, slot: str, name: str, parameter: Array) -> Array:
        arrays = self.slots.setdefault(slot, {})
        if name not in arrays:
            arrays[name] = np.zeros_like(parameter)
        return arrays[name]


class SGD(Optimizer):
    """Stochastic gradient descent: v ← β·v + g, w ← w − η·v.

    Args:
        momentum: β in [0, 1); 0 is plain gradient descent, without state.
        weight_decay: λ ≥ 0; adds λ·w to the gradient.
    """

    name = "sgd"

    def __init__(self, momentum: float = 0.0, weight_decay: float = 0.0) -> None:
        super().__init__()
        if not 0 <= momentum < 1 or not 0 <= weight_decay < 1:
            raise ValueError(f"momentum ({momentum}) and weight_decay ({weight_decay}) must lie in [0, 1)")
        self.momentum = momentum
        self.weight_decay = weight_decay

    def settings(self) -> dict[str, Any]:
        """Return momentum and weight decay."""
        return {"momentum": self.momentum, "weight_decay": self.weight_decay}

    def _change(self, parameter: Array, gradient: Array, name: str, rate: float) -> None:
        if self.weight_decay:
            gradient += np.float32(self.weight_decay) * parameter
        if self.momentum:
            velocity = self._slot("velocity", name, parameter)
            velocity *= np.float32(self.momentum)
            velocity += gradient
            gradient = velocity
        parameter -= np.float32(rate) * gradient


class Adam(Optimizer):
    """Adam with bias correction (Kingma, Ba 2015, arXiv 1412.6980, algorithm 1).

    Args:
        betas: decay rates of the two averages, each in [0, 1).
        eps: ε > 0, added to the root.
        weight_decay: λ ≥ 0; adds λ·w to the gradient.
    """

    name = "adam"

    def __init__(
        self, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.0
    ) -> None:
        super().__init__()
        self.beta1, self.beta2 = betas
        if not 0 <= self.beta1 < 1 or not 0 <= self.beta2 < 1 or not eps > 0 or not 0 <= weight_decay < 1:
            raise ValueError(
                f"betas {betas} and weight_decay {weight_decay} must lie in [0, 1), eps {eps} above 0"
            )
        self.eps = eps
        self.weight_decay = weight_decay

    def settings(self) -> dict[str, Any]:
        """Return the decay rates, ε and the weight decay."""
        return {"betas": (self.beta1, self.beta2), "eps": self.eps, "weight_decay": self.weight_decay}

    def _change(self, parameter: Array, gradient: Array, name: str, rate: float) -> None:
        if self.weight_decay:
            gradient += np.float32(self.weight_decay) * parameter
        mean = self._slot("mean", name, parameter)
        mean += np.float32(1 - self.beta1) * (gradient - mean)
        square = self._slot("square", name, parameter)
        square += np.float32(1 - self.beta2) * (gradient * gradient - square)
        correction = (1 - self.beta2**self.steps) ** 0.5
        root = np.sqrt(square)
        root /= np.float32(correction)
        root += np.float32(self.eps)
        parameter -= np.float32(rate / (1 - self.beta1**self.steps)) * (mean / root)


_BY_NAME: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam}


def make_optimizer(choice: Any, options: Mapping[str, Any] | None) -> Optimizer:
    """Return the optimiser that `TrainingConfig.optimizer` and `.optimizer_kwargs` ask for.

    Raises:
        ValueError: there is no such optimiser, or it has no such option.
    """
    if isinstance(choice, Optimizer):
        return choice
    kind = SGD if choice is None else _BY_NAME.get(choice) if isinstance(choice, str) else choice
    if isinstance(kind, type) and issubclass(kind, Optimizer):
        try:
            return kind(**(options or {}))
        except TypeError as error:
            raise ValueError(f"optimizer_kwargs of {kind.__name__}: {error}") from None
    raise ValueError(f"NumPyModel has no optimizer {choice!r}; possible are {', '.join(_BY_NAME)}")


def check_optimizer_state(state: Mapping[str, Any], parameters: Weights) -> None:
    """Refuse a state that no optimiser of these parameters can have.

    Raises:
        ValueError: something is missing, of another kind, or belongs to other parameters.
    """
    require(state, "name", str)
    require(state, "settings", Mapping)
    require(state, "steps", int)
    for slot, arrays in require(state, "slots", Mapping).items():
        difference = signature_difference(signature(parameters), signature(arrays))
        if difference is not None:
            raise ValueError(f"the optimiser's {slot} does not fit the model: {difference}")


def is_state_of(state: Mapping[str, Any], optimizer: Optimizer) -> bool:
    """Whether the state was left by the same rule with the same constants."""
    return state["name"] == optimizer.name and dict(state["settings"]) == optimizer.settings()
