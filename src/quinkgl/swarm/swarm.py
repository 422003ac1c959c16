"""Swarm: endpoint, manifest handshakes, membership and gossip behind one machine interface."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from quinkgl.crypto.identity import Identity
from quinkgl.crypto.psk import derive_member_keys
from quinkgl.manifest import SwarmManifest, check_model_fits
from quinkgl.protocol.gossip import (
    Accept,
    EquivocationDetected,
    Gossip,
    GossipAction,
    GossipEvent,
    OfferOut,
    Refuse,
)
from quinkgl.protocol.gossip import UpdateReceived as GossipUpdateReceived
from quinkgl.protocol.manifest_handshake import (
    HandshakeState,
    ManifestAgreed,
    ManifestHandshake,
    ManifestRefused,
    Terms,
)
from quinkgl.protocol.membership import Membership
from quinkgl.swarm.deliveries import Deliveries, Publication
from quinkgl.swarm.dialler import Dialler
from quinkgl.swarm.events import (
    Capabilities,
    PeerConnected,
    PeerDisconnected,
    PeerRefused,
    PeerView,
    SwarmClosed,
    SwarmConfig,
    SwarmEvent,
    SwarmStats,
    UpdateReceived,
)
from quinkgl.transport import (
    ConnectFailed,
    ConnectionEstablished,
    ConnectionLost,
    Endpoint,
    EndpointEvent,
    EndpointStats,
    MessageReceived,
    ObjectArrived,
    ObjectSent,
    OfferReceived,
    TransferFailed,
    Transmit,
    leaf_hashes,
    merkle_root,
)
from quinkgl.wire.addresses import Address
from quinkgl.wire.control import Channel
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from quinkgl.wire.exclusive import Exclusive, exclusive


@dataclass(slots=True)
class _Neighbour:
    """One session, from its first message on; ``handshake`` decides whether it is one of the swarm's."""

    handshake: ManifestHandshake
    address: Address
    incoming: bool
    record: bytes
    connected: bool = False
    round: int | None = None


class Swarm(Exclusive):
    """A member of one swarm: bytes and time in; datagrams, events and a deadline out.

    ``manifest`` is what all members hold byte for byte, ``capabilities`` describe the model that this node
    really runs, ``addresses`` are where others can reach it. ``state`` is what an earlier run's :meth:`state`
    returned. ``rng`` is the system's generator unless given; a seeded one needs
    ``insecure_deterministic_keys`` and is for simulation.

    Raises ManifestError when the capabilities are not those of the manifest.
    """

    def __init__(
        self,
        *,
        manifest: SwarmManifest,
        identity: Identity,
        capabilities: Capabilities,
        addresses: Sequence[Address] = (),
        join_secret: bytes = b"",
        config: SwarmConfig | None = None,
        state: Mapping[str, Any] | None = None,
        rng: random.Random | None = None,
        insecure_deterministic_keys: bool = False,
        now: float,
        unix_now: float,
    ) -> None:
        check_model_fits(
            manifest,
            arch_hash=capabilities.arch_hash,
            input_shape=capabilities.input_shape,
            output_shape=capabilities.output_shape,
        )
        self._config = config if config is not None else SwarmConfig()
        self._rng = rng if rng is not None else random.SystemRandom()
        keys = derive_member_keys(manifest.canonical_bytes(), join_secret)
        self.swarm_id = keys.swarm_id
        self.peer_id = identity.peer_id
        self._terms = _terms(manifest, capabilities, self.swarm_id, self._config.max_object_bytes)
        self._now = now
        self._unix_offset_s = unix_now - now
        self._endpoint = Endpoint(
            identity=identity,
            keys=keys,
            rng=self._rng,
            now=now,
            config=self._config.endpoint,
            insecure_deterministic_keys=insecure_deterministic_keys,
        )
        self._membership = Membership(identity, keys, rng=self._rng, now=now, unix_now=unix_now)
        self._gossip = Gossip(
            identity,
            self.swarm_id,
            rng=self._rng,
            now=now,
            unix_now=unix_now,
            max_object_bytes=self._config.max_object_bytes,
            offer_interval_s=self._config.offer_interval_s,
            offer_burst=self._config.offer_burst,
        )
        if state is not None:
            self._membership.restore(state["membership"], now=now)
            self._gossip.restore(state["gossip"], now=now)
        self._neighbours: dict[bytes, _Neighbour] = {}
        self._events: deque[SwarmEvent] = deque()
        self._deliveries = Deliveries(self._endpoint, self._events)
        self._dialler = Dialler(self._endpoint, self._membership, self._config, self._events)
        self._ended: dict[str, int] = {}
        self._updates_received = 0
        self._closing = False
        self._closed_reported = False
        self._membership.set_addresses(tuple(addresses), now=now)
        self._settle()

    # Commands

    @exclusive
    def connect(self, address: Address, *, expected_peer: bytes | None = None, now: float) -> None:
        """Join through the member at ``address``, who must be ``expected_peer`` where that is known.

        The address is kept: it is tried again when no peer is left. Answered by PeerConnected, PeerRefused or
        ConnectFailed.
        """
        self._check_open()
        now = self._clock(now)
        self._dialler.connect(address, expected_peer, now=now)
        self._settle()

    @exclusive
    def publish_update(
        self,
        body: bytes | bytearray | memoryview,
        *,
        round: int,
        sample_count: int,
        targets: Sequence[bytes],
        codec: int = 1,
        params: Mapping[int, Any] | None = None,
        metadata: Mapping[int, Any] | None = None,
        now: float,
    ) -> bytes:
        """Offer an update to ``targets`` and return its Merkle root.

        ``body`` is shared, not copied, and must not change until every target has it or is gone. Each target
        answers with UpdateDelivered or UpdateNotDelivered (SUPERSEDED when a newer update replaced this one
        before its turn came).
        """
        self._check_open()
        view = memoryview(body).cast("B").toreadonly()
        leaves = leaf_hashes(view)
        root = merkle_root(leaves)
        self._gossip.publish(
            root,
            len(view),
            round=round,
            codec=codec,
            sample_count=sample_count,
            params=params or {},
            metadata=metadata or {},
            targets=tuple(targets),
            now=max(now, self._now),
        )
        self._clock(now)
        self._deliveries.publish(Publication(root, b"".join(leaves), view))
        self._settle()
        self._deliveries.release()
        return root

    @exclusive
    def set_round(self, round: int, *, now: float) -> None:
        """Tell which round this node is in; offers are judged against it."""
        self._gossip.set_round(round, now=max(now, self._now))
        self._clock(now)
        self._settle()

    @exclusive
    def set_addresses(self, addresses: Sequence[Address], *, now: float) -> None:
        """Tell where others can reach this node; its signed record is issued anew."""
        self._membership.set_addresses(tuple(addresses), now=max(now, self._now))
        self._clock(now)
        self._settle()

    @exclusive
    def set_unix_time(self, unix_now: float, *, now: float) -> None:
        """Tell the wall-clock time again, after the system's clock was set."""
        self._gossip.set_unix_time(unix_now, now=max(now, self._now))  # raises for an impossible time
        now = self._clock(now)
        self._unix_offset_s = unix_now - now
        self._membership.set_unix_time(unix_now, now=now)
        self._settle()

    @exclusive
    def disconnect(
        self, peer: bytes, *, code: int = ErrorCode.NO_ERROR, reason: str = "", now: float
    ) -> None:
        """End the session with one peer; nothing happens when there is none."""
        now = self._clock(now)
        self._endpoint.disconnect(peer, code, reason, now=now)
        self._settle()

    @exclusive
    def close(self, *, now: float, code: int = ErrorCode.NO_ERROR, reason: str = "") -> None:
        """End every session. Idempotent; SwarmClosed follows when all peers were told."""
        now = self._clock(now)
        if self._closing:
            return
        self._closing = True
        self._endpoint.close(code, reason, now=now)
        self._settle()

    # What there is

    @property
    def drained(self) -> bool:
        """Whether the swarm was closed and nothing is left to send or to wait for."""
        return self._endpoint.drained

    def peers(self) -> tuple[PeerView, ...]:
        """Return the peers that agreed to the manifest, in the order of their ids."""
        views: list[PeerView] = []
        for peer in sorted(self._neighbours):
            neighbour = self._neighbours[peer]
            if neighbour.connected:
                rtt = self._endpoint.rtt_of(peer) or 0.0
                views.append(PeerView(peer, neighbour.address, rtt, neighbour.round))
        return tuple(views)

    def has_open_transfers(self) -> bool:
        """Whether an update, or word of one, is still on its way, in or out: closing now would cut it off."""
        return not self._endpoint.is_quiet()

    @property
    def stats(self) -> SwarmStats:
        """A snapshot of all counters."""
        endpoint = self._endpoint.stats
        copied = {item.name: getattr(endpoint, item.name) for item in fields(EndpointStats)}
        dropped = dict(endpoint.dropped)
        live = [neighbour.handshake.stats.dropped for neighbour in self._neighbours.values()]
        for part in (self._membership.stats.dropped, self._gossip.stats.dropped, self._ended, *live):
            for reason, count in part.items():
                dropped[reason] = dropped.get(reason, 0) + count
        if self._dialler.unreachable:
            dropped["discovered_peer_unreachable"] = self._dialler.unreachable
        copied["dropped"] = dropped
        return SwarmStats(
            **copied, updates_received=self._updates_received, updates_sent=self._deliveries.delivered
        )

    def state(self) -> dict[str, Any]:
        """Return what must survive a restart, as plain values.

        Record number, anchors, accepted rounds, roots seen.
        """
        return {"membership": self._membership.state(), "gossip": self._gossip.state()}

    # Input

    @exclusive
    def receive_datagram(
        self, data: bytes | memoryview, source: Address, *, now: float, segment_size: int | None = None
    ) -> None:
        """Take a datagram, or a run of datagrams of ``segment_size`` bytes.

        Never raises, whatever the bytes.
        """
        now = self._clock(now)
        self._endpoint.receive_datagram(data, source, now=now, segment_size=segment_size)
        self._settle()

    @exclusive
    def handle_timer(self, *, now: float) -> None:
        """Act on everything that is due; a spurious call does nothing."""
        now = self._clock(now)
        for machine in self._machines():
            due = machine.deadline()
            if due is not None and due <= now:
                machine.handle_timer(now=now)
        if not self._closing:
            self._dialler.handle_timer(now=now)
        self._settle()

    # Output

    @exclusive
    def next_event(self) -> SwarmEvent | None:
        """Take the next event."""
        return self._events.popleft() if self._events else None

    @exclusive
    def next_datagram(self, now: float) -> Transmit | None:
        """Build the next datagram, None when there is nothing to say or it must wait."""
        now = self._clock(now)
        return self._endpoint.next_datagram(now)

    def deadline(self) -> float | None:
        """When to call ``handle_timer``; not after ``now`` while output is ready."""
        due = self._next_deadline()
        return None if due is None else due[0]

    @property
    def deadline_reason(self) -> str:
        """What the deadline is for, in a word or two, for people."""
        due = self._next_deadline()
        return "nothing" if due is None else due[1]

    # Children: drained eagerly, their events translated, until nothing is left to do

    def _settle(self) -> None:
        busy = True
        while busy:
            busy = False
            for drain in (
                self._drain_endpoint,
                self._drain_handshakes,
                self._drain_membership,
                self._drain_gossip,
            ):
                busy = drain() or busy
        if self._closing and not self._closed_reported and self._endpoint.drained:
            self._closed_reported = True
            self._events.append(SwarmClosed())

    def _drain_endpoint(self) -> bool:
        busy = False
        while (event := self._endpoint.next_event()) is not None:
            busy = True
            self._on_endpoint_event(event)
        return busy

    def _on_endpoint_event(self, event: EndpointEvent) -> None:
        match event:
            case ConnectionEstablished():
                self._on_established(event)
            case ConnectionLost():
                self._on_lost(event)
            case ConnectFailed(address, expected, code, reason):
                self._dialler.on_failed(address, expected, code, reason, now=self._now)
            case MessageReceived(peer, channel, data):
                self._on_message(peer, channel, data)
            case OfferReceived(peer, transfer, root, size, header):
                if self._is_connected(peer):
                    self._gossip.object_offered(peer, transfer, root, size, header, now=self._now)
                else:
                    self._endpoint.refuse_object(peer, transfer, ErrorCode.E_FRAME_CONTEXT, now=self._now)
            case ObjectArrived(peer, transfer, _, _, body):
                self._gossip.object_received(peer, transfer, body, now=self._now)
            case ObjectSent(peer, transfer, root):
                self._gossip.object_delivered(peer, root, now=self._now)
                self._deliveries.on_delivered(peer, transfer, root, now=self._now)
            case TransferFailed(peer, transfer, root, code, outgoing):
                if outgoing:
                    self._deliveries.on_failed(peer, transfer, root, code, now=self._now)
                else:
                    self._gossip.object_failed(peer, transfer, code, now=self._now)

    def _on_established(self, event: ConnectionEstablished) -> None:
        handshake = ManifestHandshake(
            self._terms,
            role_initiator=not event.incoming,
            now=self._now,
            unix_now=self._now + self._unix_offset_s,
        )
        self._neighbours[event.peer] = _Neighbour(handshake, event.address, event.incoming, event.record)

    def _on_lost(self, event: ConnectionLost) -> None:
        neighbour = self._neighbours.pop(event.peer)
        self._count_ended(neighbour.handshake.stats.dropped)
        self._deliveries.close(event.peer, event.code)
        if neighbour.connected:
            self._membership.peer_disconnected(event.peer, now=self._now)
            self._gossip.peer_disconnected(event.peer, now=self._now)
            self._events.append(PeerDisconnected(event.peer, event.code, event.reason, event.by_remote))
        elif neighbour.handshake.state is not HandshakeState.REFUSED:
            self._on_lost_early(neighbour, event)
        self._dialler.plan_redial(now=self._now)

    def _on_lost_early(self, neighbour: _Neighbour, event: ConnectionLost) -> None:
        """A session ended before the manifest was agreed, so nobody has heard of its peer yet."""
        replaced = event.code == ErrorCode.E_HS_DUP
        if neighbour.incoming or replaced:
            self._count_ended({"session_ended_early": 1})
        else:
            self._dialler.on_failed(neighbour.address, event.peer, event.code, event.reason, now=self._now)

    def _on_message(self, peer: bytes, channel: Channel, data: bytes) -> None:
        """Hand a message to the machine behind its channel; a peer that breaks the rules is disconnected."""
        try:
            self._route_untrusted(peer, self._neighbours[peer], channel, data)
        except RemoteProtocolError as error:
            self._count_ended({error.code.name: 1})
            self._endpoint.disconnect(peer, error.code, error.message, now=self._now)

    def _route_untrusted(self, peer: bytes, neighbour: _Neighbour, channel: Channel, data: bytes) -> None:
        if channel is Channel.MANIFEST:
            neighbour.handshake.receive_message(data, now=self._now)
            # What follows its agreement in the same datagram is already a member's message.
            self._drain_handshake(peer, neighbour)
        elif not neighbour.connected:
            raise RemoteProtocolError(
                ErrorCode.E_FRAME_CONTEXT,
                "a message before the manifest was agreed",
                layer="swarm",
                peer=peer,
            )
        elif channel is Channel.MEMBERSHIP:
            self._membership.receive_message(peer, data, now=self._now)
        else:
            self._gossip.receive_message(peer, data, now=self._now)

    def _drain_handshakes(self) -> bool:
        busy = False
        for peer, neighbour in list(self._neighbours.items()):
            busy = self._drain_handshake(peer, neighbour) or busy
        return busy

    def _drain_handshake(self, peer: bytes, neighbour: _Neighbour) -> bool:
        busy = False
        handshake = neighbour.handshake
        while (message := handshake.next_message(self._now)) is not None:
            busy = True
            self._endpoint.send_message(peer, Channel.MANIFEST, message, now=self._now)
        while (event := handshake.next_event()) is not None:
            busy = True
            if isinstance(event, ManifestAgreed):
                self._on_agreed(peer, neighbour)
            else:
                self._on_refused(peer, neighbour, event)
        return busy

    def _on_agreed(self, peer: bytes, neighbour: _Neighbour) -> None:
        neighbour.connected = True
        self._deliveries.open(peer)
        self._membership.peer_connected(peer, neighbour.record or None, now=self._now)
        self._gossip.peer_connected(peer, now=self._now)
        self._events.append(PeerConnected(peer, neighbour.address, neighbour.incoming))

    def _on_refused(self, peer: bytes, neighbour: _Neighbour, event: ManifestRefused) -> None:
        reason = f"{event.field}: {event.reason}" if event.field else event.reason
        self._events.append(PeerRefused(peer, neighbour.address, event.code, reason, event.by_remote))
        self._endpoint.disconnect(peer, event.code, reason, now=self._now)

    def _drain_membership(self) -> bool:
        busy = False
        self._endpoint.set_record(self._membership.own_record or b"")
        while (message := self._membership.next_message(self._now)) is not None:
            busy = True
            self._say(message[0], Channel.MEMBERSHIP, message[1])
        while (event := self._membership.next_event()) is not None:
            busy = True
            if not self._closing:
                self._dialler.on_discovered(event.peer, event.addresses, now=self._now)
        return busy

    def _drain_gossip(self) -> bool:
        busy = False
        while (action := self._gossip.next_action(self._now)) is not None:
            busy = True
            self._on_gossip_action(action)
        while (message := self._gossip.next_message(self._now)) is not None:
            busy = True
            self._say(message[0], Channel.GOSSIP, message[1])
        while (event := self._gossip.next_event()) is not None:
            busy = True
            self._on_gossip_event(event)
        return busy

    def _on_gossip_action(self, action: GossipAction) -> None:
        match action:
            case OfferOut(peer, root, header):
                self._deliveries.send(peer, root, header, now=self._now)
            case Accept(peer, transfer):
                if not self._endpoint.accept_object(peer, transfer, now=self._now):
                    self._endpoint.refuse_object(peer, transfer, ErrorCode.E_BUSY, now=self._now)
                    self._gossip.object_failed(peer, transfer, ErrorCode.E_BUSY, now=self._now)
            case Refuse(peer, transfer, code):
                self._endpoint.refuse_object(peer, transfer, code, now=self._now)

    def _on_gossip_event(self, event: GossipEvent) -> None:
        match event:
            case GossipUpdateReceived(peer, header, body):
                self._updates_received += 1
                neighbour = self._neighbours.get(peer)
                if neighbour is not None:
                    neighbour.round = header.round
                self._events.append(UpdateReceived(peer, header, body))
            case EquivocationDetected(author):
                self._endpoint.disconnect(
                    author, ErrorCode.E_EQUIVOCATION, "two updates for one round", now=self._now
                )

    # Common

    def _say(self, peer: bytes, channel: Channel, message: bytes) -> None:
        if not self._endpoint.send_message(peer, channel, message, now=self._now):
            self._count_ended({"message_not_sent": 1})

    def _is_connected(self, peer: bytes) -> bool:
        neighbour = self._neighbours.get(peer)
        return neighbour is not None and neighbour.connected

    def _count_ended(self, dropped: Mapping[str, int]) -> None:
        for reason, count in dropped.items():
            self._ended[reason] = self._ended.get(reason, 0) + count

    def _check_open(self) -> None:
        if self._closing:
            raise LocalProtocolError(ErrorCode.E_USAGE, "the swarm is closing", layer="swarm")

    def _clock(self, now: float) -> float:
        """Hold the clock at the latest time seen when it goes backwards; the endpoint counts that."""
        if now < self._now:
            self._endpoint.stats.clock_steps_back += 1
            return self._now
        self._now = now
        return now

    def _machines(self) -> list[Any]:
        if self._closing:
            return [self._endpoint]
        handshakes = [neighbour.handshake for neighbour in self._neighbours.values()]
        return [self._endpoint, self._membership, self._gossip, *handshakes]

    def _next_deadline(self) -> tuple[float, str] | None:
        if self._events:
            return self._now, "events"
        best: tuple[float, str] | None = None
        for machine in self._machines():
            due = machine.deadline()
            if due is not None and (best is None or due < best[0]):
                best = (due, machine.deadline_reason)
        redial_at = None if self._closing else self._dialler.redial_at
        if redial_at is not None and (best is None or redial_at < best[0]):
            best = (redial_at, "redial")
        return best


def _terms(
    manifest: SwarmManifest, capabilities: Capabilities, swarm_id: bytes, max_object_bytes: int
) -> Terms:
    expires = manifest.expires_unix
    return Terms(
        swarm_id=swarm_id,
        schema_version=manifest.schema_version,
        arch_hash=capabilities.arch_hash,
        input_shape=capabilities.input_shape,
        output_shape=capabilities.output_shape,
        aggregation=manifest.aggregation.name,
        topology=manifest.topology.name,
        compression_enabled=manifest.compression.enabled,
        byzantine_f=manifest.byzantine.f,
        expires_unix=None if expires is None else int(expires),
        max_object_bytes=max_object_bytes,
    )
