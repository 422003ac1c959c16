"""Whose manifests are taken: a swarm id says which bytes are meant, not who wrote them."""

from __future__ import annotations

from collections.abc import Collection

from quinkgl.manifest.errors import ErrorName, ManifestError
from quinkgl.manifest.signing import verify_manifest
from quinkgl.manifest.swarm_manifest import SwarmManifest


def check_creator(manifest: SwarmManifest, trusted: Collection[str]) -> None:
    """Refuse a manifest that none of the trusted creators has signed.

    Args:
        manifest: what was loaded or fetched.
        trusted: public keys as a manifest writes them (`ed25519:` and 64 hex digits).

    Raises:
        ManifestError: ERR_NODE_UNSIGNED_MANIFEST_REJECTED without a signature, ERR_SIGNATURE_INVALID for one
            that does not verify, ERR_CREATOR_NOT_TRUSTED for a creator who is not among them.
    """
    if manifest.signature is None or manifest.creator_pubkey is None:
        raise ManifestError(
            ErrorName.ERR_NODE_UNSIGNED_MANIFEST_REJECTED,
            {"reason": "the manifest is not signed, and only certain creators are trusted"},
        )
    if not verify_manifest(manifest):
        raise ManifestError(
            ErrorName.ERR_SIGNATURE_INVALID,
            {"field": "signature", "reason": f"does not verify under {manifest.creator_pubkey}"},
        )
    if manifest.creator_pubkey not in trusted:
        raise ManifestError(
            ErrorName.ERR_CREATOR_NOT_TRUSTED,
            {"field": "creator_pubkey", "reason": f"{manifest.creator_pubkey} is not among the trusted"},
        )
