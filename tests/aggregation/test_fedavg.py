"""FedAvg as mathematics: exact means, no order, no overflow, the published bias and nothing else."""

from __future__ import annotations

import asyncio
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from quinkgl.aggregation import FedAvg, ModelUpdate, WeightBy

counts = st.integers(0, 10**6)


def floats(dtype, limit):
    width = np.dtype(dtype).itemsize * 8
    bound = float(np.dtype(dtype).type(limit))
    return st.floats(-bound, bound, width=width, allow_subnormal=False)


@st.composite
def batches(draw, dtypes=("float16", "float32", "float64"), limit=1000.0):
    """Updates of some peers with one signature."""
    dtype = draw(st.sampled_from(dtypes))
    shape = draw(hnp.array_shapes(max_dims=3, max_side=4))
    elements = floats(dtype, limit)
    peers = draw(st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=6, unique=True))
    return [
        ModelUpdate(peer, {"w": draw(hnp.arrays(dtype, shape, elements=elements))}, sample_count=draw(counts))
        for peer in peers
    ]


def mean(updates, **options):
    return FedAvg(**options).aggregate_sync(updates).weights["w"]


def one(peer, value, count=1, dtype=np.float32, **claims):
    return ModelUpdate(peer, {"w": np.array(value, dtype)}, sample_count=count, **claims)


@given(batches(), st.randoms(use_true_random=False))
def test_the_order_of_arrival_changes_no_bit(updates, random):
    shuffled = list(updates)
    random.shuffle(shuffled)
    assert mean(updates).tobytes() == mean(shuffled).tobytes()
    own, *others = shuffled
    assert FedAvg().aggregate_sync(others, own=own).weights["w"].tobytes() == mean(updates).tobytes()


@given(batches())
def test_the_result_is_the_exact_mean_rounded_once(updates):
    result = mean(updates)
    weights = [update.sample_count for update in updates]
    if not sum(weights):
        weights = [1] * len(updates)
    for index in np.ndindex(result.shape):
        values = [float(update.weights["w"][index]) for update in updates]
        exact = sum(Fraction(w) * Fraction(v) for w, v in zip(weights, values, strict=True)) / sum(weights)
        error = abs(Fraction(float(result[index])) - exact)
        ulp = float(np.spacing(np.abs(result[index])))
        slack = 2 * len(values) * np.finfo(np.float64).eps * max(map(abs, values))  # of the float64 sum
        assert float(error) <= 0.5 * ulp + slack


@given(batches(limit=6e4), counts)
def test_equal_models_give_exactly_that_model(updates, count):
    same = [ModelUpdate(u.peer_id, updates[0].weights, sample_count=u.sample_count) for u in updates]
    same.append(ModelUpdate("z", updates[0].weights, sample_count=count))
    assert np.array_equal(mean(same), updates[0].weights["w"])  # 0.0 and -0.0 are the same value


@given(batches())
def test_the_result_stays_inside_the_box_of_its_inputs(updates):
    stack = np.stack([update.weights["w"] for update in updates])
    result = mean(updates)
    assert np.all((stack.min(axis=0) <= result) & (result <= stack.max(axis=0)))
    assert result.dtype == stack.dtype


@given(batches(dtypes=("float64",)), floats("float64", 100.0), st.floats(0.01, 100.0))
def test_translation_and_scaling_commute_with_the_mean(updates, shift, scale):
    moved = [
        ModelUpdate(u.peer_id, {"w": scale * u.weights["w"] + shift}, sample_count=u.sample_count)
        for u in updates
    ]
    assert np.allclose(mean(moved), scale * mean(updates) + shift, rtol=1e-12, atol=1e-9)


@given(batches(), st.integers(1, 1000))
def test_scaling_all_weights_changes_nothing_that_shows(updates, factor):
    scaled = [ModelUpdate(u.peer_id, u.weights, sample_count=u.sample_count * factor) for u in updates]
    assert np.allclose(mean(scaled), mean(updates), rtol=1e-3, atol=1e-3)


def test_worked_values():
    updates = [one("a", [0.0, 3.0], 1), one("b", [4.0, 7.0], 3)]
    assert mean(updates).tolist() == [3.0, 6.0]
    assert mean(updates, weight_by="uniform").tolist() == [2.0, 5.0]
    outcome = FedAvg().aggregate_sync(updates)
    assert outcome.contributing_peers == ["a", "b"]
    assert outcome.total_samples == 4
    assert outcome.metadata == {"aggregation_method": "fedavg", "weight_by": "data_size"}
    assert asyncio.run(FedAvg().aggregate(updates)).weights["w"].tolist() == [3.0, 6.0]


@pytest.mark.parametrize("weight_by", list(WeightBy))
def test_counts_of_zero_mean_a_uniform_mean(weight_by):
    assert mean([one("a", 1.0, 0), one("b", 2.0, 0)], weight_by=weight_by).tolist() == 1.5


@pytest.mark.parametrize(
    ("losses", "options", "expected"),
    [
        ((0.5, 1.0), {}, (2 * 1 + 1 * 4) / 3),
        ((0.01, 1.0), {}, (10 * 1 + 1 * 4) / 11),
        ((1000.0, 1.0), {}, (0.1 * 1 + 1 * 4) / 1.1),
        ((0.01, 1.0), {"clip_inverse_loss": False}, (100 * 1 + 1 * 4) / 101),
        ((0.01, 1.0), {"inverse_loss_range": (0.5, 2.0)}, (2 * 1 + 1 * 4) / 3),
        ((None, 1.0), {}, 2.5),
        ((0.0, 1.0), {}, 2.5),
        ((-3.0, 1.0), {}, 2.5),
        ((float("nan"), 1.0), {}, 2.5),
        ((float("inf"), 1.0), {}, 2.5),
        ((5e-324, 5e-324), {"clip_inverse_loss": False}, 2.5),
    ],
)
def test_weights_by_inverse_loss(losses, options, expected):
    updates = [
        one("a", 1.0, loss=losses[0], dtype=np.float64),
        one("b", 4.0, loss=losses[1], dtype=np.float64),
    ]
    assert mean(updates, weight_by="inverse_loss", **options).tolist() == pytest.approx(expected, rel=1e-12)


def test_it_has_the_published_fixed_point():
    """Ten exact local steps on three quadratics: 1.7783084142, where the optimum is 2.4615384615."""
    a, b, eta, steps = np.array([1.0, 2.0, 10.0]), np.array([0.0, 1.0, 3.0]), 0.05, 10
    x = np.float64(0.0)
    for _ in range(200):
        local = [b[i] + (1 - eta * a[i]) ** steps * (x - b[i]) for i in range(3)]
        x = mean([one(str(i), local[i], dtype=np.float64) for i in range(3)])
    assert float(x) == pytest.approx(1.7783084142, abs=1e-10)


def test_float64_is_float64_throughout():
    tiny = 2.0**-50
    assert (
        mean([one("a", 1.0, dtype=np.float64), one("b", 1.0 + 2 * tiny, dtype=np.float64)]).tolist()
        == 1.0 + tiny
    )


def test_a_thousand_small_steps_are_not_lost_in_a_float32_sum():
    updates = [one(f"{i:04}", 1.0 + i * 2.0**-23, 1) for i in range(1001)]
    assert mean(updates).tolist() == np.float32(1.0 + 500 * 2.0**-23)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_largest_finite_values_do_not_overflow(dtype):
    largest = np.finfo(dtype).max
    assert mean([one("a", largest, 3, dtype), one("b", largest, 7, dtype)]).tolist() == largest
    assert mean([one("a", largest, 1, dtype), one("b", -largest, 1, dtype)]).tolist() == 0.0
    assert (
        mean([one("a", largest, 2**53 - 1, dtype), one("b", largest, 2**53 - 1, dtype)]).tolist() == largest
    )


def test_integer_buffers_are_taken_and_never_averaged():
    def update(peer, counter, flag):
        return ModelUpdate(
            peer, {"w": np.array([1.0], np.float32), "steps": np.array(counter), "flags": np.array(flag)}
        )

    others = [update("a", 10, [True, False]), update("c", 2**62, [False, False])]
    kept = FedAvg().aggregate_sync(others, own=update("b", 7, [False, True])).weights
    assert (kept["steps"].item(), kept["flags"].tolist()) == (7, [False, True])
    largest = FedAvg().aggregate_sync(others).weights
    assert (largest["steps"].item(), largest["flags"].tolist()) == (2**62, [True, False])
    assert (largest["steps"].dtype, largest["flags"].dtype) == (np.int64, np.bool_)


def test_results_share_no_memory_with_inputs():
    own = ModelUpdate("a", {"w": np.ones(3, np.float32), "n": np.array([1, 2])})
    outcome = FedAvg().aggregate_sync([], own=own)
    for name, array in own.weights.items():
        assert not np.shares_memory(array, outcome.weights[name])


def test_order_of_names_follows_the_own_model():
    own = ModelUpdate("b", {"x": np.ones(1, np.float32), "y": np.zeros(1, np.float32)})
    other = ModelUpdate("a", {"y": np.zeros(1, np.float32), "x": np.ones(1, np.float32)})
    outcome = FedAvg().aggregate_sync([other], own=own)
    assert [(name, array.tolist()) for name, array in outcome.weights.items()] == [("x", [1.0]), ("y", [0.0])]


def test_bare_arrays_and_lists_come_back_in_their_form():
    arrays = FedAvg().aggregate_sync(
        [ModelUpdate("a", np.array([1.0, 2.0])), ModelUpdate("b", np.array([3.0, 4.0]))]
    )
    assert arrays.weights.tolist() == [2.0, 3.0]
    lists = FedAvg().aggregate_sync(
        [
            ModelUpdate("a", [np.array(1.0), np.array([2.0])]),
            ModelUpdate("b", [np.array(2.0), np.array([4.0])]),
        ]
    )
    assert [part.tolist() for part in lists.weights] == [1.5, [3.0]]


def test_memory_is_the_result_and_one_block():
    size = 2_000_000
    updates = [ModelUpdate(str(peer), {"w": np.full(size, peer, np.float32)}) for peer in range(6)]
    tracemalloc.start()
    result = mean(updates)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.array_equal(result, np.full(size, 2.5, np.float32))
    assert peak < result.nbytes + 6 * 1024 * 1024


def test_it_keeps_no_state():
    rule = FedAvg()
    assert rule.state_dict() == {}
    rule.load_state_dict({})
    with pytest.raises(ValueError, match="keeps no state, and was given momentum"):
        rule.load_state_dict({"momentum": 1})


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"weight_by": "size"}, "must be one of data_size, uniform, inverse_loss, not 'size'"),
        ({"inverse_loss_range": (0.0, 1.0)}, "inverse_loss_range"),
        ({"inverse_loss_range": (2.0, 1.0)}, "inverse_loss_range"),
    ],
)
def test_parameters_are_checked(options, text):
    with pytest.raises(ValueError, match=text):
        FedAvg(**options)
    with pytest.raises(TypeError):
        FedAvg(weigth_by="uniform")
