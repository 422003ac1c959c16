"""The machines over a plain ordered pipe, with no transport: handshake, then gossip, then a restart."""

from __future__ import annotations

import hashlib
import random

import pytest

from quinkgl.crypto.identity import Identity
from quinkgl.protocol.gossip import Accept, Gossip, OfferOut, Refuse, UpdateReceived
from quinkgl.protocol.manifest_handshake import ManifestAgreed, ManifestHandshake, Terms
from quinkgl.testing.carrier import OrderedPipe
from quinkgl.testing.contract import Checked

SWARM = bytes(32)
TERMS = Terms(SWARM, 3, "sha256:00", (64,), (10,), "FedAvg", "Random", False, 0, None, 1 << 20)
UNIX = 1_900_000_000.0


class Peer:
    """A whole peer of nothing but machines; a WebSocket or a FIFO would carry these five messages as well."""

    def __init__(self, number, *, now, life=0):
        self.identity = Identity.from_seed(bytes([number]) * 32)
        self.key = self.identity.peer_id
        self.gossip = Checked(
            Gossip(
                self.identity,
                SWARM,
                rng=random.Random(number * 100 + life),
                now=now,
                unix_now=UNIX + now,
                offer_interval_s=0.0,
            ),
            deep=False,
            now=now,
        )
        self.handshakes = {}
        self.bodies = {}
        self.offers = {}
        self.transfer = 0
        self.got = []
        self.refused = []
        self.round = 0
        self.life = life

    def meet(self, other, *, initiator, now):
        handshake = ManifestHandshake(TERMS, role_initiator=initiator, now=now, unix_now=UNIX + now)
        self.handshakes[other] = Checked(handshake, deep=False, now=now)

    def train(self, now):
        """One round: make a body, offer it to everybody."""
        self.round += 1
        body = body_of(self.key, self.life, self.round)
        root = hashlib.sha256(body).digest()
        self.bodies[root] = body
        self.gossip.set_round(self.round, now=now)
        targets = [peer for peer, handshake in self.handshakes.items() if handshake.state.name == "AGREED"]
        self.gossip.publish(
            root, len(body), round=self.round, codec=1, sample_count=1, targets=targets, now=now
        )

    def receive(self, source, message, now):
        match message:
            case ("manifest", data):
                self.handshakes[source].receive_message(data, now=now)
            case ("offer", transfer, root, size, header):
                self.gossip.object_offered(source, transfer, root, size, header, now=now)
                self.offers[source, transfer] = root
            case ("want", transfer):
                yield source, ("body", transfer, self.bodies[self.offers[transfer]])
            case ("body", transfer, body):
                if hashlib.sha256(body).digest() == self.offers[source, transfer]:
                    self.gossip.object_received(source, transfer, body, now=now)
            case ("refuse", code):
                self.refused.append(code)

    def drain(self, now):
        """What the machines have to say, as (target, message); what they report is kept."""
        for other, handshake in self.handshakes.items():
            drained = handshake.drain(now)
            for data in drained.of("next_message"):
                yield other, ("manifest", data)
            for event in drained.events:
                assert isinstance(event, ManifestAgreed)
                self.gossip.peer_connected(other, now=now)
        drained = self.gossip.drain(now)
        for event in drained.events:
            assert isinstance(event, UpdateReceived)
            self.got.append((event.peer, event.header.round, bytes(event.body), event.staleness))
        for action in drained.of("next_action"):
            match action:
                case OfferOut(peer, root, header):
                    self.transfer += 1
                    self.offers[self.transfer] = root
                    yield peer, ("offer", self.transfer, root, len(self.bodies[root]), header)
                case Accept(peer, transfer):
                    yield peer, ("want", transfer)
                case Refuse(peer, _, code):
                    yield peer, ("refuse", code)


def body_of(key, life, round):
    return b"%d/%d/%d" % (key[0], life, round)


class Table:
    """Peers around a table, each pair joined by two pipes."""

    def __init__(self, count, seed):
        self.rng = random.Random(seed)
        self.peers = [Peer(number + 1, now=0.0) for number in range(count)]
        self.now = 0.0
        self.pipes = {}
        for index, one in enumerate(self.peers):
            for other in self.peers[:index]:
                self.join(one, other)

    def join(self, one, other):
        for source, target, initiator in ((one, other, True), (other, one, False)):
            self.pipes[source.key, target.key] = OrderedPipe(lambda: self.rng.random() * 0.3)
            source.meet(target.key, initiator=initiator, now=self.now)

    def restart(self, peer):
        """A peer loses everything but its key, and comes back."""
        index = self.peers.index(peer)
        successor = Peer(index + 1, now=self.now, life=1)
        self.peers[index] = successor
        for other in self.peers:
            if other is not successor:
                other.gossip.peer_disconnected(successor.key, now=self.now)
                self.join(successor, other)
        return successor

    def run(self, seconds):
        end = self.now + seconds
        while self.now < end:
            self.now += 0.05
            for peer in self.peers:
                for (source, target), pipe in self.pipes.items():
                    while target == peer.key and (message := pipe.receive(self.now)) is not None:
                        self.send(peer, list(peer.receive(source, message, self.now)))
                self.send(peer, list(peer.drain(self.now)))

    def send(self, peer, messages):
        for target, message in messages:
            self.pipes[peer.key, target].send(message, self.now)

    def train(self):
        for peer in self.peers:
            peer.train(self.now)
            self.send(peer, list(peer.drain(self.now)))


@pytest.mark.parametrize("seed", range(3))
def test_updates_travel_whole_fresh_and_in_order(seed):
    table = Table(3, seed)
    table.run(2.0)
    for _ in range(12):
        table.train()
        table.run(1.0)
    for peer in table.peers:
        for other in table.peers:
            got = [update for update in peer.got if update[0] == other.key]
            if other is not peer:
                assert [round for _, round, _, _ in got] == list(range(1, 13)), f"seed {seed}"
                assert [body for _, _, body, _ in got] == [
                    body_of(other.key, 0, round) for round in range(1, 13)
                ]
                assert {staleness for *_, staleness in got} == {0}
        assert peer.refused == []


@pytest.mark.parametrize("seed", range(3))
def test_when_rounds_overtake_transfers_the_newest_win(seed):
    table = Table(3, seed)
    table.run(2.0)
    for _ in range(40):
        table.train()
        table.run(0.1)
    table.run(2.0)
    for peer in table.peers:
        for other in table.peers:
            rounds = [round for key, round, _, _ in peer.got if key == other.key]
            assert rounds == sorted(set(rounds)), f"seed {seed}"
            if other is not peer:
                assert rounds[-1] == 40


def test_a_peer_that_lost_everything_but_its_key_rejoins_at_once():
    table = Table(3, 9)
    table.run(2.0)
    for _ in range(50):
        table.train()
        table.run(0.7)
    lost = table.peers[0]
    successor = table.restart(lost)
    table.run(2.0)
    others = table.peers[1:]
    before = [len(peer.got) for peer in others]
    for _ in range(3):
        table.train()
        table.run(1.0)
    for peer, had in zip(others, before, strict=True):
        new = [round for key, round, _, _ in peer.got[had:] if key == successor.key]
        assert new == [1, 2, 3]
    assert [round for key, round, _, _ in successor.got if key == others[0].key] == [51, 52, 53]
