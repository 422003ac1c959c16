"""Files that hold a node's private key: readable by their owner alone, never overwritten."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

_MAX_BYTES: Final = 16_384
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class KeyFileError(ValueError):
    """A key file that must not be used; the message says why and what to do."""


def create_key_file(path: str | os.PathLike[str], pem: bytes) -> None:
    """Write a private key to a new file of mode 0600.

    Raises FileExistsError when there is something of that name (a link included), OSError when the folder
    cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        Path(path).unlink(missing_ok=True)
        raise


def read_key_file(path: str | os.PathLike[str]) -> bytes:
    """Return the content of a key file.

    Raises KeyFileError for a file that others than its owner may read or write, that is no regular file or is
    too large; FileNotFoundError and other OSErrors as they are.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise KeyFileError(f"{path} is not a regular file; name the file that holds the private key")
        if status.st_mode & _OTHERS:
            mode = stat.S_IMODE(status.st_mode)
            raise KeyFileError(f"{path} has mode {mode:04o}, so others can use the key: run chmod 600 on it")
        if status.st_size > _MAX_BYTES:
            raise KeyFileError(f"{path} has {status.st_size} bytes, too many for a private key in PEM")
        return file.read()
