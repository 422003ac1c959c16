"""What a swarm agrees to reveal, and how its members collaborate: the `data_policy` part of a manifest.

The fields are the keys of schema 3, all of which a file must carry. Nothing here computes a fingerprint;
these are the settings that the members' nodes apply.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, TypeAlias

from quinkgl.manifest.canonical import canonical_json
from quinkgl.manifest.errors import FieldError
from quinkgl.manifest.record import (
    Record,
    Rule,
    array,
    boolean,
    checked,
    choice,
    integer,
    made,
    number,
    optional,
    record,
    show,
    text,
)

Bucket: TypeAlias = tuple[str, int | float, int | float]
"""(name, lower bound, upper bound): holds values in [lower, upper); the last bucket also its upper bound."""

_FRACTION = number(0, 1)
_SIGMA = number(0)
_MECHANISM = choice("gaussian", "laplace", "none")


def _bucket(bound: Rule) -> Rule:
    def rule(value: object) -> Bucket:
        if not isinstance(value, (list, tuple)) or len(value) != 3:
            raise FieldError("", f"expected [name, lower, upper], got {show(value)}")
        name, lower, upper = text(1, 64)(value[0]), bound(value[1]), bound(value[2])
        if lower >= upper:
            raise FieldError("", f"lower bound {lower} is not below upper bound {upper}")
        return name, lower, upper

    return rule


def _buckets(bound: Rule) -> Rule:
    """Admit a list of buckets in ascending order that do not overlap: every value has at most one."""
    items = array(_bucket(bound), 1, 64)

    def rule(value: object) -> tuple[Bucket, ...]:
        buckets: tuple[Bucket, ...] = items(value)
        for (_, _, upper), (name, lower, _) in pairwise(buckets):
            if lower < upper:
                raise FieldError(
                    "", f"bucket {show(name)} begins at {lower}, before {upper} where the last ends"
                )
        if len({name for name, _, _ in buckets}) != len(buckets):
            raise FieldError("", "two buckets have the same name")
        return buckets

    return rule


@dataclass(frozen=True)
class CollaborationPolicy(Record):
    """How peers choose whom to learn from.

    `mode` is how far peers specialise; the exploration share starts at `exploration_initial`, is multiplied
    by `exploration_decay` each round and never falls below `exploration_min`; the weights of affinity's four
    parts sum to about 1.
    """

    version: int = checked(1, integer(1, 1))
    mode: str = checked("personalized", choice("personalized", "standard", "agnostic"))
    exploration_initial: float = checked(0.8, _FRACTION)
    exploration_decay: float = checked(0.95, _FRACTION)
    exploration_min: float = checked(0.1, _FRACTION)
    ema_alpha: float = checked(0.2, _FRACTION)
    edge_decay_factor: float = checked(0.95, _FRACTION)
    eviction_min_weight: float = checked(0.05, _FRACTION)
    cold_start_rounds: int = checked(3, integer(0))
    affinity_label_w: float = checked(0.4, _FRACTION)
    affinity_feature_w: float = checked(0.3, _FRACTION)
    affinity_gradient_w: float = checked(0.15, _FRACTION)
    affinity_history_w: float = checked(0.15, _FRACTION)

    def __post_init__(self) -> None:
        super().__post_init__()
        total = (
            self.affinity_label_w
            + self.affinity_feature_w
            + self.affinity_gradient_w
            + self.affinity_history_w
        )
        if not 0.9 <= total <= 1.1:
            raise FieldError("", f"the four affinity weights sum to {total:.3f}, not to 1 (0.9 to 1.1)")
        if self.exploration_min > self.exploration_initial:
            raise FieldError("exploration_min", f"{self.exploration_min} is above exploration_initial")


@dataclass(frozen=True)
class PersonalizationPolicy(Record):
    """Which part of the model each peer keeps to itself: FedRep's head, FedBN's norms, APFL's mixture."""

    version: int = checked(1, integer(1, 1))
    model_split: str = checked("auto", choice("auto", "manual"))
    apfl_enabled: bool = checked(True, boolean)
    apfl_initial_alpha: float = checked(0.5, _FRACTION)
    fedbn_enabled: bool = checked(True, boolean)


@dataclass(frozen=True)
class PrototypePolicy(Record):
    """Whether class prototypes travel (FedProto), and whether classifiers are combined by them (FedPAC)."""

    version: int = checked(1, integer(1, 1))
    enabled: bool = checked(False, boolean)
    alignment_weight: float = checked(0.1, number(0))
    fedpac_enabled: bool = checked(False, boolean)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fedpac_enabled and not self.enabled:
            raise FieldError("fedpac_enabled", "needs prototypes: set enabled to true as well")


@dataclass(frozen=True)
class DataPolicy(Record):
    """What peers may tell each other about their data, with how much noise, and how they collaborate on it.

    Noise levels are standard deviations on clipped moments; an epsilon, where given, calibrates the noise
    instead. Raises ValueError (as `FieldError`) for a value that the schema does not admit.
    """

    STRICT_FEATURE_SIGMA: ClassVar[float] = 0.5
    STRICT_GRADIENT_SIGMA: ClassVar[float] = 0.2

    schema_version: int = checked(3, integer(3, 3))
    fingerprint_enabled: bool = checked(True, boolean)
    min_affinity: float = checked(0.3, _FRACTION)
    privacy_level: str = checked("standard", choice("strict", "standard", "relaxed"))
    label_granularity: str = checked("bucket", choice("exact", "bucket", "coarse"))
    label_buckets: tuple[Bucket, ...] = checked(
        (("low", 0.0, 0.2), ("medium", 0.2, 0.5), ("high", 0.5, 1.0)), _buckets(_FRACTION)
    )
    feature_noise_sigma: float = checked(0.1, _SIGMA)
    feature_clip_norm: float = checked(5.0, number(above=0))
    feature_dp_epsilon: float | None = checked(None, optional(number(above=0)))
    feature_dp_delta: float = checked(1e-05, number(0, 1, above=0))
    feature_sensitivity: float | None = checked(None, optional(number(above=0)))
    feature_noise_mechanism: str = checked("gaussian", _MECHANISM)
    sample_count_buckets: tuple[Bucket, ...] = checked(
        (
            ("0-100", 0, 100),
            ("100-1k", 100, 1000),
            ("1k-10k", 1000, 10000),
            ("10k-100k", 10000, 100000),
            ("100k+", 100000, 1000000000),
        ),
        _buckets(number(0)),
    )
    gradient_fingerprint: bool = checked(False, boolean)
    gradient_noise_sigma: float = checked(0.05, _SIGMA)
    gradient_dp_epsilon: float | None = checked(None, optional(number(above=0)))
    gradient_dp_delta: float = checked(1e-05, number(0, 1, above=0))
    gradient_sensitivity: float | None = checked(None, optional(number(above=0)))
    gradient_noise_mechanism: str = checked("gaussian", _MECHANISM)
    class_count_buckets: tuple[Bucket, ...] = checked(
        (("sparse", 0, 2), ("small", 2, 6), ("medium", 6, 11), ("large", 11, 1000000)), _buckets(number(0))
    )
    min_classes_to_reveal: int = checked(2, integer(0))
    hash_label_keys: bool = checked(True, boolean)
    label_key_hash_length: int = checked(16, integer(1, 64))
    collaboration: CollaborationPolicy = made(CollaborationPolicy, record(CollaborationPolicy))
    personalization: PersonalizationPolicy = made(PersonalizationPolicy, record(PersonalizationPolicy))
    prototypes: PrototypePolicy = made(PrototypePolicy, record(PrototypePolicy))

    def policy_hash(self) -> str:
        """Return the SHA-256 of the policy's canonical bytes, in hex."""
        return hashlib.sha256(canonical_json(self.to_dict())).hexdigest()

    def apply_join_policy(self) -> None:
        """Check what the privacy level demands of who joins; only `strict` asks for more than the schema.

        Raises:
            FieldError: `strict` with too little noise, with exact labels or with label keys in clear.
        """
        if self.privacy_level != "strict":
            return
        demands: tuple[tuple[str, bool, Any], ...] = (
            ("label_granularity", self.label_granularity != "exact", "bucket or coarse"),
            ("hash_label_keys", self.hash_label_keys, "true"),
            ("feature_noise_mechanism", self.feature_noise_mechanism != "none", "gaussian or laplace"),
            (
                "feature_noise_sigma",
                self.feature_noise_sigma >= self.STRICT_FEATURE_SIGMA,
                f"at least {self.STRICT_FEATURE_SIGMA}",
            ),
            (
                "gradient_noise_mechanism",
                not self.gradient_fingerprint or self.gradient_noise_mechanism != "none",
                "gaussian or laplace",
            ),
            (
                "gradient_noise_sigma",
                self.gradient_noise_sigma >= self.STRICT_GRADIENT_SIGMA,
                f"at least {self.STRICT_GRADIENT_SIGMA}",
            ),
        )
        for field, holds, wanted in demands:
            if not holds:
                raise FieldError(
                    field, f"privacy level strict asks for {wanted}, got {show(getattr(self, field))}"
                )
