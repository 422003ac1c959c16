"""`quinkgl info`: versions, optional extras, and the strategies that this installation really has."""

from __future__ import annotations

import argparse
import importlib
from typing import Any

from quinkgl._version import __version__
from quinkgl.cli.frame import Command, Context

OPTIONAL_PACKAGES = (
    ("torch", "torch"),
    ("tensorflow", "tensorflow"),
    ("ipv8", "pyipv8"),
    ("trio", "trio"),
    ("rich", "rich"),
    ("matplotlib", "matplotlib"),
)
"""(module, distribution) of every package that an extra installs."""


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "The lists are read off the installed code, so what is named can be used."


def _optional_versions() -> dict[str, str | None]:
    """Return each optional package's version, or None where it is not installed. None of them is imported."""
    from importlib import metadata, util  # with what it pulls in, a third of the time of `quinkgl --help`

    found: dict[str, str | None] = {}
    for module, distribution in OPTIONAL_PACKAGES:
        try:
            found[distribution] = metadata.version(distribution) if util.find_spec(module) else None
        except metadata.PackageNotFoundError:
            found[distribution] = "unknown"
    return found


def strategies(package: str, base: str) -> list[str]:
    """Return the names of the concrete subclasses of `base` that `package` exports, sorted."""
    import inspect

    module = importlib.import_module(package)
    root = getattr(module, base)
    exported = (getattr(module, name) for name in module.__all__)
    return sorted(
        {
            value.__name__
            for value in exported
            if inspect.isclass(value)
            and issubclass(value, root)
            and value is not root
            and not inspect.isabstract(value)
        }
    )


def _gather() -> dict[str, Any]:
    import platform
    from importlib import metadata

    from quinkgl.manifest import MANIFEST_SCHEMA_VERSION
    from quinkgl.wire.limits import CONSTANTS

    return {
        "version": __version__,
        "manifest_schema": MANIFEST_SCHEMA_VERSION,
        "wire_version": CONSTANTS.version,
        "python": platform.python_version(),
        "numpy": metadata.version("numpy"),
        "cryptography": metadata.version("cryptography"),
        "cbor2": metadata.version("cbor2"),
        "optional": _optional_versions(),
        "aggregations": strategies("quinkgl.aggregation", "AggregationStrategy"),
        "topologies": strategies("quinkgl.topology", "TopologyStrategy"),
    }


def _run(context: Context) -> None:
    data = _gather()
    rows = [
        ("QuinkGL", data["version"]),
        ("Manifest schema", str(data["manifest_schema"])),
        ("Wire version", str(data["wire_version"])),
        ("Python", data["python"]),
        *((package, data[package]) for package in ("numpy", "cryptography", "cbor2")),
        *((package, version or "not installed") for package, version in data["optional"].items()),
        ("Aggregations", ", ".join(data["aggregations"])),
        ("Topologies", ", ".join(data["topologies"])),
    ]
    context.output.result(data, "\n".join(f"{label + ':':<17}{value}" for label, value in rows))


COMMAND = Command("info", "Show versions, optional packages and the strategies there are.", _configure, _run)
