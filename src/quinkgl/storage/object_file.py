"""An object that is received into a file, over as many transfers, sessions and processes as it takes.

Two files stand beside the final name: ``NAME.part`` holds each leaf at its place, and ``NAME.part.map`` the
leaf list and one byte for each leaf that is verified. A leaf is written before its note, and what a note
claims is verified again when the file is opened (spec 9.5), so a process that is killed loses nothing that
was verified, and a machine that loses power loses at most what the kernel had not written yet. When the
object is whole it takes its name in one step.

Bytes are written with ``pwrite`` and not through a mapping: a full or failing disk is an OSError then, where
a mapping would kill the process, and nothing of the file counts as this process's memory. Only the finished
body is mapped, to be read.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

from quinkgl.storage.atomic import sync_folder, write_atomically
from quinkgl.wire.merkle import HASH_BYTES, LEAF_BYTES, leaf_count, leaf_hash, list_bytes, merkle_root

PART_SUFFIX: Final = ".part"
"""Ending of the data file of an object that is not whole."""
MAP_SUFFIX: Final = ".part.map"
"""Ending of the file that tells which leaves of it are verified."""

_MAGIC: Final = b"QGLPART1"
_HEADER: Final = struct.Struct(">8sQ32s")
_CHECKSUM_BYTES: Final = 16
_BODY_AT: Final = _HEADER.size + _CHECKSUM_BYTES
_DATA_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class ObjectFileError(Exception):
    """What stands beside the final name is not the beginning of this object."""


class ObjectFile:
    """A sink for ``accept_object`` that keeps an object in a file; see `quinkgl.transport.ObjectSink`.

    Attributes:
        path: the final name.
        root: Merkle root of the object.
        size: its bytes.
        failure: what went wrong with the disk, after the transfer ended with E_INTERNAL.
    """

    def __init__(self, path: Path, *, root: bytes, size: int, start_over: bool = False) -> None:
        """Open what an earlier attempt left of the object, or begin it.

        Every leaf that it claims to have is verified: allow half a second for each GB.

        Args:
            path: the final name; nothing stands there until the object is whole.
            root: Merkle root of the object.
            size: its bytes.
            start_over: throw away whatever an earlier attempt left, of this object or another.

        Raises:
            ObjectFileError: the files of another object, or of no object, are in the way.
            BlockingIOError: another process is receiving into this file.
            OSError: the files cannot be made, read or written.
        """
        self.path = path
        self.root = root
        self.size = size
        self.failure: OSError | None = None
        self._part = path.with_name(path.name + PART_SUFFIX)
        self._map = path.with_name(path.name + MAP_SUFFIX)
        self._list_bytes = list_bytes(size)
        self._list: bytes | None = None
        self._is_finished = False
        self._flags = bytearray(leaf_count(size))
        self._flags_at = _BODY_AT + self._list_bytes
        self._header = _HEADER.pack(_MAGIC, size, root)
        self._header += hashlib.sha256(self._header).digest()[:_CHECKSUM_BYTES]
        if not start_over:
            self._check_names()
        with contextlib.ExitStack() as opened:
            self._data_fd = _open(self._part)
            opened.callback(os.close, self._data_fd)
            fcntl.flock(self._data_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if start_over or not self._map.exists():
                write_atomically(self._map, self._header, bytes(self._list_bytes + len(self._flags)))
            os.ftruncate(self._data_fd, size)
            self._map_fd = _open(self._map)
            opened.callback(os.close, self._map_fd)
            self._load()
            opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    # -- the sink

    @property
    def memory_bytes(self) -> int:
        """The leaf list and a byte for each leaf; the object itself takes none."""
        return (HASH_BYTES + 1) * len(self._flags)

    @property
    def verified_bytes(self) -> int:
        """How much of the object is here and verified."""
        whole = self._flags.count(1) * LEAF_BYTES
        return whole - (len(self._flags) * LEAF_BYTES - self.size) if self._flags[-1] else whole

    def leaf_list(self) -> bytes | None:
        """Return the leaf list once it is known."""
        return self._list

    def verified(self) -> Iterator[tuple[int, int]]:
        """Iterate over the ranges of verified leaves."""
        start = self._flags.find(1)
        while start >= 0:
            stop = self._flags.find(0, start)
            if stop < 0:
                stop = len(self._flags)
            yield start, stop
            start = self._flags.find(1, stop)

    def write(self, start: int, data: bytes | memoryview) -> None:
        """Put bytes into their place; they survive this process, not a loss of power."""
        self._write(self._data_fd, start, data)

    def read(self, start: int, stop: int) -> bytes:
        """Read bytes back to be verified."""
        try:
            return _read(self._data_fd, start, stop)
        except OSError as error:
            self.failure = error
            raise

    def keep_list(self, leaves: bytes) -> None:
        """Take the leaf list."""
        self._write(self._map_fd, _BODY_AT, leaves)
        self._list = leaves

    def keep_leaves(self, start: int, stop: int) -> None:
        """Note that leaves are verified; their bytes were written before."""
        note = b"\x01" * (stop - start)
        self._write(self._map_fd, self._flags_at + start, note)
        self._flags[start:stop] = note

    def body(self) -> memoryview:
        """Map the whole object, read-only; it stays readable after `close`."""
        if not self.size:
            return memoryview(b"")
        return memoryview(mmap.mmap(self._data_fd, self.size, access=mmap.ACCESS_READ))

    # -- the end

    def finish(self, *, overwrite: bool = False) -> None:
        """Give the whole object its final name, on disk, and remove the map.

        Args:
            overwrite: False refuses a name that exists, with no moment between test and deed.

        Raises:
            FileExistsError: the name exists; the object stays where it is, whole.
            OSError: the disk failed.
        """
        os.fsync(self._data_fd)
        if overwrite:
            self._part.replace(self.path)
        else:
            os.link(self._part, self.path)
            self._part.unlink()
        self._is_finished = True
        self._map.unlink()
        sync_folder(self.path.parent)

    def close(self) -> None:
        """Let go of the files; what is verified stays for the next attempt. Closing twice does nothing.

        Files in which nothing is verified are removed.
        """
        if self._data_fd >= 0 and not self._is_finished and not any(self._flags):
            self._part.unlink(missing_ok=True)
            self._map.unlink(missing_ok=True)
        for descriptor in (self._data_fd, self._map_fd):
            if descriptor >= 0:
                os.close(descriptor)
        self._data_fd = self._map_fd = -1

    # -- opening

    def _check_names(self) -> None:
        """Refuse files that are not ours to write into: without a map of this object nothing is known."""
        if not self._map.exists():
            if self._part.exists() and self._part.stat().st_size:
                raise ObjectFileError(f"{self._part} exists and has no map beside it")
            return
        with self._map.open("rb") as file:
            if file.read(_BODY_AT) != self._header:
                raise ObjectFileError(f"{self._part} belongs to another object")

    def _load(self) -> None:
        """Take over what the map claims, leaf by leaf, as far as it is true [O-036]."""
        if self._list_bytes:
            leaves = _read(self._map_fd, _BODY_AT, self._flags_at)
            hashes = [leaves[at : at + HASH_BYTES] for at in range(0, len(leaves), HASH_BYTES)]
            if len(leaves) != self._list_bytes or merkle_root(hashes) != self.root:
                return
            self._list = leaves
        else:
            hashes = [self.root]
        claims = _read(self._map_fd, self._flags_at, self._flags_at + len(self._flags))
        for leaf, claim in enumerate(claims):
            if claim:
                data = _read(self._data_fd, leaf * LEAF_BYTES, min(self.size, (leaf + 1) * LEAF_BYTES))
                self._flags[leaf] = leaf_hash(data) == hashes[leaf]

    def _write(self, descriptor: int, start: int, data: bytes | memoryview) -> None:
        view = memoryview(data)
        try:
            while view:  # a disk that is nearly full takes a part
                written = os.pwrite(descriptor, view, start)
                start += written
                view = view[written:]
        except OSError as error:
            self.failure = error
            raise


def _open(path: Path) -> int:
    return os.open(path, _DATA_FLAGS, 0o666)


def _read(descriptor: int, start: int, stop: int) -> bytes:
    return os.pread(descriptor, stop - start, start)
