"""The models that ``--model`` names, or a function of the user's that makes one."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from quinkgl.models import ModelWrapper, NumPyModel


class ModelError(Exception):
    """A model cannot be made as asked. The message is one line."""


def make_model(
    choice: str, *, inputs: int, classes: int, hidden: int, seed: int, peer: int | bytes | None
) -> ModelWrapper:
    """Make the model that ``choice`` names, with weights that depend on ``seed`` alone.

    Args:
        choice: ``softmax``, ``mlp``, ``torch``, or ``MODULE:FUNCTION``. The function is called with the
            keyword arguments ``inputs``, ``classes``, ``seed`` and ``peer``, and returns a
            `quinkgl.models.ModelWrapper`.
        inputs: features of one example.
        classes: classes to tell apart.
        hidden: hidden units of ``mlp`` and ``torch``.
        seed: the swarm's seed.
        peer: what makes this peer's random streams its own: an index, or its id.

    Raises:
        ModelError: no such model, or the user's function failed.
        ImportError: ``torch`` without PyTorch installed; the message says how to install it.
    """
    if choice == "softmax":
        return NumPyModel.softmax(inputs, classes, seed=seed, peer=peer)
    if choice == "mlp":
        return NumPyModel.mlp(inputs, hidden, classes, seed=seed, peer=peer)
    if choice == "torch":
        return _torch_mlp(inputs, hidden, classes, seed=seed, peer=peer)
    module_name, colon, function_name = choice.partition(":")
    if not colon:
        raise ModelError(f"there is no model {choice!r}: softmax, mlp, torch or MODULE:FUNCTION")
    return _call(module_name, function_name, inputs=inputs, classes=classes, seed=seed, peer=peer)


def _torch_mlp(
    inputs: int, hidden: int, classes: int, *, seed: int, peer: int | bytes | None
) -> ModelWrapper:
    from quinkgl.models import PyTorchModel  # first: its ImportError says how to install torch
    from quinkgl.models.torch_zoo import build_mlp

    module = build_mlp((inputs,), classes, hidden=hidden, seed=seed)
    return PyTorchModel(module, seed=seed, peer=peer)


def _call(module_name: str, function_name: str, **arguments: Any) -> ModelWrapper:
    here = str(Path.cwd())
    if (
        here not in sys.path
    ):  # as `python -m` would: the user's module usually lies where the command is typed
        sys.path.insert(0, here)
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        raise ModelError(f"cannot load {module_name}:{function_name}: {error}") from error
    try:
        model = function(**arguments)
    except Exception as error:
        raise ModelError(f"{module_name}:{function_name} failed: {type(error).__name__}: {error}") from error
    if not isinstance(model, ModelWrapper):
        kind = type(model).__name__
        raise ModelError(f"{module_name}:{function_name} returned {kind}, not a quinkgl.models.ModelWrapper")
    return model
