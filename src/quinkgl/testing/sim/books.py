"""Numbers that peers exchange two-sidedly: what one side gains the other loses, so their sum never changes.

This is the application of :mod:`quinkgl.protocol.exchange` at its smallest. It keeps the application's rule:
the number, what is held and the swarm's state are one checkpoint, and nothing is said that leans on a state
which is not saved.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from quinkgl.swarm import (
    ExchangeAborted,
    ExchangeCommitted,
    ExchangeObjectReceived,
    ExchangeOffered,
    Swarm,
)
from quinkgl.wire.messages.exchange import WEIGHT_ONE

_BODY_BYTES = 16

Name = tuple[bytes, bytes]
"""The peer and the name of an exchange."""


@dataclass
class Books:
    """What one peer has, and what it is about to get or give."""

    number: int
    named: dict[Name, int] = field(default_factory=dict)
    """The own number that went into an exchange."""
    held: dict[Name, int] = field(default_factory=dict)
    """What each exchange adds to the number once it is committed."""
    applied: dict[bytes, int] = field(default_factory=dict)
    """What each exchange has added."""

    def copy(self) -> Books:
        """Return what goes into a checkpoint."""
        return replace(self, named=dict(self.named), held=dict(self.held), applied=dict(self.applied))

    def forget_closed(self, swarm: Swarm) -> None:
        """Let go of what belongs to exchanges that a restored swarm no longer has open."""
        names = {(view.peer, view.exchange): None for view in swarm.open_exchanges()}
        self.held = {name: gain for name, gain in self.held.items() if name in names}
        self.named = {name: number for name, number in self.named.items() if name in names}

    def offer(self, swarm: Swarm, peer: bytes, now: float) -> None:
        """Offer a peer to meet half-way."""
        name = swarm.offer_exchange(peer, self._body(), weight=WEIGHT_ONE // 2, now=now)
        if name is not None:
            self.named[peer, name] = self.number

    def on_event(self, swarm: Swarm, event: Any, now: float, *, answers: bool) -> None:
        """Do what an application does about an event; ``answers`` says whether to agree to an offer."""
        match event:
            case ExchangeOffered(peer, exchange):
                if answers and swarm.accept_exchange(peer, exchange, self._body(), now=now):
                    self.named[peer, exchange] = self.number
                elif not answers:
                    swarm.abort_exchange(peer, exchange, now=now)
            case ExchangeObjectReceived(view, body):
                own = self.named[view.peer, view.exchange]
                theirs = int.from_bytes(body, "big", signed=True)
                offered, answered = (own, theirs) if view.is_initiator else (theirs, own)
                gain = view.weight * (answered - offered) // WEIGHT_ONE
                self.held[view.peer, view.exchange] = gain if view.is_initiator else -gain
                swarm.exchange_held(view.peer, view.exchange, now=now)
            case ExchangeCommitted(view):
                gain = self.held.pop((view.peer, view.exchange))
                self.named.pop((view.peer, view.exchange), None)
                if view.exchange in self.applied:
                    raise AssertionError(f"exchange {view.exchange.hex()} was committed twice")
                self.applied[view.exchange] = gain
                self.number += gain
                swarm.exchange_applied(view.peer, view.exchange, now=now)
            case ExchangeAborted(peer, exchange):
                self.held.pop((peer, exchange), None)
                self.named.pop((peer, exchange), None)

    def _body(self) -> bytes:
        return self.number.to_bytes(_BODY_BYTES, "big", signed=True)


def check_books(books: list[Books], total: int) -> None:
    """Raise AssertionError where an exchange has one side alone, or the sum has changed."""
    sides: dict[bytes, list[int]] = {}
    for each in books:
        for exchange, gain in each.applied.items():
            sides.setdefault(exchange, []).append(gain)
    for exchange, gains in sides.items():
        if len(gains) != 2 or sum(gains) != 0:
            raise AssertionError(f"exchange {exchange.hex()} has the sides {gains}")
    found = sum(each.number for each in books)
    if found != total:
        raise AssertionError(f"the sum of all numbers was {total} and is {found}")
