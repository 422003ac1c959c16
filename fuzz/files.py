"""A folder in memory, where the system has one, for harnesses whose input is a file."""

from __future__ import annotations

import os
import tempfile
from functools import lru_cache
from pathlib import Path

_kept: list[tempfile.TemporaryDirectory[str]] = []


def memory_folder() -> Path:
    """Return a folder of this process's own, which goes with it."""
    return _folder(os.getpid())


@lru_cache(maxsize=1)
def _folder(_process: int) -> Path:
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
    _kept.append(tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None))
    return Path(_kept[-1].name)
