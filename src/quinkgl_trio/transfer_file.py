"""The file that ``send`` offers: mapped, hashed once, and watched for changes."""

from __future__ import annotations

import mmap
import os
import stat
from pathlib import Path
from typing import BinaryIO, Final, Self

from quinkgl.cli import CliError, ExitCode
from quinkgl.wire.limits import HARD
from quinkgl.wire.merkle import LEAF_BYTES, leaf_hash, merkle_root

_BLOCK_BYTES: Final = 64 * LEAF_BYTES


class SharedFile:
    """A file as the one immutable body of all transfers.

    Attributes:
        root: Merkle root, from `hash_leaves`.
        leaves: all leaf hashes, one after the other, from `hash_leaves`.
        size: bytes.
        body: the mapped file. Its pages are the kernel's: `release` hands back those that were read.
    """

    def __init__(self, path: Path) -> None:
        """Open and map the file.

        Raises:
            CliError: it is no regular file, or larger than an object can be.
            OSError: it cannot be read.
        """
        self.path = path
        self.root = b""
        self.leaves = b""
        self._file: BinaryIO = path.open("rb")
        try:
            status = os.fstat(self._file.fileno())
            _check(path, status)
            self.size = status.st_size
            self._seen = _fingerprint(status)
            self._map = None
            if self.size:
                self._map = mmap.mmap(self._file.fileno(), self.size, access=mmap.ACCESS_READ)
            self.body = memoryview(self._map or b"")
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._file.close()  # the mapping lives as long as a transfer holds a piece of it

    def hash_leaves(self) -> None:
        """Hash every leaf: two seconds or so for 4 GB; for a worker thread.

        Reads the file instead of its mapping, whose pages would count as ours.

        Raises:
            CliError: the file was cut short meanwhile.
        """
        hashes: list[bytes] = []
        self._file.seek(0)
        remaining = self.size
        while remaining:
            block = memoryview(self._file.read(min(_BLOCK_BYTES, remaining)))
            if not block:
                raise CliError(f"{self.path}: changed while it was read", ExitCode.VALIDATION)
            hashes += [leaf_hash(block[at : at + LEAF_BYTES]) for at in range(0, len(block), LEAF_BYTES)]
            remaining -= len(block)
        hashes = hashes or [leaf_hash(b"")]
        self.root = merkle_root(hashes)
        self.leaves = b"".join(hashes)

    @property
    def is_changed(self) -> bool:
        """Whether the file is another one than when it was opened; its hashes say nothing then."""
        return _fingerprint(os.fstat(self._file.fileno())) != self._seen

    def release(self) -> None:
        """Hand back the pages that were read so far; they come again from the kernel's cache if need be."""
        if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


def _check(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise CliError(f"{path}: not a regular file", ExitCode.IO)
    if status.st_size > HARD.object_bytes:
        raise CliError(f"{path}: larger than {HARD.object_bytes} bytes", ExitCode.VALIDATION)


def _fingerprint(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns
