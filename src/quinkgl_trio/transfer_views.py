"""How a transfer is shown: JSON lines for programs, a bar on a terminal, else lines on standard error."""

from __future__ import annotations

import math
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from quinkgl.cli import Output
from quinkgl_trio.history import format_bytes, format_percent

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_LINE_EVERY_S: Final = 5.0
_JSON_EVERY_S: Final = 0.5


class TransferView(Protocol):
    """Takes what happens while it is open."""

    def __enter__(self) -> Self:
        """Open the view."""

    def __exit__(self, *_exc: object) -> None:
        """Close it; a terminal is as it was."""

    def tell(self, event: str, text: str = "", **payload: Any) -> None:
        """Show an event: its keys to programs, the text (if there is one) to people."""

    def progress(self, done: int, total: int) -> None:
        """Show how many bytes are there, or left; called often."""


def make_transfer_view(output: Output) -> TransferView:
    """The view that fits: JSON lines with ``--json``, a bar on a terminal, else lines."""
    if output.json:
        return JsonTransfer(output)
    if output.color and sys.stderr.isatty() and not output.quiet:
        try:
            return BarTransfer()
        except ModuleNotFoundError:  # without rich the lines say the same
            pass
    return LineTransfer(output)


class JsonTransfer:
    """One JSON object a line on standard output: ``event``, ``time``, then the event's own keys."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._next_at = -math.inf

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        pass

    def tell(self, event: str, text: str = "", **payload: Any) -> None:
        """Print the event."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._output.result({"event": event, "time": now, **payload}, text)

    def progress(self, done: int, total: int) -> None:
        """Print where it is, twice a second at most."""
        if time.monotonic() >= self._next_at:
            self._next_at = time.monotonic() + _JSON_EVERY_S
            self.tell("progress", bytes=done, total=total)


class LineTransfer:
    """Lines on standard error."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._next_at = time.monotonic() + _LINE_EVERY_S

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        pass

    def tell(self, event: str, text: str = "", **_payload: Any) -> None:
        """Print the text."""
        del event
        if text:
            self._output.note(text)

    def progress(self, done: int, total: int) -> None:
        """Print where it is, every five seconds."""
        if time.monotonic() >= self._next_at and total:
            self._next_at = time.monotonic() + _LINE_EVERY_S
            self._output.note(
                f"{format_bytes(done)} of {format_bytes(total)}, {format_percent(done / total)}"
            )


class BarTransfer:
    """A bar on standard error, and the lines above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TaskProgressColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._progress: Progress = Progress(
            BarColumn(),
            TaskProgressColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True, highlight=False),
            transient=True,
        )
        self._task: TaskID | None = None
        self._total = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._progress.stop()

    def tell(self, event: str, text: str = "", **_payload: Any) -> None:
        """Print the text above the bar."""
        del event
        if text:
            self._progress.console.print(text, markup=False, soft_wrap=True)

    def progress(self, done: int, total: int) -> None:
        """Move the bar."""
        if self._task is None or total != self._total:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._task = self._progress.add_task("", total=total)
            self._total = total
        self._progress.update(self._task, completed=done)
