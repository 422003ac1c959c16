"""Peers as child processes: started, listened to, and never left behind.

Each child leads a session of its own, so that one signal reaches it and all that it started; it gets a pipe
as standard input and is told to stop when that closes, so that it ends even if this process is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio

_LONGEST_LINE_BYTES: Final = 1 << 20
_TAIL_LINES: Final = 20
_CHUNK_BYTES: Final = 1 << 16

EventCallback = Callable[["Child", dict[str, Any]], None]


class ChildDied(Exception):  # noqa: N818  named in the past tense like every other thing that happened
    """A child ended with an error, or ended without saying what was expected of it.

    Attributes:
        name: the child's name.
        returncode: its exit status; negative for the signal that killed it.
        last_line: the last line it wrote to standard error.
    """

    def __init__(self, name: str, returncode: int, last_line: str) -> None:
        how = f"killed by {_signal_name(-returncode)}" if returncode < 0 else f"exit code {returncode}"
        super().__init__(f"{name} died ({how}): {last_line or 'no word on standard error'}")
        self.name = name
        self.returncode = returncode
        self.last_line = last_line


@dataclass(slots=True)
class Child:
    """A running child process."""

    name: str
    process: trio.Process
    tail: deque[str]

    @property
    def last_line(self) -> str:
        """The last line on standard error that is not blank."""
        return next((line for line in reversed(self.tail) if line.strip()), "")


async def run_child(
    name: str,
    command: Sequence[str],
    *,
    log: Path,
    on_event: EventCallback,
    stop_after_s: float = 5.0,
    task_status: trio.TaskStatus[Child] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run one child to its end; each JSON object on its standard output goes to ``on_event``.

    Cancelling this ends the child: SIGTERM to its group, SIGKILL after ``stop_after_s``; it is reaped in any
    case. Standard error goes to the file ``log``.

    Raises:
        ChildDied: its exit status was not 0.
        OSError: it could not be started, or ``log`` not be written.
    """
    with log.open("wb") as log_file:
        process = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        child = Child(name, process, deque(maxlen=_TAIL_LINES))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_read_events, child, on_event)
                nursery.start_soon(_keep_log, child, log_file.write)
                task_status.started(child)
                await process.wait()
        finally:
            with trio.CancelScope(shield=True):
                await _end(process, stop_after_s)
    if process.returncode:
        raise ChildDied(name, process.returncode, child.last_line)


async def _end(process: trio.Process, patience_s: float) -> None:
    """Stop what is left of the child's group and reap the child."""
    if process.returncode is None:
        _signal_group(process, signal.SIGTERM)
        with trio.move_on_after(patience_s):
            await process.wait()
    _signal_group(process, signal.SIGKILL)
    await process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            await trio.aclose_forcefully(stream)


def _signal_group(process: trio.Process, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # already gone, all of them
        os.killpg(process.pid, number)


async def _read_events(child: Child, on_event: EventCallback) -> None:
    async for line in _lines(child.process.stdout):
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if isinstance(event, dict):
            on_event(child, event)
        else:
            child.tail.append(f"not a JSON object on standard output: {line[:200]!r}")


async def _keep_log(child: Child, write: Callable[[bytes], object]) -> None:
    async for line in _lines(child.process.stderr):
        write(line + b"\n")
        child.tail.append(line.decode(errors="replace"))


async def _lines(stream: trio.abc.ReceiveStream | None) -> AsyncIterator[bytes]:
    assert stream is not None  # noqa: S101  both were asked for as pipes
    buffer = bytearray()
    while chunk := await stream.receive_some(_CHUNK_BYTES):
        buffer += chunk
        while (end := buffer.find(b"\n")) >= 0:
            yield bytes(buffer[:end])
            del buffer[: end + 1]
        if len(buffer) > _LONGEST_LINE_BYTES:
            yield bytes(buffer)
            buffer.clear()
    if buffer:
        yield bytes(buffer)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
