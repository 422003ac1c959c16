"""Decoders of messages and of what is signed: each accepted one is encoded to the same bytes again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

from fuzz.harness import Target
from fuzz.mutators import load, mutate_cbor
from fuzz.oracles import Finding, attempt, check_equal, check_message
from quinkgl.crypto.cose import decode_sign1_untrusted, sign1
from quinkgl.crypto.identity import Identity
from quinkgl.wire.addresses import parse_address
from quinkgl.wire.cbor import encode
from quinkgl.wire.errors import ErrorCode, error_code_untrusted
from quinkgl.wire.messages import (
    exchange,
    fetch,
    fingerprint,
    gossip,
    manifest,
    membership,
    objects,
    secrets,
    session,
)

HASH = bytes(range(32))
OTHER_HASH = bytes(range(32, 64))
ID16 = bytes(range(16))
IDENTITY = Identity.from_seed(b"\x01" * 32)
OTHER_IDENTITY = Identity.from_seed(b"\x02" * 32)
ADDRESSES = tuple(map(parse_address, ("192.0.2.1:4001", "[2001:db8::1]:4001", "10.0.0.1:1")))

Decode = Callable[[bytes], Any]
Encode = Callable[[Any], bytes]


def _runner(decode: Decode, encode_message: Encode, *, exact: bool = True) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        message = check_message(data, decode, encode_message, exact=exact)
        code = getattr(message, "code", None)
        if code is not None and not isinstance(error_code_untrusted(code), ErrorCode):
            raise Finding(f"error code {code}")

    return run


# --- one message of each kind ---


def handshake_payloads() -> Iterable[bytes]:
    """With and without what may be left out."""
    yield session.encode_handshake_payload(
        session.HandshakePayload(HASH, HASH * 2, session.TransportParameters(), HASH[:8])
    )
    for address in ADDRESSES:
        parameters = session.TransportParameters(
            idle_timeout_s=1.0, max_datagram_bytes=1200, max_ack_delay_s=0.0, pq=2, reset_token=ID16
        )
        yield session.encode_handshake_payload(
            session.HandshakePayload(HASH, HASH * 2, parameters, HASH[:8], b"record", address)
        )


def object_messages() -> Iterable[bytes]:
    """OFFER with and without a body, WANT, DONE, CANCEL."""
    for message in (
        objects.Offer(0, HASH, 5, b"header", b"12345"),
        objects.Offer(1, HASH, 1 << 20, b""),
        objects.Want(1, ((0, 100), (200, 300)), 150),
        objects.Done(3),
        objects.Cancel(4, ErrorCode.NOT_WANTED, by_offerer=True),
        objects.Cancel(4, ErrorCode.GONE, by_offerer=False),
    ):
        yield objects.encode_object_message(message)


def exchange_messages() -> Iterable[bytes]:
    """All seven kinds."""
    for message in (
        exchange.Offer(ID16, HASH, 100, exchange.most_weight(2), 2, 1, {1: 2, 3: b"x"}),
        exchange.Accept(ID16, ID16[::-1], OTHER_HASH, 100, {}),
        exchange.Ready(ID16, ID16[::-1]),
        exchange.Ask(ID16, ID16[::-1]),
        exchange.Commit(ID16, ID16[::-1]),
        exchange.Abort(ID16, None, ErrorCode.GONE),
        exchange.Abort(ID16, ID16[::-1], ErrorCode.NOT_WANTED),
        exchange.Ack(ID16, ID16[::-1]),
    ):
        yield exchange.encode_exchange_message(message)


def fetch_messages() -> Iterable[bytes]:
    """GET, PIECE, REFUSE."""
    for message in (
        fetch.Get(HASH, 0),
        fetch.Piece(0, 10, b"0123456789", HASH * 2),
        fetch.Piece(1024, 1034, b"0123456789"),
        fetch.FetchRefused(ErrorCode.E_MAN_UNKNOWN, "not served here"),
    ):
        yield fetch.encode_fetch_message(message)


def fingerprint_messages() -> Iterable[bytes]:
    """REQUEST, ANSWER, DECLINE."""
    for message in (
        fingerprint.Request(ID16),
        fingerprint.Request(ID16, 7),
        fingerprint.Answer(b"statement", b"body"),
        fingerprint.Decline(ID16, ErrorCode.E_FP_RATE),
    ):
        yield fingerprint.encode_fingerprint_message(message)


def fingerprint_statements() -> Iterable[bytes]:
    """One statement."""
    yield fingerprint.encode_statement(fingerprint.Statement(HASH, OTHER_HASH, HASH, ID16, 7, OTHER_HASH))


def header(**changes: Any) -> gossip.UpdateHeader:
    """Return an update header."""
    fields: dict[str, Any] = {
        "swarm_id": HASH,
        "author": IDENTITY.peer_id,
        "round": 3,
        "root": OTHER_HASH,
        "size": 100,
        "codec": 1,
        "sample_count": 64,
        "issued": 1_800_000_000,
        "nonce": ID16,
        "incarnation": 5,
    }
    return gossip.UpdateHeader(**{**fields, **changes})


def update_headers() -> Iterable[bytes]:
    """Plain, with metadata, with further objects."""
    yield gossip.encode_update_header(header())
    yield gossip.encode_update_header(header(params={0: 1}, metadata={1: [1, "a"], 2: b"x"}, base=HASH))
    parts = tuple(gossip.UpdateObject(bytes([n]) * 32, n + 1, 1, f"part {n}") for n in range(2))
    yield gossip.encode_update_header(header(objects=parts))


def gossip_messages() -> Iterable[bytes]:
    """A proof."""
    first, second = (
        sign1(IDENTITY, "update", gossip.encode_update_header(header(root=root)))
        for root in (HASH, OTHER_HASH)
    )
    yield gossip.encode_gossip_message(gossip.Proof(first, second))
    yield encode({0: 64})


def terms(**changes: Any) -> manifest.Terms:
    """Return the terms of a HELLO."""
    fields: dict[str, Any] = {
        "swarm_id": HASH,
        "schema_version": 3,
        "arch_hash": "sha256:" + "ab" * 32,
        "input_shape": (64,),
        "output_shape": (10,),
        "aggregation": "FedAvg",
        "topology": "Random",
        "compression_enabled": False,
        "byzantine_f": 0,
        "expires_unix": None,
        "max_object_bytes": 1 << 20,
    }
    return manifest.Terms(**{**fields, **changes})


def manifest_messages() -> Iterable[bytes]:
    """HELLO, AGREE, REFUSE."""
    for message in (
        manifest.Hello(terms(), initiator=True),
        manifest.Hello(terms(features=("a", "b"), expires_unix=1_900_000_000), initiator=False),
        manifest.Agree(),
        manifest.Refuse(ErrorCode.E_MAN_SHAPE, "input_shape", "ours (64,), theirs (65,)"),
    ):
        yield manifest.encode_manifest_message(message)


def peer_record(**changes: Any) -> membership.PeerRecord:
    """Return a record."""
    fields: dict[str, Any] = {
        "key": IDENTITY.peer_id,
        "seq": 1,
        "issued": 1_800_000_000,
        "ttl": 7200,
        "swarm_tag": HASH[:8],
        "addresses": ADDRESSES,
        "period": 180_000_000,
    }
    return membership.PeerRecord(**{**fields, **changes})


def peer_records() -> Iterable[bytes]:
    """With addresses of both families, and with a voucher."""
    yield membership.encode_record(peer_record())
    yield membership.encode_record(peer_record(vouchers=(b"voucher",)))


def membership_messages() -> Iterable[bytes]:
    """One record and two."""
    signed = sign1(IDENTITY, "peer-record", membership.encode_record(peer_record()))
    yield membership.encode_membership_message(membership.Records((signed,)))
    yield membership.encode_membership_message(membership.Records((signed, b"another")))


def secret_messages() -> Iterable[bytes]:
    """OFFER and REPLY."""
    yield secrets.encode_exchange_message(secrets.ExchangeOffer(2, HASH))
    yield secrets.encode_exchange_message(secrets.ExchangeReply(2, OTHER_HASH))
    yield secrets.encode_exchange_message(secrets.ExchangeOffer(1, bytes(1184)))


# --- signed envelopes ---


def run_envelope(data: bytes) -> None:
    """An envelope that is accepted is the only encoding of what is in it."""
    envelope = attempt(decode_sign1_untrusted, data, max_bytes=2048)
    if envelope is None:
        return
    protected = encode({1: -8})
    again = b"\xd2" + encode([protected, {}, envelope.payload, envelope.signature])
    check_equal(again, data, "an envelope")


def envelopes() -> Iterable[bytes]:
    """A header, a record, an empty payload."""
    yield sign1(IDENTITY, "update", gossip.encode_update_header(header()))
    yield sign1(IDENTITY, "peer-record", b"")


def mutate_envelope(data: bytes, rng: random.Random) -> bytes:
    """Change what is behind the tag, and the payload inside."""
    try:
        protected, unprotected, payload, signature = load(data[1:])
    except (ValueError, TypeError):
        return mutate_cbor(data, rng)
    if rng.random() < 0.5 and isinstance(payload, bytes):
        return data[:1] + encode([protected, unprotected, mutate_cbor(payload, rng), signature])
    return (data[:1] if rng.random() < 0.9 else b"\xd1") + mutate_cbor(data[1:], rng)


def _target(
    name: str, about: str, decode: Decode, encode_message: Encode,
    seeds: Callable[[], Iterable[bytes]], *, exact: bool = True, max_bytes: int = 512,
) -> Target:  # fmt: skip
    return Target(
        name=name,
        about=about,
        run=_runner(decode, encode_message, exact=exact),
        seeds=seeds,
        mutate=mutate_cbor,
        max_bytes=max_bytes,
    )


TARGETS = (
    _target("handshake_payload", "who a handshake is with, and its transport parameters",
            session.decode_handshake_payload_untrusted, session.encode_handshake_payload,
            handshake_payloads, exact=False),
    _target("object_message", "OFFER, WANT, DONE, CANCEL of objects",
            objects.decode_object_message_untrusted, objects.encode_object_message, object_messages),
    _target("exchange_message", "messages of the two-sided exchange",
            exchange.decode_exchange_message_untrusted, exchange.encode_exchange_message, exchange_messages),
    _target("fetch_message", "GET, PIECE, REFUSE of a manifest",
            fetch.decode_fetch_message_untrusted, fetch.encode_fetch_message, fetch_messages, exact=False),
    _target("fingerprint_message", "REQUEST, ANSWER, DECLINE of fingerprints",
            fingerprint.decode_fingerprint_message_untrusted, fingerprint.encode_fingerprint_message,
            fingerprint_messages),
    _target("fingerprint_statement", "the signed statement about a fingerprint",
            fingerprint.decode_statement_untrusted, fingerprint.encode_statement, fingerprint_statements),
    _target("gossip_message", "proofs of equivocation",
            gossip.decode_gossip_message_untrusted, gossip.encode_gossip_message, gossip_messages,
            max_bytes=640),
    _target("update_header", "headers of updates",
            gossip.decode_update_header_untrusted, gossip.encode_update_header, update_headers),
    _target("manifest_message", "HELLO, AGREE, REFUSE",
            manifest.decode_manifest_message_untrusted, manifest.encode_manifest_message, manifest_messages),
    _target("membership_message", "lists of records",
            membership.decode_membership_message_untrusted, membership.encode_membership_message,
            membership_messages, max_bytes=640),
    _target("peer_record", "records of peers",
            membership.decode_record_untrusted, membership.encode_record, peer_records),
    _target("secret_message", "messages that agree on a new secret",
            secrets.decode_exchange_message_untrusted, secrets.encode_exchange_message, secret_messages,
            max_bytes=1400),
    Target(name="envelope", about="COSE_Sign1 envelopes", run=run_envelope, seeds=envelopes,
           mutate=mutate_envelope, max_bytes=640),
)  # fmt: skip
