"""Loads the data files of the specification: registries, limits and constants.

The files under ``spec/`` are the single source of every number of the protocol; code, documentation and tests
read the same ones. An installed distribution carries them as package data, a checkout reads them in place.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parents[1]
_INSTALLED = _PACKAGE / "_spec"
_CHECKOUT = _PACKAGE.parents[1] / "spec"


def spec_directory() -> Path:
    """Return the folder that holds the specification's data files."""
    return _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT


def load(name: str) -> dict[str, Any]:
    """Return the tables of one data file.

    ``name`` is the path below ``spec/`` without its ending: ``"limits"``, ``"registries/errors"``. Each call
    reads the file anew, so the caller owns the result. Raises ImportError where the file is missing: the
    package is then not installed whole, and nothing can work.
    """
    path = spec_directory() / f"{name}.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ImportError(
            f"the data file {name}.toml of the QuinkGL specification is missing: {path}"
        ) from None
