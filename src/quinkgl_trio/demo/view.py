"""How the demo shows its progress: JSON lines, a line now and then, or a live table."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, Self

from quinkgl.cli import Output
from quinkgl_trio.demo.crew import PeerLog
from quinkgl_trio.history import format_bytes, format_percent, sparkline

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

_SPARKLINE_WIDTH: Final = 12
_BAR_WIDTH: Final = 10
_NUMBERS: Final = ("peers", "round", "accuracy", "sent")


class DemoView(Protocol):
    """Shows the peers' logs as they grow."""

    def __enter__(self) -> Self:
        """Open the view."""

    def __exit__(self, *_exc: object) -> None:
        """Close it."""

    def note(self, text: str) -> None:
        """Say what is being done now."""

    def refresh(self) -> None:
        """Look at the logs again."""


def make_demo_view(output: Output, logs: Sequence[PeerLog], rounds: int) -> DemoView:
    """The view that fits: live on a terminal, else a line a round that all peers have finished."""
    return LiveDemo(logs, rounds) if output.color and not output.quiet else LinesDemo(output, logs, rounds)


def progress(logs: Sequence[PeerLog]) -> dict[str, Any] | None:
    """Where the slowest peer is, and the accuracies of all in that round; None before the first one."""
    done = min(len(log.rounds) for log in logs)
    if done == 0:
        return None
    accuracies = [log.rounds[done - 1]["accuracy"] for log in logs]
    return {
        "round": done,
        "mean_accuracy": fmean(accuracies),
        "min_accuracy": min(accuracies),
        "max_accuracy": max(accuracies),
        "bytes_sent": sum(log.rounds[done - 1]["bytes_sent"] for log in logs),
    }


class LinesDemo:
    """A line for every tenth of the rounds on standard error, or an object a round with ``--json``."""

    def __init__(self, output: Output, logs: Sequence[PeerLog], rounds: int) -> None:
        self._output = output
        self._logs = logs
        self._rounds = rounds
        self._shown = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        pass

    def note(self, text: str) -> None:
        """Print it on standard error."""
        self._output.note(text)

    def refresh(self) -> None:
        """Print the rounds that all peers have finished since the last time."""
        now = progress(self._logs)
        if now is None or now["round"] == self._shown:
            return
        before, self._shown = self._shown, now["round"]
        if self._output.json:
            self._output.result({"event": "progress", "rounds": self._rounds, **now}, "")
            return
        step = max(1, self._rounds // 10)
        if self._shown // step > before // step or self._shown == self._rounds:
            spread = f"{format_percent(now['min_accuracy'])} to {format_percent(now['max_accuracy'])}"
            self._output.note(
                f"round {self._shown:>3}/{self._rounds}  accuracy {format_percent(now['mean_accuracy'])} "
                f"({spread})  sent {format_bytes(now['bytes_sent'])}"
            )


class LiveDemo:
    """One row a peer, redrawn in place."""

    def __init__(self, logs: Sequence[PeerLog], rounds: int) -> None:
        self._logs = logs
        self._rounds = rounds
        self._note = ""
        self._live: Live | None = None

    def __enter__(self) -> Self:
        from rich.live import Live

        self._live = Live(self._render(), refresh_per_second=10)
        self._live.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._live is not None:
            self._live.update(self._render())
            self._live.stop()

    def note(self, text: str) -> None:
        """Show it under the table."""
        self._note = text
        self.refresh()

    def refresh(self) -> None:
        """Draw the logs again."""
        if self._live is not None:
            self._live.update(self._render())

    def _render(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
        for column in ("peer", "id", "peers", "round", "", "accuracy", "", "sent"):
            justify: Literal["left", "right"] = "right" if column in _NUMBERS else "left"
            table.add_column(column, justify=justify, no_wrap=True)
        for log in self._logs:
            last = log.last
            done = last["round"] if last else 0
            accuracies = [row["accuracy"] for row in log.rounds]
            table.add_row(
                Text(log.name, style="bold"),
                log.peer_id[:8],
                str(log.met),
                f"{done}/{self._rounds}",
                ProgressBar(total=self._rounds, completed=done, width=_BAR_WIDTH),
                format_percent(last["accuracy"]) if last else "-",
                Text(sparkline(accuracies, _SPARKLINE_WIDTH), style="green"),
                format_bytes(last["bytes_sent"]) if last else "-",
            )
        return Group(table, Text(self._note, style="dim"))
