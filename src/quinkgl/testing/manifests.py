"""Manifests for tests."""

from __future__ import annotations

from typing import Any

from quinkgl.manifest import ModelSpec, SwarmManifest, TaskSpec


def make_dummy_manifest(**overrides: Any) -> SwarmManifest:
    """Return a complete manifest that belongs to no real swarm; any field can be given another value.

    Without arguments it has the swarm id `e5dc042c…f940`, in every version.

    Raises:
        ManifestError: an override that the schema does not admit.
    """
    fields: dict[str, Any] = {
        "name": "dummy-swarm",
        "model_arch_fingerprint": "sha256:" + "0" * 64,
        "data_schema_hash": "sha256:dummy-data-schema",
        "task": TaskSpec(input_shape=(3, 224, 224), output_shape=(10,), tags=("test",)),
        "model": ModelSpec(framework="pytorch", arch_hash="sha256:" + "a" * 64),
    }
    manifest = SwarmManifest(**{**fields, **overrides})
    manifest.validate()
    return manifest
