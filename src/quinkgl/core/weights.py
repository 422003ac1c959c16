"""Weights: an ordered mapping of names to arrays, and what two sides must agree on about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Weights: TypeAlias = Mapping[str, NDArray[Any]]
"""Names to arrays, in the model's own order. Floating tensors are averaged, integer buffers never are."""


class TensorSpec(NamedTuple):
    """Name, dtype (NumPy's name of it, such as `"float32"`) and shape of one tensor."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}{list(self.shape)}"


Signature: TypeAlias = tuple[TensorSpec, ...]
"""What a set of weights looks like, without the values, in order."""

_SHOWN = 3


def signature(weights: Weights) -> Signature:
    """Return the signature of weights."""
    return tuple(TensorSpec(name, array.dtype.name, array.shape) for name, array in weights.items())


def signature_difference(expected: Signature, found: Signature) -> str | None:
    """Return in one line how two signatures differ, None where they are equal.

    Names the first few tensors that are missing, unknown or of another dtype or shape, then how many more
    there are; equal tensors in another order are a difference too.
    """
    if expected == found:
        return None
    wanted = {spec.name: spec for spec in expected}
    given = {spec.name: spec for spec in found}
    lines = [f"{name} is missing" for name in wanted if name not in given]
    lines += [f"{name} is unknown" for name in given if name not in wanted]
    for name, spec in wanted.items():
        other = given.get(name, spec)
        if spec.dtype != other.dtype:
            lines.append(f"{name} has dtype {other.dtype}, not {spec.dtype}")
        if spec.shape != other.shape:
            lines.append(f"{name} has shape {list(other.shape)}, not {list(spec.shape)}")
    if not lines:
        position, (want, have) = next(
            (at, pair) for at, pair in enumerate(zip(expected, found, strict=False)) if pair[0] != pair[1]
        )
        lines.append(f"tensor {position} is {have.name}, not {want.name}: the order differs")
    more = len(lines) - _SHOWN
    return "; ".join(lines[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def is_floating(array: NDArray[Any]) -> bool:
    """Whether a tensor holds floating-point numbers, which rules may average."""
    return bool(np.issubdtype(array.dtype, np.floating))
