"""The strict door: whatever does not fit is a ValueError that names it; rules are easy to write."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from quinkgl.aggregation import AggregatedModel, AggregationStrategy, FedAvg, ModelUpdate
from quinkgl.aggregation.vectors import combine_blocks


def update(peer="a", w=(1.0, 2.0), **fields):
    return ModelUpdate(peer, {"w": np.array(w, np.float32)}, **fields)


class Middle(AggregationStrategy):
    """The coordinate-wise median, as a later rule would be written."""

    name = "middle"

    @property
    def minimum_updates(self):
        return 3

    def combine(self, batch):
        weights = combine_blocks(batch.weights, lambda block: np.median(block, axis=0), own=batch.own)
        return batch.result(weights, metadata={"aggregation_method": self.name})


class OnlyAsync(AggregationStrategy):
    """A rule as the published interface has it."""

    async def aggregate(self, updates):
        first = min(updates, key=lambda update: update.peer_id)
        return AggregatedModel(first.weights, [first.peer_id])


class Waits(AggregationStrategy):
    async def aggregate(self, updates):
        await asyncio.sleep(0)


class CallsBase(AggregationStrategy):
    async def aggregate(self, updates):
        return await super().aggregate(updates)


@pytest.mark.parametrize(
    ("updates", "own", "text"),
    [
        ([], None, "FedAvg was given no updates"),
        ([update(), update()], None, "two updates of peer a"),
        ([update()], update(), "two updates of peer a"),
        ([update(), update("b", (1.0, np.nan))], None, "weights of peer b hold NaN or infinity in w"),
        ([update(), update("b", (1.0, -np.inf))], None, "weights of peer b hold NaN or infinity in w"),
        ([update(), update("b", (1.0,))], None, r"peer b do not fit: w has shape \[1\], not \[2\]"),
        ([update("b", (1.0,))], update("c"), r"peer b do not fit: w has shape \[1\], not \[2\]"),
        (
            [update(), ModelUpdate("b", {"w": np.ones(2)})],
            None,
            "peer b do not fit: w has dtype float64, not float32",
        ),
        ([update(), ModelUpdate("b", {"v": np.ones(2, np.float32)})], None, "w is missing; v is unknown"),
        ([update(), ModelUpdate("b", np.ones(2, np.float32))], None, "w is missing; weights is unknown"),
        (
            [ModelUpdate("b", {"w": np.ones(2, np.complex64)})],
            None,
            "dtype complex64, which no rule can combine",
        ),
        ([update(), ModelUpdate("b", {"w": np.array(["a"])})], None, "weights of peer b: w has dtype <U1"),
        ([update(sample_count=-1)], None, "peer a claims -1 samples"),
        ([update(sample_count=2**53)], None, "peer a claims 9007199254740992 samples"),
        ([update(sample_count=1.5)], None, "peer a claims 1.5 samples"),
        ([update(sample_count=True)], None, "peer a claims True samples"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(updates, own, text):
    with pytest.raises(ValueError, match=text):
        FedAvg().aggregate_sync(updates, own=own)


def test_a_rule_states_how_many_updates_it_needs():
    with pytest.raises(
        ValueError, match="Middle needs at least 3 updates, its own included, and was given 2"
    ):
        Middle().aggregate_sync([update("b")], own=update("a"))
    outcome = Middle().aggregate_sync([update("b", (9.0, -9.0)), update("c", (3.0, 0.0))], own=update("a"))
    assert outcome.weights["w"].tolist() == [3.0, 0.0]
    assert outcome.metadata == {"aggregation_method": "middle"}
    assert [u.peer_id for u in outcome.updates] == outcome.contributing_peers == ["a", "b", "c"]
    assert Middle().compute_weight(update()) == 1.0


def test_a_rule_over_blocks_sees_every_coordinate_once():
    sizes = {"a": 300_000, "b": 0, "c": 7}
    seen = []

    def rule(block):
        seen.append(block.shape)
        return block[0]

    weights = {name: np.arange(size, dtype=np.float64) for name, size in sizes.items()}
    result = combine_blocks([weights] * 3, rule, convex=False)
    assert all(np.array_equal(result[name], weights[name]) for name in sizes)
    assert sum(columns for _, columns in seen) == 300_007
    assert {rows for rows, _ in seen} == {3}
    assert max(columns for _, columns in seen) * 3 <= 1 << 17


def test_a_rule_of_the_published_form_works_in_a_thread():
    outcome = OnlyAsync().aggregate_sync([update("c"), update("b")], own=update("a", (5.0, 5.0)))
    assert outcome.contributing_peers == ["a"]
    with pytest.raises(RuntimeError, match="aggregate waits for something"):
        Waits().aggregate_sync([update()])
    with pytest.raises(NotImplementedError, match=r"must not call super\(\).aggregate"):
        CallsBase().aggregate_sync([update()])


def test_a_class_without_a_rule_is_refused():
    class Nothing(AggregationStrategy):
        pass

    with pytest.raises(TypeError, match="Nothing must override combine or aggregate"):
        Nothing()
