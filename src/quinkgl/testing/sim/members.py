"""Misbehaving members: peers with the swarm's keys and a session, who say what no honest member would.

All of them run an ``Endpoint`` and speak for themselves above it: they agree on the terms as an honest member
does, and from then on send what messages, objects and frames they like, under the session's true keys. That
is as far as a hostile member can go.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from quinkgl.crypto.cose import sign1
from quinkgl.protocol.fingerprint_exchange import DOMAIN as FINGERPRINT_DOMAIN
from quinkgl.protocol.records import DOMAIN as RECORD_DOMAIN
from quinkgl.protocol.records import issue_record, swarm_tag
from quinkgl.protocol.update_gate import DOMAIN as UPDATE_DOMAIN
from quinkgl.swarm import hash_object
from quinkgl.testing.sim.adversary import Misbehaviour, Seat, misbehaviour
from quinkgl.testing.sim.draws import below, between, chance, choose
from quinkgl.transport import (
    ConnectionLost,
    Endpoint,
    MessageReceived,
    OfferReceived,
)
from quinkgl.transport.connection import Connection
from quinkgl.wire import frames
from quinkgl.wire.addresses import Address
from quinkgl.wire.control import Channel
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.frames import Ack
from quinkgl.wire.limits import CONSTANTS, LIMITS
from quinkgl.wire.merkle import LEAF_BYTES
from quinkgl.wire.messages import exchange, fingerprint
from quinkgl.wire.messages.gossip import Proof, UpdateHeader, encode_gossip_message, encode_update_header
from quinkgl.wire.messages.manifest import (
    Agree,
    Hello,
    decode_manifest_message_untrusted,
    encode_manifest_message,
)
from quinkgl.wire.messages.membership import PeerRecord, Records, encode_membership_message, encode_record
from quinkgl.wire.packets import PacketForm, packet_form

_WORDS = 20.0
_WORDS_PER_S = 10.0
"""Messages that a member says at once, and in a second."""


class Member(Misbehaviour):
    """Agrees on the terms with everybody, and calls ``act`` for a peer now and then; subclasses fill it.

    ``pace_s`` are the least and the most seconds between two acts.
    """

    pace_s = (0.3, 1.5)

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self.rng: random.Random = seat.rng
        self.agreed: dict[bytes, None] = {}
        self._greeted: dict[bytes, None] = {}
        self._round = 0
        self._incarnation = 1 + self.rng.getrandbits(32)
        self._words = _WORDS
        self._words_at = 0.0

    def build(self) -> Any:
        """Run a bare endpoint."""
        return self.seat.make_endpoint()

    def on_start(self) -> None:
        """Join, and begin."""
        super().on_start()
        self.seat.wake_after(between(self.rng, 1.0, 3.0))

    def on_timer(self) -> None:
        """Act on somebody; call others where sessions were lost."""
        peers = [peer for peer in self.endpoint.peers() if peer in self.agreed]
        if peers:
            self.act(choose(self.rng, peers))
        if len(peers) < 2:
            self.seat.join(1)
        self.seat.wake_after(between(self.rng, *self.pace_s))

    def on_event(self, event: Any) -> None:
        """Keep up the manifest handshake, and show the rest to subclasses."""
        match event:
            case ConnectionLost(peer):
                self.agreed.pop(peer, None)
                self._greeted.pop(peer, None)
            case MessageReceived(peer, Channel.MANIFEST, data):
                self._on_manifest_message(peer, data)
            case MessageReceived(peer, channel, data):
                self.on_message(peer, channel, data)
            case OfferReceived() as offer:
                self.on_offer(offer)

    # For subclasses

    def act(self, peer: bytes) -> None:
        """Do something to a peer."""

    def on_message(self, peer: bytes, channel: Channel, data: bytes) -> None:
        """See a message of a peer."""

    def on_offer(self, offer: OfferReceived) -> None:
        """See an offer; by default it is refused."""
        self.endpoint.refuse_object(offer.peer, offer.transfer, ErrorCode.NOT_WANTED, now=self.seat.now)

    @property
    def endpoint(self) -> Endpoint:
        """The machine that runs here."""
        machine: Endpoint = self.seat.machine
        return machine

    def say(self, peer: bytes, channel: Channel, body: bytes) -> None:
        """Send a message, whatever it says; few enough that answers to answers do not fill the line."""
        now = self.seat.world.scheduler.now
        self._words = min(_WORDS, self._words + (now - self._words_at) * _WORDS_PER_S)
        self._words_at = now
        if self._words < 1.0:
            return
        self._words -= 1.0
        self.endpoint.send_message(peer, channel, body, now=self.seat.now)

    def send_frames(self, peer: bytes, *payload: bytes) -> None:
        """Send a packet with these frames, under the session's keys, whatever they are."""
        connection = self._connection(peer)
        if connection is not None:
            packet = connection._sealer.frames(b"".join(payload), self.seat.now)  # noqa: SLF001 - on purpose
            self.seat.send(packet, connection.address)

    def next_number(self, peer: bytes) -> int:
        """Return how many packets were sent to a peer."""
        connection = self._connection(peer)
        return 0 if connection is None else connection._recovery.next_number  # noqa: SLF001 - on purpose

    def header(self, body: Any, **changes: Any) -> bytes:
        """Return a signed header of the next round for an object, with fields changed."""
        self._round += 1
        header = UpdateHeader(
            swarm_id=self.seat.keys.swarm_id,
            author=self.seat.identity.peer_id,
            round=self._round,
            root=body.root,
            size=len(body.body),
            codec=1,
            sample_count=10,
            issued=int(self.seat.unix_now),
            nonce=self.rng.randbytes(16),
            incarnation=self._incarnation,
        )
        return sign1(self.seat.identity, UPDATE_DOMAIN, encode_update_header(replace(header, **changes)))

    def offer(self, peer: bytes, body: Any, header: bytes) -> None:
        """Offer an object."""
        self.endpoint.offer_object(peer, body.root, body.leaves, header, body.body, now=self.seat.now)

    # Inside

    def _connection(self, peer: bytes) -> Connection | None:
        return self.endpoint._by_peer.get(peer)  # noqa: SLF001 - a misbehaving peer has its own insides

    def _on_manifest_message(self, peer: bytes, data: bytes) -> None:
        try:
            message = decode_manifest_message_untrusted(data)
        except RemoteProtocolError:
            return
        match message:
            case Hello(terms, initiator) if peer not in self._greeted:
                self._greeted[peer] = None
                for answer in (Hello(terms, initiator=not initiator), Agree()):
                    self.say(peer, Channel.MANIFEST, encode_manifest_message(answer))
            case Agree():
                self.agreed[peer] = None


def _object(rng: random.Random, size: int) -> Any:
    return hash_object(rng.randbytes(size))


@misbehaviour("equivocate")
class Equivocate(Member):
    """Shows two peers different updates for one round."""

    def act(self, peer: bytes) -> None:
        """Offer one update here and another one to everybody else."""
        first, second = _object(self.rng, 900), _object(self.rng, 901)
        header = self.header(first)
        other = self.header(second, round=self._round)
        self._round -= 1
        for target in self.endpoint.peers():
            self.offer(target, *((first, header) if target == peer else (second, other)))


@misbehaviour("inflate counts")
class InflateCounts(Member):
    """Claims samples, rounds and sizes that nobody has."""

    def act(self, peer: bytes) -> None:
        """Offer an update with a claim."""
        body = _object(self.rng, 700)
        claims: list[dict[str, Any]] = [
            {"sample_count": (1 << 32) - 1},
            {"sample_count": 0},
            {"round": (1 << 32) - 1 - below(self.rng, 1 << 31)},
            {"size": len(body.body) + 1},
            {"issued": int(self.seat.unix_now) + 10_000_000},
            {"incarnation": 0},
            {"codec": below(self.rng, 256)},
        ]
        self.offer(peer, body, self.header(body, **choose(self.rng, claims)))


@misbehaviour("poisoned offers")
class PoisonedOffers(Member):
    """Offers objects whose bytes, leaves, headers or signatures are not what they say."""

    def act(self, peer: bytes) -> None:
        """Offer one."""
        body = _object(self.rng, choose(self.rng, [500, LEAF_BYTES, 3 * LEAF_BYTES + 7]))
        match below(self.rng, 5):
            case 0:  # other bytes than the leaves name
                false = memoryview(self.rng.randbytes(len(body.body)))
                self.offer(peer, replace_body(body, false), self.header(body))
            case 1:  # another root in the header
                self.offer(peer, body, self.header(body, root=self.rng.randbytes(32)))
            case 2:  # somebody else's name
                author = choose(self.rng, self.seat.honest())[0]
                self.offer(peer, body, self.header(body, author=author))
            case 3:  # no signature at all
                self.offer(peer, body, self.rng.randbytes(below(self.rng, LIMITS.header_bytes)))
            case _:  # leaves that do not give the root
                leaves = self.rng.randbytes(len(body.leaves))
                self.offer(peer, type(body)(body.root, leaves, body.body), self.header(body))


def replace_body(body: Any, data: memoryview) -> Any:
    """Return a hashed object whose body is another one."""
    return type(body)(body.root, body.leaves, data)


@misbehaviour("withhold")
class Withhold(Member):
    """Offers large objects and never sends what was promised, or only a little of it."""

    def act(self, peer: bytes) -> None:
        """Offer a megabyte that will not come."""
        body = _object(self.rng, choose(self.rng, [2000, 40_000]))
        self.offer(peer, body, self.header(body))

    def outgoing(self, data: bytes, destination: Address) -> Any:
        """Lose all chunks but a few."""
        if packet_form(data) is not PacketForm.BULK or chance(self.rng, 0.02):
            yield data, destination


@misbehaviour("slow reads")
class SlowReads(Member):
    """Accepts whatever is offered and hardly reads it."""

    pace_s = (2.0, 5.0)

    def on_offer(self, offer: OfferReceived) -> None:
        """Take it."""
        self.endpoint.accept_object(offer.peer, offer.transfer, now=self.seat.now)

    def incoming(self, data: bytes, source: Address) -> Any:
        """Hear one chunk in fifty."""
        del source
        if packet_form(data) is not PacketForm.BULK or chance(self.rng, 0.02):
            yield data


@misbehaviour("false ACKs")
class FalseAcks(Member):
    """Acknowledges in crumbs, acknowledges what was never sent, and takes acknowledgements back."""

    pace_s = (0.2, 0.6)

    def on_offer(self, offer: OfferReceived) -> None:
        """Take it, so that there is something to acknowledge."""
        self.endpoint.accept_object(offer.peer, offer.transfer, now=self.seat.now)

    def act(self, peer: bytes) -> None:
        """Send a false ACK; optimistic ones are rarer, since they end the session."""
        largest = below(self.rng, 60)
        delay_s = choose(self.rng, [0.0, 0.1, 0.5])
        if chance(self.rng, 0.15):
            ranges: tuple[tuple[int, int], ...] = ((0, largest + (1 << below(self.rng, 31))),)
        elif chance(self.rng, 0.5):
            ranges = tuple((number, number) for number in range(largest, -1, -2))
        else:
            ranges = ((largest, largest),)
        self.send_frames(peer, frames.encode_ack(Ack(ranges[: LIMITS.ack_ranges], delay_s)))


@misbehaviour("hostile frames")
class HostileFrames(Member):
    """Sends frames in any state that are legal and make no sense, and some that are illegal."""

    pace_s = (0.1, 0.8)

    def act(self, peer: bytes) -> None:
        """Send a few."""
        count = 1 + below(self.rng, 4)
        self.send_frames(peer, *(choose(self.rng, _FRAMES)(self.rng) for _ in range(count)))


_FRAMES: list[Callable[[random.Random], bytes]] = [
    lambda _: b"\x01",
    lambda rng: bytes(1 + below(rng, 50)),
    lambda rng: frames.encode_max_control(rng.getrandbits(64)),
    lambda rng: frames.encode_max_data(below(rng, 5), rng.getrandbits(64)),
    lambda rng: frames.encode_path_challenge(rng.randbytes(8)),
    lambda rng: frames.encode_path_response(rng.randbytes(8)),
    lambda rng: frames.encode_new_cid(below(rng, 12), rng.randbytes(8), rng.randbytes(16)),
    lambda rng: frames.encode_retire_cid(below(rng, 8)),
    lambda rng: frames.encode_control_frame(rng.getrandbits(choose(rng, [8, 16, 63])), rng.randbytes(20)),
    lambda rng: b"\x3a" + (3).to_bytes(2, "big") + rng.randbytes(3),
    lambda rng: rng.randbytes(1 + below(rng, 40)) if chance(rng, 0.1) else b"\x01",
]


@misbehaviour("nonsense messages")
class NonsenseMessages(Member):
    """Sends messages of every channel at the wrong time, changed, or never heard of."""

    pace_s = (0.1, 0.8)

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self._heard: list[tuple[Channel, bytes]] = []

    def on_message(self, peer: bytes, channel: Channel, data: bytes) -> None:
        """Keep what was said, to say it elsewhere."""
        del peer
        self._heard.append((channel, data))
        del self._heard[:-50]

    def act(self, peer: bytes) -> None:
        """Repeat something, perhaps changed; or make it up."""
        if self._heard and chance(self.rng, 0.8):
            channel, data = choose(self.rng, self._heard)
            if chance(self.rng, 0.2):
                changed = bytearray(data)
                changed[below(self.rng, len(changed))] ^= 1 << below(self.rng, 8)
                data = bytes(changed)
        else:
            channel, data = choose(self.rng, list(Channel)), self.rng.randbytes(below(self.rng, 100))
        self.say(peer, channel, data)


@misbehaviour("one-sided exchange")
class OneSidedExchange(Member):
    """Takes part in two-sided exchanges and keeps none of their words."""

    def on_message(self, peer: bytes, channel: Channel, data: bytes) -> None:
        """Answer with something that another state would have called for."""
        if channel is not Channel.EXCHANGE:
            return
        try:
            message = exchange.decode_exchange_message_untrusted(data)
        except RemoteProtocolError:
            return
        if message is None:
            return
        name = message.exchange
        answer = getattr(message, "answer", None) or self.rng.randbytes(16)
        body = _object(self.rng, 300)
        replies: list[exchange.ExchangeMessage] = [
            exchange.Accept(name, answer, body.root, len(body.body)),
            exchange.Ready(name, answer),
            exchange.Ask(name, answer),
            exchange.Commit(name, answer),
            exchange.Abort(name, answer, ErrorCode.NO_ERROR),
            exchange.Ack(name, answer),
        ]
        for _ in range(1 + below(self.rng, 2)):
            self.say(peer, channel, exchange.encode_exchange_message(choose(self.rng, replies)))

    def act(self, peer: bytes) -> None:
        """Begin an exchange that leads nowhere."""
        body = _object(self.rng, 300)
        offer = exchange.Offer(self.rng.randbytes(16), body.root, len(body.body), 1, 0, 1)
        self.say(peer, Channel.EXCHANGE, exchange.encode_exchange_message(offer))


@misbehaviour("false records")
class FalseRecords(Member):
    """Tells records of peers that do not exist, of bystanders, of others, and of another time."""

    def act(self, peer: bytes) -> None:
        """Tell a few."""
        told = tuple(self._record() for _ in range(1 + below(self.rng, 3)))
        self.say(peer, Channel.MEMBERSHIP, encode_membership_message(Records(told)))

    def _record(self) -> bytes:
        root, now = self.seat.keys.root, self.seat.unix_now
        addresses = (self.seat.world.phantom(self.rng),)
        seq = int(now * 1000)
        match below(self.rng, 4):
            case 0:  # a new name, at a bystander's address
                identity = self.seat.make_identity()
                return issue_record(
                    identity, root, seq=seq, addresses=addresses, ttl=600, unix_now=now
                ).encoded
            case 1:  # from the future
                return issue_record(
                    self.seat.identity, root, seq=seq, addresses=addresses, ttl=600, unix_now=now + 1e6
                ).encoded
            case 2:  # in somebody's name, with the wrong signature
                key = choose(self.rng, self.seat.honest())[0]
                issued = int(now)
                record = PeerRecord(
                    key,
                    seq,
                    issued,
                    600,
                    swarm_tag(root, key),
                    addresses,
                    issued // CONSTANTS.record_period_s,
                )
                return sign1(self.seat.identity, RECORD_DOMAIN, encode_record(record))
            case _:
                return self.rng.randbytes(1 + below(self.rng, 300))


@misbehaviour("false proofs")
class FalseProofs(Member):
    """Accuses honest peers of equivocation."""

    def act(self, peer: bytes) -> None:
        """Send a proof that proves nothing."""
        victim = choose(self.rng, self.seat.honest())[0]
        first, second = _object(self.rng, 100), _object(self.rng, 101)
        one = self.header(first, author=victim)
        other = self.header(second, author=victim, round=self._round)
        proof = choose(self.rng, [(one, other), (one, one), (self.header(first), other), (b"x", other)])
        self.say(peer, Channel.GOSSIP, encode_gossip_message(Proof(*proof)))


@misbehaviour("fingerprint pest")
class FingerprintPest(Member):
    """Asks for fingerprints without end, and answers with false ones."""

    pace_s = (0.1, 0.4)

    def act(self, peer: bytes) -> None:
        """Ask again."""
        request = fingerprint.Request(self.rng.randbytes(16))
        self.say(peer, Channel.FINGERPRINT, fingerprint.encode_fingerprint_message(request))

    def on_message(self, peer: bytes, channel: Channel, data: bytes) -> None:
        """Answer a request with a statement for somebody else, or one of yesterday."""
        if channel is not Channel.FINGERPRINT:
            return
        try:
            message = fingerprint.decode_fingerprint_message_untrusted(data)
        except RemoteProtocolError:
            return
        if not isinstance(message, fingerprint.Request):
            return
        verifier = peer if chance(self.rng, 0.5) else self.rng.randbytes(32)
        nonce = message.nonce if chance(self.rng, 0.5) else self.rng.randbytes(16)
        statement = fingerprint.Statement(
            self.seat.keys.swarm_id, self.seat.identity.peer_id, verifier, nonce, 0, self.rng.randbytes(32)
        )
        signed = sign1(self.seat.identity, FINGERPRINT_DOMAIN, fingerprint.encode_statement(statement))
        answer = fingerprint.Answer(signed, b"made up")
        self.say(peer, channel, fingerprint.encode_fingerprint_message(answer))
