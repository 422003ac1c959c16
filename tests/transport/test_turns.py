"""Who sends next: the newest first, and nobody starves."""

from __future__ import annotations

from collections import Counter

import pytest

from quinkgl.transport.turns import Turns


def turns(*priorities: int) -> Turns:
    made = Turns()
    for transfer, priority in enumerate(priorities):
        made.add(transfer, priority)
    return made


def play(made: Turns, count: int, idle: tuple[int, ...] = ()) -> list[int]:
    taken = []
    for _ in range(count):
        transfer = next(each for each in made.candidates() if each not in idle)
        made.took(transfer)
        taken.append(transfer)
    return taken


@pytest.mark.req("R-080")
def test_equals_take_turns():
    assert play(turns(0, 0, 0), 7) == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.req("O-009")
def test_the_newest_goes_first_and_one_turn_in_eight_goes_to_the_others():
    counts = Counter(play(turns(1, 5, 2), 800))
    assert counts[1] == 700
    assert counts[0] == counts[2] == 50


@pytest.mark.req("O-009")
def test_a_turn_that_the_newest_does_not_want_goes_to_the_next():
    assert set(play(turns(1, 5, 2), 7, idle=(1,))) == {2}


def test_one_that_is_over_takes_no_turn():
    made = turns(1, 5)
    made.remove(1)
    assert play(made, 10) == [0] * 10
