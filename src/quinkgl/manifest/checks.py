"""What a complete manifest must satisfy beyond its single fields, one function a rule.

`CHECKS` is the whole list in the order in which it is applied; a rule that concerns several fields (an
aggregation that its fan-in can never feed, say) is another function here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NoReturn

from quinkgl.manifest.errors import ErrorName, ManifestError
from quinkgl.manifest.times import unix_seconds

if TYPE_CHECKING:
    from quinkgl.manifest.swarm_manifest import SwarmManifest

MAX_CANONICAL_BYTES: Final = 10_240
"""Schema 3's bound on the canonical bytes."""


def _refuse(field: str, reason: str, hint: str = "") -> NoReturn:
    raise ManifestError(
        ErrorName.ERR_MANIFEST_FIELD_INVALID,
        {"field": field, "reason": reason, **({"hint": hint} if hint else {})},
    )


def check_complete(manifest: SwarmManifest) -> None:
    """The model and the data are named."""
    if not manifest.model_arch_fingerprint:
        _refuse("model_arch_fingerprint", "is empty", "use compute_arch_hash(model)")
    if not manifest.data_schema_hash:
        _refuse("data_schema_hash", "is empty", "SwarmManifest.build computes it")


def check_times(manifest: SwarmManifest) -> None:
    """A manifest does not expire before it was made."""
    if manifest.expires_unix is not None and manifest.expires_unix <= unix_seconds(manifest.created_at):
        _refuse("expires_at", f"{manifest.expires_at} is not after created_at {manifest.created_at}")


def check_size(manifest: SwarmManifest) -> None:
    """The canonical bytes are within schema 3's bound."""
    size = len(manifest.canonical_bytes())
    if size > MAX_CANONICAL_BYTES:
        _refuse(
            "", f"{size} canonical bytes, of at most {MAX_CANONICAL_BYTES}", "shorten params or arch_spec"
        )


def check_signed_by_someone(manifest: SwarmManifest) -> None:
    """A signature without the key that it is by says nothing."""
    if manifest.signature is not None and manifest.creator_pubkey is None:
        _refuse("creator_pubkey", "is missing although there is a signature", "sign the manifest again")


CHECKS: Final[tuple[Callable[[SwarmManifest], None], ...]] = (
    check_complete,
    check_times,
    check_signed_by_someone,
    check_size,
)
