"""The state machines of `spec/machines/` are whole, and are those that the code steps through."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, cast

import pytest

from quinkgl.protocol.exchange_table import ANSWERING_TABLE, INITIATING_TABLE
from quinkgl.protocol.inbox import INBOX_TABLE
from quinkgl.protocol.manifest_fetch import FETCH_TRANSITIONS
from quinkgl.protocol.manifest_handshake import HANDSHAKE_TABLE
from quinkgl.protocol.membership import STANDING_TABLE
from quinkgl.protocol.table import Table
from quinkgl.transport import (
    attempts,
    closing,
    object_receiver,
    object_sender,
    path_mtu,
    paths,
    secret_exchange,
)

SPEC = Path(__file__).resolve().parents[2] / "spec"
FILES = {
    path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in (SPEC / "machines").glob("*.toml")
}
RULES = set(tomllib.loads((SPEC / "requirements.toml").read_text(encoding="utf-8")))
UNDEFINED = ("ignored", "refused", "impossible")

COMPLETE: dict[str, Table[Any, Any, Any]] = {
    "manifest-handshake": HANDSHAKE_TABLE,
    "standing": STANDING_TABLE,
    "inbox": INBOX_TABLE,
    "exchange-initiator": INITIATING_TABLE,
    "exchange-responder": ANSWERING_TABLE,
}
"""Tables of the code with a cell for each state and event, and an action in it."""

MOVES: dict[str, Mapping[tuple[Any, Any], Any]] = {
    "attempt": attempts.TRANSITIONS,
    "manifest-fetch": FETCH_TRANSITIONS,
    "object-receiver": object_receiver.TRANSITIONS,
    "object-sender": object_sender.TRANSITIONS,
    "path": paths.TRANSITIONS,
    "path-mtu": path_mtu.TRANSITIONS,
    "secret-exchange": secret_exchange.TRANSITIONS,
    "session-end": closing.TRANSITIONS,
}
"""Tables of the code that hold the moves alone; the files say too what a machine does where it stays."""

WITHOUT_TABLE = {"half-open"}
"""Its state is whether there is such a handshake: the code keeps it among the half-open ones, or does not."""


def cells(machine: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every transition of a file: state, event, and what is said of them."""
    for state, row in machine["transitions"].items():
        for event, cell in row.items():
            if event not in UNDEFINED:
                yield state, event, cell


def names(table: Mapping[tuple[Enum, Enum], Enum]) -> dict[tuple[str, str], str]:
    """A table of the code in the words of the files."""
    return {(state.name, event.name): following.name for (state, event), following in table.items()}


def members(of: Enum) -> set[str]:
    return {member.name for member in type(of)}


def test_every_machine_is_compared_with_the_code() -> None:
    assert sorted(FILES) == sorted([*COMPLETE, *MOVES, *WITHOUT_TABLE])


@pytest.mark.parametrize("name", sorted(FILES))
def test_each_event_stands_once_in_each_state(name: str) -> None:
    machine = FILES[name]
    assert list(machine["transitions"]) == list(machine["states"])
    for state, row in machine["transitions"].items():
        told = [event for event in row if event not in UNDEFINED]
        told += [event for kind in UNDEFINED for event in row.get(kind, ())]
        assert sorted(told) == sorted(machine["events"]), state
    assert set(machine["otherwise"]) == {
        kind for kind in UNDEFINED for row in machine["transitions"].values() if row.get(kind)
    }


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file_has_its_form(name: str) -> None:
    machine = FILES[name]
    assert set(machine) == {
        "title",
        "chapter",
        "form",
        "begins",
        "states",
        "events",
        "otherwise",
        "transitions",
    }
    assert machine["form"] in {"grid", "list"}
    for texts in (machine["begins"], machine["states"], machine["events"], machine["otherwise"]):
        assert all(isinstance(text, str) and text for text in texts.values())
    for word in (*machine["states"], *machine["events"]):
        assert re.fullmatch("[A-Z][A-Z_]*", word)
    for _, _, cell in cells(machine):
        assert {"next"} <= set(cell) <= {"next", "do", "rules"}
        assert all(isinstance(action, str) and action for action in cell.get("do", ()))
        assert set(cell.get("rules", ())) <= RULES
        if machine["form"] == "grid":
            # A grid has no column for them, nor a sign for what is neither defined nor ignored.
            assert "rules" not in cell
            assert not any("," in action for action in cell.get("do", ()))
    if machine["form"] == "grid":
        assert set(machine["otherwise"]) <= {"ignored"}


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_state_of_a_file_is_reached_from_where_it_begins(name: str) -> None:
    machine = FILES[name]
    assert machine["begins"]
    found = set(machine["begins"])
    for _ in machine["states"]:
        found |= {cell["next"] for state, _, cell in cells(machine) if state in found}
    assert found == set(machine["states"])


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_chapter_and_the_list_of_machines_show_it(name: str) -> None:
    chapter = (SPEC / FILES[name]["chapter"]).read_text(encoding="utf-8")
    assert chapter.count(f"<!-- table: machine {name} -->") == 1
    assert f"[{name}.toml]({name}.toml)" in (SPEC / "machines" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(SPEC.glob("*.md")), ids=lambda path: path.name)
def test_no_chapter_has_a_table_of_states_that_is_written_by_hand(path: Path) -> None:
    text = re.sub(r"<!-- table: .*?<!-- end -->", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert not re.search(r"(?m)^\| state\b", text), "put it into spec/machines/"


@pytest.mark.parametrize("name", sorted(COMPLETE))
def test_a_complete_table_of_the_code_is_that_of_the_file(name: str) -> None:
    machine, table = FILES[name], COMPLETE[name]
    assert list(machine["states"]) == [state.name for state in table.states]
    assert list(machine["events"]) == [event.name for event in table.events]
    assert list(machine["begins"]) == [table.initial.name]
    for state in table.states:
        row = machine["transitions"][state.name]
        for event in table.events:
            action, following = table.step(state, event)
            cell = row.get(event.name, {"next": state.name})
            assert cell["next"] == following.name, (state, event)
            if action.name == "IGNORE":
                # A move without an action is no event that is ignored.
                assert "do" not in cell
                assert (event.name in row) is (following is not state)
            else:
                assert ", ".join(cell.get("do", ())) == action.value, (state, event)


@pytest.mark.parametrize("name", sorted(MOVES))
def test_the_moves_of_the_code_are_those_of_the_file(name: str) -> None:
    machine, table = FILES[name], MOVES[name]
    state, event = next(iter(table))
    stepped = members(cast("Enum", event))
    assert list(machine["states"]) == [each.name for each in type(state)]
    assert stepped <= set(machine["events"])
    told = {(here, what): cell["next"] for here, what, cell in cells(machine)}
    assert {pair: following for pair, following in told.items() if pair[1] in stepped} == names(table)
    # An event that the code has no name for changes no state.
    assert all(here == following for (here, what), following in told.items() if what not in stepped)
