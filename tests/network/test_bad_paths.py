"""A slice of the trials that ``tools/acceptance_network.py`` runs whole: objects across bad paths."""

from __future__ import annotations

import pytest

from quinkgl.testing.bad_paths import LARGE_BYTES, SMALL_BYTES, Feature, Trial, run_trial

SEEDS = range(7, 500, 10)


def check(outcome) -> None:
    print(outcome)
    assert outcome.completed
    assert outcome.wrong == []


@pytest.mark.parametrize("seed", SEEDS)
def test_an_object_crosses_in_time(seed):
    print(f"pytest 'tests/network/test_bad_paths.py::test_an_object_crosses_in_time[{seed}]'")
    print(Trial.of(seed))
    check(run_trial(seed))


@pytest.mark.parametrize("seed", range(0, 500, 100))
def test_a_large_object_crosses_in_time(seed):
    print(f"pytest 'tests/network/test_bad_paths.py::test_a_large_object_crosses_in_time[{seed}]'")
    assert Trial.of(seed).size >= LARGE_BYTES
    check(run_trial(seed))


@pytest.mark.parametrize("seed", range(10))
def test_most_objects_cross_even_where_four_of_ten_datagrams_are_lost(seed):
    print(f"pytest tests/network/test_bad_paths.py -k 'four_of_ten and {seed}'")
    outcome = run_trial(seed, beyond=True)
    print(outcome)
    assert outcome.wrong == []
    assert outcome.completed


def test_the_trials_are_as_hard_as_they_must_be():
    """Of 500 seeds 100 move 2 MB at least, the others 256 kB; every kind of trouble comes in many of them."""
    trials = [Trial.of(seed) for seed in range(500)]
    sizes = [trial.size for trial in trials]
    assert sum(size >= LARGE_BYTES for size in sizes) == 100
    assert min(sizes) >= SMALL_BYTES
    links = [trial.link for trial in trials]
    assert max(link.loss for link in links) == 0.2
    for kind in (
        [link.loss >= 0.2 for link in links],
        [link.bursts is not None for link in links],
        [link.blackouts is not None for link in links],
        [link.jitter_s > 0 for link in links],
        [link.duplicate > 0 for link in links],
        [link.corrupt > 0 for link in links],
        [link.delay_s == 0.375 for link in links],
        [link.delay_s == 0.0005 for link in links],
        [link.mtu_changes != () for link in links],
        [trial.rebinds for trial in trials],
    ):
        assert sum(kind) >= 40
    assert Trial.of(3) == Trial.of(3)
    assert {feature.value for feature in Feature} >= {"cookie", "key change", "rebinding"}
