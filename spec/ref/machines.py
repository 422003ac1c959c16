"""State machines, read from the tables of the chapters that define them."""

import re

from .data import SPEC

Machine = dict[str, dict[str, tuple[list[str], str]]]


def machines(chapter: str) -> list[Machine]:
    """The tables of a chapter that give actions and the next state for each state and event, in order."""
    found: list[Machine] = []
    events: list[str] = []
    for line in (SPEC / chapter).read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == "state" and all(re.fullmatch("[A-Z_]+", cell) for cell in cells[1:]):
            events = cells[1:]
            found.append({})
        elif events and cells[0].startswith("**"):
            found[-1][cells[0].strip("*")] = dict(zip(events, map(_cell, cells[1:]), strict=True))
        elif not line.startswith("|"):
            events = []
    return found


def _cell(cell: str) -> tuple[list[str], str]:
    actions, following = cell.split(" → ")
    return [action for action in actions.split(", ") if action != "–"], following
