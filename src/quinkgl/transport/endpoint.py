"""Many peers on one address: routing, handshakes, and the life of connections (spec chapters 5 and 6).

``Endpoint`` is what stands between a socket and the sessions: it tells our datagrams from foreign ones,
answers only those who prove that they hold the swarm's keys, bounds what strangers can cost, and hands
everything else to the connection it belongs to. Bytes from the network never make it raise; each refusal is
counted in ``stats.dropped``.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from quinkgl.crypto.agreement import has_ml_kem
from quinkgl.crypto.identity import Identity
from quinkgl.crypto.keys import key_source
from quinkgl.crypto.psk import SwarmKeys
from quinkgl.transport.config import EndpointConfig
from quinkgl.transport.connection import Connection
from quinkgl.transport.connection_events import Closed, ConnectionState
from quinkgl.transport.events import ConnectFailed, ConnectionEstablished, EndpointEvent, Transmit
from quinkgl.transport.handshake import LocalParty
from quinkgl.transport.handshakes import Finished, Handshakes
from quinkgl.transport.reassembly import Reassembly
from quinkgl.transport.routes import Routes
from quinkgl.transport.scratch import Scratch
from quinkgl.transport.sinks import ObjectSink
from quinkgl.transport.staging import Staging
from quinkgl.transport.stateless_reset import reset_key
from quinkgl.transport.stats import EndpointStats
from quinkgl.transport.translation import endpoint_event
from quinkgl.transport.wakeups import Wakeups
from quinkgl.wire.addresses import Address
from quinkgl.wire.control import Channel
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError, check_sent_code
from quinkgl.wire.exclusive import Exclusive, exclusive
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.messages.session import PostQuantum
from quinkgl.wire.packets import (
    CONNECTION_ID_BYTES,
    DESTINATION_ID_OF_LONG,
    FIRST_BYTE_OF_FIN,
    GREASE_MASK,
    SHORT_HEADER,
    PacketForm,
    packet_form,
)

if TYPE_CHECKING:
    import random

_CROSSING_S = LIMITS.half_open_lifetime_s
"""Two handshakes of the same two processes that ended within this time crossed each other."""


def _post_quantum(wanted: PostQuantum) -> PostQuantum:
    """Return what can be offered of what is wanted. LocalProtocolError where that is too little."""
    if wanted is PostQuantum.NO or has_ml_kem():
        return wanted
    if wanted is PostQuantum.REQUIRED:
        raise LocalProtocolError(
            ErrorCode.E_USAGE,
            "post-quantum keys are required, and the OpenSSL of this Python package has no ML-KEM-768",
            layer="transport",
        )
    return PostQuantum.NO


class Endpoint(Exclusive):
    """All sessions of one swarm member on one address."""

    def __init__(
        self,
        *,
        identity: Identity,
        keys: SwarmKeys,
        also_keys: tuple[SwarmKeys, ...] = (),
        rng: random.Random,
        now: float,
        config: EndpointConfig | None = None,
        insecure_deterministic_keys: bool = False,
        insecure_null_cipher: bool = False,
    ) -> None:
        """Make an endpoint.

        ``keys`` are those that it connects with unless told otherwise. It answers whoever holds these or
        one of ``also_keys``: further swarms, or further modes of one; the events tell which fitted.

        LocalProtocolError when ``rng`` is seeded without ``insecure_deterministic_keys``, when
        ``insecure_null_cipher`` is asked for without both, and when post-quantum keys are required and the
        cryptographic library has none.
        """
        self.stats = EndpointStats()
        self._config = config if config is not None else EndpointConfig()
        self._rng = rng
        source = key_source(
            rng,
            insecure_deterministic_keys=insecure_deterministic_keys,
            insecure_null_cipher=insecure_null_cipher,
        )
        self._source = source
        static = source.x25519()
        self._keys = (keys, *also_keys)
        parameters = replace(self._config.parameters, pq=_post_quantum(self._config.post_quantum))
        self._post_quantum = parameters.pq != PostQuantum.NO
        tokens_key = reset_key(identity, keys.swarm_id)
        parties = tuple(
            LocalParty(identity, each, static, parameters, tokens_key, source.packet_keys)
            for each in self._keys
        )
        self._handshakes = Handshakes(parties, source, self._config, rng, self.stats, now)
        self._now = now
        self._closing = False
        self._reassembly = Reassembly(self._config.objects)
        self._staging = Staging()
        self._scratch = Scratch()
        self._routes = Routes(tokens_key, rng, self.stats, now)
        self._connections: dict[bytes, Connection] = {}
        self._by_peer: dict[bytes, Connection] = {}
        self._ready: deque[Connection] = deque()
        """Sessions that may have something to send; their deadlines are not known before they were asked."""
        self._is_ready: set[bytes] = set()
        """Ids of those, to look up."""
        self._wakeups = Wakeups()
        """When each of the other sessions is due."""
        self._events: deque[EndpointEvent] = deque()

    # Commands

    @exclusive
    def connect(
        self,
        address: Address,
        *,
        expected_peer: bytes | None = None,
        keys: SwarmKeys | None = None,
        now: float,
    ) -> None:
        """Open a session with whoever is at ``address``, with one of the endpoint's keys.

        An attempt or a session under the same keys that is there already is enough.

        Answered by ConnectionEstablished, or ConnectFailed when nobody answers in time or the identity is
        another.
        """
        if self._closing:
            raise LocalProtocolError(ErrorCode.E_USAGE, "the endpoint is closing", layer="transport")
        keys = keys if keys is not None else self._keys[0]
        if keys not in self._keys:
            raise LocalProtocolError(ErrorCode.E_USAGE, "keys that this endpoint was not given")
        now = self._clock(now)
        if self._handshakes.is_trying(address, expected_peer, keys):
            return
        for peer, connection in self._by_peer.items():
            if (connection.session.swarm_id, connection.session.mode) != (keys.swarm_id, keys.mode):
                continue
            if peer == expected_peer or (expected_peer is None and connection.address == address):
                return
        if self._handshakes.attempts + len(self._by_peer) >= self._config.connections:
            self._events.append(
                ConnectFailed(address, expected_peer, ErrorCode.E_BUSY, "too many sessions are open")
            )
            return
        self._handshakes.connect(address, expected_peer, keys, now)

    @exclusive
    def set_record(self, record: bytes) -> None:
        """Set the signed peer record that handshakes carry from now on."""
        self._handshakes.record = record

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
        self,
        peer: bytes,
        root: bytes,
        leaves: bytes,
        header: bytes,
        body: memoryview,
        *,
        priority: int = 0,
        now: float,
    ) -> int | None:
        """Offer an object to ``peer`` and return the transfer's number.

        None when there is no session or no room.

        ``leaves`` is the concatenation of the object's leaf hashes. ``body`` is shared, not copied: it must
        not change. Of several transfers to ``peer`` those of the highest ``priority`` go first.
        """
        connection = self._by_peer.get(peer)
        if connection is None:
            return None
        later = max(now, self._now)
        transfer = connection.objects.offer(root, leaves, header, body, priority=priority, now=later)
        self._clock(now)
        self._touch(connection)
        return transfer

    @exclusive
    def accept_object(
        self, peer: bytes, transfer: int, *, sink: ObjectSink | None = None, now: float
    ) -> bool:
        """Ask for an offered object. False when the offer is gone or there is no room for it now.

        The object goes into ``sink``, or into memory; only what is missing there is asked for.
        LocalProtocolError when the sink is for another object.
        """
        connection = self._by_peer.get(peer)
        if connection is None or not connection.accept_object(transfer, sink, now=max(now, self._now)):
            return False
        self._clock(now)
        self._settle(connection)
        return True

    @exclusive
    def refuse_object(self, peer: bytes, transfer: int, code: int, *, now: float) -> None:
        """Turn down an offer or stop an incoming transfer; nothing happens when it is gone."""
        check_sent_code(code)
        self._clock(now)
        connection = self._by_peer.get(peer)
        if connection is not None:
            connection.objects.refuse(transfer, code)
            self._settle(connection)

    @exclusive
    def withdraw_object(self, peer: bytes, transfer: int, code: int, *, now: float) -> None:
        """Stop offering or sending an object; nothing happens when the transfer is gone."""
        check_sent_code(code)
        self._clock(now)
        connection = self._by_peer.get(peer)
        if connection is not None:
            connection.objects.withdraw(transfer, code)
            self._settle(connection)

    @exclusive
    def disconnect(self, peer: bytes, code: int, reason: str, *, now: float) -> None:
        """End the session with ``peer``; nothing happens when there is none."""
        check_sent_code(code)
        now = self._clock(now)
        connection = self._by_peer.get(peer)
        if connection is not None:
            connection.close(code, reason, now=now)
            self._settle(connection)

    @exclusive
    def close(self, code: int = ErrorCode.NO_ERROR, reason: str = "", *, now: float) -> None:
        """End every session and attempt. Idempotent; ``drained`` tells when nothing is left to say."""
        check_sent_code(code)
        now = self._clock(now)
        if self._closing:
            return
        self._closing = True
        self._handshakes.forget_all()
        for connection in list(self._connections.values()):
            connection.close(code, reason, now=now)
            self._settle(connection)
        self._reassembly.forget_partials()

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

    def datagram_bytes_of(self, peer: bytes) -> int | None:
        """Return the largest datagram that is sent to ``peer`` now, bytes of UDP payload."""
        connection = self._by_peer.get(peer)
        return None if connection is None else connection.datagram_bytes

    def rtt_of(self, peer: bytes) -> float | None:
        """Return the smoothed round-trip time to ``peer``, seconds."""
        connection = self._by_peer.get(peer)
        return None if connection is None else connection.rtt_s

    def progress_of(self, peer: bytes, transfer: int, *, outgoing: bool) -> tuple[int, int] | None:
        """Return how far a transfer is, as :meth:`ObjectExchange.progress` says; None when there is none."""
        connection = self._by_peer.get(peer)
        return None if connection is None else connection.objects.progress(transfer, outgoing=outgoing)

    def occupancy(self) -> dict[str, tuple[int, int]]:
        """How many items each collection holds, and how many it may."""
        return {
            "sessions": (len(self._by_peer), self._config.connections),
            "connection_ids": (len(self._routes), LIMITS.connection_ids * len(self._connections)),
            "partials": (self._reassembly.partial_objects, self._config.objects.partials),
            **self._handshakes.occupancy(),
        }

    def is_quiet(self) -> bool:
        """Whether no session has anything left to deliver, either way."""
        return all(connection.is_quiet for connection in self._by_peer.values())

    def admits_runs_of(self, segment_size: int) -> bool:
        """Whether runs with segments of this size are opened in one sweep."""
        return self._scratch.admits(segment_size)

    # Input

    @exclusive
    def receive_datagram(
        self, data: bytes | memoryview, source: Address, *, now: float, segment_size: int | None = None
    ) -> None:
        """Take a datagram, or a run of datagrams of ``segment_size`` bytes [V-001, R-015].

        Never raises, whatever the bytes.
        """
        now = self._clock(now)
        self.stats.bytes_received += len(data)
        if not segment_size or segment_size >= len(data):
            self._receive_one(data, source, now)
            return
        view = memoryview(data)
        start = 0
        while start < len(view):
            taken = self._receive_run(view[start:], segment_size, source, now)
            if not taken:
                taken = segment_size
                self._receive_one(view[start : start + taken], source, now)
            start += taken

    @exclusive
    def handle_timer(self, *, now: float) -> None:
        """Act on everything that is due; a spurious call does nothing."""
        now = self._clock(now)
        self._handshakes.handle_timer(now)
        self._take_failures()
        self._reassembly.handle_timer(now=now)
        waiting = [connection.local_id for connection in self._ready]
        for local_id in (*self._wakeups.take_due(now), *waiting):
            connection = self._connections.get(local_id)
            due = None if connection is None else connection.due_at()
            if connection is not None and due is not None and due <= now:
                connection.handle_timer(now=now)
                self._settle(connection)

    # Output

    @exclusive
    def next_event(self) -> EndpointEvent | None:
        """Take the next event."""
        return self._events.popleft() if self._events else None

    @property
    def has_events(self) -> bool:
        """Whether an event is ready."""
        return bool(self._events)

    @exclusive
    def next_datagram(self, now: float) -> Transmit | None:
        """Build the next datagram; handshakes first, then the sessions in turn [R-081]."""
        now = self._clock(now)
        handshake = self._handshakes.next_datagram(now)
        if handshake is not None:
            return self._transmit(*handshake)
        reset = self._routes.next_reset()
        if reset is not None:
            return self._transmit(*reset)
        while self._ready:
            connection = self._ready[0]
            elsewhere = connection.next_path_datagram(now)
            if elsewhere is not None:
                self._ready.rotate(-1)
                return self._transmit(*elsewhere)
            packet = connection.next_datagram(now)
            if packet is not None:
                self._ready.rotate(-1)
                return self._transmit(packet.data, connection.address, packet.segment_size)
            self._ready.popleft()
            self._is_ready.discard(connection.local_id)
            self._plan(connection)
        return None

    def deadline(self) -> float | None:
        """When to call ``handle_timer``; not after ``now`` while output is ready."""
        if self._events or self._ready or self._routes.has_resets:
            return self._now
        handshake = self._handshakes.deadline(self._now)
        best = None if handshake is None else handshake[0]
        for due in (self._reassembly.deadline(), self._wakeups.next()):
            if due is not None and (best is None or due < best):
                best = due
        # An ACK may shorten a time-out so that it lies in the past.
        return best if best is None or best > self._now else self._now

    @property
    def deadline_reason(self) -> str:
        """What the deadline is for, in a word or two, for people."""
        if self._events:
            return "events"
        if self._ready or self._routes.has_resets:
            return "datagrams"
        best = self._handshakes.deadline(self._now)
        forget_at = self._reassembly.deadline()
        if forget_at is not None and (best is None or forget_at < best[0]):
            best = (forget_at, "partial")
        for connection in self._connections.values():
            due = connection.deadline()
            if due is not None and (best is None or due[0] < best[0]):
                best = due
        return "nothing" if best is None else best[1]

    # Receiving

    def _receive_run(self, data: memoryview, segment_size: int, source: Address, now: float) -> int:
        """Take the run that ``data`` begins with and return its bytes, 0 where it begins with none."""
        if len(data) <= segment_size or packet_form(data) is not PacketForm.BULK:
            return 0
        connection = self._routes.find(bytes(data[1 : 1 + CONNECTION_ID_BYTES]))
        if connection is None:
            return 0
        taken = connection.receive_run(data, segment_size, source, now=now)
        if taken:
            self.stats.datagrams_received += -(-taken // segment_size)
            self._settle(connection)
        return taken

    def _receive_one(self, data: bytes | memoryview, source: Address, now: float) -> None:
        self.stats.datagrams_received += 1
        form = packet_form(data)
        if form is PacketForm.FOREIGN:
            self.stats.drop("foreign")
        elif form is PacketForm.LONG:
            self._receive_long(data, source, now)
        elif len(data) < SHORT_HEADER.size:
            self.stats.drop("short_packet")
        else:
            connection = self._routes.find(bytes(data[1 : 1 + CONNECTION_ID_BYTES]))
            if connection is None:
                self._on_unknown(data, source, now)
            else:
                connection.receive_packet(data, form, source, now=now)
                self._settle(connection)

    def _on_unknown(self, data: bytes | memoryview, source: Address, now: float) -> None:
        """A short packet without an id of ours: a reset of a session, or one to be answered with a reset."""
        # P-031
        connection = self._routes.reset_by(data)
        if connection is not None:
            self.stats.resets_received += 1
            connection.on_reset(now)
            self._settle(connection)
            return
        self.stats.drop("unknown_connection")
        connection_id = bytes(data[1 : 1 + CONNECTION_ID_BYTES])
        if not self._closing and not self._handshakes.holds(connection_id):
            self._routes.answer(data, source, now)

    def _receive_long(self, data: bytes | memoryview, source: Address, now: float) -> None:
        if self._closing:
            self.stats.drop("closing")
            return
        connection = self._connections.get(bytes(data[DESTINATION_ID_OF_LONG]))
        if connection is not None and connection.incoming and data[0] == FIRST_BYTE_OF_FIN:
            # A FIN that came before: its sender has not heard from us since.
            connection.on_late_finish()
            self._touch(connection)
            self.stats.drop("late_finish")
            return
        try:
            finished = self._handshakes.receive_untrusted(data, source, now)
        except RemoteProtocolError as error:
            self.stats.drop(error.code.name)
        else:
            self._on_finished(finished, now)
        self._take_failures()

    # Connections

    def _on_finished(self, finished: Finished | None, now: float) -> None:
        # S-053
        if finished is None:
            return
        config = self._config
        connection = Connection(
            session=finished.session,
            local_id=finished.local_id,
            remote_id=finished.session.remote_id,
            address=finished.address,
            incoming=finished.incoming,
            grease=self._rng.getrandbits(8) & GREASE_MASK,
            config=config.connection,
            idle_timeout_s=config.parameters.idle_timeout_s,
            max_ack_delay_s=config.parameters.max_ack_delay_s,
            reassembly=self._reassembly,
            new_controller=config.controller,
            issue_id=self._routes.id_source.issue,
            staging=self._staging,
            scratch=self._scratch,
            rng=self._rng,
            stats=self.stats,
            handshake_rtt_s=finished.rtt_s,
            finish=finished.finish,
            source=self._source,
            post_quantum=self._post_quantum and finished.session.parameters.pq != PostQuantum.NO,
            keylog=config.keylog,
            now=now,
        )
        self._install(connection, now)

    def _install(self, new: Connection, now: float) -> None:
        """Make a finished handshake the one session with its peer, or end it when the other one stays."""
        # S-052
        self._connections[new.local_id] = new
        self._routes.update(new)
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
                new.peer,
                new.address,
                new.incoming,
                session.record,
                session.observed_address,
                session.mode,
                session.swarm_id,
                session.version,
            )
        )
        self._settle(new)

    @staticmethod
    def _stays(old: Connection, new: Connection, now: float) -> bool:
        """Whether the older of two sessions with one peer stays (spec 5.8) [S-051].

        The newer one wins, since the peer that opened it may have lost the older, or has learned the manifest
        since and opened it with a member's keys. Only when two handshakes of
        the same two processes ran at once must both sides keep the same one. If each opened one, that is the
        one with the greater handshake hash. If we opened both, it is the first: its peer never hears of the
        second, because it gets no FIN.
        """
        same_processes = old.session.remote_static == new.session.remote_static
        same_keys = (old.session.swarm_id, old.session.mode) == (new.session.swarm_id, new.session.mode)
        if not same_processes or not same_keys or now - old.established_at >= _CROSSING_S:
            return False
        if old.incoming == new.incoming:
            return not new.incoming
        return old.session.handshake_hash > new.session.handshake_hash

    def _settle(self, connection: Connection) -> None:
        """Take a connection's events, let it send, and forget it when it is over."""
        while (event := connection.next_event()) is not None:
            translated = endpoint_event(connection.peer, event)
            if self._by_peer.get(connection.peer) is connection:
                self._events.append(translated)
                if isinstance(event, Closed):
                    del self._by_peer[connection.peer]
        if connection.state is ConnectionState.CLOSED:
            if self._connections.pop(connection.local_id, None) is not None:
                self._routes.remove(connection)
        elif connection.local_ids.has_changes or connection.remote_ids.tokens_changed:
            self._routes.update(connection)
        self._touch(connection)

    def _touch(self, connection: Connection) -> None:
        """Let a connection be asked for datagrams."""
        if connection.local_id not in self._is_ready:
            self._is_ready.add(connection.local_id)
            self._ready.append(connection)

    def _plan(self, connection: Connection) -> None:
        """Note when a connection is due, once it has nothing to send now: nothing else changes that."""
        due = connection.due_at()
        if due is None:
            self._wakeups.discard(connection.local_id)
        else:
            self._wakeups.set(connection.local_id, due)

    def _take_failures(self) -> None:
        """Report attempts that were given up."""
        self._events += self._handshakes.failures
        self._handshakes.failures.clear()

    # Common

    def _clock(self, now: float) -> float:
        """Hold the clock at the latest time seen when it goes backwards."""
        if now < self._now:
            self.stats.clock_steps_back += 1
            return self._now
        self._now = now
        return now

    def _transmit(self, data: bytes, destination: Address, segment_size: int | None = None) -> Transmit:
        self.stats.bytes_sent += len(data)
        self.stats.datagrams_sent += 1 if segment_size is None else -(-len(data) // segment_size)
        return Transmit(data, destination, segment_size)
