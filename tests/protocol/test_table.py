"""A table is complete, or it is none; and the tables of the machines are."""

from __future__ import annotations

from enum import Enum

import pytest

from quinkgl.protocol.exchange_table import ANSWERING_TABLE, INITIATING_TABLE
from quinkgl.protocol.inbox import INBOX_TABLE
from quinkgl.protocol.manifest_handshake import HANDSHAKE_TABLE
from quinkgl.protocol.membership import STANDING_TABLE
from quinkgl.protocol.table import Step, Table


class Light(Enum):
    RED = "red"
    GREEN = "green"


class Press(Enum):
    GO = "go"
    STOP = "stop"


class Do(Enum):
    SWITCH = "switch"
    NOTHING = "nothing"


ROWS = {
    Light.RED: {Press.GO: Step(Do.SWITCH, Light.GREEN), Press.STOP: Step(Do.NOTHING, Light.RED)},
    Light.GREEN: {Press.GO: Step(Do.NOTHING, Light.GREEN), Press.STOP: Step(Do.SWITCH, Light.RED)},
}


def test_a_table_says_what_to_do_and_where_to_go():
    table = Table(Light.RED, ROWS, events=Press)
    assert table.step(Light.RED, Press.GO) == (Do.SWITCH, Light.GREEN)
    assert table.reachable() == (Light.RED, Light.GREEN)


def test_a_missing_step_is_no_table():
    with pytest.raises(ValueError, match="RED does not say what happens on STOP"):
        Table(Light.RED, {**ROWS, Light.RED: {Press.GO: Step(Do.SWITCH, Light.GREEN)}}, events=Press)


def test_a_state_out_of_reach_is_no_table():
    stuck = dict.fromkeys(Press, Step(Do.NOTHING, Light.RED))
    with pytest.raises(ValueError, match="no event leads to GREEN"):
        Table(Light.RED, {**ROWS, Light.RED: stuck}, events=Press)


@pytest.mark.parametrize(
    "table", [HANDSHAKE_TABLE, STANDING_TABLE, INBOX_TABLE, INITIATING_TABLE, ANSWERING_TABLE]
)
def test_every_state_of_a_machine_is_reachable_and_every_event_defined(table):
    assert set(table.reachable()) == set(table.states)
    for state in table.states:
        for event in table.events:
            assert table.step(state, event).next in table.states
