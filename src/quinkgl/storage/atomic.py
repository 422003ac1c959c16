"""Files that are there whole or not at all, even when the machine stops in between."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Final, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview

TEMPORARY_SUFFIX: Final = ".tmp"
"""Ending of files that are being written; a killed process leaves one behind, and nobody reads it."""


def write_atomically(path: str | os.PathLike[str], parts: Iterable[Buffer], *, mode: int = 0o600) -> None:
    """Write `parts` one after the other to `path`, replacing what is there at once.

    The bytes go to a new file in the same folder, reach the disk, and take the name in one step; then the
    folder's entry reaches the disk. After a crash the old file is there, or the new one.

    Args:
        path: the file.
        parts: its content.
        mode: permissions of the new file; the process's umask is not applied.

    Raises:
        OSError: the file cannot be written; nothing has changed then, and no temporary file is left.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}{TEMPORARY_SUFFIX}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, mode)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123  a descriptor, not a path
            os.fchmod(file.fileno(), mode)
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder reach the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
