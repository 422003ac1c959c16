"""The hash of a model's architecture: names, dtypes and shapes of everything it holds, and no weights."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from typing import Any

from quinkgl.manifest.canonical import canonical_json

_BUFFER = "__buffer__."


def compute_arch_hash(model: Any) -> str:
    """Return `sha256:` and the hex hash of a model's architecture, as a manifest's `model.arch_hash` has it.

    Hashed is the canonical JSON of `{"framework": …, "tensors": [[name, dtype, shape], …]}`, sorted by name.
    For a PyTorch module (or a wrapper that holds one as `.model`) these are its parameters, and its buffers
    with `__buffer__.` before their names; the framework is `pytorch` and dtypes read `torch.float32`. For
    every other model they are the arrays of `get_weights()`; the framework is the object's `framework`
    attribute, by default `numpy`, and dtypes read `float32`.

    Args:
        model: a `torch.nn.Module`, a wrapper around one, any object whose `get_weights()` gives named arrays,
            or such a mapping of names to arrays itself.

    Raises:
        TypeError: none of these.
    """
    for candidate in (model, getattr(model, "model", None)):
        if _is_torch_module(candidate):
            return _hash("pytorch", _torch_tensors(candidate))
    weights = model if isinstance(model, Mapping) else _weights(model)
    return _hash(str(getattr(model, "framework", "numpy")), _array_tensors(weights))


def _is_torch_module(value: object) -> bool:
    """Tell without importing torch: an object can only be a module if torch is loaded already."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)


def _torch_tensors(module: Any) -> list[list[Any]]:
    parameters = [[name, str(tensor.dtype), list(tensor.shape)] for name, tensor in module.named_parameters()]
    buffers = [
        [_BUFFER + name, str(tensor.dtype), list(tensor.shape)] for name, tensor in module.named_buffers()
    ]
    return parameters + buffers


def _weights(model: Any) -> Mapping[str, Any]:
    get_weights = getattr(model, "get_weights", None)
    weights = get_weights() if callable(get_weights) else None
    if not isinstance(weights, Mapping):
        raise TypeError(
            "compute_arch_hash needs a torch.nn.Module, an object whose get_weights() gives a mapping of "
            f"names to arrays, or such a mapping; got {type(model).__name__}"
        )
    return weights


def _array_tensors(weights: Mapping[str, Any]) -> list[list[Any]]:
    try:
        return [
            [str(name), str(array.dtype), [int(n) for n in array.shape]] for name, array in weights.items()
        ]
    except AttributeError as error:
        raise TypeError("compute_arch_hash needs arrays with a dtype and a shape") from error


def _hash(framework: str, tensors: list[list[Any]]) -> str:
    content = canonical_json(
        {"framework": framework, "tensors": sorted(tensors, key=lambda entry: str(entry[0]))}
    )
    return "sha256:" + hashlib.sha256(content).hexdigest()
