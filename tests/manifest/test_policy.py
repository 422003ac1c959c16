from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

from quinkgl.manifest import CollaborationPolicy, DataPolicy, PersonalizationPolicy, PrototypePolicy

GOLDEN = json.loads((Path(__file__).parent / "vectors" / "golden.json").read_text(encoding="utf-8"))


def test_default_policy_has_the_published_hash_and_26_keys():
    assert DataPolicy().policy_hash() == GOLDEN["DataPolicy() hash"]
    assert len(DataPolicy().to_dict()) == 26


@pytest.mark.parametrize("policy", [DataPolicy, CollaborationPolicy, PersonalizationPolicy, PrototypePolicy])
def test_round_trip_and_strict_keys(policy):
    original = policy()
    assert policy.from_dict(original.to_dict()) == original
    for field in fields(policy):
        with pytest.raises(ValueError, match=f"missing key '{field.name}'"):
            policy.from_dict({key: value for key, value in original.to_dict().items() if key != field.name})
    with pytest.raises(ValueError, match="unknown key 'affinity_weights'"):
        policy.from_dict({**original.to_dict(), "affinity_weights": {}})


@pytest.mark.parametrize(
    ("policy", "field", "value", "words"),
    [
        (DataPolicy, "min_affinity", 1.01, "not between 0 and 1"),
        (DataPolicy, "min_affinity", True, "a boolean"),
        (DataPolicy, "min_affinity", "0.3", "a string"),
        (DataPolicy, "min_affinity", float("nan"), "finite"),
        (DataPolicy, "fingerprint_enabled", 1, "expected true or false"),
        (DataPolicy, "privacy_level", "paranoid", "none of strict, standard, relaxed"),
        (DataPolicy, "label_granularity", None, "none of exact, bucket, coarse"),
        (DataPolicy, "feature_noise_sigma", -0.1, "at least 0"),
        (DataPolicy, "feature_clip_norm", 0, "not above 0"),
        (DataPolicy, "feature_dp_epsilon", 0, "not above 0"),
        (DataPolicy, "feature_dp_delta", 0.0, "not above 0"),
        (DataPolicy, "gradient_noise_mechanism", "uniform", "none of gaussian, laplace, none"),
        (DataPolicy, "min_classes_to_reveal", 2.0, "expected an integer"),
        (DataPolicy, "label_key_hash_length", 65, "between 1 and 64"),
        (DataPolicy, "schema_version", 2, "3"),
        (DataPolicy, "label_buckets", (), "0 items"),
        (DataPolicy, "label_buckets", (("low", 0.0),), r"\[0\]: expected \[name, lower, upper\]"),
        (DataPolicy, "label_buckets", (("low", 0.5, 0.5),), "not below upper bound"),
        (DataPolicy, "label_buckets", (("low", 0, 0.5), ("high", 0.4, 1)), "begins at 0.4, before 0.5"),
        (DataPolicy, "label_buckets", (("low", 0, 0.5), ("low", 0.5, 1)), "same name"),
        (DataPolicy, "label_buckets", (("low", 0, 1.5),), "not between 0 and 1"),
        (CollaborationPolicy, "mode", "greedy", "none of personalized"),
        (CollaborationPolicy, "affinity_label_w", 0.6, "sum to 1.200"),
        (CollaborationPolicy, "exploration_min", 0.9, "above exploration_initial"),
        (CollaborationPolicy, "cold_start_rounds", -1, "at least 0"),
        (PersonalizationPolicy, "apfl_initial_alpha", -0.5, "between 0 and 1"),
        (PersonalizationPolicy, "model_split", "half", "none of auto, manual"),
        (PrototypePolicy, "alignment_weight", -1, "at least 0"),
        (PrototypePolicy, "fedpac_enabled", True, "set enabled"),
    ],
)
def test_a_value_that_is_not_admitted_names_its_field(policy, field, value, words):
    with pytest.raises(ValueError, match=words) as caught:
        replace(policy(), **{field: value})
    assert field in str(caught.value) or words.startswith("sum")


def test_nested_errors_carry_the_whole_path():
    data = DataPolicy().to_dict()
    data["collaboration"]["ema_alpha"] = 2
    with pytest.raises(ValueError, match=r"^collaboration\.ema_alpha: 2 is not between 0 and 1$"):
        DataPolicy.from_dict(data)


STRICT = DataPolicy(privacy_level="strict", feature_noise_sigma=0.5, gradient_noise_sigma=0.2)


def test_the_strict_level_admits_what_meets_it_and_the_others_demand_nothing():
    STRICT.apply_join_policy()
    DataPolicy(hash_label_keys=False, label_granularity="exact").apply_join_policy()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("feature_noise_sigma", 0.49),
        ("gradient_noise_sigma", 0.19),
        ("hash_label_keys", False),
        ("label_granularity", "exact"),
        ("feature_noise_mechanism", "none"),
    ],
)
def test_the_strict_level_refuses_too_little_privacy(field, value):
    with pytest.raises(ValueError, match=f"^{field}: privacy level strict"):
        replace(STRICT, **{field: value}).apply_join_policy()
