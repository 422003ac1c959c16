"""COSE_Sign1: the envelope of everything signed that outlives a session (RFC 9052 section 4.2).

Tag 18, protected header ``{1: -8}`` (EdDSA), empty unprotected header, the payload inside, and the domain's
label as external authenticated data, so that a record can never be read as a header. Since the payload names
its signer, an envelope is opened in two steps: decode it, find the key inside, verify.
"""

from __future__ import annotations

from dataclasses import dataclass

from quinkgl.crypto.identity import Identity, PeerId, signature_label, verify_bytes_untrusted
from quinkgl.wire.cbor import Buffer, decode_untrusted, encode
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.limits import CONSTANTS

_TAG_SIGN1 = b"\xd2"
"""Head of tag 18."""
_PROTECTED = encode({1: -8})
"""The one protected header: algorithm (label 1) EdDSA (-8). Source: RFC 9053 section 2.2."""
_FIELDS = 4


@dataclass(frozen=True, slots=True)
class Sign1:
    """A decoded envelope, its signature not yet verified."""

    payload: bytes
    signature: bytes


def _sig_structure(domain: str, payload: bytes) -> bytes:
    """Return what is signed: the Sig_structure of RFC 9052 section 4.4."""
    return encode(["Signature1", _PROTECTED, signature_label(domain), payload])


def sign1(identity: Identity, domain: str, payload: bytes) -> bytes:
    """Return the envelope around ``payload``, signed under ``domain`` of ``spec/registries/domains.toml``.

    Raises LocalProtocolError (E_USAGE) for a domain that is not there [I-010].
    """
    signature = identity.sign_bytes(_sig_structure(domain, payload))
    return _TAG_SIGN1 + encode([_PROTECTED, {}, payload, signature])


def decode_sign1_untrusted(data: Buffer, *, max_bytes: int, where: str = "COSE_Sign1") -> Sign1:
    """Return the parts of an envelope of at most ``max_bytes`` bytes.

    Raises RemoteProtocolError: E_TOO_BIG for a larger one; E_SCHEMA for everything that differs from the one
    form that :func:`sign1` makes, bytes that are no CBOR or not in its deterministic form included (I-011).
    """
    if len(data) > max_bytes:
        raise RemoteProtocolError(
            ErrorCode.E_TOO_BIG, f"{where}: {len(data)} bytes, at most {max_bytes} allowed", section="I-013"
        )
    if bytes(data[:1]) != _TAG_SIGN1:
        raise _not_sign1(where, "does not begin with tag 18")
    try:
        value = decode_untrusted(data[1:], max_bytes=max_bytes, where=where)
    except RemoteProtocolError as error:
        raise _not_sign1(where, f"is not in the one form of envelopes: {error.message}") from None
    if type(value) is not list or len(value) != _FIELDS:
        raise _not_sign1(where, "is not an array of four")
    protected, unprotected, payload, signature = value
    if protected != _PROTECTED or unprotected != {} or type(unprotected) is not dict:
        raise _not_sign1(where, "has other headers than EdDSA")
    if type(payload) is not bytes:
        raise _not_sign1(where, "has no payload")
    if type(signature) is not bytes or len(signature) != CONSTANTS.signature_bytes:
        raise _not_sign1(where, "has no Ed25519 signature")
    return Sign1(payload, signature)


def _not_sign1(where: str, message: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.E_SCHEMA, f"{where} {message}", layer="crypto", section="I-011")


def verify_sign1_untrusted(
    sign1: Sign1, domain: str, peer_id: PeerId, *, code: ErrorCode = ErrorCode.E_HS_IDENTITY
) -> None:
    """Check that ``peer_id`` signed the envelope under ``domain`` [I-012].

    Raises RemoteProtocolError: E_HS_IDENTITY for a key that must be refused, ``code`` for a wrong signature.
    """
    verify_bytes_untrusted(peer_id, _sig_structure(domain, sign1.payload), sign1.signature, code=code)
