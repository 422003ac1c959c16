"""The swarm manifest (`.qgl`, schema 3): strict loading, canonical bytes, swarm id, signature.

A manifest commits its swarm to a model, an aggregation, a topology and a data policy. Whoever joins checks
that it holds the same bytes; whoever changes anything has made another swarm.
"""

from __future__ import annotations

from quinkgl.manifest.architecture import compute_arch_hash
from quinkgl.manifest.compatibility import check_compatibility, check_model_fits, for_model
from quinkgl.manifest.errors import ErrorName, FieldError, ManifestError
from quinkgl.manifest.files import check_swarm_id, load_manifest_file, read_fetched_manifest
from quinkgl.manifest.magnet import MagnetLink
from quinkgl.manifest.policy import (
    CollaborationPolicy,
    DataPolicy,
    PersonalizationPolicy,
    PrototypePolicy,
)
from quinkgl.manifest.signing import (
    format_public_key,
    keygen,
    sign_manifest,
    signature_bytes,
    verify_manifest,
)
from quinkgl.manifest.specs import (
    BootstrapPeer,
    ByzantineSpec,
    CompressionSpec,
    ModelSpec,
    StrategySpec,
    TaskSpec,
    TelemetrySpec,
)
from quinkgl.manifest.swarm_manifest import MANIFEST_SCHEMA_VERSION, SwarmManifest
from quinkgl.manifest.trust import check_creator

__all__ = [
    "MANIFEST_SCHEMA_VERSION",
    "BootstrapPeer",
    "ByzantineSpec",
    "CollaborationPolicy",
    "CompressionSpec",
    "DataPolicy",
    "ErrorName",
    "FieldError",
    "MagnetLink",
    "ManifestError",
    "ModelSpec",
    "PersonalizationPolicy",
    "PrototypePolicy",
    "StrategySpec",
    "SwarmManifest",
    "TaskSpec",
    "TelemetrySpec",
    "check_compatibility",
    "check_creator",
    "check_model_fits",
    "check_swarm_id",
    "compute_arch_hash",
    "for_model",
    "format_public_key",
    "keygen",
    "load_manifest_file",
    "read_fetched_manifest",
    "sign_manifest",
    "signature_bytes",
    "verify_manifest",
]
