"""Compute the worked examples of the specification with the implementation.

A page shows an example as a fenced block whose info string is `example NAME`; each line of it is
`name = value`, long values running on in lines that begin with spaces. Without arguments the blocks are
rewritten; with `--check` they are only compared, and the exit code is 1 where one differs.

Every input of an example is written out in it, so that another implementation can compute the rest.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from quinkgl.crypto.agreement import Method
from quinkgl.crypto.cookie import mac2, seal_cookie
from quinkgl.crypto.cose import sign1
from quinkgl.crypto.identity import Identity, signature_label
from quinkgl.crypto.keys import KeySource
from quinkgl.crypto.mac import mac1
from quinkgl.crypto.noise import HandshakeState
from quinkgl.crypto.packet_keys import PacketKeys, nonce
from quinkgl.crypto.psk import derive_member_keys, hkdf_expand
from quinkgl.protocol.records import issue_record
from quinkgl.protocol.update_gate import Admitted, judge_round
from quinkgl.transport.congestion import NewReno
from quinkgl.transport.handshake import PATTERN, Initiator, LocalParty, Responder, prologue
from quinkgl.transport.object_sender import WantedRanges
from quinkgl.transport.ranges import RangeSet
from quinkgl.transport.rtt import RttEstimator
from quinkgl.transport.stateless_reset import reset_key, reset_token
from quinkgl.wire import frames, merkle, packets
from quinkgl.wire.control import Channel, encode_control
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.messages import exchange as exchanges
from quinkgl.wire.messages.fetch import FetchRefused, Get, Piece, encode_fetch_message
from quinkgl.wire.messages.fingerprint import (
    Answer,
    Decline,
    Request,
    Statement,
    encode_fingerprint_message,
    encode_statement,
)
from quinkgl.wire.messages.gossip import UpdateHeader, encode_update_header
from quinkgl.wire.messages.manifest import Agree, Hello, Refuse, Terms, encode_manifest_message
from quinkgl.wire.messages.membership import Records, encode_membership_message, encode_record
from quinkgl.wire.messages.objects import Cancel, Done, Offer, Want, encode_object_message
from quinkgl.wire.messages.secrets import ExchangeOffer, ExchangeReply, encode_exchange_message
from quinkgl.wire.messages.session import HandshakePayload, TransportParameters, encode_handshake_payload
from quinkgl.wire.packets import split_init_untrusted

ROOT = Path(__file__).resolve().parent.parent
SPEC = ROOT / "spec"

Value = bytes | int | float | str
Example = dict[str, Value]

_COLUMNS = 96
"""Hexadecimal digits in one line of a value."""


def scripted(*keys: bytes) -> KeySource:
    """Return a key source that gives out the keys of an example, in their order."""
    left = list(keys)
    return KeySource(lambda _count: left.pop(0))


class Handshake:
    """One handshake with fixed keys: what both sides write, and what lies in between."""

    manifest = b"a manifest"
    initiator_seed = bytes([0x11]) * 32
    responder_seed = bytes([0x22]) * 32
    initiator_static = bytes([0x33]) * 32
    responder_static = bytes([0x44]) * 32
    initiator_ephemeral = bytes([0x55]) * 32
    responder_ephemeral = bytes([0x66]) * 32
    initiator_id = bytes.fromhex("a0a1a2a3a4a5a6a7")
    responder_id = bytes.fromhex("b0b1b2b3b4b5b6b7")
    first_destination_id = bytes.fromhex("c0c1c2c3c4c5c6c7")
    initiator_address = ("192.0.2.1", 7001)
    responder_address = ("192.0.2.2", 7002)

    def __init__(self) -> None:
        self.keys = derive_member_keys(self.manifest)
        self.initiator = Identity.from_seed(self.initiator_seed)
        self.responder = Identity.from_seed(self.responder_seed)
        self.prologue = prologue(self.keys, packets.VERSION, (packets.VERSION,))
        ours = self._party(self.initiator, self.initiator_static)
        theirs = self._party(self.responder, self.responder_static)
        versions = (packets.VERSION,)
        opener = Initiator(ours, scripted(self.initiator_ephemeral), packets.VERSION, versions)
        answerer = Responder(
            theirs,
            scripted(self.responder_ephemeral),
            packets.VERSION,
            versions,
            opener.message1,
            local_id=self.responder_id,
            record=b"",
            observed=self.initiator_address,
        )
        self.message1 = opener.message1
        self.message2 = answerer.message2
        self.message3, self.session = opener.finish_untrusted(
            answerer.message2,
            expected_peer=None,
            local_id=self.initiator_id,
            record=b"",
            observed=self.responder_address,
        )
        self.answered = answerer.finish_untrusted(self.message3, remote_id=self.initiator_id)
        self._retrace()

    def _party(self, identity: Identity, static: bytes) -> LocalParty:
        return LocalParty(identity, self.keys, scripted(static).x25519(), TransportParameters())

    def _retrace(self) -> None:
        """Walk the same handshake step by step for the values in between."""
        opener = self._noise(self.initiator_static, self.initiator_ephemeral, initiator=True)
        answerer = self._noise(self.responder_static, self.responder_ephemeral, initiator=False)
        message1 = opener.write_tokens() + opener.write_payload(b"")
        answerer.read_payload_untrusted(answerer.read_tokens_untrusted(message1))
        self.hash_after_1 = opener.handshake_hash
        tokens2 = answerer.write_tokens()
        self.hash_in_2 = answerer.handshake_hash
        self.signed2 = b"\x01" + self.hash_in_2 + self._public(self.responder_static)
        self.payload2 = self._payload(self.responder, self.signed2, self.responder_id, self.initiator_address)
        message2 = tokens2 + answerer.write_payload(self.payload2)
        opener.read_payload_untrusted(opener.read_tokens_untrusted(message2))
        tokens3 = opener.write_tokens()
        self.hash_in_3 = opener.handshake_hash
        self.signed3 = b"\x00" + self.hash_in_3 + self._public(self.initiator_static)
        self.payload3 = self._payload(self.initiator, self.signed3, self.initiator_id, self.responder_address)
        message3 = tokens3 + opener.write_payload(self.payload3)
        self.initiator_key, self.responder_key = opener.split()
        if (message1, message2, message3) != (self.message1, self.message2, self.message3):
            raise SystemExit("spec_examples: the steps give other messages than the handshake")

    def _noise(self, static: bytes, ephemeral: bytes, *, initiator: bool) -> HandshakeState:
        return HandshakeState(
            PATTERN,
            initiator=initiator,
            prologue=self.prologue,
            static=scripted(static).x25519(),
            psks=(self.keys.psk, self.keys.psk),
            ephemeral=scripted(ephemeral).x25519(),
        )

    @staticmethod
    def _public(private: bytes) -> bytes:
        return scripted(private).x25519().public_key().public_bytes_raw()

    @staticmethod
    def _payload(identity: Identity, signed: bytes, connection_id: bytes, observed: tuple[str, int]) -> bytes:
        return encode_handshake_payload(
            HandshakePayload(
                peer_id=identity.peer_id,
                signature=identity.sign("handshake", signed),
                parameters=TransportParameters(),
                connection_id=connection_id,
                observed_address=observed,
            )
        )

    def long_packets(self) -> tuple[bytes, bytes, bytes]:
        """Return the three datagrams."""
        head, tail = packets.encode_init(
            version=packets.VERSION,
            destination_id=self.first_destination_id,
            source_id=self.initiator_id,
            versions=(packets.VERSION,),
            noise=self.message1,
        )
        init = head + mac1(self.keys.mac1_key, head, tail) + bytes(packets.MAC_BYTES) + tail
        resp = packets.encode_long(
            packets.LongType.RESP,
            version=packets.VERSION,
            destination_id=self.initiator_id,
            source_id=self.responder_id,
            noise=self.message2,
        )
        fin = packets.encode_long(
            packets.LongType.FIN,
            version=packets.VERSION,
            destination_id=self.responder_id,
            source_id=self.initiator_id,
            noise=self.message3,
        )
        return init, resp, fin


def handshake_keys() -> Example:
    """Inputs of the handshake, and what is derived before the first message."""
    shake = Handshake()
    return {
        "manifest_bytes": shake.manifest,
        "join_secret": b"",
        "swarm_id": shake.keys.swarm_id,
        "psk": shake.keys.psk,
        "mac1_key": shake.keys.mac1_key,
        "initiator_ed25519_private": shake.initiator_seed,
        "initiator_peer_id": shake.initiator.peer_id,
        "responder_ed25519_private": shake.responder_seed,
        "responder_peer_id": shake.responder.peer_id,
        "initiator_static_private": shake.initiator_static,
        "responder_static_private": shake.responder_static,
        "initiator_ephemeral_private": shake.initiator_ephemeral,
        "responder_ephemeral_private": shake.responder_ephemeral,
        "initiator_address": "192.0.2.1:7001",
        "responder_address": "192.0.2.2:7002",
        "prologue": shake.prologue,
    }


def handshake_messages() -> Example:
    """The three messages, and the hashes and signatures in between."""
    shake = Handshake()
    label = signature_label("handshake")
    return {
        "message_1": shake.message1,
        "h_after_message_1": shake.hash_after_1,
        "h_in_message_2": shake.hash_in_2,
        "signed_in_message_2": label + b"\x00" + shake.signed2,
        "payload_2": shake.payload2,
        "message_2": shake.message2,
        "h_in_message_3": shake.hash_in_3,
        "signed_in_message_3": label + b"\x00" + shake.signed3,
        "payload_3": shake.payload3,
        "message_3": shake.message3,
        "h_of_the_session": shake.session.handshake_hash,
        "initiator_key": shake.initiator_key,
        "responder_key": shake.responder_key,
    }


def cookie() -> Example:
    """A COOKIE for the INIT of that handshake, and the mac2 that proves it."""
    shake = Handshake()
    init = split_init_untrusted(shake.long_packets()[0])
    if init is None:
        raise SystemExit("spec_examples: the INIT is too short")
    value, random_bytes = bytes([0x77]) * 16, bytes([0x88]) * 16
    sealed = seal_cookie(shake.keys.mac1_key, random_bytes, value, init.mac1)
    packet = packets.encode_cookie(
        version=packets.VERSION, destination_id=shake.initiator_id, nonce=random_bytes, sealed=sealed
    )
    return {
        "cookie": value,
        "nonce": random_bytes,
        "key": hkdf_expand(shake.keys.mac1_key, b"qgl1 cookie" + random_bytes),
        "mac1_of_the_INIT": init.mac1,
        "sealed": sealed,
        "COOKIE": packet,
        "mac2": mac2(value, init.head, init.mac1, init.tail),
    }


def version_negotiation() -> Example:
    """A VERNEG for that INIT."""
    init = Handshake().long_packets()[0]
    versions = (3, packets.grease_version(0x1234))
    return {
        "first_21_bytes_of_the_INIT": init[:21],
        "version_spoken": versions[0],
        "GREASE_version": versions[1].to_bytes(4, "big"),
        "VERNEG": packets.encode_version_negotiation(
            destination_id=Handshake.initiator_id,
            source_id=Handshake.first_destination_id,
            versions=versions,
        ),
    }


def long_packets() -> Example:
    """The three long packets of that handshake."""
    init, resp, fin = Handshake().long_packets()
    cut = len(init.rstrip(b"\x00"))
    return {
        "initiator_connection_id": Handshake.initiator_id,
        "responder_connection_id": Handshake.responder_id,
        "destination_id_of_INIT": Handshake.first_destination_id,
        "INIT_without_padding": init[:cut],
        "INIT_bytes": len(init),
        "mac1": init[21:37],
        "RESP": resp,
        "RESP_bytes": len(resp),
        "FIN": fin,
        "FIN_bytes": len(fin),
    }


def short_packets() -> Example:
    """A frame packet and a bulk packet under one key."""
    key = bytes(range(32))
    keys = PacketKeys(key)
    connection_id = Handshake.responder_id
    number = 258
    header = packets.SHORT_HEADER.pack(0x40, connection_id, number)
    bulk = packets.BULK_HEADER.pack(0x40 | packets.BULK_BIT, connection_id, number + 1, 7, 32768)
    return {
        "key": key,
        "connection_id": connection_id,
        "packet_number": number,
        "nonce": nonce(number),
        "header": header,
        "frames": frames.PING,
        "frame_packet": header + keys.seal(number, header, frames.PING),
        "bulk_packet_number": number + 1,
        "transfer": 7,
        "offset": 32768,
        "bulk_header": bulk,
        "chunk": b"0123456789abcdef",
        "bulk_packet": bulk + keys.seal(number + 1, bulk, b"0123456789abcdef"),
    }


def key_phases() -> Example:
    """A key, the next two of its direction, and what follows where a secret is mixed in."""
    first = PacketKeys(bytes(range(32)))
    secret, handshake_hash = bytes([0x5A]) * 32, bytes([0xA5]) * 32
    return {
        "k_0": first.key,
        "k_1": first.next_phase().key,
        "k_2": first.next_phase().next_phase().key,
        "secret": secret,
        "h": handshake_hash,
        "k_1_with_an_ML_KEM_768_secret": first.mixed(secret, handshake_hash, "pq").key,
        "k_1_with_an_X25519_secret": first.mixed(secret, handshake_hash, "ratchet").key,
    }


def key_exchange() -> Example:
    """The messages of an exchange; of ML-KEM-768 what can be computed without a random ciphertext."""
    ours = X25519PrivateKey.from_private_bytes(bytes([0x55]) * 32)
    theirs = X25519PrivateKey.from_private_bytes(bytes([0x66]) * 32)
    lattice = MLKEM768PrivateKey.from_seed_bytes(bytes(range(64)))
    public = lattice.public_key().public_bytes_raw()
    ours_public, theirs_public = (key.public_key().public_bytes_raw() for key in (ours, theirs))
    return {
        "X25519_private_of_OFFER": ours.private_bytes_raw(),
        "X25519_private_of_REPLY": theirs.private_bytes_raw(),
        "X25519_OFFER": encode_exchange_message(ExchangeOffer(Method.X25519, ours_public)),
        "X25519_REPLY": encode_exchange_message(ExchangeReply(Method.X25519, theirs_public)),
        "X25519_secret": ours.exchange(theirs.public_key()),
        "ML_KEM_768_seed_d_z": bytes(range(64)),
        "ML_KEM_768_OFFER_bytes": len(encode_exchange_message(ExchangeOffer(Method.ML_KEM_768, public))),
        "ML_KEM_768_OFFER_begins": encode_exchange_message(ExchangeOffer(Method.ML_KEM_768, public))[:40],
        "SHA_256_of_the_encapsulation_key": hashlib.sha256(public).digest(),
        "secret_of_a_ciphertext_of_1088_bytes_0x5a": lattice.decapsulate(bytes([0x5A]) * 1088),
    }


def ack_frame() -> Example:
    """An ACK of packets 0 to 2, 5, and 8 to 10, the last of which arrived 4 ms ago."""
    received = RangeSet()
    for start, stop in ((0, 3), (5, 6), (8, 11)):
        received.add(start, stop)
    ranges = tuple((start, stop - 1) for start, stop in received.descending())
    return {
        "received": "0-2, 5, 8-10",
        "delay_s": 0.004,
        "frame": frames.encode_ack(frames.Ack(ranges, 0.004)),
    }


def small_frames() -> Example:
    """One frame of each other kind in use."""
    message = encode_control(Channel.OBJECTS, encode_object_message(Done(7)))
    return {
        "PING": frames.PING,
        "message_on_channel_0": message,
        "CONTROL_at_offset_100": frames.encode_control_frame(100, message),
        "MAX_CONTROL_98304": frames.encode_max_control(98304),
        "MAX_DATA_of_transfer_7_1572864": frames.encode_max_data(7, 1572864),
        "PATH_CHALLENGE": frames.encode_path_challenge(bytes(range(8))),
        "PATH_RESPONSE": frames.encode_path_response(bytes(range(8))),
        "CLOSE_0x0016_newer": frames.encode_close(0x16, "newer"),
        "GREASE_of_type_0x3a": bytes.fromhex("3a0003aabbcc"),
    }


def stateless_reset() -> Example:
    """The token of one connection id, and the frames that give and end ids."""
    seed, swarm_id = Handshake.responder_seed, Handshake().keys.swarm_id
    key = reset_key(Identity.from_seed(seed), swarm_id)
    connection_id = Handshake.responder_id
    token = reset_token(key, connection_id)
    return {
        "ed25519_private": seed,
        "swarm_id": swarm_id,
        "reset_key": key,
        "connection_id": connection_id,
        "token": token,
        "NEW_CID_1": frames.encode_new_cid(1, connection_id, token),
        "RETIRE_CID_0": frames.encode_retire_cid(0),
    }


def rtt() -> Example:
    """The estimator after each of four samples, in milliseconds."""
    estimator = RttEstimator()
    out: Example = {"variation_before": f"{estimator.variation * 1000:.1f} ms"}
    samples = ((0.100, 0.0), (0.140, 0.025), (0.110, 0.025), (0.090, 0.010))
    for index, (sample, delay) in enumerate(samples, 1):
        estimator.sample(sample, delay)
        out[f"sample_{index}"] = (
            f"rtt {sample * 1000:.0f} ms, ack delay {delay * 1000:.0f} ms: "
            f"smoothed {estimator.smoothed * 1000:.4f}, variation {estimator.variation * 1000:.4f}, "
            f"minimum {estimator.minimum * 1000:.0f}"
        )
    out["probe_timeout"] = f"{estimator.probe_timeout(0.025) * 1000:.4f} ms with max_ack_delay 25 ms"
    out["loss_delay"] = f"{estimator.loss_delay() * 1000:.4f} ms"
    return out


def new_reno() -> Example:
    """The window of a session with datagrams of 1200 bytes."""
    controller = NewReno(1200)
    out: Example = {"at_the_start": controller.window}
    for _ in range(10):
        controller.on_acknowledged(1200, 0.0, window_limited=True)
    out["after_10_packets_acknowledged"] = controller.window
    controller.on_congestion(0.5, 1.0)
    out["after_a_loss"] = controller.window
    controller.on_congestion(0.9, 1.1)
    out["after_another_loss_of_the_same_round_trip"] = controller.window
    controller.on_acknowledged(1200, 1.2, window_limited=True)
    out["after_one_more_packet_acknowledged"] = controller.window
    controller.on_persistent_congestion()
    out["after_persistent_congestion"] = controller.window
    return out


def pattern(size: int) -> bytes:
    """Return the body of an example: byte i is i mod 251."""
    return bytes(index % 251 for index in range(size))


def merkle_tree() -> Example:
    """An object of three leaves."""
    body = pattern(40000)
    leaves = merkle.leaf_hashes(body)
    return {
        "size": len(body),
        "leaf_0": leaves[0],
        "leaf_1": leaves[1],
        "leaf_2": leaves[2],
        "node_of_0_and_1": merkle.merkle_root(leaves[:2]),
        "root": merkle.merkle_root(leaves),
        "leaf_list_bytes": merkle.list_bytes(len(body)),
        "byte_space": merkle.list_bytes(len(body)) + len(body),
        "empty_object_root": merkle.merkle_root(merkle.leaf_hashes(b"")),
        "root_of_the_3_bytes_abc": merkle.merkle_root(merkle.leaf_hashes(b"abc")),
    }


def object_messages() -> Example:
    """The four messages of a transfer."""
    root = merkle.merkle_root(merkle.leaf_hashes(pattern(40000)))
    small = merkle.merkle_root(merkle.leaf_hashes(b"abc"))
    return {
        "OFFER": encode_object_message(Offer(7, root, 40000, b"header")),
        "OFFER_with_inline_body": encode_object_message(Offer(8, small, 3, b"header", b"abc")),
        "WANT_0_to_40096": encode_object_message(Want(7, ((0, 40096),), 40096)),
        "DONE": encode_object_message(Done(7)),
        "CANCEL_0x0044_by_the_offerer": encode_object_message(Cancel(7, 0x44, by_offerer=True)),
    }


def wanted_ranks() -> Example:
    """Ranks of wanted bytes."""
    wanted = WantedRanges(((0, 96), (16480, 40096)))
    return {
        "ranges": "0-95, 16480-40095",
        "wanted_bytes": wanted.total,
        "byte_at_rank_95": wanted.position(95)[0],
        "byte_at_rank_96": wanted.position(96)[0],
        "byte_at_rank_1000": wanted.position(1000)[0],
    }


def manifest_handshake() -> Example:
    """The messages of a handshake, and a term that differs."""
    terms = Terms(
        swarm_id=bytes(range(32)),
        schema_version=3,
        arch_hash="sha256:" + "ab" * 32,
        input_shape=(64,),
        output_shape=(10,),
        aggregation="FedAvg",
        topology="Random",
        compression_enabled=False,
        byzantine_f=0,
        expires_unix=2_000_000_000,
        max_object_bytes=1 << 28,
        features=("introduce", "relay"),
    )
    return {
        "HELLO": encode_manifest_message(Hello(terms, initiator=True)),
        "AGREE": encode_manifest_message(Agree()),
        "REFUSE_0x0039_arch_hash": encode_manifest_message(Refuse(0x39, "arch_hash", "another model")),
    }


def exchange() -> Example:
    """One of each kind of message of a two-sided exchange."""
    name, answer = bytes(range(16)), bytes(range(16, 32))
    messages: dict[str, exchanges.ExchangeMessage] = {
        "OFFER": exchanges.Offer(name, bytes(range(32)), 6556, exchanges.most_weight(1), 1, 1, {1: 2}),
        "ACCEPT": exchanges.Accept(name, answer, bytes(range(32, 64)), 6556),
        "READY": exchanges.Ready(name, answer),
        "ASK": exchanges.Ask(name, answer),
        "COMMIT": exchanges.Commit(name, answer),
        "ABORT_unanswered": exchanges.Abort(name, None, 0x45),
        "ABORT": exchanges.Abort(name, answer, 0x46),
        "ACK": exchanges.Ack(name, answer),
    }
    encoded = {label: exchanges.encode_exchange_message(message) for label, message in messages.items()}
    return {"weight": exchanges.most_weight(1), **encoded}


def manifest_fetch() -> Example:
    """A fetch of a manifest that fits one piece, and a refusal."""
    manifest = b"a manifest"
    return {
        "manifest_bytes": manifest,
        "GET": encode_fetch_message(Get(derive_member_keys(manifest).swarm_id, 0)),
        "PIECE_signed": encode_fetch_message(Piece(0, len(manifest), manifest, bytes(range(64)))),
        "REFUSE_0x0030": encode_fetch_message(FetchRefused(0x30, "not served here")),
    }


def fingerprint() -> Example:
    """A request, what the holder signs, and its answer."""
    holder = Identity.from_seed(bytes([0x11]) * 32)
    verifier = Identity.from_seed(bytes([0x22]) * 32)
    nonce_bytes, body = bytes(range(16)), b"a body"
    statement = encode_statement(
        Statement(
            swarm_id=derive_member_keys(b"a manifest").swarm_id,
            holder=holder.peer_id,
            verifier=verifier.peer_id,
            nonce=nonce_bytes,
            epoch=7,
            digest=hashlib.sha256(body).digest(),
        )
    )
    return {
        "holder_ed25519_private": bytes([0x11]) * 32,
        "holder": holder.peer_id,
        "verifier": verifier.peer_id,
        "swarm_id": derive_member_keys(b"a manifest").swarm_id,
        "REQUEST_of_epoch_7": encode_fingerprint_message(Request(nonce_bytes, 7)),
        "statement": statement,
        "ANSWER": encode_fingerprint_message(Answer(sign1(holder, "fingerprint", statement), body)),
        "DECLINE_0x0071": encode_fingerprint_message(Decline(nonce_bytes, 0x71)),
    }


def peer_record() -> Example:
    """A record, what is signed, and the message that carries it."""
    identity = Identity.from_seed(bytes([0x11]) * 32)
    root = derive_member_keys(b"a manifest").root
    signed = issue_record(
        identity,
        root,
        seq=1_900_000_005_500,
        addresses=(("192.0.2.1", 7001), ("2001:db8::1", 7001)),
        ttl=7200,
        unix_now=1_900_000_005.5,
    )
    return {
        "seed": bytes([0x11]) * 32,
        "root_key": root,
        "peer_id": identity.peer_id,
        "swarm_tag": signed.record.swarm_tag,
        "seq": signed.record.seq,
        "issued": signed.record.issued,
        "period": signed.record.period,
        "addresses": "192.0.2.1:7001, [2001:db8::1]:7001",
        "payload": encode_record(signed.record),
        "record": signed.encoded,
        "RECORDS": encode_membership_message(Records((signed.encoded,))),
    }


def update_header() -> Example:
    """A header and its envelope."""
    identity = Identity.from_seed(bytes([0x11]) * 32)
    header = UpdateHeader(
        swarm_id=bytes(range(32)),
        author=identity.peer_id,
        round=7,
        root=merkle.merkle_root(merkle.leaf_hashes(pattern(40000))),
        size=40000,
        codec=1,
        sample_count=256,
        issued=1_900_000_005,
        nonce=bytes(range(16)),
        incarnation=1_900_000_000_000,
        metadata={1: 42},
    )
    payload = encode_update_header(header)
    return {
        "seed": bytes([0x11]) * 32,
        "payload": payload,
        "header": sign1(identity, "update", payload),
    }


def round_window() -> Example:
    """Which rounds of one author are accepted."""
    newest = Admitted((5, 30), own_round=3, at=100.0)
    answers: Example = {
        "last_incarnation": 5,
        "last_round": 10,
        "newest_incarnation": 5,
        "newest_round": 30,
        "own_rounds_since_newest": 1,
        "seconds_since_newest": 2,
    }
    for position in ((5, 10), (5, 21), (5, 22), (5, 31), (5, 94), (5, 95), (6, 0), (4, 99)):
        refusal = judge_round(
            position, last=(5, 10), newest=newest, same_session=True, own_round=4, now=102.0, limits=LIMITS
        )
        answer = "accepted" if refusal is None else refusal.code.name
        answers[f"incarnation_{position[0]}_round_{position[1]}"] = answer
    return answers


EXAMPLES: dict[str, Callable[[], Example]] = {
    "handshake-keys": handshake_keys,
    "handshake-messages": handshake_messages,
    "cookie": cookie,
    "version-negotiation": version_negotiation,
    "long-packets": long_packets,
    "short-packets": short_packets,
    "key-phases": key_phases,
    "key-exchange": key_exchange,
    "ack-frame": ack_frame,
    "small-frames": small_frames,
    "stateless-reset": stateless_reset,
    "rtt": rtt,
    "new-reno": new_reno,
    "merkle-tree": merkle_tree,
    "object-messages": object_messages,
    "wanted-ranks": wanted_ranks,
    "fingerprint": fingerprint,
    "manifest-fetch": manifest_fetch,
    "manifest-handshake": manifest_handshake,
    "exchange": exchange,
    "peer-record": peer_record,
    "round-window": round_window,
    "update-header": update_header,
}

BLOCK = re.compile(r"(?P<fence>```example (?P<name>[a-z0-9-]+)\n)(?P<body>.*?)(?P<end>```\n)", re.DOTALL)


def lines(name: str, value: Value) -> Iterable[str]:
    """Write one value; bytes as hexadecimal digits, in rows that line up."""
    if not isinstance(value, bytes):
        yield f"{name} = {value}"
        return
    digits = value.hex() or "(empty)"
    if len(name) + len(digits) <= _COLUMNS:
        yield f"{name} = {digits}"
        return
    yield f"{name} ="
    yield from ("    " + digits[at : at + _COLUMNS] for at in range(0, len(digits), _COLUMNS))


def render(text: str) -> str:
    """Return a page with all of its examples computed anew."""

    def fill(match: re.Match[str]) -> str:
        made = EXAMPLES[match["name"]]()
        body = "".join(f"{line}\n" for item in made.items() for line in lines(*item))
        return match["fence"] + body + match["end"]

    return BLOCK.sub(fill, text)


def pages() -> list[Path]:
    """Return the pages that show an example."""
    found = sorted(SPEC.rglob("*.md"))
    return [path for path in found if BLOCK.search(path.read_text(encoding="utf-8"))]


def main() -> None:
    """Rewrite or compare the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 on a difference")
    check = parser.parse_args().check
    stale = 0
    for path in pages():
        text = path.read_text(encoding="utf-8")
        made = render(text)
        if made == text:
            continue
        stale += 1
        print(f"{path.relative_to(ROOT)}: {'differs from the implementation' if check else 'written'}")
        if not check:
            path.write_text(made, encoding="utf-8")
    sys.exit(1 if check and stale else 0)


if __name__ == "__main__":
    main()
