"""Ed25519 identities: peer ids, which of them are refused, and what a signature covers.

A peer is an Ed25519 key, and its 32-byte public key is its id. Two classes of public keys are refused before
any signature is looked at. A key of small order accepts one signature for nearly every message, so nothing
its "owner" signed could be held against it, and an equivocation proof would prove nothing. A key that is not
in canonical form would give one peer two ids. (Chalkias, Garillot, Nikolaenko: "Taming the many EdDSAs",
2020, sections 2 and 3; RFC 8032 section 5.1.3.)

What is signed is ``label ‖ 0x00 ‖ message``, the label being one of ``spec/registries/domains.toml``, so a
signature made for one purpose is worthless for every other.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from string import hexdigits
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from quinkgl.crypto.keys import KeySource
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from quinkgl.wire.limits import CONSTANTS
from quinkgl.wire.spec_data import load

PeerId: TypeAlias = bytes
"""The 32 bytes of an Ed25519 public key."""

_DOMAINS = load("registries/domains")

SIGNATURE_LABELS: dict[str, bytes] = {
    name: entry["label"].encode("ascii") for name, entry in _DOMAINS.items() if entry["kind"] == "signature"
}
"""Label of each domain that keys sign under, by the domain's name."""
DERIVATION_LABELS: dict[str, bytes] = {
    name: entry["label"].encode("ascii") for name, entry in _DOMAINS.items() if entry["kind"] == "derivation"
}
"""Label of each domain that keys are derived under, by the domain's name."""

_FIELD_PRIME = 2**255 - 19
_Y_MASK = 2**255 - 1

_ORDER_8_Y = int.from_bytes(
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
)
"""A root of d·y⁴ + 2·y² = 1: doubling a point with this y gives a point with y = 0."""

SMALL_ORDER_Y = frozenset({1, _FIELD_PRIME - 1, 0, _ORDER_8_Y, _FIELD_PRIME - _ORDER_8_Y})
"""The y coordinates of the eight points whose order divides 8: orders 1, 2, 4 (two signs), 8 (two signs
each)."""


def _refused(message: str, section: str, code: ErrorCode, peer: bytes | None = None) -> RemoteProtocolError:
    return RemoteProtocolError(code, message, layer="crypto", peer=peer, section=section)


def check_peer_id_untrusted(peer_id: bytes) -> None:
    """Refuse a peer id that is not 32 bytes, not in canonical form, or a point of small order.

    Raises RemoteProtocolError (E_HS_IDENTITY). A canonical id that is no point of the curve passes; no
    signature under it ever verifies. Source: ``spec/02-identity.md``.
    """
    if len(peer_id) != CONSTANTS.key_bytes:
        raise _refused(f"a peer id of {len(peer_id)} bytes", "I-001", ErrorCode.E_HS_IDENTITY)
    y = int.from_bytes(peer_id, "little") & _Y_MASK
    if y >= _FIELD_PRIME:
        raise _refused("a peer id that is not in canonical form", "I-002", ErrorCode.E_HS_IDENTITY)
    if y in SMALL_ORDER_Y:
        raise _refused("a peer id of small order", "I-003", ErrorCode.E_HS_IDENTITY)


def verify_bytes_untrusted(
    peer_id: PeerId, signed: bytes, signature: bytes, *, code: ErrorCode = ErrorCode.E_HS_IDENTITY
) -> None:
    """Check an Ed25519 signature over bytes that carry their domain themselves [I-004].

    The equation is the one without the cofactor (RFC 8032 section 5.1.7). Raises RemoteProtocolError:
    E_HS_IDENTITY for a key that :func:`check_peer_id_untrusted` refuses, ``code`` for a signature that does
    not verify, S not below the group's order included.
    """
    check_peer_id_untrusted(peer_id)
    if _verified is not None:
        known = bytes(peer_id), bytes(signed), bytes(signature)
        if known in _verified:
            return
    try:
        Ed25519PublicKey.from_public_bytes(peer_id).verify(signature, signed)
    except InvalidSignature:
        raise _refused("a signature that does not verify", "I-005", code, peer_id) from None
    if _verified is not None:
        if len(_verified) >= _MOST_VERIFIED:
            _verified.clear()
        _verified[known] = None


_verified: dict[tuple[bytes, bytes, bytes], None] | None = None
"""Signatures that were found good, while they are remembered."""
_MOST_VERIFIED = 1 << 16


@contextmanager
def signatures_remembered() -> Iterator[Sized]:
    """Within this, a signature that was found good once is not computed again; gives what is remembered.

    For simulations: the members of a swarm that run in one process would all verify the same records. A node
    has no use for it.
    """
    global _verified  # noqa: PLW0603 - all members in the process share it, that is what it is for
    before, _verified = _verified, {}
    try:
        yield _verified
    finally:
        _verified = before


def verify_untrusted(
    peer_id: PeerId,
    domain: str,
    message: bytes,
    signature: bytes,
    *,
    code: ErrorCode = ErrorCode.E_HS_IDENTITY,
) -> None:
    """Check a signature that :meth:`Identity.sign` made over ``message`` under ``domain``.

    Raises RemoteProtocolError as :func:`verify_bytes_untrusted` does, and LocalProtocolError for a domain
    that is not in the registry.
    """
    verify_bytes_untrusted(peer_id, signature_label(domain) + b"\x00" + message, signature, code=code)


def signature_label(domain: str) -> bytes:
    """Return the label of a domain of ``spec/registries/domains.toml`` that keys sign under."""
    try:
        return SIGNATURE_LABELS[domain]
    except KeyError:
        raise LocalProtocolError(
            ErrorCode.E_USAGE, f"there is no signature domain {domain!r}", layer="crypto"
        ) from None


class Identity:
    """A peer's Ed25519 key pair. Its ``repr`` shows the public half alone."""

    __slots__ = ("_key", "peer_id")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.peer_id: PeerId = key.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return f"Identity({format_peer_id(self.peer_id)})"

    @classmethod
    def generate(cls, source: KeySource) -> Identity:
        """Return a new identity."""
        return cls(source.ed25519())

    @classmethod
    def from_seed(cls, seed: bytes) -> Identity:
        """Return the identity of a 32-byte RFC 8032 private key. LocalProtocolError for another length."""
        if len(seed) != CONSTANTS.key_bytes:
            raise LocalProtocolError(
                ErrorCode.E_USAGE, f"a seed of {len(seed)} bytes, not 32", layer="crypto"
            )
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def from_pem(cls, pem: bytes) -> Identity:
        """Return the identity in an unencrypted PKCS #8 PEM file (RFC 8410).

        Raises LocalProtocolError (E_USAGE) for anything else.
        """
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: the key is encrypted
            raise LocalProtocolError(
                ErrorCode.E_USAGE, "not an unencrypted PEM private key", layer="crypto"
            ) from None
        if not isinstance(key, Ed25519PrivateKey):
            raise LocalProtocolError(ErrorCode.E_USAGE, "the PEM file holds no Ed25519 key", layer="crypto")
        return cls(key)

    def to_pem(self) -> bytes:
        """Return the private key as unencrypted PKCS #8 PEM; whoever stores it sees to the file's mode."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def derive_key(self, domain: str) -> bytes:
        """Return 32 secret bytes that follow from this identity and a derivation domain: the same each time.

        ``domain`` is a name of ``spec/registries/domains.toml``; LocalProtocolError otherwise.
        """
        label = DERIVATION_LABELS.get(domain)
        if label is None:
            raise LocalProtocolError(
                ErrorCode.E_USAGE, f"there is no derivation domain {domain!r}", layer="crypto"
            )
        return hmac.digest(self._key.private_bytes_raw(), label, "sha256")

    def sign(self, domain: str, message: bytes) -> bytes:
        """Return the 64-byte signature over ``label ‖ 0x00 ‖ message`` [I-006, I-007].

        ``domain`` is a name of ``spec/registries/domains.toml`` (``"handshake"``); LocalProtocolError
        otherwise.
        """
        return self._key.sign(signature_label(domain) + b"\x00" + message)

    def sign_bytes(self, signed: bytes) -> bytes:
        """Return the signature over bytes that carry their domain themselves, as a Sig_structure does."""
        return self._key.sign(signed)


# --- text ---

_PREFIX = "ed25519:"
_SHORT_BYTES = 4


def short_id(peer_id: PeerId) -> str:
    """Return the first 8 hexadecimal digits, for logs. Two peers may share them."""
    return peer_id[:_SHORT_BYTES].hex()


def format_peer_id(peer_id: PeerId) -> str:
    """Return ``ed25519:`` and 64 lower-case hexadecimal digits."""
    return _PREFIX + peer_id.hex()


def parse_peer_id(text: str) -> PeerId:
    """Return the peer id in 64 hexadecimal digits, with or without ``ed25519:``.

    Raises ValueError, with a message for people, for anything else and for a key that peers refuse.
    """
    digits = text.removeprefix(_PREFIX)
    if len(digits) != 2 * CONSTANTS.key_bytes or not set(digits) <= set(hexdigits):
        raise ValueError(f"{text!r} is not a peer id: 64 hexadecimal digits, with or without {_PREFIX}")
    peer_id = bytes.fromhex(digits)
    try:
        check_peer_id_untrusted(peer_id)
    except RemoteProtocolError as error:
        raise ValueError(f"{text!r} is no usable peer id: {error.message}") from None
    return peer_id
