"""Streams are found by address: neither order nor the number of peers moves them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import SeedSequence

from quinkgl.core import Purpose, generator, generator_state, restore_generator, seed_sequence
from quinkgl.core.seeds import sample_sorted

IDS = [f"peer-{number:02}" for number in range(20)]


def draw(rng):
    return rng.integers(0, 2**63, 4).tolist()


def test_a_stream_is_the_one_that_spawning_gives():
    by_spawning = SeedSequence(7).spawn(10)[Purpose.DATA].spawn(5)[3]
    assert (
        seed_sequence(7, Purpose.DATA, 3).generate_state(4).tolist() == by_spawning.generate_state(4).tolist()
    )


def test_streams_do_not_depend_on_the_order_in_which_they_are_asked_for():
    forwards = [draw(generator(1, purpose, peer)) for purpose in Purpose for peer in (None, 0, 1, bytes(32))]
    backwards = [
        draw(generator(1, purpose, peer)) for purpose in reversed(Purpose) for peer in (bytes(32), 1, 0, None)
    ]
    assert forwards == backwards[::-1]


def test_every_purpose_and_peer_has_a_stream_of_its_own():
    peers = [None, 0, 1, 2, bytes(4), bytes(32), bytes([1] * 32)]
    draws = [
        tuple(draw(generator(seed, purpose, peer)))
        for seed in (0, 1)
        for purpose in Purpose
        for peer in peers
    ]
    assert len(set(draws)) == len(draws)


@pytest.mark.parametrize(
    ("seed", "peer"), [(-1, None), (0, -1), (0, b"abc"), (0, b"")], ids=["seed", "index", "short id", "no id"]
)
def test_addresses_that_do_not_exist_are_refused(seed, peer):
    with pytest.raises(ValueError, match=r"non-negative|multiple of 4"):
        generator(seed, Purpose.DATA, peer)


def test_a_restored_generator_goes_on_where_the_other_was():
    first = generator(5, Purpose.SAMPLING, 1)
    draw(first)
    first.integers(0, 2, dtype=np.uint32)  # half of a 64-bit output stays in the generator
    state = generator_state(first)
    second = generator(6, Purpose.SAMPLING, 1)
    restore_generator(second, state)
    assert [draw(second), second.integers(0, 9, dtype=np.uint32)] == [
        draw(first),
        first.integers(0, 9, dtype=np.uint32),
    ]
    with pytest.raises(ValueError, match="not a state of PCG64"):
        restore_generator(second, {"bit_generator": "PCG64"})


@given(seed=st.integers(0, 2**32), count=st.integers(0, 25))
def test_a_sample_is_without_replacement_and_no_longer_than_asked_for(seed, count):
    sample = sample_sorted(generator(seed, Purpose.TOPOLOGY), IDS, count)
    assert len(sample) == min(count, len(IDS))
    assert len(set(sample)) == len(sample)
    assert set(sample) <= set(IDS)


def test_samples_are_uniform():
    rng = generator(3, Purpose.TOPOLOGY)
    draws = 6000
    hits = dict.fromkeys(IDS, 0)
    for _ in range(draws):
        for peer in sample_sorted(rng, IDS, 3):
            hits[peer] += 1
    expected = draws * 3 / len(IDS)
    deviation = 5 * (draws * 0.15 * 0.85) ** 0.5  # five standard deviations of a binomial count
    assert all(abs(count - expected) < deviation for count in hits.values())


def test_another_process_with_another_hash_seed_draws_the_same():
    code = (
        "from quinkgl.core import Purpose, generator\n"
        "from quinkgl.core.seeds import sample_sorted\n"
        "print(sample_sorted(generator(9, Purpose.TOPOLOGY, 2), list('abcdefghij'), 4))"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": hash_seed}, capture_output=True, check=True
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert outputs[0].decode().strip() == str(
        sample_sorted(generator(9, Purpose.TOPOLOGY, 2), list("abcdefghij"), 4)
    )
