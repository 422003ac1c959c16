"""The other door: bad updates cost their sender, never the round, and no claim weighs more than its cap."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.aggregation import AdmissionPolicy, FedAvg, ModelUpdate, RejectionReason, SampleCounts, admit

NAN, INF = float("nan"), float("inf")


def update(peer, w=(1.0, 2.0), count=10, **fields):
    return ModelUpdate(peer, {"w": np.array(w, np.float32), "n": np.array(3)}, sample_count=count, **fields)


OWN = update("own")

BAD = {
    "NaN": (update("x", (1.0, NAN)), RejectionReason.NON_FINITE, "w holds NaN or infinity"),
    "infinity": (update("x", (1.0, -INF)), RejectionReason.NON_FINITE, "w holds NaN or infinity"),
    "shape": (update("x", (1.0,)), RejectionReason.SHAPE, "w has shape [1], not [2]"),
    "dtype": (
        ModelUpdate("x", {"w": np.ones(2), "n": np.array(3)}),
        RejectionReason.DTYPE,
        "w has dtype float64, not float32",
    ),
    "missing name": (ModelUpdate("x", {"w": np.ones(2, np.float32)}), RejectionReason.NAMES, "n is missing"),
    "unknown name": (
        ModelUpdate("x", {**OWN.weights, "v": np.ones(1)}),
        RejectionReason.NAMES,
        "v is unknown",
    ),
    "no numbers": (
        ModelUpdate("x", {"w": np.array(["a"]), "n": np.array(3)}),
        RejectionReason.NAMES,
        "w has dtype <U1, which no rule can combine",
    ),
    "no weights": (
        ModelUpdate("x", None),
        RejectionReason.NAMES,
        "weights has dtype object, which no rule can combine",
    ),
    "norm": (
        update("x", (1e6, 0.0)),
        RejectionReason.NORM,
        "root mean square 7.07e+05, at most 158 is believed",
    ),
    "overflowing norm": (
        update("x", (3e38, -3e38)),
        RejectionReason.NORM,
        "root mean square 3e+38, at most 158 is believed",
    ),
    "negative count": (update("x", count=-1), RejectionReason.SAMPLE_COUNT, "claims -1 samples"),
    "count of another kind": (update("x", count=NAN), RejectionReason.SAMPLE_COUNT, "claims nan samples"),
    "own id": (update("own"), RejectionReason.DUPLICATE, "round 0"),
}


@pytest.mark.parametrize(("bad", "reason", "detail"), BAD.values(), ids=BAD)
def test_a_bad_update_is_dropped_with_its_reason_and_the_rest_goes_on(bad, reason, detail):
    good = [update("a", (3.0, 4.0)), update("z", (5.0, 6.0))]
    accepted, rejected = admit([good[1], bad, good[0]], OWN)
    assert [u.peer_id for u in accepted] == ["a", "z"]
    assert [(r.peer_id, r.reason, r.detail) for r in rejected] == [(bad.peer_id, reason, detail)]
    assert FedAvg().aggregate_sync(accepted, own=OWN).weights["w"].tolist() == [3.0, 4.0]


def test_the_newest_of_two_updates_of_one_peer_stays():
    accepted, rejected = admit([update("a", round_number=1), update("a", (7.0, 7.0), round_number=2)], OWN)
    assert [u.round_number for u in accepted] == [2]
    assert [(r.reason, r.detail) for r in rejected] == [(RejectionReason.DUPLICATE, "round 1")]


def test_a_bad_update_does_not_take_the_place_of_a_good_one():
    accepted, rejected = admit([update("a", (NAN, 0.0), round_number=9), update("a", round_number=1)], OWN)
    assert [u.round_number for u in accepted] == [1]
    assert [r.reason for r in rejected] == [RejectionReason.NON_FINITE]


@given(
    honest=st.integers(1, 9),
    size=st.integers(1, 10**6),
    claim=st.integers(0, 2**53 - 1),
    cap=st.floats(1, 16),
)
def test_no_claim_takes_more_than_its_cap(honest, size, claim, cap):
    own, *others = [update(f"h{number}", count=size) for number in range(honest)]
    admission = admit([*others, update("liar", count=claim)], own, AdmissionPolicy(weight_cap=cap))
    counts = {u.peer_id: u.sample_count for u in (admission.own, *admission.accepted)}
    share = counts["liar"] / max(sum(counts.values()), 1)
    assert share <= cap / (cap + honest) + 1e-12
    assert all(counts[f"h{number}"] <= size for number in range(honest))


def test_a_liar_among_ten_is_cut_to_four_medians():
    own, *others = [update(f"h{number}", count=100) for number in range(10)]
    admission = admit([*others, update("liar", count=10**9)], own)
    counts = {u.peer_id: u.sample_count for u in (admission.own, *admission.accepted)}
    assert counts["liar"] / sum(counts.values()) == pytest.approx(0.2857, abs=1e-4)


def test_claims_of_samples_where_nobody_else_has_any_count_for_nothing():
    admission = admit(
        [update("a", count=0), update("b", count=10**9)], dataclasses.replace(OWN, sample_count=0)
    )
    assert [u.sample_count for u in admission.accepted] == [0, 0]
    assert FedAvg().aggregate_sync(admission.accepted, own=admission.own).total_samples == 0


def test_counts_may_be_believed_wholly_or_not_at_all():
    others = [update("a", count=5), update("b", count=10**6)]
    claimed = admit(others, OWN, AdmissionPolicy(sample_counts=SampleCounts.CLAIMED))
    assert [u.sample_count for u in (claimed.own, *claimed.accepted)] == [10, 5, 10**6]
    uniform = admit(others, OWN, AdmissionPolicy(sample_counts=SampleCounts.UNIFORM))
    assert [u.sample_count for u in (uniform.own, *uniform.accepted)] == [1, 1, 1]


def test_the_own_count_is_capped_like_the_others():
    admission = admit(
        [update("a", count=5), update("b", count=5)], dataclasses.replace(OWN, sample_count=10**6)
    )
    assert admission.own.sample_count == 20


def test_sizes_are_judged_by_the_own_model_and_by_one():
    large_own = update("own", (1e5, 1e5))
    assert len(admit([update("a", (9e6, 9e6))], large_own).accepted) == 1
    assert len(admit([update("a", (99.0, 99.0))], update("own", (0.0, 0.0))).accepted) == 1
    assert len(admit([update("a", (101.0, 101.0))], update("own", (0.0, 0.0))).rejected) == 1
    assert len(admit([update("a", (1e30, 1e30))], OWN, AdmissionPolicy(norm_ratio=None)).accepted) == 1


def test_float64_values_whose_squares_overflow_are_too_large():
    own = ModelUpdate("own", np.zeros(2))
    assert admit([ModelUpdate("a", np.array([1e300, 0.0]))], own).rejected[0].reason is RejectionReason.NORM


def test_nonfinite_weights_pass_where_the_policy_lets_them():
    policy = AdmissionPolicy(allow_nonfinite=True, norm_ratio=None)
    assert len(admit([update("a", (NAN, 1.0))], OWN, policy).accepted) == 1


@pytest.mark.parametrize(
    ("loss", "accuracy", "kept"),
    [(0.5, 0.9, (0.5, 0.9)), (NAN, NAN, (None, None)), (-1.0, 1.1, (None, None)), (INF, -0.1, (None, None))],
)
def test_claims_that_make_no_sense_are_forgotten(loss, accuracy, kept):
    [admitted] = admit([update("a", loss=loss, accuracy=accuracy)], OWN).accepted
    assert (admitted.loss, admitted.accuracy) == kept


@given(st.permutations([bad for bad, _, _ in BAD.values()] + [update("a"), update("b", count=99)]))
def test_the_outcome_does_not_depend_on_the_order(updates):
    accepted, rejected = admit(updates, OWN)
    assert [(u.peer_id, u.sample_count) for u in accepted] == [("a", 10), ("b", 40)]
    assert len(rejected) == len(BAD)


@pytest.mark.parametrize(
    "options", [{"weight_cap": 0.5}, {"weight_cap": INF}, {"norm_ratio": 0.0}, {"norm_ratio": NAN}]
)
def test_a_policy_that_makes_no_sense_is_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        AdmissionPolicy(**options)
