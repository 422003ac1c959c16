"""Many peers on one address: routing, handshakes, and the life of connections (spec chapters 5 and 6).

``Endpoint`` is what stands between a socket and the sessions: it tells our datagrams from foreign ones,
answers only those who prove that they hold the swarm's keys, bounds what strangers can cost, and hands
everything else to the connection it belongs to. Bytes from the network never make it raise; each refusal is
counted in ``stats.dropped``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from quinkgl.crypto.identity import Identity
from quinkgl.crypto.keys import key_source
from quinkgl.crypto.mac import mac1
from quinkgl.crypto.mac import verify as verify_mac1
from quinkgl.crypto.psk import SwarmKeys
from quinkgl.transport.congestion import CongestionController, NewReno
from quinkgl.transport.connection import (
    Closed,
    Connection,
    ConnectionConfig,
    ConnectionState,
    ControlMessage,
)
from quinkgl.transport.events import (
    ConnectFailed,
    ConnectionEstablished,
    ConnectionLost,
    EndpointEvent,
    MessageReceived,
    ObjectArrived,
    ObjectSent,
    OfferReceived,
    TransferFailed,
    Transmit,
)
from quinkgl.transport.half_open import Attempt, AttemptState, HalfOpen
from quinkgl.transport.handshake import EPHEMERAL_BYTES, Initiator, LocalParty, Responder, Session
from quinkgl.transport.objects import (
    ObjectDelivered,
    ObjectFailed,
    ObjectOffered,
    ObjectReceived,
    ReassemblyBudget,
)
from quinkgl.transport.stats import EndpointStats
from quinkgl.wire.addresses import Address, is_loopback, prefix
from quinkgl.wire.control import Channel
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from quinkgl.wire.exclusive import Exclusive, exclusive
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.messages.session import TransportParameters
from quinkgl.wire.packets import (
    CONNECTION_ID_BYTES,
    GREASE_MASK,
    MAC_BYTES,
    SHORT_HEADER,
    VERSION,
    LongPacket,
    LongType,
    PacketForm,
    decode_long_untrusted,
    encode_init,
    encode_long,
    packet_form,
)

if TYPE_CHECKING:
    import random

_VERSIONS = (VERSION,)
_CROSSING_S = LIMITS.half_open_lifetime_s
"""Two handshakes of the same two processes that ended within this time crossed each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointConfig:
    """Knobs of an endpoint; the defaults are the specification's."""

    parameters: TransportParameters = field(default_factory=TransportParameters)
    """What peers are told about us."""
    connection: ConnectionConfig = field(default_factory=ConnectionConfig)
    handshake_timeout_s: float = LIMITS.handshake_timeout_s
    handshake_tries: int = LIMITS.handshake_retries
    connections: int = LIMITS.connections
    controller: Callable[[int], CongestionController] = NewReno
    """Makes the congestion controller of a session from the size of its datagrams."""


class Endpoint(Exclusive):
    """All sessions of one swarm member on one address."""

    def __init__(
        self,
        *,
        identity: Identity,
        keys: SwarmKeys,
        rng: random.Random,
        now: float,
        config: EndpointConfig | None = None,
        insecure_deterministic_keys: bool = False,
    ) -> None:
        """Make an endpoint.

        LocalProtocolError when ``rng`` is seeded without ``insecure_deterministic_keys``.
        """
        self.stats = EndpointStats()
        self._config = config if config is not None else EndpointConfig()
        self._rng = rng
        self._source = key_source(rng, insecure_deterministic_keys=insecure_deterministic_keys)
        self._party = LocalParty(identity, keys, self._source.x25519(), self._config.parameters)
        self._record = b""
        self._now = now
        self._closing = False
        self._budget = ReassemblyBudget()
        self._attempts: dict[bytes, Attempt] = {}
        self._half_open: dict[bytes, HalfOpen] = {}
        self._connections: dict[bytes, Connection] = {}
        self._by_peer: dict[bytes, Connection] = {}
        self._ready: deque[Connection] = deque()
        self._events: deque[EndpointEvent] = deque()

    # Commands

    @exclusive
    def connect(self, address: Address, *, expected_peer: bytes | None = None, now: float) -> None:
        """Open a session with whoever is at ``address``.

        An attempt or a session that is there already is enough.

        Answered by ConnectionEstablished, or ConnectFailed when nobody answers in time or the identity is
        another.
        """
        if self._closing:
            raise LocalProtocolError(ErrorCode.E_USAGE, "the endpoint is closing", layer="transport")
        now = self._clock(now)
        for attempt in self._attempts.values():
            if attempt.address == address and attempt.expected_peer == expected_peer:
                return
        for peer, connection in self._by_peer.items():
            if peer == expected_peer or (expected_peer is None and connection.address == address):
                return
        if len(self._attempts) + len(self._by_peer) >= self._config.connections:
            self._events.append(
                ConnectFailed(address, expected_peer, ErrorCode.E_BUSY, "too many sessions are open")
            )
            return
        initiator = Initiator(self._party, self._source, VERSION, _VERSIONS)
        local_id = self._new_id()
        head, tail = encode_init(
            version=VERSION,
            destination_id=self._rng.randbytes(CONNECTION_ID_BYTES),
            source_id=local_id,
            versions=_VERSIONS,
            noise=initiator.message1,
        )
        mac = mac1(self._party.keys.mac1_key, head, tail)
        self._attempts[local_id] = Attempt(
            initiator=initiator,
            address=address,
            expected_peer=expected_peer,
            local_id=local_id,
            datagram=head + mac + bytes(MAC_BYTES) + tail,
            timeout_s=self._config.handshake_timeout_s,
            tries=self._config.handshake_tries,
            now=now,
        )

    @exclusive
    def set_record(self, record: bytes) -> None:
        """Set the signed peer record that handshakes carry from now on."""
        self._record = record

    @exclusive
    def send_message(self, peer: bytes, channel: Channel, body: bytes, *, now: float) -> bool:
        """Queue a message for ``peer``.

        False when there is no session, it is ending, or its queue is full.
        """
        connection = self._by_peer.get(peer)
        if connection is None or not connection.send_message(channel, body):
            return False
        self._clock(now)
        self._touch(connection)
        return True

    def has_message_room(self, peer: bytes) -> bool:
        """Whether a message for ``peer`` would be taken now."""
        connection = self._by_peer.get(peer)
        return connection is not None and connection.has_message_room

    @exclusive
    def offer_object(
        self, peer: bytes, root: bytes, leaves: bytes, header: bytes, body: memoryview, *, now: float
    ) -> int | None:
        """Offer an object to ``peer`` and return the transfer's number.

        None when there is no session or no room.

        ``leaves`` is the concatenation of the object's leaf hashes. ``body`` is shared, not copied: it must
        not change.
        """
        connection = self._by_peer.get(peer)
        if connection is None:
            return None
        transfer = connection.objects.offer(root, leaves, header, body)
        self._clock(now)
        self._touch(connection)
        return transfer

    @exclusive
    def accept_object(self, peer: bytes, transfer: int, *, now: float) -> bool:
        """Ask for an offered object. False when the offer is gone or there is no room for it now."""
        self._clock(now)
        connection = self._by_peer.get(peer)
        if connection is None or not connection.accept_object(transfer):
            return False
        self._settle(connection)
        return True

    @exclusive
    def refuse_object(self, peer: bytes, transfer: int, code: int, *, now: float) -> None:
        """Turn down an offer or stop an incoming transfer; nothing happens when it is gone."""
        self._clock(now)
        connection = self._by_peer.get(peer)
        if connection is not None:
            connection.objects.refuse(transfer, code)
            self._settle(connection)

    @exclusive
    def withdraw_object(self, peer: bytes, transfer: int, code: int, *, now: float) -> None:
        """Stop offering or sending an object; nothing happens when the transfer is gone."""
        self._clock(now)
        connection = self._by_peer.get(peer)
        if connection is not None:
            connection.objects.withdraw(transfer, code)
            self._settle(connection)

    @exclusive
    def disconnect(self, peer: bytes, code: int, reason: str, *, now: float) -> None:
        """End the session with ``peer``; nothing happens when there is none."""
        now = self._clock(now)
        connection = self._by_peer.get(peer)
        if connection is not None:
            connection.close(code, reason, now=now)
            self._settle(connection)

    @exclusive
    def close(self, code: int = ErrorCode.NO_ERROR, reason: str = "", *, now: float) -> None:
        """End every session and attempt. Idempotent; ``drained`` tells when nothing is left to say."""
        now = self._clock(now)
        if self._closing:
            return
        self._closing = True
        self._attempts.clear()
        self._half_open.clear()
        for connection in list(self._connections.values()):
            connection.close(code, reason, now=now)
            self._settle(connection)

    @property
    def drained(self) -> bool:
        """Whether the endpoint was closed and every session is over."""
        return self._closing and not self._connections

    def peers(self) -> tuple[bytes, ...]:
        """Return the peers with an open session, ascending."""
        return tuple(sorted(self._by_peer))

    def address_of(self, peer: bytes) -> Address | None:
        """Return where the session with ``peer`` runs to."""
        connection = self._by_peer.get(peer)
        return None if connection is None else connection.address

    def rtt_of(self, peer: bytes) -> float | None:
        """Return the smoothed round-trip time to ``peer``, seconds."""
        connection = self._by_peer.get(peer)
        return None if connection is None else connection.rtt_s

    def is_quiet(self) -> bool:
        """Whether no session has anything left to deliver, either way."""
        return all(connection.is_quiet for connection in self._by_peer.values())

    # Input

    @exclusive
    def receive_datagram(
        self, data: bytes | memoryview, source: Address, *, now: float, segment_size: int | None = None
    ) -> None:
        """Take a datagram, or a run of datagrams of ``segment_size`` bytes.

        Never raises, whatever the bytes.
        """
        now = self._clock(now)
        self.stats.bytes_received += len(data)
        if not segment_size or segment_size >= len(data):
            self._receive_one(data, source, now)
            return
        for start in range(0, len(data), segment_size):
            self._receive_one(data[start : start + segment_size], source, now)

    @exclusive
    def handle_timer(self, *, now: float) -> None:
        """Act on everything that is due; a spurious call does nothing."""
        now = self._clock(now)
        for attempt in list(self._attempts.values()):
            if attempt.retry_at <= now and not attempt.due:
                self._go_on(attempt)
        for half_open in list(self._half_open.values()):
            if half_open.expires_at <= now:
                self._forget_half_open(half_open)
            elif half_open.retry_at <= now:
                half_open.due = True
        for connection in list(self._connections.values()):
            due = connection.deadline()
            if due is not None and due[0] <= now:
                connection.handle_timer(now=now)
                self._settle(connection)

    # Output

    @exclusive
    def next_event(self) -> EndpointEvent | None:
        """Take the next event."""
        return self._events.popleft() if self._events else None

    @exclusive
    def next_datagram(self, now: float) -> Transmit | None:
        """Build the next datagram; handshakes first, then the sessions in turn."""
        now = self._clock(now)
        for attempt in self._attempts.values():
            if attempt.due:
                return self._transmit(attempt.take(now, 0.9 + 0.2 * self._rng.random()), attempt.address)
        for half_open in self._half_open.values():
            if half_open.due:
                answer = half_open.take(now)
                if answer is not None:
                    return self._transmit(answer, half_open.address)
        while self._ready:
            connection = self._ready[0]
            packet = connection.next_datagram(now)
            if packet is not None:
                self._ready.rotate(-1)
                return self._transmit(packet, connection.address)
            self._ready.popleft()
        return None

    def deadline(self) -> float | None:
        """When to call ``handle_timer``; not after ``now`` while output is ready."""
        due = self._next_deadline()
        return None if due is None else due[0]

    @property
    def deadline_reason(self) -> str:
        """What the deadline is for, in a word or two, for people."""
        due = self._next_deadline()
        return "nothing" if due is None else due[1]

    # Receiving

    def _receive_one(self, data: bytes | memoryview, source: Address, now: float) -> None:
        self.stats.datagrams_received += 1
        form = packet_form(data)
        if form is PacketForm.FOREIGN:
            self.stats.drop("foreign")
        elif form is PacketForm.LONG:
            try:
                self._receive_long_untrusted(decode_long_untrusted(data), len(data), source, now)
            except RemoteProtocolError as error:
                self.stats.drop(error.code.name)
        elif len(data) < SHORT_HEADER.size:
            self.stats.drop("short_packet")
        else:
            connection = self._connections.get(bytes(data[1 : 1 + CONNECTION_ID_BYTES]))
            if connection is None:
                self.stats.drop("unknown_connection")
            else:
                connection.receive_packet(data, form, now=now)
                self._settle(connection)

    def _receive_long_untrusted(self, packet: LongPacket, size: int, source: Address, now: float) -> None:
        if self._closing:
            self.stats.drop("closing")
        elif packet.type is LongType.INIT:
            self._on_init_untrusted(packet, size, source, now)
        elif packet.type is LongType.RESP:
            self._on_resp_untrusted(packet, source, now)
        else:
            self._on_fin_untrusted(packet, source, now)

    def _on_init_untrusted(self, packet: LongPacket, size: int, source: Address, now: float) -> None:
        """Answer an INIT of someone who holds the swarm's keys; everyone else meets silence."""
        if not verify_mac1(self._party.keys.mac1_key, packet.mac1, *packet.authenticated):
            raise RemoteProtocolError(ErrorCode.E_MAC1, "mac1 is of another swarm, or noise", section="5.4")
        for half_open in self._half_open.values():
            if half_open.address == source and half_open.remote_id == packet.source_id:
                half_open.on_init_again(size)
                return
        crossing = self._attempt_to(source)
        if crossing is not None and crossing.initiator.ephemeral_public > packet.noise[:EPHEMERAL_BYTES]:
            self.stats.drop("simultaneous_open")
            return
        if self._is_crowded(source):
            self.stats.drop("half_open_full")
            return
        responder = Responder(
            self._party,
            self._source,
            packet.version,
            packet.versions,
            packet.noise,
            record=self._record,
            observed=source,
        )
        local_id = self._new_id()
        answer = encode_long(
            LongType.RESP,
            version=packet.version,
            destination_id=packet.source_id,
            source_id=local_id,
            noise=responder.message2,
        )
        self._half_open[local_id] = HalfOpen(
            responder=responder,
            address=source,
            local_id=local_id,
            remote_id=packet.source_id,
            datagram=answer,
            received_bytes=size,
            timeout_s=self._config.handshake_timeout_s,
            now=now,
        )
        if crossing is not None:
            crossing.wait_for_other(now)

    def _on_resp_untrusted(self, packet: LongPacket, source: Address, now: float) -> None:
        attempt = self._attempts.get(packet.destination_id)
        if attempt is None or attempt.address != source:
            self.stats.drop("unknown_connection")
            return
        try:
            message3, session = attempt.initiator.finish_untrusted(
                packet.noise, expected_peer=attempt.expected_peer, record=self._record, observed=source
            )
            self._check_not_self(session)
        except RemoteProtocolError as error:
            if error.code is not ErrorCode.E_HS_DECRYPT:
                # Whoever wrote this holds the swarm's keys, and will answer no better the next time.
                self._give_up(attempt, error.code, error.message)
            raise
        rtt_s = attempt.rtt(now)
        self._drop_attempts(session.peer_id, source)
        finish = encode_long(
            LongType.FIN,
            version=packet.version,
            destination_id=packet.source_id,
            source_id=attempt.local_id,
            noise=message3,
        )
        connection = self._make_connection(
            session,
            attempt.local_id,
            packet.source_id,
            source,
            incoming=False,
            rtt_s=rtt_s,
            finish=finish,
            now=now,
        )
        self._install(connection, now)

    def _on_fin_untrusted(self, packet: LongPacket, source: Address, now: float) -> None:
        half_open = self._half_open.get(packet.destination_id)
        if half_open is None or (half_open.address, half_open.remote_id) != (source, packet.source_id):
            connection = self._connections.get(packet.destination_id)
            if connection is not None and connection.incoming:
                connection.on_late_finish()
                self._touch(connection)
            self.stats.drop("late_finish" if connection is not None else "unknown_connection")
            return
        try:
            session = half_open.responder.finish_untrusted(packet.noise)
            self._check_not_self(session)
        except RemoteProtocolError as error:
            if error.code is not ErrorCode.E_HS_DECRYPT:
                self._forget_half_open(half_open)
            raise
        del self._half_open[half_open.local_id]
        connection = self._make_connection(
            session,
            half_open.local_id,
            half_open.remote_id,
            source,
            incoming=True,
            rtt_s=half_open.rtt(now),
            finish=None,
            now=now,
        )
        self._drop_attempts(session.peer_id, source)
        self._install(connection, now)

    # Connections

    def _make_connection(
        self,
        session: Session,
        local_id: bytes,
        remote_id: bytes,
        address: Address,
        *,
        incoming: bool,
        rtt_s: float | None,
        finish: bytes | None,
        now: float,
    ) -> Connection:
        config = self._config
        return Connection(
            session=session,
            local_id=local_id,
            remote_id=remote_id,
            address=address,
            incoming=incoming,
            grease=self._rng.getrandbits(8) & GREASE_MASK,
            config=config.connection,
            idle_timeout_s=config.parameters.idle_timeout_s,
            max_ack_delay_s=config.parameters.max_ack_delay_s,
            controller=config.controller(config.connection.datagram_bytes),
            budget=self._budget,
            stats=self.stats,
            handshake_rtt_s=rtt_s,
            finish=finish,
            now=now,
        )

    def _install(self, new: Connection, now: float) -> None:
        """Make a finished handshake the one session with its peer, or end it when the other one stays."""
        self._connections[new.local_id] = new
        old = self._by_peer.get(new.peer)
        if old is None and len(self._by_peer) >= self._config.connections:
            new.close(ErrorCode.E_BUSY, "too many sessions are open", now=now)
            self._settle(new)
            return
        if old is not None:
            if self._stays(old, new, now):
                new.close(ErrorCode.E_HS_DUP, "another session with this peer stays", now=now)
                self._settle(new)
                return
            old.close(ErrorCode.E_HS_DUP, "a newer session with this peer is open", now=now)
            self._settle(old)
        self._by_peer[new.peer] = new
        session = new.session
        self._events.append(
            ConnectionEstablished(
                new.peer, new.address, new.incoming, session.record, session.observed_address
            )
        )
        self._settle(new)

    @staticmethod
    def _stays(old: Connection, new: Connection, now: float) -> bool:
        """Whether the older of two sessions with one peer stays (spec 5.8).

        The newer one wins, since the peer that opened it may have lost the older. Only when two handshakes of
        the same two processes ran at once must both sides keep the same one. If each opened one, that is the
        one with the greater handshake hash. If we opened both, it is the first: its peer never hears of the
        second, because it gets no FIN.
        """
        same_processes = old.session.remote_static == new.session.remote_static
        if not same_processes or now - old.established_at >= _CROSSING_S:
            return False
        if old.incoming == new.incoming:
            return not new.incoming
        return old.session.handshake_hash > new.session.handshake_hash

    def _settle(self, connection: Connection) -> None:
        """Take a connection's events, let it send, and forget it when it is over."""
        while (event := connection.next_event()) is not None:
            translated = self._translate(connection, event)
            if self._by_peer.get(connection.peer) is connection:
                self._events.append(translated)
                if isinstance(event, Closed):
                    del self._by_peer[connection.peer]
        if connection.state is ConnectionState.CLOSED:
            self._connections.pop(connection.local_id, None)
        self._touch(connection)

    @staticmethod
    def _translate(
        connection: Connection,
        event: ControlMessage | Closed | ObjectOffered | ObjectReceived | ObjectDelivered | ObjectFailed,
    ) -> EndpointEvent:
        peer = connection.peer
        match event:
            case ControlMessage(channel, data):
                return MessageReceived(peer, channel, data)
            case Closed(code, reason, by_remote):
                return ConnectionLost(peer, code, reason, by_remote)
            case ObjectOffered(transfer, root, size, header):
                return OfferReceived(peer, transfer, root, size, header)
            case ObjectReceived(transfer, root, header, body):
                return ObjectArrived(peer, transfer, root, header, body)
            case ObjectDelivered(transfer, root):
                return ObjectSent(peer, transfer, root)
            case failed:
                return TransferFailed(peer, failed.transfer, failed.root, failed.code, failed.outgoing)

    def _touch(self, connection: Connection) -> None:
        """Let a connection be asked for datagrams."""
        if connection not in self._ready:
            self._ready.append(connection)

    # Handshakes

    def _attempt_to(self, address: Address) -> Attempt | None:
        for attempt in self._attempts.values():
            if attempt.address == address and attempt.state is AttemptState.SENDING:
                return attempt
        return None

    def _is_crowded(self, source: Address) -> bool:
        """Whether strangers hold as many half-open handshakes as they may, in all or from one network."""
        if len(self._half_open) >= LIMITS.half_open:
            return True
        network = prefix(source)
        same = sum(half_open.network == network for half_open in self._half_open.values())
        return same >= LIMITS.half_open_per_prefix and not is_loopback(source)

    def _go_on(self, attempt: Attempt) -> None:
        """Send an INIT again, or give up after the last one."""
        if attempt.tries_left > 0:
            attempt.go_on()
        else:
            self._give_up(attempt, ErrorCode.E_HS_TIMEOUT, "nobody answered")

    def _give_up(self, attempt: Attempt, code: ErrorCode, reason: str) -> None:
        del self._attempts[attempt.local_id]
        self._events.append(ConnectFailed(attempt.address, attempt.expected_peer, code, reason))

    def _drop_attempts(self, peer: bytes, address: Address) -> None:
        """Forget the attempts that a session with ``peer`` at ``address`` answers."""
        for attempt in list(self._attempts.values()):
            anyone = attempt.expected_peer is None and attempt.address == address
            if anyone or attempt.expected_peer == peer:
                del self._attempts[attempt.local_id]

    def _forget_half_open(self, half_open: HalfOpen) -> None:
        del self._half_open[half_open.local_id]
        for attempt in list(self._attempts.values()):
            if attempt.address == half_open.address and attempt.state is AttemptState.YIELDED:
                self._go_on(attempt)

    def _check_not_self(self, session: Session) -> None:
        if session.peer_id == self._party.identity.peer_id:
            raise RemoteProtocolError(
                ErrorCode.E_HS_SELF, "the address leads back to this node", section="5.5"
            )

    # Common

    def _clock(self, now: float) -> float:
        """Hold the clock at the latest time seen when it goes backwards."""
        if now < self._now:
            self.stats.clock_steps_back += 1
            return self._now
        self._now = now
        return now

    def _new_id(self) -> bytes:
        return self._rng.randbytes(CONNECTION_ID_BYTES)

    def _transmit(self, data: bytes, destination: Address) -> Transmit:
        self.stats.bytes_sent += len(data)
        self.stats.datagrams_sent += 1
        return Transmit(data, destination)

    def _next_deadline(self) -> tuple[float, str] | None:
        if self._events:
            return self._now, "events"
        if self._ready:
            return self._now, "datagrams"
        best: tuple[float, str] | None = None
        for attempt in self._attempts.values():
            when = self._now if attempt.due else attempt.retry_at
            if best is None or when < best[0]:
                best = (when, "handshake")
        for half_open in self._half_open.values():
            when = self._now if half_open.due else min(half_open.retry_at, half_open.expires_at)
            if best is None or when < best[0]:
                best = (when, "half-open handshake")
        for connection in self._connections.values():
            due = connection.deadline()
            if due is not None and (best is None or due[0] < best[0]):
                best = due
        if best is not None and best[0] < self._now:
            return self._now, best[1]  # an ACK may shorten a time-out so that it lies in the past
        return best
