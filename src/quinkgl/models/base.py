"""What every model offers: weights in and out, training, evaluation, and all that evolves as one state."""

from __future__ import annotations

import hashlib
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from quinkgl.core.coroutines import run_without_event_loop
from quinkgl.core.weights import Weights, signature, signature_difference


@dataclass(slots=True)
class TrainingConfig:
    """How one call of `fit` trains.

    Raises ValueError for numbers that make no sense.
    """

    epochs: int = 1
    """Passes over the data."""
    batch_size: int = 32
    learning_rate: float = 0.001
    verbose: bool = False
    """Log each epoch at INFO rather than DEBUG (logger `quinkgl.models`)."""
    on_epoch_end: Callable[[int, float], object] | None = None
    """Called with the number of the epoch, from 1, and its mean loss."""
    loss_fn: Any = None
    """For PyTorchModel: a callable of outputs and targets that gives a scalar tensor; None: cross entropy."""
    optimizer: Any = None
    """`"sgd"` or `"adam"`, or an optimiser class or instance of the model's framework. None is the model's
    own default: SGD for NumPyModel, Adam for PyTorchModel."""
    optimizer_kwargs: Mapping[str, Any] | None = None
    """Further arguments of the optimiser's constructor, such as `{"momentum": 0.9}`."""
    grad_clip_norm: float | None = None
    """Scale each batch's gradient down to this Euclidean norm; None leaves it alone."""
    proximal_coefficient: float | None = None
    """μ of FedProx: adds μ/2·‖w − g‖² to the loss (Li et al. 2020, arXiv 1812.06127). None and 0 are the same
    to the bit."""
    global_weights: Weights | None = None
    """g of FedProx; None is the model as it is when `fit` is called."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number from 1 up, not {value!r}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be a positive number, not {self.learning_rate!r}")
        if self.grad_clip_norm is not None and not self.grad_clip_norm > 0:
            raise ValueError(f"grad_clip_norm must be a positive number, not {self.grad_clip_norm!r}")
        if self.proximal_coefficient is not None and not 0 <= self.proximal_coefficient < math.inf:
            raise ValueError(f"proximal_coefficient must be at least 0, not {self.proximal_coefficient!r}")


@dataclass(slots=True)
class TrainingResult:
    """What one call of `fit` did."""

    epochs_completed: int
    final_loss: float
    """Mean training loss of the last epoch, without the proximal term."""
    final_accuracy: float | None = None
    """Share of right answers in the last epoch, measured while it trained; None where it has no meaning."""
    samples_trained: int = 0
    """Examples in one epoch: what an update of this model claims as its sample count."""
    metadata: dict[str, Any] = field(default_factory=dict)


class ModelWrapper(ABC):
    """A model of some framework, as nodes use it.

    A subclass gives `get_weights`, `set_weights`, `evaluate`, and one of `fit` and `train`; the other
    follows. Nodes call `fit` in a worker thread. `train` of the published interface is `async` and by default
    runs `fit` where it is called, so it returns without having waited for anything; a subclass whose `train`
    really waits (for I/O, another task) must override `fit` as well, or `fit` raises RuntimeError.

    Args:
        model: the framework's own object.
        model_version: `"major.minor.patch"`; peers of different major versions do not exchange weights.
    """

    framework: ClassVar[str] = "custom"
    """Part of the architecture hash, see `quinkgl.manifest.compute_arch_hash`."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        """Refuse a class that can train in neither way, as ABC refuses missing abstract methods."""
        if cls.fit is ModelWrapper.fit and cls.train is ModelWrapper.train:
            raise TypeError(f"{cls.__name__} must override fit or train")
        return super().__new__(cls)

    def __init__(self, model: Any, model_version: str = "1.0.0") -> None:
        self.model = model
        self.model_version = model_version
        self.current_round = 0

    @abstractmethod
    def get_weights(self) -> dict[str, NDArray[Any]]:
        """Return copies of all parameters and buffers, by name, in the model's own order."""

    @abstractmethod
    def set_weights(self, weights: Weights) -> None:
        """Replace all parameters and buffers.

        Raises:
            ValueError: a name is unknown or missing, a dtype or shape differs, or a value is NaN or infinite;
                the model is unchanged then.
        """

    @abstractmethod
    def evaluate(self, data: Any, loss_fn: Any = None) -> dict[str, float]:
        """Return `{"loss": mean loss, "accuracy": share of right answers}` over the data."""

    def fit(self, data: Any, config: TrainingConfig | None = None) -> TrainingResult:
        """Train; blocks until it is done.

        Raises:
            RuntimeError: only `train` is overridden, and it waits for something.
        """
        return run_without_event_loop(self.train(data, config))

    async def train(self, data: Any, config: TrainingConfig | None = None) -> TrainingResult:
        """Train, in the calling task: `fit` for callers that await."""
        if type(self).fit is ModelWrapper.fit:
            raise NotImplementedError(f"{type(self).__name__}.train must not call super().train()")
        return self.fit(data, config)

    def get_data_schema_hash(self) -> str:
        """Return 16 hex digits that are equal for models which fit the same data.

        The default knows the classes alone, and warns; a wrapper should say what its data look like.
        """
        warnings.warn(
            f"{type(self).__name__} does not override get_data_schema_hash: "
            "models of the same classes pass for compatible whatever their data",
            UserWarning,
            stacklevel=2,
        )
        return short_hash(f"{type(self).__name__}_{type(self.model).__name__}")

    def get_model_version(self) -> str:
        """Return the model's version."""
        return self.model_version

    def increment_round(self) -> int:
        """Count one more round; return the number of rounds."""
        self.current_round += 1
        return self.current_round

    def state_dict(self) -> dict[str, Any]:
        """Return all that evolves, as a checkpoint takes it: here the weights and the number of rounds.

        A subclass with an optimiser or random streams adds them: a model that was restored must train to the
        same bits as one that was never interrupted.
        """
        return {"weights": self.get_weights(), "current_round": self.current_round}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            ValueError: the state is one of another model; this one is unchanged then.
        """
        current_round = require(state, "current_round", int)
        self.set_weights(require(state, "weights", Mapping))
        self.current_round = current_round


def short_hash(text: str) -> str:
    """Return the first 16 hex digits of the text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def check_weights(current: Weights, weights: Weights) -> None:
    """Refuse weights that do not fit a model whose weights look like `current`; order does not matter.

    Raises:
        ValueError: names, dtypes or shapes differ, or a value is NaN or infinite; the message names tensors.
    """
    arrays = {name: np.asarray(value) for name, value in weights.items()}
    in_order = {name: arrays[name] for name in current if name in arrays}
    in_order |= {name: array for name, array in arrays.items() if name not in current}
    difference = signature_difference(signature(current), signature(in_order))
    if difference is not None:
        raise ValueError(f"weights do not fit the model: {difference}")
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"weights do not fit the model: {name} holds NaN or infinity")


def as_arrays(data: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return features and labels of `(x, y)`, or of an object that has `x` and `y`, such as a Dataset.

    Raises:
        ValueError: it is neither, it is empty, or the two differ in length.
    """
    pair = data if isinstance(data, (tuple, list)) else (getattr(data, "x", None), getattr(data, "y", None))
    if len(pair) != 2 or pair[0] is None or pair[1] is None:
        raise ValueError(f"data must be (features, labels) or have x and y, not {type(data).__name__}")
    x, y = np.asarray(pair[0]), np.asarray(pair[1])
    if x.ndim < 1 or y.ndim < 1 or len(x) != len(y) or not len(x):
        raise ValueError(f"features {list(x.shape)} and labels {list(y.shape)} are empty or differ in length")
    return x, y


def require(state: Mapping[str, Any], key: str, kind: type | tuple[type, ...]) -> Any:
    """Return `state[key]`, which must be of this kind.

    Raises:
        ValueError: it is missing, or of another kind.
    """
    value = state.get(key)
    if isinstance(value, kind):
        return value
    found = f"a {type(value).__name__}" if key in state else "missing"
    raise ValueError(f"not a state of this kind: {key!r} is {found}")
