"""Merkle trees: against the recursive definition of RFC 6962 and its known answers."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.wire.merkle import (
    LEAF_BYTES,
    leaf_count,
    leaf_hash,
    leaf_hashes,
    list_bytes,
    merkle_root,
)

# Inputs and roots that Certificate Transparency logs test themselves with (tree sizes 1 to 8).
CT_LEAVES = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]
CT_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def reference_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1: split at the largest power of two below the number of leaves."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while 2 * split < len(leaves):
        split *= 2
    left, right = reference_root(leaves[:split]), reference_root(leaves[split:])
    return hashlib.sha256(b"\x01" + left + right).digest()


@pytest.mark.parametrize("size", range(1, 9))
def test_known_roots(size):
    leaves = [leaf_hash(bytes.fromhex(data)) for data in CT_LEAVES[:size]]
    assert merkle_root(leaves).hex() == CT_ROOTS[size - 1]


@given(st.integers(1, 300))
def test_the_loop_and_the_recursion_agree(count):
    leaves = [hashlib.sha256(index.to_bytes(4, "big")).digest() for index in range(count)]
    assert merkle_root(leaves) == reference_root(leaves)


def test_leaves_and_nodes_are_hashed_apart():
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert merkle_root([left, right]) != leaf_hash(left + right)
    assert leaf_hash(b"") == hashlib.sha256(b"\x00").digest()


@pytest.mark.parametrize(
    ("size", "count"),
    [(0, 1), (1, 1), (LEAF_BYTES, 1), (LEAF_BYTES + 1, 2), (3 * LEAF_BYTES, 3), (3 * LEAF_BYTES + 1, 4)],
)
def test_counts(size, count):
    assert leaf_count(size) == count
    assert list_bytes(size) == (32 * count if count > 1 else 0)
    data = bytes(size)
    assert len(leaf_hashes(data)) == count


def test_each_leaf_is_its_slice():
    data = bytes(range(256)) * 200
    expected = [leaf_hash(data[start : start + LEAF_BYTES]) for start in range(0, len(data), LEAF_BYTES)]
    assert leaf_hashes(data) == expected
    assert leaf_hashes(memoryview(data)) == expected
    assert leaf_hashes(bytearray(data)) == expected
