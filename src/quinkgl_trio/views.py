"""How a run is shown: JSON lines for programs, plain lines for logs, a live table for a terminal."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from quinkgl.cli import Output
from quinkgl.observability import RuntimeEvent
from quinkgl_trio.history import format_bytes, format_percent, sparkline

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

_ROUNDS_SHOWN: Final = 8
_PEERS_SHOWN: Final = 8
_SPARKLINE_WIDTH: Final = 32


class View(Protocol):
    """Takes every event of a node while it is open."""

    def __enter__(self) -> Self:
        """Open the view."""

    def __exit__(self, *_exc: object) -> None:
        """Close it; a terminal is as it was."""

    def show(self, event: RuntimeEvent) -> None:
        """Take one event."""


def make_view(output: Output, rounds: int) -> View:
    """The view that fits: JSON lines with ``--json``, live on a terminal, else plain lines."""
    if output.json:
        return JsonLines(output)
    return LiveView(rounds) if output.color and not output.quiet else PlainLines(output, rounds)


class JsonLines:
    """One JSON object a line on standard output: ``event``, ``time``, then the event's own keys."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        pass

    def show(self, event: RuntimeEvent) -> None:
        """Print the event."""
        time = event.timestamp.isoformat(timespec="milliseconds")
        line = {"event": event.event_type, "time": time, **event.payload}
        self._output.result({key: _finite(value) for key, value in line.items()}, "")


class PlainLines:
    """One line a round on standard output; comings and goings on standard error."""

    def __init__(self, output: Output, rounds: int) -> None:
        self._output = output
        self._rounds = rounds

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        pass

    def show(self, event: RuntimeEvent) -> None:
        """Print what a person wants to know."""
        payload = event.payload
        if event.event_type == "round_completed":
            self._output.result(payload, f"round {payload['round']}/{self._rounds}  {round_line(payload)}")
        elif (note := _note(event.event_type, payload)) is not None:
            self._output.note(note)


class LiveView:
    """A table that is redrawn in place: who I am, the rounds, the peers."""

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds
        self._round = 0
        self._phase = "joining"
        self._about = ""
        self._rows: deque[list[str]] = deque(maxlen=_ROUNDS_SHOWN)
        self._last: Mapping[str, Any] | None = None
        self._accuracies: list[float] = []
        self._peers: dict[str, str] = {}
        self._live: Live | None = None

    def __enter__(self) -> Self:
        from rich.live import Live

        self._live = Live(self.render(), refresh_per_second=8, transient=False)
        self._live.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, event: RuntimeEvent) -> None:
        """Take one event into the picture."""
        payload = event.payload
        match event.event_type:
            case "node.started":
                self._about = _started_line(payload)
            case "round_started":
                self._round, self._phase = payload["round"], "training"
            case "targets_selected":
                self._phase = "collecting"
            case "aggregation_completed":
                self._phase = "evaluating"
            case "round_completed":
                self._rows.append(_cells(payload, self._last))
                self._last = payload
                if payload["accuracy"] is not None:
                    self._accuracies.append(payload["accuracy"])
            case "peer_discovered":
                self._peers[payload["peer"]] = payload["address"]
            case "peer_disconnected":
                self._peers.pop(payload["peer"], None)
            case "node.stopped":
                self._phase = "done"
        if self._live is not None:
            self._live.update(self.render())

    def render(self) -> RenderableType:
        """The picture as it is now."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        head = Table.grid(padding=(0, 1))
        done = self._last["round"] if self._last else 0
        trend = sparkline(self._accuracies, _SPARKLINE_WIDTH)
        head.add_row(
            Text(f"round {min(self._round or 1, self._rounds)}/{self._rounds}", style="bold"),
            ProgressBar(total=self._rounds, completed=done, width=30),
            Text(f"{self._phase:<10}", style="cyan"),
            Text(trend, style="green"),
        )
        table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
        for column in (
            "round",
            "loss",
            "accuracy",
            "updates",
            "peers",
            "sent",
            "received",
            "rate",
            "seconds",
        ):
            table.add_column(column, justify="right")
        for row in self._rows:
            table.add_row(*row)
        names = [f"{peer[:8]} {address}" for peer, address in sorted(self._peers.items())]
        more = f" and {len(names) - _PEERS_SHOWN} more" if len(names) > _PEERS_SHOWN else ""
        peers = Text(
            "peers  " + (", ".join(names[:_PEERS_SHOWN]) + more if names else "none yet"), style="dim"
        )
        return Group(Text(self._about, style="bold blue"), head, table, peers)


def round_line(payload: Mapping[str, Any]) -> str:
    """One finished round in one line."""
    loss, accuracy = payload["loss"], payload["accuracy"]
    parts = [
        f"loss {payload['train_loss'] if loss is None else loss:.4f}",
        f"accuracy {'-' if accuracy is None else format_percent(accuracy)}",
        f"updates {payload['updates']}",
        f"peers {payload['peers']}",
        f"sent {format_bytes(payload['bytes_sent'])}",
        f"received {format_bytes(payload['bytes_received'])}",
        f"{payload['seconds']:.2f} s",
    ]
    return "  ".join(parts)


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity; a training that diverges has."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cells(row: Mapping[str, Any], previous: Mapping[str, Any] | None) -> list[str]:
    loss = row["train_loss"] if row["loss"] is None else row["loss"]
    fresh = row["bytes_sent"] - (previous["bytes_sent"] if previous else 0)
    rate = f"{format_bytes(fresh / row['seconds'])}/s" if previous and row["seconds"] > 0 else "-"
    return [
        str(row["round"]),
        f"{loss:.4f}",
        "-" if row["accuracy"] is None else format_percent(row["accuracy"]),
        str(row["updates"]),
        str(row["peers"]),
        format_bytes(row["bytes_sent"]),
        format_bytes(row["bytes_received"]),
        rate,
        f"{row['seconds']:.2f}",
    ]


def _started_line(payload: Mapping[str, Any]) -> str:
    return (
        f"{payload['swarm']}  swarm {payload['swarm_id'][:8]}  peer {payload['peer_id'][:8]}  "
        f"{payload['address']}  {payload['model']}, {payload['samples']} samples"
    )


def _note(name: str, payload: Mapping[str, Any]) -> str | None:
    match name:
        case "node.started":
            places = [f"--peer {payload['peer_id']}@{address}" for address in payload["reachable"]]
            return "\n".join([_started_line(payload), *(f"others join with {place}" for place in places)])
        case "node.resumed":
            return f"resumed after round {payload['round']}"
        case "join_failed":
            return f"going on alone: {payload['reason']}"
        case "peer_discovered":
            return f"met {payload['peer'][:8]} at {payload['address']}"
        case "peer_disconnected":
            return f"lost {payload['peer'][:8]} ({payload['code']})"
        case "peer_refused" | "security.identity_mismatch":
            return f"no agreement with {payload['address']}: {payload['code']} {payload['reason']}".rstrip()
        case "security.equivocation":
            return f"{payload['peer'][:8]} signed two updates for round {payload['round']}: done with it"
        case "security.update_rejected":
            return f"update of {payload['peer'][:8]} rejected: {payload['code']} {payload['reason']}"
    return None
