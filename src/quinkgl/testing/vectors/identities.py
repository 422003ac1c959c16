"""Operations of the families of chapter 2."""

from __future__ import annotations

from quinkgl.crypto.cose import decode_sign1_untrusted, sign1, verify_sign1_untrusted
from quinkgl.crypto.identity import (
    Identity,
    check_peer_id_untrusted,
    format_peer_id,
    short_id,
    signature_label,
    verify_untrusted,
)
from quinkgl.testing.vectors.ours import Fields, operation
from quinkgl.wire.cbor import decode_untrusted, encode

_PROTECTED = bytes.fromhex("a10127")


def _shown(peer: bytes) -> Fields:
    return {"peer_id": peer, "text": format_peer_id(peer), "short": short_id(peer)}


def _structure(domain: str, payload: bytes) -> bytes:
    return encode(["Signature1", _PROTECTED, signature_label(domain), payload])


@operation("ed25519-keys", "derive")
def derive(given: Fields) -> tuple[Fields, Fields]:
    """Derive a peer id."""
    return {}, _shown(Identity.from_seed(bytes.fromhex(given["seed"])).peer_id)


@operation("ed25519-keys", "check")
def check(given: Fields) -> tuple[Fields, Fields]:
    """Check a peer id."""
    peer = bytes.fromhex(given["peer_id"])
    check_peer_id_untrusted(peer)
    return {}, _shown(peer)


@operation("signature", "sign")
def sign(given: Fields) -> tuple[Fields, Fields]:
    """Sign under a domain."""
    identity, message = Identity.from_seed(bytes.fromhex(given["seed"])), bytes.fromhex(given["message"])
    signed = signature_label(given["domain"]) + b"\x00" + message
    return {"signed": signed}, {
        "peer_id": identity.peer_id,
        "signature": identity.sign(given["domain"], message),
    }


@operation("signature", "verify")
def verify(given: Fields) -> tuple[Fields, Fields]:
    """Verify under a domain."""
    peer, message, signature = (bytes.fromhex(given[name]) for name in ("peer_id", "message", "signature"))
    verify_untrusted(peer, given["domain"], message, signature)
    return {"signed": signature_label(given["domain"]) + b"\x00" + message}, {"accepted": True}


@operation("envelope", "seal")
def seal(given: Fields) -> tuple[Fields, Fields]:
    """Sign a statement."""
    identity, payload = Identity.from_seed(bytes.fromhex(given["seed"])), bytes.fromhex(given["payload"])
    sealed = sign1(identity, given["domain"], payload)
    made = decode_sign1_untrusted(sealed, max_bytes=len(sealed))
    return {"signed": _structure(given["domain"], payload), "signature": made.signature}, {"envelope": sealed}


@operation("envelope", "open")
def open_envelope(given: Fields) -> tuple[Fields, Fields]:
    """Open a statement and verify it."""
    data, domain = bytes.fromhex(given["envelope"]), given["domain"]
    opened = decode_sign1_untrusted(data, max_bytes=given.get("max_bytes", len(data)))
    statement = decode_untrusted(opened.payload, max_bytes=len(data), where="statement")
    signer = statement[given["signer_key"]]
    verify_sign1_untrusted(opened, domain, signer)
    return {"signed": _structure(domain, opened.payload)}, {
        "payload": opened.payload,
        "signer": signer,
        "signature": opened.signature,
    }
