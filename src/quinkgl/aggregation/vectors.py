"""Rules see vectors, models have tensors: the views between the two, block by block.

A coordinate-wise rule is written once, for a matrix with one row per update and one column per coordinate.
It never sees the whole model at once: `combine_blocks` hands it blocks of all floating tensors in turn, as
float64, so that memory stays at the result plus one block, whatever the size of the model and the number of
updates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quinkgl.core.weights import Weights, is_floating

Rule: TypeAlias = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Takes (updates, coordinates), which it may overwrite, and gives (coordinates,)."""

BLOCK_ELEMENTS: Final = 1 << 17
"""Numbers in one matrix, all updates together: 1 MiB of float64 stays in a core's cache."""
_LEAST_COLUMNS: Final = 1024


def named(weights: Any) -> dict[str, NDArray[Any]]:
    """Return weights as names and arrays; a bare array and a list of arrays get names by position.

    Raises:
        ValueError: it is none of these, or an array does not hold numbers that can be combined.
    """
    if isinstance(weights, Mapping):
        arrays = {str(name): np.asarray(value) for name, value in weights.items()}
    elif isinstance(weights, (list, tuple)):
        arrays = {str(position): np.asarray(value) for position, value in enumerate(weights)}
    else:
        arrays = {"weights": np.asarray(weights)}
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
            raise ValueError(f"{name} has dtype {array.dtype}, which no rule can combine")
    return arrays


def like(original: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    """Return arrays in the form that `original` has: the opposite of `named`."""
    if isinstance(original, Mapping):
        return dict(zip(original, arrays.values(), strict=True))
    if isinstance(original, (list, tuple)):
        return list(arrays.values())
    return arrays["weights"]


def first_nonfinite(weights: Weights) -> str | None:
    """Return the name of the first tensor that holds NaN or infinity, None where all are finite."""
    for name, array in weights.items():
        if is_floating(array) and not all(
            np.isfinite(block).all() for block in _pieces(array, BLOCK_ELEMENTS)
        ):
            return name
    return None


def root_mean_square(weights: Weights) -> float:
    """Return the root mean square over all floating coordinates; 0 for none, infinity where it overflows."""
    total, count = 0.0, 0
    with np.errstate(over="ignore"):
        for array in weights.values():
            if is_floating(array):
                count += array.size
                for block in _pieces(array, BLOCK_ELEMENTS):
                    total += float(np.square(block, dtype=np.float64).sum())
    return math.sqrt(total / count) if count else 0.0


def combine_blocks(
    updates: Sequence[Weights], rule: Rule, *, own: int | None = None, convex: bool = True
) -> dict[str, NDArray[Any]]:
    """Apply a coordinate-wise rule to all floating tensors; integer buffers are taken, never averaged.

    Args:
        updates: weights of one signature, at least one of them.
        rule: the rule; blocks come in the order of tensors and coordinates.
        own: position of this node's own weights; its integer buffers (such as BatchNorm's counters) are kept.
            None takes the largest value of each element.
        convex: the rule's results lie between the smallest and the largest input of each coordinate. Rounding
            may leave that interval by an ulp where inputs are float64, and is held inside then: equal inputs
            give exactly that input.

    Returns:
        New arrays with the names, dtypes and shapes of the inputs; each result is computed in float64 and
        rounded once.
    """
    rows = len(updates)
    columns = max(_LEAST_COLUMNS, BLOCK_ELEMENTS // rows)
    matrix = np.empty((rows, columns), np.float64)
    result: dict[str, NDArray[Any]] = {}
    for name, first in updates[0].items():
        inputs = [np.ascontiguousarray(update[name]).reshape(-1) for update in updates]
        if not is_floating(first):
            chosen = inputs[own] if own is not None else np.maximum.reduce(inputs)
            result[name] = np.array(chosen).reshape(first.shape)
            continue
        output = np.empty(first.size, first.dtype)
        for start in range(0, first.size, columns):
            stop = min(start + columns, first.size)
            block = matrix[:, : stop - start]
            for row, vector in zip(block, inputs, strict=True):
                row[:] = vector[start:stop]
            bounds = (block.min(axis=0), block.max(axis=0)) if convex and first.dtype == np.float64 else None
            combined = rule(block)
            output[start:stop] = combined if bounds is None else np.clip(combined, *bounds)
        result[name] = output.reshape(first.shape)
    return result


def _pieces(array: NDArray[Any], size: int) -> Iterator[NDArray[Any]]:
    flat = np.ascontiguousarray(array).reshape(-1)
    for start in range(0, flat.size, size):
        yield flat[start : start + size]
