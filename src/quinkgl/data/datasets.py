"""A labelled data set in memory, and the optical digits that come with the package."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class DataError(ValueError):
    """Data cannot be used. The message is one line: what is wrong, where, and what to do."""


class DataFileError(DataError):
    """A file of data is not there, or cannot be read or written; its content is not at fault."""


def unreadable(path: Path, error: OSError) -> DataError:
    """Return what to raise when reading ``path`` failed.

    An OSError without a number is one of the gzip module: the file was read, and is damaged.
    """
    if error.errno is None:
        return DataError(f"{path} is damaged: {error}")
    return DataFileError(f"cannot read {path}: {error.strerror}")


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Labelled examples for classification.

    Raises DataError for arrays that do not fit together, labels outside the classes, and features that are
    not finite.
    """

    x: NDArray[np.float32]
    """Features, (n, features), float32; an image is flattened row by row."""
    y: NDArray[np.int64]
    """Labels, (n,), int64, from 0 to num_classes − 1."""
    name: str
    num_classes: int
    input_shape: tuple[int, ...]
    """Shape of one example before it was flattened, such as (8, 8)."""

    def __post_init__(self) -> None:
        where = f"data set {self.name!r}"
        if self.x.ndim != 2 or self.y.ndim != 1 or len(self.x) != len(self.y):
            raise DataError(
                f"{where}: features {list(self.x.shape)} and labels {list(self.y.shape)} do not fit; "
                "give one row of features for each label"
            )
        if self.x.dtype != np.float32 or self.y.dtype != np.int64:
            raise DataError(f"{where}: features must be float32 and labels int64")
        if math.prod(self.input_shape) != self.x.shape[1]:
            raise DataError(
                f"{where}: examples of shape {list(self.input_shape)} do not have {self.x.shape[1]} features"
            )
        if len(self.y) and not 0 <= self.y.min() <= self.y.max() < self.num_classes:
            raise DataError(
                f"{where}: labels go from {self.y.min()} to {self.y.max()}, with {self.num_classes} classes; "
                f"number them from 0 to {self.num_classes - 1}"
            )
        if not np.isfinite(self.x).all():
            raise DataError(f"{where}: features hold NaN or infinity; remove or replace them")

    def __len__(self) -> int:
        return len(self.y)

    @property
    def xy(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Features and labels, as models take them."""
        return self.x, self.y

    @property
    def features(self) -> int:
        """Number of features of one example."""
        return int(self.x.shape[1])

    def class_counts(self) -> NDArray[np.int64]:
        """Return how many examples each class has, (num_classes,)."""
        return np.bincount(self.y, minlength=self.num_classes).astype(np.int64)

    def subset(self, indices: NDArray[np.integer[Any]], name: str | None = None) -> Dataset:
        """Return a copy of the examples at `indices`, in that order."""
        return Dataset(
            self.x[indices], self.y[indices], name or self.name, self.num_classes, self.input_shape
        )


def make_dataset(
    x: NDArray[Any],
    y: NDArray[Any],
    *,
    name: str,
    num_classes: int | None = None,
    input_shape: tuple[int, ...] | None = None,
    scale: float | None = None,
) -> Dataset:
    """Return a data set of arrays as files hold them.

    Args:
        x: features, (n, …), numbers; flattened to (n, features).
        y: labels, (n,) or (n, 1), whole numbers.
        name: for messages.
        num_classes: by default the largest label + 1.
        input_shape: by default the shape of `x` without its first dimension.
        scale: what features are divided by; by default 255 for 8-bit unsigned integers, 1 for the rest.

    Raises:
        DataError: the arrays cannot be such a data set.
    """
    if x.ndim < 2 or x.dtype.kind not in "biuf":
        raise DataError(
            f"{name}: features must be numbers with at least two dimensions, not {x.dtype} {list(x.shape)}"
        )
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or y.dtype.kind not in "biuf":
        raise DataError(
            f"{name}: labels must be one whole number for each example, not {y.dtype} {list(y.shape)}"
        )
    if not len(y):
        raise DataError(f"{name}: there are no examples in it")
    labels = y.astype(np.int64) if np.isfinite(y).all() and np.abs(y).max() < 1 << 31 else None
    if labels is None or (labels != y).any():
        raise DataError(f"{name}: labels must be whole numbers; number the classes from 0")
    if scale is None:
        scale = 255.0 if x.dtype == np.uint8 else 1.0
    with np.errstate(over="ignore"):  # what is too large becomes infinity, which Dataset refuses
        flat = x.reshape(len(x), -1).astype(np.float32)
    if scale != 1.0:
        flat /= np.float32(scale)
    return Dataset(
        np.ascontiguousarray(flat),
        labels,
        name,
        int(labels.max()) + 1 if num_classes is None else num_classes,
        tuple(x.shape[1:]) if input_shape is None else input_shape,
    )


def load_digits() -> Dataset:
    """Return the optical digits of UCI: 1,797 images of 8 × 8, ten classes, features from 0 to 1.

    Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
    Repository, 1998, https://doi.org/10.24432/C50P49, test part; CC BY 4.0 (ATTRIBUTION.md beside this
    module).
    """
    with (
        resources.files("quinkgl.data").joinpath("digits.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as arrays,
    ):
        return make_dataset(arrays["x"], arrays["y"], name="digits", num_classes=10, scale=16.0)
