"""Signatures, and their differences in words."""

from __future__ import annotations

import numpy as np
import pytest

from quinkgl.core import TensorSpec, signature, signature_difference

WEIGHTS = {"a": np.zeros((2, 3), np.float32), "b": np.zeros((), np.int64), "c": np.zeros(4, np.float64)}
SIGNATURE = signature(WEIGHTS)


def test_a_signature_lists_names_dtypes_and_shapes_in_order():
    assert SIGNATURE == (("a", "float32", (2, 3)), ("b", "int64", ()), ("c", "float64", (4,)))
    assert str(SIGNATURE[0]) == "a: float32[2, 3]"


def test_equal_signatures_do_not_differ():
    assert (
        signature_difference(SIGNATURE, signature({name: array.copy() for name, array in WEIGHTS.items()}))
        is None
    )


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (SIGNATURE[:2], "c is missing"),
        ((*SIGNATURE, TensorSpec("d", "int8", ())), "d is unknown"),
        ((TensorSpec("a", "float16", (2, 3)), *SIGNATURE[1:]), "a has dtype float16, not float32"),
        ((TensorSpec("a", "float32", (3, 2)), *SIGNATURE[1:]), "a has shape [3, 2], not [2, 3]"),
        ((SIGNATURE[0], SIGNATURE[2], SIGNATURE[1]), "tensor 1 is c, not b: the order differs"),
        (
            tuple(TensorSpec(f"x{number}", "int8", ()) for number in range(4)),
            "a is missing; b is missing; c is missing; and 4 more",
        ),
    ],
)
def test_differences_are_named(found, text):
    assert signature_difference(SIGNATURE, found) == text
