"""Membership: who is in the swarm, and where.

Every peer signs a record of its addresses. Neighbours (peers with a session) tell each other the records they
know; so a newcomer that knows one address hears of the others, and they of it. What is believed is believed
because its own peer signed it for this swarm: an address that no valid record names does not exist, whoever
speaks of it.

One machine serves one swarm, over any carrier that keeps messages whole and authentic. It never connects: it
says whom one could connect to, and is told who came and went. Source: ``spec/10-membership.md``.

Records of peers without a session are kept in a *view* of bounded size; those of neighbours with the session.
What is handed on comes from both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from quinkgl.crypto.identity import Identity, PeerId
from quinkgl.crypto.psk import SwarmKeys
from quinkgl.protocol.address_scope import usable
from quinkgl.protocol.draw import choose, sample
from quinkgl.protocol.machine import Machine, check_unix, misuse
from quinkgl.protocol.records import (
    SignedRecord,
    UnverifiedRecord,
    check_record_untrusted,
    expiry,
    issue_record,
)
from quinkgl.protocol.table import Step, Table
from quinkgl.protocol.telling import Telling
from quinkgl.wire.addresses import Address, decode_address_untrusted, encode_address
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.exclusive import exclusive
from quinkgl.wire.limits import CONSTANTS, LIMITS, Limits
from quinkgl.wire.messages.membership import (
    MAX_SEQ,
    PeerRecord,
    Records,
    decode_membership_message_untrusted,
    encode_membership_message,
)

if TYPE_CHECKING:
    import random


class Standing(Enum):
    """What this node knows of a key, and whether it has a session with it."""

    UNKNOWN = "unknown"
    CANDIDATE = "candidate"
    """Its record is in the view; there is no session."""
    STRANGER = "stranger"
    """There is a session, but no record that holds."""
    NEIGHBOUR = "neighbour"
    """There is a session, and a record."""


class Input(Enum):
    """What can happen to a key."""

    RECORD = "record"
    """A valid record came that is newer than what is held."""
    CONNECT = "connect"
    DISCONNECT = "disconnect"
    FORGET = "forget"
    """The record expired, gave way in a full view, or its addresses lead nowhere."""


class Action(Enum):
    """What the machine does about it."""

    SUGGEST = "suggest"
    """Tell the caller that it could connect."""
    GREET = "greet"
    """Tell the new neighbour our record and the freshest others."""
    GREET_AND_ANNOUNCE = "greet, announce"
    ANNOUNCE = "announce"
    """Tell some neighbours of this one."""
    KEEP = "keep"
    RETIRE = "retire"
    """The session is gone; the record moves to the view."""
    DROP = "drop"


STANDING_TABLE: Table[Standing, Input, Action] = Table(
    Standing.UNKNOWN,
    {
        Standing.UNKNOWN: {
            Input.RECORD: Step(Action.SUGGEST, Standing.CANDIDATE),
            Input.CONNECT: Step(Action.GREET, Standing.STRANGER),
            Input.DISCONNECT: Step(Action.DROP, Standing.UNKNOWN),
            Input.FORGET: Step(Action.DROP, Standing.UNKNOWN),
        },
        Standing.CANDIDATE: {
            Input.RECORD: Step(Action.SUGGEST, Standing.CANDIDATE),
            Input.CONNECT: Step(Action.GREET_AND_ANNOUNCE, Standing.NEIGHBOUR),
            Input.DISCONNECT: Step(Action.KEEP, Standing.CANDIDATE),
            Input.FORGET: Step(Action.DROP, Standing.UNKNOWN),
        },
        Standing.STRANGER: {
            Input.RECORD: Step(Action.ANNOUNCE, Standing.NEIGHBOUR),
            Input.CONNECT: Step(Action.KEEP, Standing.STRANGER),
            Input.DISCONNECT: Step(Action.DROP, Standing.UNKNOWN),
            Input.FORGET: Step(Action.KEEP, Standing.STRANGER),
        },
        Standing.NEIGHBOUR: {
            # Its own session brought the news to every neighbour of it; nobody needs to repeat them at once.
            Input.RECORD: Step(Action.KEEP, Standing.NEIGHBOUR),
            Input.CONNECT: Step(Action.KEEP, Standing.NEIGHBOUR),
            Input.DISCONNECT: Step(Action.RETIRE, Standing.CANDIDATE),
            Input.FORGET: Step(Action.KEEP, Standing.STRANGER),
        },
    },
    events=Input,
)
"""The whole logic of what a key is to this node."""

_DROP_REASONS = {
    ErrorCode.E_REC_SIG: "record_signature",
    ErrorCode.E_HS_IDENTITY: "record_key",
    ErrorCode.E_REC_EXPIRED: "record_expired",
    ErrorCode.E_REC_SCOPE: "record_scope",
}


@dataclass(frozen=True, slots=True)
class PeerDiscovered:
    """A peer without a session has a valid record, with these addresses that this node may try.

    Said again now and then while there is no session: a peer that was out of reach may be back.
    """

    peer: PeerId
    addresses: tuple[Address, ...]


MembershipEvent: TypeAlias = PeerDiscovered


@dataclass(slots=True)
class _Peer:
    standing: Standing = Standing.UNKNOWN
    signed: SignedRecord | None = None
    session: Telling | None = None


class Membership(Machine[MembershipEvent]):
    """The membership of one swarm."""

    def __init__(
        self,
        identity: Identity,
        keys: SwarmKeys,
        *,
        rng: random.Random,
        now: float,
        unix_now: float,
        limits: Limits = LIMITS,
    ) -> None:
        """Start with an empty view.

        Until :meth:`set_addresses` there is no record of our own to hand on. ``unix_now`` is the wall clock
        at ``now``; it is used for the validity of records alone.
        """
        check_unix(unix_now)
        super().__init__(now=now, max_events=limits.events)
        self.peer_id: PeerId = identity.peer_id
        self._identity = identity
        self._root = keys.root
        self._rng = rng
        self._limits = limits
        self._unix_offset_s = unix_now - now
        self._peers: dict[PeerId, _Peer] = {}
        self._outbox: dict[PeerId, bytes] = {}
        self._addresses: tuple[Address, ...] = ()
        self._own: SignedRecord | None = None
        self._seq = 0
        self._issue_at: float | None = None
        self._issued_at: float | None = None
        # Nodes that start together must not speak together for ever.
        self._tick_at = now + limits.shuffle_interval_s * rng.random()
        self._timer: tuple[float, str] = (self._tick_at, "tick")

    # --- commands ---

    @exclusive
    def set_addresses(self, addresses: Sequence[Address], *, now: float) -> None:
        """Say where this node can be reached, in order of preference; a new record is issued if that is news.

        At most one record is issued in a shuffle interval; a second change waits. LocalProtocolError for an
        address that no record may hold, or too many.
        """
        plain = tuple(decode_address_untrusted(encode_address(address)) for address in addresses)
        if len(plain) > self._limits.record_addresses:
            raise misuse(f"{len(plain)} addresses; a record holds {self._limits.record_addresses}")
        now = self._advance(now)
        if plain == self._addresses:
            return
        before, self._addresses = self._addresses, plain
        self._want_record(now)
        for signed in self._held(self._candidates()):
            addresses = signed.record.addresses
            if usable(addresses, before) != usable(addresses, plain):  # a scope is ours that was not
                self._suggest(signed.record.key)
        self._settle(now)

    @exclusive
    def set_unix_time(self, unix_now: float, *, now: float) -> None:
        """Tell the wall-clock time; a step of more than the permitted skew makes us issue a new record.

        LocalProtocolError for a time before 1970 or beyond what a record can say.
        """
        check_unix(unix_now)
        now = self._advance(now)
        step = unix_now - now - self._unix_offset_s
        self._unix_offset_s += step
        if abs(step) > self._limits.clock_skew_s:
            self._want_record(now)
        self._settle(now)

    @exclusive
    def peer_connected(self, peer: PeerId, record: bytes | None = None, *, now: float) -> bool:
        """Say that there is a session with a peer, and give the signed record that it sent along, if any.

        Returns False, and changes nothing, if there is one already or no room for another [M-032].
        LocalProtocolError for our own key, or for what is no key.
        """
        if peer == self.peer_id or len(peer) != CONSTANTS.key_bytes:
            raise misuse("a session needs the key of another peer")
        now = self._advance(now)
        held = self._peers.get(peer)
        if held is not None and held.session is not None:
            return False
        if len(self._neighbours()) >= self._limits.connections:
            self.stats.drop("neighbours_full")
            return False
        held = self._peers.pop(peer, None) or _Peer()
        held.session = Telling(peer, now=now, limits=self._limits)
        self._peers[peer] = held  # at the end: neighbours stand in the order in which they came
        self._apply(peer, Input.CONNECT)
        if record is not None:
            self._take(record, teller=peer)
        self._settle(now)
        return True

    @exclusive
    def peer_disconnected(self, peer: PeerId, *, now: float) -> bool:
        """Say that the session with a peer is gone; its record stays in the view. False if there was none.

        Another peer is suggested for its place at once: who breaks the rules and comes back again and again
        would else hold that place against all that nobody names before the next tick [M-026].
        """
        now = self._advance(now)
        held = self._peers.get(peer)
        if held is None or held.session is None:
            return False
        held.session = None
        self._outbox.pop(peer, None)
        self._apply(peer, Input.DISCONNECT)
        self._suggest_any(but=peer)
        self._settle(now)
        return True

    @exclusive
    def peer_unreachable(self, peer: PeerId, *, now: float) -> bool:
        """Say that no address leads to a peer of the view, which it then leaves; False if it is not there.

        It comes back with a new record, or with the same one from a neighbour that has not told it yet.
        Rules: M-043.
        """
        now = self._advance(now)
        held = self._peers.get(peer)
        if held is None or held.standing is not Standing.CANDIDATE:
            return False
        self._apply(peer, Input.FORGET)
        self._settle(now)
        return True

    @exclusive
    def restore(self, state: Mapping[str, object], *, now: float) -> None:
        """Take up what :meth:`state` of an earlier life gave; only before anything else has happened.

        Records that no longer hold are dropped and counted. LocalProtocolError for a state of another form,
        and when there is something already that it would replace.
        """
        seq, records = state.get("seq"), state.get("records")
        if type(seq) is not int or not 0 <= seq < MAX_SEQ:
            raise misuse("the saved sequence number is none")
        if not isinstance(records, (list, tuple)) or not all(type(record) is bytes for record in records):
            raise misuse("the saved records are none")
        if self._peers or self._own is not None:
            raise misuse("a state can be restored only into a new machine")
        now = self._advance(now)
        self._seq = seq
        for record in records[: self._limits.view_size]:
            self._take(record, teller=None)
        self._settle(now)

    # --- input and output ---

    @exclusive
    def receive_message(self, peer: PeerId, data: bytes, *, now: float) -> None:
        """Take one message of a neighbour [M-019, M-025].

        Raises RemoteProtocolError for bytes that are no message of this family (E_CBOR, E_CBOR_CANON,
        E_SCHEMA, E_TOO_BIG). A record in it that does not hold is dropped and counted, the others are taken.
        """
        now = self._advance(now)
        held = self._peers.get(peer)
        if held is None or held.session is None:
            self.stats.drop("not_connected")
            return
        if not held.session.bucket.take(now):
            self.stats.drop("records_rate")
            return
        try:
            message = decode_membership_message_untrusted(data)
        except RemoteProtocolError:
            self.stats.drop("malformed")
            raise
        if message is None:
            self.stats.drop("unknown_kind")
            return
        for record in message.records:
            self._take(record, teller=peer)
        self._settle(now)

    @exclusive
    def handle_timer(self, *, now: float) -> None:
        """Do what is due: issue, expire, send; once in an interval tell a neighbour and suggest a peer."""
        now = self._advance(now)
        if now < self._timer[0]:
            return
        if self._issue_at is not None and now >= self._issue_at:
            self._issue(now)
        if now >= self._tick_at:
            self._tick_at = now + self._limits.shuffle_interval_s
            self._tick()
        self._settle(now)

    @exclusive
    def next_message(self, now: float) -> tuple[PeerId, bytes] | None:
        """Return the next message and the neighbour that it is for, or None."""
        self._advance(now)
        if not self._outbox:
            return None
        peer = next(iter(self._outbox))
        return peer, self._outbox.pop(peer)

    def deadline(self) -> float:
        """When to call :meth:`handle_timer`; at once while there is an event or a message to take."""
        return self._now if self._events or self._outbox else self._timer[0]

    @property
    def deadline_reason(self) -> str:
        """What the deadline is for: ``output``, ``tick``, ``issue``, ``expiry`` or ``send``."""
        return "output" if self._events or self._outbox else self._timer[1]

    # --- views ---

    @property
    def own_record(self) -> bytes | None:
        """Our own signed record, None until there is an address to say."""
        return None if self._own is None else self._own.encoded

    def standing(self, peer: PeerId) -> Standing:
        """Return what a key is to this node."""
        held = self._peers.get(peer)
        return Standing.UNKNOWN if held is None else held.standing

    def view(self) -> tuple[PeerRecord, ...]:
        """Return the records of peers without a session, sorted by key: at most ``view_size``."""
        return tuple(signed.record for signed in self._held(sorted(self._candidates())))

    def known(self) -> tuple[PeerRecord, ...]:
        """Return every record that is held, of the view and of neighbours, sorted by key."""
        return tuple(signed.record for signed in self._held(sorted(self._peers)))

    def state(self) -> dict[str, object]:
        """Return what a later life needs: our sequence number, and records to find the swarm again by.

        Neighbours come first, the longest session first; then the freshest of the view; ``view_size`` in all.
        Plain values, fit for CBOR [M-050].
        """
        found = [*self._held(self._neighbours()), *self._freshest(self._candidates())]
        records = [signed.encoded for signed in found]
        return {"seq": self._seq, "records": records[: self._limits.view_size]}

    def occupancy(self) -> dict[str, tuple[int, int]]:
        """How many items each collection holds, and how many it may."""
        sessions = [peer.session for peer in self._peers.values() if peer.session is not None]
        most = self._limits.connections + self._limits.view_size
        return {
            "events": (len(self._events), self._max_events),
            "messages": (len(self._outbox), self._limits.connections),
            "view": (len(self._candidates()), self._limits.view_size),
            "neighbours": (len(sessions), self._limits.connections),
            "peers": (len(self._peers), most),
            "told": (max((session.told for session in sessions), default=0), most),
            "pending": (
                max((session.pending for session in sessions), default=0),
                self._limits.shuffle_length,
            ),
        }

    # --- records that come in ---

    def _take(self, encoded: bytes, *, teller: PeerId | None) -> None:
        """Check one record, cheapest checks first, and keep it if it is news [M-011, M-015, M-016]."""
        try:
            found = check_record_untrusted(
                encoded, root=self._root, unix_now=self._unix(self._now), limits=self._limits
            )
            if found.record.key == self.peer_id:
                self._meet_self(found)
                return
            signed = self._newest(found)
        except RemoteProtocolError as error:
            self.stats.drop(_DROP_REASONS.get(error.code, "record_malformed"))
            return
        session = None if teller is None else self._peers[teller].session
        if session is not None:
            session.note(found.record)
        if signed is not None:
            self._keep(signed)

    def _newest(self, found: UnverifiedRecord) -> SignedRecord | None:
        """Return the record, verified, if it is newer than the one held; RemoteProtocolError if false."""
        # M-014
        held = self._peers.get(found.record.key)
        if held is None or held.signed is None:
            return found.verify_untrusted()
        if found.encoded == held.signed.encoded:
            return None
        if found.record.seq > held.signed.record.seq:
            return found.verify_untrusted()
        if found.record.seq == held.signed.record.seq:
            found.verify_untrusted()
            self.stats.drop("record_conflict")  # its peer signed two records under one number
        else:
            self.stats.drop("record_old")
        return None

    def _meet_self(self, found: UnverifiedRecord) -> None:
        """Notice a record of an earlier life: ours must carry a higher number to be believed [M-022]."""
        if self._seq <= found.record.seq < MAX_SEQ and found.encoded != self.own_record:
            found.verify_untrusted()
            self._seq = found.record.seq
            self._want_record(self._now)

    def _keep(self, signed: SignedRecord) -> None:
        key = signed.record.key
        if self.standing(key) is Standing.UNKNOWN:
            self._make_room()
        self._peers.setdefault(key, _Peer()).signed = signed
        self._apply(key, Input.RECORD)

    def _make_room(self) -> None:
        """Let a random record of a full view go: nobody can choose who is forgotten [M-031]."""
        # M-030
        candidates = self._candidates()
        if len(candidates) >= self._limits.view_size:
            self.stats.drop("view_full")
            self._apply(choose(self._rng, candidates), Input.FORGET)

    def _apply(self, key: PeerId, event: Input) -> None:
        """Let the table decide what ``event`` does to a key."""
        peer = self._peers[key]
        action, peer.standing = STANDING_TABLE.step(peer.standing, event)
        if event is Input.FORGET:
            peer.signed = None
        match action:
            case Action.SUGGEST:
                self._suggest(key)
            case Action.GREET:
                self._greet(key)
            case Action.GREET_AND_ANNOUNCE:
                self._greet(key)
                self._announce(key)
            case Action.ANNOUNCE:
                self._announce(key)
            case Action.RETIRE:
                self._retire(key)
            case Action.DROP:
                del self._peers[key]
            case Action.KEEP:
                pass

    def _retire(self, key: PeerId) -> None:
        """Move a former neighbour's record to the view, to the end of it."""
        retired = self._peers.pop(key)
        self._make_room()
        self._peers[key] = retired

    def _suggest(self, key: PeerId) -> None:
        signed = self._peers[key].signed
        addresses = usable(signed.record.addresses, self._addresses) if signed is not None else ()
        if addresses:
            self._emit(PeerDiscovered(key, addresses))

    def _suggest_any(self, *, but: PeerId = b"") -> None:
        """Suggest one random peer of the view."""
        candidates = [key for key in self._candidates() if key != but]
        if candidates:
            self._suggest(choose(self._rng, candidates))

    # --- records that go out ---

    def _want_record(self, now: float) -> None:
        """Issue a record of our own as soon as the interval since the last one allows [M-020]."""
        # M-005
        if self._addresses:
            earliest = now if self._issued_at is None else self._issued_at + self._limits.shuffle_interval_s
            self._issue_at = max(now, earliest)
            if self._issue_at <= now:
                self._issue(now)
        else:
            self._own, self._issue_at = None, None

    def _issue(self, now: float) -> None:
        """Sign a new record of our own and tell every neighbour [M-002, M-021]."""
        unix_now = self._unix(now)
        # The clock keeps the number growing over a restart without saved state; the old number over a clock
        # set back.
        self._seq = max(self._seq + 1, int(unix_now * 1000))
        self._own = issue_record(
            self._identity,
            self._root,
            seq=self._seq,
            addresses=self._addresses,
            ttl=int(self._limits.record_ttl_s),
            unix_now=unix_now,
        )
        self._issued_at = now
        self._issue_at = now + max(self._limits.record_ttl_s / 2, self._limits.shuffle_interval_s)
        for key in self._neighbours():
            self._tell(key, self._own)

    def _greet(self, key: PeerId) -> None:
        """Tell a new neighbour our record, and the freshest of the others."""
        if self._own is not None:
            self._tell(key, self._own)
        for signed in self._freshest(list(self._peers)):
            self._tell(key, signed)

    def _announce(self, key: PeerId) -> None:
        """Tell some neighbours of a new one, at random; the others hear of it in time."""
        signed = self._record_of(key)
        if signed is not None:
            for other in sample(self._rng, self._neighbours(), self._limits.shuffle_length):
                self._tell(other, signed)

    def _tick(self) -> None:
        """Tell one random neighbour something new to it, and suggest one random peer of the view [M-026]."""
        records = self._freshest(list(self._peers))
        if self._own is not None:
            records.append(self._own)
        neighbours = self._neighbours()
        for key in sample(self._rng, neighbours, len(neighbours)):
            session = self._peers[key].session
            news = [signed for signed in records if session is not None and session.is_news(signed.record)]
            if news:
                for signed in sample(self._rng, news, self._limits.shuffle_length):
                    self._tell(key, signed)
                break
        self._suggest_any()

    def _tell(self, key: PeerId, signed: SignedRecord) -> None:
        """Queue a record for a neighbour; our own comes before all others."""
        session = self._peers[key].session
        if session is not None:
            session.queue(signed.record, foremost=signed is self._own)

    def _flush(self, now: float) -> None:
        """Make messages of what is queued, at most one in an interval for each neighbour [M-024]."""
        for key, peer in self._peers.items():
            if peer.session is None:
                continue
            if key in self._outbox:  # the caller does not drain; more news must wait
                peer.session.postpone(now)
            records = peer.session.take(now, self._record_of)
            if records:
                self._outbox[key] = encode_membership_message(Records(records))

    # --- helpers ---

    def _settle(self, now: float) -> None:
        """Forget what has expired, send what may be sent, and find out what is due next."""
        for key, peer in list(self._peers.items()):
            if peer.signed is not None and now >= self._expires_at(peer.signed):
                self._apply(key, Input.FORGET)
        self._flush(now)
        due = [(self._tick_at, "tick")]
        if self._issue_at is not None:
            due.append((self._issue_at, "issue"))
        for peer in self._peers.values():
            if peer.signed is not None:
                due.append((self._expires_at(peer.signed), "expiry"))
            if peer.session is not None and peer.session.pending:
                due.append((peer.session.send_at, "send"))
        self._timer = min(due)

    def _expires_at(self, signed: SignedRecord) -> float:
        """When a record ends, on the clock of ``now``."""
        return expiry(signed.record, self._limits) - self._unix_offset_s

    def _record_of(self, key: PeerId) -> SignedRecord | None:
        if key == self.peer_id:
            return self._own
        held = self._peers.get(key)
        return None if held is None else held.signed

    def _unix(self, now: float) -> float:
        return now + self._unix_offset_s

    def _candidates(self) -> list[PeerId]:
        return [key for key, peer in self._peers.items() if peer.standing is Standing.CANDIDATE]

    def _neighbours(self) -> list[PeerId]:
        return [key for key, peer in self._peers.items() if peer.session is not None]

    def _freshest(self, keys: Sequence[PeerId]) -> list[SignedRecord]:
        """Return the records of these peers, the latest issued first."""
        return sorted(self._held(keys), key=lambda signed: (-signed.record.issued, signed.record.key))

    def _held(self, keys: Sequence[PeerId]) -> list[SignedRecord]:
        """Return the records of these peers, in their order, of those that have one."""
        return [signed for key in keys if (signed := self._peers[key].signed) is not None]
