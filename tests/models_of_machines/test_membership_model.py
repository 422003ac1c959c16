"""Membership against a model: for each key its newest valid record, and whether there is a session.

A chain of such members, whole swarms of them, stands in `tests/protocol/test_membership_swarm.py`; gossip has
its model in `tests/protocol/test_gossip_model.py`, a pair of endpoints in `tests/transport/test_stateful.py`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from quinkgl.crypto.cose import decode_sign1_untrusted
from quinkgl.crypto.identity import Identity
from quinkgl.crypto.psk import derive_member_keys
from quinkgl.protocol.membership import Membership, PeerDiscovered, Standing
from quinkgl.protocol.records import SignedRecord, issue_record
from quinkgl.testing.contract import Checked
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.messages.membership import (
    Records,
    decode_membership_message_untrusted,
    decode_record_untrusted,
    encode_membership_message,
)

BUDGET = settings(max_examples=max(1, settings.default.max_examples // 4), stateful_step_count=40)
KEYS = derive_member_keys(b"{}")
FOREIGN = derive_member_keys(b"{}", b"another secret")
UNIX = 1_900_000_000.0
OWN = Identity.from_seed(bytes(32))
PEERS = [Identity.from_seed(bytes([number]) * 32) for number in range(1, 5)]
IDS = [peer.peer_id for peer in PEERS]
PEER = st.integers(0, len(PEERS) - 1)


@dataclass
class Known:
    """What the model holds of a key."""

    signed: SignedRecord | None = None
    connected: bool = False

    @property
    def standing(self) -> Standing:
        if self.connected:
            return Standing.STRANGER if self.signed is None else Standing.NEIGHBOUR
        return Standing.UNKNOWN if self.signed is None else Standing.CANDIDATE


class Members(RuleBasedStateMachine):
    """One member, four keys that come and go, and records that are told, old, forged or over."""

    @initialize(seed=st.integers(0, 1 << 16))
    def start(self, seed) -> None:
        self.now = 0.0
        self.machine = Checked(
            Membership(OWN, KEYS, rng=random.Random(seed), now=0.0, unix_now=UNIX), deep=False, now=0.0
        )
        self.machine.set_addresses((("198.51.100.1", 5000),), now=0.0)
        self.known = [Known() for _ in PEERS]
        self.told_at: dict[bytes, float] = {}

    def record(self, number: int, seq: int, ttl: int, *, root: bytes = KEYS.root) -> SignedRecord:
        where = ((f"192.0.2.{number + 1}", 4000 + seq),)
        return issue_record(PEERS[number], root, seq=seq, addresses=where, ttl=ttl, unix_now=UNIX + self.now)

    def learn(self, number: int, signed: SignedRecord) -> None:
        """What the model makes of a valid record."""
        held = self.known[number].signed
        if held is None or signed.record.seq > held.record.seq:
            self.known[number].signed = signed

    def go_on(self, seconds: float) -> None:
        """Let time pass, deadline by deadline, and take what comes out."""
        stop = self.now + seconds
        while True:
            self.drain()
            due = self.machine.deadline()
            if due > stop:
                break
            self.now = max(self.now, due)
            self.expire()
            self.machine.handle_timer(now=self.now)
        self.now = stop
        self.expire()
        self.machine.handle_timer(now=self.now)
        self.drain()

    def expire(self) -> None:
        for known in self.known:
            if known.signed is not None and UNIX + self.now >= known.signed.record.expires:
                known.signed = None

    def drain(self) -> None:
        while (event := self.machine.next_event()) is not None:
            assert isinstance(event, PeerDiscovered)
            assert event.peer in IDS
            assert event.addresses, "discovered, and nowhere to go"
        while (out := self.machine.next_message(self.now)) is not None:
            self.judge(*out)

    def judge(self, peer: bytes, data: bytes) -> None:
        """A message goes to a neighbour, not too often, and tells what is valid and known."""
        assert self.known[IDS.index(peer)].connected
        assert self.now - self.told_at.get(peer, -10.0) >= LIMITS.records_interval_s - 1e-6, "too often"
        self.told_at[peer] = self.now
        for encoded in decode_membership_message_untrusted(data).records:
            payload = decode_sign1_untrusted(encoded, max_bytes=LIMITS.record_bytes).payload
            record = decode_record_untrusted(payload)
            if record.key == OWN.peer_id:
                continue
            held = self.known[IDS.index(record.key)].signed
            assert held is not None, "told of a key without a record"
            assert encoded == held.encoded, "told an old record"
            assert record.key != peer, "told a peer of itself"

    @rule(number=PEER, seq=st.none() | st.integers(1, 3), ttl=st.sampled_from([20, 300, 7200]))
    def connect(self, number, seq, ttl) -> None:
        signed = None if seq is None else self.record(number, seq, ttl)
        known = self.known[number]
        expected = not known.connected
        done = self.machine.peer_connected(
            IDS[number], None if signed is None else signed.encoded, now=self.now
        )
        assert done is expected
        if expected:
            known.connected = True
            self.told_at.pop(IDS[number], None)
            if signed is not None:
                self.learn(number, signed)
        self.go_on(0.0)

    @rule(number=PEER)
    def disconnect(self, number) -> None:
        assert self.machine.peer_disconnected(IDS[number], now=self.now) is self.known[number].connected
        self.known[number].connected = False
        self.go_on(0.0)

    @rule(number=PEER)
    def cannot_be_reached(self, number) -> None:
        is_candidate = self.known[number].standing is Standing.CANDIDATE
        assert self.machine.peer_unreachable(IDS[number], now=self.now) is is_candidate
        if is_candidate:
            self.known[number].signed = None
        self.go_on(0.0)

    @precondition(lambda self: any(known.connected for known in getattr(self, "known", [])))
    @rule(
        teller=PEER,
        number=PEER,
        seq=st.integers(1, 3),
        ttl=st.sampled_from([20, 300, 7200]),
        kind=st.sampled_from(["valid", "valid", "valid", "of another swarm", "forged", "of the future"]),
    )
    def a_neighbour_tells(self, teller, number, seq, ttl, kind) -> None:
        """Let a neighbour tell a record; messages come a second apart, or they would be too many."""
        self.go_on(1.1)
        neighbours = [index for index, known in enumerate(self.known) if known.connected]
        source = neighbours[teller % len(neighbours)]
        signed = self.record(number, seq, ttl, root=FOREIGN.root if kind == "of another swarm" else KEYS.root)
        encoded = signed.encoded
        if kind == "forged":
            encoded = encoded[:-1] + bytes([encoded[-1] ^ 1])
        if kind == "of the future":
            self.now += 3 * LIMITS.clock_skew_s
            encoded = self.record(number, seq, ttl).encoded
            self.now -= 3 * LIMITS.clock_skew_s
        message = encode_membership_message(Records((encoded,)))
        self.machine.receive_message(IDS[source], message, now=self.now)
        if kind == "valid":
            self.learn(number, signed)
        self.go_on(0.0)

    @rule(seconds=st.sampled_from([0.5, 5.0, 30.0, 400.0]))
    def time_passes(self, seconds) -> None:
        self.go_on(seconds)

    @invariant()
    def every_key_stands_where_the_model_says(self) -> None:
        if not hasattr(self, "machine"):
            return
        for key, known in zip(IDS, self.known, strict=True):
            assert self.machine.standing(key) is known.standing
        held = {known.signed.record for known in self.known if known.signed is not None}
        candidates = {
            known.signed.record
            for known in self.known
            if known.standing is Standing.CANDIDATE and known.signed
        }
        assert set(self.machine.known()) == held
        assert set(self.machine.view()) == candidates

    def teardown(self) -> None:
        """With time every record ends, and a key without a session is forgotten."""
        if not hasattr(self, "machine"):
            return
        self.go_on(7300.0)
        for key, known in zip(IDS, self.known, strict=True):
            expected = Standing.STRANGER if known.connected else Standing.UNKNOWN
            assert self.machine.standing(key) is expected


class TestMembers(Members.TestCase):
    settings = BUDGET
