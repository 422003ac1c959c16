"""Peer ids, signatures and envelopes (chapter 2)."""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from . import cbor
from .data import LABELS, SpecError, need

SMALL_ORDER = {
    bytes.fromhex(y)
    for y in (
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    )
}
ORDER = 2**252 + 27742317777372353535851937790883648493


def peer_id(seed: bytes) -> bytes:
    """The public key of a private key of 32 bytes."""
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def check_peer_id(peer: bytes) -> None:
    """`E_HS_IDENTITY` for a peer id that is refused (I-001 to I-004)."""
    need(len(peer) == 32, "E_HS_IDENTITY", "a peer id has 32 bytes")
    y = peer[:31] + bytes([peer[31] & 0x7F])
    need(int.from_bytes(y, "little") < 2**255 - 19, "E_HS_IDENTITY", "a peer id that is not canonical")
    need(y not in SMALL_ORDER, "E_HS_IDENTITY", "a peer id of small order")


def signed_bytes(domain: str, message: bytes) -> bytes:
    """What a signature covers: label, 0x00, message (2.3)."""
    return LABELS[domain] + b"\0" + message


def sign(seed: bytes, data: bytes) -> bytes:
    """The Ed25519 signature of these very bytes (RFC 8032, section 5.1.6)."""
    return Ed25519PrivateKey.from_private_bytes(seed).sign(data)


def verifies(peer: bytes, signature: bytes, data: bytes) -> bool:
    """Whether this is the peer's signature of these very bytes (I-005)."""
    if len(signature) != 64 or int.from_bytes(signature[32:], "little") >= ORDER:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(peer).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def sig_structure(domain: str, payload: bytes) -> bytes:
    """What an envelope's signature covers (2.4)."""
    return cbor.head(4, 4) + b"\x6aSignature1\x43\xa1\x01\x27" + _bytes(LABELS[domain]) + _bytes(payload)


def encode_envelope(payload: bytes, signature: bytes) -> bytes:
    """COSE_Sign1 in the one form of 2.4."""
    return b"\xd2\x84\x43\xa1\x01\x27\xa0" + _bytes(payload) + _bytes(signature)


def sign_envelope(seed: bytes, domain: str, payload: bytes) -> bytes:
    """The signed envelope of a payload."""
    return encode_envelope(payload, sign(seed, sig_structure(domain, payload)))


def decode_envelope(envelope: bytes, max_bytes: int) -> tuple[bytes, bytes]:
    """Payload and signature, not verified; `E_TOO_BIG` (I-013) or `E_SCHEMA` for every other form (I-011)."""
    need(len(envelope) <= max_bytes, "E_TOO_BIG", "an envelope that is larger than its kind may be")
    for head_bytes in (1, 2, 3):
        start, end = 7 + head_bytes, len(envelope) - 66
        payload, signature = envelope[start:end], envelope[-64:]
        if envelope == encode_envelope(payload, signature) and len(signature) == 64:
            return payload, signature
    raise SpecError("E_SCHEMA", "not an envelope in the one form that there is")


def open_envelope(envelope: bytes, domain: str, signer_key: int, max_bytes: int) -> cbor.Value:
    """The decoded payload once its signature is verified; the signer's id is the value under `signer_key`."""
    payload, signature = decode_envelope(envelope, max_bytes)
    statement = cbor.decode(payload)
    signer = statement.get(signer_key) if isinstance(statement, dict) else None
    if not isinstance(signer, bytes):
        raise SpecError("E_SCHEMA", "a statement without its signer")
    check_peer_id(signer)
    need(verifies(signer, signature, sig_structure(domain, payload)), "E_HS_IDENTITY", "a wrong signature")
    return statement


def _bytes(data: bytes) -> bytes:
    return cbor.head(2, len(data)) + data
