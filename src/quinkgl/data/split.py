"""Splits that keep the proportions of the classes."""

from __future__ import annotations

import numpy as np
from numpy.random import PCG64, Generator
from numpy.typing import NDArray

from quinkgl.core.seeds import Purpose, seed_sequence
from quinkgl.data.datasets import DataError, Dataset

SPLIT_STREAM, PROPORTION_STREAM, SHUFFLE_STREAM, SAMPLE_STREAM = range(4)
"""Which of the streams for data draws what: a draw of one never moves another."""


def data_stream(seed: int, stream: int) -> Generator:
    """Return the generator of one of the streams above."""
    return Generator(PCG64(seed_sequence(seed, Purpose.DATA).spawn(stream + 1)[stream]))


def stratified_split(dataset: Dataset, test_fraction: float = 0.25, *, seed: int) -> tuple[Dataset, Dataset]:
    """Split a data set into a training and a test part with the same proportions of classes.

    Args:
        dataset: what to split.
        test_fraction: the share of each class that goes to the test part, in (0, 1), to the nearest example;
            each class that has two examples has at least one in either part.
        seed: the seed of the run; the same seed, fraction and labels give the same split.

    Returns:
        Training part and test part, each in the order of the data set.

    Raises:
        DataError: the fraction is not between 0 and 1, or a part would be empty.
    """
    if not 0 < test_fraction < 1:
        raise DataError(f"the test fraction must lie between 0 and 1, not {test_fraction}")
    rng = data_stream(seed, SPLIT_STREAM)
    in_test = np.zeros(len(dataset), bool)
    for label in range(dataset.num_classes):
        members = np.flatnonzero(dataset.y == label)
        rng.shuffle(members)
        count = round(test_fraction * len(members))
        if len(members) > 1:
            count = min(max(count, 1), len(members) - 1)
        in_test[members[:count]] = True
    if in_test.all() or not in_test.any():
        raise DataError(f"data set {dataset.name!r} has too few examples ({len(dataset)}) to split")
    return dataset.subset(np.flatnonzero(~in_test)), dataset.subset(np.flatnonzero(in_test))


def stratified_sample(labels: NDArray[np.int64], count: int, *, seed: int) -> NDArray[np.int64]:
    """Return the sorted indices of `count` examples, with the classes in proportion.

    Each class gets the whole part of its share; what is left goes to the largest remainders, lower labels
    first.

    Raises:
        DataError: `count` is negative or larger than the number of labels.
    """
    if not 0 <= count <= len(labels):
        raise DataError(f"a sample of {count} examples cannot be taken from {len(labels)}")
    rng = data_stream(seed, SAMPLE_STREAM)
    classes, sizes = np.unique(labels, return_counts=True)
    exact = sizes * (count / max(len(labels), 1))
    counts = np.floor(exact).astype(np.int64)
    by_remainder = np.argsort(counts - exact, kind="stable")
    counts[by_remainder[: count - counts.sum()]] += 1
    chosen = [
        rng.permutation(np.flatnonzero(labels == label))[:number]
        for label, number in zip(classes, counts, strict=True)
    ]
    return np.sort(np.concatenate([*chosen, np.empty(0, np.int64)]))
