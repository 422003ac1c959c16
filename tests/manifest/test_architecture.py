from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from quinkgl.manifest import compute_arch_hash

GOLDEN = json.loads((Path(__file__).parent / "vectors" / "golden.json").read_text(encoding="utf-8"))


class Holder:
    """A wrapper around something, as model wrappers are."""

    def __init__(self, model, weights=None):
        self.model = model
        self.weights = weights

    def get_weights(self):
        return self.weights


def test_the_published_hashes():
    published = GOLDEN["compute_arch_hash"]
    assert compute_arch_hash(torch.nn.Linear(2, 3)) == published["torch.nn.Linear(2, 3)"]
    assert compute_arch_hash(torch.nn.BatchNorm1d(4)) == published["torch.nn.BatchNorm1d(4)"]
    assert compute_arch_hash(Holder(torch.nn.Linear(2, 3))) == published["torch.nn.Linear(2, 3)"]


def test_values_do_not_count_and_names_shapes_and_dtypes_do():
    base = {"W": np.zeros((2, 3), np.float32), "b": np.zeros(3, np.float32)}
    hashed = compute_arch_hash(base)
    assert hashed.startswith("sha256:")
    assert compute_arch_hash(Holder(None, {"b": base["b"] + 1, "W": base["W"]})) == hashed
    for other in (
        {**base, "b": np.zeros(4, np.float32)},
        {**base, "b": np.zeros(3, np.float64)},
        {"W": base["W"], "bias": base["b"]},
        {"W": base["W"]},
    ):
        assert compute_arch_hash(other) != hashed


def test_the_form_of_a_numpy_hash_is_the_documented_one():
    import hashlib

    text = b'{"framework":"numpy","tensors":[["W","float32",[2,3]]]}'
    assert (
        compute_arch_hash({"W": np.ones((2, 3), np.float32)}) == "sha256:" + hashlib.sha256(text).hexdigest()
    )


@pytest.mark.parametrize("model", [object(), None, [1], {"W": [1, 2]}, Holder(None, [1])])
def test_what_has_no_named_arrays_is_a_type_error(model):
    with pytest.raises(TypeError, match="compute_arch_hash needs"):
        compute_arch_hash(model)


def test_torch_is_not_loaded_for_a_numpy_model():
    code = (
        "import sys, numpy; from quinkgl.manifest import compute_arch_hash as c; c({'W': numpy.ones(2)});"
        "print('torch' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout.strip() == "False"
