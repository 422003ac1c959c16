"""SIGINT and SIGTERM as an orderly end: whoever works is told, and the exit code says why."""

from __future__ import annotations

import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

import trio

from quinkgl.cli import ExitCode
from quinkgl_trio.background import background

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def exit_code_for(number: int) -> ExitCode:
    """The exit code of a process that ended because of a signal."""
    return ExitCode.TERMINATED if number == signal.SIGTERM else ExitCode.INTERRUPTED


@asynccontextmanager
async def signals_to(handle: Callable[[int], None]) -> AsyncGenerator[None]:
    """While the block runs, give each SIGINT and SIGTERM to ``handle`` instead of ending the process."""
    with trio.open_signal_receiver(*_SIGNALS) as numbers:

        async def listen() -> None:
            async for number in numbers:
                handle(number)

        async with background() as nursery:
            nursery.start_soon(listen)
            yield
