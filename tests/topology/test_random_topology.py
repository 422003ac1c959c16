"""RandomTopology: uniform, reproducible everywhere, and never a peer that left."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.topology import PeerInfo, RandomTopology, SelectionContext

IDS = [f"{number:02}" for number in range(12)]


def context(ids=IDS, **fields):
    return SelectionContext("me", "d", "s", known_peers=[PeerInfo(i, "d", "s") for i in ids], **fields)


@given(
    ids=st.lists(st.sampled_from([*IDS, "me"]), unique=True),
    count=st.integers(0, 15),
    seed=st.integers(0, 2**128),
    data=st.data(),
)
def test_targets_are_different_known_peers_whatever_the_order_of_the_list(ids, count, seed, data):
    targets = RandomTopology(seed).select(context(ids), count)
    others = set(ids) - {"me"}
    assert len(targets) == len(set(targets)) == min(count, len(others))
    assert set(targets) <= others
    assert RandomTopology(seed).select(context(data.draw(st.permutations(ids))), count) == targets


def test_targets_are_uniform_over_peers():
    topology, hits, rounds = RandomTopology(1), dict.fromkeys(IDS, 0), 4000
    for round_number in range(rounds):
        for target in topology.select(context(current_round=round_number), 3):
            hits[target] += 1
    deviation = 5 * (rounds * 0.25 * 0.75) ** 0.5  # five standard deviations of a binomial count
    assert all(abs(count - rounds / 4) < deviation for count in hits.values())


def test_one_seed_gives_one_sequence_in_every_process():
    code = (
        "from quinkgl.topology import *\n"
        f"peers = {{PeerInfo(i, 'd', 's').peer_id for i in {IDS!r}}}\n"
        "known = [PeerInfo(i, 'd', 's') for i in peers]\n"  # in an order that the hash seed decides
        "topology = RandomTopology(7)\n"
        "print([topology.select(SelectionContext('me', 'd', 's', known)) for _ in range(5)])"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2", "3")
    ]
    topology = RandomTopology(7)
    assert outputs == [str([topology.select(context()) for _ in range(5)])] * 3


def test_nodes_with_one_seed_draw_differently():
    draws = [
        str([t.select(context()) for _ in range(5)])
        for t in (RandomTopology(7, peer=0), RandomTopology(7, peer=1))
    ]
    assert draws[0] != draws[1]


def test_without_a_seed_every_node_draws_its_own():
    many = [
        str([topology.select(context(), 6) for _ in range(5)])
        for topology in (RandomTopology(), RandomTopology())
    ]
    assert many[0] != many[1]


def test_the_same_question_within_the_time_has_the_same_answer():
    topology = RandomTopology(3, cache_duration=5.0)
    first = topology.select(context(current_round=1, now=10.0))
    assert all(topology.select(context(current_round=1, now=14.9)) == first for _ in range(10))
    later = [topology.select(context(current_round=1, now=15.0 + 5 * step)) for step in range(10)]
    assert any(answer != first for answer in later)


@pytest.mark.parametrize(
    "ask",
    [
        lambda topology, step: topology.select(context(current_round=step, now=10.0)),
        lambda topology, step: topology.select(context(current_round=1)),
        lambda topology, step: topology.select(context(current_round=1, now=10.0), 2 + step % 2),
    ],
    ids=["another round", "no time", "another number"],
)
def test_any_other_question_is_drawn_anew(ask):
    topology = RandomTopology(3)
    answers = [tuple(ask(topology, step)[:2]) for step in range(20)]
    assert len(set(answers)) > 10


def test_a_peer_that_left_is_replaced_and_the_others_stay():
    topology = RandomTopology(3)
    first = topology.select(context(current_round=1, now=10.0))
    left = [peer for peer in IDS if peer != first[1]]
    second = topology.select(context(left, current_round=1, now=11.0))
    assert second[:2] == [first[0], first[2]]
    assert len(second) == 3
    assert first[1] not in second
    assert topology.select(context(left, current_round=1, now=12.0)) == second
    assert topology.select(context([], current_round=1, now=12.0)) == []


def test_a_cache_of_no_duration_draws_each_time():
    topology = RandomTopology(3, cache_duration=0.0)
    assert len({tuple(topology.select(context(current_round=1, now=10.0))) for _ in range(20)}) > 10


def test_answers_are_not_the_cache_itself():
    topology = RandomTopology(3)
    answer = topology.select(context(current_round=1, now=10.0))
    expected = list(answer)
    answer.clear()
    assert topology.select(context(current_round=1, now=10.0)) == expected


def test_a_restored_topology_goes_on_where_it_was():
    whole, topology = RandomTopology(5), RandomTopology(5)
    for _ in range(3):
        assert whole.select(context(), 5) == topology.select(context(), 5)
    restored = RandomTopology(6)
    restored.load_state_dict(topology.state_dict())
    assert [whole.select(context(), 5) for _ in range(5)] == [restored.select(context(), 5) for _ in range(5)]


@pytest.mark.parametrize("state", [{}, {"rng": None}, {"rng": {}}, {"rng": {}, "view": []}])
def test_a_state_of_something_else_is_refused(state):
    with pytest.raises(ValueError, match="not a state of"):
        RandomTopology(1).load_state_dict(state)


def test_parameters_are_checked():
    with pytest.raises(ValueError, match="cache_duration"):
        RandomTopology(cache_duration=-1.0)
    with pytest.raises(ValueError, match="non-negative"):
        RandomTopology(-1)
