"""Partitions: disjoint, complete, reproducible; a typed error in place of an endless loop."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quinkgl.data import DataError, load_digits, partition_dirichlet, partition_iid

LABELS = load_digits().y


def assert_exact(partition, labels, peers):
    assert len(partition.shards) == peers
    assert np.array_equal(np.sort(np.concatenate(partition.shards)), np.arange(len(labels)))
    for shard, counts in zip(partition.shards, partition.class_counts, strict=True):
        assert np.array_equal(np.bincount(labels[shard], minlength=len(counts)), counts)
    assert partition.sizes == partition.class_counts.sum(axis=1).tolist()


@given(peers=st.integers(1, 40), seed=st.integers(0, 2**32))
def test_iid_shards_are_disjoint_complete_and_of_equal_size(peers, seed):
    partition = partition_iid(LABELS, peers, seed=seed)
    assert_exact(partition, LABELS, peers)
    assert max(partition.sizes) - min(partition.sizes) <= 1


@settings(max_examples=50)
@given(
    labels=st.lists(st.integers(0, 6), min_size=40, max_size=300).map(np.array),
    peers=st.integers(1, 8),
    alpha=st.sampled_from([1e-3, 0.05, 0.5, 1.0, 10.0, 1000.0]),
    min_size=st.integers(0, 5),
    seed=st.integers(0, 2**32),
)
def test_dirichlet_shards_are_disjoint_complete_and_large_enough_or_refused(
    labels, peers, alpha, min_size, seed
):
    try:
        partition = partition_dirichlet(
            labels, peers, alpha=alpha, seed=seed, min_size=min_size, max_tries=50
        )
    except DataError as error:
        assert "50 draws" in str(error)
        return
    assert_exact(partition, labels, peers)
    assert min(partition.sizes) >= min_size


def test_the_seed_decides_and_nothing_else():
    first, again, other = (partition_dirichlet(LABELS, 6, alpha=0.5, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(left, right) for left, right in zip(first.shards, again.shards, strict=True))
    assert not np.array_equal(first.class_counts, other.class_counts)


def test_class_counts_follow_the_published_rule():
    """p ~ Dir(α) for each class in order, cut at ⌊cumsum(p)·n⌋; counts do not depend on the shuffling."""
    partition = partition_dirichlet(LABELS, 4, alpha=0.5, seed=7, min_size=0)
    rng = np.random.default_rng(np.random.SeedSequence(7).spawn(2)[1].spawn(2)[1])
    for label in range(10):
        cuts = np.floor(np.cumsum(rng.dirichlet([0.5] * 4)) * (label == LABELS).sum())[:-1].astype(int)
        counts = np.diff([0, *cuts, (label == LABELS).sum()])
        assert np.array_equal(partition.class_counts[:, label], counts)


def test_a_small_alpha_takes_classes_away_and_a_large_one_does_not():
    rare = partition_dirichlet(LABELS, 6, alpha=0.1, seed=0).class_counts
    alike = partition_dirichlet(LABELS, 6, alpha=1000, seed=0).class_counts
    assert (rare == 0).sum() > 10
    assert alike.min() > 0.7 * alike.mean()


def test_examples_of_a_class_are_shuffled_before_they_are_cut():
    shards = partition_dirichlet(LABELS, 2, alpha=1000, seed=0).shards
    zeros = [np.sort(shard[LABELS[shard] == 0]) for shard in shards]
    assert zeros[0].min() < zeros[1].max()
    assert zeros[1].min() < zeros[0].max()


def test_an_impossible_draw_ends_with_an_error_that_says_what_to_do():
    started = time.monotonic()
    with pytest.raises(
        DataError, match=r"1000 draws with alpha 0\.01 left some of 20 peers with fewer than 80"
    ):
        partition_dirichlet(LABELS, 20, alpha=0.01, seed=0, min_size=80)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    ("peers", "options", "text"),
    [
        (0, {}, "no such partition"),
        (2, {"min_size": -1}, "no such partition"),
        (2, {"alpha": 0.0}, "alpha must be a positive number"),
        (2, {"alpha": float("nan")}, "alpha must be a positive number"),
        (180, {}, "1797 examples are too few for 180 peers with at least 10 each"),
    ],
)
def test_impossible_arguments_are_refused(peers, options, text):
    with pytest.raises(DataError, match=text):
        partition_dirichlet(LABELS, peers, **{"alpha": 0.5, "seed": 0, **options})


def test_more_peers_than_examples_are_refused():
    with pytest.raises(DataError, match="2 examples are too few for 3 peers"):
        partition_iid(np.array([0, 1]), 3, seed=0)


def test_a_description_shows_who_has_what():
    partition = partition_dirichlet(np.array([0, 0, 1, 1, 2, 2]), 2, alpha=0.05, seed=0, min_size=1)
    assert partition.describe().splitlines()[0] == "Dirichlet(0.05) over 2 peers"
    rows = [line.split() for line in partition.describe().splitlines()[2:]]
    for peer, (row, counts) in enumerate(zip(rows, partition.class_counts.tolist(), strict=True)):
        assert row[:3] == [str(peer), str(sum(counts)), str(sum(count > 0 for count in counts))]
        assert row[3:] == [str(count) if count else "·" for count in counts]
