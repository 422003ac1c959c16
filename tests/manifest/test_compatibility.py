from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from quinkgl.manifest import (
    ErrorName,
    ManifestError,
    StrategySpec,
    check_compatibility,
    check_model_fits,
    compute_arch_hash,
    for_model,
    keygen,
    sign_manifest,
)
from quinkgl.testing.manifests import make_dummy_manifest

WEIGHTS = {"W": np.zeros((64, 10), np.float32)}
MANIFEST = for_model(WEIGHTS, name="digits", input_shape=(64,), output_shape=(10,), created_at=0)


def test_manifests_are_compatible_when_they_are_one_swarms():
    signed = sign_manifest(make_dummy_manifest(), keygen()[0])
    assert check_compatibility(signed, replace(signed, signature=None)) == (True, "")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "x"}, "name: 'dummy-swarm' here, 'x' there"),
        ({"aggregation": StrategySpec("Krum")}, "aggregation.name: 'FedAvg' here, 'Krum' there"),
        ({"aggregation": StrategySpec("FedAvg", {"a": 1})}, "aggregation.params.a: only there"),
        ({"tracker_urls": (("http://a/",),)}, "tracker_urls: [] here, [['http://a/']] there"),
        ({"round_limit": 1}, "round_limit: None here, 1 there"),
        ({"round_limit": 1, "name": "x"}, "name: 'dummy-swarm' here, 'x' there"),
    ],
)
def test_the_first_difference_is_named(change, words):
    assert check_compatibility(make_dummy_manifest(), make_dummy_manifest(**change)) == (False, words)


def test_a_difference_of_type_alone_is_one():
    whole, real = (make_dummy_manifest(compression={"enabled": True, "params": {"k": [k]}}) for k in (1, 1.0))
    assert check_compatibility(whole, real) == (False, "compression.params.k[0]: 1 here, 1.0 there")


def test_a_model_that_fits_passes_and_one_that_does_not_is_refused_with_its_code():
    arch_hash = compute_arch_hash(WEIGHTS)
    check_model_fits(MANIFEST, arch_hash=arch_hash, input_shape=[64], output_shape=(10,))
    for wrong, code in (
        ({"arch_hash": "sha256:" + "0" * 64}, ErrorName.ERR_NODE_ARCH_MISMATCH),
        ({"input_shape": (8, 8)}, ErrorName.ERR_NODE_DATA_SHAPE_MISMATCH),
        ({"output_shape": (11,)}, ErrorName.ERR_NODE_DATA_SHAPE_MISMATCH),
    ):
        with pytest.raises(ManifestError) as caught:
            check_model_fits(MANIFEST, **{"arch_hash": arch_hash, **wrong})
        assert caught.value.args[0] == code
        assert {"expected", "actual"} <= set(caught.value.args[1])


def test_the_framework_is_read_off_the_model():
    assert MANIFEST.model.framework == "custom"
    net = torch.nn.Linear(2, 3)
    manifest = for_model(net, name="t", input_shape=(2,), output_shape=(3,), created_at=0)
    assert manifest.model.framework == "pytorch"
    assert manifest.model.arch_hash == compute_arch_hash(net)
