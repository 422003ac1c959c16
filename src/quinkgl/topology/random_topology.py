"""RandomTopology: each round's targets are drawn uniformly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.random import SeedSequence

from quinkgl.core.seeds import Purpose, generator, generator_state, restore_generator, sample_sorted
from quinkgl.topology.base import SelectionContext, TopologyStrategy


@dataclass(slots=True)
class _Answer:
    """Targets given for one question, and until when they hold."""

    question: tuple[int, int]
    """Round, and number of targets."""
    expires: float
    targets: list[str]


class RandomTopology(TopologyStrategy):
    """Draws the targets of a round uniformly, without replacement, from the compatible peers.

    The draw is over sorted ids with raw generator outputs, so one seed gives one sequence of targets in every
    process and NumPy release.

    Args:
        seed: the seed of the run; None takes one from the operating system.
        cache_duration: asked again in the same round, for the same number of targets and within this many
            seconds of `context.now`, it gives the same targets, those who left replaced by fresh draws; so a
            node that publishes twice in a round does not spread wider. 0, or a context without `now`, draws
            each time. Another round always draws anew.
        peer: index or id of the peer, so that nodes with one seed draw differently.

    Raises:
        ValueError: a negative seed or duration.
    """

    def __init__(
        self, seed: int | None = None, cache_duration: float = 5.0, *, peer: int | bytes | None = None
    ) -> None:
        if not 0 <= cache_duration < math.inf:
            raise ValueError(f"cache_duration must be at least 0 seconds, not {cache_duration!r}")
        if seed is None:
            entropy = SeedSequence().entropy
            seed = entropy if isinstance(entropy, int) else 0
        self.cache_duration = cache_duration
        self._rng = generator(seed, Purpose.TOPOLOGY, peer)
        self._last: _Answer | None = None

    def select(self, context: SelectionContext, count: int = 3) -> list[str]:
        """Return `count` ids, or all there are if fewer, in random order."""
        candidates = [peer.peer_id for peer in context.get_compatible_peers()]
        question = (context.current_round, count)
        asked_before = self._last is not None and self._last.question == question
        if self._last is None or not asked_before or context.now is None or context.now >= self._last.expires:
            self._last = _Answer(question, (context.now or 0.0) + self.cache_duration, [])
        kept = [peer_id for peer_id in self._last.targets if peer_id in candidates]
        fresh = [peer_id for peer_id in candidates if peer_id not in kept]
        self._last.targets = [*kept, *sample_sorted(self._rng, fresh, count - len(kept))]
        return list(self._last.targets)

    def state_dict(self) -> dict[str, Any]:
        """Return the random stream; the last answer is not part of it, since `now` is a process's own."""
        return {"rng": generator_state(self._rng)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; ValueError if it is the state of something else."""
        if set(state) != {"rng"} or not isinstance(state["rng"], Mapping):
            raise ValueError("not a state of RandomTopology")
        restore_generator(self._rng, state["rng"])
        self._last = None
