"""Manifest files: whole or not at all on writing, bounded on reading."""

from __future__ import annotations

import os
from pathlib import Path

from quinkgl.manifest.canonical import MAX_FILE_BYTES
from quinkgl.manifest.errors import ErrorName, ManifestError
from quinkgl.manifest.signing import verify_manifest, with_signature
from quinkgl.manifest.swarm_manifest import SwarmManifest


def load_manifest_file(
    path: str | os.PathLike[str],
    *,
    expected_swarm_id: str | None = None,
    check_signature: bool = True,
    unix_now: float | None = None,
) -> SwarmManifest:
    """Read and validate a `.qgl` file.

    Args:
        path: the file.
        expected_swarm_id: the id (hex) that the content must have; None takes any.
        check_signature: refuse a signature that does not verify. A file without one is taken all the same;
            whether an unsigned manifest is trusted is the caller's policy.
        unix_now: the current unix time, to refuse an expired manifest; None does not look at the expiry.

    Raises:
        ManifestError: the content is not a manifest, or not the expected one; the context names the file.
        OSError: the file cannot be read.
    """
    with Path(path).open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    try:
        manifest = SwarmManifest.from_json(data, unix_now=unix_now)
        if expected_swarm_id is not None:
            check_swarm_id(manifest, expected_swarm_id)
        if check_signature:
            _check_signature(manifest)
    except ManifestError as error:
        raise error.with_context(path=os.fspath(path)) from None
    return manifest


def read_fetched_manifest(
    data: bytes, signature: bytes | None, *, expected_swarm_id: str, unix_now: float | None = None
) -> SwarmManifest:
    """Read a manifest that came over the network: its canonical bytes, and the signature beside them [H-039].

    Args:
        data: the canonical bytes, trusted in no way.
        signature: the creator's, 64 bytes, or None for an unsigned manifest.
        expected_swarm_id: the id (hex) that was asked for; other bytes of the same meaning have another.
        unix_now: the current unix time, to refuse an expired manifest; None does not look at the expiry.

    Raises:
        ManifestError: not a manifest, not the one that was asked for, or a signature that does not verify.
    """
    manifest = SwarmManifest.from_json(data, unix_now=unix_now)
    manifest = with_signature(manifest, signature)
    check_swarm_id(manifest, expected_swarm_id)
    _check_signature(manifest)
    return manifest


def _check_signature(manifest: SwarmManifest) -> None:
    if manifest.signature is not None and not verify_manifest(manifest):
        raise ManifestError(
            ErrorName.ERR_SIGNATURE_INVALID,
            {
                "field": "signature",
                "reason": f"does not verify under {manifest.creator_pubkey}",
                "hint": "it was changed after signing; get it from its creator again",
            },
        )


def check_swarm_id(manifest: SwarmManifest, expected: str) -> None:
    """Refuse a manifest that is not the one that was asked for.

    Raises:
        ManifestError: ERR_MANIFEST_HASH_MISMATCH.
    """
    actual = manifest.manifest_hash()
    if actual != expected:
        raise ManifestError(
            ErrorName.ERR_MANIFEST_HASH_MISMATCH,
            {
                "reason": f"has swarm id {actual}, not {expected[:80]}",
                "hint": "this is another swarm's manifest, or it was changed",
                "expected": expected,
                "actual": actual,
            },
        )
