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
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from quinkgl.crypto.cose import sign1
from quinkgl.crypto.identity import Identity, PeerId
from quinkgl.protocol.inbox import HEADERS_KEPT, INBOX_TABLE, Action, Author, Inbox, Input, Pending
from quinkgl.protocol.machine import Machine, MachineStats, check_unix, misuse
from quinkgl.protocol.rate import TokenBucket
from quinkgl.protocol.update_gate import DOMAIN, Admitted, Refusal, judge_round, read_header
from quinkgl.wire.cbor import Buffer
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.exclusive import exclusive
from quinkgl.wire.limits import CONSTANTS, LIMITS, Limits
from quinkgl.wire.messages.gossip import (
    NONCE_BYTES,
    UpdateHeader,
    decode_gossip_message_untrusted,
    encode_update_header,
)

if TYPE_CHECKING:
    import random


@dataclass(frozen=True, slots=True)
class OfferOut:
    """Offer the object ``root`` to ``peer``, with this signed header."""

    peer: PeerId
    root: bytes
    header: bytes


@dataclass(frozen=True, slots=True)
class Accept:
    """Ask ``peer`` for the body of its offer ``transfer``."""

    peer: PeerId
    transfer: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """Refuse the offer ``transfer`` of ``peer``, or give up its body half-way."""

    peer: PeerId
    transfer: int
    code: ErrorCode


GossipAction: TypeAlias = OfferOut | Accept | Refuse


@dataclass(frozen=True, slots=True)
class UpdateReceived:
    """A body came whose header was accepted; the carrier has checked it against ``header.root``.

    ``staleness`` counts the rounds that the author has published since, plus our rounds since the offer came.
    """

    peer: PeerId
    header: UpdateHeader
    body: memoryview
    staleness: int


@dataclass(frozen=True, slots=True)
class EquivocationDetected:
    """``author`` signed two updates for one round; the signed headers ``first`` and ``second`` prove it."""

    author: PeerId
    round: int
    first: bytes
    second: bytes


GossipEvent: TypeAlias = UpdateReceived | EquivocationDetected


@dataclass(slots=True)
class GossipStats(MachineStats):
    """Counts of the gossip machine; ``dropped`` holds every refused offer by its reason."""

    offers_sent: int = 0
    offers_accepted: int = 0
    updates_received: int = 0
    updates_delivered: int = 0


_NOT_CONNECTED = Refusal(ErrorCode.NOT_WANTED, "not_connected")
_BARRED = Refusal(ErrorCode.E_EQUIVOCATION, "offer_barred")
_EQUIVOCATION = Refusal(ErrorCode.E_EQUIVOCATION, "offer_equivocation")
_RATE = Refusal(ErrorCode.E_RND_RATE, "offer_rate")
_SIZE = Refusal(ErrorCode.E_OBJ_SIZE, "offer_size")
_DUPLICATE = Refusal(ErrorCode.NOT_WANTED, "offer_duplicate")
_SUPERSEDED = Refusal(ErrorCode.SUPERSEDED, "offer_superseded")
_STALE = Refusal(ErrorCode.E_RND_STALE, "transfer_stale")
_BUSY = Refusal(ErrorCode.E_BUSY, "offer_busy")

_GIVEN_UP = {
    Action.SUPERSEDE: _SUPERSEDED,
    Action.CANCEL: _STALE,
    Action.CONVICT_AND_CANCEL: _EQUIVOCATION,
}
"""Why the body on the way is given up, by what the table says."""


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
        check_unix(unix_now)
        super().__init__(now=now, max_events=limits.events)
        self.stats = GossipStats()
        self.peer_id: PeerId = identity.peer_id
        self.swarm_id = swarm_id
        self.round = 0
        self._identity = identity
        self._rng = rng
        self._limits = limits
        self._max_object_bytes = max_object_bytes
        self._offer_interval_s = offer_interval_s
        self._offer_burst = offer_burst
        self._unix_offset_s = unix_now - now
        self._incarnation = int(unix_now * 1000)
        self._published: int | None = None
        self._authors: dict[PeerId, Author] = {}
        self._barred: dict[PeerId, None] = {}
        self._seen: dict[bytes, None] = {}
        self._actions: deque[GossipAction] = deque()

    # --- commands ---

    @exclusive
    def set_unix_time(self, unix_now: float, *, now: float) -> None:
        """Tell the wall-clock time; LocalProtocolError for one that no header can say."""
        check_unix(unix_now)
        self._unix_offset_s = unix_now - self._advance(now)

    @exclusive
    def peer_connected(self, peer: PeerId, *, now: float) -> bool:
        """Say that a peer can be reached; False if that is known, or if there is no room for another.

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
        return True

    @exclusive
    def peer_disconnected(self, peer: PeerId, *, now: float) -> bool:
        """Say that a peer is gone, and with it the body that was on the way. False if it was not there."""
        self._advance(now)
        author = self._authors.get(peer)
        if author is None or not author.connected:
            return False
        author.connected = author.same_session = False
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
        targets: Sequence[PeerId],
        now: float,
    ) -> UpdateHeader:
        """Sign the header of an update of ``size`` bytes and have it offered to ``targets``.

        ``round`` must be above that of the last update published. The fields are those of
        :class:`UpdateHeader`. Returns the header. LocalProtocolError for a field outside its bounds, or a
        header that is too long.
        """
        if self._published is not None and round <= self._published:
            raise misuse(f"round {round} is not above the last one published, {self._published}")
        if size > self._max_object_bytes:
            raise misuse(f"an update of {size} bytes; at most {self._max_object_bytes} may be sent")
        for target in targets:
            self._check_peer(target)
        header = UpdateHeader(
            swarm_id=self.swarm_id,
            author=self.peer_id,
            round=round,
            root=root,
            size=size,
            codec=codec,
            sample_count=sample_count,
            issued=int(max(now, self._now) + self._unix_offset_s),
            nonce=bytes(NONCE_BYTES),
            incarnation=self._incarnation,
            params={} if params is None else params,
            metadata={} if metadata is None else metadata,
            base=base,
        )
        encode_update_header(header)  # raises before anything has changed
        self._advance(now)
        header = replace(header, nonce=self._rng.randbytes(NONCE_BYTES))
        signed = sign1(self._identity, DOMAIN, encode_update_header(header))
        self._published = round
        self._remember_root(root)  # nobody can offer us our own
        for target in dict.fromkeys(targets):
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
        saved = _read_state(state)
        if self._authors or self._seen or self._barred:
            raise misuse("a state can be restored only into a new machine")
        now = self._advance(now)
        self._incarnation = max(self._incarnation, saved.incarnation + 1)
        for author, position in saved.authors[-self._most_authors() :]:
            self._author(author, now).last = position
        for root in saved.seen:
            self._remember_root(root)
        for author in saved.barred:
            self._bar(author)

    # --- what the carrier reports ---

    @exclusive
    def object_offered(
        self, peer: PeerId, transfer: int, root: bytes, size: int, header: bytes, *, now: float
    ) -> None:
        """Judge an offer of ``peer``: the object ``root`` of ``size`` bytes, with a signed ``header``.

        Answered by an Accept or a Refuse with this ``transfer``, never by an exception.
        """
        now = self._advance(now)
        author = self._authors.get(peer)
        if author is None or not author.connected:
            self._refuse(peer, transfer, _NOT_CONNECTED)
            return
        found: UpdateHeader | Refusal | None = self._judge_sender(author, now)
        if found is None:
            found = read_header(header, peer=peer, swarm_id=self.swarm_id, root=root, size=size)
        if isinstance(found, UpdateHeader):
            refusal = self._judge(author, found, header, now)
            if refusal is None:
                self._accept(peer, author, transfer, found)
                return
            found = refusal
        self._refuse(peer, transfer, found)

    @exclusive
    def object_received(self, peer: PeerId, transfer: int, body: Buffer, *, now: float) -> None:
        """Take the body of an accepted offer, which the carrier has checked against its root and size."""
        self._advance(now)
        author = self._authors.get(peer)
        pending = None if author is None else author.pending
        if author is None or pending is None or pending.transfer != transfer:
            self.stats.drop("transfer_unknown")
            return
        self._apply(peer, author, Input.RECEIVED)
        author.last = pending.header.position
        self._remember_root(pending.header.root)
        staleness = author.staleness(pending, self.round)
        if staleness > self._limits.round_stale:
            self.stats.drop(_STALE.reason)
            return
        self.stats.updates_received += 1
        self._emit(UpdateReceived(peer, pending.header, memoryview(body), staleness))

    @exclusive
    def object_failed(self, peer: PeerId, transfer: int, code: int, *, now: float) -> None:
        """Say that the body of an offer will not come; ``code`` says why. The author may offer it again."""
        self._advance(now)
        author = self._authors.get(peer)
        if author is not None and author.pending is not None and author.pending.transfer == transfer:
            self.stats.drop("transfer_too_slow" if code == ErrorCode.TOO_SLOW else "transfer_failed")
            self._apply(peer, author, Input.FAILED)

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
        """Take one message of the gossip channel, of which there are none yet.

        Raises RemoteProtocolError for anything but a message that a later version may ignore.
        """
        self._advance(now)
        author = self._authors.get(peer)
        if author is None or not author.connected:
            self.stats.drop("not_connected")
            return
        try:
            decode_gossip_message_untrusted(data)
        except RemoteProtocolError:
            self.stats.drop("malformed")
            raise
        self.stats.drop("unknown_kind")

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
        """Return None: the gossip channel has no messages yet."""
        self._advance(now)
        return None

    def deadline(self) -> float | None:
        """At once while there is an event or an action to take, else None."""
        return self._now if self._events or self._actions else None

    @property
    def deadline_reason(self) -> str:
        """What the deadline is for."""
        return "output" if self._events or self._actions else ""

    # --- views ---

    def inbox(self, author: PeerId) -> Inbox:
        """Return what stands between this node and an author."""
        held = self._authors.get(author)
        if held is None:
            return Inbox.BARRED if author in self._barred else Inbox.IDLE
        return held.inbox

    def state(self) -> dict[str, object]:
        """Return what a later life needs, as plain values, fit for CBOR.

        Our incarnation, the last positions of authors, the roots seen, the authors barred.
        """
        authors = [[key, *author.last] for key, author in self._authors.items() if author.last is not None]
        return {
            "incarnation": self._incarnation,
            "authors": authors,
            "seen": list(self._seen),
            "barred": list(self._barred),
        }

    def occupancy(self) -> dict[str, tuple[int, int]]:
        """How many items each collection holds, and how many it may."""
        pending = self._pending()
        return {
            "events": (len(self._events), self._max_events),
            "actions": (len(self._actions), self._max_events),
            "authors": (len(self._authors), self._most_authors()),
            "headers": (max((len(a.headers) for a in self._authors.values()), default=0), HEADERS_KEPT),
            "pending": (len(pending), self._limits.transfers_global),
            "pending_bytes": (sum(p.header.size for p in pending), self._limits.reassembly_global_bytes),
            "seen": (len(self._seen), self._limits.seen_roots),
            "barred": (len(self._barred), self._limits.equivocation_proofs),
        }

    # --- judging ---

    def _judge_sender(self, author: Author, now: float) -> Refusal | None:
        """Judge whether an offer is looked at, before a signature is."""
        if author.inbox is Inbox.BARRED:
            return _BARRED
        # Without room to answer an offer that is accepted, none is.
        if len(self._actions) + 2 > self._max_events:
            return _BUSY
        return None if author.bucket.take(now) else _RATE

    def _judge(self, author: Author, header: UpdateHeader, encoded: bytes, now: float) -> Refusal | None:
        """Judge a header that its author signed; what passes is the author's newest."""
        if self._is_equivocation(author, header, encoded):
            return _EQUIVOCATION
        if header.size > self._max_object_bytes:
            return _SIZE
        if header.root in self._seen:
            return _DUPLICATE
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
            return _DUPLICATE if header.root == author.pending.header.root else _SUPERSEDED
        return self._judge_room(author, header)

    def _judge_room(self, author: Author, header: UpdateHeader) -> Refusal | None:
        """Judge whether the body can be taken beside the others that are on the way."""
        others = [pending for pending in self._pending() if pending is not author.pending]
        if len(others) >= self._limits.transfers_global:
            return _BUSY
        on_the_way = sum(pending.header.size for pending in others)
        return _BUSY if on_the_way + header.size > self._limits.reassembly_global_bytes else None

    def _is_equivocation(self, author: Author, header: UpdateHeader, encoded: bytes) -> bool:
        """Compare a header with what its author signed before; two roots for one round convict [G-030]."""
        first = author.keep(header, encoded)
        if first is None:
            return False
        self._apply(header.author, author, Input.PROOF)
        self._emit(EquivocationDetected(header.author, header.round, first, encoded))
        return True

    # --- what follows ---

    def _apply(self, peer: PeerId, author: Author, event: Input) -> None:
        """Let the table decide what ``event`` does to an author's inbox."""
        action, author.inbox = INBOX_TABLE.step(author.inbox, event)
        given_up = _GIVEN_UP.get(action)
        if given_up is not None and author.pending is not None:
            self._refuse(peer, author.pending.transfer, given_up)
        if action is not Action.IGNORE:
            author.pending = None
        if author.inbox is Inbox.BARRED:
            self._bar(peer)

    def _accept(self, peer: PeerId, author: Author, transfer: int, header: UpdateHeader) -> None:
        self._apply(peer, author, Input.OFFER)
        author.pending = Pending(transfer, header, self.round)
        self.stats.offers_accepted += 1
        self._act(Accept(peer, transfer))

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
        """Return what is known of an author, now the last one to be forgotten."""
        author = self._authors.pop(key, None)
        if author is None:
            bucket = TokenBucket(burst=self._offer_burst, interval_s=self._offer_interval_s, now=now)
            author = Author(bucket, Inbox.BARRED if key in self._barred else Inbox.IDLE)
        if len(self._authors) >= self._most_authors():
            del self._authors[next(other for other, held in self._authors.items() if not held.connected)]
        self._authors[key] = author
        return author

    def _remember_root(self, root: bytes) -> None:
        self._seen.pop(root, None)
        self._seen[root] = None
        if len(self._seen) > self._limits.seen_roots:
            del self._seen[next(iter(self._seen))]

    def _bar(self, author: PeerId) -> None:
        self._barred[author] = None
        if len(self._barred) > self._limits.equivocation_proofs:
            del self._barred[next(iter(self._barred))]

    def _pending(self) -> list[Pending]:
        return [author.pending for author in self._authors.values() if author.pending is not None]

    def _check_peer(self, peer: PeerId) -> None:
        if peer == self.peer_id or len(peer) != CONSTANTS.key_bytes:
            raise misuse("not the key of another peer")


class _Saved(NamedTuple):
    """What :meth:`Gossip.state` gave, checked."""

    incarnation: int
    authors: list[tuple[PeerId, tuple[int, int]]]
    seen: list[bytes]
    barred: list[PeerId]


def _read_state(state: Mapping[str, Any]) -> _Saved:
    """Check the form of a saved state; LocalProtocolError where it is another."""
    try:
        saved = _Saved(
            incarnation=state["incarnation"],
            authors=[(key, (incarnation, round)) for key, incarnation, round in state["authors"]],
            seen=list(state["seen"]),
            barred=list(state["barred"]),
        )
        numbers = [saved.incarnation, *(number for _, position in saved.authors for number in position)]
        keys = [*(key for key, _ in saved.authors), *saved.seen, *saved.barred]
    except (KeyError, TypeError, ValueError):
        raise misuse("the saved state has another form") from None
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise misuse("a saved incarnation or round is none")
    if not all(type(key) is bytes and len(key) == CONSTANTS.key_bytes for key in keys):
        raise misuse("a saved key or root is none")
    return saved
