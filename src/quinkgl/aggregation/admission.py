"""Which updates a node lets into a round: bad ones are dropped with a reason, claims are cut down.

A bad update costs its sender, never the round: what is left goes on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from statistics import median_low
from typing import Any

from quinkgl.aggregation.base import MAX_SAMPLE_COUNT, ModelUpdate, in_order
from quinkgl.aggregation.vectors import first_nonfinite, named, root_mean_square
from quinkgl.core.weights import Weights, signature, signature_difference
from quinkgl.wire.limits import LIMITS


class SampleCounts(Enum):
    """How far claimed sample counts are believed."""

    UNIFORM = "uniform"
    """Not at all: every update counts as one sample."""
    CAPPED = "capped"
    """Up to a multiple of the batch's median."""
    CLAIMED = "claimed"
    """Wholly; for swarms whose members trust each other."""


class RejectionReason(Enum):
    """Why an update was dropped; the values are words for counters and logs."""

    DUPLICATE = "duplicate"
    """A second update of one peer, or one under this node's own id."""
    SAMPLE_COUNT = "sample_count"
    """A sample count that is not a whole number from 0 to 2^53 − 1."""
    NAMES = "names"
    """Tensors are missing or unknown, or are no arrays of numbers."""
    DTYPE = "dtype"
    """A tensor has another dtype."""
    SHAPE = "shape"
    """A tensor has another shape."""
    NON_FINITE = "non_finite"
    """NaN or infinity."""
    NORM = "norm"
    """Weights far larger than any that training leads to."""


@dataclass(frozen=True, slots=True)
class AdmissionPolicy:
    """What a node lets in.

    Raises ValueError for a cap below 1 or a ratio that is not positive.
    """

    sample_counts: SampleCounts = SampleCounts.CAPPED
    weight_cap: float = LIMITS.weight_cap
    """κ: a sample count is cut to κ times the median of the batch (CAPPED)."""
    norm_ratio: float | None = 100.0
    """An update is dropped if its root mean square is more than this many times the larger of this node's own
    and 1; None lets any size in."""
    allow_nonfinite: bool = False
    """Let NaN and infinity through; strict rules refuse them all the same."""

    def __post_init__(self) -> None:
        if not 1 <= self.weight_cap < math.inf:
            raise ValueError(f"weight_cap must be at least 1, not {self.weight_cap!r}")
        if self.norm_ratio is not None and not 0 < self.norm_ratio < math.inf:
            raise ValueError(f"norm_ratio must be a positive number or None, not {self.norm_ratio!r}")


@dataclass(frozen=True, slots=True)
class Rejection:
    """One update that was dropped."""

    peer_id: str
    reason: RejectionReason
    detail: str
    """One line for logs."""


@dataclass(frozen=True, slots=True)
class Admission:
    """The outcome; `accepted, rejected = admit(…)` unpacks it."""

    accepted: tuple[ModelUpdate, ...]
    """In order of peer ids, with the sample counts that the policy leaves and claims that make sense."""
    rejected: tuple[Rejection, ...]
    own: ModelUpdate
    """This node's own update, its sample count treated like the others'."""

    def __iter__(self) -> Iterator[Any]:
        """Give accepted and rejected updates, for unpacking."""
        return iter((self.accepted, self.rejected))


def admit(
    updates: Iterable[ModelUpdate], own: ModelUpdate, policy: AdmissionPolicy | None = None
) -> Admission:
    """Decide which updates take part in a round.

    Whatever the updates hold, this never raises for them, and the outcome does not depend on their order.
    With CAPPED counts a single liar among n honest peers of equal size has at most the share κ/(κ + n): the
    median is the lower one, which one claim alone cannot raise above an honest count.

    Args:
        updates: what came from other peers.
        own: this node's own model, which tells what weights must look like.
        policy: what to let in; None is `AdmissionPolicy()`.
    """
    policy = policy or AdmissionPolicy()
    reference = named(own.weights)
    limit = (
        math.inf if policy.norm_ratio is None else policy.norm_ratio * max(root_mean_square(reference), 1.0)
    )
    accepted: list[ModelUpdate] = []
    rejected: list[Rejection] = []
    taken = {own.peer_id}
    for update in sorted(updates, key=lambda update: (update.peer_id, -update.round_number)):
        fault = _fault(update, reference, limit, policy)
        if fault is None and update.peer_id in taken:
            fault = (RejectionReason.DUPLICATE, f"round {update.round_number}")
        if fault is None:
            taken.add(update.peer_id)
            accepted.append(update)
        else:
            rejected.append(Rejection(update.peer_id, *fault))
    counted = _with_counts([own, *accepted], policy)
    return Admission(tuple(_without_nonsense(update) for update in counted[1:]), tuple(rejected), counted[0])


def _fault(
    update: ModelUpdate, reference: Weights, limit: float, policy: AdmissionPolicy
) -> tuple[RejectionReason, str] | None:
    """Return what is wrong with an update, None if nothing is."""
    count: object = update.sample_count
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= MAX_SAMPLE_COUNT:
        return RejectionReason.SAMPLE_COUNT, f"claims {count!r} samples"
    try:
        weights = in_order(named(update.weights), reference)
    except (ValueError, TypeError) as error:
        return RejectionReason.NAMES, str(error)
    difference = signature_difference(signature(reference), signature(weights))
    if difference is not None:
        return _kind(weights, reference), difference
    bad = None if policy.allow_nonfinite else first_nonfinite(weights)
    if bad is not None:
        return RejectionReason.NON_FINITE, f"{bad} holds NaN or infinity"
    size = root_mean_square(weights)
    if size > limit:
        return RejectionReason.NORM, f"root mean square {size:.3g}, at most {limit:.3g} is believed"
    return None


def _kind(weights: Weights, reference: Weights) -> RejectionReason:
    if weights.keys() != reference.keys():
        return RejectionReason.NAMES
    if any(weights[name].dtype != array.dtype for name, array in reference.items()):
        return RejectionReason.DTYPE
    return RejectionReason.SHAPE


def _with_counts(updates: list[ModelUpdate], policy: AdmissionPolicy) -> list[ModelUpdate]:
    """Apply the policy about sample counts."""
    if policy.sample_counts is SampleCounts.CLAIMED:
        return updates
    if policy.sample_counts is SampleCounts.UNIFORM:
        return [replace(update, sample_count=1) for update in updates]
    cap = math.floor(policy.weight_cap * median_low(update.sample_count for update in updates))
    return [replace(update, sample_count=min(update.sample_count, cap)) for update in updates]


def _without_nonsense(update: ModelUpdate) -> ModelUpdate:
    """Forget claims about loss and accuracy that no training gives."""
    loss = update.loss if update.loss is not None and 0 <= update.loss < math.inf else None
    accuracy = update.accuracy if update.accuracy is not None and 0 <= update.accuracy <= 1 else None
    return replace(update, loss=loss, accuracy=accuracy)
