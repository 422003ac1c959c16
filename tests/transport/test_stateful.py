"""Any history of two endpoints: what they promise holds in all, and what a healed link must carry arrives.

Hypothesis chooses what the applications do, what the link does to datagrams, and when time passes; every call
goes through the contract checker. Safety is asserted on every event and datagram. At the end the link is
healed: then all that was sent on a session that is still open must arrive, and closing must leave nothing
behind.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from quinkgl.testing.endpoints import A, B, Pair, events_of
from quinkgl.testing.network import Link, Node
from quinkgl.transport import (
    ConnectFailed,
    ConnectionEstablished,
    ConnectionLost,
    MessageReceived,
    ObjectArrived,
    ObjectSent,
    OfferReceived,
    TransferFailed,
    leaf_hashes,
    merkle_root,
)
from quinkgl.wire.control import Channel
from quinkgl.wire.errors import ErrorCode
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.packets import PacketForm, packet_form

CLEAN = Link(delay_s=0.02)
LINKS = [
    CLEAN,
    Link(delay_s=0.3, jitter_s=0.3),
    Link(delay_s=0.02, loss=0.2),
    Link(delay_s=0.02, jitter_s=0.05, loss=0.05, duplicate=0.3, corrupt=0.2),
    Link(delay_s=0.01, rate=50_000.0, queue_bytes=10_000),
    Link(loss=1.0),
]
SIDES = st.sampled_from(["a", "b"])
SIZES = st.sampled_from([0, 1, 500, LIMITS.unsolicited_bytes, 9_000, LIMITS.leaf_bytes, 40_000])
THEN = st.sampled_from([0.0, 0.05, 0.5, 2.0])
"""How long the world goes on after a step, seconds."""
HEAL_S = 3 * LIMITS.idle_timeout_s


class Side:
    """One application: what it did, and what it was told."""

    def __init__(self, node: Node, address, peer: bytes, peer_address) -> None:
        self.node = node
        self.address = address
        self.peer = peer
        self.peer_address = peer_address
        self.epoch = 0
        """How many sessions it has had."""
        self.is_open = False
        self.sent = 0
        """Messages sent in this session."""
        self.heard: list[tuple[int, int]] = []
        """Messages received in this session: epoch of the sender, its number."""
        self.is_keen = True
        """Whether it accepts each offer as soon as there is room."""
        self.offers: list[int] = []
        self.accepted: set[int] = set()
        self.outgoing: dict[int, bytes] = {}


class Applications(RuleBasedStateMachine):
    """Two applications on two endpoints."""

    @initialize(seed=st.integers(0, 2**32), link=st.sampled_from(LINKS[:4]))
    def start(self, seed, link):
        self.pair = Pair(seed, CLEAN)
        self.rng = random.Random(seed)
        self.objects: dict[bytes, bytes] = {}
        self.numbers: Counter = Counter()
        self.recorded: list[tuple[Any, Any, bytes]] = []
        self.sides = {
            "a": Side(self.pair.a, A, self.pair.id_b, B),
            "b": Side(self.pair.b, B, self.pair.id_a, A),
        }
        self.pair.network.tap = self.see_datagram
        for side in self.sides.values():
            side.node.on_event = lambda event, side=side: self.see_event(side, event)
        self.connect("a", 0.2)
        self.change_the_link(link, None)

    # Safety

    def see_datagram(self, _now, source, destination, data):
        assert len(data) <= LIMITS.max_datagram_bytes
        if packet_form(data) in {PacketForm.FRAMES, PacketForm.BULK} and (source, destination, data) not in (
            self.replayed
        ):
            self.numbers[source, data[1:17]] += 1
            assert self.numbers[source, data[1:17]] == 1, "a packet number was used twice"
        if len(self.recorded) < 50:
            self.recorded.append((source, destination, data))

    replayed: tuple = ()

    def see_event(self, side: Side, event):
        match event:
            case ConnectionEstablished(peer=peer, address=address):
                assert not side.is_open
                assert (peer, address) == (side.peer, side.peer_address)
                side.is_open = True
                side.epoch += 1
                side.sent = 0
                side.heard, side.offers = [], []
                side.accepted, side.outgoing = set(), {}
                return
            case ConnectFailed(code=code):
                assert code == ErrorCode.E_HS_TIMEOUT
                return
        assert side.is_open, f"{event} outside of a session"
        match event:
            case ConnectionLost():
                assert not side.outgoing, "an offer was never answered for"
                side.is_open = False
            case MessageReceived(data=data):
                epoch, number = int.from_bytes(data[:4], "big"), int.from_bytes(data[4:8], "big")
                assert number == len(side.heard), "a message is missing, out of order or there twice"
                assert not side.heard or epoch == side.heard[0][0], "messages of two sessions in one"
                side.heard.append((epoch, number))
            case OfferReceived(transfer=transfer, root=root, size=size):
                assert len(self.objects[root]) == size
                side.offers.append(transfer)
                if side.is_keen:
                    self.accept(side)
            case ObjectArrived(transfer=transfer, root=root, header=header, body=body):
                assert transfer in side.accepted
                side.accepted.remove(transfer)
                assert bytes(body) == self.objects[root]
                assert header == root[:8]
                if side.is_keen:
                    self.accept(side)
            case ObjectSent(transfer=transfer, root=root):
                assert side.outgoing.pop(transfer) == root
            case TransferFailed(transfer=transfer, root=root, outgoing=True):
                assert side.outgoing.pop(transfer) == root
            case TransferFailed(transfer=transfer):
                side.accepted.discard(transfer)
                side.offers = [offer for offer in side.offers if offer != transfer]

    @invariant()
    def both_sides_agree_with_their_endpoints(self):
        for side in getattr(self, "sides", {}).values():
            assert side.node.machine.peers() == ((side.peer,) if side.is_open else ())

    # What applications do

    @rule(
        name=SIDES,
        messages=st.lists(st.integers(0, 3000), max_size=8),
        objects=st.lists(SIZES, max_size=3),
        then_s=THEN,
    )
    def talk(self, name, messages, objects, then_s):
        side = self.sides[name]
        machine = side.node.machine
        for size in messages:
            body = side.epoch.to_bytes(4, "big") + side.sent.to_bytes(4, "big") + bytes(size)
            if machine.send_message(side.peer, Channel.GOSSIP, body, now=self.pair.now):
                assert side.is_open
                side.sent += 1
        for size in objects:
            body = self.rng.randbytes(size)
            leaves = leaf_hashes(body)
            root = merkle_root(leaves)
            self.objects[root] = body
            transfer = machine.offer_object(
                side.peer, root, b"".join(leaves), root[:8], memoryview(body), now=self.pair.now
            )
            if transfer is not None:
                side.outgoing[transfer] = root
        self.wait(then_s)

    @rule(name=SIDES, keen=st.booleans())
    def accept_what_is_offered(self, name, keen):
        """From now on at once (keen), or once now and no more."""
        side = self.sides[name]
        side.is_keen = keen
        self.accept(side)
        self.pair.network.settle(side.node)

    def accept(self, side: Side) -> None:
        for transfer in list(side.offers):
            if side.node.machine.accept_object(side.peer, transfer, now=self.pair.now):
                side.offers.remove(transfer)
                side.accepted.add(transfer)

    @rule(name=SIDES, what=st.sampled_from(["an offer", "what comes in", "what goes out"]), then_s=THEN)
    def turn_down(self, name, what, then_s):
        side = self.sides[name]
        transfers = {
            "an offer": side.offers,
            "what comes in": sorted(side.accepted),
            "what goes out": sorted(side.outgoing),
        }[what]
        if transfers and what == "what goes out":
            side.node.machine.withdraw_object(
                side.peer, transfers[0], ErrorCode.SUPERSEDED, now=self.pair.now
            )
            del side.outgoing[transfers[0]]
        elif transfers:
            side.node.machine.refuse_object(side.peer, transfers[0], ErrorCode.NOT_WANTED, now=self.pair.now)
            side.accepted.discard(transfers[0])
            side.offers = [offer for offer in side.offers if offer != transfers[0]]
        self.wait(then_s)

    @rule(name=SIDES, then_s=THEN)
    def end_the_session(self, name, then_s):
        side = self.sides[name]
        side.node.machine.disconnect(side.peer, ErrorCode.NO_ERROR, "enough", now=self.pair.now)
        self.wait(then_s)

    @rule(name=st.sampled_from(["a", "b", "both"]), then_s=THEN)
    def connect(self, name, then_s):
        for side in self.sides.values() if name == "both" else [self.sides[name]]:
            side.node.machine.connect(side.peer_address, now=self.pair.now)
        self.wait(then_s)

    # What the world does

    @rule(seconds=st.sampled_from([0.001, 0.03, 0.2, 1.0, 5.0, 70.0]))
    def wait(self, seconds):
        self.pair.run(limit_s=seconds)

    @rule(link=st.sampled_from(LINKS), direction=st.sampled_from([(A, B), (B, A), None]))
    def change_the_link(self, link, direction):
        for source, destination in [(A, B), (B, A)] if direction is None else [direction]:
            self.pair.network.set_link(source, destination, link)

    @rule(name=SIDES)
    def let_a_clock_go_back(self, name):
        self.sides[name].node.machine.step_back()

    @precondition(lambda self: self.recorded)
    @rule(index=st.integers(0, 49), position=st.integers(0, 2000), mask=st.integers(0, 255))
    def replay(self, index, position, mask):
        """Let an old datagram come again, as it was (mask 0) or with one byte changed."""
        source, destination, data = self.recorded[index % len(self.recorded)]
        forged = bytearray(data)
        changed = position % len(forged)
        forged[changed] ^= mask
        self.replayed = ((source, destination, bytes(forged)),)
        self.pair.network.inject(source, destination, bytes(forged))
        self.replayed = ()

    # The end

    def teardown(self):
        if not hasattr(self, "sides"):
            return
        for source, destination in ((A, B), (B, A)):
            self.pair.network.set_link(source, destination, CLEAN)
        self.pair.run(limit_s=HEAL_S)
        for name in self.sides:
            self.accept_what_is_offered(name, keen=True)
        self.pair.run(limit_s=HEAL_S)
        one, other = self.sides.values()
        assert one.is_open == other.is_open, "one side still believes in a session that the other has lost"
        if one.is_open:
            for sender, receiver in ((one, other), (other, one)):
                assert receiver.heard == [(sender.epoch, number) for number in range(sender.sent)]
                assert not receiver.accepted, "an accepted object never arrived"
        for side in self.sides.values():
            side.node.machine.close(now=self.pair.now)
            self.pair.network.settle(side.node)
        self.pair.run(limit_s=LIMITS.close_timeout_s)
        for side in self.sides.values():
            assert side.node.machine.drained
            assert side.node.machine.deadline() is None
            assert not side.is_open


TestApplications = Applications.TestCase
TestApplications.settings = settings(max_examples=60, stateful_step_count=30)


def test_a_whole_life_leaves_the_state_alone_where_it_must():
    """One history with the deep checker: calls that must change nothing are compared with before."""
    pair = Pair(3, Link(delay_s=0.02, jitter_s=0.02, loss=0.1, duplicate=0.1, corrupt=0.05), deep=True)
    machine = pair.b.machine
    pair.b.on_event = lambda event: (
        machine.accept_object(event.peer, event.transfer, now=pair.now)
        if isinstance(event, OfferReceived)
        else None
    )
    pair.connect()
    body = random.Random(1).randbytes(20_000)
    leaves = leaf_hashes(body)
    assert pair.a.machine.send_message(pair.id_b, Channel.GOSSIP, bytes(3000), now=pair.now)
    pair.a.machine.offer_object(
        pair.id_b, merkle_root(leaves), b"".join(leaves), b"", memoryview(body), now=pair.now
    )
    assert pair.run(lambda: events_of(pair.a, ObjectSent), limit_s=60.0)
    pair.a.machine.step_back()
    pair.a.machine.handle_timer(now=pair.now)
    pair.a.machine.close(now=pair.now)
    pair.b.machine.close(now=pair.now)
    assert pair.run(lambda: pair.a.machine.drained and pair.b.machine.drained, limit_s=10.0)
