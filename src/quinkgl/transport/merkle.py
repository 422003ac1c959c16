"""The Merkle tree of an object, where the transport's users look for it (`quinkgl.wire.merkle`)."""

from __future__ import annotations

from quinkgl.wire.merkle import (
    HASH_BYTES,
    LEAF_BYTES,
    leaf_count,
    leaf_hash,
    leaf_hashes,
    list_bytes,
    merkle_root,
)

__all__ = [
    "HASH_BYTES",
    "LEAF_BYTES",
    "leaf_count",
    "leaf_hash",
    "leaf_hashes",
    "list_bytes",
    "merkle_root",
]
