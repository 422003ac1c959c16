"""Splits and samples keep the proportions of classes and follow the seed alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.data import DataError, load_digits, stratified_sample, stratified_split
from quinkgl.data.datasets import make_dataset

labels = st.lists(st.integers(0, 4), min_size=4, max_size=200).map(np.array)


def dataset_of(y):
    return make_dataset(
        np.arange(len(y), dtype=np.float32)[:, None], np.asarray(y), name="mine", num_classes=5
    )


def test_the_digits_split_into_three_quarters_and_one():
    train, test = stratified_split(load_digits(), seed=0)
    assert (len(train), len(test)) == (1347, 450)
    assert np.abs(test.class_counts() - load_digits().class_counts() / 4).max() <= 0.5


@given(y=labels, fraction=st.floats(0.05, 0.95), seed=st.integers(0, 2**32))
def test_a_split_is_disjoint_complete_and_proportional(y, fraction, seed):
    dataset = dataset_of(y)
    try:
        train, test = stratified_split(dataset, fraction, seed=seed)
    except DataError:
        assert max(dataset.class_counts()) < 2
        return
    assert sorted([*train.x[:, 0], *test.x[:, 0]]) == dataset.x[:, 0].tolist()
    for all_of_class, in_test in zip(dataset.class_counts(), test.class_counts(), strict=True):
        assert abs(in_test - fraction * all_of_class) <= 1
        assert all_of_class < 2 or 0 < in_test < all_of_class


def test_the_seed_decides_the_split():
    dataset = load_digits()
    first, again, other = (stratified_split(dataset, seed=seed)[1] for seed in (3, 3, 4))
    assert np.array_equal(first.x, again.x)
    assert not np.array_equal(first.x, other.x)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_a_fraction_outside_zero_to_one_is_refused(fraction):
    with pytest.raises(DataError, match="between 0 and 1"):
        stratified_split(load_digits(), fraction, seed=0)


def test_a_single_example_cannot_be_split():
    with pytest.raises(DataError, match=r"too few examples \(1\)"):
        stratified_split(dataset_of([0]), seed=0)


@given(y=labels, share=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_a_sample_has_the_size_asked_for_and_the_proportions(y, share, seed):
    count = int(share * len(y))
    chosen = stratified_sample(y, count, seed=seed)
    assert len(chosen) == len(set(chosen.tolist())) == count
    assert np.all(np.diff(chosen) > 0)
    for label in range(5):
        assert abs((y[chosen] == label).sum() - count * (y == label).mean()) < 1 + 1e-9


def test_a_sample_larger_than_the_data_is_refused():
    with pytest.raises(DataError, match="sample of 5 examples cannot be taken from 4"):
        stratified_sample(np.zeros(4, np.int64), 5, seed=0)
