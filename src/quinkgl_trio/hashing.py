"""Hashing of what is published, off the loop and on several cores."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import trio

from quinkgl.swarm import HashedObject, hash_object

_POOL_FROM_BYTES: Final = 4_000_000
"""Below this, starting threads takes longer than they save."""
_MOST_THREADS: Final = 4


async def hash_off_loop(body: bytes | bytearray | memoryview) -> HashedObject:
    """Hash a body in worker threads, for `Swarm.publish_update`; the loop goes on meanwhile."""
    return await trio.to_thread.run_sync(_hash, body)


def _hash(body: bytes | bytearray | memoryview) -> HashedObject:
    threads = min(_MOST_THREADS, os.cpu_count() or 1)
    if threads == 1 or memoryview(body).nbytes < _POOL_FROM_BYTES:
        return hash_object(body)
    with ThreadPoolExecutor(threads) as pool:
        return hash_object(body, mapper=partial(pool.map, chunksize=1))
