"""Data sets refuse what cannot be trained on, in one line; the digits are those of UCI."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from quinkgl.data import DataError, Dataset, load_digits
from quinkgl.data.datasets import make_dataset


def test_the_digits_are_all_there():
    digits = load_digits()
    assert (digits.x.shape, digits.x.dtype, digits.y.dtype) == ((1797, 64), np.float32, np.int64)
    assert (digits.num_classes, digits.input_shape, digits.features, len(digits)) == (10, (8, 8), 64, 1797)
    assert digits.class_counts().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert (digits.x.min(), digits.x.max()) == (0.0, 1.0)
    assert float(digits.x.sum(dtype=np.float64)) * 16 == 561718.0


def test_the_digits_equal_those_of_scikit_learn():
    """The digest is that of `sklearn.datasets.load_digits()`, 1.9.1: images, labels, a byte a number."""
    digits = load_digits()
    numbers = (digits.x * 16).astype(np.uint8).tobytes() + digits.y.astype(np.uint8).tobytes()
    assert hashlib.sha256(numbers).hexdigest() == (
        "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"
    )


def test_a_subset_is_in_the_order_asked_for():
    part = load_digits().subset(np.array([5, 0]), "two")
    assert part.y.tolist() == [5, 0]
    assert part.name == "two"
    assert part.num_classes == 10


@pytest.mark.parametrize(
    ("x", "y", "options", "text"),
    [
        (np.zeros((2, 3)), np.zeros(3), {}, "do not fit"),
        (np.zeros(3), np.zeros(3), {}, "at least two dimensions"),
        (np.array([["a"]]), np.zeros(1), {}, "must be numbers"),
        (np.zeros((1, 1)), np.array(["cat"]), {}, "labels must be one whole number"),
        (np.zeros((1, 1)), np.zeros((1, 2)), {}, "labels must be one whole number"),
        (np.zeros((1, 1)), np.array([0.5]), {}, "number the classes from 0"),
        (np.zeros((1, 1)), np.array([np.nan]), {}, "number the classes from 0"),
        (np.zeros((1, 1)), np.array([1e30]), {}, "number the classes from 0"),
        (np.zeros((1, 1)), np.array([-1]), {}, "labels go from -1 to -1"),
        (np.zeros((1, 1)), np.array([3]), {"num_classes": 3}, "number them from 0 to 2"),
        (np.full((1, 1), np.inf), np.zeros(1), {}, "NaN or infinity"),
        (np.full((1, 1), 1e300), np.zeros(1), {}, "NaN or infinity"),
        (np.zeros((1, 4)), np.zeros(1), {"input_shape": (3, 1)}, r"shape \[3, 1\] do not have 4 features"),
        (np.zeros((0, 4)), np.zeros(0), {}, "no examples"),
    ],
)
def test_arrays_that_are_no_data_set_are_refused_in_one_line(x, y, options, text):
    with pytest.raises(DataError, match=text) as caught:
        make_dataset(x, y, name="mine", **options)
    assert "mine" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_dtypes_than_the_promised_ones_are_refused():
    with pytest.raises(DataError, match="must be float32 and labels int64"):
        Dataset(np.zeros((1, 1)), np.zeros(1, np.int64), "mine", 1, (1,))


def test_bytes_are_scaled_to_one_and_floats_are_left_alone():
    images = np.array([[[0, 51], [102, 255]]], np.uint8)
    dataset = make_dataset(images, np.array([[2]]), name="mine")
    assert dataset.x.tolist() == [[0.0, np.float32(0.2), np.float32(0.4), 1.0]]
    assert (dataset.num_classes, dataset.input_shape, dataset.y.tolist()) == (3, (2, 2), [2])
    assert make_dataset(np.array([[7.0]]), np.array([0]), name="mine").x.tolist() == [[7.0]]
    assert make_dataset(np.array([[7.0]]), np.array([0]), name="mine", scale=2.0).x.tolist() == [[3.5]]
