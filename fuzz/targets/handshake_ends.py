"""Both ends of the handshake: requests and answers of those who know the swarm's keys, and of others."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from fuzz.bench import IDENTITIES
from fuzz.harness import CONNECTION_RUNS, Target
from fuzz.mutators import Choices, Step, load, mutate_bytes, mutate_cbor, pack, script_mutator, unpack
from fuzz.oracles import Bound, Finding, metered
from fuzz.sessions import OTHERS
from fuzz.targets.message_decoders import handshake_payloads
from fuzz.targets.wire_decoders import long_packet_seeds, mutate_packet
from quinkgl.crypto.cookie import seal_cookie
from quinkgl.crypto.mac import mac1
from quinkgl.testing.endpoints import MEMBER, B, ScriptedPeer, drain, make_endpoint
from quinkgl.transport import ConnectFailed, ConnectionEstablished, EndpointConfig
from quinkgl.transport.handshake import prologue
from quinkgl.wire.addresses import Address
from quinkgl.wire.cbor import encode
from quinkgl.wire.errors import ErrorCode, LocalProtocolError
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.packets import (
    COOKIE_NONCE_BYTES,
    LONG_HEADER_BYTES,
    MAC_BYTES,
    LongType,
    decode_long_untrusted,
    encode_cookie,
    encode_init,
    encode_long,
    encode_version_negotiation,
)

INIT, FIN, RESP, COOKIE, VERSIONS, RAW, WAIT, CONNECT, INIT_AGAIN, HONEST_FIN, FORGED, CLOSE = range(12)
_BOUND = Bound(calls=8000, calls_per_byte=8, memory=500_000, memory_per_byte=80)
_PEER, _SIGNATURE = 0, 1
_MOST_ANSWERS = 40


class _Run:
    """One endpoint, and a peer that knows the swarm's keys."""

    def __init__(self, *, loaded: bool) -> None:
        rate = 1 if loaded else LIMITS.init_rate_total_per_s
        self.endpoint = make_endpoint(1, config=EndpointConfig(init_rate_total_per_s=rate, connections=3))
        self.now = 0.0
        self.source: Address = OTHERS[0]
        self.peers: list[ScriptedPeer] = []
        self.sent: list[tuple[bytes, Address]] = []
        """Handshake packets of the endpoint, the newest last."""
        self.heard: dict[Address, int] = {}
        self.told: dict[Address, int] = {}
        self.identities = {identity.peer_id for identity in IDENTITIES}
        self.connected: set[Address] = set()

    def deliver(self, datagram: bytes) -> None:
        """Let a datagram arrive; nothing may leave but by the outputs."""
        self.heard[self.source] = self.heard.get(self.source, 0) + len(datagram)
        metered(_BOUND, len(datagram), self.endpoint.receive_datagram, datagram, self.source, now=self.now)
        self.settle()

    def settle(self) -> None:
        """Take what is ready: an answer is never larger than what it answers, threefold at most in all."""
        events, datagrams = drain(self.endpoint, self.now)
        if len(datagrams) > _MOST_ANSWERS:
            raise Finding(f"{len(datagrams)} datagrams at one instant")
        for transmit in datagrams:
            data, destination = bytes(transmit.data), transmit.destination
            self.sent = [*self.sent[-7:], (data, destination)]
            if destination in self.connected or destination in self._established():
                continue
            told = self.told[destination] = self.told.get(destination, 0) + len(data)
            if told > LIMITS.unvalidated_factor * self.heard.get(destination, 0):
                raise Finding(f"{told} bytes to {destination}, which sent {self.heard.get(destination, 0)}")
        for event in events:
            if isinstance(event, ConnectionEstablished) and event.peer not in self.identities:
                raise Finding(f"a session with {event.peer.hex()}, who never signed")
            if isinstance(event, ConnectFailed) and not isinstance(event.code, ErrorCode):
                raise Finding(f"{event}")

    def _established(self) -> set[Address | None]:
        return {self.endpoint.address_of(peer) for peer in self.endpoint.peers()}

    def step(self, code: int, payload: bytes) -> None:
        choices = Choices(payload)
        match code % 12:
            case 0:
                self._init(choices)
            case 1:
                self._fin(choices)
            case 2:
                self._resp(choices)
            case 3:
                self._cookie(choices)
            case 4:
                self._versions(choices)
            case 5:
                self.source = self._address(choices.number())
                self.deliver(choices.rest())
            case 6:
                self._wait(choices.number(2) / 64)
            case 7:
                where = self._address(choices.number())
                expected = IDENTITIES[choices.number() % 6].peer_id if choices.number() & 1 else None
                self.connected.add(where)
                self.endpoint.connect(where, expected_peer=expected, now=self.now)
                self.settle()
            case 8 if self.peers:
                peer = self.peers[choices.number() % len(self.peers)]
                self.source = peer.address
                self.deliver(peer.init())
            case 9:
                self._honest_fin()
            case 10:
                self._forged(choices)
            case 11:
                if choices.number() & 3 == 3:
                    self.endpoint.handle_timer(now=self.now - 5.0)
                self.settle()

    def _address(self, number: int) -> Address:
        return (*OTHERS, B)[number % 4]

    def _peer(self, number: int) -> ScriptedPeer:
        peer = ScriptedPeer(2000 + number % 8, address=self._address(number), identity=IDENTITIES[number % 5])
        self.peers = [*self.peers[-5:], peer]
        return peer

    def _init(self, choices: Choices) -> None:
        """An INIT of one who knows the keys, as it should be or with anything wrong under a right mac1."""
        number, flags = choices.number(), choices.number()
        peer = self._peer(number)
        self.source = peer.address
        if not flags & 1:
            self.deliver(peer.init())
            return
        version = choices.number(4) if flags & 2 else 1
        versions = tuple(choices.number(4) for _ in range(1 + choices.number() % 16)) if flags & 4 else (1,)
        noise = choices.rest() if flags & 8 else peer.initiator.message1
        head, tail = encode_init(
            version=version,
            destination_id=bytes(8),
            source_id=peer.local_id if not flags & 16 else bytes(8),
            versions=versions,
            noise=noise[:1000],
        )
        if flags & 32:
            tail = tail[:-1] + b"\1"
        self.deliver(head + mac1(MEMBER.mac1_key, head, tail) + bytes(MAC_BYTES) + tail)

    def _answer_to(self, peer: ScriptedPeer) -> bytes | None:
        for data, destination in reversed(self.sent):
            if data[0] & 0xCF == 0xC1 and destination == peer.address and data[5:13] == peer.local_id:
                return data
        return None

    def _fin(self, choices: Choices) -> None:
        """Message 3 with any payload, rightly encrypted, and rightly signed where the flags say so."""
        if not self.peers:
            return
        peer, flags = self.peers[choices.number() % len(self.peers)], choices.number()
        answer = self._answer_to(peer)
        if answer is None:
            return
        self.source = peer.address
        packet = decode_long_untrusted(answer)
        state = peer.initiator._state
        try:
            rest = state.read_tokens_untrusted(packet.noise)
            state.read_payload_untrusted(rest)
        except Exception:
            return
        noise = self._message(peer, state, b"\0", choices.rest(), flags)
        self.deliver(
            encode_long(
                LongType.FIN, version=1, destination_id=packet.source_id, source_id=peer.local_id, noise=noise
            )
        )

    def _message(self, peer: ScriptedPeer, state: Any, role: bytes, payload: bytes, flags: int) -> bytes:
        tokens: bytes = state.write_tokens()
        try:
            value = load(payload)
            if flags & 1:
                value[_PEER] = peer.peer_id
                signed = role + state.handshake_hash + peer.party.static_public
                value[_SIGNATURE] = peer.identity.sign("handshake", signed)
            if flags & 2:
                value[5] = peer.local_id
            payload = encode(value)
        except (ValueError, TypeError, IndexError, LocalProtocolError):
            pass
        return tokens + bytes(state.write_payload(payload[:2000]))

    def _resp(self, choices: Choices) -> None:
        """Message 2 to an attempt of the endpoint's, with any payload."""
        init = next(((data, to) for data, to in reversed(self.sent) if data[0] == 0xC0), None)
        if init is None:
            return
        number, flags = choices.number(), choices.number()
        peer = ScriptedPeer(3000 + number % 4, identity=IDENTITIES[number % 5])
        self.source = init[1] if not flags & 4 else OTHERS[1]
        packet = decode_long_untrusted(init[0])
        state = peer.party.noise(
            peer._source.x25519(),
            prologue(MEMBER, packet.version, packet.versions),
            initiator=False,
        )
        state.read_payload_untrusted(state.read_tokens_untrusted(packet.noise))
        noise = self._message(peer, state, b"\1", choices.rest(), flags)
        self.deliver(
            encode_long(
                LongType.RESP,
                version=1,
                destination_id=packet.source_id,
                source_id=peer.local_id,
                noise=noise,
            )
        )

    def _cookie(self, choices: Choices) -> None:
        """A COOKIE to an attempt, sealed rightly or not; or the proof of one to the endpoint."""
        flags = choices.number()
        init = next(((data, to) for data, to in reversed(self.sent) if data[0] == 0xC0), None)
        cookie = next(((data, to) for data, to in reversed(self.sent) if data[0] == 0xC3), None)
        if flags & 1 and cookie is not None:
            peer = next((peer for peer in self.peers if peer.local_id == cookie[0][5:13]), None)
            if peer is not None and len(cookie[0]) == LONG_HEADER_BYTES + COOKIE_NONCE_BYTES + 32:
                self.source = peer.address
                try:
                    proof = peer.cookie(cookie[0])
                except AssertionError:  # it answers an INIT with something changed in it
                    return
                self.deliver(peer.init(cookie=proof))
            return
        if init is None:
            return
        data, self.source = init
        nonce, value = choices.take(16).ljust(16, b"\0"), choices.take(16).ljust(16, b"\0")
        sealed = seal_cookie(MEMBER.mac1_key, nonce, value, data[21:37]) if flags & 2 else bytes(32)
        self.deliver(encode_cookie(version=1, destination_id=data[13:21], nonce=nonce, sealed=sealed))

    def _versions(self, choices: Choices) -> None:
        """A list of versions to an attempt."""
        init = next(((data, to) for data, to in reversed(self.sent) if data[0] == 0xC0), None)
        if init is None:
            return
        data, self.source = init
        versions = tuple(choices.number(4) for _ in range(1 + choices.number() % 16))
        source_id = data[5:13] if choices.number() & 1 else bytes(8)
        self.deliver(
            encode_version_negotiation(destination_id=data[13:21], source_id=source_id, versions=versions)
        )

    def _honest_fin(self) -> None:
        if not self.peers:
            return
        peer = self.peers[-1]
        answer = self._answer_to(peer)
        if answer is None:
            return
        self.source = peer.address
        try:
            fin = peer.finish(answer)
        except Exception:
            return
        self.deliver(fin)

    def _forged(self, choices: Choices) -> None:
        """One of the endpoint's own packets back to it, changed."""
        if not self.sent:
            return
        data, self.source = self.sent[choices.number() % len(self.sent)]
        changed = bytearray(data)
        while not choices.is_empty:
            changed[choices.number(2) % len(changed)] ^= choices.number()
        self.deliver(bytes(changed))

    def _wait(self, seconds: float) -> None:
        end = self.now + seconds
        for _ in range(200):
            deadline = self.endpoint.deadline()
            if deadline is None or deadline > end:
                break
            self.now = max(self.now, deadline)
            self.endpoint.handle_timer(now=self.now)
            self.settle()
        else:
            raise Finding("timers without end")
        self.now = end


def run(data: bytes) -> None:
    """Run a script; the last byte says whether the endpoint is under load, and asks for cookies."""
    script = _Run(loaded=bool(data and data[-1] & 2))
    for code, payload in unpack(data, most=10):
        script.step(code, payload)
    if not script.connected:
        script._wait(60.0)
        if script.endpoint._handshakes.deadline(script.now) is not None:
            raise Finding("a handshake that is never forgotten")
    script.endpoint.close(now=script.now)
    script._wait(30.0)
    if not script.endpoint.drained:
        raise Finding("an endpoint that was closed does not drain")


@lru_cache(maxsize=1)
def pool() -> Sequence[Step]:
    """Steps that mean something."""
    payload = next(iter(handshake_payloads()))
    steps: list[Step] = [(INIT, bytes([number, 0])) for number in range(5)]
    steps += [
        (INIT, b"\1\3\0\0\0\2"),
        (INIT, b"\1\5\1\0\0\0\1\x0a\x1a\x2a\x3a"),
        (INIT, b"\1\x09" + bytes(48)),
        (INIT, b"\1\x11"),
        (INIT, b"\1\x21"),
    ]
    steps += [(HONEST_FIN, b"")] * 3 + [(FIN, bytes([0, flags]) + payload) for flags in (3, 1, 2, 0)]
    steps += [(FIN, bytes([0, 3]) + other) for other in handshake_payloads()]
    steps += [(CONNECT, bytes([where, 0, 0])) for where in range(3)] + [(CONNECT, b"\0\1\1")]
    steps += [(RESP, bytes([number, 3]) + payload) for number in range(4)] + [
        (RESP, b"\0\0" + payload),
        (RESP, b"\0\7" + payload),
    ]
    steps += [(COOKIE, b"\1"), (COOKIE, b"\2" + bytes(32)), (COOKIE, b"\0"), (COOKIE, b"\1")]
    steps += [(VERSIONS, b"\0\0\0\2\1\1"), (VERSIONS, b"\0\0\0\1\1\1"), (VERSIONS, b"\1\0\0\0\1\0\0\0\2\1")]
    steps += [(RAW, b"\0" + packet) for packet in long_packet_seeds()]
    steps += [
        (WAIT, b"\0\x40"),
        (WAIT, b"\2\0"),
        (WAIT, b"\x20\0"),
        (INIT_AGAIN, b"\0"),
        (FORGED, b"\0"),
        (FORGED, b"\0\0\x30\1"),
        (CLOSE, b"\3"),
    ]
    return steps


def seeds() -> list[bytes]:
    """A session in either role, one with a cookie, one after another version, a refused identity."""
    payload = next(iter(handshake_payloads()))
    return [
        pack([(INIT, b"\0\0"), (HONEST_FIN, b""), (WAIT, b"\0\x40")]),
        pack([(INIT, b"\0\0"), (FIN, b"\0\3" + payload), (WAIT, b"\0\x40")]),
        pack([(CONNECT, b"\0\0\0"), (RESP, b"\1\3" + payload), (WAIT, b"\0\x40")]),
        pack([(CONNECT, b"\0\2\1"), (RESP, b"\1\3" + payload), (WAIT, b"\x20\0")]),
        pack([*[(INIT, bytes([number, 0])) for number in range(4)], (COOKIE, b"\1"), (HONEST_FIN, b"\2")]),
        pack([(CONNECT, b"\0\0\0"), (VERSIONS, b"\0\0\0\2\1\1"), (WAIT, b"\x20\0")]),
        pack([(CONNECT, b"\0\0\0"), (COOKIE, b"\2" + bytes(32)), (RESP, b"\1\3" + payload)]),
        pack(
            [
                (INIT, b"\0\0"),
                (INIT_AGAIN, b"\0"),
                (CONNECT, b"\0\0\0"),
                (FORGED, b"\0"),
                (FORGED, b"\1\0\x30\1"),
            ]
        ),
    ]


def _payload(code: int, body: bytes, rng: random.Random) -> bytes:
    kind = code % 12
    if kind in (FIN, RESP):
        head = body[:2] if rng.random() < 0.6 else bytes((rng.randrange(4), rng.randrange(8)))
        return head + (mutate_cbor(body[2:], rng) if rng.random() < 0.8 else body[2:])
    if kind == RAW:
        return body[:1] + mutate_packet(body[1:], rng)
    return mutate_bytes(body, rng)


TARGETS = (
    Target(
        name="handshake",
        about="both ends of the handshake: cookies, versions, identities",
        run=run,
        seeds=seeds,
        mutate=script_mutator(12, pool=pool, payload=_payload),
        max_bytes=2048,
        wanted=CONNECTION_RUNS,
        kept=30,
        short_runs=400,
    ),
)
