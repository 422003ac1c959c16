"""The two-sided exchange: both sides apply the effect of an exchange, or neither does.

For rules whose sum over all peers must not change (mean-preserving gossip, gradient tracking): an update that
one side applies and the other does not would bias them for ever. Here each side gets the other's object, and
then, on the initiator's word, both apply equal and opposite effects. The machine moves no bodies and applies
no effects; it says when, and sees that it happens once at each side, whatever was lost and whoever crashed
and came back with its saved state. One machine serves one swarm. Source:
``spec/11b-two-sided-exchange.md``.

**What the application does.** Its own quantity, the objects that it holds for open exchanges and this
machine's :meth:`Exchanges.state` are one checkpoint, saved together or not at all:

* ``ExchangeOffered``: answer with :meth:`~Exchanges.accept` or :meth:`~Exchanges.abort`.
* ``ExchangeObjectReceived``: keep what is needed to apply the effect later, then :meth:`~Exchanges.hold`.
* ``ExchangeCommitted``: apply the effect, once, then :meth:`~Exchanges.applied`.
* ``ExchangeAborted``: let go of what was kept.
* ``SaveWanted``: save a checkpoint, then say :meth:`~Exchanges.state_saved`. Until then nothing that leans on
  it is said, and nothing else waits: rounds go on, late decisions are applied late.

After a restart from the last checkpoint, :meth:`~Exchanges.restore` reports again what was decided and not
applied; what was applied is not reported again. Objects kept for an exchange that :meth:`~Exchanges.open`
does not name by then are to be let go of.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from quinkgl.crypto.identity import PeerId
from quinkgl.protocol.exchange_events import (
    ExchangeAbandoned,
    ExchangeAborted,
    ExchangeCommitted,
    ExchangeEvent,
    ExchangeObjectReceived,
    ExchangeOffered,
    ExchangeView,
    SaveWanted,
    SendObject,
)
from quinkgl.protocol.exchange_record import Record, Side, restore, save, table_of, view
from quinkgl.protocol.exchange_record import message as message_of
from quinkgl.protocol.exchange_table import Action, Answering, Initiating, Input
from quinkgl.protocol.machine import Machine, misuse
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError, check_sent_code, is_local_code
from quinkgl.wire.exclusive import exclusive
from quinkgl.wire.limits import CONSTANTS, LIMITS, Limits
from quinkgl.wire.messages.exchange import (
    EXCHANGE_ID_BYTES,
    WEIGHT_ONE,
    Abort,
    Accept,
    Ack,
    Ask,
    Commit,
    ExchangeMessage,
    Offer,
    Ready,
    decode_exchange_message_untrusted,
    encode_exchange_message,
    most_weight,
)

__all__ = [
    "ExchangeAbandoned",
    "ExchangeAborted",
    "ExchangeCommitted",
    "ExchangeEvent",
    "ExchangeObjectReceived",
    "ExchangeOffered",
    "ExchangeView",
    "Exchanges",
    "SaveWanted",
    "SendObject",
]

if TYPE_CHECKING:
    import random

_EVENTS_OF_ONE = 6
"""An exchange gives at most this many events from its beginning to its end."""


class Exchanges(Machine[ExchangeEvent]):
    """All two-sided exchanges of one node in one swarm."""

    def __init__(self, peer_id: PeerId, *, rng: random.Random, now: float, limits: Limits = LIMITS) -> None:
        """Start with no peers, in round 0. ``rng`` names the exchanges."""
        super().__init__(now=now, max_events=max(limits.events, 2 * _EVENTS_OF_ONE * limits.exchanges))
        self.peer_id = peer_id
        self.round = 0
        self.mark = 0
        """Number of the last change that a checkpoint must hold before anything is said that leans on it."""
        self._rng = rng
        self._limits = limits
        self._peers: dict[PeerId, None] = {}
        self._records: dict[tuple[PeerId, bytes], Record] = {}
        self._actions: deque[SendObject] = deque()
        self._messages: deque[tuple[PeerId, bytes]] = deque()

    # --- commands of the application ---

    @exclusive
    def offer(
        self,
        peer: PeerId,
        root: bytes,
        size: int,
        *,
        weight: int,
        lateness: int = 0,
        codec: int = 1,
        metadata: Mapping[int, Any] | None = None,
        now: float,
    ) -> bytes | None:
        """Offer an exchange of the own object ``root`` of ``size`` bytes, and return its name [B-001, B-005].

        ``weight`` / 2^32 is the weight for no lateness; it is damped by 1 / (2 · ``lateness`` + 1), and the
        damped one is what both sides use. None if the peer cannot be reached or there is no room.
        LocalProtocolError for a field outside its bounds.
        """
        if not 1 <= weight <= WEIGHT_ONE or not 0 <= lateness <= self._limits.exchange_lateness:
            raise misuse(f"weight {weight} or lateness {lateness} is outside its bounds")
        damped = max(1, weight * most_weight(lateness) // WEIGHT_ONE)
        own = Side(root, size, {} if metadata is None else metadata)
        encode_exchange_message(
            Offer(bytes(EXCHANGE_ID_BYTES), root, size, damped, lateness, codec, own.metadata)
        )
        now = self._advance(now)
        if peer not in self._peers or not self._has_room(peer):
            return None
        name = self._rng.randbytes(EXCHANGE_ID_BYTES)
        record = Record(peer, name, damped, lateness, codec, self.round, Initiating.OFFERED, now, own=own)
        self._records[peer, name] = record
        self._say_again(record)
        return name

    @exclusive
    def accept(
        self,
        peer: PeerId,
        exchange: bytes,
        root: bytes,
        size: int,
        *,
        metadata: Mapping[int, Any] | None = None,
        now: float,
    ) -> bool:
        """Agree to an offered exchange, with the own object ``root``; False if it is over by now.

        LocalProtocolError for a field outside its bounds.
        """
        own = Side(root, size, {} if metadata is None else metadata)
        encode_exchange_message(Accept(bytes(16), bytes(16), root, size, own.metadata))
        self._advance(now)
        record = self._records.get((peer, exchange))
        if record is None or record.state is not Answering.ASKED:
            return False
        record.own, record.answer = own, self._rng.randbytes(EXCHANGE_ID_BYTES)
        self._apply(record, Input.ACCEPT)
        return True

    @exclusive
    def abort(
        self, peer: PeerId, exchange: bytes, *, code: ErrorCode = ErrorCode.NOT_WANTED, now: float
    ) -> bool:
        """Give an exchange up; False where it is over, or this side is bound already."""
        check_sent_code(code)
        self._advance(now)
        return self._tell(peer, exchange, Input.GIVE_UP, code)

    @exclusive
    def hold(self, peer: PeerId, exchange: bytes, *, now: float) -> bool:
        """Say that both objects, or the effect of them, are part of what the next checkpoint saves.

        False if the exchange is over by now.
        """
        self._advance(now)
        return self._tell(peer, exchange, Input.HOLD)

    @exclusive
    def applied(self, peer: PeerId, exchange: bytes, *, now: float) -> bool:
        """Say that the effect of a committed exchange is part of what the next checkpoint saves [B-012].

        False if there is no such exchange, or that is known.
        """
        self._advance(now)
        return self._tell(peer, exchange, Input.APPLY)

    @exclusive
    def state_saved(self, mark: int, *, now: float) -> None:
        """Say that a checkpoint is safe: a state that :meth:`state` gave while :attr:`mark` was ``mark``.

        LocalProtocolError for a mark that was never reached. What waited for it is said now [B-011].
        """
        if not 0 <= mark <= self.mark:
            raise misuse(f"mark {mark} was never reached; the last one is {self.mark}")
        self._advance(now)
        for record in list(self._records.values()):
            if record.mark <= mark:
                self._apply(record, Input.SAVED)

    @exclusive
    def set_round(self, round: int, *, now: float) -> None:
        """Say which round this node is in; what is undecided for too long is given up. Never waits [B-040].

        LocalProtocolError for a round below the present one.
        """
        if round < self.round:
            raise misuse(f"round {round} is below the present round {self.round}")
        self._advance(now)
        self.round = round
        for record in list(self._records.values()):
            if round - record.since > record.lateness:
                self._apply(record, Input.LATE, ErrorCode.E_RND_STALE)

    @exclusive
    def restore(self, state: Mapping[str, Any], *, now: float) -> None:
        """Take up the state of an earlier life; only before anything else has happened [B-013].

        Reports again what was decided and not applied. LocalProtocolError for a state of another form, and
        when there is something already that it would replace.
        """
        saved = state.get("open")
        if not isinstance(saved, list) or len(saved) > self._limits.exchanges:
            raise misuse("the saved state of the exchanges has another form")
        now = max(now, self._now)
        records = [restore(item, now=now) for item in saved]
        if self._records or self._peers:
            raise misuse("a state can be restored only into a new machine")
        self._advance(now)
        for record in records:
            self._records[record.peer, record.exchange] = record
            if record.state in (Initiating.DECIDED, Answering.DECIDED):
                self._emit(ExchangeCommitted(view(record), self._staleness(record)))

    # --- what the carrier reports ---

    @exclusive
    def peer_connected(self, peer: PeerId, *, now: float) -> bool:
        """Say that a peer can be reached: whatever is open with it is said again. False if that is known.

        LocalProtocolError for our own key, or for what is no key.
        """
        if peer == self.peer_id or len(peer) != CONSTANTS.key_bytes:
            raise misuse("not the key of another peer")
        self._advance(now)
        if peer in self._peers:
            return False
        if len(self._peers) >= self._limits.connections:
            self.stats.drop("peers_full")
            return False
        self._peers[peer] = None
        for record in self._of(peer):
            self._say_again(record)
        return True

    @exclusive
    def peer_disconnected(self, peer: PeerId, *, now: float) -> bool:
        """Say that a peer cannot be reached: what is undecided is given up. False if it was not there.

        What waits to be taken for it is dropped.
        """
        # B-041, H-002. The carrier may have another session with it already, in which nothing is agreed yet.
        self._advance(now)
        if peer not in self._peers:
            return False
        del self._peers[peer]
        self._messages = deque(message for message in self._messages if message[0] != peer)
        self._actions = deque(action for action in self._actions if action.peer != peer)
        for record in self._of(peer):
            self._apply(record, Input.GIVE_UP, ErrorCode.GONE)
        return True

    @exclusive
    def peer_departed(self, peer: PeerId, *, now: float) -> int:
        """Say that a peer is gone for ever, and return how many exchanges were open with it [B-050].

        What was undecided is aborted; of the others :class:`ExchangeAbandoned` tells. If the peer comes back
        after all it hears that its exchanges were aborted, whatever they were here.
        """
        self._advance(now)
        records = self._of(peer)
        for record in records:
            self._apply(record, Input.GONE, ErrorCode.GONE)
        return len(records)

    def wants_object(self, peer: PeerId, root: bytes, size: int) -> bool:
        """Whether an exchange with ``peer`` waits for its object ``root`` of ``size`` bytes."""
        return any(
            record.theirs is not None and record.theirs.size == size for record in self._waiting(peer, root)
        )

    def waits_for(self, peer: PeerId, root: bytes) -> bool:
        """Whether an exchange with ``peer`` waits for its object ``root``."""
        return bool(self._waiting(peer, root))

    @exclusive
    def object_received(self, peer: PeerId, root: bytes, body: Any, *, now: float) -> None:
        """Take an object of ``peer``, which the carrier has checked against its root and size."""
        self._advance(now)
        waiting = self._waiting(peer, root)
        if not waiting:
            self.stats.drop("object_unknown")
        for record in waiting:
            record.given = True
            self._emit(ExchangeObjectReceived(view(record), memoryview(body).toreadonly()))

    @exclusive
    def object_failed(self, peer: PeerId, root: bytes, code: int, *, now: float) -> None:
        """Say that an object will not come from ``peer``, or could not be brought there."""
        self._advance(now)
        if is_local_code(code):
            code = ErrorCode.GONE
        for record in self._of(peer):
            sides = [side.root for side in (record.own, record.theirs) if side is not None]
            if root in sides:
                self._apply(record, Input.GIVE_UP, code)

    # --- input and output ---

    @exclusive
    def receive_message(self, peer: PeerId, data: bytes, *, now: float) -> None:
        """Take one message of a peer [B-002, B-003].

        Raises RemoteProtocolError for bytes that break the specification (E_CBOR, E_CBOR_CANON, E_SCHEMA,
        E_TOO_BIG) and for a decision before both sides were ready (E_PROTOCOL).
        """
        now = self._advance(now)
        if peer not in self._peers:
            self.stats.drop("not_connected")
            return
        try:
            message = decode_exchange_message_untrusted(data)
        except RemoteProtocolError:
            self.stats.drop("malformed")
            raise
        if message is None:
            self.stats.drop("unknown_kind")
            return
        record = self._records.get((peer, message.exchange))
        match message:
            case Offer():
                self._on_offer(peer, record, message, now)
            case Accept():
                self._on_accept(peer, record, message)
            case Ready() | Ask():
                self._on_question(peer, record, message)
            case Ack():
                if record is not None and record.is_initiator and record.answer == message.answer:
                    self._apply(record, Input.ACK)
            case Commit():
                self._on_commit(peer, record, message)
            case Abort():
                self._on_abort(record, message)

    @exclusive
    def handle_timer(self, *, now: float) -> None:
        """Say again what was not answered for a while."""
        now = self._advance(now)
        for record in list(self._records.values()):
            if record.retry_at <= now and self._retries(record):
                self._say_again(record)

    @exclusive
    def next_message(self, now: float) -> tuple[PeerId, bytes] | None:
        """Return the next message and whom it is for, or None."""
        self._advance(now)
        return self._messages.popleft() if self._messages else None

    @exclusive
    def next_action(self, now: float) -> SendObject | None:
        """Return the next object that the carrier is to bring to a peer, or None."""
        self._advance(now)
        return self._actions.popleft() if self._actions else None

    def deadline(self) -> float | None:
        """When to call :meth:`handle_timer`; at once while there is something to take."""
        if self._events or self._actions or self._messages:
            return self._now
        return min((r.retry_at for r in self._records.values() if self._retries(r)), default=None)

    @property
    def deadline_reason(self) -> str:
        """What the deadline is for."""
        if self._events or self._actions or self._messages:
            return "output"
        return "" if self.deadline() is None else "exchange"

    # --- views ---

    def open(self) -> tuple[ExchangeView, ...]:
        """Return the exchanges whose both objects are named, in the order in which they began."""
        return tuple(
            view(record)
            for record in self._records.values()
            if record.own is not None and record.theirs is not None
        )

    def state(self) -> dict[str, object]:
        """Return what a later life needs, as plain values, fit for CBOR; to be saved with the quantity."""
        saved = (save(record) for record in self._records.values())
        return {"open": [item for item in saved if item is not None]}

    def occupancy(self) -> dict[str, tuple[int, int]]:
        """How many items each collection holds, and how many it may."""
        return {
            "events": (len(self._events), self._max_events),
            "actions": (len(self._actions), self._max_events),
            "messages": (len(self._messages), self._max_events),
            "peers": (len(self._peers), self._limits.connections),
            "exchanges": (len(self._records), self._limits.exchanges),
            "exchanges_per_peer": (
                max((len(self._of(peer)) for peer in self._peers), default=0),
                self._limits.exchanges_per_peer,
            ),
        }

    # --- messages ---

    def _on_offer(self, peer: PeerId, record: Record | None, message: Offer, now: float) -> None:
        # B-042
        if record is not None:
            if record.is_initiator:
                self.stats.drop("exchange_mirrored")
            else:
                self._apply(record, Input.OFFER)
            return
        code = None
        if message.lateness > self._limits.exchange_lateness:
            code = ErrorCode.NOT_WANTED
        elif not self._has_room(peer):
            code = ErrorCode.E_BUSY
        if code is not None:
            self.stats.drop("exchange_refused")
            self._say(peer, Abort(message.exchange, None, code))
            return
        self._records[peer, message.exchange] = Record(
            peer,
            message.exchange,
            message.weight,
            message.lateness,
            message.codec,
            self.round,
            Answering.ASKED,
            now,
            theirs=Side(message.root, message.size, message.metadata),
        )
        self._emit(
            ExchangeOffered(
                peer,
                message.exchange,
                message.root,
                message.size,
                message.weight,
                message.lateness,
                message.codec,
                message.metadata,
            )
        )

    def _on_accept(self, peer: PeerId, record: Record | None, message: Accept) -> None:
        if record is None or not record.is_initiator:
            self._say(peer, Abort(message.exchange, message.answer, ErrorCode.GONE))
        elif record.state is Initiating.OFFERED:
            record.answer = message.answer
            record.theirs = Side(message.root, message.size, message.metadata)
            self._apply(record, Input.ACCEPT)
        elif record.answer != message.answer:
            # A responder that has forgotten its first answer: that one may be decided for, this one not.
            self._say(peer, Abort(message.exchange, message.answer, ErrorCode.SUPERSEDED))

    def _on_question(self, peer: PeerId, record: Record | None, message: Ready | Ask) -> None:
        """What is not known was decided against, or is forgotten because it was acknowledged [B-021]."""
        if record is None or not record.is_initiator or record.answer not in {None, message.answer}:
            self._say(peer, Abort(message.exchange, message.answer, ErrorCode.GONE))
            return
        # Before the first ACCEPT, READY changes nothing (that ACCEPT comes again, in answer to our OFFER) and
        # ASK ends the exchange, whatever the answer.
        self._apply(record, Input.ASK if isinstance(message, Ask) else Input.READY, ErrorCode.E_RND_STALE)

    def _on_commit(self, peer: PeerId, record: Record | None, message: Commit) -> None:
        """A decision about what is not open was applied before [B-022]."""
        if record is None or record.is_initiator or record.answer != message.answer:
            self._say(peer, Ack(message.exchange, message.answer))
        else:
            self._apply(record, Input.COMMIT)

    def _on_abort(self, record: Record | None, message: Abort) -> None:
        if record is None:
            return
        unanswered = record.state is Initiating.OFFERED
        if message.answer is not None and message.answer != record.answer and not unanswered:
            return  # about an answer that is over
        self._apply(record, Input.ABORT, message.code)

    # --- what follows ---

    def _tell(self, peer: PeerId, exchange: bytes, event: Input, code: int = ErrorCode.NO_ERROR) -> bool:
        """Let the table decide about a named exchange; whether it went on."""
        record = self._records.get((peer, exchange))
        if record is None:
            return False
        before = record.state
        self._apply(record, event, code)
        return record.state is not before

    def _apply(self, record: Record, event: Input, code: int = ErrorCode.NO_ERROR) -> None:
        """Let the table decide what ``event`` does to an exchange."""
        committed = record.is_committed
        action, record.state = table_of(record).step(record.state, event)
        if record.state in (Initiating.CLOSED, Answering.CLOSED):
            del self._records[record.peer, record.exchange]
        match action:
            case Action.SEND_OBJECT:
                self._send_object(record)
            case Action.ACCEPT:
                self._speak(record, Action.SAY_ACCEPT)
                self._send_object(record)
            case Action.WANT_SAVE:
                self.mark += 1
                record.mark = self.mark
                self._emit(SaveWanted(self.mark))
            case Action.DECIDE:
                self._emit(ExchangeCommitted(view(record), self._staleness(record)))
            case Action.CANCEL:
                self._speak(record, action, code)
                self._emit(ExchangeAborted(record.peer, record.exchange, code))
            case Action.DROP:
                self._emit(ExchangeAborted(record.peer, record.exchange, code))
            case Action.ABANDON:
                self._emit(ExchangeAbandoned(record.peer, record.exchange, committed))
            case Action.FAULT:
                self.stats.drop("breach")
                self._emit(ExchangeAborted(record.peer, record.exchange, ErrorCode.E_PROTOCOL))
                raise RemoteProtocolError(
                    ErrorCode.E_PROTOCOL,
                    "an exchange was decided before this side was ready",
                    layer="protocol",
                    peer=record.peer,
                    section="B-024",
                )
            case Action.IGNORE | Action.FORGET:
                pass
            case _:
                self._speak(record, action)

    def _speak(self, record: Record, action: Action, code: int = ErrorCode.NO_ERROR) -> None:
        """Say what an action says, and plan to say it again."""
        record.retry_at = self._now + self._limits.exchange_retry_s
        said = message_of(record, action, code)
        if said is not None:
            self._say(record.peer, said)

    def _say(self, peer: PeerId, message: ExchangeMessage) -> None:
        """Keep a message for a peer that can be reached; whoever cannot is told when it can."""
        if peer not in self._peers:
            return
        if len(self._messages) < self._max_events:
            self._messages.append((peer, encode_exchange_message(message)))
        else:
            self.stats.drop("message_queue_full")

    def _say_again(self, record: Record) -> None:
        # B-033
        record.retry_at = self._now + self._limits.exchange_retry_s
        self._apply(record, Input.RETRY)

    def _send_object(self, record: Record) -> None:
        if record.own is not None:
            self._actions.append(SendObject(record.peer, record.exchange, record.own.root))

    # --- memory ---

    def _of(self, peer: PeerId) -> list[Record]:
        return [record for record in self._records.values() if record.peer == peer]

    def _waiting(self, peer: PeerId, root: bytes) -> list[Record]:
        return [
            record
            for record in self._of(peer)
            if record.state in (Initiating.TAKING, Initiating.AWAITED, Answering.TAKING)
            and not record.given
            and record.theirs is not None
            and record.theirs.root == root
        ]

    def _has_room(self, peer: PeerId) -> bool:
        """Whether another exchange fits, with all that may have to be said about it [B-042]."""
        open_here = len(self._records)
        events = len(self._events) + _EVENTS_OF_ONE * (open_here + 1)
        return (
            open_here < self._limits.exchanges
            and len(self._of(peer)) < self._limits.exchanges_per_peer
            and events <= self._max_events
            and len(self._actions) < self._max_events
        )

    def _retries(self, record: Record) -> bool:
        """Whether there is anything to say again, and somebody to hear it."""
        return record.peer in self._peers and (
            table_of(record).step(record.state, Input.RETRY).do is not Action.IGNORE
        )

    def _staleness(self, record: Record) -> int:
        return max(0, self.round - record.since)
