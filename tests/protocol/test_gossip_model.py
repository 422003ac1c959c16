"""Gossip against a model of the acceptance rules that is written from their text, step by step at random."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from quinkgl.crypto.cose import sign1
from quinkgl.crypto.identity import Identity
from quinkgl.protocol.gossip import Accept, EquivocationDetected, Gossip, Refuse, UpdateReceived
from quinkgl.testing.contract import Checked
from quinkgl.wire.errors import ErrorCode
from quinkgl.wire.limits import limits_with
from quinkgl.wire.messages.gossip import UpdateHeader, encode_update_header

SWARM = bytes(32)
US = Identity.from_seed(bytes([1]) * 32)
AUTHORS = [Identity.from_seed(bytes([number]) * 32) for number in (2, 3)]
MOST_BYTES = 1000
LIMITS = limits_with(round_ahead=3, round_stale=2, transfers_global=1)


@dataclass
class Author:
    """What the rules say about one author, as the specification tells it."""

    connected: bool = False
    barred: bool = False
    last: tuple[int, int] | None = None
    newest: tuple[int, int] | None = None
    newest_round: int = 0
    newest_at: float = 0.0
    session: bool = False
    pending: tuple[tuple[int, int], bytes, int, int] | None = None
    """Position, root, transfer, our round at the offer."""
    seen: dict[tuple[int, int], bytes] = field(default_factory=dict)


class GossipModel(RuleBasedStateMachine):
    """Two authors make any offers; machine and model must say the same of each."""

    @initialize()
    def start(self):
        gossip = Gossip(
            US,
            SWARM,
            rng=random.Random(1),
            now=0.0,
            unix_now=1e9,
            max_object_bytes=MOST_BYTES,
            offer_interval_s=0.0,
            limits=LIMITS,
        )
        self.gossip = Checked(gossip)
        self.now, self.round, self.transfer = 0.0, 0, 0
        self.authors = [Author(), Author()]
        self.received = set()
        for index in (0, 1):
            self.connect(index)

    # --- the model ---

    def judge(self, author, position, root, size):
        """Return the code that an offer deserves, None for acceptance."""
        if not author.connected:
            return ErrorCode.NOT_WANTED
        if author.barred:
            return ErrorCode.E_EQUIVOCATION
        if author.seen.setdefault(position, root) != root:
            author.barred = True
            return ErrorCode.E_EQUIVOCATION
        while len(author.seen) > 4:
            del author.seen[min(author.seen)]
        if size > MOST_BYTES:
            return ErrorCode.E_OBJ_SIZE
        if root in self.received:
            return ErrorCode.NOT_WANTED
        code = self.judge_round(author, position)
        if code is not None:
            return code
        if author.newest is None or position > author.newest:
            author.newest, author.newest_round, author.newest_at = position, self.round, self.now
            author.session = True
        if author.pending is not None and position <= author.pending[0]:
            return ErrorCode.NOT_WANTED if root == author.pending[1] else ErrorCode.SUPERSEDED
        others = [other for other in self.authors if other is not author and other.pending is not None]
        return ErrorCode.E_BUSY if others else None

    def judge_round(self, author, position):
        incarnation, round = position
        if author.last is not None and position <= author.last:
            return ErrorCode.E_RND_REPLAY
        if author.newest is None:
            return None
        newest_incarnation, newest_round = author.newest
        if incarnation != newest_incarnation:
            return ErrorCode.E_RND_REPLAY if incarnation < newest_incarnation else None
        if newest_round - round > 2:
            return ErrorCode.E_RND_STALE
        passed = self.round - author.newest_round + self.now - author.newest_at
        if author.session and round - newest_round > 3 + 3 * passed:
            return ErrorCode.E_RND_AHEAD
        return None

    def staleness(self, author):
        position, _, _, own_round = author.pending
        behind = author.newest[1] - position[1] if author.newest[0] == position[0] else 0
        return behind + self.round - own_round

    def is_refused(self, action, index, transfer, code):
        assert action == Refuse(AUTHORS[index].peer_id, transfer, code)

    # --- what may happen ---

    @rule(index=st.integers(0, 1))
    def reconnect(self, index):
        self.disconnect(index)
        self.connect(index)

    def connect(self, index):
        expected = not self.authors[index].connected
        assert self.gossip.peer_connected(AUTHORS[index].peer_id, now=self.now) is expected
        self.authors[index].connected = True

    @rule(index=st.integers(0, 1))
    def disconnect(self, index):
        author = self.authors[index]
        assert self.gossip.peer_disconnected(AUTHORS[index].peer_id, now=self.now) is author.connected
        author.connected = author.session = False
        author.pending = None

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.0]))
    def wait(self, seconds):
        self.now += seconds
        self.gossip.handle_timer(now=self.now)

    @rule(rounds=st.integers(0, 2))
    def work(self, rounds):
        self.round += rounds
        self.gossip.set_round(self.round, now=self.now)
        given_up = []
        for index, author in enumerate(self.authors):
            if author.pending is not None and self.staleness(author) > 2:
                given_up.append(Refuse(AUTHORS[index].peer_id, author.pending[2], ErrorCode.E_RND_STALE))
                author.pending = None
        assert self.gossip.drain().of("next_action") == given_up

    @rule(
        index=st.integers(0, 1),
        offers=st.lists(
            st.tuples(
                st.sampled_from([5, 5, 5, 6]),
                st.integers(-4, 8),
                st.sampled_from([0] * 30 + [1]),
                st.sampled_from([10, 10, 10, 10, MOST_BYTES + 1]),
                st.sampled_from(["arrives", "arrives", "fails", "takes time"]),
            ),
            min_size=1,
            max_size=10,
        ),
    )
    def offer_some(self, index, offers):
        for incarnation, step, variant, size, then in offers:
            self.offer(index, incarnation, step, variant, size)
            if self.authors[index].pending and then != "takes time":
                self.finish(index, arrives=then == "arrives")

    def offer(self, index, incarnation, step, variant, size):
        author, identity = self.authors[index], AUTHORS[index]
        base = author.newest[1] if author.newest is not None else 10
        position = (incarnation, max(0, base + step))
        root = bytes([index, incarnation, variant]) + position[1].to_bytes(29, "big")
        encoded = sign1(identity, "update", encode_update_header(header(identity, position, root, size)))
        self.transfer += 1
        before, barred = author.pending, author.barred
        code = self.judge(author, position, root, size)
        self.gossip.object_offered(identity.peer_id, self.transfer, root, size, encoded, now=self.now)
        drained = self.gossip.drain()
        given = drained.of("next_action")
        convicted = author.barred and not barred
        assert [type(event) for event in drained.events] == [EquivocationDetected] * convicted
        if (code is None or convicted) and before is not None:
            why = ErrorCode.SUPERSEDED if code is None else ErrorCode.E_EQUIVOCATION
            self.is_refused(given.pop(0), index, before[2], why)
        if code is None:
            author.pending = (position, root, self.transfer, self.round)
            assert given == [Accept(identity.peer_id, self.transfer)]
        else:
            self.is_refused(given.pop(), index, self.transfer, code)
            if convicted:
                author.pending = None
            assert given == []

    @precondition(lambda self: any(author.pending for author in self.authors))
    @rule(arrives=st.booleans())
    def finish_any(self, arrives):
        index = next(index for index, author in enumerate(self.authors) if author.pending)
        self.finish(index, arrives=arrives)

    def finish(self, index, *, arrives):
        author, peer = self.authors[index], AUTHORS[index].peer_id
        position, root, transfer, _ = author.pending
        if not arrives:
            self.gossip.object_failed(peer, transfer, ErrorCode.GONE, now=self.now)
            author.pending = None
            return
        staleness = self.staleness(author)
        self.gossip.object_received(peer, transfer, root, now=self.now)
        author.pending, author.last = None, position
        self.received.add(root)
        events = self.gossip.drain().events
        if staleness > 2:
            assert events == ()
        else:
            (event,) = events
            assert isinstance(event, UpdateReceived)
            assert (event.header.position, event.staleness) == (position, staleness)

    @invariant()
    def one_body_is_on_the_way_at_most(self):
        if hasattr(self, "gossip"):
            assert sum(author.pending is not None for author in self.authors) <= 1
            held, _ = self.gossip.occupancy()["pending"]
            assert held == sum(author.pending is not None for author in self.authors)


def header(author, position, root, size):
    return UpdateHeader(
        swarm_id=SWARM,
        author=author.peer_id,
        round=position[1],
        root=root,
        size=size,
        codec=1,
        sample_count=1,
        issued=0,
        nonce=bytes(16),
        incarnation=position[0],
    )


TestGossipModel = GossipModel.TestCase
# Shrinking a failure would take minutes; the steps that led to it are printed as they are.
TestGossipModel.settings = settings(
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    max_examples=40,
    stateful_step_count=20,
    deadline=None,
)
