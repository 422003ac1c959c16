"""Random schedules of two-sided exchanges: loss, duplication, reordering, crashes, and rounds that go on."""

from __future__ import annotations

import random
from dataclasses import dataclass

from quinkgl.testing.exchange_world import judge
from quinkgl.testing.exchanges import Carried, ExchangeMember, seeded

_STEPS = 80
_MOST_MEMBERS = 4
_ARRIVALS = 4
_OFFERS, _ROUNDS, _BREAKS, _EVENTS, _SAVES = 0.15, 0.05, 0.02, 0.8, 0.7
"""How likely each is when it is a member's turn."""


@dataclass(slots=True)
class ScheduleResult:
    """What happened in one schedule; ``late`` is the number of effects of which one side heard at the end."""

    committed: int = 0
    crashes: int = 0
    rounds: int = 0
    late: int = 0


def run_schedule(seed: int) -> ScheduleResult:
    """Run one schedule, then let the members talk; AssertionError where anything ends one-sided.

    No round may wait: each member's round is the number of times that it was told to go on, at every moment.
    """
    rng = seeded(seed)
    ids = [bytes([number + 1]) * 32 for number in range(rng.randrange(2, _MOST_MEMBERS + 1))]
    members = [
        ExchangeMember(peer, [other for other in ids if other != peer], rng.randrange(-1000, 1000))
        for peer in ids
    ]
    total = sum(member.number for member in members)
    loss, twice, crash = rng.random() * 0.3, rng.random() * 0.5, rng.random() * 0.05
    network: list[Carried] = []
    result = ScheduleResult()
    now = 0.0
    for member in members:
        member.connect(now)
    for _ in range(_STEPS):
        now += rng.random()
        member = members[rng.randrange(len(members))]
        if rng.random() < crash:
            member.crash(now)
            member.connect(now)
            result.crashes += 1
        result.rounds += _act(member, rng, now)
        network.extend(carried for carried in member.outgoing(now) if rng.random() >= loss)
        for _ in range(_ARRIVALS):
            if network:
                carried = network.pop(rng.randrange(len(network)))
                if rng.random() < twice:
                    network.append(carried)
                members[ids.index(carried.destination)].receive(carried, now)
    before = [name for member in members for name in member.applied]
    result.late = sum(before.count(name) == 1 for name in before)
    judge(members, total, now)
    result.committed = sum(len(member.applied) for member in members) // 2
    return result


def _act(member: ExchangeMember, rng: random.Random, now: float) -> int:
    """Do some of what a member does by itself; return how many rounds it began."""
    rounds = 0
    if rng.random() < _OFFERS:
        member.offer(member.others[rng.randrange(len(member.others))], now, lateness=rng.choice((0, 0, 1, 3)))
    if rng.random() < _ROUNDS:
        before = member.machine.round
        member.machine.set_round(before + 1, now=now)
        if member.machine.round != before + 1:
            raise AssertionError("a round has waited")
        rounds = 1
    if rng.random() < _BREAKS:
        member.disconnect(now)
        member.connect(now)
    member.machine.handle_timer(now=now)
    while rng.random() < _EVENTS and member.take_event(now) is not None:
        pass
    if rng.random() < _SAVES:
        member.save()
    if rng.random() < _SAVES:
        member.tell_saved(now)
    return rounds
