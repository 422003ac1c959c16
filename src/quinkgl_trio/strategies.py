"""From the names and parameters in a manifest to the objects that a node works with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from quinkgl.aggregation import AdmissionPolicy, AggregationStrategy, FedAvg, SampleCounts
from quinkgl.manifest import ErrorName, ManifestError, StrategySpec, SwarmManifest
from quinkgl.topology import RandomTopology, TopologyStrategy

StrategyT = TypeVar("StrategyT")

_AGGREGATIONS: Final[Mapping[str, Callable[..., AggregationStrategy]]] = {"FedAvg": FedAvg}
_TOPOLOGIES: Final[Mapping[str, Callable[..., TopologyStrategy]]] = {"Random": RandomTopology}
_SUFFIXES: Final = ("Topology", "Aggregator", "Strategy")
_ADMISSION_KEYS: Final = ("sample_counts", "weight_cap", "norm_ratio")


def make_aggregation(manifest: SwarmManifest) -> tuple[AggregationStrategy, AdmissionPolicy]:
    """The rule that the manifest names, and what it lets in.

    ``aggregation.params`` holds the rule's own parameters and those of admission (``sample_counts``,
    ``weight_cap``, ``norm_ratio``).

    Raises:
        ManifestError: no such rule or parameter, or a value that it does not take.
    """
    params = dict(manifest.aggregation.params)
    admission = {key: params.pop(key) for key in _ADMISSION_KEYS if key in params}
    rule = _make(_AGGREGATIONS, manifest.aggregation, params, "aggregation")
    try:
        if "sample_counts" in admission:
            admission["sample_counts"] = SampleCounts(admission["sample_counts"])
        return rule, AdmissionPolicy(**admission)
    except (TypeError, ValueError) as error:
        raise _refusal("aggregation.params", str(error)) from error


def make_topology(manifest: SwarmManifest, *, seed: int, peer: int | bytes) -> TopologyStrategy:
    """The topology that the manifest names, with random streams of this peer's own.

    Raises:
        ManifestError: no such topology or parameter, or a value that it does not take.
    """
    params = {"seed": seed, **manifest.topology.params, "peer": peer}
    return _make(_TOPOLOGIES, manifest.topology, params, "topology")


def check_matches(strategy: object, spec: StrategySpec, code: ErrorName) -> None:
    """Refuse a strategy that is not the one that the manifest names.

    Raises:
        ManifestError: with ``code``.
    """
    name = plain_name(type(strategy).__name__)
    if name != plain_name(spec.name):
        field = code.removeprefix("ERR_NODE_").removesuffix("_MISMATCH").lower()
        reason = f"the manifest wants {spec.name}, the node was given {name}"
        raise ManifestError(code, {"field": f"{field}.name", "reason": reason})


def plain_name(name: str) -> str:
    """A strategy's name as manifests write it: `RandomTopology` is `Random`."""
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def _make(
    table: Mapping[str, Callable[..., StrategyT]], spec: StrategySpec, params: Mapping[str, Any], field: str
) -> StrategyT:
    maker = table.get(plain_name(spec.name))
    if maker is None:
        known = ", ".join(table)
        raise _refusal(f"{field}.name", f"this version has no {spec.name!r}, only {known}")
    try:
        inspect.signature(maker).bind(**params)
    except TypeError as error:
        raise _refusal(f"{field}.params", f"{spec.name}: {error}") from error
    try:
        return maker(**params)
    except (TypeError, ValueError) as error:
        raise _refusal(f"{field}.params", f"{spec.name}: {error}") from error


def _refusal(field: str, reason: str) -> ManifestError:
    return ManifestError(ErrorName.ERR_MANIFEST_FIELD_INVALID, {"field": field, "reason": reason})
