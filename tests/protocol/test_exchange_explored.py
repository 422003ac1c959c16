"""The two-sided exchange in every state that a small world can reach; larger worlds have a target."""

from __future__ import annotations

import pytest

from quinkgl.testing.exchange_world import Budgets, World

A, B, C = (bytes([letter]) * 32 for letter in b"abc")


@pytest.mark.req("B-010", "B-011", "B-012", "B-014", "B-020", "B-021", "B-022")
@pytest.mark.parametrize(
    ("numbers", "budgets", "answers"),
    [
        pytest.param({A: 100, B: 7}, Budgets(((A, B),)), 1, id="loss, duplication and reordering"),
        pytest.param({A: 100, B: 7}, Budgets(((A, B),), crashes=(A,)), 1, id="the initiator crashes"),
        pytest.param({A: 100, B: 7}, Budgets(((A, B),), crashes=(B,)), 1, id="the responder crashes"),
        pytest.param({A: 100, B: 7}, Budgets(((A, B),), breaks=(A,)), 1, id="the session breaks"),
        pytest.param({A: 100, B: 7}, Budgets(((A, B),), rounds=(A,)), 1, id="the initiator's round ends"),
        pytest.param({A: 100, B: 7}, Budgets(((A, B),), rounds=(B,)), 1, id="the responder's round ends"),
        pytest.param({A: 100, B: 7}, Budgets(((A, B),)), 2, id="the offer is answered twice"),
    ],
)
def test_no_reachable_state_ends_one_sided(numbers, budgets, answers):
    world = World(numbers, budgets, answers=answers)
    states = world.walk(limit=100_000)
    print(f"{states} states, {len(world.judged)} of the members alone")
    assert states > 200


@pytest.mark.parametrize(
    ("numbers", "budgets"),
    [
        pytest.param({A: 100, B: 7}, Budgets(((A, B),), crashes=(A, B), rounds=(B,)), id="both crash"),
        pytest.param({A: 100, B: 7}, Budgets(((A, B), (B, A))), id="each offers"),
        pytest.param({A: 100, B: 7, C: -3}, Budgets(((A, B), (B, C))), id="three peers"),
    ],
)
def test_two_exchanges_and_three_peers(numbers, budgets):
    """Members that act at once: fewer states, for more of everything else."""
    world = World(numbers, budgets, brisk=True)
    states = world.walk(limit=100_000)
    print(f"{states} states, {len(world.judged)} of the members alone")
    assert states > 200
