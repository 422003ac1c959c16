"""The frame of a command line: global flags, configuration, logging, errors and exit codes.

`run_cli` carries `quinkgl` and `quinkgl-trio` alike. A program gives it a table of commands; each command
adds its own flags and runs with a `Context`. Whatever goes wrong ends in one line on stderr and a documented
exit code; a traceback is shown only with `--log-level debug`.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from quinkgl._version import __version__
from quinkgl.cli.config_file import arguments_from, read_config
from quinkgl.cli.errors import CliError, ExitCode, as_cli_error
from quinkgl.cli.output import LOG_LEVELS, Output, color_allowed, start_logging


@dataclass(frozen=True, slots=True)
class Context:
    """What a command gets: its flags, its output streams, and the folder for state between runs."""

    program: str
    args: argparse.Namespace
    output: Output
    work_dir: Path


@dataclass(frozen=True, slots=True)
class Command:
    """One sub-command.

    Attributes:
        name: as it is typed.
        summary: one line for the list of commands.
        configure: adds the command's flags to its parser; imports nothing heavy, since it runs at each start.
        run: does the work; returns the exit code, or None for success.
    """

    name: str
    summary: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[Context], int | None]


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and that takes no abbreviated flags."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **keywords})

    def error(self, message: str) -> NoReturn:
        raise CliError(message, ExitCode.IO, hint=f"see '{self.prog} --help'")


def run_cli(program: str, commands: Sequence[Command], argv: Sequence[str] | None = None) -> int:
    """Parse the arguments, run the command, and return the exit code. Raises nothing.

    Args:
        program: the name that messages begin with.
        commands: the sub-commands.
        argv: the arguments without the program's name; None takes those of the process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        with _terminable():
            code = _run(program, commands, arguments)
            sys.stdout.flush()
            return int(code)
    except SystemExit as stop:  # argparse after --help and --version; the handler of SIGTERM
        return _exit_status(stop)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        _abandon_stdout()
        return ExitCode.IO
    except BaseException as error:  # noqa: BLE001  the one place where everything ends
        return _report(program, error, debug=_debugging(arguments))


def _run(program: str, commands: Sequence[Command], arguments: list[str]) -> int:
    general = _global_flags(program)
    table = {command.name: command for command in commands}
    parser, parsers = _build(program, commands, general)
    given, rest = general.parse_known_args(arguments)
    if rest[:1] == ["--"]:
        rest = rest[1:]
    name = rest[0] if rest and rest[0] in table else None
    injected: list[str] = []
    if getattr(given, "config", None) is not None:
        config = read_config(Path(given.config))
        top = arguments_from(config, general, where=given.config, skip=frozenset(table))
        given = general.parse_known_args([*top, *arguments])[0]
        injected = _command_config(config, name, parsers, where=given.config)
    args = parser.parse_args([*rest[:1], *injected, *rest[1:]], namespace=given)
    options = _with_defaults(args)
    start_logging(options.log_level, quiet=options.quiet)
    if name is None:
        parser.print_help()
        return ExitCode.SUCCESS
    output = Output(
        json=options.json, quiet=options.quiet, color=color_allowed(no_color=options.no_color or options.json)
    )
    context = Context(program, options, output, Path(options.work_dir).expanduser())
    code = table[name].run(context)
    return ExitCode.SUCCESS if code is None else code


def _global_flags(program: str) -> _Parser:
    """Flags for before or after the command. An absent flag must override nothing: no defaults here."""
    parser = _Parser(prog=program, add_help=False, argument_default=argparse.SUPPRESS)
    group = parser.add_argument_group("global flags, before or after the command")
    group.add_argument("--json", action="store_true", help="print results as JSON, one object a line")
    group.add_argument(
        "--log-level", choices=tuple(LOG_LEVELS), help="what is logged to stderr (default: info)"
    )
    group.add_argument(
        "--work-dir", metavar="DIR", help="state between runs (default: $XDG_STATE_HOME/quinkgl)"
    )
    group.add_argument("--config", metavar="FILE", help="TOML file with flags, in a table a command")
    group.add_argument(
        "--no-color", action="store_true", help="no colours (also: the environment's NO_COLOR)"
    )
    group.add_argument("-q", "--quiet", action="store_true", help="print results and errors alone")
    return parser


def _build(program: str, commands: Sequence[Command], general: _Parser) -> tuple[_Parser, dict[str, _Parser]]:
    parser = _Parser(prog=program, description="Decentralised federated learning.", parents=[general])
    parser.add_argument("--version", action="version", version=f"{program} {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", title="commands", parser_class=_Parser)
    parsers = {}
    for command in commands:
        sub = subparsers.add_parser(
            command.name, help=command.summary, description=command.summary, parents=[general]
        )
        sub.add_argument("--version", action="version", version=f"{program} {__version__}")
        command.configure(sub)
        parsers[command.name] = sub
    return parser, parsers


def _command_config(
    config: dict[str, Any], name: str | None, parsers: dict[str, _Parser], *, where: str
) -> list[str]:
    """Check the tables of all commands, and return the arguments of the one that runs."""
    chosen: list[str] = []
    for command, parser in parsers.items():
        table = config.get(command, {})
        if not isinstance(table, dict):
            raise CliError(f"{where}: {command} must be a table [{command}]", ExitCode.VALIDATION)
        found = arguments_from(table, parser, where=f"{where} [{command}]")
        if command == name:
            chosen = found
    return chosen


def _with_defaults(args: argparse.Namespace) -> argparse.Namespace:
    defaults: dict[str, Any] = {
        "json": False,
        "log_level": "info",
        "work_dir": str(_state_home() / "quinkgl"),
        "config": None,
        "no_color": False,
        "quiet": False,
    }
    return argparse.Namespace(**{**defaults, **vars(args)})


def _state_home() -> Path:
    """The XDG base directory for state. A relative value is ignored, as that specification says."""
    given = os.environ.get("XDG_STATE_HOME", "")
    return Path(given) if Path(given).is_absolute() else Path("~/.local/state")


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Turn SIGTERM into an orderly end, wherever the command has no handler of its own."""

    def stop(_number: int, _frame: object) -> NoReturn:
        raise SystemExit(int(ExitCode.TERMINATED))

    try:
        previous = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread: somebody embeds us and owns the signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _exit_status(stop: SystemExit) -> int:
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    return stop.code if isinstance(stop.code, int) else ExitCode.SUCCESS


def _debugging(arguments: Sequence[str]) -> bool:
    """Whether to show tracebacks, also for errors before logging was set up."""
    pairs = zip(arguments, [*arguments[1:], ""], strict=True)
    return logging.getLogger().isEnabledFor(logging.DEBUG) or any(
        flag == "--log-level=debug" or (flag, value) == ("--log-level", "debug") for flag, value in pairs
    )


def _report(program: str, error: BaseException, *, debug: bool) -> int:
    """Print the one line for `error` and return its exit code; with `debug`, the traceback before it."""
    if isinstance(error, BaseExceptionGroup):
        interrupt = error.subgroup((KeyboardInterrupt, SystemExit))
        if interrupt is not None:
            return ExitCode.INTERRUPTED
    known = as_cli_error(error)
    if debug:
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    if known is None:
        detail = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        known = CliError(
            f"internal error: {detail}",
            ExitCode.INTERNAL,
            hint="this is a bug; run again with --log-level debug to see where",
        )
    line = " ".join(f"{program}: error: {known}".split())
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)  # noqa: T201  the one line
    if isinstance(error, OSError):
        _abandon_stdout()
    return known.exit_code


def _abandon_stdout() -> None:
    """Whoever read stdout has gone: throw away what is buffered, or the interpreter complains at its exit."""
    with contextlib.suppress(OSError, ValueError):
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
        os.close(devnull)
