"""Every state that a small world of two-sided exchanges can reach, through the machines that really run.

The network is the set of all that was ever sent: any of it may arrive, any number of times, in any order, or
never. That is loss, duplication and reordering without bounds. Members save at any time, before or after they
have acted on what they were told, and the budgets say how often each may offer, crash, lose its sessions and
begin a round. From every state that is reached the members are then let talk undisturbed, and judged.
"""

from __future__ import annotations

import copyreg
import io
import pickle
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from quinkgl.protocol.machine import MachineStats
from quinkgl.testing.exchanges import Carried, ExchangeMember, settle
from quinkgl.wire.limits import Limits

Act = Callable[[ExchangeMember, Any], object]

_SIDES = 2
_EVENTS_WAITING = 2
"""A member takes nothing in while this many events wait: an OFFER that comes again after each ABORT would
otherwise fill its queue with ever new states."""


class Budgets(NamedTuple):
    """What may still happen: offers as (from, to), and for the rest one entry for each time."""

    offers: tuple[tuple[bytes, bytes], ...]
    crashes: tuple[bytes, ...] = ()
    breaks: tuple[bytes, ...] = ()
    rounds: tuple[bytes, ...] = ()


class WorldState(NamedTuple):
    """One state of the world: each member frozen, all that was ever sent, and what may still happen."""

    members: tuple[bytes, ...]
    network: frozenset[Carried]
    budgets: Budgets


class _Freezer(pickle.Pickler):
    dispatch_table: Any = copyreg.dispatch_table | {
        Limits: lambda _: "LIMITS",
        memoryview: lambda view: (memoryview, (bytes(view),)),
    }


def freeze(member: ExchangeMember) -> bytes:
    """Return a member as bytes, without its counters: equal states are equal bytes."""
    member.machine.stats = MachineStats()
    out = io.BytesIO()
    _Freezer(out, protocol=5).dump(member)
    return out.getvalue()


def thaw(frozen: bytes) -> ExchangeMember:
    """Return the member that :func:`freeze` was given."""
    member: ExchangeMember = pickle.loads(frozen)  # noqa: S301 - made by this module
    return member


class World:
    """A breadth-first walk over all states; ``answers`` is how many offers each member agrees to.

    ``brisk`` members act on all that they are told at once and save in one step with telling the machine:
    fewer states for larger worlds.
    """

    def __init__(
        self, numbers: Mapping[bytes, int], budgets: Budgets, *, answers: int = 1, brisk: bool = False
    ) -> None:
        self._brisk = brisk
        self._peers = list(numbers)
        self._total = sum(numbers.values())
        members = [
            ExchangeMember(peer, [other for other in numbers if other != peer], number, answers=answers)
            for peer, number in numbers.items()
        ]
        for member in members:
            member.connect(0.0)
        self._start = WorldState(tuple(freeze(member) for member in members), frozenset(), budgets)
        self._known: dict[tuple[bytes, Act, Any], tuple[bytes, frozenset[Carried]]] = {}
        self.judged: dict[tuple[bytes, ...], None] = {}

    def walk(self, *, limit: int = 10_000_000) -> int:
        """Visit every state and judge it; return how many there are. RuntimeError beyond ``limit``."""
        seen = {self._start: None}
        queue = deque(seen)
        while queue:
            state = queue.popleft()
            self._judge(state)
            for following in self._steps(state):
                if following not in seen:
                    seen[following] = None
                    queue.append(following)
            if len(seen) > limit:
                raise RuntimeError(f"more than {limit} states")
        return len(seen)

    def _steps(self, state: WorldState) -> Iterator[WorldState]:
        """Return the states that one step leads to."""
        for index, peer in enumerate(self._peers):
            for act, argument, budgets in _acts(peer, state, brisk=self._brisk):
                frozen, sent = self._after(state.members[index], act, argument)
                members = (*state.members[:index], frozen, *state.members[index + 1 :])
                yield WorldState(members, state.network | sent if sent else state.network, budgets)

    def _after(self, frozen: bytes, act: Act, argument: Any) -> tuple[bytes, frozenset[Carried]]:
        """Return a member after an act, and what it sent; whoever else there is makes no difference to it."""
        key = (frozen, act, argument)
        if key not in self._known:
            member = thaw(frozen)
            act(member, argument)
            sent = frozenset(member.outgoing(0.0))
            self._known[key] = freeze(member), sent
        return self._known[key]

    def _judge(self, state: WorldState) -> None:
        """Let the members talk from here on, and see that everything has two sides or none."""
        if state.members in self.judged:
            return
        self.judged[state.members] = None
        judge([thaw(frozen) for frozen in state.members], self._total)


def judge(members: Sequence[ExchangeMember], total: int, now: float = 0.0) -> None:
    """Settle the members and raise AssertionError for an exchange with one side, or another sum."""
    settle(members, now)
    applied = [name for member in members for name in member.applied]
    lopsided = [name.hex() for name in dict.fromkeys(applied) if applied.count(name) != _SIDES]
    if lopsided:
        raise AssertionError(f"exchanges that are applied at one side alone, or twice: {lopsided}")
    if any(len(dict.fromkeys(member.applied)) != len(member.applied) for member in members):
        raise AssertionError("an effect was applied twice at one side")
    if (found := sum(member.number for member in members)) != total:
        raise AssertionError(f"the sum was {total} and is {found}")
    if any(member.held for member in members):
        raise AssertionError("an object is kept for no exchange")


def _acts(peer: bytes, state: WorldState, *, brisk: bool) -> Iterator[tuple[Act, Any, Budgets]]:
    """Return what one member may do or suffer, each with its argument and the budgets that are left by it."""
    left = state.budgets
    for carried in state.network:
        if carried.destination == peer:
            yield _receive_and_act if brisk else _receive, carried, left
    if brisk:
        yield _save_and_tell, None, left
    else:
        yield _take_event, None, left
        yield _save, None, left
        yield _tell_saved, None, left
    for offer in left.offers:
        if offer[0] == peer:
            yield _offer, offer[1], left._replace(offers=_without(left.offers, offer))
    if peer in left.crashes:
        yield _crash, None, left._replace(crashes=_without(left.crashes, peer))
    if peer in left.breaks:
        yield _break, None, left._replace(breaks=_without(left.breaks, peer))
    if peer in left.rounds:
        yield _next_round, None, left._replace(rounds=_without(left.rounds, peer))


def _without(items: tuple[Any, ...], item: object) -> tuple[Any, ...]:
    index = items.index(item)
    return (*items[:index], *items[index + 1 :])


def _receive(member: ExchangeMember, carried: Carried) -> None:
    if member.machine.occupancy()["events"][0] < _EVENTS_WAITING:
        member.receive(carried, 0.0)


def _receive_and_act(member: ExchangeMember, carried: Carried) -> None:
    member.receive(carried, 0.0)
    while member.take_event(0.0) is not None:
        pass


def _save_and_tell(member: ExchangeMember, _: None) -> None:
    while member.take_event(0.0) is not None:
        pass
    member.save()
    member.tell_saved(0.0)


def _take_event(member: ExchangeMember, _: None) -> None:
    member.take_event(0.0)


def _save(member: ExchangeMember, _: None) -> None:
    member.save()


def _tell_saved(member: ExchangeMember, _: None) -> None:
    member.tell_saved(0.0)


def _offer(member: ExchangeMember, peer: bytes) -> None:
    member.offer(peer, 0.0)


def _crash(member: ExchangeMember, _: None) -> None:
    member.crash(0.0)
    member.connect(0.0)


def _break(member: ExchangeMember, _: None) -> None:
    member.disconnect(0.0)
    member.connect(0.0)


def _next_round(member: ExchangeMember, _: None) -> None:
    member.machine.set_round(member.machine.round + 1, now=0.0)
