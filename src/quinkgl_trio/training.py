"""How a peer trains, round by round: the same object for a node and for the runs that it is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from quinkgl.models import TrainingConfig

_LEARNING_RATES: Final = {"softmax": 1.0}
_OTHER_LEARNING_RATE: Final = 0.5


def default_learning_rate(model: str) -> float:
    """The learning rate of the first round for a model of `make_model`, with plain SGD."""
    return _LEARNING_RATES.get(model, _OTHER_LEARNING_RATE)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """Hyperparameters over a whole run; plain SGD. Raises ValueError for numbers that make no sense."""

    rounds: int
    """Rounds in all: what the schedule spans."""
    epochs: int = 2
    batch_size: int = 32
    learning_rate: float = _OTHER_LEARNING_RATE
    schedule: Literal["linear", "constant"] = "linear"
    """``linear``: η·(1 − r/rounds) in round r, counted from 0. Peers that hold different data disagree less
    the smaller the steps are, and at the end they should agree."""

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ValueError(f"rounds must be at least 1, not {self.rounds}")
        self.config(1)

    def config(self, round: int) -> TrainingConfig:
        """What to train with in ``round``, counted from 1. Rounds past the plan train like its last one."""
        done = min(round - 1, self.rounds - 1) / self.rounds if self.schedule == "linear" else 0.0
        return TrainingConfig(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate * (1.0 - done),
            optimizer="sgd",
        )
