"""Endpoints of one swarm for tests: a pair on a virtual network, and a peer whose packets a test writes.

:class:`ScriptedPeer` holds the same keys as an honest member and the codecs of the wire, so that a test can
say exactly what arrives at an endpoint: a packet number twice, a chunk beyond the credit, an identity that is
not its own. One seed gives one run, keys included: the keys protect nothing.
"""

from __future__ import annotations

import random
from typing import Any

from quinkgl.crypto.cookie import mac2, open_cookie_untrusted
from quinkgl.crypto.identity import Identity
from quinkgl.crypto.keys import KeySource
from quinkgl.crypto.mac import mac1
from quinkgl.crypto.packet_keys import PacketKeys
from quinkgl.crypto.psk import SwarmKeys, derive_member_keys
from quinkgl.testing.contract import Checked
from quinkgl.testing.network import Link, Node, VirtualNetwork, datagrams_of
from quinkgl.transport import ConnectionEstablished, Endpoint, EndpointConfig, Transmit
from quinkgl.transport.handshake import Initiator, LocalParty, Responder, Session
from quinkgl.wire.addresses import Address
from quinkgl.wire.frames import Ack, Frame, NewCid, decode_frames_untrusted, encode_ack
from quinkgl.wire.messages.session import TransportParameters
from quinkgl.wire.packets import (
    BULK_BIT,
    BULK_HEADER,
    CONNECTION_ID_BYTES,
    COOKIE_NONCE_BYTES,
    KEY_PHASE_BIT,
    LONG_HEADER_BYTES,
    MAC_BYTES,
    SHORT_HEADER,
    VERSION,
    LongType,
    PacketForm,
    decode_long_untrusted,
    encode_init,
    encode_long,
    packet_form,
)

MEMBER = derive_member_keys(b"the manifest of a swarm that exists in tests alone")
"""Keys of the swarm that the endpoints of this module belong to, unless told otherwise."""

A: Address = ("192.0.2.1", 4001)
B: Address = ("198.51.100.2", 4002)

_SHORT_FORM = 0x40
_RTT_S = 0.1
"""How far a scripted peer seems to be away."""


def _seeded(seed: int | str) -> random.Random:
    return random.Random(seed)  # noqa: S311 - a simulation, keys included


def make_identity(seed: int) -> Identity:
    """Return the identity that goes with a seed: the same in every run."""
    return Identity.from_seed(_seeded(f"identity {seed}").randbytes(32))


def make_endpoint(
    seed: int,
    *,
    keys: SwarmKeys = MEMBER,
    also_keys: tuple[SwarmKeys, ...] = (),
    config: EndpointConfig | None = None,
    now: float = 0.0,
) -> Endpoint:
    """Return an endpoint whose identity and randomness come from ``seed``."""
    return Endpoint(
        identity=make_identity(seed),
        keys=keys,
        also_keys=also_keys,
        rng=_seeded(seed),
        now=now,
        config=config,
        insecure_deterministic_keys=True,
    )


def drain(machine: Any, now: float) -> tuple[list[Any], list[Transmit]]:
    """Take all events, then all datagrams of an endpoint, one by one where it gives runs."""
    events: list[Any] = []
    datagrams: list[Transmit] = []
    while True:
        while (event := machine.next_event()) is not None:
            events.append(event)
        transmit = machine.next_datagram(now)
        if transmit is None:
            return events, datagrams
        datagrams += [Transmit(data, transmit.destination) for data in datagrams_of(transmit)]


class Pair:
    """Two endpoints behind the contract checker, at :data:`A` and :data:`B` of a virtual network."""

    def __init__(
        self,
        seed: int = 0,
        link: Link | None = None,
        *,
        config_a: EndpointConfig | None = None,
        config_b: EndpointConfig | None = None,
        deep: bool = False,
        network: VirtualNetwork | None = None,
    ) -> None:
        """Make the pair, on a network of its own or on ``network``.

        ``deep`` lets the checker compare whole states around calls that change nothing.
        """
        self.network = VirtualNetwork(seed, link) if network is None else network
        self.network.gathers = True
        self._deep = deep
        self.a = self.add(A, make_endpoint(2 * seed + 1, config=config_a))
        self.b = self.add(B, make_endpoint(2 * seed + 2, config=config_b))
        self.id_a = make_identity(2 * seed + 1).peer_id
        self.id_b = make_identity(2 * seed + 2).peer_id

    @property
    def now(self) -> float:
        """Virtual time, seconds."""
        return self.network.now

    def add(self, address: Address, endpoint: Endpoint) -> Node:
        """Put an endpoint on the network, in the place of one that is there already."""
        return self.network.add(address, Checked(endpoint, deep=self._deep, now=self.network.now))

    def connect(self, *, limit_s: float = 40.0) -> None:
        """Let A open a session with B, and run until both say that it is there."""
        self.a.machine.connect(B, now=self.now)
        if not self.network.run(lambda: self.is_open, limit_s=limit_s):
            raise AssertionError(f"no session after {limit_s} s: {self.a.events}, {self.b.events}")

    @property
    def is_open(self) -> bool:
        """Whether both have a session."""
        return bool(self.a.machine.peers() and self.b.machine.peers())

    def run(self, until: Any = None, *, limit_s: float) -> bool:
        """Run the network; see :meth:`VirtualNetwork.run`."""
        return self.network.run(until, limit_s=limit_s)


def events_of(node: Node, kind: type[Any]) -> list[Any]:
    """Return the events of one kind that a node had so far, in order."""
    return [event for event in node.events if isinstance(event, kind)]


class ScriptedPeer:
    """A peer without a machine: the test writes its packets and reads what is sent to it."""

    def __init__(
        self,
        seed: int = 1000,
        *,
        address: Address = A,
        keys: SwarmKeys = MEMBER,
        identity: Identity | None = None,
        parameters: TransportParameters | None = None,
        record: bytes = b"",
        version: int = VERSION,
        versions: tuple[int, ...] = (VERSION,),
    ) -> None:
        rng = _seeded(f"scripted {seed}")
        self._source = KeySource.insecure_deterministic(rng)
        self.identity = identity if identity is not None else make_identity(seed)
        self.address = address
        self.keys = keys
        self.record = record
        self.party = LocalParty(
            self.identity,
            keys,
            self._source.x25519(),
            parameters if parameters is not None else TransportParameters(),
        )
        self.local_id = rng.randbytes(CONNECTION_ID_BYTES)
        self.given: list[NewCid] = []
        """Connection ids that the endpoint gave besides the first."""
        self.ids = [self.local_id]
        """Ids that packets to this peer may bear; a test that gives the endpoint more adds them."""
        self.remote_id = b""
        self.next_number = 0
        self.received: list[int] = []
        """Numbers of the packets that were opened, in order of arrival."""
        self.versions = versions
        self.initiator = Initiator(self.party, self._source, version, versions)
        self._session: Session | None = None
        self._receive_keys: PacketKeys | None = None
        self._phase_bit = 0

    @property
    def peer_id(self) -> bytes:
        """Who this peer says it is."""
        return self.identity.peer_id

    @property
    def session(self) -> Session:
        """The session; there must be one."""
        if self._session is None:
            raise AssertionError("the handshake is not finished")
        return self._session

    # The handshake

    def init(
        self, *, source_id: bytes | None = None, mac_key: bytes | None = None, cookie: bytes = b""
    ) -> bytes:
        """Return an INIT datagram, with the proof of a cookie if one is given."""
        head, tail = encode_init(
            version=self.initiator.version,
            destination_id=bytes(CONNECTION_ID_BYTES),
            source_id=self.local_id if source_id is None else source_id,
            versions=self.versions,
            noise=self.initiator.message1,
        )
        mac = mac1(self.keys.mac1_key if mac_key is None else mac_key, head, tail)
        proof = mac2(cookie, head, mac, tail) if cookie else bytes(MAC_BYTES)
        return head + mac + proof + tail

    def cookie(self, datagram: bytes) -> bytes:
        """Read the COOKIE that answers :meth:`init`."""
        noise = decode_long_untrusted(datagram, self.versions).noise
        nonce, sealed = noise[:COOKIE_NONCE_BYTES], noise[COOKIE_NONCE_BYTES:]
        mac = self.init()[LONG_HEADER_BYTES : LONG_HEADER_BYTES + MAC_BYTES]
        cookie = open_cookie_untrusted(self.keys.mac1_key, nonce, sealed, mac)
        if cookie is None:
            raise AssertionError("the cookie is not authentic")
        return cookie

    def finish(self, resp: bytes) -> bytes:
        """Read the RESP that answers :meth:`init` and return the FIN."""
        packet = decode_long_untrusted(resp, self.versions)
        message3, self._session = self.initiator.finish_untrusted(
            packet.noise, expected_peer=None, local_id=self.local_id, record=self.record, observed=B
        )
        self.remote_id = packet.source_id
        return encode_long(
            LongType.FIN,
            version=packet.version,
            destination_id=self.remote_id,
            source_id=self.local_id,
            noise=message3,
        )

    def respond(self, init: bytes, *, observed: Address = B) -> bytes:
        """Read an INIT and return the RESP; :meth:`take_fin` goes on from there."""
        packet = decode_long_untrusted(init)
        self.responder = Responder(
            self.party,
            self._source,
            packet.version,
            packet.versions,
            packet.noise,
            local_id=self.local_id,
            record=self.record,
            observed=observed,
        )
        self.remote_id = packet.source_id
        return encode_long(
            LongType.RESP,
            version=VERSION,
            destination_id=self.remote_id,
            source_id=self.local_id,
            noise=self.responder.message2,
        )

    def take_fin(self, fin: bytes) -> None:
        """Read the FIN that answers :meth:`respond`."""
        self._session = self.responder.finish_untrusted(
            decode_long_untrusted(fin).noise, remote_id=self.remote_id
        )

    def join(self, endpoint: Any, *, now: float = 0.0, rtt_s: float = 0.0) -> ConnectionEstablished:
        """Open a session with an endpoint and return the event it gave; the FIN arrives at ``now + rtt_s``.

        What the endpoint sends on the new session is opened, so that :attr:`received` has its numbers.
        """
        endpoint.receive_datagram(self.init(), self.address, now=now)
        _, answers = drain(endpoint, now)
        now += rtt_s
        endpoint.receive_datagram(self.finish(bytes(answers[-1].data)), self.address, now=now)
        events, datagrams = drain(endpoint, now)
        for transmit in datagrams:
            self.open(bytes(transmit.data))
        established = [event for event in events if isinstance(event, ConnectionEstablished)]
        return established[0]

    # The session

    def seal(self, *frames: bytes, number: int | None = None) -> bytes:
        """Return a packet of frames; its number is the next one unless given."""
        number = self._number(number)
        header = SHORT_HEADER.pack(_SHORT_FORM, self.remote_id, number)
        return header + self.session.send_keys.seal(number, header, b"".join(frames))

    def bulk(self, transfer: int, offset: int, body: bytes, *, number: int | None = None) -> bytes:
        """Return a packet with one chunk."""
        number = self._number(number)
        header = BULK_HEADER.pack(_SHORT_FORM | BULK_BIT, self.remote_id, number, transfer, offset)
        return header + self.session.send_keys.seal(number, header, body)

    def acknowledge(self, *numbers: int, delay_s: float = 0.0) -> bytes:
        """Return an ACK frame for packet numbers of the endpoint, all that were opened unless given."""
        wanted = sorted(set(numbers or self.received), reverse=True)
        ranges: list[tuple[int, int]] = []
        for number in wanted:
            if ranges and ranges[-1][0] == number + 1:
                ranges[-1] = (number, ranges[-1][1])
            else:
                ranges.append((number, number))
        return encode_ack(Ack(tuple(ranges), delay_s))

    def open(self, datagram: bytes) -> list[Frame] | tuple[int, int, bytes]:
        """Read a packet of the endpoint: its frames, or ``(transfer, offset, chunk)`` of a bulk packet."""
        form = packet_form(datagram)
        header = BULK_HEADER if form is PacketForm.BULK else SHORT_HEADER
        fields = header.unpack_from(datagram)
        payload = self._open(fields[2], datagram[: header.size], datagram[header.size :])
        if payload is None:
            raise AssertionError(f"packet {fields[2]} is not authentic")
        self.received.append(fields[2])
        if form is PacketForm.BULK:
            return fields[3], fields[4], payload
        frames = decode_frames_untrusted(payload)
        self.given += [frame for frame in frames if isinstance(frame, NewCid)]
        return frames

    def _open(self, number: int, header: bytes, ciphertext: bytes) -> bytes | None:
        """Open a packet under the present key of the endpoint, or follow to its next one."""
        keys = self._receive_keys if self._receive_keys is not None else self.session.receive_keys
        payload = keys.open_untrusted(number, header, ciphertext)
        if payload is None and header[0] & KEY_PHASE_BIT != self._phase_bit:
            keys = keys.next_phase()
            payload = keys.open_untrusted(number, header, ciphertext)
            if payload is not None:
                self._phase_bit ^= KEY_PHASE_BIT
        self._receive_keys = keys if payload is not None else self._receive_keys
        return payload

    def _number(self, number: int | None) -> int:
        if number is None:
            number = self.next_number
        self.next_number = max(self.next_number, number + 1)
        return number


class Dialogue:
    """One endpoint, behind the contract checker, face to face with one scripted peer, without a network."""

    def __init__(
        self,
        *,
        seed: int = 1,
        config: EndpointConfig | None = None,
        peer: ScriptedPeer | None = None,
        deep: bool = False,
    ) -> None:
        """Open the session, and let the peer acknowledge the packet that shows the end of the handshake."""
        self.endpoint: Any = Checked(make_endpoint(seed, config=config), deep=deep)
        self.peer = peer if peer is not None else ScriptedPeer()
        self.now = 2 * _RTT_S
        self.events: list[Any] = []
        self.datagrams: list[bytes] = []
        """Everything that the endpoint sent since the session began, resets apart."""
        self.resets: list[bytes] = []
        """Stateless resets: what came with no id of the peer."""
        self.peer.join(self.endpoint, rtt_s=_RTT_S)
        self.deliver(self.peer.seal(self.peer.acknowledge()))

    def deliver(self, *datagrams: bytes) -> list[Any]:
        """Let datagrams of the peer arrive; return frames and chunks that the endpoint answers at once."""
        heard: list[Any] = []
        for datagram in datagrams:
            self.endpoint.receive_datagram(datagram, self.peer.address, now=self.now)
            heard += self._drain()
        return heard

    def command(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a command of the endpoint now and return its result; output waits for :meth:`wait`."""
        return getattr(self.endpoint, name)(*args, **kwargs, now=self.now)

    def wait(self, seconds: float) -> list[Any]:
        """Let time pass as the endpoint asks, and return the frames and chunks that it sends meanwhile."""
        end = self.now + seconds
        heard = self._drain()
        while (deadline := self.endpoint.deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.endpoint.handle_timer(now=self.now)
            heard += self._drain()
        self.now = end
        return heard

    @property
    def dropped(self) -> dict[str, int]:
        """What the endpoint dropped so far, by reason."""
        return dict(self.endpoint.stats.dropped)

    def events_of(self, kind: type[Any]) -> list[Any]:
        """Return the events of one kind so far, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    def _drain(self) -> list[Any]:
        heard: list[Any] = []
        events, transmits = drain(self.endpoint, self.now)
        self.events += events
        for transmit in transmits:
            datagram = bytes(transmit.data)
            if packet_form(datagram) is not PacketForm.LONG and datagram[1:9] not in self.peer.ids:
                self.resets.append(datagram)
                continue
            self.datagrams.append(datagram)
            opened = self.peer.open(datagram)
            heard += opened if isinstance(opened, list) else [opened]
        return heard
