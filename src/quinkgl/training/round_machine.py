"""The round of one node: train, publish, collect, aggregate, evaluate, and again.

A pure machine. It decides what comes next and says so in events; a driver does the work, in threads of its
own, and reports back. It keeps the contract of all machines of the stack: time comes in as `now`, the driver
sleeps until `deadline()`, events are pulled, spurious timers change nothing, misuse raises LocalProtocolError
and leaves the state as it was.

                 ┌────────────────────────────────────────────────────────────┐
                 ▼                                                            │ next round
    IDLE ──▶ TRAIN ──▶ PUBLISH ──▶ COLLECT ──▶ AGGREGATE ──▶ EVALUATE ────────┘
                                      │                          ▲  │
                                      └── too few updates ───────┘  └──▶ DONE (round limit)

`TRANSITIONS` is the whole of it. Updates are accepted in every phase but DONE: what arrives while this node
trains counts in its next COLLECT. Of one author only the newest waits, and the number that waits is bounded.
A COLLECT ends when enough updates wait, but not before its least time; or when its longest time has passed.
Rounds of different nodes are not coupled: a transfer that is slow just counts later, and a node without
updates keeps its own model, says so, and goes on.
"""

from __future__ import annotations

import functools
import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Concatenate, Final, Generic, ParamSpec, TypeAlias, TypeVar

from quinkgl.wire.errors import ErrorCode, LocalProtocolError

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")


class RoundPhase(Enum):
    """What a node is doing."""

    IDLE = "idle"
    TRAIN = "train"
    PUBLISH = "publish"
    COLLECT = "collect"
    AGGREGATE = "aggregate"
    EVALUATE = "evaluate"
    DONE = "done"


class RoundInput(Enum):
    """What moves a node from phase to phase."""

    STARTED = "started"
    TRAINED = "trained"
    PUBLISHED = "published"
    COLLECTED = "collected"
    """Enough updates, or time is up and there are some."""
    STARVED = "starved"
    """Time is up, or nobody is there, and there are too few updates to combine."""
    AGGREGATED = "aggregated"
    EVALUATED = "evaluated"
    FINISHED = "finished"
    """No round is left."""
    STOPPED = "stopped"


TRANSITIONS: Final[Mapping[tuple[RoundPhase, RoundInput], RoundPhase]] = {
    (RoundPhase.IDLE, RoundInput.STARTED): RoundPhase.TRAIN,
    (RoundPhase.IDLE, RoundInput.FINISHED): RoundPhase.DONE,
    (RoundPhase.TRAIN, RoundInput.TRAINED): RoundPhase.PUBLISH,
    (RoundPhase.PUBLISH, RoundInput.PUBLISHED): RoundPhase.COLLECT,
    (RoundPhase.COLLECT, RoundInput.COLLECTED): RoundPhase.AGGREGATE,
    (RoundPhase.COLLECT, RoundInput.STARVED): RoundPhase.EVALUATE,
    (RoundPhase.AGGREGATE, RoundInput.AGGREGATED): RoundPhase.EVALUATE,
    (RoundPhase.EVALUATE, RoundInput.EVALUATED): RoundPhase.TRAIN,
    (RoundPhase.EVALUATE, RoundInput.FINISHED): RoundPhase.DONE,
    **{(phase, RoundInput.STOPPED): RoundPhase.DONE for phase in RoundPhase if phase is not RoundPhase.DONE},
}
"""Phase and input → next phase; every other pair is misuse."""


class CollectEnd(Enum):
    """Why a COLLECT ended."""

    QUORUM = "quorum"
    DEADLINE = "deadline"
    NO_PEERS = "no_peers"
    """Nobody is connected and nothing waits."""


class KeptReason(Enum):
    """Why a node kept its own model."""

    NO_PEERS = "no_peers"
    NO_UPDATES = "no_updates"
    TOO_FEW_UPDATES = "too_few_updates"
    """Fewer than the aggregation rule needs; they wait for the next round."""
    NOT_AGGREGATED = "not_aggregated"
    """The driver said so: after admission there was too little left."""


class RunEnd(Enum):
    """Why a run ended."""

    ROUND_LIMIT = "round_limit"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class RoundConfig:
    """When a COLLECT ends, and when a run does.

    Raises ValueError for values that make no sense.
    """

    rounds: int | None = None
    """Rounds of the whole run, those before a resume included; None goes on until `stop`."""
    quorum: int = 1
    """Updates of other peers that end a COLLECT before its deadline."""
    collect_timeout_s: float = 60.0
    """The longest time of a COLLECT."""
    min_collect_s: float = 0.0
    """The least time of a COLLECT: it paces nodes whose quorum is always met, and nodes that are alone."""
    quorum_follows_peers: bool = True
    """With fewer peers connected than the quorum, their number is the quorum."""
    minimum_updates: int = 1
    """What the aggregation rule needs, this node's own update included."""
    max_pending: int = 64
    """Authors of whom an update may wait."""

    def __post_init__(self) -> None:
        if self.rounds is not None and self.rounds < 0:
            raise ValueError(f"rounds must be at least 0 or None, not {self.rounds}")
        if self.quorum < 0 or self.minimum_updates < 1 or self.max_pending < 1:
            raise ValueError(
                f"quorum must be at least 0, minimum_updates and max_pending at least 1, not {self.quorum}, "
                f"{self.minimum_updates} and {self.max_pending}"
            )
        if not 0 <= self.min_collect_s <= self.collect_timeout_s < math.inf:
            raise ValueError(
                "min_collect_s and collect_timeout_s must be 0 <= least <= longest, not "
                f"{self.min_collect_s} and {self.collect_timeout_s}"
            )
        if self.max_pending < max(self.quorum, self.minimum_updates - 1):
            raise ValueError(
                f"max_pending ({self.max_pending}) is less than quorum or minimum_updates wait for"
            )


@dataclass(frozen=True, slots=True)
class PendingUpdate(Generic[T]):
    """An update that waits, or was handed out, for aggregation."""

    author: bytes
    """Peer id."""
    position: tuple[int, ...]
    """Where it stands in the sequence of its author's updates."""
    update: T


@dataclass(frozen=True, slots=True)
class TrainRequested:
    """Train this round, then call `training_finished`."""

    round: int


@dataclass(frozen=True, slots=True)
class PublishRequested:
    """Encode the model and offer it to this round's targets, then call `publishing_finished`.

    Offering is enough: a round never waits for transfers.
    """

    round: int


@dataclass(frozen=True, slots=True)
class AggregateRequested(Generic[T]):
    """Combine these updates with the own model, then call `aggregation_finished`."""

    round: int
    updates: tuple[PendingUpdate[T], ...]
    """In the order of their authors."""

    @property
    def authors(self) -> tuple[bytes, ...]:
        """Return the authors in order."""
        return tuple(pending.author for pending in self.updates)


@dataclass(frozen=True, slots=True)
class OwnModelKept:
    """Nothing is combined in this round."""

    round: int
    reason: KeptReason


@dataclass(frozen=True, slots=True)
class EvaluateRequested:
    """Evaluate the model, then call `evaluation_finished`; at once where there is nothing to evaluate on."""

    round: int


@dataclass(frozen=True, slots=True)
class RoundCompleted:
    """A round is over: the moment for a checkpoint, before the next event is acted upon."""

    round: int
    authors: tuple[bytes, ...]
    """Whose updates were combined with the own model; none where it was kept."""
    collect_end: CollectEnd
    seconds: float
    """Duration of the round."""


@dataclass(frozen=True, slots=True)
class RunCompleted:
    """There is nothing more to do."""

    rounds: int
    """Rounds completed, those before a resume included."""
    reason: RunEnd


RoundEvent: TypeAlias = (
    TrainRequested
    | PublishRequested
    | AggregateRequested[Any]
    | OwnModelKept
    | EvaluateRequested
    | RoundCompleted
    | RunCompleted
)


@dataclass(slots=True)
class RoundStats:
    """Counts, for people."""

    dropped: dict[str, int] = field(default_factory=dict)
    """Updates that were not kept, by reason: `older_update`, `superseded`, `pending_full`, `run_over`."""
    clock_steps_back: int = 0
    own_model_kept: int = 0
    """Rounds in which nothing was combined."""

    def drop(self, reason: str) -> None:
        """Count one update that was not kept."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1


def _exclusive(
    method: Callable[Concatenate[RoundMachine[T], P], R],
) -> Callable[Concatenate[RoundMachine[T], P], R]:
    """Refuse a call from inside another call: a machine has one owner."""

    @functools.wraps(method)
    def guarded(self: RoundMachine[T], /, *args: P.args, **kwargs: P.kwargs) -> R:
        if self._busy:
            raise RuntimeError(f"RoundMachine.{method.__name__} was called from inside another call")
        self._busy = True
        try:
            return method(self, *args, **kwargs)
        finally:
            self._busy = False

    return guarded


class RoundMachine(Generic[T]):
    """Decides the phases of one node's rounds; `T` is whatever the driver calls an update.

    Rounds are counted from 1. Commands that report finished work return True, or False if the run has ended
    meanwhile; called in a phase that did not ask for them they raise LocalProtocolError (E_USAGE).

    Args:
        config: see `RoundConfig`.
        completed_rounds: rounds done before, see `state_dict`.
        now: monotonic seconds.
    """

    def __init__(self, config: RoundConfig, *, completed_rounds: int = 0, now: float) -> None:
        if completed_rounds < 0:
            raise ValueError(f"completed_rounds must be at least 0, not {completed_rounds}")
        self.config = config
        self.phase = RoundPhase.IDLE
        self.completed_rounds = completed_rounds
        self.stats = RoundStats()
        self._now = now
        self._busy = False
        self._events: deque[RoundEvent] = deque()
        self._pending: dict[bytes, PendingUpdate[T]] = {}
        self._live_peers = 0
        self._round_started = now
        self._collect_started = now
        self._collect_end = CollectEnd.QUORUM
        self._combined: tuple[bytes, ...] = ()

    # --- what it is doing ---

    @property
    def round(self) -> int:
        """The round in progress; before the start and after the end, the last one completed."""
        running = self.phase not in (RoundPhase.IDLE, RoundPhase.DONE)
        return self.completed_rounds + running

    @property
    def quorum(self) -> int:
        """Updates that end a COLLECT early, with as many peers as there are now."""
        if self.config.quorum_follows_peers:
            return min(self.config.quorum, self._live_peers)
        return self.config.quorum

    @property
    def pending_authors(self) -> tuple[bytes, ...]:
        """Authors of the updates that wait, in order."""
        return tuple(sorted(self._pending))

    def occupancy(self) -> dict[str, tuple[int, int]]:
        """What is held and its bound."""
        return {"pending": (len(self._pending), self.config.max_pending), "events": (len(self._events), 16)}

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs, to be taken on RoundCompleted.

        A round in progress is not part of it: it starts again. Nor are updates that wait: their authors
        publish newer ones.
        """
        return {"completed_rounds": self.completed_rounds}

    # --- commands ---

    @_exclusive
    def start(self, *, now: float) -> bool:
        """Begin with the first round that is not completed."""
        self._check(RoundInput.STARTED)
        self._advance(now)
        self._next_round(RoundInput.STARTED)
        return True

    @_exclusive
    def training_finished(self, *, now: float) -> bool:
        """Report that the training of this round is done."""
        return self._report(RoundInput.TRAINED, now)

    @_exclusive
    def publishing_finished(self, *, now: float) -> bool:
        """Report that the update was offered to its targets, or that there are none."""
        return self._report(RoundInput.PUBLISHED, now)

    @_exclusive
    def aggregation_finished(self, *, now: float, own_model_kept: bool = False) -> bool:
        """Report that the model is the combined one, or that it stayed as it was (`own_model_kept`)."""
        kept = OwnModelKept(self.round, KeptReason.NOT_AGGREGATED) if own_model_kept else None
        return self._report(RoundInput.AGGREGATED, now, kept=kept)

    @_exclusive
    def evaluation_finished(self, *, now: float) -> bool:
        """Report that evaluation is done, or that there is nothing to evaluate on."""
        return self._report(RoundInput.EVALUATED, now)

    @_exclusive
    def stop(self, *, now: float) -> bool:
        """End the run at once; a round in progress does not count. False if it has ended already."""
        self._advance(now)
        if self.phase is RoundPhase.DONE:
            return False
        self._finish(RoundInput.STOPPED, RunEnd.STOPPED)
        return True

    @_exclusive
    def reconfigure(self, config: RoundConfig, *, now: float) -> bool:
        """Go on under another configuration, such as another aggregation rule's minimum; False after the end.

        Raises LocalProtocolError if more updates wait than it allows.
        """
        if len(self._pending) > config.max_pending:
            raise _misuse(f"{len(self._pending)} updates wait, and max_pending would be {config.max_pending}")
        self._advance(now)
        if self.phase is RoundPhase.DONE:
            return False
        self.config = config
        self._settle()
        return True

    @_exclusive
    def set_live_peers(self, count: int, *, now: float) -> bool:
        """Tell how many peers are connected and agreed; False after the end."""
        if count < 0:
            raise _misuse(f"{count} live peers")
        self._advance(now)
        self._live_peers = count
        self._settle()
        return self.phase is not RoundPhase.DONE

    @_exclusive
    def update_received(
        self, author: bytes, update: T, *, position: tuple[int, ...] = (), now: float
    ) -> bool:
        """Take an update of another peer; False if it is not kept, counted in `stats.dropped`.

        Args:
            author: its peer id.
            update: whatever `AggregateRequested` shall hand back.
            position: where it stands in its author's sequence (incarnation, round). An update that is older
                than the one that waits is not kept; any other takes its place.
            now: monotonic seconds.
        """
        self._advance(now)
        waiting = self._pending.get(author)
        if self.phase is RoundPhase.DONE:
            self.stats.drop("run_over")
            return False
        if waiting is None and len(self._pending) >= self.config.max_pending:
            self.stats.drop("pending_full")
            return False
        if waiting is not None and position < waiting.position:
            self.stats.drop("older_update")
            return False
        if waiting is not None:
            self.stats.drop("superseded")
        self._pending[author] = PendingUpdate(author, position, update)
        self._settle()
        return True

    @_exclusive
    def handle_timer(self, *, now: float) -> None:
        """End a COLLECT whose time is up. Spurious calls are no-ops."""
        self._advance(now)
        self._settle()

    # --- output ---

    @_exclusive
    def next_event(self) -> RoundEvent | None:
        """Return the oldest event that was not returned yet, or None."""
        return self._events.popleft() if self._events else None

    def deadline(self) -> float | None:
        """Return when to call `handle_timer`, on the clock of `now`; None while only commands move it."""
        if self._events:
            return self._now
        if self.phase is not RoundPhase.COLLECT:
            return None
        wait = self.config.min_collect_s if self._enough() else self.config.collect_timeout_s
        return self._collect_started + wait

    @property
    def deadline_reason(self) -> str:
        """What happens at `deadline()`, for people."""
        if self._events:
            return "events wait"
        if self.phase is not RoundPhase.COLLECT:
            return f"none in phase {self.phase.value}"
        return "the least time of COLLECT" if self._enough() else "the longest time of COLLECT"

    # --- inside ---

    def _advance(self, now: float) -> None:
        if now < self._now:
            self.stats.clock_steps_back += 1
        else:
            self._now = now

    def _check(self, moved_by: RoundInput) -> RoundPhase:
        """Return the next phase; LocalProtocolError if this input has no place in this phase."""
        following = TRANSITIONS.get((self.phase, moved_by))
        if following is None:
            raise _misuse(f"{moved_by.value} in phase {self.phase.value} of round {self.round}")
        return following

    def _report(self, moved_by: RoundInput, now: float, *, kept: OwnModelKept | None = None) -> bool:
        """Finished work moves the machine on; after the end it is a benign race."""
        if self.phase is RoundPhase.DONE:
            self._advance(now)
            return False
        following = self._check(moved_by)
        self._advance(now)
        if kept is not None:
            self._keep_own_model(kept)
        if moved_by is RoundInput.EVALUATED:
            self._complete_round()
            return True
        self.phase = following
        if following is RoundPhase.PUBLISH:
            self._events.append(PublishRequested(self.round))
        elif following is RoundPhase.EVALUATE:
            self._events.append(EvaluateRequested(self.round))
        else:
            self._collect_started = self._now
            self._settle()
        return True

    def _complete_round(self) -> None:
        seconds = self._now - self._round_started
        self._events.append(RoundCompleted(self.round, self._combined, self._collect_end, seconds))
        self.completed_rounds += 1
        self._next_round(RoundInput.EVALUATED)

    def _next_round(self, moved_by: RoundInput) -> None:
        if self.config.rounds is not None and self.completed_rounds >= self.config.rounds:
            self._finish(RoundInput.FINISHED, RunEnd.ROUND_LIMIT)
            return
        self.phase = self._check(moved_by)
        self._round_started = self._now
        self._combined = ()
        self._events.append(TrainRequested(self.completed_rounds + 1))

    def _finish(self, moved_by: RoundInput, reason: RunEnd) -> None:
        self.phase = self._check(moved_by)
        self._pending.clear()
        self._events.append(RunCompleted(self.completed_rounds, reason))

    def _enough(self) -> bool:
        return len(self._pending) >= self.quorum

    def _settle(self) -> None:
        """End a COLLECT that has what it needs, or whose time is up."""
        if self.phase is not RoundPhase.COLLECT:
            return
        if self._enough() and self._now >= self._collect_started + self.config.min_collect_s:
            alone = not self._pending and self._live_peers == 0
            self._collect_end = CollectEnd.NO_PEERS if alone else CollectEnd.QUORUM
        elif self._now >= self._collect_started + self.config.collect_timeout_s:
            self._collect_end = CollectEnd.DEADLINE
        else:
            return
        if len(self._pending) + 1 >= max(self.config.minimum_updates, 2):
            self._hand_out()
        else:
            self._starve()

    def _hand_out(self) -> None:
        self.phase = self._check(RoundInput.COLLECTED)
        updates = tuple(self._pending[author] for author in sorted(self._pending))
        self._pending.clear()
        self._combined = tuple(pending.author for pending in updates)
        self._events.append(AggregateRequested(self.round, updates))

    def _starve(self) -> None:
        if self._pending:
            reason = KeptReason.TOO_FEW_UPDATES
        elif self._live_peers == 0:
            reason = KeptReason.NO_PEERS
        else:
            reason = KeptReason.NO_UPDATES
        kept = OwnModelKept(self.round, reason)
        self.phase = self._check(RoundInput.STARVED)
        self._keep_own_model(kept)
        self._events.append(EvaluateRequested(self.round))

    def _keep_own_model(self, kept: OwnModelKept) -> None:
        self._combined = ()
        self.stats.own_model_kept += 1
        self._events.append(kept)


def _misuse(message: str) -> LocalProtocolError:
    return LocalProtocolError(ErrorCode.E_USAGE, message, layer="training")
