"""One endpoint and many newcomers, some forged: who gets a session, and what is kept and answered."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from quinkgl.testing.contract import Checked
from quinkgl.testing.endpoints import A, make_endpoint, make_identity
from quinkgl.testing.network import Link, VirtualNetwork
from quinkgl.testing.strategies import datagrams, mangled
from quinkgl.transport import (
    ConnectFailed,
    ConnectionEstablished,
    ConnectionLost,
    EndpointConfig,
)
from quinkgl.wire.errors import ErrorCode
from quinkgl.wire.messages.session import TransportParameters

BUDGET = settings(max_examples=max(1, settings.default.max_examples // 6), stateful_step_count=25)
PLACES = 5
ROOM = 3
"""Sessions that the endpoint takes."""


def place(index: int) -> tuple[str, int]:
    return (f"198.51.{index}.7", 5000 + index)


class Newcomers(RuleBasedStateMachine):
    """An endpoint with room for three; five that come and go, over a good link, amid forged datagrams."""

    @initialize(wants_cookies=st.booleans(), loss=st.sampled_from([0.0, 0.1]))
    def start(self, wants_cookies, loss) -> None:
        self.network = VirtualNetwork(3, Link(delay_s=0.02, loss=loss))
        config = EndpointConfig(
            connections=ROOM,
            init_rate_total_per_s=0 if wants_cookies else 200,
            parameters=TransportParameters(idle_timeout_s=10.0),
        )
        self.server = self.network.add(A, Checked(make_endpoint(1, config=config), deep=False, now=0.0))
        self.server.on_event = self.see
        self.wants_cookies = wants_cookies
        self.open: set[bytes] = set()
        """Peers with whom the server says that it has a session."""
        self.clients: dict[int, bytes] = {}
        """Which identity is at which place."""
        self.outcomes: dict[int, list[object]] = {}
        """What those were told who are there and wait."""
        self.known: set[bytes] = set()
        """Every identity there ever was."""
        self.lives = 0
        self.network.tap = self.see_datagram
        self.received = dict.fromkeys(map(place, range(PLACES)), 0)
        self.answered = dict.fromkeys(map(place, range(PLACES)), 0)
        self.established_at: set[tuple[str, int]] = set()

    def see(self, event: object) -> None:
        match event:
            case ConnectionEstablished(peer=peer, address=address):
                assert peer not in self.open
                assert peer in self.known, "a session with nobody"
                self.open.add(peer)
                self.established_at.add(address)
                assert len(self.open) <= ROOM
            case ConnectionLost(peer=peer):
                self.open.remove(peer)

    def see_datagram(self, _now, source, destination, data) -> None:
        """Nobody is answered with more than three times what came from there before it has a session."""
        if source == A and destination in self.answered and destination not in self.established_at:
            self.answered[destination] += len(data)
            assert self.answered[destination] <= 3 * self.received[destination], "amplified"
        elif destination == A and source in self.received:
            self.received[source] += len(data)

    @rule(index=st.integers(0, PLACES - 1), seconds=st.sampled_from([0.0, 0.3, 2.0]))
    def come(self, index, seconds) -> None:
        """Somebody new at a place, in the stead of whoever was there."""
        self.lives += 1
        seed = 10 + self.lives
        node = self.network.add(
            place(index), Checked(make_endpoint(seed, now=self.network.now), deep=False, now=self.network.now)
        )
        self.clients[index] = make_identity(seed).peer_id
        self.known.add(self.clients[index])
        outcome = self.outcomes[index] = []
        node.on_event = outcome.append
        node.machine.connect(A, now=self.network.now)
        self.network.settle(node)
        self.network.run(limit_s=seconds)

    @precondition(lambda self: self.clients)
    @rule(index=st.integers(0, PLACES - 1))
    def leave(self, index) -> None:
        node = self.network.nodes.get(place(index))
        if node is not None:
            self.outcomes.pop(index, None)
            node.machine.close(now=self.network.now)
            self.network.settle(node)

    @rule(index=st.integers(0, PLACES - 1), data=datagrams() | mangled(datagrams()))
    def forge(self, index, data) -> None:
        """Something arrives that no member has sent; nothing comes of it but a count."""
        before = set(self.open), dict(self.server.machine.stats.dropped)
        self.network.inject(place(index), A, data)
        self.network.run(limit_s=0.05)
        if not self.network.link.loss and before[0] == self.open:
            assert set(before[1]) <= set(self.server.machine.stats.dropped)

    @rule(seconds=st.sampled_from([0.1, 1.0, 15.0]))
    def time_passes(self, seconds) -> None:
        self.network.run(limit_s=seconds)

    @invariant()
    def the_server_has_the_sessions_that_it_told_of(self) -> None:
        if not hasattr(self, "server"):
            return
        assert set(self.server.machine.peers()) == self.open
        for name, (held, most) in self.server.machine.occupancy().items():
            assert held <= most, name

    def teardown(self) -> None:
        """Heal: who tried last is in, or was told that there is no room, or that nobody answered."""
        if not hasattr(self, "server"):
            return
        self.network.link = Link(delay_s=0.02)
        self.network.run(limit_s=60.0)
        for index, outcome in self.outcomes.items():
            assert outcome, f"{place(index)} was told nothing"
            last = outcome[-1]
            if isinstance(last, ConnectFailed):
                assert last.code in {ErrorCode.E_HS_TIMEOUT, ErrorCode.E_BUSY}
        # With everybody gone there is room, and a newcomer gets in.
        for index in range(PLACES):
            self.leave(index)
        self.network.run(limit_s=30.0)
        assert not self.open
        self.come(0, 5.0)
        assert self.open == {self.clients[0]}


class TestNewcomers(Newcomers.TestCase):
    settings = BUDGET
