"""The replacement where the coverage-guided engine cannot be installed: mutated inputs, chosen by Hypothesis.

A failing input is made smaller before it is shown.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from fuzz.executor import Executor
from fuzz.harness import Target
from fuzz.mutators import mutate_bytes

_BATCH = 2_000
"""Examples of one Hypothesis run: it remembers each, and its own work grows with their number."""


def inputs(target: Target, known: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Any bytes, and known inputs after a few mutations."""

    def mutated(data: bytes, number: int, times: int) -> bytes:
        rng = random.Random(number)
        for _ in range(times):
            plain = target.mutate is None or rng.random() < 0.4
            data = mutate_bytes(data, rng) if plain else target.mutate(data, rng)
        return data[: target.max_bytes]

    some = st.sampled_from(list(known) or [b""])
    mutations = st.builds(mutated, some, st.integers(0, (1 << 32) - 1), st.integers(1, 6))
    return st.one_of(st.binary(max_size=min(target.max_bytes, 64)), mutations, mutations, mutations)


def fuzz(
    target: Target, known: Sequence[bytes], *, runs: int, seconds: float, number: int, keep_in: Path
) -> tuple[int, Path | None]:
    """Execute ``runs`` inputs, or fewer in ``seconds``; return how many, and the file of a failing one."""
    executor = Executor(target)
    until = time.monotonic() + seconds
    last = [b""]
    batch = 0
    while executor.executions < runs and time.monotonic() < until:
        wanted = min(_BATCH, runs - executor.executions)

        @seed(number + batch)
        @settings(max_examples=wanted, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(inputs(target, known))
        def one_batch(data: bytes) -> None:
            last[0] = data
            executor(data)

        before = executor.executions
        try:
            one_batch()
        except Exception:
            keep_in.mkdir(parents=True, exist_ok=True)
            path = keep_in / f"hypothesis-{number + batch}"
            path.write_bytes(last[0])
            import traceback

            traceback.print_exc()
            return executor.executions, path
        batch += 1
        if executor.executions == before:
            break
    return executor.executions, None
