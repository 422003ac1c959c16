"""Wraps a PyTorch module. Only this module and `torch_zoo` import torch, and only when they are used."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

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

Batch: TypeAlias = tuple[Tensor, Tensor]

_LOG = logging.getLogger("quinkgl.models")
_EVALUATION_BATCH = 256
_OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}


_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class PyTorchModel(ModelWrapper):
    """A PyTorch module on any device.

    Data are `(x, y)`, an object with `.x` and `.y` (float32 and int64 arrays, reshuffled each epoch), or any
    iterable of such batches, a DataLoader for instance, which is iterated once an epoch. While the model
    trains, dropout and all else that draws from PyTorch's global generators draws from streams of its own;
    those generators are as before afterwards. (Models that train at the same time in threads of one process
    share them meanwhile, and their dropout is not reproducible then.)

    Where the module normalises over batches, a single example left over at the end of an epoch joins the
    batch before it, since it has no variance of its own.

    Args:
        model: the module; it is moved to the device.
        device: such as `"cpu"`, `"cuda:1"`, `"mps"`.
        model_version: see `ModelWrapper`.
        seed: the seed of the run, for the order of examples and for dropout; None draws one from PyTorch's
            global generator, so that `torch.manual_seed` decides it.
        peer: index or id of the peer; each has streams of its own.
    """

    framework = "pytorch"

    def __init__(
        self,
        model: nn.Module,
        device: str | torch.device = "cpu",
        model_version: str = "1.0.0",
        *,
        seed: int | None = None,
        peer: int | bytes | None = None,
    ) -> None:
        self.device = torch.device(device)
        super().__init__(model.to(self.device), model_version)
        if seed is None:
            seed = int(torch.randint(2**62, ()).item())
        self._order = generator(seed, Purpose.SAMPLING, peer)
        self._noise = _Noise(self.device, int(generator(seed, Purpose.NOISE, peer).integers(2**63)))
        self._normalises = any(isinstance(module, _BATCH_NORMS) for module in model.modules())
        self._optimizer: torch.optim.Optimizer | None = None
        self._optimizer_choice: tuple[Any, type, dict[str, Any]] | None = None
        self._saved_optimizer: Mapping[str, Any] | None = None

    # --- weights ---

    def get_weights(self) -> dict[str, NDArray[Any]]:
        """Return copies of all parameters and buffers, in the order of the module's `state_dict`.

        Raises:
            ValueError: a tensor has a dtype that NumPy does not have (bfloat16); the message names it.
        """
        weights: dict[str, NDArray[Any]] = {}
        for name, tensor in self.model.state_dict().items():
            try:
                weights[name] = tensor.detach().to("cpu", copy=True).contiguous().numpy()
            except TypeError:
                raise ValueError(
                    f"{name} is {tensor.dtype}, which NumPy does not have; convert the module to float32"
                ) from None
        return weights

    def set_weights(self, weights: Weights) -> None:
        """Replace all parameters and buffers; ValueError as `ModelWrapper.set_weights` says."""
        arrays = {name: np.asarray(value) for name, value in weights.items()}
        tensors = self.model.state_dict()
        check_weights(_templates(tensors), arrays)
        with torch.no_grad():
            for name, tensor in tensors.items():
                tensor.copy_(torch.from_numpy(np.array(arrays[name])))

    # --- training ---

    def fit(self, data: Any, config: TrainingConfig | None = None) -> TrainingResult:
        """Train on `data`; modules are in training mode meanwhile and as before afterwards.

        `config.optimizer` may be `"sgd"`, `"adam"`, an optimiser class (its learning rate is set at each
        call), an instance (used as it is), or None for Adam. The optimiser lives on, with its state, until
        another one is asked for. Loss and accuracy are those of the last epoch.

        Raises:
            ValueError: data without examples, or a `config` that this model cannot follow.
        """
        config = config or TrainingConfig()
        batches, count = self._batches(data, config.batch_size, float_labels=config.loss_fn is not None)
        anchor = self._anchor(config)
        optimizer = self._optimizer_for(config)
        with _mode(self.model, training=True), self._noise:
            for epoch in range(1, config.epochs + 1):
                loss, accuracy, seen = self._epoch(batches(), config, optimizer, anchor)
                _LOG.log(
                    logging.INFO if config.verbose else logging.DEBUG, "epoch %d: loss %.4f", epoch, loss
                )
                if config.on_epoch_end is not None:
                    config.on_epoch_end(epoch, loss)
        return TrainingResult(config.epochs, loss, accuracy, seen if count is None else count)

    def _epoch(
        self,
        batches: Iterable[Batch],
        config: TrainingConfig,
        optimizer: torch.optim.Optimizer,
        anchor: list[tuple[nn.Parameter, Tensor]],
    ) -> tuple[float, float | None, int]:
        """One pass; returns mean loss, share of right answers, examples seen."""
        measured = _Measured(config.loss_fn)
        for x, y in batches:
            optimizer.zero_grad()
            outputs = self.model(x)
            loss = measured(outputs, y)
            if anchor:
                distance = torch.stack(
                    [(parameter - point).square().sum() for parameter, point in anchor]
                ).sum()
                loss = loss + 0.5 * float(config.proximal_coefficient or 0.0) * distance
            loss.backward()  # type: ignore[no-untyped-call]
            if config.grad_clip_norm is not None:
                nn.utils.clip_grad_norm_(self.model.parameters(), config.grad_clip_norm)
            optimizer.step()
        return measured.result()

    def evaluate(self, data: Any, loss_fn: Any = None) -> dict[str, float]:
        """Return mean loss and, for classification, the share of right answers, in evaluation mode.

        Random streams and modes are as before afterwards.
        """
        batches, _ = self._batches(data, _EVALUATION_BATCH, float_labels=loss_fn is not None, shuffle=False)
        measured = _Measured(loss_fn)
        with _mode(self.model, training=False), torch.no_grad():
            for x, y in batches():
                measured(self.model(x), y)
        loss, accuracy, _ = measured.result()
        return {"loss": loss} if accuracy is None else {"loss": loss, "accuracy": accuracy}

    def _batches(
        self, data: Any, batch_size: int, *, float_labels: bool, shuffle: bool = True
    ) -> tuple[Callable[[], Iterator[Batch]], int | None]:
        """Return what gives one pass over the data, and the number of examples where it is known."""
        if not isinstance(data, (tuple, list)) and not (hasattr(data, "x") and hasattr(data, "y")):

            def given() -> Iterator[Batch]:
                for x, y in data:
                    yield x.to(self.device), y.to(self.device)

            return given, None
        x, y = as_arrays(tuple(map(_to_numpy, data)) if isinstance(data, (tuple, list)) else data)
        features = torch.from_numpy(np.array(x, np.float32))
        as_floats = float_labels and y.dtype.kind == "f"
        labels = torch.from_numpy(np.array(y, np.float32 if as_floats else np.int64))

        def from_arrays() -> Iterator[Batch]:
            order = torch.from_numpy(self._order.permutation(len(y)) if shuffle else np.arange(len(y)))
            for start, stop in _bounds(len(y), batch_size, merge=shuffle and self._normalises):
                batch = order[start:stop]
                yield features[batch].to(self.device), labels[batch].to(self.device)

        return from_arrays, len(y)

    def _anchor(self, config: TrainingConfig) -> list[tuple[nn.Parameter, Tensor]]:
        """Return each trainable parameter with its point of the proximal term; empty without that term."""
        if not config.proximal_coefficient:
            return []
        parameters = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        if config.global_weights is None:
            return [(parameter, parameter.detach().clone()) for _, parameter in parameters]
        given = config.global_weights
        check_weights(
            _templates(dict(parameters)),
            {name: np.asarray(given[name]) for name, _ in parameters if name in given},
        )
        return [(p, torch.from_numpy(np.array(given[name])).to(self.device)) for name, p in parameters]

    # --- optimiser ---

    def _optimizer_for(self, config: TrainingConfig) -> torch.optim.Optimizer:
        """Return the optimiser that is asked for: the one in use, with its state, if it is the same."""
        given = config.optimizer if isinstance(config.optimizer, torch.optim.Optimizer) else None
        kind = type(given) if given is not None else _optimizer_class(config.optimizer)
        options = dict(config.optimizer_kwargs or {})
        current = self._optimizer
        if current is None or self._optimizer_choice != (given, kind, options):
            current = given or _make_optimizer(kind, self.model, config.learning_rate, options)
            self._restore_optimizer(current)
            self._optimizer, self._optimizer_choice = current, (given, kind, options)
        if given is None:
            for group in current.param_groups:
                group["lr"] = config.learning_rate
        return current

    def _restore_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Give a fresh optimiser the state of a checkpoint, if it was left by the same kind."""
        saved, self._saved_optimizer = self._saved_optimizer, None
        if saved is None:
            return
        kind = type(optimizer).__name__
        if saved["kind"] == kind:
            optimizer.load_state_dict(_to_tensors(saved["state"]))
        else:
            _LOG.warning("the saved %s is dropped: training goes on with a new %s", saved["kind"], kind)

    # --- state ---

    def get_data_schema_hash(self) -> str:
        """Return 16 hex digits of the names and shapes of weights and biases."""
        shapes = {
            name: list(parameter.shape)
            for name, parameter in self.model.named_parameters()
            if "weight" in name or "bias" in name
        }
        return short_hash("pytorch_" + "_".join(f"{name}:{shapes[name]}" for name in sorted(shapes)))

    def state_dict(self) -> dict[str, Any]:
        """Return weights, rounds, optimiser and random streams: what is needed to train on to equal bits.

        Tensors are NumPy arrays in it. A DataLoader with a generator of its own is not part of it.
        """
        optimizer: Mapping[str, Any] | None = self._saved_optimizer
        if self._optimizer is not None:
            optimizer = {
                "kind": type(self._optimizer).__name__,
                "state": _to_arrays(self._optimizer.state_dict()),
            }
        return {
            **super().state_dict(),
            "optimizer": optimizer,
            "order": generator_state(self._order),
            "noise": self._noise.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; the optimiser follows at the next `fit` that asks for its kind.

        Raises:
            ValueError: the state is one of another model; this one is unchanged then.
        """
        saved = require(state, "optimizer", (Mapping, type(None)))
        if saved is not None:
            require(saved, "kind", str)
            require(saved, "state", Mapping)
        order = generator(0, Purpose.SAMPLING)
        restore_generator(order, require(state, "order", Mapping))
        noise = _Noise(self.device, 0)
        noise.load_state_dict(require(state, "noise", Mapping))
        super().load_state_dict(state)
        self._order, self._noise = order, noise
        self._optimizer, self._optimizer_choice, self._saved_optimizer = None, None, saved


class _Noise:
    """Random streams of one model in place of PyTorch's global generators, while it is entered."""

    def __init__(self, device: torch.device, seed: int) -> None:
        self._device = device
        self._seed = seed
        self._own: list[Tensor] | None = None
        self._outer: list[Tensor] = []

    def __enter__(self) -> None:
        self._outer = self._get()
        if self._own is None:
            torch.default_generator.manual_seed(self._seed)
            if self._device.type == "mps":
                torch.mps.manual_seed(self._seed)
            elif self._device.type != "cpu":
                with self._backend().device(self._device):
                    self._backend().manual_seed(self._seed)
        else:
            self._set(self._own)

    def __exit__(self, *_error: object) -> None:
        self._own = self._get()
        self._set(self._outer)

    def _backend(self) -> Any:
        """The module of this kind of accelerator, such as `torch.cuda`."""
        return getattr(torch, self._device.type)

    def _get(self) -> list[Tensor]:
        states = [torch.get_rng_state()]
        if self._device.type == "mps":
            states.append(torch.mps.get_rng_state())
        elif self._device.type != "cpu":
            states.append(self._backend().get_rng_state(self._device))
        return states

    def _set(self, states: list[Tensor]) -> None:
        torch.set_rng_state(states[0])
        if self._device.type == "mps":
            torch.mps.set_rng_state(states[1])
        elif self._device.type != "cpu":
            self._backend().set_rng_state(states[1], self._device)

    def state_dict(self) -> dict[str, Any]:
        own = self._own
        return {"seed": self._seed, "states": own and [bytes(state.numpy().tobytes()) for state in own]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        seed = require(state, "seed", int)
        saved = require(state, "states", (list, type(None)))
        outer = self._get()
        if saved is not None and [len(item) for item in saved] != [len(item) for item in outer]:
            raise ValueError("not a state of this kind: the random streams are those of another device")
        own = saved and [torch.frombuffer(bytearray(item), dtype=torch.uint8) for item in saved]
        self._seed, self._own = seed, own


class _Measured:
    """A loss function that keeps the sums behind mean loss and accuracy."""

    def __init__(self, loss_fn: Any) -> None:
        self._loss_fn = loss_fn or nn.functional.cross_entropy
        self._loss_sum = 0.0
        self._hits = 0
        self._classified = 0
        self._seen = 0

    def __call__(self, outputs: Tensor, y: Tensor) -> Tensor:
        loss: Tensor = self._loss_fn(outputs, y)
        count = len(y)
        self._seen += count
        self._loss_sum += float(loss.detach()) * count
        if outputs.ndim == 2 and y.ndim == 1 and not y.is_floating_point():
            self._hits += int((outputs.detach().argmax(dim=1) == y).sum())
            self._classified += count
        return loss

    def result(self) -> tuple[float, float | None, int]:
        """Mean loss, share of right answers (None without classes), examples."""
        if not self._seen:
            raise ValueError("the data hold no examples")
        accuracy = self._hits / self._classified if self._classified else None
        return self._loss_sum / self._seen, accuracy, self._seen


def _bounds(count: int, size: int, *, merge: bool) -> Iterator[tuple[int, int]]:
    """Start and end of each batch; with `merge` a last batch of one example joins the one before it."""
    single = merge and count > size and count % size == 1
    for start in range(0, count - single, size):
        stop = min(start + size, count)
        yield start, stop + 1 if single and stop == count - 1 else stop


@contextmanager
def _mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Training or evaluation mode for a while; each submodule gets its own mode back."""
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, was_training in before:
            module.training = was_training


def _optimizer_class(choice: Any) -> type[torch.optim.Optimizer]:
    if choice is None:
        return torch.optim.Adam
    kind = _OPTIMIZERS.get(choice) if isinstance(choice, str) else choice
    if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer):
        return kind
    raise ValueError(
        f"PyTorchModel has no optimizer {choice!r}; possible are {', '.join(_OPTIMIZERS)}, and classes and "
        "instances of torch.optim.Optimizer"
    )


def _make_optimizer(
    kind: type[torch.optim.Optimizer], model: nn.Module, learning_rate: float, options: Mapping[str, Any]
) -> torch.optim.Optimizer:
    if "lr" in options:
        raise ValueError("optimizer_kwargs must not hold lr: set learning_rate")
    make: Any = kind
    try:
        optimizer: torch.optim.Optimizer = make(model.parameters(), lr=learning_rate, **options)
    except TypeError as error:
        raise ValueError(f"optimizer_kwargs of {kind.__name__}: {error}") from None
    return optimizer


def _templates(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """Arrays with the dtypes and shapes of tensors, without copying any."""
    templates: dict[str, NDArray[Any]] = {}
    for name, tensor in tensors.items():
        dtype = torch.empty((), dtype=tensor.dtype).numpy().dtype
        templates[name] = np.broadcast_to(np.zeros((), dtype), tuple(tensor.shape))
    return templates


def _to_numpy(value: Any) -> Any:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value


def _to_arrays(value: Any) -> Any:
    """Replace tensors by arrays, in nested containers."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True).numpy()
    if isinstance(value, Mapping):
        return {key: _to_arrays(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_to_arrays(item) for item in value)
    return value


def _to_tensors(value: Any) -> Any:
    """Replace arrays by tensors, in nested containers."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.array(value))
    if isinstance(value, Mapping):
        return {key: _to_tensors(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_to_tensors(item) for item in value)
    return value
