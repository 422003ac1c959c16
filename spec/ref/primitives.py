"""Hashes, key derivation, the cipher and Diffie-Hellman, as chapter 0 names them."""

import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .data import SpecError


def sha256(data: bytes) -> bytes:
    """FIPS 180-4."""
    return hashlib.sha256(data).digest()


def mac(key: bytes, data: bytes) -> bytes:
    """HMAC(key, data), RFC 2104 with SHA-256."""
    return hmac.digest(key, data, "sha256")


def same(left: bytes, right: bytes) -> bool:
    """Compare in time that does not depend on where the values differ."""
    return hmac.compare_digest(left, right)


def extract(salt: bytes, ikm: bytes) -> bytes:
    """HKDF-Extract, RFC 5869."""
    return mac(salt, ikm)


def expand(prk: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand, RFC 5869."""
    output = block = b""
    for number in range(1, -(-length // 32) + 1):
        block = mac(prk, block + info + bytes([number]))
        output += block
    return output[:length]


def nonce(number: int) -> bytes:
    """4 zero bytes and the number as 8 bytes, big-endian (S-002, P-021)."""
    return bytes(4) + number.to_bytes(8, "big")


def seal(key: bytes, number: int, associated: bytes, plaintext: bytes) -> bytes:
    """AES-256-GCM: ciphertext and the tag of 16 bytes."""
    return AESGCM(key).encrypt(nonce(number), plaintext, associated)


def unseal(key: bytes, number: int, associated: bytes, sealed: bytes) -> bytes | None:
    """The plaintext, or None where the tag is wrong."""
    try:
        return AESGCM(key).decrypt(nonce(number), sealed, associated)
    except (InvalidTag, ValueError):
        return None


def x25519_public(private: bytes) -> bytes:
    """The public key of 32 private bytes, RFC 7748."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def x25519(private: bytes, public: bytes) -> bytes:
    """The Diffie-Hellman result; `E_HS_DECRYPT` where it is zero (S-003, K-010)."""
    try:
        return X25519PrivateKey.from_private_bytes(private).exchange(
            X25519PublicKey.from_public_bytes(public)
        )
    except ValueError as error:
        raise SpecError("E_HS_DECRYPT", "a public key of small order") from error
