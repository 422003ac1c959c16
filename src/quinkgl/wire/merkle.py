"""Merkle trees over 16 KiB leaves (spec 9.1): what lets one leaf be verified as soon as it is there.

``leaf = SHA-256(00 ‖ bytes)``, ``node = SHA-256(01 ‖ left ‖ right)``; a node without a sibling is promoted as
it is. The domain bytes keep a leaf from being passed off as a node (RFC 6962 section 2.1 gives the reason).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from quinkgl.wire.limits import LIMITS

HASH_BYTES = 32
LEAF_BYTES = LIMITS.leaf_bytes
_PAIR_BYTES = 2 * HASH_BYTES
_LEAVES_AT_ONCE = 64
"""One call of a mapper: a megabyte, so that handing it out costs nothing beside it."""


def leaf_count(size: int) -> int:
    """Return how many leaves an object of ``size`` bytes has; the empty object has one empty leaf."""
    return max(1, -(-size // LEAF_BYTES))


def leaf_hash(data: bytes | memoryview) -> bytes:
    """Hash one leaf."""
    digest = hashlib.sha256(b"\x00")
    digest.update(data)
    return digest.digest()


def leaf_hashes(
    data: bytes | bytearray | memoryview, *, mapper: Callable[..., Iterable[Any]] = map
) -> list[bytes]:
    """Hash every leaf of an object; ``mapper`` is ``map``, or one that shares the work out."""
    view = memoryview(data).cast("B")
    step = _LEAVES_AT_ONCE * LEAF_BYTES
    batches = [view[start : start + step] for start in range(0, max(1, len(view)), step)]
    return [each for hashes in mapper(hash_batch, batches) for each in hashes]


def hash_batch(view: memoryview) -> list[bytes]:
    """Hash the leaves of a stretch of an object, which begins with a leaf and ends with one."""
    sha256 = hashlib.sha256
    hashes = []
    for start in range(0, max(1, len(view)), LEAF_BYTES):
        digest = sha256(b"\x00")
        digest.update(view[start : start + LEAF_BYTES])
        hashes.append(digest.digest())
    return hashes


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Combine leaf hashes into the root; at least one leaf."""
    return list_root(b"".join(leaves))


def list_root(leaves: bytes) -> bytes:
    """Combine a leaf list, which is the leaf hashes one after another, into the root."""
    sha256 = hashlib.sha256
    level = leaves
    while len(level) > HASH_BYTES:
        paired = len(level) - len(level) % _PAIR_BYTES
        above = [
            sha256(b"\x01" + level[start : start + _PAIR_BYTES]).digest()
            for start in range(0, paired, _PAIR_BYTES)
        ]
        above.append(level[paired:])
        level = b"".join(above)
    return level


def list_bytes(size: int) -> int:
    """Return the length of the leaf list in a transfer's byte space.

    One leaf needs none, since it is the root.
    """
    leaves = leaf_count(size)
    return leaves * HASH_BYTES if leaves > 1 else 0
