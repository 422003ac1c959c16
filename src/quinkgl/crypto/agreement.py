"""Agreeing on a new secret inside a session: ML-KEM-768 and X25519 (spec 5a.7).

One side offers a public value, the other answers, and both have a secret that an observer of both values does
not have: with ML-KEM-768 (FIPS 203) not even one who will own a quantum computer, with X25519 (RFC 7748) not
even one who knew all earlier keys of the session.
"""

from __future__ import annotations

import functools
from enum import IntEnum
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.limits import CONSTANTS

if TYPE_CHECKING:
    from quinkgl.crypto.keys import KeySource


class Method(IntEnum):
    """How the secret comes about; the numbers stand in the messages."""

    ML_KEM_768 = 1
    X25519 = 2


PUBLIC_BYTES = {Method.ML_KEM_768: 1184, Method.X25519: CONSTANTS.key_bytes}
"""Size of the value that an offer carries."""
ANSWER_BYTES = {Method.ML_KEM_768: 1088, Method.X25519: CONSTANTS.key_bytes}
"""Size of the value that answers it."""


@functools.cache
def has_ml_kem() -> bool:
    """Whether the cryptographic library of this process knows ML-KEM-768."""
    try:
        MLKEM768PrivateKey.from_seed_bytes(bytes(CONSTANTS.ml_kem_seed_bytes))
    except UnsupportedAlgorithm:
        return False
    return True


class Offer:
    """The offering side: a fresh private key and what is sent of it."""

    __slots__ = ("_private", "method", "public")

    def __init__(self, method: Method, source: KeySource) -> None:
        """Draw a key; cryptography's UnsupportedAlgorithm where :func:`has_ml_kem` says no."""
        self.method = method
        self._private = source.ml_kem() if method is Method.ML_KEM_768 else source.x25519()
        self.public: bytes = self._private.public_key().public_bytes_raw()

    def secret_untrusted(self, answer: bytes) -> bytes:
        """Return the secret, 32 bytes, that goes with the other side's answer.

        Raises RemoteProtocolError (E_SCHEMA) for an answer of another length and for an X25519 key of small
        order. A wrong ML-KEM ciphertext gives a secret that nobody else has.
        """
        if isinstance(self._private, MLKEM768PrivateKey):
            try:
                return self._private.decapsulate(answer)
            except ValueError:
                raise _refused("an ML-KEM-768 ciphertext of another length") from None
        try:
            return self._private.exchange(X25519PublicKey.from_public_bytes(answer))
        except ValueError:
            raise _refused("an X25519 key of another length or of small order") from None


def answer_untrusted(method: Method, public: bytes, source: KeySource) -> tuple[bytes, bytes]:
    """Return what to answer to an offer, and the secret, 32 bytes.

    Raises RemoteProtocolError (E_SCHEMA) for a public value that is none: its length, coefficients out of
    range (FIPS 203, section 7.2), a point of small order.
    """
    if method is Method.ML_KEM_768:
        try:
            secret, ciphertext = MLKEM768PublicKey.from_public_bytes(public).encapsulate()
        except ValueError:
            raise _refused("not an ML-KEM-768 key") from None
        return ciphertext, secret
    private = source.x25519()
    try:
        secret = private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise _refused("an X25519 key of another length or of small order") from None
    return private.public_key().public_bytes_raw(), secret


def _refused(what: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.E_SCHEMA, what, layer="crypto", section="K-032")
