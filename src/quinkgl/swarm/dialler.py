"""Whom to call: the addresses that were given, and the peers that others told of."""

from __future__ import annotations

from collections import deque
from collections.abc import Sized

from quinkgl.protocol.membership import Membership
from quinkgl.swarm.events import ConnectFailed, SwarmConfig, SwarmEvent
from quinkgl.transport import Endpoint
from quinkgl.wire.addresses import Address

_TRIES = 3
"""How often all addresses of a discovered peer are tried before it counts as out of reach.

Membership suggests it again in a later shuffle interval, so a path that is down for a moment costs no
neighbour.
"""


class Dialler:
    """Opens sessions, and decides what a failed one means.

    An address that was given is kept: its failure is reported, and it is tried again once no peer is left. Of
    a peer that was discovered, every address is tried in turn; its failure concerns membership alone.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        membership: Membership,
        config: SwarmConfig,
        events: deque[SwarmEvent],
        strangers: Sized = (),
    ) -> None:
        """``strangers`` has the sessions that are no member's and so are no company."""
        self._strangers = strangers
        self._endpoint = endpoint
        self._membership = membership
        self._config = config
        self._events = events
        self._given: dict[Address, bytes | None] = {}
        self._untried: dict[bytes, tuple[Address, ...]] = {}
        self._failed: dict[bytes, int] = {}
        self.redial_at: float | None = None
        self.unreachable = 0
        """Discovered peers that no address led to."""

    def connect(self, address: Address, expected_peer: bytes | None, *, now: float) -> None:
        """Call a given address, now and whenever nobody is left."""
        self._given[address] = expected_peer
        self._endpoint.connect(address, expected_peer=expected_peer, now=now)

    def on_discovered(self, peer: bytes, addresses: tuple[Address, ...], *, now: float) -> None:
        """Call a peer that others told of, while there is need for neighbours."""
        wanted = self._company() < self._config.target_peers
        if wanted and peer not in self._untried and self._endpoint.address_of(peer) is None:
            self._untried[peer] = addresses
            self._call_next(peer, now)

    def on_established(self, peer: bytes) -> None:
        """There is a session with a peer, whoever opened it."""
        self._untried.pop(peer, None)
        self._failed.pop(peer, None)

    def on_failed(
        self, address: Address, expected_peer: bytes | None, code: int, reason: str, *, now: float
    ) -> None:
        """A call came to nothing."""
        if address in self._given and self._given[address] in {None, expected_peer}:
            self._events.append(ConnectFailed(address, expected_peer, code, reason))
            self.plan_redial(now=now)
        elif expected_peer is not None:
            self._call_next(expected_peer, now)

    def plan_redial(self, *, now: float) -> None:
        """Nobody may be left: then call the given addresses again after a while."""
        if self._given and not self._company() and self.redial_at is None:
            self.redial_at = now + self._config.redial_s

    def handle_timer(self, *, now: float) -> None:
        """Call the given addresses again if it is time to."""
        if self.redial_at is None or self.redial_at > now:
            return
        self.redial_at = None
        if not self._company():
            for address, expected_peer in self._given.items():
                self._endpoint.connect(address, expected_peer=expected_peer, now=now)

    def _company(self) -> int:
        """How many sessions there are with members, or with what may prove to be one."""
        return len(self._endpoint.peers()) - len(self._strangers)

    def _call_next(self, peer: bytes, now: float) -> None:
        # M-042
        untried = self._untried.pop(peer, ())
        if self._endpoint.address_of(peer) is not None:
            return
        if untried:
            self._untried[peer] = untried[1:]
            self._endpoint.connect(untried[0], expected_peer=peer, now=now)
            return
        failed = self._failed.pop(peer, 0) + 1
        if failed < _TRIES:
            self._failed[peer] = failed
        else:
            self.unreachable += 1
            self._membership.peer_unreachable(peer, now=now)
