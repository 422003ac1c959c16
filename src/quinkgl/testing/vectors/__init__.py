"""Checks an implementation of the protocol against the vectors of ``spec/vectors/``.

``python -m quinkgl.testing.vectors [DIR]`` asks this implementation; with ``--command`` it asks another one,
in any language, over the standard streams. ``spec/vectors/README.md`` describes the files and the dialogue.
"""

from __future__ import annotations

from quinkgl.testing.vectors.core import (
    Adapter,
    UnsupportedOperation,
    Vector,
    changes,
    check,
    load_files,
    load_vectors,
    unnoticed,
)
from quinkgl.testing.vectors.ours import adapter

__all__ = [
    "Adapter",
    "UnsupportedOperation",
    "Vector",
    "adapter",
    "changes",
    "check",
    "load_files",
    "load_vectors",
    "unnoticed",
]
