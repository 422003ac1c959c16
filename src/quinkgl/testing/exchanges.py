"""Members that exchange whole numbers two-sidedly, with a disk that survives their crashes.

What one side gains the other loses, so the sum over all members shows every effect that was applied at one
side alone, or twice. A member keeps the application's rule: its number, the objects that it holds and the
machine's state are one checkpoint. Messages and objects leave through :meth:`ExchangeMember.outgoing`; the
test decides what becomes of them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from quinkgl.protocol.exchange import (
    ExchangeAborted,
    ExchangeCommitted,
    ExchangeEvent,
    ExchangeObjectReceived,
    ExchangeOffered,
    Exchanges,
    ExchangeView,
)
from quinkgl.wire.limits import LIMITS, Limits
from quinkgl.wire.messages.exchange import WEIGHT_ONE

OBJECT_BYTES = 8
Name = tuple[bytes, bytes]
"""The peer and the name of an exchange."""


@dataclass(slots=True)
class Checkpoint:
    """What is saved together."""

    number: int
    held: dict[Name, tuple[int, int]]
    applied: tuple[bytes, ...]
    state: dict[str, Any]
    mark: int


@dataclass(frozen=True, slots=True)
class Carried:
    """A message, or an object with its root, on the way from one member to another."""

    source: bytes
    destination: bytes
    message: bytes = b""
    root: bytes = b""


class Naming:
    """Gives names that no other life of any member gives; a generator that is small to copy."""

    def __init__(self, member: bytes, life: int) -> None:
        self._prefix = member[:1] + bytes([life])
        self._count = 0

    def randbytes(self, count: int) -> bytes:
        """Return the next name."""
        self._count += 1
        return (self._prefix + self._count.to_bytes(2, "big")).ljust(count, b"\0")


def root_of(number: int) -> bytes:
    """Return the root of the object that holds a number."""
    return number.to_bytes(32, "big", signed=True)


@dataclass
class ExchangeMember:
    """One member: the machine, its application, and its disk.

    ``applied`` names the exchanges whose effect is part of ``number``, in the order in which they came.
    """

    peer_id: bytes
    others: Sequence[bytes]
    number: int
    limits: Limits = LIMITS
    answers: int = 1 << 30
    """How many offers it agrees to in all its lives."""
    life: int = 0
    held: dict[Name, tuple[int, int]] = field(default_factory=dict)
    applied: tuple[bytes, ...] = ()
    machine: Exchanges = field(init=False)
    disk: Checkpoint = field(init=False)

    def __post_init__(self) -> None:
        """Begin with a checkpoint of the beginning."""
        self._start(0.0)
        self.save()

    # --- what the application does ---

    def offer(self, peer: bytes, now: float, *, weight: int = WEIGHT_ONE // 2, lateness: int = 0) -> bool:
        """Offer an exchange of the present number; False where the machine has no room or no peer."""
        root = root_of(self.number)
        made = self.machine.offer(peer, root, OBJECT_BYTES, weight=weight, lateness=lateness, now=now)
        return made is not None

    def take_event(self, now: float) -> ExchangeEvent | None:
        """Take one event and do what an application does about it; return it."""
        event = self.machine.next_event()
        match event:
            case ExchangeOffered(peer, exchange):
                self._answer(peer, exchange, now)
            case ExchangeObjectReceived(view):
                self.held[view.peer, view.exchange] = _numbers(view)
                self.machine.hold(view.peer, view.exchange, now=now)
            case ExchangeCommitted(view):
                self._apply(view, now)
            case ExchangeAborted(peer, exchange):
                self.held.pop((peer, exchange), None)
        return event

    def save(self) -> None:
        """Write a checkpoint: number, objects and state together."""
        self.disk = Checkpoint(
            self.number, dict(self.held), self.applied, self.machine.state(), self.machine.mark
        )

    def tell_saved(self, now: float) -> None:
        """Tell the machine of the last checkpoint of this life."""
        self.machine.state_saved(self.disk.mark, now=now)

    def crash(self, now: float) -> None:
        """Lose everything but the last checkpoint, and start again from it."""
        self.number, self.applied = self.disk.number, self.disk.applied
        self.held = dict(self.disk.held)
        self.life += 1
        self._start(now)
        self.machine.restore(self.disk.state, now=now)
        self.disk.mark = 0
        names = {(view.peer, view.exchange): None for view in self.machine.open()}
        self.held = {name: held for name, held in self.held.items() if name in names}

    # --- what the carrier does ---

    def connect(self, now: float) -> None:
        """Reach all others."""
        for peer in self.others:
            self.machine.peer_connected(peer, now=now)

    def disconnect(self, now: float) -> None:
        """Lose all others."""
        for peer in self.others:
            self.machine.peer_disconnected(peer, now=now)

    def receive(self, carried: Carried, now: float) -> None:
        """Take what arrived."""
        if carried.message:
            self.machine.receive_message(carried.source, carried.message, now=now)
        elif self.machine.wants_object(carried.source, carried.root, OBJECT_BYTES):
            self.machine.object_received(carried.source, carried.root, carried.root, now=now)

    def outgoing(self, now: float) -> list[Carried]:
        """Return all that the machine has to send."""
        sent: list[Carried] = []
        while (action := self.machine.next_action(now)) is not None:
            sent.append(Carried(self.peer_id, action.peer, root=action.root))
        while (message := self.machine.next_message(now)) is not None:
            sent.append(Carried(self.peer_id, message[0], message[1]))
        return sent

    def _start(self, now: float) -> None:
        rng: Any = Naming(self.peer_id, self.life)
        self.machine = Exchanges(self.peer_id, rng=rng, now=now, limits=self.limits)

    def _answer(self, peer: bytes, exchange: bytes, now: float) -> None:
        if self.answers == 0:
            self.machine.abort(peer, exchange, now=now)
            return
        self.answers -= 1
        self.machine.accept(peer, exchange, root_of(self.number), OBJECT_BYTES, now=now)

    def _apply(self, view: ExchangeView, now: float) -> None:
        offered, answered = self.held.pop((view.peer, view.exchange))
        gain = view.weight * (answered - offered) // WEIGHT_ONE
        self.number += gain if view.is_initiator else -gain
        self.applied += (view.exchange,)
        self.machine.applied(view.peer, view.exchange, now=now)


def settle(members: Sequence[ExchangeMember], now: float) -> float:
    """Let all members talk, undisturbed, until nothing is open; return the time by then.

    Everything that waits is saved, whatever was not answered is said again, and rounds pass. Raises
    AssertionError where that does not end it.
    """
    for member in members:
        member.disconnect(now)
        member.connect(now)
    for _ in range(40):
        now += LIMITS.exchange_retry_s
        for member in members:
            member.machine.handle_timer(now=now)
        _exhaust(members, now)
        for member in members:
            member.machine.set_round(member.machine.round + 1, now=now)
        _exhaust(members, now)
        if not any(member.machine.occupancy()["exchanges"][0] for member in members):
            return now
    raise AssertionError("an exchange stays open among members that talk")


def _exhaust(members: Sequence[ExchangeMember], now: float) -> None:
    """Let every member do all that it can do now, and bring everything where it belongs."""
    by_id = {member.peer_id: member for member in members}
    busy = True
    while busy:
        busy = False
        for member in members:
            while member.take_event(now) is not None:
                busy = True
            member.save()
            member.tell_saved(now)
            for carried in member.outgoing(now):
                busy = True
                by_id[carried.destination].receive(carried, now)


def seeded(seed: int) -> random.Random:
    """Return the generator of one schedule."""
    return random.Random(seed)  # noqa: S311 - a simulation


def _numbers(view: ExchangeView) -> tuple[int, int]:
    """Return the initiator's number, then the responder's."""
    own, theirs = (int.from_bytes(root, "big", signed=True) for root in (view.root, view.remote_root))
    return (own, theirs) if view.is_initiator else (theirs, own)
