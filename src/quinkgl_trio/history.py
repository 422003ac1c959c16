"""What a node tells about its rounds: one record a round, and the sum at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RoundReport:
    """One finished round. Byte counts are UDP payloads since the node started."""

    round: int
    loss: float | None
    """Mean loss on the evaluation data after aggregation; None without evaluation data."""
    accuracy: float | None
    """Share of right answers on the evaluation data after aggregation; None without evaluation data."""
    train_loss: float
    """Mean training loss of the last local epoch."""
    peers: int
    """Peers connected at the end of the round."""
    updates: int
    """Updates of other peers that went into the new model."""
    bytes_sent: int
    bytes_received: int
    seconds: float
    """Duration of the round."""

    def to_json(self) -> dict[str, Any]:
        """The payload of the event ``round_completed``."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a call of `Node.run` did."""

    rounds: tuple[RoundReport, ...]
    """The rounds of this call; those before a resume are not in it."""
    updates_received: int
    updates_sent: int
    updates_rejected: int
    bytes_sent: int
    bytes_received: int
    seconds: float
    completed: bool
    """Whether every round that was asked for has been done; False after `Node.stop`."""

    @property
    def last(self) -> RoundReport | None:
        """The last round, if there was one."""
        return self.rounds[-1] if self.rounds else None


def sparkline(values: Sequence[float], width: int) -> str:
    """The last ``width`` values as a row of bars, for a terminal."""
    bars = "▁▂▃▄▅▆▇█"
    recent = list(values)[-width:]
    low, high = min(recent, default=0.0), max(recent, default=0.0)
    span = (high - low) or 1.0
    return "".join(bars[min(7, int(8 * (value - low) / span))] for value in recent)


def format_bytes(count: float) -> str:
    """A size for people, in decimal units."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def format_percent(value: float) -> str:
    """A fraction as per cent with one decimal."""
    return f"{100 * value:.1f} %"
