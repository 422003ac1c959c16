"""A state machine as data: for each state and each event, what to do and where to go.

The whole logic of a machine's states stands in one table, which is complete by construction: an event that a
state does not name is an error when the module is loaded, not when the event comes. The same tables stand in
``spec/machines/``, for whoever writes the protocol in another language; the tests compare them cell by cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Generic, NamedTuple, TypeVar

S = TypeVar("S", bound=Enum)
E = TypeVar("E", bound=Enum)
D = TypeVar("D", bound=Enum)


class Step(NamedTuple, Generic[S, D]):
    """One cell of a table: what to do, then the next state."""

    do: D
    next: S


class Table(Generic[S, E, D]):
    """A complete transition table over the states, events and actions of three enumerations."""

    def __init__(self, initial: S, rows: Mapping[S, Mapping[E, Step[S, D]]], *, events: type[E]) -> None:
        """Check that every state has a step for every event, and can be reached; ValueError otherwise."""
        self.initial = initial
        self.states: tuple[S, ...] = tuple(type(initial))
        self.events: tuple[E, ...] = tuple(events)
        self._rows = rows
        for state in self.states:
            missing = [event.name for event in self.events if event not in rows.get(state, {})]
            if missing:
                raise ValueError(f"{state.name} does not say what happens on {', '.join(missing)}")
        lost = [state.name for state in self.states if state not in self.reachable()]
        if lost:
            raise ValueError(f"no event leads to {', '.join(lost)}")

    def step(self, state: S, event: E) -> Step[S, D]:
        """Return what ``event`` does in ``state``."""
        return self._rows[state][event]

    def reachable(self) -> tuple[S, ...]:
        """Return the states that some sequence of events leads to, in the order of a breadth-first walk."""
        found = [self.initial]
        for state in found:
            for event in self.events:
                following = self._rows[state][event].next
                if following not in found:
                    found.append(following)
        return tuple(found)
