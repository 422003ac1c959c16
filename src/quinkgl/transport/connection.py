"""One session with one peer: packets, frames, reliability, objects, and its end (spec chapters 6 to 9).

``Connection`` begins where the handshake ended. It is driven by its ``Endpoint``: datagrams and time go in,
datagrams, events and a deadline come out. Contents, not packets, are sent again: what a lost packet carried
goes back to the part that it came from.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from quinkgl.crypto.keys import KeySource
from quinkgl.transport.closing import Closing
from quinkgl.transport.config import ConnectionConfig
from quinkgl.transport.congestion import CongestionController
from quinkgl.transport.connection_events import (
    Closed,
    ConnectionEvent,
    ConnectionState,
    ControlMessage,
    Moved,
)
from quinkgl.transport.connection_ids import ConnectionId, LocalIds, RemoteIds
from quinkgl.transport.finish import LIFETIME_S as FINISH_LIFETIME_S
from quinkgl.transport.finish import Finish
from quinkgl.transport.flow import PROBES, Flow
from quinkgl.transport.frame_packets import FramePackets
from quinkgl.transport.handshake import Session
from quinkgl.transport.key_schedule import KeyLog, KeySchedule
from quinkgl.transport.objects import ObjectExchange
from quinkgl.transport.owners import ContentOwners
from quinkgl.transport.path_mtu import PathMtu
from quinkgl.transport.paths import PathChange, Paths
from quinkgl.transport.reassembly import Reassembly
from quinkgl.transport.received import ReceivedPackets
from quinkgl.transport.scratch import Scratch
from quinkgl.transport.sealing import Sealer
from quinkgl.transport.silence import SilenceWatch
from quinkgl.transport.sinks import ObjectSink
from quinkgl.transport.staging import Staging
from quinkgl.transport.stats import EndpointStats
from quinkgl.transport.timers import Timer, TimerTable
from quinkgl.wire.addresses import Address
from quinkgl.wire.control import Channel, ControlReader
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.frames import (
    PING,
    Ack,
    Close,
    Control,
    Frame,
    MaxControl,
    MaxData,
    NewCid,
    PathChallenge,
    PathResponse,
    RetireCid,
    decode_frames_untrusted,
)
from quinkgl.wire.packets import (
    BULK_HEADER,
    BULK_OVERHEAD_BYTES,
    SHORT_HEADER,
    SHORT_OVERHEAD_BYTES,
    TAG_BYTES,
    PacketForm,
)

if TYPE_CHECKING:
    import random

_LOSS_TIMERS = 2
"""What the loss timer found lost may have hidden that the probe time-out is over too."""
_PROBES_PER_IDLE_TIMEOUT = 10
"""Doubled for ever, probes would soon be rarer than that, and a bad path would pass for a dead one."""
_KEEPALIVES_PER_IDLE_TIMEOUT = 4
"""Three of four may be lost before a peer that asked for a short idle time-out gives us up."""


class Outgoing(NamedTuple):
    """A datagram to send, or a run of datagrams of ``segment_size`` bytes (the last may be shorter)."""

    data: bytes
    segment_size: int | None = None


class Connection:
    """One session with one peer."""

    def __init__(
        self,
        *,
        session: Session,
        local_id: bytes,
        remote_id: bytes,
        address: Address,
        incoming: bool,
        grease: int,
        config: ConnectionConfig,
        idle_timeout_s: float,
        max_ack_delay_s: float,
        new_controller: Callable[[int], CongestionController],
        issue_id: Callable[[], tuple[bytes, bytes]],
        reassembly: Reassembly,
        staging: Staging,
        scratch: Scratch,
        rng: random.Random,
        stats: EndpointStats,
        handshake_rtt_s: float | None,
        finish: bytes | None,
        source: KeySource,
        post_quantum: bool,
        keylog: KeyLog | None,
        now: float,
    ) -> None:
        """Start a session.

        ``new_controller`` makes the congestion controller of a path from its datagram size; ``issue_id``
        makes a connection id for packets to us, with its reset token. ``staging`` and ``scratch`` are the
        endpoint's; ``rng`` chooses which packet numbers are skipped and what path challenges say.
        ``post_quantum`` says that both sides offer ML-KEM-768. ``finish`` is the initiator's last handshake
        datagram, sent until the peer shows it came.
        """
        self.session = session
        self.peer = session.peer_id
        self.local_id = local_id
        self.remote_id = remote_id
        self.address = address
        self.local_ids = LocalIds(ConnectionId(0, local_id, b""), issue_id)
        self.remote_ids = RemoteIds(ConnectionId(0, remote_id, session.parameters.reset_token))
        self._paths = Paths(address, self.remote_ids, rng.randbytes, now)
        self.incoming = incoming
        self.established_at = now
        self._stats = stats
        self._scratch = scratch
        self._timers = TimerTable()
        self._idle_timeout_s = min(idle_timeout_s, session.parameters.idle_timeout_s)
        self._keepalive_s = min(config.keepalive_s, self._idle_timeout_s / _KEEPALIVES_PER_IDLE_TIMEOUT)
        self._max_ack_delay_s = max_ack_delay_s
        most = session.parameters.max_datagram_bytes
        self._flow = Flow(
            make_mtu=lambda: PathMtu.within(
                most, config.datagram_bytes, config.max_datagram_bytes, discovery=config.mtu_discovery
            ),
            new_controller=new_controller,
            max_ack_delay_s=session.parameters.max_ack_delay_s,
            run_packets=config.run_packets,
            timers=self._timers,
            stats=stats,
            max_probe_interval_s=self._idle_timeout_s / _PROBES_PER_IDLE_TIMEOUT,
            rng=rng,
        )
        flow = self._flow
        self._recovery = flow.recovery
        if handshake_rtt_s is not None:
            self._recovery.rtt.sample(handshake_rtt_s, 0.0)
        self._received = ReceivedPackets()
        self._keys = KeySchedule(
            send=session.send_keys,
            receive=session.receive_keys,
            handshake_hash=session.handshake_hash,
            initiator=not incoming,
            post_quantum=post_quantum,
            source=source,
            limits=config.keys,
            probe_timeout=lambda: flow.probe_timeout_s,
            now=now,
            log=keylog,
            send_id=remote_id,
            receive_id=local_id,
        )
        self._sealer = Sealer(
            connection_id=remote_id,
            grease=grease,
            keys=self._keys,
            recovery=self._recovery,
            staging=staging,
        )
        self._reader = ControlReader()
        self.objects = ObjectExchange(reassembly, session.peer_id)
        self._frames = FramePackets(self._received, self.objects, self.local_ids, self.remote_ids)
        self._owners = ContentOwners(
            self._frames, self.objects, self._received, self.local_ids, self.remote_ids
        )
        self._silence = SilenceWatch(self._timers, self._keepalive_s, now)
        self._closing = Closing(self._timers, stats, close_timeout_s=config.close_timeout_s)
        self._events: deque[ConnectionEvent] = deque()
        self._finish = Finish(finish, self._timers)
        # The responder shows with its first packet that message 3 arrived.
        self._frames.ping_due = incoming
        if incoming:
            self.local_ids.supply()
        first_wait_s = self._idle_timeout_s if incoming else min(self._idle_timeout_s, FINISH_LIFETIME_S)
        self._timers.set(Timer.IDLE, now + first_wait_s)
        self._timers.set(Timer.KEEPALIVE, now + self._keepalive_s)

    # Commands

    def send_message(self, channel: Channel, body: bytes) -> bool:
        """Queue a message on the CONTROL stream. False when the session is ending or the queue is full."""
        if self.state is not ConnectionState.OPEN or not self.has_message_room:
            return False
        self._frames.hold(channel, body)
        if self._keys.application_allowed:
            self._frames.release()
        return True

    @property
    def has_message_room(self) -> bool:
        """Whether the CONTROL queue takes another message."""
        return self._frames.has_message_room

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is left to deliver: no transfer is open and the peer has every message."""
        return not self.objects.has_open_transfers and not self._frames.queued_bytes

    def accept_object(self, transfer: int, sink: ObjectSink | None, *, now: float) -> bool:
        """Ask for an offered object, as :meth:`ObjectExchange.accept` says."""
        accepted = self.objects.accept(transfer, sink, now=now)
        self._collect()  # an object that lacks nothing is there at once
        return accepted

    @property
    def state(self) -> ConnectionState:
        """Where the session is between the end of its handshake and its end."""
        return self._closing.state

    def close(self, code: int, reason: str, *, now: float) -> None:
        """End the session: tell the peer, answer late packets for a while, then be CLOSED. Idempotent."""
        if self.state is ConnectionState.OPEN:
            self._end(code, reason, by_remote=False, now=now)

    @property
    def datagram_bytes(self) -> int:
        """The largest datagram that is sent now; path MTU discovery changes it."""
        return self._flow.mtu.datagram_bytes

    @property
    def rtt_s(self) -> float:
        """Smoothed round-trip time, seconds."""
        return self._recovery.rtt.smoothed

    # Input

    def receive_packet(
        self, data: bytes | memoryview, form: PacketForm, source: Address, *, now: float
    ) -> bool:
        """Take a short packet that bears one of our connection ids. Never raises, whatever the bytes.

        Returns whether it was authentic and new [P-022, P-023, P-024, F-063].
        """
        state = self._closing.state
        if state is ConnectionState.DRAINING or state is ConnectionState.CLOSED:
            self._stats.drop("session_over")
            return False
        header = BULK_HEADER if form is PacketForm.BULK else SHORT_HEADER
        if len(data) < header.size + TAG_BYTES:
            self._stats.drop("short_packet")
            return False
        fields = header.unpack_from(data)
        number: int = fields[2]
        if not self._received.is_new(number):
            self._stats.drop("replay")
            return False
        try:
            plaintext = self._keys.open_untrusted(
                number, data[0], bytes(data[: header.size]), bytes(data[header.size :]), now
            )
        except RemoteProtocolError as error:
            if self.state is ConnectionState.OPEN:
                self._abort(error, now)
            return False
        if plaintext is None:
            self._stats.drop("tag")
            return False
        if self.state is ConnectionState.CLOSING:
            self._mark(number, now, eliciting=False)
            self._closing.on_late_packet(plaintext, form, now)
            return True
        self._on_authentic(now)
        if form is PacketForm.BULK:
            if self._mark(number, now, eliciting=True):
                self._on_newest(number, len(data), source, now)
            self._take_chunk(fields[3], fields[4], plaintext, now)
        else:
            try:
                self._receive_frames_untrusted(fields, plaintext, source, len(data), now)
            except RemoteProtocolError as error:
                self._abort(error, now)
        self._after_input(now)
        return True

    def receive_run(self, data: memoryview, segment_size: int, source: Address, *, now: float) -> int:
        """Take the run of bulk packets that ``data`` begins with, in one sweep where it is regular [P-016].

        ``data`` holds segments of ``segment_size`` bytes (the last may be shorter); the first one bears our
        connection id. Returns how many bytes were taken, 0 where the first segment must be taken by itself.
        Never raises, whatever the bytes.
        """
        scratch = self._scratch
        if self.state is not ConnectionState.OPEN:
            return 0
        if not scratch.admits(segment_size):
            if self.receive_packet(data[:segment_size], PacketForm.BULK, source, now=now):
                scratch.admit(segment_size)
            return segment_size
        run = scratch.read_untrusted(data, segment_size)
        if run is None:
            return 0
        keys = self._keys.receive_keys_for(run.first_byte)
        plaintext = None
        if keys is not None and self._received.is_new_run(run.number, run.packets):
            plaintext = scratch.open_untrusted(keys, run, segment_size)
        if plaintext is None:
            for start in range(0, run.size, segment_size):
                packet = data[start : min(start + segment_size, run.size)]
                self.receive_packet(packet, PacketForm.BULK, source, now=now)
            return run.size
        try:
            self._keys.opened_untrusted(run.number, run.number + run.packets - 1)
        except RemoteProtocolError as error:
            self._abort(error, now)
            return run.size
        self._on_authentic(now)
        if self._mark(run.number, now, eliciting=True, count=run.packets):
            self._on_newest(run.number + run.packets - 1, run.size, source, now)
        self._take_chunk(run.transfer, run.offset, plaintext, now)
        self._after_input(now)
        return run.size

    def handle_timer(self, *, now: float) -> None:
        """Act on every timer that is due; a spurious call does nothing."""
        timers = self._timers
        self._closing.handle_timer(now)
        if timers.expired(Timer.IDLE, now):
            if self._finish.is_unproven:
                self._finish_silently(ErrorCode.E_HS_TIMEOUT, "no packet showed that message 3 arrived", now)
            else:
                self._finish_silently(ErrorCode.E_IDLE, "nothing was heard for the idle time-out", now)
        if self.state is not ConnectionState.OPEN:
            return
        self._finish.handle_timer(now)
        if timers.expired(Timer.KEEPALIVE, now):
            self._frames.ping_due = True
        if self._silence.is_due(self._flow.probe_timeout_s, now, expects=self.objects.expects_chunks):
            self._frames.ping_due = True
        timers.expired(Timer.PACING, now)
        self.objects.handle_timer(now=now)
        self._collect()
        if self._paths.is_busy and self._paths.handle_timer(now):
            self._on_path_given_up(now)
            if self.state is not ConnectionState.OPEN:
                return
        for _ in range(_LOSS_TIMERS):
            due = self._recovery.deadline()
            if due is not None and due <= now:
                self._on_loss_timer(now)
        due = self._keys.deadline()
        if due is not None and due <= now:
            try:
                self._keys.handle_timer_untrusted(now)
            except RemoteProtocolError as error:
                self._abort(error, now)

    # Output

    def next_event(self) -> ConnectionEvent | None:
        """Take the next event."""
        return self._events.popleft() if self._events else None

    def next_datagram(self, now: float) -> Outgoing | None:
        """Build the next datagram or run, None when there is nothing to say or it must wait."""
        if self._closing.state is not ConnectionState.OPEN:
            close_frame = self._closing.next_frame(self._flow.probe_timeout_s, now)
            return None if close_frame is None else Outgoing(self._sealer.frames(close_frame, now))
        finish = self._finish.take(self._flow.probe_timeout_s, now)
        if finish is not None:
            return Outgoing(finish)
        frames = self._next_frames(now)
        if frames is not None or not self.objects.has_chunk:
            return frames
        return self._next_mtu_probe(now) or self._next_bulk(now)

    def next_path_datagram(self, now: float) -> tuple[bytes, Address] | None:
        """Build the next path challenge or answer, and say where it goes [Q-002, Q-012, Q-015].

        Its loss says nothing about the current path, so recovery never hears of it.
        """
        if not self._paths.is_busy or self.state is not ConnectionState.OPEN:
            return None
        packet = self._paths.next_packet(now)
        if packet is None:
            return None
        return self._sealer.frames(packet.frames, now, packet.connection_id), packet.address

    def due_at(self) -> float | None:
        """When to call ``handle_timer`` or drain next."""
        best = self._timers.earliest()
        if self._closing.state is ConnectionState.OPEN:
            for when in (
                self._recovery.deadline(),
                self._received.ack_at,
                self.objects.deadline(),
                self._keys.deadline(),
                self._paths.deadline(),
            ):
                if when is not None and (best is None or when < best):
                    best = when
        return best

    def deadline(self) -> tuple[float, str] | None:
        """As ``due_at``, and why."""
        timer = self._timers.next()
        best = None if timer is None else (timer[0], timer[1].name.lower())
        if self.state is ConnectionState.OPEN:
            for when, why in (
                (self._recovery.deadline(), "loss"),
                (self._received.ack_at, "ack"),
                (self.objects.deadline(), "rate"),
                (self._keys.deadline(), "keys"),
                (self._paths.deadline(), "path"),
            ):
                if when is not None and (best is None or when < best[0]):
                    best = (when, why)
        return best

    # Receiving

    def _receive_frames_untrusted(
        self, header: tuple[Any, ...], plaintext: bytes, source: Address, size: int, now: float
    ) -> None:
        # F-004, F-010, F-023
        frames = decode_frames_untrusted(plaintext)
        eliciting = _ask_for_an_ack(frames)
        if self._mark(header[2], now, eliciting=eliciting):
            self._on_newest(header[2], size, source, now)
        for frame in frames:
            match frame:
                case Ack():
                    self._on_ack_untrusted(frame, now)
                case Control(offset, data):
                    self._on_control_untrusted(offset, data, now)
                case MaxControl(limit):
                    self._frames.control_out.on_credit(limit)
                case MaxData(transfer, limit):
                    self.objects.receive_credit(transfer, limit)
                case PathChallenge(data):
                    self._paths.on_challenge(data, source)
                case PathResponse(data):
                    change = self._paths.on_response_untrusted(data)
                    if change is not None:
                        self._on_path_changed(change)
                case NewCid(sequence, connection_id, token):
                    self.remote_ids.receive_untrusted(ConnectionId(sequence, connection_id, token))
                case RetireCid(sequence):
                    self.local_ids.retire_untrusted(sequence, header[1])
                case Close(code, reason):
                    self._end(code, reason, by_remote=True, now=now)
                    return
                case _:
                    pass

    def _take_chunk(self, transfer: int, offset: int, chunk: bytes | memoryview, now: float) -> None:
        self.objects.window.on_received(len(chunk), self._recovery.rtt.smoothed, now)
        try:
            self.objects.receive_chunk_untrusted(transfer, offset, chunk)
        except RemoteProtocolError as error:
            self._abort(error, now)

    def _after_input(self, now: float) -> None:
        self._collect()
        if self._keys.is_used_up:
            self.close(ErrorCode.E_AEAD_LIMIT, "the session's key is used up", now=now)

    def _mark(self, number: int, now: float, *, eliciting: bool, count: int = 1) -> bool:
        return self._received.add(
            number, now, eliciting=eliciting, max_ack_delay_s=self._max_ack_delay_s, count=count
        )

    def _on_authentic(self, now: float) -> None:
        """Any authentic packet proves the peer alive, and that it has the handshake's last message."""
        # F-065
        self._timers.set(Timer.IDLE, now + self._idle_timeout_s)
        if self._finish.is_unproven:
            self._finish.prove()
            self.local_ids.supply()
        self._silence.heard_at = now
        if not self._silence.is_on and self.objects.expects_chunks:
            self._silence.begin(self._flow.probe_timeout_s, now)

    def _on_newest(self, number: int, size: int, source: Address, now: float) -> None:
        """The highest packet number so far tells where the peer is now [Q-001]."""
        path = self._paths.current
        if source == path.address:
            path.heard_number = number
            path.heard_at = now
        else:
            self._paths.on_elsewhere(number, size, source, now, self._recovery.rtt.loss_delay())

    def _on_path_changed(self, change: PathChange) -> None:
        """The peer answered at another address: everything goes there from now on (RFC 9000 section 9)."""
        #
        self._stats.paths_validated += 1
        self.address = change.address
        self.remote_id = self._sealer.connection_id = self._paths.current.connection_id.id
        self._flow.on_new_path(is_new_host=change.is_new_host)
        self._send_probes()
        self._events.append(Moved(change.address))

    def _on_path_given_up(self, now: float) -> None:
        """A candidate did not answer; a session whose own path is as dead as an idle one has none left."""
        #
        self._stats.drop("path_given_up")
        if now - self._paths.current.heard_at >= self._idle_timeout_s:
            self._finish_silently(ErrorCode.E_NO_PATH, "the peer does not answer where it sends from", now)

    def on_reset(self, now: float) -> None:
        """The peer has lost the session (spec 6b.6): it is over, and nothing is said about it [Q-042]."""
        if self.state is ConnectionState.OPEN:
            self._finish_silently(ErrorCode.E_RESET, "the peer no longer knows the session", now)

    def on_late_finish(self) -> None:
        """The peer sent message 3 again: show it once more that it came [S-046]."""
        if self.state is ConnectionState.OPEN:
            self._frames.ping_due = True

    def _on_ack_untrusted(self, ack: Ack, now: float) -> None:
        #
        result = self._flow.on_ack_untrusted(ack.ranges, ack.delay_s, now)
        for part in result.acknowledged:
            self._owners.on_acknowledged(part.contents)
        for part in result.lost:
            self._owners.send_again(part)
        self._keys.on_acknowledged(ack.ranges[0][1], now)
        self._keys.on_stream_acknowledged(self._frames.control_out.acknowledged, now)

    def _on_control_untrusted(self, offset: int, data: bytes, now: float) -> None:
        # F-042
        ready = self._frames.control_in.receive_untrusted(offset, data)
        for channel, message in self._reader.feed_untrusted(ready):
            if channel is Channel.SESSION:
                self._keys.receive_message_untrusted(message, now)
                # The peer goes on once it hears that we have the message.
                self._frames.ping_due = True
            elif not self._keys.application_expected:
                raise RemoteProtocolError(
                    ErrorCode.E_HS_PQ_REQUIRED,
                    f"a message on channel {channel} before the keys have the ML-KEM-768 secret",
                    layer="transport",
                    section="K-038",
                )
            elif channel is Channel.OBJECTS:
                self.objects.receive_message_untrusted(message, now=now)
            else:
                self._collect()
                self._events.append(ControlMessage(channel, message))
        self._frames.on_control_read()

    def _on_loss_timer(self, now: float) -> None:
        lost = self._flow.on_timeout(now)
        for part in lost:
            self._owners.send_again(part)
        if not lost:
            self._send_probes()

    def _send_probes(self) -> None:
        """Probes carry the oldest contents again, so that they help if all in flight was lost."""
        #
        for part in self._recovery.oldest(PROBES):
            self._owners.send_again(part)
        self._flow.probes_due = PROBES

    def _collect(self) -> None:
        """Translate the object exchange's events, in order with the messages around them."""
        while (event := self.objects.next_event()) is not None:
            self._events.append(event)

    # Sending

    def _next_frames(self, now: float) -> Outgoing | None:
        # K-037
        frames = self._frames
        frames.move_key_messages(self._keys)
        if self._keys.application_allowed:
            frames.release()
            frames.move_object_messages()
        probing = self._flow.probes_due > 0
        elicit = frames.wants_to_elicit(now, probing=probing) and self._flow.may_send(now)
        if not elicit and not frames.is_ack_due(now):
            return None
        room = self._flow.next_size - SHORT_OVERHEAD_BYTES
        payload, contents = frames.payload(room, now, elicit=elicit)
        packet = self._sealer.frames(payload, now)
        if elicit:
            self._recovery.on_sent(self._recovery.next_number - 1, len(packet), contents, now)
            self._on_sent_eliciting(len(packet), now)
        return Outgoing(packet)

    def _next_bulk(self, now: float) -> Outgoing | None:
        if not self._flow.may_send(now):
            return None
        size = self._flow.next_size
        room = self._flow.sendable_packets(size) * (size - BULK_OVERHEAD_BYTES)
        taken = self.objects.next_chunk(room)
        if taken is None:
            return None
        chunk, body = taken
        sealed = self._sealer.bulk(chunk, body, size, now)
        self._recovery.on_sent(
            sealed.number, sealed.size, (chunk,), now, count=sealed.packets, last_size=sealed.last_size
        )
        self._on_sent_eliciting(len(sealed.data), now)
        return Outgoing(sealed.data, size if sealed.packets > 1 else None)

    def _next_mtu_probe(self, now: float) -> Outgoing | None:
        """Build a probe for a larger datagram; there is bulk data that would profit [Q-050]."""
        size = self._flow.mtu_probe_due(now)
        if size is None:
            return None
        packet = self._sealer.frames(PING + bytes(size - SHORT_OVERHEAD_BYTES - len(PING)), now)
        self._flow.on_mtu_probe_sent(size, now)
        return Outgoing(packet)

    def _on_sent_eliciting(self, size: int, now: float) -> None:
        self._flow.on_sent(size)
        self._timers.set(Timer.KEEPALIVE, now + self._keepalive_s)

    # The end

    def _abort(self, error: RemoteProtocolError, now: float) -> None:
        self._stats.drop(error.code.name)
        self._end(error.code, error.message, by_remote=False, now=now)

    def _end(self, code: int, reason: str, *, by_remote: bool, now: float) -> None:
        # F-060
        self._leave_open(code, reason, by_remote=by_remote, now=now)
        self._closing.begin(
            code, reason, by_remote=by_remote, probe_timeout_s=self._flow.probe_timeout_s, now=now
        )

    def _finish_silently(self, code: int, reason: str, now: float) -> None:
        self._leave_open(code, reason, by_remote=False, now=now)
        self._closing.finish()

    def _leave_open(self, code: int, reason: str, *, by_remote: bool, now: float) -> None:
        # F-064
        self.objects.close(code, now=now)
        self._collect()
        self._events.append(Closed(code, reason, by_remote))


def _ask_for_an_ack(frames: list[Frame]) -> bool:
    for frame in frames:  # noqa: SIM110  a generator would cost more than the work
        if not isinstance(frame, (Ack, Close)):
            return True
    return False
