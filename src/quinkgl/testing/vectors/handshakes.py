"""Operations of the families of the handshake."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from quinkgl.crypto.cookie import mac2, open_cookie_untrusted, seal_cookie
from quinkgl.crypto.identity import Identity
from quinkgl.crypto.keys import KeySource
from quinkgl.crypto.noise import HandshakeState
from quinkgl.crypto.psk import SwarmKeys, derive_fetch_keys, derive_member_keys, domain_label, hkdf_expand
from quinkgl.testing.vectors.ours import Fields, Json, Refused, operation
from quinkgl.transport.handshake import PATTERN, Initiator, LocalParty, Responder, Session, prologue
from quinkgl.transport.versions import Versions
from quinkgl.wire.addresses import decode_address_untrusted
from quinkgl.wire.messages.session import PostQuantum, TransportParameters
from quinkgl.wire.packets import (
    COOKIE_NONCE_BYTES,
    DESTINATION_ID_OF_LONG,
    SOURCE_ID_OF_LONG,
    LongType,
    decode_long_untrusted,
    decode_version_negotiation_untrusted,
    encode_cookie,
    encode_version_negotiation,
    split_init_untrusted,
)

_VERSION = 1
_MEMBER, _FETCH = 1, 2


def _keys(swarm: Fields) -> SwarmKeys:
    manifest, secret = bytes.fromhex(swarm["manifest"]), bytes.fromhex(swarm["join_secret"])
    member = derive_member_keys(manifest, secret)
    return {_MEMBER: member, _FETCH: derive_fetch_keys(member.swarm_id, secret)}[swarm["mode"]]


def _party(swarm: Fields, side: Fields) -> LocalParty:
    parameters = TransportParameters(
        idle_timeout_s=60.0,
        max_datagram_bytes=65507,
        max_ack_delay_s=0.025,
        pq=PostQuantum(side["post_quantum"]),
    )
    static = X25519PrivateKey.from_private_bytes(bytes.fromhex(side["static"]))
    return LocalParty(Identity.from_seed(bytes.fromhex(side["seed"])), _keys(swarm), static, parameters)


def _source(side: Fields) -> KeySource:
    ephemeral = bytes.fromhex(side["ephemeral"])
    return KeySource(lambda count: ephemeral[:count])


def _versions(swarm: Fields) -> tuple[int, ...]:
    return tuple(int(each) for each in swarm["versions"])


def _about(side: Fields) -> dict[str, Json]:
    return {
        "local_id": bytes.fromhex(side["connection_id"]),
        "record": b"",
        "observed": decode_address_untrusted(bytes.fromhex(side["observed"])),
    }


def _begin(swarm: Fields, side: Fields) -> Initiator:
    return Initiator(_party(swarm, side), _source(side), _VERSION, _versions(swarm))


def _answer(swarm: Fields, side: Fields, message_1: bytes) -> Responder:
    party = _party(swarm, side)
    return Responder(party, _source(side), _VERSION, _versions(swarm), message_1, **_about(side))


def _noise(swarm: Fields, side: Fields, *, initiator: bool) -> HandshakeState:
    party = _party(swarm, side)
    return HandshakeState(
        PATTERN,
        initiator=initiator,
        prologue=prologue(party.keys, _VERSION, _versions(swarm)),
        static=party.static,
        psks=(party.keys.psk, party.keys.psk),
        ephemeral=_source(side).x25519(),
    )


def _session(session: Session, *, initiator: bool) -> dict[str, Json]:
    ours, theirs = session.send_keys.key, session.receive_keys.key
    return {
        "h": session.handshake_hash,
        "initiator_key": ours if initiator else theirs,
        "responder_key": theirs if initiator else ours,
    }


@operation("noise", "handshake")
def handshake(given: Fields) -> tuple[Fields, Fields]:
    """Run both sides, and read along at both for the intermediates."""
    swarm, ours, theirs = given["swarm"], given["initiator"], given["responder"]
    initiator = _begin(swarm, ours)
    responder = _answer(swarm, theirs, initiator.message1)
    message_3, session = initiator.finish_untrusted(responder.message2, expected_peer=None, **_about(ours))
    accepted = responder.finish_untrusted(message_3, remote_id=bytes.fromhex(ours["connection_id"]))
    first, second = _noise(swarm, ours, initiator=True), _noise(swarm, theirs, initiator=False)
    first.write_tokens()
    first.write_payload(b"")
    second.read_payload_untrusted(second.read_tokens_untrusted(initiator.message1))
    mid = {"prologue": prologue(_keys(swarm), _VERSION, _versions(swarm))}
    mid["h_after_message_1"] = second.handshake_hash
    rest = first.read_tokens_untrusted(responder.message2)
    mid["h_in_message_2"] = first.handshake_hash
    mid["payload_2"] = first.read_payload_untrusted(rest)
    second.write_tokens()
    second.write_payload(mid["payload_2"])
    rest = second.read_tokens_untrusted(message_3)
    mid["h_in_message_3"] = second.handshake_hash
    mid["payload_3"] = second.read_payload_untrusted(rest)
    return mid, {
        "message_1": initiator.message1,
        "message_2": responder.message2,
        "message_3": message_3,
        "initiator_peer": accepted.peer_id,
        "responder_peer": session.peer_id,
        **_session(accepted, initiator=False),
    }


@operation("noise", "respond")
def respond(given: Fields) -> tuple[Fields, Fields]:
    """Answer message 1."""
    responder = _answer(given["swarm"], given["responder"], bytes.fromhex(given["message_1"]))
    return {}, {"message_2": responder.message2}


@operation("noise", "initiate")
def initiate(given: Fields) -> tuple[Fields, Fields]:
    """Read message 2 and write message 3."""
    side, expected = given["initiator"], given["expected_peer"]
    message_3, session = _begin(given["swarm"], side).finish_untrusted(
        bytes.fromhex(given["message_2"]),
        expected_peer=None if expected is None else bytes.fromhex(expected),
        **_about(side),
    )
    return {}, {
        "peer": session.peer_id,
        "connection_id": session.remote_id,
        "message_3": message_3,
        **_session(session, initiator=True),
    }


@operation("noise", "accept")
def accept(given: Fields) -> tuple[Fields, Fields]:
    """Read message 3."""
    responder = _answer(given["swarm"], given["responder"], bytes.fromhex(given["message_1"]))
    session = responder.finish_untrusted(
        bytes.fromhex(given["message_3"]), remote_id=bytes.fromhex(given["source_id"])
    )
    return {}, {
        "peer": session.peer_id,
        "connection_id": session.remote_id,
        **_session(session, initiator=False),
    }


def _cookie_key(mac1_key: bytes, nonce: bytes) -> bytes:
    return hkdf_expand(mac1_key, domain_label("cookie") + nonce)


def _hex(given: Fields, *names: str) -> list[bytes]:
    return [bytes.fromhex(given[name]) for name in names]


@operation("cookie", "seal")
def seal(given: Fields) -> tuple[Fields, Fields]:
    """Seal a cookie for an INIT."""
    key, init, nonce, cookie = _hex(given, "mac1_key", "init", "nonce", "cookie")
    parts = split_init_untrusted(init)
    if parts is None:
        raise Refused("E_PROTOCOL")
    packet = encode_cookie(
        version=int.from_bytes(init[1:5], "big"),
        destination_id=parts.source_id,
        nonce=nonce,
        sealed=seal_cookie(key, nonce, cookie, parts.mac1),
    )
    return {"key": _cookie_key(key, nonce)}, {"packet": packet}


@operation("cookie", "open")
def open_cookie(given: Fields) -> tuple[Fields, Fields]:
    """Open the answer to an INIT."""
    key, init, data = _hex(given, "mac1_key", "init", "packet")
    packet = decode_long_untrusted(data, (int.from_bytes(init[1:5], "big"),))
    nonce, sealed = packet.noise[:COOKIE_NONCE_BYTES], packet.noise[COOKIE_NONCE_BYTES:]
    parts = split_init_untrusted(init)
    if packet.type is not LongType.COOKIE or parts is None or packet.destination_id != parts.source_id:
        raise Refused("E_PROTOCOL")
    cookie = open_cookie_untrusted(key, nonce, sealed, parts.mac1)
    if cookie is None:
        raise Refused("E_HS_DECRYPT")
    return {"key": _cookie_key(key, nonce)}, {"cookie": cookie}


@operation("cookie", "prove")
def prove(given: Fields) -> tuple[Fields, Fields]:
    """Put mac2 into an INIT."""
    init, cookie = _hex(given, "init", "cookie")
    parts = split_init_untrusted(init)
    if parts is None:
        raise Refused("E_PROTOCOL")
    proof = mac2(cookie, parts.head, parts.mac1, parts.tail)
    return {}, {"mac2": proof, "init": parts.head + parts.mac1 + proof + parts.tail}


@operation("version-negotiation", "answer")
def answer(given: Fields) -> tuple[Fields, Fields]:
    """Build the list of versions."""
    head = bytes.fromhex(given["head"])
    packet = encode_version_negotiation(
        destination_id=head[SOURCE_ID_OF_LONG],
        source_id=head[DESTINATION_ID_OF_LONG],
        versions=tuple(given["versions"]),
    )
    return {}, {"packet": packet}


@operation("version-negotiation", "read")
def read(given: Fields) -> tuple[Fields, Fields]:
    """Read a list of versions."""
    destination, source, versions = decode_version_negotiation_untrusted(bytes.fromhex(given["packet"]))
    return {}, {"destination": destination, "source": source, "versions": versions}


@operation("version-negotiation", "choose")
def choose(given: Fields) -> tuple[Fields, Fields]:
    """Choose from a list."""
    chosen = Versions(tuple(given["spoken"]), 0.0).choose(tuple(given["listed"]))
    if chosen is None:
        raise Refused("E_VERSION")
    return {"common": [each for each in given["spoken"] if each in given["listed"]]}, {"version": chosen}


@operation("version-negotiation", "check")
def check(given: Fields) -> tuple[Fields, Fields]:
    """Judge the version of an INIT."""
    Versions(tuple(given["spoken"]), 0.0).check_choice_untrusted(given["version"], tuple(given["offered"]))
    return {}, {"accepted": True}


@operation("packet-long", "decode")
def decode(given: Fields) -> tuple[Fields, Fields]:
    """Read a long packet."""
    data = bytes.fromhex(given["datagram"])
    packet = decode_long_untrusted(data)
    return {}, {
        "type": packet.type,
        "version": packet.version,
        "destination": packet.destination_id,
        "source": packet.source_id,
        "mac1": packet.mac1,
        "mac2": packet.mac2,
        "versions": packet.versions,
        "noise": packet.noise,
        "bytes": len(data),
    }
