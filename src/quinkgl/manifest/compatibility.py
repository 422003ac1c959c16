"""Does a model fit its manifest, and are two manifests one swarm's?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quinkgl.manifest.architecture import compute_arch_hash
from quinkgl.manifest.errors import ErrorName, ManifestError
from quinkgl.manifest.specs import StrategySpec
from quinkgl.manifest.swarm_manifest import SwarmManifest


def check_compatibility(local: SwarmManifest, remote: SwarmManifest) -> tuple[bool, str]:
    """Return whether two manifests describe the same swarm, and where they first differ if they do not.

    The signature does not count; every other difference makes another swarm.

    Returns:
        (True, "") or (False, a line such as `aggregation.name: 'FedAvg' here, 'Krum' there`).
    """
    if local.canonical_bytes() == remote.canonical_bytes():
        return True, ""
    mine, theirs = local.to_dict(), remote.to_dict()
    del mine["signature"], theirs["signature"]
    return False, _first_difference("", mine, theirs)


def _first_difference(place: str, mine: Any, theirs: Any) -> str:
    """Name the first place, in the order of sorted keys, where two JSON values differ."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        for key in sorted({*mine, *theirs}):
            where = f"{place}.{key}" if place else key
            if (key in mine) != (key in theirs):
                return f"{where}: only {'here' if key in mine else 'there'}"
            if difference := _first_difference(where, mine[key], theirs[key]):
                return difference
        return ""
    if isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
        pairs = enumerate(zip(mine, theirs, strict=True))
        return next(filter(None, (_first_difference(f"{place}[{i}]", a, b) for i, (a, b) in pairs)), "")
    same = type(mine) is type(theirs) and mine == theirs
    return "" if same else f"{place}: {mine!r:.60} here, {theirs!r:.60} there"


def check_model_fits(
    manifest: SwarmManifest,
    *,
    arch_hash: str,
    input_shape: Sequence[int] | None = None,
    output_shape: Sequence[int] | None = None,
) -> None:
    """Refuse a model that is not the one that the manifest's members hold.

    Args:
        manifest: the swarm's manifest.
        arch_hash: `compute_arch_hash(model)`.
        input_shape: shape of one sample of the data at hand; None does not look.
        output_shape: shape of the model's output for one sample; None does not look.

    Raises:
        ManifestError: ERR_NODE_ARCH_MISMATCH or ERR_NODE_DATA_SHAPE_MISMATCH.
    """
    if arch_hash != manifest.model.arch_hash:
        raise ManifestError(
            ErrorName.ERR_NODE_ARCH_MISMATCH,
            {
                "field": "model.arch_hash",
                "reason": f"the manifest wants {manifest.model.arch_hash}, the model at hand is {arch_hash}",
                "hint": "build the model that the swarm agreed on: names, shapes and dtypes all count",
                "expected": manifest.model.arch_hash,
                "actual": arch_hash,
            },
        )
    shapes = (("input_shape", input_shape), ("output_shape", output_shape))
    for field, actual in shapes:
        expected = getattr(manifest.task, field)
        if actual is not None and tuple(actual) != expected:
            raise ManifestError(
                ErrorName.ERR_NODE_DATA_SHAPE_MISMATCH,
                {
                    "field": f"task.{field}",
                    "reason": f"the manifest wants {list(expected)}, the data at hand has {list(actual)}",
                    "hint": "shapes are those of one sample, without the batch axis",
                    "expected": expected,
                    "actual": tuple(actual),
                },
            )


def for_model(
    model: Any,
    *,
    name: str,
    input_shape: Sequence[int],
    output_shape: Sequence[int],
    created_at: str | float,
    aggregation: str | StrategySpec = "FedAvg",
    topology: str | StrategySpec = "Random",
    **more: Any,
) -> SwarmManifest:
    """Make the manifest of a swarm that trains `model`: the architecture hash and framework are read off it.

    See `SwarmManifest.build` for the other arguments and errors.
    """
    arch_hash = compute_arch_hash(model)
    modules = {
        base.__module__.partition(".")[0]
        for part in (model, getattr(model, "model", None))
        for base in type(part).__mro__
    }
    framework = (
        "pytorch" if "torch" in modules else "tensorflow" if modules & {"keras", "tensorflow"} else "custom"
    )
    return SwarmManifest.build(
        name,
        framework=framework,
        arch_hash=arch_hash,
        input_shape=input_shape,
        output_shape=output_shape,
        created_at=created_at,
        aggregation=aggregation,
        topology=topology,
        **more,
    )
