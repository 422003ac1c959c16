"""The command line. `quinkgl` is this package's `main`; `quinkgl-trio` shares its frame (`run_cli`)."""

from __future__ import annotations

from collections.abc import Sequence

from quinkgl.cli import info
from quinkgl.cli.errors import CliError, ExitCode
from quinkgl.cli.frame import Command, Context, run_cli
from quinkgl.cli.output import Output

__all__ = ["CliError", "Command", "Context", "ExitCode", "Output", "main", "run_cli"]

COMMANDS: tuple[Command, ...] = (info.COMMAND,)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `quinkgl` and return its exit code."""
    return run_cli("quinkgl", COMMANDS, argv)
