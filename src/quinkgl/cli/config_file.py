"""`--config FILE`: flags from a TOML file.

Keys are flag names without the dashes. Global flags stand at the top, a command's flags in a table of its
name:

    log-level = "warn"

    [run]
    listen = "0.0.0.0:7000"
    peer = ["192.0.2.7:7000", "192.0.2.8:7000"]

A file is turned into arguments that go before those of the command line, so that argparse checks both alike
and the command line wins (a repeatable flag collects from both).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from quinkgl.cli.errors import CliError, ExitCode

MAX_CONFIG_BYTES = 1 << 20


def read_config(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        CliError: it cannot be read, or is not TOML.
    """
    import tomllib

    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
        if len(data) > MAX_CONFIG_BYTES:
            raise CliError(f"{path}: more than {MAX_CONFIG_BYTES} bytes", ExitCode.VALIDATION)
        return tomllib.loads(data.decode("utf-8"))
    except OSError as error:
        raise CliError(f"{path}: cannot read the configuration: {error.strerror}", ExitCode.IO) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CliError(f"{path}: not TOML: {error}", ExitCode.VALIDATION) from error


def arguments_from(
    table: dict[str, Any], parser: argparse.ArgumentParser, *, where: str, skip: frozenset[str] = frozenset()
) -> list[str]:
    """Turn one table of a configuration into arguments for `parser`.

    Args:
        table: keys and values.
        parser: whose flags the keys must name.
        where: file and table, for messages.
        skip: keys that mean something else here (the tables of commands).

    Raises:
        CliError: a key that is no flag of the parser, or a value of a kind that no flag takes.
    """
    flags = {
        option.removeprefix("--"): action
        for action in parser._actions  # noqa: SLF001  argparse has no public list of a parser's flags
        for option in action.option_strings
        if option.startswith("--") and option not in {"--help", "--version", "--config"}
    }
    arguments: list[str] = []
    for key, value in table.items():
        if key in skip:
            continue
        action = flags.get(key.replace("_", "-"))
        if action is None:
            known = ", ".join(sorted(flags)) or "none"
            raise CliError(
                f"{where}: unknown key {key!r}", ExitCode.VALIDATION, hint=f"known keys are {known}"
            )
        arguments += _arguments_for(action, value, where=f"{where}: {key}")
    return arguments


def _arguments_for(action: argparse.Action, value: object, *, where: str) -> list[str]:
    option = next(name for name in action.option_strings if name.startswith("--"))
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise CliError(f"{where}: expected true or false, got {value!r}", ExitCode.VALIDATION)
        negative = next((name for name in action.option_strings if name.startswith("--no-")), None)
        return [option] if value else [negative] if negative and negative != option else []
    values = value if isinstance(value, list) else [value]
    if any(isinstance(item, bool) or not isinstance(item, (str, int, float)) for item in values):
        raise CliError(f"{where}: expected text or a number, got {value!r:.60}", ExitCode.VALIDATION)
    if action.nargs in {"+", "*"}:
        return [option, *map(str, values)]
    if isinstance(value, list) and not isinstance(action, argparse._AppendAction):  # noqa: SLF001  as above
        raise CliError(f"{where}: takes one value, got a list", ExitCode.VALIDATION)
    return [f"{option}={item}" for item in values]
