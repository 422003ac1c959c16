"""Every table of states, walked wholly: what is defined, what is reached, and where the objects really go.

A table that the code runs on cannot differ from the code in what it says. What can be wrong is whether the
machine asks it at all, with the right event: so each cell is also driven through the object that has the
state, with real messages and real time.
"""

from __future__ import annotations

import itertools
import random
from enum import Enum

import pytest

from quinkgl.crypto.keys import KeySource
from quinkgl.protocol import inbox, manifest_handshake, membership
from quinkgl.protocol.exchange_table import ANSWERING_TABLE, INITIATING_TABLE, Answering, Initiating
from quinkgl.protocol.exchange_table import Action as ExchangeAction
from quinkgl.protocol.exchange_table import Input as ExchangeInput
from quinkgl.protocol.manifest_fetch import FETCH_TRANSITIONS, FetchInput, FetchState
from quinkgl.protocol.manifest_handshake import (
    HANDSHAKE_TABLE,
    HandshakeState,
    ManifestAgreed,
    ManifestHandshake,
    ManifestRefused,
)
from quinkgl.training import TRANSITIONS as ROUND_TRANSITIONS
from quinkgl.training.round_machine import RoundInput, RoundPhase
from quinkgl.transport import (
    attempts,
    closing,
    object_receiver,
    object_sender,
    path_mtu,
    paths,
    secret_exchange,
)
from quinkgl.transport.attempts import Attempt, AttemptEvent, AttemptState
from quinkgl.transport.closing import Closing, ClosingEvent
from quinkgl.transport.connection_events import ConnectionState
from quinkgl.transport.connection_ids import ConnectionId
from quinkgl.transport.object_receiver import ObjectReceiver, ReceiverEvent, ReceiverState
from quinkgl.transport.object_sender import ObjectSender, SenderEvent, SenderState
from quinkgl.transport.path_mtu import MtuEvent, MtuState, PathMtu
from quinkgl.transport.paths import Path, PathEvent, PathState
from quinkgl.transport.secret_exchange import ExchangeEvent, ExchangeState, SecretExchange
from quinkgl.transport.stats import EndpointStats
from quinkgl.transport.timers import Timer, TimerTable
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.frames import PING, encode_close
from quinkgl.wire.limits import CONSTANTS, LIMITS
from quinkgl.wire.merkle import LEAF_BYTES, leaf_hash, list_root
from quinkgl.wire.messages.manifest import Agree, Hello, Refuse, Terms, encode_manifest_message
from quinkgl.wire.messages.objects import Want
from quinkgl.wire.messages.secrets import decode_exchange_message_untrusted
from quinkgl.wire.packets import PacketForm
from quinkgl.wire.spec_data import load

# --- the form of each table ---

SPARSE = {
    "closing": (
        closing.TRANSITIONS,
        ConnectionState,
        ClosingEvent,
        ConnectionState.OPEN,
        {ConnectionState.CLOSED},
    ),
    "paths": (paths.TRANSITIONS, PathState, PathEvent, PathState.CANDIDATE, {PathState.GONE}),
    "attempts": (attempts.TRANSITIONS, AttemptState, AttemptEvent, AttemptState.SENDING, {AttemptState.OVER}),
    "sender": (
        object_sender.TRANSITIONS,
        SenderState,
        SenderEvent,
        SenderState.OFFERED,
        {SenderState.ENDED},
    ),
    "receiver": (
        object_receiver.TRANSITIONS,
        ReceiverState,
        ReceiverEvent,
        ReceiverState.OFFERED,
        {ReceiverState.ENDED},
    ),
    "path mtu": (path_mtu.TRANSITIONS, MtuState, MtuEvent, MtuState.SEARCHING, {MtuState.OFF}),
    "secrets": (secret_exchange.TRANSITIONS, ExchangeState, ExchangeEvent, ExchangeState.IDLE, set()),
    "fetch": (FETCH_TRANSITIONS, FetchState, FetchInput, FetchState.OPEN, {FetchState.FAILED}),
    "round": (ROUND_TRANSITIONS, RoundPhase, RoundInput, None, None),
}
"""Tables that hold the moves alone: what is not in them is refused, or is a defect."""

NEVER_REACHED = {MtuState.OFF}
"""States that a machine is in from its beginning to its end, or never."""

COMPLETE = {
    "handshake": (HANDSHAKE_TABLE, {HandshakeState.REFUSED}),
    "standing": (membership.STANDING_TABLE, set()),
    "inbox": (inbox.INBOX_TABLE, {inbox.Inbox.BARRED}),
    "initiating": (INITIATING_TABLE, {Initiating.CLOSED}),
    "answering": (ANSWERING_TABLE, {Answering.CLOSED}),
}
"""Tables with a cell for every state and event."""


def reached(moves: dict, initial: Enum) -> set:
    found = {initial}
    while True:
        more = {following for (state, _), following in moves.items() if state in found} - found
        if not more:
            return found
        found |= more


@pytest.mark.parametrize("name", SPARSE)
def test_a_table_of_moves_names_known_states_and_all_are_reached(name):
    moves, states, events, initial, terminal = SPARSE[name]
    for (state, event), following in moves.items():
        assert isinstance(state, states)
        assert isinstance(event, events)
        assert isinstance(following, states)
    assert {event for _, event in moves} == set(events), "an event that moves nothing"
    start = next(iter(states)) if initial is None else initial
    assert reached(moves, start) == set(states) - NEVER_REACHED
    stuck = {state for state in states if not any(source is state for source, _ in moves)}
    assert stuck == ({RoundPhase.DONE} if terminal is None else terminal)


@pytest.mark.parametrize("name", COMPLETE)
def test_a_complete_table_ends_where_it_is_meant_to_and_nowhere_else(name):
    table, terminal = COMPLETE[name]
    stuck = {
        state
        for state in table.states
        if all(table.step(state, event).next is state for event in table.events)
    }
    assert stuck == terminal
    for state in terminal:
        actions = {table.step(state, event).do for event in table.events}
        assert len(actions) == 1, "the end of a machine does nothing whatever happens"
    used = {table.step(state, event).do for state in table.states for event in table.events}
    if name not in {"initiating", "answering"}:  # two tables share one set of actions
        assert used == set(type(next(iter(used))))


def test_the_two_sides_of_an_exchange_use_every_action_between_them():
    used = {
        table.step(state, event).do
        for table in (INITIATING_TABLE, ANSWERING_TABLE)
        for state in table.states
        for event in table.events
    }
    assert used == set(ExchangeAction)


def test_every_state_of_an_exchange_leads_to_its_end():
    """From everywhere some sequence of events closes the exchange: nothing is kept for ever by its table."""
    for table, end in ((INITIATING_TABLE, Initiating.CLOSED), (ANSWERING_TABLE, Answering.CLOSED)):
        for state in table.states:
            found = {state}
            for _ in table.states:
                found |= {table.step(each, event).next for each in found for event in table.events}
            assert end in found


def test_no_decision_for_an_exchange_is_taken_back_by_the_other_side():
    """After DECIDED nothing that is said, and no lateness, leads to the end without the effect."""
    spoken = {
        ExchangeInput.OFFER,
        ExchangeInput.ACCEPT,
        ExchangeInput.READY,
        ExchangeInput.ASK,
        ExchangeInput.COMMIT,
        ExchangeInput.ABORT,
        ExchangeInput.LATE,
        ExchangeInput.GIVE_UP,
        ExchangeInput.RETRY,
    }
    for table, bound in (
        (INITIATING_TABLE, (Initiating.DECIDED, Initiating.APPLIED)),
        (ANSWERING_TABLE, (Answering.DECIDED, Answering.APPLIED)),
    ):
        for state, event in itertools.product(bound, spoken):
            assert table.step(state, event).next is state


# --- the manifest handshake, cell by cell ---

TERMS = Terms(bytes(32), 3, "arch", (4,), (2,), "FedAvg", "Random", False, 0, None, 1 << 20, ("relay",))
OTHER = Terms(bytes(32), 3, "other", (4,), (2,), "FedAvg", "Random", False, 0, None, 1 << 20)
PATIENCE_S = LIMITS.manifest_handshake_timeout_s


def handshake_message(event: manifest_handshake.Input) -> bytes | None:
    """What the peer says to make an event happen, None for the time-out."""
    match event.name:
        case "HELLO_FITS":
            return encode_manifest_message(Hello(TERMS, initiator=False))
        case "HELLO_DIFFERS":
            return encode_manifest_message(Hello(OTHER, initiator=False))
        case "AGREE":
            return encode_manifest_message(Agree())
        case "REFUSE":
            return encode_manifest_message(Refuse(ErrorCode.E_MAN_ARCH, "arch_hash", "no"))
        case "BREACH":
            return b"\xff"
    return None


def handshake_in(state: HandshakeState) -> ManifestHandshake:
    made = ManifestHandshake(TERMS, role_initiator=True, now=0.0, unix_now=1.8e9)
    way = {
        HandshakeState.WAIT_HELLO: [],
        HandshakeState.WAIT_ANSWER: ["HELLO_FITS"],
        HandshakeState.AGREED: ["HELLO_FITS", "AGREE"],
        HandshakeState.REFUSED: ["REFUSE"],
    }[state]
    for name in way:
        made.receive_message(handshake_message(manifest_handshake.Input[name]), now=0.0)
    while made.next_message(0.0) is not None or made.next_event() is not None:
        pass
    assert made.state is state
    return made


EXPECTED = {
    "SEND_AGREE": (1, None),
    "SEND_REFUSE": (1, ManifestRefused),
    "REPORT_AGREED": (0, ManifestAgreed),
    "REPORT_REFUSED": (0, ManifestRefused),
    "FAULT": (0, None),
    "IGNORE": (0, None),
}
"""By action: messages that are sent, and the event that is told."""


@pytest.mark.parametrize("event", manifest_handshake.Input, ids=lambda event: event.name)
@pytest.mark.parametrize("state", HandshakeState, ids=lambda state: state.name)
@pytest.mark.req("H-004")
def test_each_cell_of_the_manifest_handshake_is_what_the_machine_does(state, event):
    made = handshake_in(state)
    action, following = HANDSHAKE_TABLE.step(state, event)
    message = handshake_message(event)
    if action.name == "FAULT":
        with pytest.raises(RemoteProtocolError):
            made.receive_message(message, now=1.0)
    elif message is None:
        made.handle_timer(now=PATIENCE_S)
    else:
        made.receive_message(message, now=1.0)
    assert made.state is following
    sent = 0
    while made.next_message(PATIENCE_S) is not None:
        sent += 1
    told = made.next_event()
    assert made.next_event() is None
    count, kind = EXPECTED[action.name]
    assert sent == count
    assert told is None if kind is None else isinstance(told, kind)


# --- exchanges of secrets, cell by cell ---


def secrets_end(*, initiator: bool) -> SecretExchange:
    return SecretExchange(
        initiator=initiator,
        post_quantum=False,
        source=KeySource.insecure_deterministic(random.Random(int(initiator))),
        ratchet_s=100.0,
        timeout_s=50.0,
        now=0.0,
    )


def secrets_in(state: ExchangeState, *, initiator: bool) -> tuple[SecretExchange, bytes | None] | None:
    """One end in a state, with the REPLY that it awaits; None where this end never is in the state."""
    alice, bob = secrets_end(initiator=True), secrets_end(initiator=False)
    if state is ExchangeState.IDLE:
        return (alice if initiator else bob), None
    alice.handle_timer(100.0)
    offer = alice.next_message()
    bob.receive_message_untrusted(offer, 100.0)
    reply = bob.next_message()
    if initiator:
        if state is ExchangeState.ANSWERED:
            return None
        if state is ExchangeState.MIXED:
            alice.receive_message_untrusted(reply, 100.0)
        return alice, reply
    if state is ExchangeState.OFFERED:
        return None
    if state is ExchangeState.MIXED:
        assert bob.on_reply_known()
    return bob, None


@pytest.mark.parametrize("initiator", [True, False], ids=["initiator", "responder"])
@pytest.mark.parametrize("event", ExchangeEvent, ids=lambda event: event.name)
@pytest.mark.parametrize("state", ExchangeState, ids=lambda state: state.name)
@pytest.mark.req("K-031")
def test_each_cell_of_a_secret_exchange_is_what_the_end_does(state, event, initiator):
    ready = secrets_in(state, initiator=initiator)
    if ready is None:
        assert (state is ExchangeState.ANSWERED) is initiator, "each end misses one state"
        return
    end, reply = ready
    assert end.state is state
    following = secret_exchange.TRANSITIONS.get((state, event))
    row = load("machines/secret-exchange")["transitions"][state.name]
    if following is None:
        breaches = {ExchangeEvent.OFFER, ExchangeEvent.REPLY}
        kind = "refused" if event in breaches else "ignored"
        assert event.name in row["impossible" if event is ExchangeEvent.WE_OFFER else kind]
    stranger = secrets_end(initiator=True)
    stranger.handle_timer(100.0)
    offer = stranger.next_message()
    if event in {ExchangeEvent.OFFER, ExchangeEvent.WE_OFFER}:
        right_side = initiator is (event is ExchangeEvent.WE_OFFER)
        following = following if right_side else None
    match event:
        case ExchangeEvent.WE_OFFER:
            if state is not ExchangeState.IDLE:
                return  # there is no command for it: the timer alone offers, and is for the time-out then
            end.handle_timer(100.0)
            assert end.has_message is (following is not None)
        case ExchangeEvent.OFFER | ExchangeEvent.REPLY:
            if event is ExchangeEvent.REPLY and reply is None:
                other = secrets_end(initiator=False)
                other.receive_message_untrusted(offer, 100.0)
                reply = other.next_message()
            message = offer if event is ExchangeEvent.OFFER else reply
            decode_exchange_message_untrusted(message)
            if following is None:
                with pytest.raises(RemoteProtocolError) as refused:
                    end.receive_message_untrusted(message, 101.0)
                assert refused.value.code is ErrorCode.E_FRAME_CONTEXT
            else:
                assert len(end.receive_message_untrusted(message, 101.0).value) == 32
        case ExchangeEvent.REPLY_KNOWN:
            assert end.on_reply_known() is (following is not None)
        case ExchangeEvent.PEER_MIXED:
            end.on_peer_mixed()
    assert end.state is (state if following is None else following)


@pytest.mark.parametrize("state", [state for state in ExchangeState if state is not ExchangeState.IDLE])
@pytest.mark.parametrize("initiator", [True, False])
@pytest.mark.req("K-040")
def test_an_exchange_that_stands_still_ends_the_session_from_every_state(state, initiator):
    ready = secrets_in(state, initiator=initiator)
    if ready is None:
        return
    end, _ = ready
    end.handle_timer(149.0)
    with pytest.raises(RemoteProtocolError) as refused:
        end.handle_timer(150.0)
    assert refused.value.code is ErrorCode.E_KEY_UPDATE


# --- paths and the end of a session, cell by cell ---


@pytest.mark.parametrize("event", PathEvent, ids=lambda event: event.name)
@pytest.mark.parametrize("state", PathState, ids=lambda state: state.name)
def test_each_cell_of_a_path(state, event):
    path = Path(("192.0.2.1", 1), ConnectionId(0, bytes(8), b""), state, 0, 0.0)
    following = paths.TRANSITIONS.get((state, event))
    if following is None:
        with pytest.raises(KeyError):
            path.move(event)
        assert path.state is state
    else:
        path.move(event)
        assert path.state is following


def closing_in(state: ConnectionState) -> Closing:
    made = Closing(TimerTable(), EndpointStats(), close_timeout_s=3.0)
    if state in {ConnectionState.CLOSING, ConnectionState.DRAINING}:
        remote = state is ConnectionState.DRAINING
        made.begin(0, "bye", by_remote=remote, probe_timeout_s=0.5, now=0.0)
    elif state is ConnectionState.CLOSED:
        made.finish()
    return made


@pytest.mark.parametrize("event", ClosingEvent, ids=lambda event: event.name)
@pytest.mark.parametrize("state", ConnectionState, ids=lambda state: state.name)
def test_each_cell_of_the_end_of_a_session(state, event):
    made = closing_in(state)
    assert made.state is state
    following = closing.TRANSITIONS.get((state, event))
    if event is ClosingEvent.OVER:
        if following is None:
            with pytest.raises(KeyError):
                made.finish()
        else:
            made.finish()
    else:
        remote = event is ClosingEvent.PEER_CLOSED
        if following is None:
            with pytest.raises(KeyError):
                made.begin(0, "", by_remote=remote, probe_timeout_s=0.5, now=1.0)
        else:
            made.begin(0, "", by_remote=remote, probe_timeout_s=0.5, now=1.0)
    assert made.state is (state if following is None else following)


@pytest.mark.parametrize("state", [ConnectionState.CLOSING, ConnectionState.DRAINING])
@pytest.mark.req("F-061")
def test_time_ends_what_closes(state):
    made = closing_in(state)
    assert made.next_frame(0.5, 0.0) is not None
    made.handle_timer(1.49)
    assert made.state is state
    made.handle_timer(1.5)
    assert made.state is ConnectionState.CLOSED
    assert made.next_frame(0.5, 1.5) is None


def test_the_peer_s_close_ends_the_wait_and_another_packet_asks_for_ours_again():
    timers = TimerTable()
    made = Closing(timers, EndpointStats(), close_timeout_s=3.0)
    made.begin(0, "bye", by_remote=False, probe_timeout_s=0.5, now=0.0)
    first = made.next_frame(0.5, 0.0)
    made.on_late_packet(PING, PacketForm.FRAMES, 0.1)
    assert made.next_frame(0.5, 0.1) == first
    made.on_late_packet(encode_close(0, ""), PacketForm.FRAMES, 0.2)
    assert made.next_frame(0.5, 0.2) is None
    assert timers.expired(Timer.CLOSE, 0.2)


# --- attempts, transfers and the search for the path MTU, cell by cell ---


def attempt_in(state: AttemptState) -> Attempt:
    made = Attempt(
        party=None,  # nothing is sent here
        address=("192.0.2.1", 1),
        expected_peer=None,
        local_id=bytes(8),
        offered=(1,),
        timeout_s=1.0,
        tries=5,
        now=0.0,
    )
    if state is AttemptState.YIELDED:
        made.wait_for_other(0.0)
    elif state is AttemptState.OVER:
        made.move(AttemptEvent.EXHAUSTED)
    return made


@pytest.mark.parametrize("event", AttemptEvent, ids=lambda event: event.name)
@pytest.mark.parametrize("state", AttemptState, ids=lambda state: state.name)
def test_each_cell_of_an_attempt(state, event):
    made = attempt_in(state)
    assert made.state is state
    following = attempts.TRANSITIONS.get((state, event))
    happens = {
        AttemptEvent.AGAIN: lambda: made.go_on(1.0),
        AttemptEvent.GREATER_INIT: lambda: made.wait_for_other(1.0),
    }.get(event, lambda: made.move(event))
    if following is None:
        with pytest.raises(KeyError):
            happens()
    else:
        happens()
    assert made.state is (state if following is None else following)


BODY = bytes(range(256)) * 100
LEAVES = b"".join(leaf_hash(BODY[at : at + LEAF_BYTES]) for at in range(0, len(BODY), LEAF_BYTES))
WHOLE = LEAVES + BODY


def sender_in(state: SenderState) -> ObjectSender:
    made = ObjectSender(0, list_root(LEAVES), LEAVES, memoryview(BODY))
    if state is SenderState.SENDING:
        made.on_want_untrusted(Want(0, ((0, len(WHOLE)),), len(WHOLE)))
    elif state is SenderState.ENDED:
        made.end(SenderEvent.DONE)
    return made


@pytest.mark.parametrize("event", SenderEvent, ids=lambda event: event.name)
@pytest.mark.parametrize("state", SenderState, ids=lambda state: state.name)
@pytest.mark.req("O-015")
def test_each_cell_of_the_offering_side(state, event):
    made = sender_in(state)
    assert made.state is state
    assert made.has_output is (state is SenderState.SENDING)
    following = object_sender.TRANSITIONS.get((state, event))

    def happens() -> None:
        if event is SenderEvent.WANT:
            made.on_want_untrusted(Want(0, ((0, 100),), 60))
        else:
            made.end(event)

    if following is None:
        with pytest.raises(KeyError):
            happens()
        assert made.state is state
        return
    happens()
    assert made.state is following
    taken = made.take(1000)
    assert (None if taken is None else len(taken[1])) == (60 if event is SenderEvent.WANT else None)


def receiver_in(state: ReceiverState) -> ObjectReceiver:
    made = ObjectReceiver(0, list_root(LEAVES), len(BODY), b"")
    made.next_credit(len(WHOLE))
    if state is ReceiverState.COMPLETE:
        made.receive_untrusted(0, WHOLE)
    elif state is ReceiverState.ENDED:
        made.end(ReceiverEvent.REFUSED)
    return made


@pytest.mark.parametrize("event", ReceiverEvent, ids=lambda event: event.name)
@pytest.mark.parametrize("state", ReceiverState, ids=lambda state: state.name)
@pytest.mark.req("O-021")
def test_each_cell_of_the_receiving_side(state, event):
    following = object_receiver.TRANSITIONS.get((state, event))
    if state is ReceiverState.OFFERED:
        held = receiver_in(ReceiverState.COMPLETE).sink
        made = {
            ReceiverEvent.ACCEPTED: lambda: ObjectReceiver(0, held.root, held.size, b""),
            ReceiverEvent.ACCEPTED_WHOLE: lambda: ObjectReceiver(0, held.root, held.size, b"", held),
        }
        if event in made:
            assert made[event]().state is following
        else:
            assert following in {None, ReceiverState.ENDED}  # no receiver is there yet
        return
    receiver = receiver_in(state)
    assert receiver.state is state
    if event is ReceiverEvent.WHOLE:
        receiver.receive_untrusted(0, WHOLE)  # late once it is over
        assert receiver.state is (following or state)
    elif following is None:
        with pytest.raises(KeyError):
            receiver.end(event)
        assert receiver.state is state
    else:
        receiver.end(event)
        assert receiver.state is following


SMALL, LARGE = CONSTANTS.base_mtu_bytes, CONSTANTS.mtu_probes_bytes[0]


def mtu_in(state: MtuState) -> PathMtu:
    """A search in a state, which found one larger size before where it could."""
    made = PathMtu(start=SMALL, cap=65507, discovery=state is not MtuState.OFF)
    if state is not MtuState.OFF:
        assert made.probe_due(0.0) == LARGE
        made.on_probe_sent(1, LARGE, 0.0, 0.1)
        assert made.on_ranges_acknowledged(((1, 1),))
    if state is MtuState.COMPLETE:
        lose_probes(made, 1.0)
    elif state is MtuState.COOLING:
        lose_large(made, 0.0)
    assert made.state is state
    return made


def lose_probes(mtu: PathMtu, now: float) -> None:
    """Lose every try of a size, as soon as each may be sent."""
    for number in range(CONSTANTS.mtu_probe_tries):
        size = mtu.probe_due(now)
        if size is None:
            return
        mtu.on_probe_sent(10 + number, size, now, 0.1)
        now += 0.1
        assert mtu.probe_due(now) is None
        now += CONSTANTS.mtu_probe_retry_s


def lose_large(mtu: PathMtu, now: float) -> None:
    for _ in range(CONSTANTS.mtu_black_hole_bursts):
        mtu.on_packets_lost(LARGE, now)


@pytest.mark.parametrize("event", MtuEvent, ids=lambda event: event.name)
@pytest.mark.parametrize("state", MtuState, ids=lambda state: state.name)
@pytest.mark.req("Q-052", "Q-053")
def test_each_cell_of_the_search_for_the_path_mtu(state, event):
    made = mtu_in(state)
    following = path_mtu.TRANSITIONS.get((state, event))
    match event:
        case MtuEvent.EXHAUSTED:
            lose_probes(made, 10.0)  # before any wait but that between two tries is over
        case MtuEvent.DUE:
            assert (made.probe_due(1000.0) is None) is (state is MtuState.OFF)
        case MtuEvent.VANISHED:
            lose_large(made, 10.0)
    assert made.state is (state if following is None else following)
    if event is MtuEvent.VANISHED and following is not None:
        assert made.datagram_bytes == SMALL
