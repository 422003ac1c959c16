"""The version of the package, in the one place that hatchling and the code both read."""

from __future__ import annotations

__version__ = "0.4.0"
