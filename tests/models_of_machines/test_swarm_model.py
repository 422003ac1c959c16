"""Three members of a swarm on a fake network against a model of who is connected and what must arrive.

The model knows four things: what was published to whom, which bodies a member may ever be handed, that each
comes at most once, and that once the network is good and nothing happens any more, everybody is connected and
the newest update of each author is with everybody it was meant for.
"""

from __future__ import annotations

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from quinkgl.swarm import PeerConnected, PeerDisconnected, SwarmConfig, UpdateDelivered, UpdateReceived
from quinkgl.testing.network import Link, Node
from quinkgl.testing.swarms import SwarmNetwork
from quinkgl.transport import ConnectionConfig, EndpointConfig
from quinkgl.wire.messages.session import TransportParameters

BUDGET = settings(max_examples=max(1, settings.default.max_examples // 8), stateful_step_count=20)
GOOD = Link(delay_s=0.02)
LINKS = [
    GOOD,
    Link(delay_s=0.02, loss=0.15),
    Link(delay_s=0.05, jitter_s=0.1, duplicate=0.3),
    Link(delay_s=0.02, loss=0.05, corrupt=0.1),
    Link(loss=1.0),
]
QUICK = SwarmConfig(
    endpoint=EndpointConfig(
        parameters=TransportParameters(idle_timeout_s=5.0),
        connection=ConnectionConfig(keepalive_s=1.0),
        handshake_timeout_s=0.25,
        handshake_tries=3,
    ),
    offer_interval_s=0.0,
    redial_s=1.0,
)
COUNT = 3
MEMBERS = st.integers(0, COUNT - 1)
SIZES = st.sampled_from([1, 100, 4096, 4097, 40_000])
HEAL_S = 90.0


class Three(RuleBasedStateMachine):
    """Three members, three links, and updates of all sizes."""

    @initialize(seed=st.integers(0, 1 << 16), link=st.sampled_from(LINKS[:-1]))
    def start(self, seed, link) -> None:
        self.net = SwarmNetwork(seed, GOOD)
        self.bodies = random.Random(seed)
        self.published: list[dict[int, tuple[bytes, bytes, set[int]]]] = [{} for _ in range(COUNT)]
        """By author and round: root, body, and the members that it was meant for."""
        self.heard: list[list[tuple[int, int]]] = [[] for _ in range(COUNT)]
        """By member: author and round of each update that it was handed."""
        self.confirmed: list[set[tuple[bytes, int]]] = [set() for _ in range(COUNT)]
        self.connected: list[set[bytes]] = [set() for _ in range(COUNT)]
        self.restarts = 0
        self.ids = [self.net.identity(index).peer_id for index in range(COUNT)]
        for index in range(COUNT):
            self.watch(self.net.add(config=QUICK), index)
        for index in range(1, COUNT):
            self.net.connect(index, 0)
        self.set_link(0, 1, link)
        self.run(0.5)

    def watch(self, node: Node, index: int) -> None:
        node.on_event = lambda event: self.see(index, event)

    def see(self, index: int, event: object) -> None:
        """Judge each event in the moment it is told."""
        match event:
            case PeerConnected(peer=peer):
                assert peer in self.ids
                assert peer != self.ids[index]
                assert peer not in self.connected[index], "connected twice"
                self.connected[index].add(peer)
            case PeerDisconnected(peer=peer):
                assert peer in self.connected[index], "gone without having been there"
                self.connected[index].remove(peer)
            case UpdateReceived(peer=peer, header=header, body=body):
                author = self.ids.index(header.author)
                assert peer == header.author, "handed on by somebody else"
                assert author != index
                root, expected, meant_for = self.published[author][header.round]
                assert (header.root, bytes(body)) == (root, expected), "not bit for bit what was published"
                assert index in meant_for, "never meant for this member"
                if (author, header.round) in self.heard[index]:
                    raise AssertionError("an update was handed over twice")
                rounds = [number for other, number in self.heard[index] if other == author]
                assert all(number < header.round for number in rounds), "an older update after a newer one"
                self.heard[index].append((author, header.round))
            case UpdateDelivered(peer=peer, root=root):
                found = [number for number, update in self.published[index].items() if update[0] == root]
                assert found, "a delivery of what was never published"
                self.confirmed[index].add((peer, found[-1]))

    def set_link(self, first: int, second: int, link: Link) -> None:
        ends = self.net.address(first), self.net.address(second)
        self.net.network.set_link(*ends, link)
        self.net.network.set_link(*ends[::-1], link)

    def run(self, seconds: float) -> None:
        self.net.network.run(limit_s=seconds)

    @rule(first=MEMBERS, step=st.integers(1, COUNT - 1), link=st.sampled_from(LINKS))
    def change_a_link(self, first, step, link) -> None:
        self.set_link(first, (first + step) % COUNT, link)

    @rule(seconds=st.sampled_from([0.05, 0.5, 3.0, 8.0]))
    def time_passes(self, seconds) -> None:
        self.run(seconds)

    @rule(author=MEMBERS, size=SIZES, then=st.sampled_from([0.0, 0.1, 2.0]))
    def publish(self, author, size, then) -> None:
        targets = [self.ids.index(view.peer) for view in self.net.members[author].machine.peers()]
        if not targets:
            return
        number = max(self.published[author], default=0) + 1
        body = self.bodies.randbytes(size)
        self.published[author][number] = (b"", body, set(targets))
        root = self.net.publish(author, body, round=number)
        self.published[author][number] = (root, body, set(targets))
        self.run(then)

    @rule(first=MEMBERS, step=st.integers(1, COUNT - 1))
    def hang_up(self, first, step) -> None:
        other = self.ids[(first + step) % COUNT]
        if other in self.connected[first]:
            self.net.members[first].machine.disconnect(other, now=self.net.network.now)
            self.net.network.settle_all()

    @precondition(lambda self: self.restarts < 2)
    @rule(member=MEMBERS)
    def restart(self, member) -> None:
        """Crash a member, and start it with what it had saved: it may not be handed an update again."""
        self.restarts += 1
        state = self.net.members[member].machine.state()
        self.net.network.remove(self.net.address(member))
        self.connected[member].clear()
        node = self.net.add(index=member, config=QUICK, state=state, life=self.restarts)
        self.watch(node, member)
        self.net.connect(member, (member + 1) % COUNT)
        self.net.network.settle_all()

    @invariant()
    def views_are_what_was_told(self) -> None:
        if not hasattr(self, "net"):
            return
        for node, connected in zip(self.net.members, self.connected, strict=True):
            assert {view.peer for view in node.machine.peers()} == connected

    def teardown(self) -> None:
        """Heal: all meet; then one more update of each reaches everybody, bit for bit."""
        if not hasattr(self, "net"):
            return
        for first in range(COUNT):
            self.set_link(first, (first + 1) % COUNT, GOOD)
        for member in range(COUNT):
            self.net.connect(member, (member + 1) % COUNT)
        self.net.network.settle_all()
        everybody = [set(self.ids) - {own} for own in self.ids]
        assert self.net.network.run(lambda: self.connected == everybody, limit_s=HEAL_S), "they do not meet"
        last = [max(published, default=0) + 1 for published in self.published]
        for author in range(COUNT):
            self.publish(author, 5000, 0.0)
        wanted = [
            {(author, last[author]) for author in range(COUNT) if author != index} for index in range(COUNT)
        ]
        assert self.net.network.run(
            lambda: all(want <= set(heard) for want, heard in zip(wanted, self.heard, strict=True)),
            limit_s=HEAL_S,
        ), f"not everything arrived: {self.heard}, {last}"
        self.run(5.0)
        for author in range(COUNT):
            assert {(peer, last[author]) for peer in everybody[author]} <= self.confirmed[author]


class TestThree(Three.TestCase):
    settings = BUDGET
