"""An object with its leaf list and root: what hashing leaves behind, made where and when the caller likes.

Hashing is the one part of publishing that takes time in proportion to the object. A driver does it off its
loop, with the ``map`` of a pool of threads, and hands the swarm the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from quinkgl.transport import leaf_hashes, merkle_root

Body: TypeAlias = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class HashedObject:
    """A body with the concatenation of its leaf hashes and their Merkle root; made by :func:`hash_object`."""

    root: bytes
    leaves: bytes
    body: memoryview


def hash_object(body: Body, *, mapper: Callable[..., Iterable[Any]] = map) -> HashedObject:
    """Return a body with its leaf list and root; the body is shared, not copied, and must not change.

    ``mapper`` is ``map``, or does the same elsewhere, a megabyte a call: with ``ThreadPoolExecutor.map``
    several cores share the work, since hashing gives the interpreter's lock up.
    """
    view = memoryview(body).cast("B").toreadonly()
    leaves = leaf_hashes(view, mapper=mapper)
    return HashedObject(merkle_root(leaves), b"".join(leaves), view)
