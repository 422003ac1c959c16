"""Hashing an object beforehand: the same wherever it is done, and as good as handing over the body."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError

import pytest

from quinkgl.swarm import hash_object
from quinkgl.testing.swarms import SwarmNetwork, updates_of
from quinkgl.wire.merkle import LEAF_BYTES, leaf_hash, merkle_root

MEGABYTE = 64 * LEAF_BYTES


@pytest.mark.parametrize("size", [0, 1, LEAF_BYTES, LEAF_BYTES + 1, MEGABYTE, MEGABYTE + 1, 3 * MEGABYTE - 7])
def test_it_is_the_same_in_threads_as_in_one_go(size):
    body = random.Random(size).randbytes(size)
    leaves = [leaf_hash(body[start : start + LEAF_BYTES]) for start in range(0, max(1, size), LEAF_BYTES)]
    with ThreadPoolExecutor(2) as pool:
        for hashed in (hash_object(body), hash_object(body, mapper=pool.map)):
            assert hashed.root == merkle_root(leaves)
            assert hashed.leaves == b"".join(leaves)
            assert hashed.body == body


def test_a_mapper_is_handed_a_megabyte_a_call():
    sizes = []

    def note(function, batches):
        sizes.extend(len(batch) for batch in batches)
        return map(function, batches)

    hash_object(bytes(2 * MEGABYTE + 5), mapper=note)
    assert sizes == [MEGABYTE, MEGABYTE, 5]


def test_a_body_that_can_be_written_is_shared_and_shown_read_only():
    body = bytearray(100)
    hashed = hash_object(body)
    assert hashed.body.readonly
    assert hashed.body.obj is body


def test_a_hashed_object_is_published_like_its_body():
    swarms = SwarmNetwork(1)
    swarms.mesh(2)
    body = random.Random(1).randbytes(200_000)
    hashed = hash_object(body)
    assert swarms.publish(0, hashed, round=1) == hashed.root
    assert swarms.network.run(lambda: bool(updates_of(swarms.members[1])), limit_s=30)
    assert updates_of(swarms.members[1])[0].body == body


def test_a_hashed_object_stays_what_it_is():
    hashed = hash_object(b"body")
    for name in ("root", "leaves", "body"):
        with pytest.raises(FrozenInstanceError):
            setattr(hashed, name, getattr(hashed, name))
