"""Creator signatures: Ed25519 over the canonical bytes, with the creator's key inside what is signed."""

from __future__ import annotations

import os
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from quinkgl.crypto.identity import verify_bytes_untrusted
from quinkgl.manifest.errors import ErrorName, ManifestError
from quinkgl.manifest.swarm_manifest import SwarmManifest
from quinkgl.storage.atomic import write_atomically
from quinkgl.wire.errors import RemoteProtocolError

_PREFIX = "ed25519:"


def keygen(out_path: str | os.PathLike[str] | None = None, *, overwrite: bool = False) -> tuple[bytes, bytes]:
    """Make a new Ed25519 signing key.

    Args:
        out_path: where to write the private key, readable by its owner alone (0600); None writes nothing.
        overwrite: replace an existing file.

    Returns:
        (private key as unencrypted PKCS #8 in PEM, public key as 32 raw bytes).

    Raises:
        FileExistsError: the file exists and `overwrite` is False.
        OSError: the file cannot be written.
    """
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    if out_path is not None:
        write_atomically(out_path, pem, mode=0o600, overwrite=overwrite)
    return pem, private.public_key().public_bytes_raw()


def format_public_key(raw: bytes) -> str:
    """Return a public key as a manifest writes it: `ed25519:` and 64 hex digits."""
    return _PREFIX + raw.hex()


def sign_manifest(manifest: SwarmManifest, private_key_pem: bytes) -> SwarmManifest:
    """Return a copy with `creator_pubkey` and `signature` set.

    The key goes into the canonical bytes before they are signed, so the copy has another swarm id than an
    unsigned original.

    Args:
        manifest: what to sign; a signature that it has already is replaced.
        private_key_pem: an Ed25519 private key, PKCS #8 in PEM without a password (`keygen`).

    Raises:
        ManifestError: ERR_SIGNATURE_INVALID: not such a key, or the manifest names another creator.
    """
    try:
        private = load_pem_private_key(private_key_pem, password=None)
    except (ValueError, TypeError) as error:
        raise ManifestError(
            ErrorName.ERR_SIGNATURE_INVALID,
            {
                "reason": "the signing key is not an unencrypted PEM private key",
                "hint": "make one with keygen",
            },
        ) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise ManifestError(
            ErrorName.ERR_SIGNATURE_INVALID,
            {"reason": "the signing key is not an Ed25519 key", "hint": "make one with keygen"},
        )
    creator = format_public_key(private.public_key().public_bytes_raw())
    if manifest.creator_pubkey not in {None, creator}:
        raise ManifestError(
            ErrorName.ERR_SIGNATURE_INVALID,
            {
                "field": "creator_pubkey",
                "reason": f"names {manifest.creator_pubkey}, and the signing key is {creator}",
                "hint": "sign with the creator's key, or set creator_pubkey to null first",
            },
        )
    unsigned = replace(manifest, creator_pubkey=creator, signature=None)
    return replace(unsigned, signature=_PREFIX + private.sign(unsigned.canonical_bytes()).hex())


def signature_bytes(manifest: SwarmManifest) -> bytes | None:
    """Return the signature as the 64 raw bytes that travel beside the canonical bytes; None without one."""
    if manifest.signature is None:
        return None
    return bytes.fromhex(manifest.signature.removeprefix(_PREFIX))


def with_signature(manifest: SwarmManifest, signature: bytes | None) -> SwarmManifest:
    """Return a copy with a signature that came beside its bytes; whether it verifies is not looked at."""
    return replace(manifest, signature=None if signature is None else _PREFIX + signature.hex())


def verify_manifest(manifest: SwarmManifest) -> bool:
    """Return whether the manifest carries a signature of its `creator_pubkey` over its canonical bytes.

    It says who made the manifest, not that this creator is to be trusted. A weak key (a point of small order,
    under which signatures of nobody verify) is no creator.
    """
    if manifest.signature is None or manifest.creator_pubkey is None:
        return False
    public_key = bytes.fromhex(manifest.creator_pubkey.removeprefix(_PREFIX))
    signature = bytes.fromhex(manifest.signature.removeprefix(_PREFIX))
    try:
        verify_bytes_untrusted(public_key, manifest.canonical_bytes(), signature)
    except RemoteProtocolError:
        return False
    return True
