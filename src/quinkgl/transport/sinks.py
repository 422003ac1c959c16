"""Where the bytes of a received object go: the sink's contract, and the sink that is a buffer in memory.

The application may give a sink of its own with ``accept_object``, one that keeps the object in a file, say
(`quinkgl.storage.ObjectFile`). A sink knows which leaves are verified, so it is at the same time what a
broken transfer leaves behind: handed to a later transfer of the object, it is asked only for what it lacks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np

from quinkgl.transport.ranges import RangeSet


class ObjectSink(Protocol):
    """The place of one object, for one transfer at a time.

    Any method may raise OSError: the transfer ends then, with E_INTERNAL, and nothing else does. Whatever
    else it raises is a fault of the application's and comes out of the machine.
    """

    @property
    def root(self) -> bytes:
        """Merkle root of the object that belongs here."""

    @property
    def size(self) -> int:
        """Its bytes."""

    @property
    def memory_bytes(self) -> int:
        """Memory that it takes while the transfer lasts: its share of the reassembly budgets."""

    def leaf_list(self) -> bytes | None:
        """Return the leaf list where it is known; it must give the root."""

    def verified(self) -> Iterable[tuple[int, int]]:
        """Return the leaves that are here and verified, as ascending half-open ranges of leaf numbers."""

    def write(self, start: int, data: bytes | memoryview) -> None:
        """Put authenticated bytes into their place, once; the leaf they belong to is not verified yet."""

    def read(self, start: int, stop: int) -> bytes | memoryview:
        """Return bytes that were written, to be verified."""

    def keep_list(self, leaves: bytes) -> None:
        """Take the leaf list, which gives the root."""

    def keep_leaves(self, start: int, stop: int) -> None:
        """Take note that these leaves are verified."""

    def body(self) -> memoryview:
        """Return the whole object, read-only; asked for once every leaf is verified."""


class MemorySink:
    """An object in one buffer that is made at once; the default."""

    __slots__ = ("_buffer", "_leaves", "_verified", "root", "size")

    def __init__(self, root: bytes, size: int) -> None:
        self.root = root
        self.size = size
        # Not zeroed: nothing is read that was not written. NumPy also asks for large pages, so that a buffer
        # of many megabytes costs a sixth of what a bytearray does.
        self._buffer = np.empty(size, dtype=np.uint8).data
        self._leaves: bytes | None = None
        self._verified = RangeSet()

    @property
    def memory_bytes(self) -> int:
        """The whole object."""
        return self.size

    def leaf_list(self) -> bytes | None:
        """Return the leaf list once it is known."""
        return self._leaves

    def verified(self) -> Iterable[tuple[int, int]]:
        """Return the ranges of verified leaves."""
        return self._verified

    def write(self, start: int, data: bytes | memoryview) -> None:
        """Copy bytes into their place."""
        self._buffer[start : start + len(data)] = data

    def read(self, start: int, stop: int) -> memoryview:
        """Return a view of the buffer."""
        return self._buffer[start:stop]

    def keep_list(self, leaves: bytes) -> None:
        """Take the leaf list."""
        self._leaves = leaves

    def keep_leaves(self, start: int, stop: int) -> None:
        """Mark leaves as verified."""
        self._verified.add(start, stop)

    def body(self) -> memoryview:
        """Return the buffer, read-only."""
        return self._buffer.toreadonly()
