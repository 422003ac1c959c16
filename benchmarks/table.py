"""Rows of the result table: our figure, its peer's, the ratio, and the floor that it is held to."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from statistics import median

_PACKAGES = ("trio", "numpy", "cryptography", "cbor2", "aioquic", "grpcio")


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison.

    ``ratio`` is ours to the peer's, ``floor`` what it must reach: at least, or at most where
    ``smaller_is_better``. None where there is no floor.
    """

    what: str
    ours: str
    peer: str
    ratio: float | None = None
    floor: float | None = None
    smaller_is_better: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the floor is reached; None without one."""
        if self.ratio is None or self.floor is None:
            return None
        return self.ratio <= self.floor if self.smaller_is_better else self.ratio >= self.floor

    def cells(self) -> tuple[str, ...]:
        """Return the row's cells for a table."""
        sign = "≤" if self.smaller_is_better else "≥"
        floor = "" if self.floor is None else f"{sign} {self.floor:g}"
        met = {None: "", True: "yes", False: "NO"}[self.met]
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        return self.what, self.ours, self.peer, ratio, floor, met


def spread(values: Iterable[float], unit: str, digits: int = 0) -> str:
    """Return a median with its range."""
    ordered = sorted(values)
    middle, low, high = (f"{value:.{digits}f}" for value in (median(ordered), ordered[0], ordered[-1]))
    return f"{middle} {unit} [{low}–{high}]"


def markdown(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a table."""
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(cells) + " |" for cells in rows]
    return "\n".join(lines)


def machine() -> str:
    """Say where and with what was measured."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in _PACKAGES)
    system = f"{platform.system()} {platform.release()}, Python {sys.version.split()[0]}"
    return f"{os.cpu_count()} cores ({platform.machine()}), {system}, {versions}"
