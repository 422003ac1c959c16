"""FedAvg: the weighted mean (McMahan et al. 2017, arXiv 1602.05629)."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quinkgl.aggregation.base import AggregatedModel, AggregationStrategy, Batch, ModelUpdate
from quinkgl.aggregation.vectors import combine_blocks

_LARGEST_WEIGHT: Final = 1e300
"""So that a sum of weights stays finite whatever the claims."""


class WeightBy(StrEnum):
    """What an update's weight in the mean is."""

    DATA_SIZE = "data_size"
    """Its sample count."""
    UNIFORM = "uniform"
    """1."""
    INVERSE_LOSS = "inverse_loss"
    """1 / its training loss."""


class FedAvg(AggregationStrategy):
    """w = Σ aᵢ·wᵢ / Σ aᵢ, in float64, rounded once to the input's dtype.

    If all weights aᵢ are 0 the mean is uniform. The result lies inside the box that the inputs span, equal
    inputs give exactly that input, and scaling all weights changes nothing.

    Args:
        weight_by: what aᵢ is, see `WeightBy`.
        clip_inverse_loss: keep 1/loss inside `inverse_loss_range`.
        inverse_loss_range: smallest and largest 1/loss. An update whose loss is unknown or not positive has
            weight 1.

    Raises:
        ValueError: an unknown `weight_by`, or a range that is not 0 < smallest ≤ largest.
    """

    name = "fedavg"

    def __init__(
        self,
        weight_by: str | WeightBy = WeightBy.DATA_SIZE,
        clip_inverse_loss: bool = True,
        inverse_loss_range: tuple[float, float] = (0.1, 10.0),
    ) -> None:
        try:
            self.weight_by = WeightBy(weight_by)
        except ValueError:
            known = ", ".join(member.value for member in WeightBy)
            raise ValueError(f"weight_by must be one of {known}, not {weight_by!r}") from None
        low, high = inverse_loss_range
        if not 0 < low <= high < math.inf:
            raise ValueError(
                f"inverse_loss_range must be 0 < smallest <= largest, not {inverse_loss_range!r}"
            )
        self.clip_inverse_loss = clip_inverse_loss
        self.inverse_loss_range = (low, high)

    def compute_weight(self, update: ModelUpdate) -> float:
        """Return aᵢ of one update."""
        if self.weight_by is WeightBy.UNIFORM:
            return 1.0
        if self.weight_by is WeightBy.DATA_SIZE:
            return float(update.sample_count)
        loss = update.loss
        if loss is None or not 0 < loss < math.inf:
            return 1.0
        low, high = self.inverse_loss_range
        inverse = min(1 / loss, _LARGEST_WEIGHT) if loss > 1 / _LARGEST_WEIGHT else _LARGEST_WEIGHT
        return min(max(inverse, low), high) if self.clip_inverse_loss else inverse

    def shares(self, batch: Batch) -> NDArray[np.float64]:
        """Return each update's share of the mean, (updates,), sum 1."""
        weights = [self.compute_weight(update) for update in batch.updates]
        total = math.fsum(weights)
        if total == 0:
            return np.full(len(weights), 1 / len(weights))
        return np.array([weight / total for weight in weights])

    def combine(self, batch: Batch) -> AggregatedModel:
        """Return the weighted mean of a batch."""
        shares = self.shares(batch)[:, np.newaxis]

        def mean(block: NDArray[np.float64]) -> NDArray[np.float64]:
            block *= shares
            result: NDArray[np.float64] = block.sum(axis=0)
            return result

        return batch.result(
            combine_blocks(batch.weights, mean, own=batch.own),
            metadata={"aggregation_method": self.name, "weight_by": self.weight_by.value},
        )
