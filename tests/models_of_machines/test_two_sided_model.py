"""Three members that exchange numbers two-sidedly: Hypothesis steers, and every end has two sides or none.

`tests/protocol/test_exchange_explored.py` visits every state of small worlds, and the random schedules run
deep ones; here the steps are chosen, so that what fails is shown as the few steps that lead there.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from quinkgl.testing.exchange_world import judge
from quinkgl.testing.exchanges import Carried, ExchangeMember

BUDGET = settings(max_examples=settings.default.max_examples)
IDS = [bytes([number]) * 32 for number in (1, 2, 3)]
MEMBERS = st.integers(0, len(IDS) - 1)


class TwoSided(RuleBasedStateMachine):
    """Offers, decisions, late rounds, broken sessions and crashes, over a network that loses and repeats."""

    @initialize(numbers=st.tuples(*[st.integers(-100, 100)] * 3), turns=st.integers(0, 10))
    def start(self, numbers, turns) -> None:
        """Begin with an exchange that has come some way."""
        self.now = 0.0
        self.members = [
            ExchangeMember(peer, [other for other in IDS if other != peer], number)
            for peer, number in zip(IDS, numbers, strict=True)
        ]
        self.total = sum(numbers)
        self.way: list[Carried] = []
        for member in self.members:
            member.connect(self.now)
        self.offer(0, 1, 0, turns)

    def speak(self) -> None:
        for member in self.members:
            self.way += member.outgoing(self.now)

    @rule(
        member=MEMBERS,
        step=st.integers(1, 2),
        lateness=st.sampled_from([0, 0, 1, 3]),
        then=st.integers(0, 10),
    )
    def offer(self, member, step, lateness, then) -> None:
        """Offer, and let all talk for some turns: that is how far the exchange comes before what is next."""
        self.members[member].offer(IDS[(member + step) % 3], self.now, lateness=lateness)
        self.talk(then)

    @rule(turns=st.integers(1, 6))
    def talk(self, turns) -> None:
        for _ in range(turns):
            self.speak()
            arriving, self.way = self.way, []
            for carried in arriving:
                self.members[IDS.index(carried.destination)].receive(carried, self.now)
            for member in range(len(IDS)):
                self.act(member, 1, saves=True)

    @rule(member=MEMBERS, count=st.integers(1, 4), saves=st.booleans())
    def act(self, member, count, saves) -> None:
        """Take some of what the machine tells, and save or not."""
        own = self.members[member]
        for _ in range(count):
            if own.take_event(self.now) is None:
                break
        if saves:
            own.save()
            own.tell_saved(self.now)
        self.speak()

    @rule(member=MEMBERS)
    def save_and_tell_later(self, member) -> None:
        self.members[member].save()

    @precondition(lambda self: getattr(self, "way", []))
    @rule(
        number=st.integers(0, 1 << 16),
        count=st.integers(1, 4),
        fate=st.sampled_from(["arrives", "arrives", "arrives", "twice", "lost"]),
    )
    def messages(self, number, count, fate) -> None:
        for _ in range(min(count, len(self.way))):
            carried = self.way.pop(number % len(self.way))
            if fate != "lost":
                self.members[IDS.index(carried.destination)].receive(carried, self.now)
            if fate == "twice":
                self.way.append(carried)
        self.speak()

    @rule(member=MEMBERS)
    def a_round_begins(self, member) -> None:
        machine = self.members[member].machine
        before = machine.round
        machine.set_round(before + 1, now=self.now)
        assert machine.round == before + 1, "a round has waited"
        self.speak()

    @rule(member=MEMBERS)
    def a_session_breaks(self, member) -> None:
        self.members[member].disconnect(self.now)
        self.members[member].connect(self.now)
        self.speak()

    @rule(member=MEMBERS)
    def crash(self, member) -> None:
        self.members[member].crash(self.now)
        self.members[member].connect(self.now)
        self.speak()

    @rule(seconds=st.sampled_from([0.1, 5.0, 60.0]))
    def time_passes(self, seconds) -> None:
        self.now += seconds
        for member in self.members:
            member.machine.handle_timer(now=self.now)
        self.speak()

    @invariant()
    def no_effect_is_applied_twice_at_one_side(self) -> None:
        for member in getattr(self, "members", []):
            assert len(set(member.applied)) == len(member.applied)

    def teardown(self) -> None:
        """Let them talk: every exchange ends with both sides or none, and the sum is what it was."""
        if hasattr(self, "members"):
            judge(self.members, self.total, self.now)


class TestTwoSided(TwoSided.TestCase):
    settings = BUDGET
