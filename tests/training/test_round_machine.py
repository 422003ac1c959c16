"""The round: phases in order, a quorum and a deadline, and no way to be held up or talked into anything."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import quinkgl.training.round_machine as module
from quinkgl.testing.contract import Checked, assert_refuses_reentry
from quinkgl.training import (
    TRANSITIONS,
    AggregateRequested,
    CollectEnd,
    EvaluateRequested,
    KeptReason,
    OwnModelKept,
    PendingUpdate,
    PublishRequested,
    RoundCompleted,
    RoundConfig,
    RoundInput,
    RoundMachine,
    RoundPhase,
    RunCompleted,
    RunEnd,
    TrainRequested,
)
from quinkgl.wire.errors import ErrorCode, LocalProtocolError

A, B, C = bytes([1] * 32), bytes([2] * 32), bytes([3] * 32)


def machine(now=0.0, completed_rounds=0, peers=3, **config):
    made = Checked(RoundMachine(RoundConfig(**config), completed_rounds=completed_rounds, now=now), now=now)
    if peers:
        made.set_live_peers(peers, now=now)
    return made


def events(made):
    return list(made.drain().events)


def to_collect(made, now=0.0):
    """From a fresh machine, or from TRAIN, to COLLECT; returns what was asked for."""
    if made.phase is RoundPhase.IDLE:
        assert made.start(now=now)
    asked = events(made)
    assert made.training_finished(now=now)
    asked += events(made)
    assert made.publishing_finished(now=now)
    return asked + events(made)


def finish(made, now):
    assert made.aggregation_finished(now=now)
    asked = events(made)
    assert made.evaluation_finished(now=now)
    return asked + events(made)


def test_a_round_goes_through_its_phases_and_the_next_begins():
    made = machine(now=10.0, quorum=2, collect_timeout_s=5.0)
    assert (made.phase, made.round, made.deadline()) == (RoundPhase.IDLE, 0, None)
    assert made.deadline_reason == "none in phase idle"
    assert to_collect(made, 10.0) == [TrainRequested(1), PublishRequested(1)]
    assert (made.phase, made.round, made.deadline()) == (RoundPhase.COLLECT, 1, 15.0)
    assert made.update_received(B, "b", now=11.0)
    assert events(made) == []
    assert made.update_received(A, "a", now=12.0)
    assert (made.deadline(), made.deadline_reason) == (12.0, "events wait")
    [asked] = events(made)
    assert asked == AggregateRequested(1, (PendingUpdate(A, (), "a"), PendingUpdate(B, (), "b")))
    assert asked.authors == (A, B)
    assert made.deadline() is None
    assert finish(made, 13.0) == [
        EvaluateRequested(1),
        RoundCompleted(1, (A, B), CollectEnd.QUORUM, 3.0),
        TrainRequested(2),
    ]
    assert (made.round, made.completed_rounds) == (2, 1)


def test_updates_that_arrive_while_it_trains_count():
    made = machine(quorum=2)
    made.start(now=0.0)
    made.update_received(A, "a", now=0.0)
    events(made)
    made.training_finished(now=1.0)
    made.update_received(B, "b", now=1.0)
    events(made)
    made.publishing_finished(now=2.0)
    assert events(made) == [AggregateRequested(1, (PendingUpdate(A, (), "a"), PendingUpdate(B, (), "b")))]
    made.update_received(C, "c", now=3.0)
    made.aggregation_finished(now=3.0)
    made.update_received(A, "a2", now=3.0)
    events(made)
    made.evaluation_finished(now=3.0)
    assert to_collect(made, 4.0)[-1].authors == (A, C)


def test_the_deadline_ends_a_collect_with_what_there_is():
    made = machine(quorum=3, collect_timeout_s=5.0)
    to_collect(made)
    made.update_received(A, "a", now=1.0)
    made.handle_timer(now=4.999)
    assert events(made) == []
    assert made.deadline_reason == "the longest time of COLLECT"
    made.handle_timer(now=5.0)
    assert events(made)[0].authors == (A,)
    assert finish(made, 6.0)[1].collect_end is CollectEnd.DEADLINE


def test_the_least_time_holds_a_collect_whose_quorum_is_met():
    made = machine(quorum=1, min_collect_s=2.0, collect_timeout_s=5.0)
    made.update_received(A, "a", now=0.0)
    to_collect(made)
    assert made.deadline() == 2.0
    assert made.deadline_reason == "the least time of COLLECT"
    made.update_received(B, "b", now=1.0)
    made.handle_timer(now=2.0)
    assert events(made)[0].authors == (A, B)


def test_the_quorum_follows_the_number_of_peers():
    made = machine(quorum=3, collect_timeout_s=5.0)
    to_collect(made)
    made.update_received(A, "a", now=1.0)
    made.update_received(B, "b", now=1.0)
    assert events(made) == []
    made.set_live_peers(2, now=2.0)
    assert events(made)[0].authors == (A, B)


def test_the_quorum_can_be_told_not_to_follow():
    made = machine(quorum=3, collect_timeout_s=5.0, quorum_follows_peers=False, peers=1)
    to_collect(made)
    made.update_received(A, "a", now=1.0)
    assert made.quorum == 3
    assert made.deadline() == 5.0


@pytest.mark.parametrize(
    ("peers", "arrivals", "minimum", "reason", "end"),
    [
        (0, [], 1, KeptReason.NO_PEERS, CollectEnd.NO_PEERS),
        (2, [], 1, KeptReason.NO_UPDATES, CollectEnd.DEADLINE),
        (2, [A], 3, KeptReason.TOO_FEW_UPDATES, CollectEnd.DEADLINE),
    ],
)
def test_without_enough_updates_it_keeps_its_own_model_and_says_so(peers, arrivals, minimum, reason, end):
    made = machine(quorum=2, collect_timeout_s=5.0, minimum_updates=minimum, peers=peers)
    to_collect(made)
    for author in arrivals:
        made.update_received(author, "u", now=1.0)
    made.handle_timer(now=5.0)
    if peers:
        assert events(made) == [OwnModelKept(1, reason), EvaluateRequested(1)]
    made.evaluation_finished(now=6.0)
    assert events(made) == [RoundCompleted(1, (), end, 6.0), TrainRequested(2)]
    assert made.stats.own_model_kept == 1
    assert made.pending_authors == tuple(arrivals)  # what is too little now may be enough with the next


def test_alone_it_does_not_wait_longer_than_the_least_time():
    made = machine(quorum=2, min_collect_s=1.0, collect_timeout_s=60.0, peers=0)
    to_collect(made)
    assert made.deadline() == 1.0
    made.handle_timer(now=1.0)
    assert events(made) == [OwnModelKept(1, KeptReason.NO_PEERS), EvaluateRequested(1)]


def test_an_update_counts_although_its_author_has_left():
    made = machine(quorum=2, peers=1)
    made.update_received(A, "a", now=0.0)
    made.set_live_peers(0, now=0.0)
    assert to_collect(made)[-1].authors == (A,)


def test_updates_that_were_too_few_wait_for_the_next_round():
    made = machine(quorum=2, minimum_updates=3, collect_timeout_s=5.0)
    to_collect(made)
    made.update_received(A, "a", now=1.0)
    made.handle_timer(now=5.0)
    events(made)
    made.evaluation_finished(now=5.0)
    made.update_received(B, "b", now=5.0)
    assert to_collect(made, 6.0)[-1].authors == (A, B)


def test_of_one_author_only_the_newest_waits():
    made = machine(quorum=2, collect_timeout_s=5.0)
    to_collect(made)
    assert made.update_received(A, "round 4", position=(7, 4), now=1.0)
    assert not made.update_received(A, "round 3", position=(7, 3), now=1.0)
    assert made.update_received(A, "round 5", position=(7, 5), now=1.0)
    assert made.update_received(A, "restarted", position=(8, 1), now=1.0)
    assert not made.update_received(A, "before the restart", position=(7, 9), now=1.0)
    made.handle_timer(now=5.0)
    assert events(made)[0].updates == (PendingUpdate(A, (8, 1), "restarted"),)
    assert made.stats.dropped == {"older_update": 2, "superseded": 2}


def test_the_number_of_waiting_updates_is_bounded():
    made = machine(quorum=2, max_pending=2, quorum_follows_peers=False)
    made.update_received(A, "a", now=0.0)
    made.update_received(B, "b", now=0.0)
    assert not made.update_received(C, "c", now=0.0)
    assert made.update_received(A, "a2", now=0.0)
    assert made.stats.dropped == {"pending_full": 1, "superseded": 1}
    assert made.occupancy()["pending"] == (2, 2)


def test_the_driver_may_keep_the_own_model_after_all():
    made = machine(quorum=1)
    made.update_received(A, "a", now=0.0)
    to_collect(made)
    made.aggregation_finished(now=1.0, own_model_kept=True)
    assert events(made) == [OwnModelKept(1, KeptReason.NOT_AGGREGATED), EvaluateRequested(1)]
    made.evaluation_finished(now=1.0)
    assert events(made)[0] == RoundCompleted(1, (), CollectEnd.QUORUM, 1.0)
    assert made.stats.own_model_kept == 1


def test_the_run_ends_with_its_last_round():
    made = machine(rounds=2, peers=0)
    to_collect(made)
    made.evaluation_finished(now=1.0)
    assert events(made)[-1] == TrainRequested(2)
    to_collect(made, 1.0)
    made.update_received(A, "a", now=1.0)
    made.evaluation_finished(now=2.0)
    assert events(made)[-1] == RunCompleted(2, RunEnd.ROUND_LIMIT)
    assert (made.phase, made.round, made.pending_authors) == (RoundPhase.DONE, 2, ())
    assert not made.update_received(A, "a", now=3.0)
    assert made.stats.dropped == {"run_over": 1}


def test_a_resumed_run_goes_on_and_counts_the_rounds_before():
    first = machine(rounds=3, peers=0)
    to_collect(first)
    first.evaluation_finished(now=1.0)
    made = machine(rounds=3, peers=0, **first.state_dict())
    assert made.round == 1
    made.start(now=0.0)
    assert events(made) == [TrainRequested(2)]


def test_a_run_that_was_complete_ends_at_once():
    made = machine(rounds=3, completed_rounds=3)
    assert made.start(now=0.0)
    assert events(made) == [RunCompleted(3, RunEnd.ROUND_LIMIT)]


@pytest.mark.parametrize("phase", [p for p in RoundPhase if p is not RoundPhase.DONE])
def test_stopping_ends_the_run_from_every_phase_and_late_reports_are_no_errors(phase):
    made = machine(quorum=1, collect_timeout_s=5.0)
    steps = {
        RoundPhase.TRAIN: lambda: made.start(now=0.0),
        RoundPhase.PUBLISH: lambda: made.training_finished(now=0.0),
        RoundPhase.COLLECT: lambda: made.publishing_finished(now=0.0),
        RoundPhase.AGGREGATE: lambda: made.update_received(A, "a", now=0.0),
        RoundPhase.EVALUATE: lambda: made.aggregation_finished(now=0.0),
    }
    for reached, step in steps.items():
        if made.phase is phase:
            break
        step()
        events(made)
        assert made.phase is reached
    assert made.stop(now=1.0)
    assert events(made) == [RunCompleted(0, RunEnd.STOPPED)]
    assert not made.stop(now=1.0)
    assert not made.training_finished(now=2.0)
    assert not made.publishing_finished(now=2.0)
    assert not made.aggregation_finished(now=2.0)
    assert not made.evaluation_finished(now=2.0)
    assert not made.set_live_peers(3, now=2.0)
    assert not made.reconfigure(RoundConfig(), now=2.0)
    assert events(made) == []
    assert made.deadline() is None


def test_another_configuration_applies_at_once():
    made = machine(quorum=3, collect_timeout_s=50.0)
    to_collect(made)
    made.update_received(A, "a", now=1.0)
    made.update_received(B, "b", now=1.0)
    with pytest.raises(LocalProtocolError, match="2 updates wait, and max_pending would be 1"):
        made.reconfigure(RoundConfig(max_pending=1), now=1.0)
    assert made.reconfigure(RoundConfig(quorum=2, minimum_updates=3), now=2.0)
    assert events(made)[0].authors == (A, B)


COMMANDS = {
    RoundInput.STARTED: lambda made: made.start(now=0.0),
    RoundInput.TRAINED: lambda made: made.training_finished(now=0.0),
    RoundInput.PUBLISHED: lambda made: made.publishing_finished(now=0.0),
    RoundInput.AGGREGATED: lambda made: made.aggregation_finished(now=0.0, own_model_kept=True),
    RoundInput.EVALUATED: lambda made: made.evaluation_finished(now=0.0),
}


UNASKED = [
    (phase, command)
    for phase in RoundPhase
    for command in COMMANDS
    if phase is not RoundPhase.DONE and (phase, command) not in TRANSITIONS
]


@pytest.mark.parametrize(("phase", "command"), UNASKED)
def test_a_report_that_was_not_asked_for_is_refused_and_changes_nothing(phase, command):
    made = machine(quorum=1)
    order = [RoundInput.STARTED, RoundInput.TRAINED, RoundInput.PUBLISHED]
    for step in order[: list(RoundPhase).index(phase)]:
        COMMANDS[step](made)
    if phase in (RoundPhase.AGGREGATE, RoundPhase.EVALUATE):
        made.update_received(A, "a", now=0.0)
    if phase is RoundPhase.EVALUATE:
        made.aggregation_finished(now=0.0)
    assert made.phase is phase
    before = len(events(made))
    with pytest.raises(LocalProtocolError, match=f"{command.value} in phase {phase.value}") as caught:
        COMMANDS[command](made)
    assert caught.value.code is ErrorCode.E_USAGE
    assert (made.phase, len(events(made))) == (phase, 0)
    assert before or phase is RoundPhase.IDLE


def test_a_negative_number_of_peers_is_refused():
    with pytest.raises(LocalProtocolError, match="-1 live peers"):
        machine().set_live_peers(-1, now=0.0)
    with pytest.raises(ValueError, match="completed_rounds"):
        RoundMachine(RoundConfig(), completed_rounds=-1, now=0.0)


@pytest.mark.parametrize(
    "options",
    [
        {"rounds": -1},
        {"quorum": -1},
        {"minimum_updates": 0},
        {"max_pending": 0},
        {"min_collect_s": -1.0},
        {"min_collect_s": 61.0},
        {"collect_timeout_s": float("inf")},
        {"collect_timeout_s": float("nan")},
        {"quorum": 65},
        {"minimum_updates": 66},
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        RoundConfig(**options)
    assert RoundConfig(quorum=64, minimum_updates=65)


def test_a_clock_that_goes_back_is_clamped_and_counted():
    made = machine(now=100.0, quorum=2, collect_timeout_s=5.0)
    to_collect(made, 100.0)
    made.step_back(50.0)
    assert made.deadline() == 105.0
    made.update_received(A, "a", now=1.0)
    assert made.stats.clock_steps_back == 2


def test_a_call_from_inside_a_call_is_refused():
    plain = RoundMachine(RoundConfig(), now=0.0)
    assert_refuses_reentry(plain, lambda: plain.start(now=0.0), now=0.0)


def test_the_table_leads_from_the_start_to_the_end_through_every_phase():
    reached = {RoundPhase.IDLE}
    for _ in RoundPhase:
        reached |= {after for (before, _), after in TRANSITIONS.items() if before in reached}
    assert reached == set(RoundPhase)
    assert not [before for before, _ in TRANSITIONS if before is RoundPhase.DONE]


def test_the_diagram_names_the_phases_of_the_table():
    drawn = set(
        re.findall(r"\b[A-Z]{4,}\b", Path(module.__file__).read_text(encoding="utf-8").split('"""')[1])
    )
    assert {phase.name for phase in RoundPhase} <= drawn


class Runs(RuleBasedStateMachine):
    """Any order of honest reports, arrivals, peers and time: the contract holds, and every round ends."""

    def __init__(self):
        super().__init__()
        self.made = machine(
            quorum=2, min_collect_s=0.5, collect_timeout_s=3.0, max_pending=4, rounds=5, peers=0
        )
        self.now = 0.0
        self.asked = []
        self.accepted = []
        self.handed_out = []
        self.made.start(now=0.0)
        self.pull()

    def pull(self):
        for event in self.made.drain().events:
            self.asked.append(event)
            if isinstance(event, AggregateRequested):
                self.handed_out += [pending.update for pending in event.updates]

    @rule(author=st.integers(0, 6), position=st.integers(0, 5))
    def arrive(self, author, position):
        update = (author, position, len(self.accepted))
        if self.made.update_received(bytes([author] * 32), update, position=(position,), now=self.now):
            self.accepted.append(update)
        self.pull()

    @rule(count=st.integers(0, 5))
    def peers(self, count):
        self.made.set_live_peers(count, now=self.now)
        self.pull()

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.5, 3.0]))
    def wait(self, seconds):
        self.now += seconds
        self.made.handle_timer(now=self.now)
        self.pull()

    @precondition(lambda self: self.made.deadline() is not None)
    @rule()
    def sleep_until_the_deadline(self):
        self.now = max(self.now, self.made.deadline())
        self.made.handle_timer(now=self.now)
        self.pull()
        assert self.made.phase is not RoundPhase.COLLECT

    @rule(kept=st.booleans())
    def work(self, kept):
        phase = self.made.phase
        if phase is RoundPhase.TRAIN:
            self.made.training_finished(now=self.now)
        elif phase is RoundPhase.PUBLISH:
            self.made.publishing_finished(now=self.now)
        elif phase is RoundPhase.AGGREGATE:
            self.made.aggregation_finished(now=self.now, own_model_kept=kept)
        elif phase is RoundPhase.EVALUATE:
            self.made.evaluation_finished(now=self.now)
        self.pull()

    @invariant()
    def rounds_follow_each_other_and_each_completes_once(self):
        completed = [event.round for event in self.asked if isinstance(event, RoundCompleted)]
        begun = [event.round for event in self.asked if isinstance(event, TrainRequested)]
        assert completed == list(range(1, len(completed) + 1))
        assert begun == list(range(1, len(begun) + 1))
        assert len(begun) - len(completed) in ((0, 1) if self.made.phase is RoundPhase.DONE else (1,))
        assert self.made.completed_rounds == len(completed) <= 5

    @invariant()
    def an_update_is_handed_out_once_at_most(self):
        assert len(set(self.handed_out)) == len(self.handed_out)
        assert set(self.handed_out) <= set(self.accepted)


Runs.TestCase.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestRuns = Runs.TestCase
