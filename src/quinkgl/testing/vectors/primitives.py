"""Operations of the families of primitives."""

from __future__ import annotations

from quinkgl.crypto.agreement import Method, Offer
from quinkgl.crypto.identity import Identity, verify_bytes_untrusted
from quinkgl.crypto.keys import KeySource
from quinkgl.crypto.packet_keys import PacketKeys, nonce
from quinkgl.crypto.psk import hkdf_expand, hkdf_extract
from quinkgl.testing.vectors.core import DROP
from quinkgl.testing.vectors.ours import Fields, Refused, operation


@operation("ed25519", "sign")
def sign(given: Fields) -> tuple[Fields, Fields]:
    """Sign bytes as they stand."""
    identity = Identity.from_seed(bytes.fromhex(given["seed"]))
    signature = identity.sign_bytes(bytes.fromhex(given["message"]))
    return {}, {"peer_id": identity.peer_id, "signature": signature}


@operation("ed25519", "verify")
def verify(given: Fields) -> tuple[Fields, Fields]:
    """Check the key, then the signature."""
    peer, message, signature = (bytes.fromhex(given[name]) for name in ("peer_id", "message", "signature"))
    verify_bytes_untrusted(peer, message, signature)
    return {}, {"accepted": True}


@operation("x25519", "agree")
def agree(given: Fields) -> tuple[Fields, Fields]:
    """Offer a key and take the answer."""
    private = bytes.fromhex(given["private"])
    offer = Offer(Method.X25519, KeySource(lambda count: private[:count]))
    return {}, {"public": offer.public, "secret": offer.secret_untrusted(bytes.fromhex(given["public"]))}


@operation("aes-gcm", "seal")
def seal(given: Fields) -> tuple[Fields, Fields]:
    """Seal a packet's plaintext."""
    key, header, plaintext = (bytes.fromhex(given[name]) for name in ("key", "header", "plaintext"))
    number = int(given["number"])
    return {"nonce": nonce(number)}, {"sealed": PacketKeys(key).seal(number, header, plaintext)}


@operation("aes-gcm", "open")
def open_sealed(given: Fields) -> tuple[Fields, Fields]:
    """Open a packet."""
    key, header, sealed = (bytes.fromhex(given[name]) for name in ("key", "header", "sealed"))
    number = int(given["number"])
    plaintext = PacketKeys(key).open_untrusted(number, header, sealed)
    if plaintext is None:
        raise Refused(DROP)
    return {"nonce": nonce(number)}, {"plaintext": plaintext}


@operation("hkdf", "derive")
def derive(given: Fields) -> tuple[Fields, Fields]:
    """Extract and expand."""
    salt, ikm, info = (bytes.fromhex(given[name]) for name in ("salt", "ikm", "info"))
    prk = hkdf_extract(salt, ikm)
    return {"prk": prk}, {"okm": hkdf_expand(prk, info)}
