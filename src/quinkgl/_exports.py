"""Which module defines which public name of `quinkgl`, and which extra installs which third-party package."""

from __future__ import annotations

from typing import Final

_BY_MODULE: Final[dict[str, tuple[str, ...]]] = {
    "quinkgl.aggregation": (
        "AggregatedModel",
        "AggregationStrategy",
        "FedAvg",
        "ModelUpdate",
    ),
    "quinkgl.crypto.identity": ("Identity",),
    "quinkgl.manifest": (
        "MANIFEST_SCHEMA_VERSION",
        "CollaborationPolicy",
        "DataPolicy",
        "ManifestError",
        "PersonalizationPolicy",
        "PrototypePolicy",
        "SwarmManifest",
        "check_compatibility",
        "compute_arch_hash",
    ),
    "quinkgl.models": (
        "ModelWrapper",
        "NumPyModel",
        "PyTorchModel",
        "TrainingConfig",
        "TrainingResult",
    ),
    "quinkgl.observability": (
        "EventEmitter",
        "RuntimeEvent",
        "TerminalObserver",
        "format_runtime_event",
    ),
    "quinkgl.swarm": ("Swarm",),
    "quinkgl.topology": (
        "PeerInfo",
        "RandomTopology",
        "SelectionContext",
        "TopologyStrategy",
    ),
}

EXPORTS: Final[dict[str, str]] = {name: module for module, names in _BY_MODULE.items() for name in names}
"""Public name → the module that defines it."""

EXTRAS: Final[dict[str, str]] = {
    "hypothesis": "dev",
    "ipv8": "ipv8",
    "keras": "tensorflow",
    "matplotlib": "plot",
    "rich": "trio",
    "tensorflow": "tensorflow",
    "torch": "torch",
    "trio": "trio",
}
"""Top-level third-party package → the extra of ours that installs it."""
