"""Swarm: endpoint, manifest handshakes, membership and gossip behind one machine interface."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from quinkgl.crypto.identity import Identity
from quinkgl.crypto.psk import Mode, derive_fetch_keys, derive_member_keys
from quinkgl.manifest import SwarmManifest, check_model_fits, signature_bytes
from quinkgl.protocol.exchange import Exchanges
from quinkgl.protocol.gossip import Gossip
from quinkgl.protocol.manifest_handshake import Terms
from quinkgl.protocol.membership import Membership
from quinkgl.swarm.counts import Counts
from quinkgl.swarm.deliveries import Deliveries
from quinkgl.swarm.dialler import Dialler
from quinkgl.swarm.events import (
    Attachment,
    Capabilities,
    PeerView,
    SwarmClosed,
    SwarmConfig,
    SwarmEvent,
    SwarmStats,
)
from quinkgl.swarm.exchange_commands import ExchangeCommands
from quinkgl.swarm.fetchers import Fetchers
from quinkgl.swarm.fingerprints import Fingerprints
from quinkgl.swarm.hashed import Body, HashedObject
from quinkgl.swarm.sessions import Sessions
from quinkgl.swarm.two_sided import TwoSided, published
from quinkgl.swarm.updates import Updates
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
    PathChanged,
    TransferFailed,
    Transmit,
)
from quinkgl.wire.addresses import Address
from quinkgl.wire.control import Channel
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, check_sent_code
from quinkgl.wire.exclusive import exclusive
from quinkgl.wire.messages.gossip import UpdateObject


class Swarm(ExchangeCommands):
    """A member of one swarm: bytes and time in; datagrams, events and a deadline out.

    ``manifest`` is what all members hold byte for byte, ``capabilities`` describe the model that this node
    really runs, ``addresses`` are where others can reach it. ``state`` is what an earlier run's :meth:`state`
    returned. ``rng`` is the system's generator unless given; a seeded one needs
    ``insecure_deterministic_keys`` and is for simulation, where ``insecure_null_cipher`` may come on top.

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
        insecure_null_cipher: bool = False,
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
        fetch_keys = derive_fetch_keys(keys.swarm_id, join_secret)
        self.swarm_id = keys.swarm_id
        self.peer_id = identity.peer_id
        self._now = now
        self._unix_offset_s = unix_now - now
        self._endpoint = Endpoint(
            identity=identity,
            keys=keys,
            also_keys=(fetch_keys,) if self._config.serve_manifest else (),
            rng=self._rng,
            now=now,
            config=self._config.endpoint,
            insecure_deterministic_keys=insecure_deterministic_keys,
            insecure_null_cipher=insecure_null_cipher,
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
        self._events: deque[SwarmEvent] = deque()
        self._counts = Counts()
        self._deliveries = Deliveries(self._endpoint, self._events)
        self._fetchers = Fetchers(
            self._endpoint,
            self.swarm_id,
            manifest.canonical_bytes(),
            signature_bytes(manifest),
            counts=self._counts,
            now=now,
        )
        self._fingerprints = Fingerprints(
            identity,
            self.swarm_id,
            endpoint=self._endpoint,
            events=self._events,
            counts=self._counts,
            rng=self._rng,
        )
        self._two_sided = TwoSided(
            Exchanges(self.peer_id, rng=self._rng, now=now),
            endpoint=self._endpoint,
            events=self._events,
            counts=self._counts,
        )
        self._dialler = Dialler(
            self._endpoint, self._membership, self._config, self._events, strangers=self._fetchers
        )
        if state is not None:
            self._restore(state, now)
        self._sessions = Sessions(
            _terms(manifest, capabilities, self.swarm_id, self._config.max_object_bytes),
            endpoint=self._endpoint,
            membership=self._membership,
            gossip=self._gossip,
            deliveries=self._deliveries,
            fingerprints=self._fingerprints,
            two_sided=self._two_sided,
            dialler=self._dialler,
            events=self._events,
            counts=self._counts,
        )
        self._updates = Updates(
            self._gossip,
            endpoint=self._endpoint,
            sessions=self._sessions,
            deliveries=self._deliveries,
            events=self._events,
            counts=self._counts,
        )
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
        body: Body | HashedObject,
        *,
        round: int,
        sample_count: int,
        targets: Sequence[bytes],
        codec: int = 1,
        params: Mapping[int, Any] | None = None,
        metadata: Mapping[int, Any] | None = None,
        attachments: Sequence[Attachment] = (),
        now: float,
    ) -> bytes:
        """Offer an update to ``targets`` and return its Merkle root.

        A large ``body`` is better hashed beforehand, off the loop (:func:`hash_object`). ``attachments`` are
        further objects that belong to it: a target has all or nothing. Bodies are shared,
        not copied, and must not change until every target has them or is gone. Each target answers with
        UpdateDelivered or UpdateNotDelivered (SUPERSEDED when a newer update replaced this one
        before its turn came).
        """
        self._check_open()
        others = tuple(published(item.body) for item in attachments)
        publication = replace(published(body), attachments=others)
        self._gossip.publish(
            publication.root,
            len(publication.body),
            round=round,
            codec=codec,
            sample_count=sample_count,
            params=params or {},
            metadata=metadata or {},
            objects=[
                UpdateObject(other.root, len(other.body), item.codec, item.name)
                for other, item in zip(others, attachments, strict=True)
            ],
            targets=tuple(targets),
            now=max(now, self._now),
        )
        self._clock(now)
        self._deliveries.publish(publication)
        self._settle()
        self._deliveries.release()
        return publication.root

    @exclusive
    def set_round(self, round: int, *, now: float) -> None:
        """Tell which round this node is in; offers are judged against it."""
        self._gossip.set_round(round, now=max(now, self._now))
        self._two_sided.machine.set_round(round, now=max(now, self._now))
        self._after(now)

    @exclusive
    def set_addresses(self, addresses: Sequence[Address], *, now: float) -> None:
        """Tell where others can reach this node; its signed record is issued anew."""
        self._membership.set_addresses(tuple(addresses), now=max(now, self._now))
        self._clock(now)
        self._settle()

    @exclusive
    def set_fingerprint(self, body: bytes, epoch: int, *, now: float) -> None:
        """Release the fingerprint of a data epoch, which every peer that asks is shown from now on.

        An epoch has one body for ever; see :meth:`state`. LocalProtocolError for another body, an epoch that
        is over, or a body beyond ``fingerprint_bytes``.
        """
        self._fingerprints.shelf.put(body, epoch)
        self._clock(now)
        self._settle()

    @exclusive
    def withhold_fingerprint(self, *, budget_spent: bool, now: float) -> None:
        """Show no fingerprint from now on: the privacy budget is spent, or there is none to offer."""
        self._fingerprints.shelf.take_away(budget_spent=budget_spent)
        self._clock(now)
        self._settle()

    @exclusive
    def request_fingerprint(self, peer: bytes, *, epoch: int | None = None, now: float) -> bool:
        """Ask a peer for its fingerprint, of one data epoch where that matters.

        Answered by FingerprintReceived or FingerprintNotReceived. False where the peer is not connected, or
        was asked before and has not answered yet.
        """
        asked = self._fingerprints.request(peer, epoch, now=max(now, self._now))
        self._clock(now)
        self._settle()
        return asked

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
        check_sent_code(code)
        now = self._clock(now)
        self._endpoint.disconnect(peer, code, reason, now=now)
        self._settle()

    @exclusive
    def close(self, *, now: float, code: int = ErrorCode.NO_ERROR, reason: str = "") -> None:
        """End every session. Idempotent; SwarmClosed follows when all peers were told."""
        check_sent_code(code)
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
        return self._sessions.views(self._now)

    def occupancy(self) -> dict[str, tuple[int, int]]:
        """How many items each collection of each part holds, and how many it may."""
        parts = [
            ("transport", self._endpoint.occupancy()),
            ("membership", self._membership.occupancy()),
            ("gossip", self._gossip.occupancy()),
            ("exchange", self._two_sided.machine.occupancy()),
        ]
        return {f"{part} {name}": held for part, items in parts for name, held in items.items()}

    def has_open_transfers(self) -> bool:
        """Whether an update, or word of one, is still on its way, in or out: closing now would cut it off."""
        return not self._endpoint.is_quiet()

    @property
    def stats(self) -> SwarmStats:
        """A snapshot of all counters."""
        endpoint = self._endpoint.stats
        copied = {item.name: getattr(endpoint, item.name) for item in fields(EndpointStats)}
        dropped = dict(endpoint.dropped)
        live = [machine.stats.dropped for machine in self._sessions.handshakes()]
        live += [machine.stats.dropped for machine in self._fetchers.machines()]
        live += [machine.stats.dropped for machine in self._fingerprints.machines()]
        live += [machine.stats.dropped for machine in self._swarm_machines()]
        parts = (self._counts.dropped, *live)
        for part in parts:
            for reason, count in part.items():
                dropped[reason] = dropped.get(reason, 0) + count
        if self._dialler.unreachable:
            dropped["discovered_peer_unreachable"] = self._dialler.unreachable
        copied["dropped"] = dropped
        return SwarmStats(
            **copied,
            updates_received=self._updates.received,
            updates_sent=self._deliveries.delivered,
            manifests_served=self._fetchers.served,
        )

    def state(self) -> dict[str, Any]:
        """Return what must survive a restart, as plain values.

        Record number, anchors, accepted rounds, roots seen, the data epoch whose fingerprint was released,
        the exchanges that are promised or decided.
        """
        return {
            "membership": self._membership.state(),
            "gossip": self._gossip.state(),
            "fingerprint": self._fingerprints.shelf.state(),
            "exchanges": self._two_sided.machine.state(),
        }

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
        if self._endpoint.has_events or self._closing:  # most datagrams are no news to anybody else
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
        if self._events:
            return self._now
        times = [machine.deadline() for machine in self._machines()]
        if not self._closing:
            times.append(self._dialler.redial_at)
        return min((when for when in times if when is not None), default=None)

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
                self._sessions.drain,
                self._fetchers.drain,
                self._fingerprints.drain,
                self._drain_membership,
                self._updates.drain,
                self._two_sided.drain,
            ):
                busy = drain(self._now) or busy
        if self._closing and not self._closed_reported and self._endpoint.drained:
            self._closed_reported = True
            self._events.append(SwarmClosed())

    def _drain_endpoint(self, now: float) -> bool:
        busy = False
        while (event := self._endpoint.next_event()) is not None:
            busy = True
            self._on_endpoint_event(event, now)
        return busy

    def _on_endpoint_event(self, event: EndpointEvent, now: float) -> None:
        match event:
            case ConnectionEstablished(mode=Mode.FETCH):
                self._fetchers.open(event.peer, now=now)
            case ConnectionEstablished():
                self._sessions.on_established(event, now=now, unix_now=now + self._unix_offset_s)
            case PathChanged():
                self._sessions.on_path_changed(event)
            case ConnectionLost() if event.peer in self._fetchers:
                self._fetchers.close(event.peer)
            case ConnectionLost():
                self._sessions.on_lost(event, now=now)
            case ConnectFailed(address, expected, code, reason):
                self._dialler.on_failed(address, expected, code, reason, now=now)
            case MessageReceived(peer, channel, data) if peer in self._fetchers:
                self._fetchers.on_message(peer, channel, data, now=now)
            case OfferReceived(peer) if peer in self._fetchers:
                self._fetchers.on_offer(peer, now=now)
            case MessageReceived(peer, channel, data):
                self._sessions.on_message(peer, channel, data, now=now)
            case OfferReceived(peer, transfer) if not self._sessions.is_connected(peer):
                self._endpoint.refuse_object(peer, transfer, ErrorCode.NOT_WANTED, now=now)
            case OfferReceived() | ObjectArrived() | ObjectSent() | TransferFailed():
                if not self._two_sided.on_object(event, now=now):
                    self._updates.on_object(event, now=now)

    def _drain_membership(self, now: float) -> bool:
        busy = False
        self._endpoint.set_record(self._membership.own_record or b"")
        while (message := self._membership.next_message(now)) is not None:
            busy = True
            if not self._endpoint.send_message(message[0], Channel.MEMBERSHIP, message[1], now=now):
                self._counts.drop("message_not_sent")
        while (event := self._membership.next_event()) is not None:
            busy = True
            if not self._closing and not self._gossip.is_barred(event.peer):
                self._dialler.on_discovered(event.peer, event.addresses, now=now)
        return busy

    # Common

    def _restore(self, state: Mapping[str, Any], now: float) -> None:
        self._membership.restore(state["membership"], now=now)
        self._gossip.restore(state["gossip"], now=now)
        if "fingerprint" in state:  # a state of before there were any has none
            self._fingerprints.shelf.restore(state["fingerprint"])
        if "exchanges" in state:
            self._two_sided.machine.restore(state["exchanges"], now=now)

    def _after(self, now: float) -> None:
        self._clock(now)
        self._settle()

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
        """Return the machines that may have a deadline; what :meth:`_settle` drains is dry already."""
        if self._closing:
            return [self._endpoint]
        return [
            self._endpoint,
            *self._swarm_machines(),
            *self._sessions.unfinished(),
            *self._fetchers.machines(),
            *self._fingerprints.waiting(),
        ]

    def _swarm_machines(self) -> tuple[Membership, Gossip, Exchanges]:
        """Return the machines that serve the whole swarm."""
        return self._membership, self._gossip, self._two_sided.machine

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
