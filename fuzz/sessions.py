"""An endpoint with live sessions, made anew for each input, and the hostile peer at the other end.

The handshake of each session is run once in a process; what it leaves, the keys and the names of both sides,
begins the session in every new endpoint, at the place where a finished handshake begins it. So an input costs
no public-key work, and each run begins in the very same state.
"""

from __future__ import annotations

import copy
import random
from functools import lru_cache
from typing import Any

from fuzz.oracles import Bound, Finding, compares_states, metered
from quinkgl.testing.contract import Checked
from quinkgl.testing.endpoints import MEMBER, A, ScriptedPeer, drain, make_identity
from quinkgl.testing.network import datagrams_of
from quinkgl.transport import ConnectionLost, Endpoint, ObjectArrived, OfferReceived, leaf_hashes, merkle_root
from quinkgl.transport.handshakes import Finished
from quinkgl.wire.addresses import Address
from quinkgl.wire.control import encode_control
from quinkgl.wire.errors import LocalProtocolError
from quinkgl.wire.frames import (
    Control,
    NewCid,
    PathChallenge,
    decode_frames_untrusted,
    encode_control_frame,
)
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.messages.session import PostQuantum, TransportParameters
from quinkgl.wire.packets import (
    BULK_BIT,
    BULK_HEADER,
    FIRST_BYTE_OF_INIT,
    KEY_PHASE_BIT,
    SHORT_HEADER,
    PacketForm,
    packet_form,
)

DATAGRAM = Bound(calls=6000, calls_per_byte=8, memory=1_500_000, memory_per_byte=80)
"""What a datagram may cost: all that it sets off, reading, verifying, judging. The memory is mostly that of
the windows and scratch buffers that a session makes when it first needs them."""
START = 1.0
"""When the sessions begin, seconds."""
RTT_S = 0.05
_MOST_DATAGRAMS = 600
"""At one instant: initial windows and answers are far below."""
_SHORT = 0x40
PEER_ADDRESS = A
OTHERS: tuple[Address, ...] = (("192.0.2.77", 4001), ("203.0.113.9", 555), ("192.0.2.1", 4002))
POST_QUANTUM = frozenset({1002, 1003})
"""Peers that offer ML-KEM-768, as the endpoint does: nothing else is said before it is in the keys."""


@lru_cache(maxsize=8)
def finished(seed: int, *, incoming: bool) -> tuple[Finished, ScriptedPeer]:
    """Run a handshake between endpoint 1 and a scripted peer; return what it left at either side.

    Each is of a life of the endpoint of its own, so that no two sessions bear the same connection id.
    """
    endpoint = Endpoint(
        identity=make_identity(1),
        keys=MEMBER,
        rng=random.Random(f"{seed} {incoming}"),
        now=0.0,
        insecure_deterministic_keys=True,
    )
    caught: list[Finished] = []
    install = endpoint._on_finished

    def catch(done: Finished | None, now: float) -> None:
        if done is not None:
            caught.append(done)
        install(done, now)

    endpoint._on_finished = catch  # type: ignore[method-assign]
    pq = PostQuantum.OFFERED if seed in POST_QUANTUM else PostQuantum.NO
    peer = ScriptedPeer(seed, keys=MEMBER, parameters=TransportParameters(pq=pq))
    if incoming:
        peer.join(endpoint, rtt_s=RTT_S)
    else:
        endpoint.connect(PEER_ADDRESS, now=0.0)
        _, sent = drain(endpoint, 0.0)
        endpoint.receive_datagram(peer.respond(bytes(sent[0].data)), PEER_ADDRESS, now=RTT_S)
        _, sent = drain(endpoint, RTT_S)
        peer.take_fin(bytes(sent[0].data))
    peer.next_number = 0
    return caught[0], peer


def install(endpoint: Any, done: Finished, now: float) -> None:
    """Do what an endpoint does when a handshake ends."""
    endpoint._handshakes._drop_attempts(done.session, done.address)
    endpoint._on_finished(done, now)


def begin(endpoint: Any, seed: int, *, incoming: bool, now: float = START) -> ScriptedPeer:
    """Begin a session in an endpoint; return the peer at its other end."""
    done, template = finished(seed, incoming=incoming)
    peer = copy.copy(template)
    peer.given, peer.received, peer.ids = [], [], [template.local_id]
    install(endpoint, done, now)
    if peer.peer_id not in endpoint.peers():
        raise RuntimeError("the session did not begin")
    return peer


class Hostile:
    """A machine (an endpoint, or a swarm around one) and one hostile peer, who holds the session's keys."""

    def __init__(self, machine: Any, peer: ScriptedPeer, *, now: float = START) -> None:
        self.raw = machine
        self.machine = Checked(machine, deep=False, now=now) if compares_states() else machine
        self.peer = peer
        self.now = now
        self.source: Address = PEER_ADDRESS
        self.stream = 0
        """The next offset of the CONTROL stream."""
        self.events: list[Any] = []
        self.frames: list[Any] = []
        """What the machine said, since it was last looked at."""
        self.challenges: list[bytes] = []
        self.offers: list[int] = []
        self.sent: list[bytes] = []
        """Datagrams of the peer, to be replayed."""
        self.heard: dict[Address, int] = {}
        self.told: dict[Address, int] = {}
        self.moved: set[Address] = {PEER_ADDRESS}
        self.is_over = False
        self.reads = True
        self.settle()

    # --- what the peer does ---

    def deliver(self, datagram: bytes, *, segment_size: int | None = None) -> None:
        """Let a datagram arrive; nothing may leave but by the outputs."""
        self.sent = [*self.sent[-15:], datagram]
        self.heard[self.source] = self.heard.get(self.source, 0) + len(datagram)
        metered(
            DATAGRAM, len(datagram), self.machine.receive_datagram, datagram, self.source, now=self.now,
            segment_size=segment_size,
        )  # fmt: skip
        self.settle()

    def seal(self, payload: bytes, *, number: int | None = None, phase: int = 0) -> bytes:
        """Return a packet of frames, under the session's keys or those of a later key phase."""
        if phase:
            return self._seal_later(payload, phase)
        return self.peer.seal(payload, number=number)

    def _seal_later(self, payload: bytes, phase: int) -> bytes:
        keys = self.peer.session.send_keys
        for _ in range(phase):
            keys = keys.next_phase()
        number = self.peer.next_number
        self.peer.next_number += 1
        first = _SHORT | (KEY_PHASE_BIT if phase & 1 else 0)
        header = SHORT_HEADER.pack(first, self.peer.remote_id, number)
        return header + keys.seal(number, header, payload)

    def control(self, channel: int, body: bytes) -> bytes:
        """Return the frame that goes on with the CONTROL stream with one message."""
        data = encode_control(channel, body[: LIMITS.control_message_bytes])
        frame = encode_control_frame(self.stream, data)
        self.stream += len(data)
        return frame

    def message(self, channel: int, body: bytes) -> None:
        """Send one message, in packets as large as they may be."""
        data = encode_control(channel, body[: LIMITS.control_message_bytes])
        for at in range(0, len(data), 1200):
            piece = data[at : at + 1200]
            self.deliver(self.seal(encode_control_frame(self.stream, piece)))
            self.stream += len(piece)

    def run(self, transfer: int, offset: int, pieces: list[bytes], number: int | None = None) -> bytes:
        """Return bulk packets that follow on each other, one after the other in a buffer."""
        number = self.peer.next_number if number is None else number
        packets = []
        for index, piece in enumerate(pieces):
            header = BULK_HEADER.pack(
                _SHORT | BULK_BIT, self.peer.remote_id, number + index, transfer, offset
            )
            packets.append(header + self.peer.session.send_keys.seal(number + index, header, piece))
            offset += len(piece)
        self.peer.next_number = max(self.peer.next_number, number + len(pieces))
        return b"".join(packets)

    # --- what time and the application do ---

    def wait(self, seconds: float) -> None:
        """Let time pass as the machine asks, firing each timer that is due; each must bring it on."""
        end = self.now + seconds
        for _ in range(400):
            deadline = self.machine.deadline()
            if deadline is None or deadline > end:
                break
            self.now = max(self.now, deadline)
            self.machine.handle_timer(now=self.now)
            self.settle()
            after = self.machine.deadline()
            if after is not None and after <= deadline and after <= self.now:
                raise Finding(f"no progress: fired at {deadline}, due again at {after}")
        self.now = end

    def command(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a command; None where it is a misuse."""
        try:
            result = getattr(self.machine, name)(*args, now=self.now, **kwargs)
        except LocalProtocolError:
            result = None
        self.settle()
        return result

    def settle(self) -> None:
        """Take all that is ready and judge it."""
        while (event := self.machine.next_event()) is not None:
            self._judge(event)
        count = 0
        while (transmit := self.machine.next_datagram(self.now)) is not None:
            for datagram in datagrams_of(transmit):
                count += 1
                self._read(datagram, transmit.destination)
            if count > _MOST_DATAGRAMS:
                raise Finding(f"{count} datagrams at one instant")
        while (event := self.machine.next_event()) is not None:
            self._judge(event)

    def _judge(self, event: Any) -> None:
        self.events.append(event)
        match event:
            case ObjectArrived():
                if merkle_root(leaf_hashes(event.body)) != event.root:
                    raise Finding("bytes that were not verified came out")
            case OfferReceived() if event.peer == self.peer.peer_id:
                self.offers = [*self.offers[-7:], event.transfer]
            case ConnectionLost() if event.peer == self.peer.peer_id:
                self.is_over = True

    def _read(self, datagram: bytes, destination: Address) -> None:
        if len(datagram) > LIMITS.max_datagram_bytes:
            raise Finding(f"a datagram of {len(datagram)} bytes")
        if datagram[0] == FIRST_BYTE_OF_INIT:
            return  # where the application told it to connect to
        if destination not in self.moved:
            told = self.told[destination] = self.told.get(destination, 0) + len(datagram)
            if self._lives_at(destination):
                self.moved.add(destination)
            elif told > LIMITS.unvalidated_factor * self.heard.get(destination, 0):
                raise Finding(f"{told} bytes to {destination}, which sent {self.heard.get(destination, 0)}")
        if packet_form(datagram) is PacketForm.LONG or datagram[1:9] not in self.peer.ids or not self.reads:
            return
        self._open(datagram)

    def _lives_at(self, destination: Address) -> bool:
        endpoint = getattr(self.raw, "_endpoint", self.raw)
        return any(endpoint.address_of(peer) == destination for peer in endpoint.peers())

    def _open(self, datagram: bytes) -> None:
        header = BULK_HEADER if packet_form(datagram) is PacketForm.BULK else SHORT_HEADER
        number = header.unpack_from(datagram)[2]
        payload = self.peer._open(number, datagram[: header.size], datagram[header.size :])
        if payload is None:
            return  # under a key that the peer was told of in a message that it did not read
        self.peer.received = [*self.peer.received[-63:], number]
        if header is BULK_HEADER:
            return
        for frame in decode_frames_untrusted(payload):
            if isinstance(frame, PathChallenge):
                self.challenges = [*self.challenges[-3:], frame.data]
            elif isinstance(frame, NewCid):
                self.peer.given = [*self.peer.given[-7:], frame]
            elif isinstance(frame, Control):
                self.frames = [*self.frames[-15:], frame]
