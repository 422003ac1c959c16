"""What every aggregation rule takes, gives and promises.

Two doors lead to a rule. `aggregate_sync` is exact and strict: it raises ValueError for whatever does not
fit, never drops an update and never changes a claim. `quinkgl.aggregation.admit` stands in front of it inside
a node: it drops what must not count, and caps claims.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, ClassVar, Final, Self

from quinkgl.aggregation.vectors import first_nonfinite, like, named
from quinkgl.core.coroutines import run_without_event_loop
from quinkgl.core.weights import Signature, Weights, signature, signature_difference

MAX_SAMPLE_COUNT: Final = (1 << 53) - 1
"""Counts up to here are exact in float64, and are what an update header can carry."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class ModelUpdate:
    """One peer's model, with what the peer claims about it."""

    peer_id: str
    """Decides the order in which updates are combined."""
    weights: Any
    """A mapping of names to arrays; a bare array or a list of arrays is taken too."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """What rules beyond the mean need, such as a label entropy."""
    sample_count: int = 1
    """A claim: examples that the model was trained on."""
    loss: float | None = None
    """A claim: training loss."""
    accuracy: float | None = None
    """A claim: training accuracy, 0 to 1."""
    round_number: int = 0
    """The author's round."""
    timestamp: datetime = field(default_factory=_utc_now)


@dataclass(slots=True)
class AggregatedModel:
    """What a rule made of a batch of updates."""

    weights: Any
    """In the form that the updates' weights had; new arrays."""
    contributing_peers: list[str]
    """Ids of the peers whose weights went in, in order."""
    total_samples: int = 0
    """Sum of the sample counts of the batch."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """`aggregation_method` and what the rule has to tell."""
    timestamp: datetime = field(default_factory=_utc_now)
    updates: list[ModelUpdate] = field(default_factory=list)
    """The batch, in order of peer ids."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Updates that a rule may trust to fit together, in the order of their peer ids."""

    updates: tuple[ModelUpdate, ...]
    weights: tuple[Weights, ...]
    """Weights of each update, by name in one and the same order."""
    own: int | None
    """Position of this node's own update; None without one."""

    @classmethod
    def of(cls, updates: Iterable[ModelUpdate], own: ModelUpdate | None, *, minimum: int, rule: str) -> Batch:
        """Order and check updates.

        Raises:
            ValueError: too few of them, two of one peer, weights that differ in names, dtypes or shapes, NaN
                or infinity in them, or an impossible sample count; the message names rule or peer.
        """
        members = sorted([*updates, *([] if own is None else [own])], key=lambda update: update.peer_id)
        if not members:
            raise ValueError(f"{rule} was given no updates")
        if len(members) < minimum:
            raise ValueError(
                f"{rule} needs at least {minimum} updates, its own included, and was given {len(members)}"
            )
        for before, after in pairwise(members):
            if before.peer_id == after.peer_id:
                raise ValueError(f"two updates of peer {after.peer_id}")
        reference = named((own or members[0]).weights)
        weights = tuple(_checked(member, reference, signature(reference)) for member in members)
        position = None if own is None else next(at for at, member in enumerate(members) if member is own)
        return cls(tuple(members), weights, position)

    def result(
        self,
        weights: dict[str, Any],
        *,
        metadata: Mapping[str, Any],
        contributing: Sequence[str] | None = None,
    ) -> AggregatedModel:
        """Return the outcome for this batch; `contributing` is by default every peer of it."""
        reference = self.updates[0 if self.own is None else self.own].weights
        return AggregatedModel(
            weights=like(reference, weights),
            contributing_peers=[u.peer_id for u in self.updates]
            if contributing is None
            else list(contributing),
            total_samples=sum(update.sample_count for update in self.updates),
            metadata=dict(metadata),
            updates=list(self.updates),
        )


def _checked(update: ModelUpdate, reference: Weights, expected: Signature) -> Weights:
    count: object = update.sample_count
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= MAX_SAMPLE_COUNT:
        raise ValueError(f"peer {update.peer_id} claims {count!r} samples")
    try:
        weights = in_order(named(update.weights), reference)
    except ValueError as error:
        raise ValueError(f"weights of peer {update.peer_id}: {error}") from None
    difference = signature_difference(expected, signature(weights))
    if difference is not None:
        raise ValueError(f"weights of peer {update.peer_id} do not fit: {difference}")
    bad = first_nonfinite(weights)
    if bad is not None:
        raise ValueError(f"weights of peer {update.peer_id} hold NaN or infinity in {bad}")
    return weights


def in_order(weights: Weights, reference: Weights) -> Weights:
    """Return weights in the order of `reference`, names that it does not have at the end."""
    if list(weights) == list(reference):
        return weights
    known = {name: weights[name] for name in reference if name in weights}
    return {**known, **{name: array for name, array in weights.items() if name not in reference}}


class AggregationStrategy:
    """A rule that makes one model out of several.

    A rule overrides `combine`, which is given a checked batch. A subclass that overrides the published
    `async aggregate` instead works as well, as long as it does not wait for anything. The result never
    depends on the order in which updates came.
    """

    name: ClassVar[str] = ""
    """`aggregation_method` in the results."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        """Refuse a class without a rule, as ABC refuses missing abstract methods."""
        if cls.combine is AggregationStrategy.combine and cls.aggregate is AggregationStrategy.aggregate:
            raise TypeError(f"{cls.__name__} must override combine or aggregate")
        return super().__new__(cls)

    @property
    def minimum_updates(self) -> int:
        """The least number of updates, this node's own included, that the rule can combine."""
        return 1

    def combine(self, batch: Batch) -> AggregatedModel:
        """Apply the rule to at least `minimum_updates` updates that fit together."""
        raise NotImplementedError(f"{type(self).__name__} overrides aggregate alone; call that with {batch}")

    def aggregate_sync(
        self, updates: Iterable[ModelUpdate], *, own: ModelUpdate | None = None
    ) -> AggregatedModel:
        """Combine updates; blocks until it is done.

        Args:
            updates: updates of other peers, in any order.
            own: this node's own model. It takes part as the others do, and rules that lean on one vector
                which is honest for certain lean on it; its integer buffers are kept.

        Raises:
            ValueError: fewer than `minimum_updates` with the own one; two of one peer; weights that differ in
                names, dtypes or shapes or hold NaN or infinity; an impossible sample count.
        """
        if type(self).combine is AggregationStrategy.combine:
            return run_without_event_loop(self.aggregate([*updates, *([] if own is None else [own])]))
        rule = type(self).__name__
        return self.combine(Batch.of(updates, own, minimum=self.minimum_updates, rule=rule))

    async def aggregate(
        self, updates: Iterable[ModelUpdate], *, own: ModelUpdate | None = None
    ) -> AggregatedModel:
        """Combine updates in the calling task: `aggregate_sync` for callers that await."""
        if type(self).combine is AggregationStrategy.combine:
            raise NotImplementedError(f"{type(self).__name__}.aggregate must not call super().aggregate()")
        return self.aggregate_sync(updates, own=own)

    def compute_weight(self, update: ModelUpdate) -> float:
        """Return the weight of one update before weights are divided by their sum; 1 for all by default."""
        del update
        return 1.0

    def state_dict(self) -> dict[str, Any]:
        """Return what evolves from round to round, as a checkpoint takes it; a plain mean keeps nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            ValueError: it is the state of another rule.
        """
        if state:
            raise ValueError(
                f"{type(self).__name__} keeps no state, and was given {', '.join(sorted(state))}"
            )
