"""State machines, read from the data files that the tables of the chapters are made from."""

from .data import table

Machine = dict[str, dict[str, tuple[list[str], str]]]


def machine(name: str) -> Machine:
    """Actions and the next state for each state and event; an event that is ignored has neither."""
    found: Machine = {}
    for state, cells in table(f"machines/{name}.toml")["transitions"].items():
        found[state] = {event: ([], state) for event in cells.pop("ignored", ())}
        found[state] |= {event: (cell.get("do", []), cell["next"]) for event, cell in cells.items()}
    return found
