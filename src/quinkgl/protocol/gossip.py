"""Gossip: which updates are offered, and which offers are accepted.

An author signs the header of each update once and offers it to the peers that the topology picked; a peer
judges the header and asks for the body, or refuses. Gossip decides alone; the carrier moves headers and
bodies, and has checked a body against its root before it hands it over. One machine serves one swarm. Source:
``spec/11-gossip.md``.

The round of a header counts its author's publications. The counters of two nodes may differ by any amount and
drift apart for ever: one trains faster, one was away. So an author's rounds are compared with that author's
rounds, and our rounds with our rounds, never one with the other (``update_gate.judge_round``). A node's
counter may begin anew when it starts again; the ``incarnation`` in the header grows instead.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from quinkgl.crypto.identity import Identity, PeerId
from quinkgl.protocol import refusals
from quinkgl.protocol.equivocation import Convicts, read_proof_untrusted
from quinkgl.protocol.gossip_events import (
    Accept,
    EquivocationDetected,
    GossipAction,
    GossipEvent,
    GossipStats,
    OfferOut,
    Refuse,
    UpdateReceived,
)
from quinkgl.protocol.gossip_state import read_state
from quinkgl.protocol.inbox import HEADERS_KEPT, INBOX_TABLE, Action, Author, Inbox, Input, Pending
from quinkgl.protocol.machine import Machine, check_unix, misuse
from quinkgl.protocol.publisher import Publisher
from quinkgl.protocol.rate import TokenBucket
from quinkgl.protocol.scores import Band, Deed, Scores
from quinkgl.protocol.update_gate import Admitted, Refusal, judge_round, read_header
from quinkgl.wire.cbor import Buffer
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.exclusive import exclusive
from quinkgl.wire.limits import CONSTANTS, LIMITS, Limits
from quinkgl.wire.messages.gossip import (
    Proof,
    UpdateHeader,
    UpdateObject,
    decode_gossip_message_untrusted,
    encode_gossip_message,
)

__all__ = [
    "Accept",
    "EquivocationDetected",
    "Gossip",
    "GossipAction",
    "GossipEvent",
    "GossipStats",
    "OfferOut",
    "Refuse",
    "UpdateReceived",
]

if TYPE_CHECKING:
    import random


class Gossip(Machine[GossipEvent]):
    """The gossip of one swarm."""

    stats: GossipStats

    def __init__(
        self,
        identity: Identity,
        swarm_id: bytes,
        *,
        rng: random.Random,
        now: float,
        unix_now: float,
        max_object_bytes: int = LIMITS.object_bytes,
        offer_interval_s: float = LIMITS.offer_interval_s,
        offer_burst: int = LIMITS.offer_burst,
        limits: Limits = LIMITS,
    ) -> None:
        """Start with no peers, in round 0.

        ``max_object_bytes`` bounds the bodies that are sent and taken; ``offer_burst`` offers of one peer are
        judged in a row, then one every ``offer_interval_s``. ``unix_now`` is the wall clock at ``now``; it
        stamps our headers and nothing is judged by it.
        """
        self._publisher = Publisher(identity, swarm_id, rng=rng, now=now, unix_now=unix_now)
        super().__init__(now=now, max_events=limits.events)
        self.stats = GossipStats()
        self.peer_id: PeerId = identity.peer_id
        self.swarm_id = swarm_id
        self.scores = Scores(limits)
        self.round = 0
        self._limits = limits
        self._max_object_bytes = max_object_bytes
        self._offer_interval_s = offer_interval_s
        self._offer_burst = offer_burst
        self._authors: dict[PeerId, Author] = {}
        self._convicts = Convicts(limits.equivocation_proofs)
        self._seen: dict[bytes, None] = {}
        self._actions: deque[GossipAction] = deque()
        self._messages: deque[tuple[PeerId, bytes]] = deque()

    # --- commands ---

    @exclusive
    def set_unix_time(self, unix_now: float, *, now: float) -> None:
        """Tell the wall-clock time; LocalProtocolError for one that no header can say."""
        check_unix(unix_now)
        self._publisher.set_unix_time(unix_now, now=self._advance(now))

    @exclusive
    def peer_connected(self, peer: PeerId, *, now: float) -> bool:
        """Say that a peer can be reached; False if that is known, or if there is no room for another [G-037].

        LocalProtocolError for our own key, or for what is no key.
        """
        self._check_peer(peer)
        now = self._advance(now)
        author = self._authors.get(peer)
        if author is not None and author.connected:
            return False
        if sum(other.connected for other in self._authors.values()) >= self._limits.connections:
            self.stats.drop("peers_full")
            return False
        self._author(peer, now).connected = True
        self.scores.set_connected(peer, True, now=now)
        for convict, proof in self._convicts.newest(self._limits.proofs_burst // 2):
            if convict != peer:
                self._say(peer, proof)
        return True

    @exclusive
    def peer_disconnected(self, peer: PeerId, *, now: float) -> bool:
        """Say that a peer is gone, and with it the body that was on the way. False if it was not there.

        Messages that wait for it are dropped: it is told anew in its next session [G-033, H-002].
        """
        self._advance(now)
        author = self._authors.get(peer)
        if author is None or not author.connected:
            return False
        # The carrier may have another session with the peer already, in which nothing is agreed yet.
        self._messages = deque(message for message in self._messages if message[0] != peer)
        author.connected = author.same_session = False
        self.scores.set_connected(peer, False, now=self._now)
        self._apply(peer, author, Input.LEFT)
        return True

    @exclusive
    def set_round(self, round: int, *, now: float) -> None:
        """Say which round this node is in. Bodies on the way that are too old by now are given up.

        LocalProtocolError for a round below the present one.
        """
        if round < self.round:
            raise misuse(f"round {round} is below the present round {self.round}")
        self._advance(now)
        self.round = round
        for peer, author in self._authors.items():
            if (
                author.pending is not None
                and author.staleness(author.pending, self.round) > self._limits.round_stale
            ):
                self._apply(peer, author, Input.STALE)

    @exclusive
    def publish(
        self,
        root: bytes,
        size: int,
        *,
        round: int,
        codec: int,
        sample_count: int,
        params: Mapping[int, Any] | None = None,
        metadata: Mapping[int, Any] | None = None,
        base: bytes | None = None,
        objects: Sequence[UpdateObject] = (),
        targets: Sequence[PeerId],
        now: float,
    ) -> UpdateHeader:
        """Sign the header of an update of ``size`` bytes and have it offered to ``targets`` [G-004].

        ``round`` must be above that of the last update published. The fields are those of
        :class:`UpdateHeader`. Returns the header. LocalProtocolError for a field outside its bounds, or a
        header that is too long.
        """
        for part in (size, *(item.size for item in objects)):
            if part > self._max_object_bytes:
                raise misuse(f"an object of {part} bytes; at most {self._max_object_bytes} may be sent")
        for target in targets:
            self._check_peer(target)
        draft = self._publisher.draft(
            root,
            size,
            round=round,
            codec=codec,
            sample_count=sample_count,
            params={} if params is None else params,
            metadata={} if metadata is None else metadata,
            base=base,
            objects=tuple(objects),
            now=max(now, self._now),
        )
        self._advance(now)
        header, signed = self._publisher.sign(draft)
        self._remember_root(root)  # nobody can offer us our own
        for target in self.scores.best_first(dict.fromkeys(targets), now=self._now):
            self._act(OfferOut(target, root, signed))
            self.stats.offers_sent += 1
        return header

    @exclusive
    def restore(self, state: Mapping[str, object], *, now: float) -> None:
        """Take up what :meth:`state` of an earlier life gave; only before anything else has happened.

        This life's incarnation is then above the earlier one's, whatever the wall clock says.
        LocalProtocolError for a state of another form, and when there is something already that it would
        replace.
        """
        saved = read_state(state)
        if self._authors or self._seen or self._convicts:
            raise misuse("a state can be restored only into a new machine")
        now = self._advance(now)
        self._publisher.follow(saved.incarnation)
        for author, position in saved.authors[-self._most_authors() :]:
            self._author(author, now).last = position
        for root in saved.seen:
            self._remember_root(root)
        for author, proof in saved.barred:
            self._convicts.add(author, proof)

    # --- what the carrier reports ---

    @exclusive
    def object_offered(
        self, peer: PeerId, transfer: int, root: bytes, size: int, header: bytes, *, now: float
    ) -> None:
        """Judge an offer of ``peer``: the object ``root`` of ``size`` bytes, with a signed ``header``.

        Answered by an Accept or a Refuse with this ``transfer``, never by an exception. The carrier sees
        to it that a peer uses no number twice in a session [O-001].
        """
        now = self._advance(now)
        author = self._authors.get(peer)
        if author is None or not author.connected:
            self._refuse(peer, transfer, refusals.NOT_CONNECTED)
            return
        pending = author.pending
        if pending is not None and pending.encoded == header:
            self._take_part(peer, pending, transfer, root, size)
            return
        found: UpdateHeader | Refusal | None = self._judge_sender(peer, author, now)
        if found is None:
            found = read_header(header, peer=peer, swarm_id=self.swarm_id, root=root, size=size)
        if isinstance(found, UpdateHeader):
            refusal = self._judge(author, found, header, now)
            if refusal is None:
                self._accept(peer, author, transfer, root, Pending(header, found, self.round))
                return
            found = refusal
        if found.code in refusals.INVALID:
            self.scores.note(peer, Deed.INVALID, now=now)
        self._refuse(peer, transfer, found)

    @exclusive
    def object_received(self, peer: PeerId, transfer: int, body: Buffer, *, now: float) -> None:
        """Take the body of an accepted offer, which the carrier has checked against its root and size."""
        # G-016, G-023
        self._advance(now)
        author = self._authors.get(peer)
        pending = None if author is None else author.pending
        root = None if pending is None else pending.root_of(transfer)
        if author is None or pending is None or root is None:
            self.stats.drop("transfer_unknown")
            return
        del pending.transfers[root]
        pending.arrived[root] = memoryview(body)
        if not pending.is_whole:
            return
        self._apply(peer, author, Input.RECEIVED)
        author.last = pending.header.position
        self._remember_root(pending.header.root)
        staleness = author.staleness(pending, self.round)
        if staleness > self._limits.round_stale:
            self.stats.drop(refusals.STALE.reason)
            return
        self.stats.updates_received += 1
        self.scores.note(peer, Deed.DELIVERY, now=self._now)
        body, *others = (pending.arrived[root] for root in pending.header.parts)
        self._emit(UpdateReceived(peer, pending.header, body, staleness, tuple(others)))

    @exclusive
    def object_failed(self, peer: PeerId, transfer: int, code: int, *, now: float) -> None:
        """Say that the body of an offer will not come; ``code`` says why. The author may offer it again."""
        # G-026
        self._advance(now)
        author = self._authors.get(peer)
        if author is None or author.pending is None:
            return
        root = author.pending.root_of(transfer)
        if root is not None:
            self._note_failure(peer, code)
            self.stats.drop("transfer_too_slow" if code == ErrorCode.TOO_SLOW else "transfer_failed")
            del author.pending.transfers[root]
            self._refuse_parts(peer, author.pending, refusals.INCOMPLETE)
            self._apply(peer, author, Input.FAILED)

    @exclusive
    def object_refused(self, peer: PeerId, root: bytes, code: int, *, now: float) -> None:
        """Say that the offer of an object ``root`` of ours ended without success, and with what code."""
        self._advance(now)
        if peer in self._authors:
            self._publisher.refused(root, code)

    @exclusive
    def object_delivered(self, peer: PeerId, root: bytes, *, now: float) -> None:
        """Say that a peer has the whole of an update of ours."""
        self._advance(now)
        if peer in self._authors and root in self._seen:
            self.stats.updates_delivered += 1
        else:
            self.stats.drop("delivery_unknown")

    # --- input and output ---

    @exclusive
    def receive_message(self, peer: PeerId, data: bytes, *, now: float) -> None:
        """Take one message of the gossip channel [G-006].

        Raises RemoteProtocolError for what is no message, and for a proof that proves nothing.
        """
        now = self._advance(now)
        author = self._authors.get(peer)
        if author is None or not author.connected:
            self.stats.drop("not_connected")
            return
        try:
            proof = decode_gossip_message_untrusted(data)
        except RemoteProtocolError:
            self.stats.drop("malformed")
            self.scores.note(peer, Deed.INVALID, now=now)
            raise
        if proof is None:
            self.stats.drop("unknown_kind")
        else:
            self._on_proof(peer, author, proof, now)

    @exclusive
    def handle_timer(self, *, now: float) -> None:
        """Nothing is ever due: rounds, not seconds, move gossip."""
        self._advance(now)

    @exclusive
    def next_action(self, now: float) -> GossipAction | None:
        """Return the next thing that the carrier is to do, or None."""
        self._advance(now)
        return self._actions.popleft() if self._actions else None

    @exclusive
    def next_message(self, now: float) -> tuple[PeerId, bytes] | None:
        """Return the next message and whom it is for, or None."""
        self._advance(now)
        return self._messages.popleft() if self._messages else None

    def deadline(self) -> float | None:
        """At once while there is anything to take, else None."""
        return self._now if self._events or self._actions or self._messages else None

    @property
    def deadline_reason(self) -> str:
        """What the deadline is for."""
        return "output" if self._events or self._actions or self._messages else ""

    # --- views ---

    def inbox(self, author: PeerId) -> Inbox:
        """Return what stands between this node and an author."""
        held = self._authors.get(author)
        if held is None:
            return Inbox.BARRED if author in self._convicts else Inbox.IDLE
        return held.inbox

    def is_barred(self, author: PeerId) -> bool:
        """Whether an author is convicted of signing two updates for one round."""
        return author in self._convicts

    def state(self) -> dict[str, object]:
        """Return what a later life needs, as plain values, fit for CBOR [G-050].

        Our incarnation, the last positions of authors, the roots seen, the authors barred.
        """
        authors = [[key, *author.last] for key, author in self._authors.items() if author.last is not None]
        return {
            "incarnation": self._publisher.incarnation,
            "authors": authors,
            "seen": list(self._seen),
            "barred": self._convicts.state(),
        }

    def occupancy(self) -> dict[str, tuple[int, int]]:
        """How many items each collection holds, and how many it may."""
        pending = self._pending()
        return {
            "events": (len(self._events), self._max_events),
            "actions": (len(self._actions), self._max_events),
            "messages": (len(self._messages), self._max_events),
            "authors": (len(self._authors), self._most_authors()),
            "headers": (max((len(a.headers) for a in self._authors.values()), default=0), HEADERS_KEPT),
            "pending": (len(pending), self._limits.transfers_global),
            "pending_bytes": (
                sum(p.header.total_bytes for p in pending),
                self._limits.reassembly_global_bytes,
            ),
            "seen": (len(self._seen), self._limits.seen_roots),
            "scores": (len(self.scores), self._limits.scores),
            "barred": (len(self._convicts), self._limits.equivocation_proofs),
        }

    # --- judging ---

    def _judge_sender(self, peer: PeerId, author: Author, now: float) -> Refusal | None:
        """Judge whether an offer is looked at, before a signature is [G-031, G-040]."""
        if author.inbox is Inbox.BARRED:
            return refusals.BARRED
        if self.scores.band(peer, now=now) is Band.REFUSED:
            return refusals.SCORE
        # Without room to answer an offer that is accepted, none is.
        if len(self._actions) + 2 > self._max_events:
            return refusals.BUSY
        return None if author.bucket.take(now) else refusals.RATE

    def _judge(self, author: Author, header: UpdateHeader, encoded: bytes, now: float) -> Refusal | None:
        """Judge a header that its author signed; what passes is the author's newest."""
        # G-015, G-016, G-024, G-025
        if self._is_equivocation(author, header, encoded):
            return refusals.EQUIVOCATION
        if max(header.parts.values()) > self._max_object_bytes:
            return refusals.SIZE
        if header.root in self._seen:
            return refusals.DUPLICATE
        refusal = judge_round(
            header.position,
            last=author.last,
            newest=author.newest,
            same_session=author.same_session,
            own_round=self.round,
            now=now,
            limits=self._limits,
        )
        if refusal is not None:
            return refusal
        if author.newest is None or header.position > author.newest.position:
            author.newest = Admitted(header.position, self.round, now)
            author.same_session = True
        if author.pending is not None and header.position <= author.pending.header.position:
            return refusals.DUPLICATE if header.root == author.pending.header.root else refusals.SUPERSEDED
        return self._judge_room(author, header)

    def _note_failure(self, peer: PeerId, code: int) -> None:
        """Count a transfer that failed against its sender, where that is its doing."""
        if code == ErrorCode.TOO_SLOW:
            self.scores.note(peer, Deed.SLOW, now=self._now)
        elif code == ErrorCode.E_IDLE:
            self.scores.note(peer, Deed.TIMEOUT, now=self._now)
        elif code in refusals.INVALID:
            self.scores.note(peer, Deed.INVALID, now=self._now)

    def _judge_room(self, author: Author, header: UpdateHeader) -> Refusal | None:
        """Judge whether there is room beside what is on the way; for some, half of it [G-041, G-048]."""
        others = [pending for pending in self._pending() if pending is not author.pending]
        limited = self.scores.band(header.author, now=self._now) is not Band.NORMAL
        share = 2 if limited else 1
        if len(others) * share >= self._limits.transfers_global:
            return refusals.BUSY
        needed = sum(pending.header.total_bytes for pending in others) + header.total_bytes
        return refusals.BUSY if needed * share > self._limits.reassembly_global_bytes else None

    def _is_equivocation(self, author: Author, header: UpdateHeader, encoded: bytes) -> bool:
        """Compare a header with what its author signed before; two roots for one round convict [G-030]."""
        first = author.keep(header, encoded)
        if first is None:
            return False
        self._convict(header.author, header.round, Proof(first, encoded), told_by=None)
        return True

    def _convict(self, author: PeerId, round: int, proof: Proof, *, told_by: PeerId | None) -> None:
        """Bar an author for ever, and tell the other neighbours why [G-033]."""
        self._convicts.add(author, proof)
        held = self._authors.get(author)
        if held is not None:
            self._apply(author, held, Input.PROOF)
        self._emit(EquivocationDetected(author, round, proof.first, proof.second))
        for peer, other in self._authors.items():
            if other.connected and peer not in (author, told_by):
                self._say(peer, proof)

    def _on_proof(self, peer: PeerId, author: Author, proof: Proof, now: float) -> None:
        """Judge a proof that a neighbour tells of, the signatures last [G-035, G-036]."""
        if not author.proofs.take(now):
            self.stats.drop("proof_rate")
            return
        try:
            unverified = read_proof_untrusted(proof, self.swarm_id)
            if unverified.author in self._convicts:
                self.stats.drop("proof_known")
                return
            if unverified.author == self.peer_id:
                self.stats.drop("proof_about_us")
                return
            unverified.verify_untrusted()
        except RemoteProtocolError:
            self.stats.drop("proof_false")
            self.scores.note(peer, Deed.INVALID, now=now)
            raise
        self._convict(unverified.author, unverified.round, proof, told_by=peer)

    def _say(self, peer: PeerId, proof: Proof) -> None:
        if len(self._messages) < self._max_events:
            self._messages.append((peer, encode_gossip_message(proof)))
        else:
            self.stats.drop("message_queue_full")

    # --- what follows ---

    def _apply(self, peer: PeerId, author: Author, event: Input) -> None:
        """Let the table decide what ``event`` does to an author's inbox."""
        action, author.inbox = INBOX_TABLE.step(author.inbox, event)
        given_up = refusals.GIVEN_UP.get(action)
        if given_up is not None and author.pending is not None:
            self._refuse_parts(peer, author.pending, given_up)
        if action is not Action.IGNORE:
            author.pending = None

    def _accept(self, peer: PeerId, author: Author, transfer: int, root: bytes, pending: Pending) -> None:
        self._apply(peer, author, Input.OFFER)
        author.pending = pending
        pending.transfers[root] = transfer
        self.stats.offers_accepted += 1
        self._act(Accept(peer, transfer))

    def _take_part(self, peer: PeerId, pending: Pending, transfer: int, root: bytes, size: int) -> None:
        """Judge the offer of another object of the update that is on the way [G-044]."""
        if not pending.expects(root, size):
            self._refuse(peer, transfer, refusals.DUPLICATE)
        elif len(self._actions) + 2 > self._max_events:
            self._refuse(peer, transfer, refusals.BUSY)
        else:
            pending.transfers[root] = transfer
            self._act(Accept(peer, transfer))

    def _refuse_parts(self, peer: PeerId, pending: Pending, refusal: Refusal) -> None:
        """Give up all that is on the way of an update, and what has arrived of it [G-045]."""
        for transfer in pending.transfers.values():
            self._refuse(peer, transfer, refusal)

    def _refuse(self, peer: PeerId, transfer: int, refusal: Refusal) -> None:
        self.stats.drop(refusal.reason)
        self._act(Refuse(peer, transfer, refusal.code))

    def _act(self, action: GossipAction) -> None:
        """Keep an action for the carrier; one that does not drain loses the newest, counted."""
        if len(self._actions) < self._max_events:
            self._actions.append(action)
        else:
            self.stats.drop("action_queue_full")

    # --- memory ---

    def _most_authors(self) -> int:
        """Room for those that are connected, and one, so that there is always one to forget."""
        return max(self._limits.authors, self._limits.connections + 1)

    def _author(self, key: PeerId, now: float) -> Author:
        """Return what is known of an author, now the last one to be forgotten [G-042]."""
        author = self._authors.pop(key, None)
        if author is None:
            bucket = TokenBucket(burst=self._offer_burst, interval_s=self._offer_interval_s, now=now)
            proofs = TokenBucket(
                burst=self._limits.proofs_burst, interval_s=self._limits.proofs_interval_s, now=now
            )
            author = Author(bucket, proofs, Inbox.BARRED if key in self._convicts else Inbox.IDLE)
        if len(self._authors) >= self._most_authors():
            del self._authors[next(other for other, held in self._authors.items() if not held.connected)]
        self._authors[key] = author
        return author

    def _remember_root(self, root: bytes) -> None:
        self._seen.pop(root, None)
        self._seen[root] = None
        if len(self._seen) > self._limits.seen_roots:
            del self._seen[next(iter(self._seen))]

    def _pending(self) -> list[Pending]:
        return [author.pending for author in self._authors.values() if author.pending is not None]

    def _check_peer(self, peer: PeerId) -> None:
        if peer == self.peer_id or len(peer) != CONSTANTS.key_bytes:
            raise misuse("not the key of another peer")
