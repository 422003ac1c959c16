"""Machines of one peer against small models: manifest handshake, fetch, fingerprints.

Both ends run; what they say travels over an ordered pipe, and a stranger may put messages of its own into it:
valid ones from the schemas, and broken ones. The model knows what an honest pair must reach.
"""

from __future__ import annotations

import dataclasses
import hashlib
import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from quinkgl.crypto.identity import Identity
from quinkgl.protocol.fingerprint_exchange import (
    FingerprintExchange,
    FingerprintNotReceived,
    FingerprintReceived,
    FingerprintShelf,
)
from quinkgl.protocol.manifest_fetch import (
    FetchOver,
    FetchState,
    ManifestFetch,
    ManifestFetched,
    ManifestNotFetched,
    ManifestServed,
    ManifestSource,
)
from quinkgl.protocol.manifest_handshake import (
    HandshakeState,
    ManifestAgreed,
    ManifestHandshake,
    ManifestRefused,
    Terms,
)
from quinkgl.testing.strategies import invalid_messages, messages
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from quinkgl.wire.limits import LIMITS, limits_with
from quinkgl.wire.messages.fetch import Get, Piece, decode_fetch_message_untrusted, encode_fetch_message

BUDGET = settings(max_examples=max(1, settings.default.max_examples // 4), stateful_step_count=30)
TERMS = Terms(bytes(32), 3, "arch", (4,), (2,), "FedAvg", "Random", False, 0, None, 1 << 20, ("a", "b"))
VARIANTS = {
    "same": TERMS,
    "smaller": Terms(bytes(32), 3, "arch", (4,), (2,), "FedAvg", "Random", False, 0, None, 1000, ("b", "c")),
    "other model": Terms(bytes(32), 3, "b", (4,), (2,), "FedAvg", "Random", False, 0, None, 1 << 20),
}


class Handshakes(RuleBasedStateMachine):
    """Two sides, or one side and a stranger."""

    @initialize(
        first=st.sampled_from(sorted(VARIANTS)),
        second=st.sampled_from(sorted(VARIANTS)),
        has_stranger=st.booleans(),
    )
    def start(self, first, second, has_stranger) -> None:
        self.now = 0.0
        self.terms = [VARIANTS[first], VARIANTS[second]]
        self.sides = [
            ManifestHandshake(terms, role_initiator=index == 0, now=0.0, unix_now=1.8e9)
            for index, terms in enumerate(self.terms)
        ]
        self.pipes: list[list[bytes]] = [[], []]
        """What is on its way to each side."""
        self.events: list[list[object]] = [[], []]
        self.has_stranger = has_stranger
        self.broken = [False, False]

    @rule(side=st.integers(0, 1), count=st.integers(1, 3))
    def carry(self, side, count) -> None:
        """Put what a side has to say on its way, then deliver some of it."""
        while (message := self.sides[side].next_message(self.now)) is not None:
            self.pipes[1 - side].append(message)
        for message in self.pipes[1 - side][:count]:
            self.receive(1 - side, message)
        del self.pipes[1 - side][:count]

    def receive(self, side: int, message: bytes) -> None:
        own = self.sides[side]
        before = own.state
        try:
            own.receive_message(message, now=self.now)
        except RemoteProtocolError:
            assert self.has_stranger, "an honest side broke the specification"
            assert own.state is HandshakeState.REFUSED
            self.broken[side] = True
        if before is HandshakeState.REFUSED:
            assert own.state is HandshakeState.REFUSED
        self.take(side)

    @precondition(lambda self: self.has_stranger)
    @rule(
        side=st.integers(0, 1),
        message=messages("manifest") | invalid_messages("manifest").map(lambda m: m.data),
    )
    def a_stranger_speaks(self, side, message) -> None:
        self.receive(side, message)

    @rule(seconds=st.sampled_from([0.1, 3.0, 20.0]))
    def time_passes(self, seconds) -> None:
        self.now += seconds
        for side in (0, 1):
            self.sides[side].handle_timer(now=self.now)
            self.take(side)

    def take(self, side: int) -> None:
        while (event := self.sides[side].next_event()) is not None:
            self.events[side].append(event)

    @invariant()
    def what_is_told_fits_the_state(self) -> None:
        for own, events, broken in zip(*self.told(), strict=True):
            kinds = [type(event) for event in events]
            assert kinds in ([], [ManifestAgreed], [ManifestRefused], [ManifestAgreed, ManifestRefused])
            match own.state:
                case HandshakeState.AGREED:
                    assert kinds == [ManifestAgreed]
                case HandshakeState.REFUSED:
                    assert broken or kinds[-1:] == [ManifestRefused]
                case _:
                    assert kinds == []

    def told(self):
        return getattr(self, "sides", []), getattr(self, "events", []), getattr(self, "broken", [])

    def teardown(self) -> None:
        """Let both speak on: those that fit agree unless somebody spoke for them or time ran out."""
        if not hasattr(self, "sides"):
            return
        for _ in range(4):
            for side in (0, 1):
                self.carry(side, 10)
        if not self.has_stranger and self.now < LIMITS.manifest_handshake_timeout_s:
            fits = "other model" not in [key for key in VARIANTS if VARIANTS[key] in self.terms] or (
                self.terms[0] == self.terms[1]
            )
            expected = HandshakeState.AGREED if fits else HandshakeState.REFUSED
            assert [own.state for own in self.sides] == [expected, expected]
            if fits:
                most = min(terms.max_object_bytes for terms in self.terms)
                shared = tuple(sorted(set(self.terms[0].features) & set(self.terms[1].features)))
                for events in self.events:
                    assert (events[0].max_object_bytes, events[0].features) == (most, shared)
        for own in self.sides:
            own.handle_timer(now=self.now + 1000)
            assert own.state in {HandshakeState.AGREED, HandshakeState.REFUSED}
            assert own.occupancy()["messages"][0] <= own.occupancy()["messages"][1]


class TestHandshakes(Handshakes.TestCase):
    settings = BUDGET


# --- fetching a manifest ---


class Fetches(RuleBasedStateMachine):
    """A fetcher and a source; a stranger may speak to either, and the manifest may be too long."""

    @initialize(
        size=st.sampled_from([1, 8191, 8192, 8193, 30_000]),
        most=st.sampled_from([8192, 65_536]),
        is_known=st.sampled_from([True, True, True, False]),
        has_stranger=st.booleans(),
    )
    def start(self, size, most, is_known, has_stranger) -> None:
        self.now = 0.0
        self.manifest = random.Random(size).randbytes(size)
        swarm_id = hashlib.sha256(self.manifest).digest()
        asked = swarm_id if is_known else bytes(32)
        self.fetch = ManifestFetch(asked, now=0.0, limits=limits_with(manifest_bytes=most))
        self.source = ManifestSource(swarm_id, self.manifest, b"\1" * 64, now=0.0)
        self.to_source: list[bytes] = []
        self.to_fetch: list[bytes] = []
        self.has_stranger = has_stranger
        self.fetched: list[object] = []
        self.served: list[object] = []
        self.most, self.is_known = most, is_known
        self.pieces = 0
        if self.has_stranger:
            self.ask(1)

    def ask(self, count) -> None:
        while (message := self.fetch.next_message(self.now)) is not None:
            self.to_source.append(message)
        for message in self.to_source[:count]:
            self.receive(self.source, message)
        del self.to_source[:count]

    @rule(count=st.integers(1, 3), alters=st.sampled_from([False, False, True]), number=st.integers(0, 8191))
    def answer(self, count, alters, number) -> None:
        """Deliver requests and answers; a stranger may alter a byte of the first piece among them."""
        self.ask(count)
        while (message := self.source.next_message(self.now)) is not None:
            self.pieces += isinstance(decode_fetch_message_untrusted(message), Piece)
            self.to_fetch.append(message)
        first = decode_fetch_message_untrusted(self.to_fetch[0]) if self.to_fetch else None
        if alters and self.has_stranger and isinstance(first, Piece):
            data = bytearray(first.data)
            data[number % len(data)] ^= 1
            self.to_fetch[0] = encode_fetch_message(dataclasses.replace(first, data=bytes(data)))
        for message in self.to_fetch[:count]:
            self.receive(self.fetch, message)
        del self.to_fetch[:count]

    def receive(self, machine, message: bytes) -> None:
        try:
            machine.receive_message(message, now=self.now)
        except RemoteProtocolError:
            assert self.has_stranger, "an honest side broke the specification"
            assert machine.state is FetchState.FAILED
        self.take()

    @precondition(lambda self: self.has_stranger)
    @rule(
        to_source=st.booleans(),
        message=messages("fetch") | invalid_messages("fetch").map(lambda each: each.data),
    )
    def a_stranger_speaks(self, to_source, message) -> None:
        self.receive(self.source if to_source else self.fetch, message)

    @precondition(lambda self: self.has_stranger)
    @rule(piece=st.integers(0, 4))
    def somebody_asks_out_of_turn(self, piece) -> None:
        """Ask for any piece of the right manifest: the source gives each once, in order."""
        swarm_id = hashlib.sha256(self.manifest).digest()
        self.receive(self.source, encode_fetch_message(Get(swarm_id, 8192 * piece)))

    @rule(seconds=st.sampled_from([0.1, 5.0, 40.0]))
    def time_passes(self, seconds) -> None:
        self.now += seconds
        self.fetch.handle_timer(now=self.now)
        self.source.handle_timer(now=self.now)
        self.take()

    def take(self) -> None:
        while (event := self.fetch.next_event()) is not None:
            self.fetched.append(event)
        while (event := self.source.next_event()) is not None:
            self.served.append(event)

    @invariant()
    def nothing_is_believed_that_does_not_hash_to_the_id(self) -> None:
        if not hasattr(self, "fetch"):
            return
        assert len(self.fetched) <= 1, "an end is told once"
        for event in self.fetched:
            if isinstance(event, ManifestFetched):
                assert event.manifest == self.manifest
                assert self.fetch.state is FetchState.DONE
            else:
                assert isinstance(event, ManifestNotFetched)
                assert self.fetch.state is FetchState.FAILED
        assert self.pieces <= -(-len(self.manifest) // 8192), "more than each piece once"
        kinds = [type(event) for event in self.served]
        assert kinds in ([], [ManifestServed], [FetchOver], [ManifestServed, FetchOver])

    def teardown(self) -> None:
        """An honest pair that was in time reaches what its terms allow."""
        if not hasattr(self, "fetch"):
            return
        if not self.has_stranger and self.now < LIMITS.manifest_fetch_timeout_s:
            for _ in range(10):
                self.ask(3)
                self.answer(3, alters=False, number=0)
            (event,) = self.fetched
            if not self.is_known:
                assert event.code is ErrorCode.E_MAN_UNKNOWN
            elif len(self.manifest) > self.most:
                assert event.code is ErrorCode.E_TOO_BIG
            else:
                assert (event.manifest, event.signature) == (self.manifest, b"\1" * 64)
        self.now += 1000
        self.time_passes(0.1)
        assert self.fetch.state is not FetchState.OPEN


class TestFetches(Fetches.TestCase):
    settings = settings(BUDGET, max_examples=settings.default.max_examples)


# --- fingerprints ---

IDENTITIES = [Identity.from_seed(bytes([number]) * 32) for number in (1, 2)]


class Fingerprints(RuleBasedStateMachine):
    """Two peers that ask each other; what they hold changes, and messages come late, twice, or never."""

    @initialize(has_stranger=st.booleans())
    def start(self, has_stranger) -> None:
        self.now = 0.0
        self.has_stranger = has_stranger
        self.shelves = [FingerprintShelf(), FingerprintShelf()]
        limits = limits_with(fingerprint_requests_per_hour=3)
        self.sides = [
            FingerprintExchange(
                own, bytes(32), other.peer_id, shelf, rng=random.Random(index), now=0.0, limits=limits
            )
            for index, (own, other, shelf) in enumerate(
                zip(IDENTITIES, IDENTITIES[::-1], self.shelves, strict=True)
            )
        ]
        self.way: list[tuple[int, bytes]] = []
        """Messages on their way: to which side, and what."""
        self.said: list[tuple[int, bytes]] = []
        """All that was ever said."""
        self.released: list[dict[int, bytes]] = [{}, {}]
        self.waiting = [False, False]
        self.asked_epoch: list[int | None] = [None, None]
        self.shown_since: list[set[int]] = [set(), set()]
        """By side: epochs that the other has shown since it was asked; an answer is never older."""

    @rule(side=st.integers(0, 1), epoch=st.integers(0, 3), body=st.sampled_from([b"one", b"two"]))
    def release(self, side, epoch, body) -> None:
        shown = self.released[side]
        if epoch < max(shown, default=0) or shown.get(epoch, body) != body:
            with pytest.raises(LocalProtocolError):
                self.shelves[side].put(body, epoch)
            return
        self.shelves[side].put(body, epoch)
        shown[epoch] = body
        self.shown_since[1 - side].add(epoch)

    @rule(side=st.integers(0, 1), is_spent=st.booleans())
    def withhold(self, side, is_spent) -> None:
        self.shelves[side].take_away(budget_spent=is_spent)

    @rule(side=st.integers(0, 1), epoch=st.none() | st.integers(0, 3))
    def ask(self, side, epoch) -> None:
        assert self.sides[side].request(epoch, now=self.now) is not self.waiting[side]
        if not self.waiting[side]:
            self.waiting[side], self.asked_epoch[side] = True, epoch
            shown = self.shelves[1 - side].fingerprint
            self.shown_since[side] = set() if shown is None else {shown.epoch}
        self.speak(side)

    def speak(self, side: int) -> None:
        while (message := self.sides[side].next_message(self.now)) is not None:
            self.way.append((1 - side, message))
            self.said.append((1 - side, message))

    @precondition(lambda self: getattr(self, "said", []))
    @rule(number=st.integers(0, 1 << 16))
    def something_old_again(self, number) -> None:
        self.receive(*self.said[number % len(self.said)])

    @precondition(lambda self: self.way)
    @rule(number=st.integers(0, 1 << 16), fate=st.sampled_from(["arrives", "arrives", "twice", "lost"]))
    def a_message(self, number, fate) -> None:
        side, message = self.way.pop(number % len(self.way))
        if fate == "lost":
            return
        self.receive(side, message)
        if fate == "twice":
            self.way.append((side, message))

    @precondition(lambda self: self.has_stranger)
    @rule(
        side=st.integers(0, 1),
        message=messages("fingerprint") | invalid_messages("fingerprint").map(lambda each: each.data),
    )
    def a_stranger_speaks(self, side, message) -> None:
        self.receive(side, message)

    def receive(self, side: int, message: bytes) -> None:
        try:
            self.sides[side].receive_message(message, now=self.now)
        except RemoteProtocolError:
            assert self.has_stranger, "an honest side broke the specification"
        self.speak(side)
        self.take(side)

    @rule(seconds=st.sampled_from([0.1, 5.0, 1000.0]))
    def time_passes(self, seconds) -> None:
        self.now += seconds
        for side in (0, 1):
            self.sides[side].handle_timer(now=self.now)
            self.take(side)

    def take(self, side: int) -> None:
        """Take events: one for each request, and a body only if the other side has released it."""
        while (event := self.sides[side].next_event()) is not None:
            assert self.waiting[side], "an answer to no request"
            self.waiting[side] = False
            if isinstance(event, FingerprintReceived):
                assert self.released[1 - side][event.epoch] == event.body
                assert self.asked_epoch[side] in {None, event.epoch}
                assert event.epoch in self.shown_since[side], "an answer to an earlier request"
            else:
                assert isinstance(event, FingerprintNotReceived)

    @invariant()
    def waiting_is_what_the_machine_says(self) -> None:
        if hasattr(self, "sides"):
            assert [own.is_waiting for own in self.sides] == self.waiting

    def teardown(self) -> None:
        """Every request ends; nothing waits for ever."""
        if not hasattr(self, "sides"):
            return
        for side, message in self.way:
            self.receive(side, message)
        self.now += 10_000
        self.time_passes(0.1)
        assert self.waiting == [False, False]
        assert all(own.deadline() is None for own in self.sides)


class TestFingerprints(Fingerprints.TestCase):
    settings = BUDGET
