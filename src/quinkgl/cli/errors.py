"""Exit codes, and the one exception with which a command says that it cannot go on."""

from __future__ import annotations

import sys
from enum import IntEnum


class ExitCode(IntEnum):
    """What the process returns. The numbers are published (docs/cli/index.md) and do not change."""

    SUCCESS = 0
    VALIDATION = 1
    """What was given is not valid: a manifest, a data set, a combination of flags."""
    IO = 2
    """A file or address that cannot be read, written or bound; also a usage error."""
    CRYPTO = 3
    """A key or signature that is missing or wrong."""
    TRUST = 4
    """A creator or peer that is not trusted."""
    HASH_MISMATCH = 5
    """Content that is not the one that was asked for."""
    WIRE = 6
    """The protocol failed: no peer answered, or none agreed."""
    NODE_CONFIG = 7
    """The node cannot run so: model, data and manifest do not fit, or an extra is not installed."""
    INTERNAL = 70
    """A bug of ours (EX_SOFTWARE of sysexits.h)."""
    INTERRUPTED = 130
    """Ended by SIGINT (Ctrl-C)."""
    TERMINATED = 143
    """Ended by SIGTERM."""


class CliError(Exception):
    """A command cannot do what it was asked. The frame prints one line and exits with the code.

    Args:
        message: what is wrong, with where: `port 7000 on 127.0.0.1 is in use`.
        exit_code: what the process returns.
        hint: what to do about it.
    """

    def __init__(
        self, message: str, exit_code: ExitCode = ExitCode.VALIDATION, *, hint: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


_MANIFEST_EXITS = {
    "ERR_MANIFEST_HASH_MISMATCH": ExitCode.HASH_MISMATCH,
    "ERR_SIGNATURE_INVALID": ExitCode.CRYPTO,
    "ERR_CREATOR_NOT_TRUSTED": ExitCode.TRUST,
}


def as_cli_error(error: BaseException) -> CliError | None:
    """Return the line and exit code for an exception that a command let through, or None for a bug.

    A group with one kind of trouble in it (from a Trio nursery) counts as that trouble. Packages that a
    command did not load cannot have raised, so none is imported here.
    """
    if isinstance(error, BaseExceptionGroup):
        known = [as_cli_error(inner) for inner in error.exceptions]
        return None if None in known else known[0]
    if isinstance(error, CliError):
        return error
    if isinstance(error, OSError):
        reason = error.strerror or str(error) or type(error).__name__
        return CliError(f"{error.filename}: {reason}" if error.filename is not None else reason, ExitCode.IO)
    if isinstance(error, ImportError) and "pip install" in str(error):
        return CliError(str(error), ExitCode.NODE_CONFIG)
    if _is_a(error, "quinkgl.manifest.errors", "ManifestError"):
        name = str(error.args[0])
        fallback = ExitCode.NODE_CONFIG if name.startswith("ERR_NODE_") else ExitCode.VALIDATION
        return CliError(str(error), _MANIFEST_EXITS.get(name, fallback))
    if _is_a(error, "quinkgl.wire.errors", "RemoteProtocolError"):
        return CliError(str(error), ExitCode.WIRE)
    return None


def _is_a(error: BaseException, module: str, name: str) -> bool:
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(error, getattr(loaded, name))
