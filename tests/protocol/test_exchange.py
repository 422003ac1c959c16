"""The two-sided exchange: its course, its doubts and its bounds, through pairs of machines."""

from __future__ import annotations

import random

import pytest

from quinkgl.protocol.exchange import (
    ExchangeAbandoned,
    ExchangeAborted,
    ExchangeCommitted,
    ExchangeObjectReceived,
    ExchangeOffered,
    Exchanges,
    SaveWanted,
)
from quinkgl.testing.contract import Checked, assert_refuses_reentry
from quinkgl.testing.exchange_world import judge
from quinkgl.testing.exchanges import ExchangeMember, settle
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from quinkgl.wire.limits import LIMITS, limits_with
from quinkgl.wire.messages.exchange import (
    WEIGHT_ONE,
    Abort,
    Accept,
    Ack,
    Ask,
    Commit,
    Offer,
    Ready,
    decode_exchange_message_untrusted,
    encode_exchange_message,
)

US, THEM, OTHER = (bytes([letter]) * 32 for letter in b"abc")
ROOTS = {US: bytes([1]) * 32, THEM: bytes([2]) * 32}
NAME, ANSWER = bytes(16), bytes([1]) * 16


class Pair:
    """Two machines behind the contract checker, and a carrier that brings what it is told to."""

    def __init__(self, **options):
        self.options = options
        self.machines = {peer: self.start(peer) for peer in (US, THEM)}
        self.events = {US: [], THEM: []}
        self.said = []
        self.now = 0.0
        for peer in (US, THEM):
            self.machines[peer].peer_connected(self.other(peer), now=0.0)

    def start(self, peer):
        rng = random.Random(peer[0])
        return Checked(Exchanges(peer, rng=rng, now=0.0, **self.options))

    @staticmethod
    def other(peer):
        return THEM if peer == US else US

    def drain(self, peer):
        """Return what one side says now; its events are kept."""
        drained = self.machines[peer].drain()
        self.events[peer] += drained.events
        said = [decode_exchange_message_untrusted(data) for _, data in drained.of("next_message")]
        self.said += said
        return said

    def say(self, peer, *messages):
        """Let one side hear messages of the other."""
        for message in messages:
            data = encode_exchange_message(message)
            self.machines[peer].receive_message(self.other(peer), data, now=self.now)

    def turn(self, peer):
        """Bring the other side all that one has to say."""
        said = self.drain(peer)
        self.say(self.other(peer), *said)
        return said

    def offer(self, **options):
        weight = options.pop("weight", WEIGHT_ONE // 2)
        return self.machines[US].offer(THEM, ROOTS[US], 100, weight=weight, now=self.now, **options)

    def agree(self, **options):
        """Come as far as both sides waiting for objects; return the name."""
        name = self.offer(**options)
        self.turn(US)
        assert self.machines[THEM].accept(US, name, ROOTS[THEM], 200, now=self.now)
        self.turn(THEM)
        self.drain(US)
        return name

    def hold(self, peer, name):
        other = self.other(peer)
        self.machines[peer].object_received(other, ROOTS[other], b"body", now=self.now)
        self.drain(peer)
        return self.machines[peer].hold(other, name, now=self.now)

    def save(self, peer):
        machine = self.machines[peer]
        state, mark = machine.state(), machine.mark
        machine.state_saved(mark, now=self.now)
        return state

    def in_doubt(self, **options):
        """Come as far as a responder that has said READY and was not heard."""
        name = self.agree(**options)
        self.hold(THEM, name)
        state = self.save(THEM)
        assert self.drain(THEM) == [Ready(name, self.answer(name))]
        return name, state

    def answer(self, name):
        return next(m.answer for m in self.said if m.exchange == name and getattr(m, "answer", None))

    def last(self, peer, kind):
        return [event for event in self.events[peer] if isinstance(event, kind)][-1]


@pytest.mark.req("B-011", "B-012")
def test_an_exchange_from_the_offer_to_the_last_word():
    pair = Pair()
    name = pair.agree(metadata={1: 2})
    offered = pair.last(THEM, ExchangeOffered)
    assert (offered.peer, offered.exchange, offered.root, offered.size) == (US, name, ROOTS[US], 100)
    assert (offered.weight, offered.lateness, offered.codec, offered.metadata) == (1 << 31, 0, 1, {1: 2})
    assert pair.machines[US].wants_object(THEM, ROOTS[THEM], 200)
    assert not pair.machines[US].wants_object(THEM, ROOTS[THEM], 201)
    assert pair.hold(US, name)
    assert bytes(pair.last(US, ExchangeObjectReceived).body) == b"body"
    assert pair.hold(THEM, name)
    assert pair.turn(THEM) == []  # not before it is saved
    assert pair.last(THEM, SaveWanted) == SaveWanted(1)
    pair.save(THEM)
    pair.turn(THEM)
    assert pair.turn(US) == []
    committed = pair.last(US, ExchangeCommitted)
    assert (committed.exchange.is_initiator, committed.staleness) == (True, 0)
    assert (committed.exchange.root, committed.exchange.remote_root) == (ROOTS[US], ROOTS[THEM])
    assert pair.machines[US].applied(THEM, name, now=0.0)
    assert not pair.machines[US].applied(THEM, name, now=0.0)
    assert pair.turn(US) == []
    pair.save(US)
    assert pair.turn(US) == [Commit(name, pair.answer(name))]
    pair.drain(THEM)
    assert not pair.last(THEM, ExchangeCommitted).exchange.is_initiator
    assert pair.machines[THEM].applied(US, name, now=0.0)
    assert pair.turn(THEM) == []
    pair.save(THEM)
    assert pair.turn(THEM) == [Ack(name, pair.answer(name))]
    assert [pair.machines[peer].open() for peer in (US, THEM)] == [(), ()]


@pytest.mark.req("B-005")
@pytest.mark.parametrize(("lateness", "share"), [(0, 1), (1, 3), (3, 7)])
def test_the_weight_is_damped_for_the_lateness(lateness, share):
    pair = Pair()
    pair.offer(weight=WEIGHT_ONE, lateness=lateness)
    (offer,) = pair.drain(US)
    assert (offer.weight, offer.lateness) == (WEIGHT_ONE // share, lateness)


@pytest.mark.req("B-010")
def test_nothing_is_decided_before_both_hold_both():
    pair = Pair()
    name = pair.agree()
    pair.say(US, Ready(name, pair.answer(name)))
    assert pair.drain(US) == []
    assert pair.events[US] == []
    pair.hold(US, name)
    pair.drain(US)
    assert pair.last(US, ExchangeCommitted)


@pytest.mark.req("B-024")
def test_a_decision_before_this_side_was_ready_is_a_breach():
    pair = Pair()
    name = pair.agree()
    with pytest.raises(RemoteProtocolError) as caught:
        pair.say(THEM, Commit(name, pair.answer(name)))
    assert caught.value.code is ErrorCode.E_PROTOCOL
    pair.drain(THEM)
    assert pair.last(THEM, ExchangeAborted).code == ErrorCode.E_PROTOCOL


@pytest.mark.req("B-040")
def test_an_undecided_exchange_ends_with_the_round_on_both_sides():
    pair = Pair()
    name = pair.agree()
    pair.machines[US].set_round(1, now=0.0)
    assert pair.turn(US) == [Abort(name, pair.answer(name), ErrorCode.E_RND_STALE)]
    pair.drain(THEM)
    for peer in (US, THEM):
        assert pair.last(peer, ExchangeAborted).exchange == name
        assert not pair.machines[peer].hold(pair.other(peer), name, now=0.0)


@pytest.mark.req("B-040")
def test_a_lateness_leaves_so_many_rounds():
    pair = Pair()
    name = pair.agree(lateness=2)
    pair.machines[US].set_round(2, now=0.0)
    pair.machines[THEM].set_round(2, now=0.0)
    assert pair.drain(US) == pair.drain(THEM) == []
    pair.machines[THEM].set_round(3, now=0.0)
    assert pair.turn(THEM) == [Abort(name, pair.answer(name), ErrorCode.E_RND_STALE)]


@pytest.mark.req("B-014", "B-033", "B-040")
def test_a_responder_in_doubt_asks_when_its_round_is_over_and_gives_up_nothing():
    pair = Pair()
    name, _ = pair.in_doubt()
    pair.machines[THEM].set_round(1, now=0.0)
    assert pair.drain(THEM) == [Ask(name, pair.answer(name))]
    assert not pair.machines[THEM].abort(US, name, now=0.0)
    pair.machines[THEM].peer_disconnected(US, now=0.0)
    assert pair.machines[THEM].open() != ()
    pair.machines[THEM].peer_connected(US, now=0.0)
    assert pair.turn(THEM) == [Ask(name, pair.answer(name))]
    # The initiator had not decided, so it decides against it.
    assert pair.turn(US) == [Abort(name, pair.answer(name), ErrorCode.E_RND_STALE)]
    pair.drain(THEM)
    assert pair.last(THEM, ExchangeAborted).exchange == name


@pytest.mark.req("B-015")
def test_a_late_decision_is_applied_late():
    pair = Pair()
    name, _ = pair.in_doubt()
    pair.machines[THEM].set_round(5, now=0.0)
    pair.drain(THEM)
    pair.say(THEM, Commit(name, pair.answer(name)))
    pair.drain(THEM)
    assert pair.last(THEM, ExchangeCommitted).staleness == 5


@pytest.mark.req("B-020", "B-033")
def test_a_decision_is_said_again_until_it_is_acknowledged():
    pair = Pair()
    name, _ = pair.in_doubt()
    pair.hold(US, name)
    pair.say(US, Ready(name, pair.answer(name)))
    pair.drain(US)
    pair.machines[US].applied(THEM, name, now=0.0)
    pair.drain(US)
    pair.save(US)
    commit = Commit(name, pair.answer(name))
    assert pair.drain(US) == [commit]
    pair.machines[US].handle_timer(now=pair.now)  # too early
    assert pair.drain(US) == []
    for late in (0.0, 0.0, 0.3):
        pair.now = pair.machines[US].deadline() + late
        pair.machines[US].handle_timer(now=pair.now)
        assert pair.drain(US) == [commit]
    pair.say(US, Ask(name, pair.answer(name)))
    assert pair.drain(US) == [commit]
    pair.say(US, Ack(name, ANSWER))
    assert pair.machines[US].open() != ()
    pair.say(US, Ack(name, pair.answer(name)))
    assert pair.machines[US].open() == ()
    assert pair.machines[US].deadline() is None


@pytest.mark.req("B-013", "B-033")
def test_a_state_takes_up_what_was_promised_and_forgets_the_rest():
    pair = Pair()
    name, state = pair.in_doubt()
    again = pair.start(THEM)
    again.restore(state, now=0.0)
    assert again.state() == state
    again.peer_connected(US, now=0.0)
    (message,) = again.drain().of("next_message")
    assert decode_exchange_message_untrusted(message[1]) == Ready(name, pair.answer(name))
    # The initiator had promised nothing.
    assert pair.machines[US].state() == {"open": []}


@pytest.mark.req("B-012", "B-013", "B-020")
def test_what_was_decided_and_not_applied_is_reported_again():
    pair = Pair()
    name, _ = pair.in_doubt()
    pair.hold(US, name)
    pair.say(US, Ready(name, pair.answer(name)))
    pair.drain(US)
    decided = pair.machines[US].state()
    again = pair.start(US)
    again.restore(decided, now=0.0)
    (event,) = again.drain().events
    assert event == pair.last(US, ExchangeCommitted)
    again.applied(THEM, name, now=0.0)
    assert again.drain().events == (SaveWanted(1),)
    applied = again.state()
    last = pair.start(US)
    last.restore(applied, now=0.0)
    assert last.drain().events == ()
    last.peer_connected(THEM, now=0.0)
    (message,) = last.drain().of("next_message")
    assert decode_exchange_message_untrusted(message[1]) == Commit(name, pair.answer(name))


@pytest.mark.parametrize(
    "damage",
    [
        {},
        {"open": None},
        {"open": [1]},
        {"open": [[]]},
        {"open": [["Initiating.TOLD", b"", NAME, ANSWER, 1, 0, 1, 0, bytes(32), 1, [], bytes(32), 1, []]]},
        {"open": [["Initiating.TOLD", US, b"", ANSWER, 1, 0, 1, 0, bytes(32), 1, [], bytes(32), 1, []]]},
        {"open": [["Initiating.TOLD", US, NAME, ANSWER, -1, 0, 1, 0, bytes(32), 1, [], bytes(32), 1, []]]},
        {"open": [["Initiating.OFFERED", US, NAME, ANSWER, 1, 0, 1, 0, bytes(32), 1, [], bytes(32), 1, []]]},
    ],
)
def test_a_state_of_another_form_is_refused(damage):
    with pytest.raises(LocalProtocolError):
        Pair().start(THEM).restore(damage, now=0.0)
    pair = Pair()
    with pytest.raises(LocalProtocolError):
        pair.machines[US].restore({"open": []}, now=0.0)


@pytest.mark.req("B-021", "B-022")
def test_what_is_unknown_was_decided_against_or_is_applied():
    pair = Pair()
    name = pair.offer()
    pair.drain(US)
    pair.say(US, Ready(name, ANSWER))
    assert pair.drain(US) == []  # the ACCEPT before it was lost, and comes again
    pair.say(US, Ready(NAME, ANSWER), Ask(NAME, ANSWER), Commit(NAME, ANSWER), Ack(NAME, ANSWER))
    gone = Abort(NAME, ANSWER, ErrorCode.GONE)
    assert pair.drain(US) == [gone, gone, Ack(NAME, ANSWER)]
    pair.say(US, gone)
    assert pair.drain(US) == []


@pytest.mark.req("B-001", "B-023")
def test_an_abort_of_another_answer_changes_nothing():
    pair = Pair()
    name, _ = pair.in_doubt()
    pair.say(THEM, Abort(name, ANSWER, 0))
    assert pair.machines[THEM].open() != ()
    pair.say(THEM, Abort(name, None, 0))
    assert pair.machines[THEM].open() == ()


@pytest.mark.req("B-001", "B-023")
def test_an_abort_of_another_answer_changes_nothing_at_the_initiator_either():
    pair = Pair()
    name = pair.agree()
    pair.say(US, Abort(name, ANSWER, ErrorCode.GONE))
    assert not pair.drain(US)
    assert [view.exchange for view in pair.machines[US].open()] == [name]
    pair.say(US, Abort(name, pair.answer(name), ErrorCode.GONE))
    pair.drain(US)
    assert pair.last(US, ExchangeAborted).exchange == name


@pytest.mark.req("B-021")
def test_before_the_first_answer_is_known_a_ready_waits_and_an_ask_ends_the_exchange():
    pair = Pair()
    name = pair.offer()
    pair.turn(US)
    pair.say(US, Ready(name, ANSWER))
    assert pair.drain(US) == []
    pair.say(US, Ask(name, ANSWER))
    assert pair.drain(US) == [Abort(name, None, ErrorCode.E_RND_STALE)]
    assert pair.last(US, ExchangeAborted).code == ErrorCode.E_RND_STALE


@pytest.mark.req("B-021")
def test_before_the_first_answer_is_known_an_abort_of_any_answer_ends_the_exchange():
    pair = Pair()
    name = pair.offer()
    pair.turn(US)
    pair.say(US, Abort(name, ANSWER, ErrorCode.NOT_WANTED))
    pair.drain(US)
    assert pair.last(US, ExchangeAborted).code == ErrorCode.NOT_WANTED


@pytest.mark.req("B-001", "B-021")
def test_an_initiator_keeps_to_the_first_answer():
    """A responder that has forgotten its first answer is told that the second is worth nothing."""
    pair = Pair()
    name = pair.agree()
    pair.hold(US, name)
    pair.say(US, Accept(name, ANSWER, ROOTS[THEM], 200), Ready(name, ANSWER), Ask(name, ANSWER))
    said = [(type(message), message.answer) for message in pair.drain(US)]
    assert said == [(Abort, ANSWER)] * 3
    assert [type(event) for event in pair.events[US]] == [ExchangeObjectReceived]
    pair.say(US, Ready(name, pair.answer(name)))
    pair.drain(US)
    assert pair.last(US, ExchangeCommitted)


@pytest.mark.req("B-003")
def test_nobody_else_has_a_say_in_an_exchange():
    pair = Pair()
    name, _ = pair.in_doubt()
    answer = pair.answer(name)
    machine = pair.machines[THEM]
    machine.peer_connected(OTHER, now=0.0)
    for word in (Commit(name, answer), Abort(name, answer, 0), Abort(name, None, 0)):
        machine.receive_message(OTHER, encode_exchange_message(word), now=0.0)
    events = machine.drain().events
    assert not [event for event in events if isinstance(event, (ExchangeCommitted, ExchangeAborted))]
    assert [view.exchange for view in machine.open()] == [name]
    assert not machine.wants_object(OTHER, ROOTS[US], 100)


@pytest.mark.req("B-001")
def test_every_exchange_and_every_answer_has_a_number_of_its_own():
    pair = Pair(limits=limits_with(exchanges_per_peer=4))
    names = [pair.agree() for _ in range(4)]
    answers = [message.answer for message in pair.said if isinstance(message, Accept)]
    assert len({*names, *answers}) == 8


def test_an_offer_that_comes_again_is_answered_again():
    pair = Pair()
    pair.offer()
    offer = pair.turn(US)[0]
    pair.say(THEM, offer)
    pair.drain(THEM)
    assert len(pair.events[THEM]) == 1
    pair.machines[THEM].accept(US, offer.exchange, ROOTS[THEM], 200, now=0.0)
    accept = pair.drain(THEM)
    pair.say(THEM, offer)
    assert pair.drain(THEM) == accept
    assert not pair.machines[THEM].accept(US, offer.exchange, ROOTS[THEM], 200, now=0.0)


def test_an_offer_of_our_own_that_comes_back_is_a_mirror():
    pair = Pair()
    pair.offer()
    pair.say(US, pair.drain(US)[0])
    assert pair.machines[US].stats.dropped == {"exchange_mirrored": 1}


@pytest.mark.req("B-042")
def test_exchanges_with_one_peer_and_in_all_are_bounded():
    pair = Pair(limits=limits_with(exchanges=3, exchanges_per_peer=2, exchange_lateness=1))
    names = [pair.offer() for _ in range(3)]
    assert names[2] is None
    pair.turn(US)
    more = [Offer(bytes([number]) * 16, ROOTS[US], 1, 1, 0, 1) for number in (7, 8)]
    pair.say(THEM, more[0])
    assert pair.drain(THEM) == [Abort(more[0].exchange, None, ErrorCode.E_BUSY)]
    pair.machines[THEM].abort(US, names[0], now=0.0)
    pair.drain(THEM)
    pair.say(THEM, Offer(NAME, ROOTS[US], 1, 1, 2, 1))
    assert pair.drain(THEM) == [Abort(NAME, None, ErrorCode.NOT_WANTED)]
    pair.machines[THEM].peer_connected(OTHER, now=0.0)
    assert pair.machines[THEM].offer(OTHER, ROOTS[THEM], 1, weight=1, now=0.0) is not None
    assert pair.machines[THEM].offer(OTHER, ROOTS[THEM], 1, weight=1, now=0.0) is not None
    assert pair.machines[THEM].offer(OTHER, ROOTS[THEM], 1, weight=1, now=0.0) is None


@pytest.mark.req("B-042")
def test_who_does_not_take_its_events_is_bound_to_no_more_than_they_have_room_for():
    """Room for 36 events, two of each exchange that came to nothing, and six for the next one."""
    pair = Pair(limits=limits_with(exchanges=3, exchanges_per_peer=2, events=16))
    for number in range(20):
        name = bytes([number]) * 16
        pair.say(THEM, Offer(name, ROOTS[US], 1, 1, 0, 1), Abort(name, None, ErrorCode.GONE))
    pair.drain(THEM)
    assert len(pair.events[THEM]) == 2 * 16
    assert pair.machines[THEM].stats.dropped == {"exchange_refused": 4}


@pytest.mark.req("B-050")
def test_a_departure_ends_everything_and_says_how_far_it_was():
    pair = Pair()
    name, _ = pair.in_doubt()
    assert pair.machines[THEM].peer_departed(US, now=0.0) == 1
    pair.drain(THEM)
    assert pair.last(THEM, ExchangeAbandoned) == ExchangeAbandoned(US, name, committed=False)
    pair.hold(US, name)
    pair.say(US, Ready(name, pair.answer(name)))
    pair.machines[US].peer_departed(THEM, now=0.0)
    pair.drain(US)
    assert pair.last(US, ExchangeAbandoned) == ExchangeAbandoned(THEM, name, committed=True)
    assert pair.machines[US].open() == ()
    second = Pair()
    second.agree()
    second.machines[US].peer_departed(THEM, now=0.0)
    second.drain(US)
    assert second.last(US, ExchangeAborted).code == ErrorCode.GONE


@pytest.mark.req("B-041")
def test_the_end_of_a_session_ends_what_is_undecided():
    pair = Pair()
    pair.agree()
    assert pair.machines[US].peer_disconnected(THEM, now=0.0)
    assert not pair.machines[US].peer_disconnected(THEM, now=0.0)
    assert pair.drain(US) == []
    assert pair.last(US, ExchangeAborted).code == ErrorCode.GONE


@pytest.mark.req("B-041")
def test_what_was_not_taken_by_the_end_of_a_session_is_not_left_for_the_next_one():
    """The carrier may have another session with the peer by then, in which nothing is agreed."""
    pair = Pair()
    name = pair.offer()
    pair.turn(US)
    pair.machines[THEM].accept(US, name, ROOTS[THEM], 200, now=0.0)
    machine = pair.machines[THEM]
    machine.peer_connected(OTHER, now=0.0)
    machine.offer(OTHER, ROOTS[THEM], 200, weight=1, now=0.0)
    machine.peer_disconnected(US, now=0.0)
    machine.peer_connected(US, now=0.0)
    drained = machine.drain()
    assert [peer for peer, _ in drained.of("next_message")] == [OTHER]
    assert drained.of("next_action") == []


def test_an_object_that_does_not_come_ends_the_exchange():
    pair = Pair()
    name = pair.agree()
    pair.machines[US].object_failed(THEM, ROOTS[THEM], ErrorCode.TOO_SLOW, now=0.0)
    assert pair.turn(US) == [Abort(name, pair.answer(name), ErrorCode.TOO_SLOW)]
    pair.machines[US].object_received(THEM, ROOTS[THEM], b"", now=0.0)
    assert pair.machines[US].stats.dropped == {"object_unknown": 1}


@pytest.mark.req("E-003")
def test_an_object_that_was_lost_with_something_of_our_own_is_said_to_be_gone():
    """The code of a transfer may say what this node noticed at itself; an ABORT never does."""
    pair = Pair()
    name = pair.agree()
    pair.machines[US].object_failed(THEM, ROOTS[THEM], ErrorCode.E_IDLE, now=0.0)
    assert pair.turn(US) == [Abort(name, pair.answer(name), ErrorCode.GONE)]
    other = pair.agree()
    with pytest.raises(LocalProtocolError):
        pair.machines[US].abort(THEM, other, code=ErrorCode.E_USAGE, now=0.0)


def test_misuse_changes_nothing():
    pair = Pair()
    machine = pair.machines[US]
    for call in (
        lambda: pair.offer(weight=0),
        lambda: pair.offer(lateness=LIMITS.exchange_lateness + 1),
        lambda: machine.offer(THEM, ROOTS[US], 0, weight=1, now=0.0),
        lambda: machine.accept(THEM, NAME, b"", 1, now=0.0),
        lambda: machine.state_saved(1, now=0.0),
        lambda: machine.state_saved(-1, now=0.0),
        lambda: machine.set_round(-1, now=0.0),
        lambda: machine.peer_connected(US, now=0.0),
    ):
        with pytest.raises(LocalProtocolError):
            call()
    assert not machine.peer_connected(THEM, now=0.0)
    assert machine.offer(OTHER, ROOTS[US], 1, weight=1, now=0.0) is None
    assert not machine.accept(THEM, NAME, ROOTS[US], 1, now=0.0)
    assert not machine.abort(THEM, NAME, now=0.0)


@pytest.mark.req("B-002")
def test_words_of_strangers_and_what_is_no_message():
    pair = Pair()
    machine = pair.machines[US]
    machine.receive_message(OTHER, b"", now=0.0)
    with pytest.raises(RemoteProtocolError):
        machine.receive_message(THEM, b"", now=0.0)
    machine.receive_message(THEM, b"\xa1\x00\x18\x40", now=0.0)
    assert machine.stats.dropped == {"not_connected": 1, "malformed": 1, "unknown_kind": 1}
    machine.step_back()
    assert_refuses_reentry(machine.machine, lambda: machine.machine.handle_timer(now=0.0), now=0.0)


@pytest.mark.req("B-011", "B-012", "B-013")
@pytest.mark.parametrize("crash_after", range(12))
def test_a_crash_of_both_between_any_two_steps(crash_after):
    """One exchange, step by step; both crash after so many of them and come back with what they saved."""
    us, them = ExchangeMember(US, [THEM], 100), ExchangeMember(THEM, [US], 20)
    members = (us, them)
    for member in members:
        member.connect(0.0)
    us.offer(THEM, 0.0)
    for step in range(12):
        if step == crash_after:
            for member in members:
                member.crash(0.0)
                member.connect(0.0)
        member = members[step % 2]
        while member.take_event(0.0) is not None:
            pass
        member.save()
        member.tell_saved(0.0)
        for side in members:
            for carried in side.outgoing(0.0):
                members[carried.destination == THEM].receive(carried, 0.0)
    settle(members, 0.0)
    judge(members, 120)
