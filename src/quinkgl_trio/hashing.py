"""Hashing of what is published, off the loop and on several cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Final, TypeVar

import trio

from quinkgl.swarm import HashedObject, hash_object

_POOL_FROM_BYTES: Final = 4_000_000
"""Below this, starting threads takes longer than they save."""
_MOST_THREADS: Final = 4
_TASKS_A_THREAD: Final = 4
"""Each task takes many batches: handing one out needs the interpreter's lock, for which the other threads
then wait; so few, that a thread whose core is busy with something else does not keep the rest waiting."""

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


async def hash_off_loop(body: bytes | bytearray | memoryview) -> HashedObject:
    """Hash a body in worker threads, for `Swarm.publish_update`; the loop goes on meanwhile."""
    return await trio.to_thread.run_sync(_hash, body)


def _hash(body: bytes | bytearray | memoryview) -> HashedObject:
    threads = min(_MOST_THREADS, os.cpu_count() or 1)
    if threads == 1 or memoryview(body).nbytes < _POOL_FROM_BYTES:
        return hash_object(body)
    with ThreadPoolExecutor(threads) as pool:
        return hash_object(body, mapper=partial(_share_out, pool, threads * _TASKS_A_THREAD))


def _share_out(
    pool: ThreadPoolExecutor, tasks: int, function: Callable[[ItemT], ResultT], items: Sequence[ItemT]
) -> Iterable[ResultT]:
    """As ``map``, in about ``tasks`` tasks of the pool."""
    step = max(1, len(items) // tasks)
    groups = [items[start : start + step] for start in range(0, len(items), step)]
    return chain.from_iterable(pool.map(lambda group: [function(item) for item in group], groups))
