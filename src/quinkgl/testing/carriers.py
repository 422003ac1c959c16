"""What a carrier of one's own owes the machines, and a check of it.

The machines of ``quinkgl.protocol`` run over any carrier that is reliable and ordered: between connecting and
breaking, each side receives the messages of the other whole, once, and in their order, messages without a
byte among them; what was on the way when it breaks may be lost, and nothing of one connection turns up in the
next (``docs/embedding.md``). :func:`check_carrier` holds a carrier to that over a list of steps, which
:func:`quinkgl.testing.strategies.carrier_steps` draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

_MOST_TURNS = 1000
"""Turns after which a carrier must have delivered what was sent."""
SIDES = (0, 1)


class Carrier(Protocol):
    """Two ends of a carrier in one object, so that a test can drive both; a side is 0 or 1."""

    def send(self, side: int, message: bytes) -> None:
        """Take a message from a side."""

    def receive(self, side: int) -> bytes | None:
        """Return the next message that has arrived at a side, None if there is none yet."""

    def turn(self) -> None:
        """Let what is on the way move a little."""

    def reconnect(self) -> None:
        """Break the connection and make a new one."""


@dataclass(frozen=True, slots=True)
class Send:
    """A side sends a message."""

    side: int
    message: bytes

    def __str__(self) -> str:
        """Return the step as a line of a schedule."""
        return f"side {self.side} sends {self.message!r}"


@dataclass(frozen=True, slots=True)
class Turn:
    """What is on the way moves, and both sides take what has arrived."""

    def __str__(self) -> str:
        """Return the step as a line of a schedule."""
        return "the carrier turns"


@dataclass(frozen=True, slots=True)
class Reconnect:
    """The connection breaks and a new one is made."""

    def __str__(self) -> str:
        """Return the step as a line of a schedule."""
        return "the connection breaks and is made anew"


Step: TypeAlias = Send | Turn | Reconnect


class CarrierError(AssertionError):
    """A carrier that does not do what it owes."""


@dataclass(slots=True)
class _Direction:
    """What one side has sent in this connection, and how much of it the other has received."""

    sent: list[bytes] = field(default_factory=list)
    received: int = 0


def check_carrier(carrier: Carrier, steps: Sequence[Step]) -> None:
    """Drive a carrier through the steps, then let it rest; CarrierError at the first broken promise."""
    to_side = {side: _Direction() for side in SIDES}
    for step in steps:
        match step:
            case Send(side, message):
                to_side[1 - side].sent.append(message)
                carrier.send(side, message)
            case Turn():
                carrier.turn()
                _take(carrier, to_side)
            case Reconnect():
                carrier.reconnect()
                to_side = {side: _Direction() for side in SIDES}
    for _ in range(_MOST_TURNS):
        if all(direction.received == len(direction.sent) for direction in to_side.values()):
            break
        carrier.turn()
        _take(carrier, to_side)
    for side, direction in to_side.items():
        if direction.received < len(direction.sent):
            missing = direction.sent[direction.received]
            raise CarrierError(f"side {side} never receives {missing!r}")
    carrier.turn()
    _take(carrier, to_side)  # nothing may come after the last


def _take(carrier: Carrier, to_side: dict[int, _Direction]) -> None:
    """Take what has arrived, and compare it with what was sent in this connection."""
    for side, direction in to_side.items():
        while (message := carrier.receive(side)) is not None:
            if direction.received == len(direction.sent):
                raise CarrierError(f"side {side} receives {message!r}, which nobody sent in this connection")
            due = direction.sent[direction.received]
            if bytes(message) != due:
                raise CarrierError(f"side {side} receives {message!r} where {due!r} is due")
            direction.received += 1
