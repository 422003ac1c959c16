"""Sessions: each from its first message on, whose manifest agrees, and where its messages go.

A session is one of the swarm's from the moment that both sides have agreed to the manifest; only then do the
machines of the swarm hear of its peer, and only then are its other messages taken.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from quinkgl.protocol.gossip import Gossip
from quinkgl.protocol.manifest_handshake import (
    HandshakeState,
    ManifestAgreed,
    ManifestHandshake,
    ManifestRefused,
    Terms,
)
from quinkgl.protocol.membership import Membership
from quinkgl.protocol.scores import Deed
from quinkgl.swarm.counts import Counts
from quinkgl.swarm.deliveries import Deliveries
from quinkgl.swarm.dialler import Dialler
from quinkgl.swarm.events import PeerConnected, PeerDisconnected, PeerRefused, PeerView, SwarmEvent
from quinkgl.swarm.fingerprints import Fingerprints
from quinkgl.swarm.two_sided import TwoSided
from quinkgl.transport import ConnectionEstablished, ConnectionLost, Endpoint, PathChanged
from quinkgl.wire.addresses import Address
from quinkgl.wire.control import Channel
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError


@dataclass(slots=True)
class Neighbour:
    """One session; ``handshake`` decides whether it is one of the swarm's, ``connected`` tells that it is.

    ``round`` is that of the last update taken from the peer.
    """

    handshake: ManifestHandshake
    address: Address
    incoming: bool
    record: bytes
    connected: bool = False
    round: int | None = None


class Sessions:
    """All sessions of a swarm, and the way of each message to the machine that it is for."""

    def __init__(
        self,
        terms: Terms,
        *,
        endpoint: Endpoint,
        membership: Membership,
        gossip: Gossip,
        deliveries: Deliveries,
        fingerprints: Fingerprints,
        two_sided: TwoSided,
        dialler: Dialler,
        events: deque[SwarmEvent],
        counts: Counts,
    ) -> None:
        self._terms = terms
        self._endpoint = endpoint
        self._membership = membership
        self._gossip = gossip
        self._deliveries = deliveries
        self._fingerprints = fingerprints
        self._two_sided = two_sided
        self._dialler = dialler
        self._events = events
        self._counts = counts
        self._neighbours: dict[bytes, Neighbour] = {}

    # What there is

    def is_connected(self, peer: bytes) -> bool:
        """Whether there is a session with ``peer`` in which the manifest is agreed."""
        neighbour = self._neighbours.get(peer)
        return neighbour is not None and neighbour.connected

    def handshakes(self) -> list[ManifestHandshake]:
        """The manifest handshake of each session."""
        return [neighbour.handshake for neighbour in self._neighbours.values()]

    def unfinished(self) -> list[ManifestHandshake]:
        """The manifest handshakes that still wait for something: an agreed one never does."""
        return [neighbour.handshake for neighbour in self._neighbours.values() if not neighbour.connected]

    def note_round(self, peer: bytes, round: int) -> None:
        """An update of this round was taken from ``peer``."""
        neighbour = self._neighbours.get(peer)
        if neighbour is not None:
            neighbour.round = round

    def views(self, now: float) -> tuple[PeerView, ...]:
        """Return the peers that agreed to the manifest, in the order of their ids."""
        views: list[PeerView] = []
        for peer in sorted(self._neighbours):
            neighbour = self._neighbours[peer]
            if neighbour.connected:
                rtt = self._endpoint.rtt_of(peer) or 0.0
                scores = self._gossip.scores
                points, band = scores.points(peer, now=now), scores.band(peer, now=now)
                views.append(PeerView(peer, neighbour.address, rtt, neighbour.round, points, band))
        return tuple(views)

    # What the endpoint reports

    def on_established(self, event: ConnectionEstablished, *, now: float, unix_now: float) -> None:
        """There is a session: begin the manifest handshake."""
        handshake = ManifestHandshake(
            self._terms, role_initiator=not event.incoming, now=now, unix_now=unix_now
        )
        self._neighbours[event.peer] = Neighbour(handshake, event.address, event.incoming, event.record)

    def on_path_changed(self, event: PathChanged) -> None:
        """A session runs to another address of its peer."""
        neighbour = self._neighbours.get(event.peer)
        if neighbour is not None:
            neighbour.address = event.address

    def on_lost(self, event: ConnectionLost, *, now: float) -> None:
        """A session is over."""
        neighbour = self._neighbours.pop(event.peer)
        self._counts.add(neighbour.handshake.stats.dropped)
        self._deliveries.close(event.peer, event.code)
        self._fingerprints.close(event.peer, event.code)
        if neighbour.connected:
            self._membership.peer_disconnected(event.peer, now=now)
            self._gossip.peer_disconnected(event.peer, now=now)
            self._two_sided.close(event.peer, now=now)
            self._events.append(PeerDisconnected(event.peer, event.code, event.reason, event.by_remote))
        elif neighbour.handshake.state is not HandshakeState.REFUSED:
            self._on_lost_early(neighbour, event, now)
        self._dialler.plan_redial(now=now)

    def on_message(self, peer: bytes, channel: Channel, data: bytes, *, now: float) -> None:
        """Hand a message to the machine behind its channel; a peer that breaks the rules is disconnected."""
        try:
            self._route_untrusted(peer, self._neighbours[peer], channel, data, now)
        except RemoteProtocolError as error:
            self._counts.drop(error.code.name)
            if channel is not Channel.GOSSIP:  # which has counted it already
                self._gossip.scores.note(peer, Deed.INVALID, now=now)
            self._endpoint.disconnect(peer, error.code, error.message, now=now)

    # The handshakes

    def drain(self, now: float) -> bool:
        """Carry out what the handshakes have ready; whether there was anything."""
        ready = [each for each in self._neighbours.items() if each[1].handshake.has_output]
        for peer, neighbour in ready:
            self._drain_handshake(peer, neighbour, now)
        return bool(ready)

    def _on_lost_early(self, neighbour: Neighbour, event: ConnectionLost, now: float) -> None:
        """A session ended before the manifest was agreed, so nobody has heard of its peer yet."""
        replaced = event.code == ErrorCode.E_HS_DUP
        if neighbour.incoming or replaced:
            self._counts.drop("session_ended_early")
        else:
            self._dialler.on_failed(neighbour.address, event.peer, event.code, event.reason, now=now)

    def _route_untrusted(
        self, peer: bytes, neighbour: Neighbour, channel: Channel, data: bytes, now: float
    ) -> None:
        # H-002
        if channel is Channel.MANIFEST:
            neighbour.handshake.receive_message(data, now=now)
            # What follows its agreement in the same datagram is already a member's message.
            self._drain_handshake(peer, neighbour, now)
        elif not neighbour.connected:
            raise RemoteProtocolError(
                ErrorCode.E_FRAME_CONTEXT,
                "a message before the manifest was agreed",
                layer="swarm",
                peer=peer,
            )
        elif channel is Channel.MEMBERSHIP:
            self._membership.receive_message(peer, data, now=now)
        elif channel is Channel.FINGERPRINT:
            self._fingerprints.receive_message(peer, data, now=now)
        elif channel is Channel.EXCHANGE:
            self._two_sided.machine.receive_message(peer, data, now=now)
        else:
            self._gossip.receive_message(peer, data, now=now)

    def _drain_handshake(self, peer: bytes, neighbour: Neighbour, now: float) -> bool:
        busy = False
        handshake = neighbour.handshake
        while (message := handshake.next_message(now)) is not None:
            busy = True
            self._endpoint.send_message(peer, Channel.MANIFEST, message, now=now)
        while (event := handshake.next_event()) is not None:
            busy = True
            if isinstance(event, ManifestAgreed):
                self._on_agreed(peer, neighbour, now)
            else:
                self._on_refused(peer, neighbour, event, now)
        return busy

    def _on_agreed(self, peer: bytes, neighbour: Neighbour, now: float) -> None:
        neighbour.connected = True
        self._dialler.on_established(peer)
        self._fingerprints.open(peer, now=now)
        self._membership.peer_connected(peer, neighbour.record or None, now=now)
        self._gossip.peer_connected(peer, now=now)
        self._two_sided.machine.peer_connected(peer, now=now)
        self._events.append(PeerConnected(peer, neighbour.address, neighbour.incoming))
        if self._gossip.is_barred(peer):
            self._endpoint.disconnect(peer, ErrorCode.E_EQUIVOCATION, "two updates for one round", now=now)
        else:
            self._deliveries.open(peer, now=now)

    def _on_refused(self, peer: bytes, neighbour: Neighbour, event: ManifestRefused, now: float) -> None:
        # H-006
        reason = f"{event.field}: {event.reason}" if event.field else event.reason
        self._events.append(PeerRefused(peer, neighbour.address, event.code, reason, event.by_remote))
        self._endpoint.disconnect(peer, event.code, reason, now=now)
