"""Files that are there whole or not at all, even when the machine stops in between."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Final, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview

TEMPORARY_SUFFIX: Final = ".tmp"
"""Ending of files that are being written; a killed process leaves one behind, and nobody reads it."""


def write_atomically(
    path: str | os.PathLike[str], *parts: Buffer, mode: int = 0o666, overwrite: bool = True
) -> None:
    """Write a file so that, whatever happens, its name holds the old content or the new one, on disk.

    The parts go, one after the other, to a new file in the same folder, reach the disk, and take the name in
    one step; then the folder's entry reaches the disk. A symbolic link at `path` is replaced, never followed.

    Args:
        path: where the content goes.
        *parts: the content.
        mode: permission bits of the new file, before the umask.
        overwrite: False refuses a name that exists.

    Raises:
        FileExistsError: the name exists and `overwrite` is False.
        OSError: the file cannot be written; nothing has changed then, and no temporary file is left.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name[:64]}.{secrets.token_hex(8)}{TEMPORARY_SUFFIX}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, mode)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123  a descriptor, not a path
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            temporary.replace(target)
        else:
            os.link(temporary, target)  # fails if the name exists, with no moment between test and deed
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder reach the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
