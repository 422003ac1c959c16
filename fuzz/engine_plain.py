"""An engine without guidance: mutations of what is known, two or three times as fast as the guided one.

For long campaigns on a corpus that the guided engine has made: nothing is instrumented or learned.
"""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from fuzz.executor import Executor
from fuzz.harness import Target
from fuzz.mutators import mutate_bytes

_PLAIN_SHARE = 0.35
"""Mutations that know nothing of the structure."""
_LONGEST_CHAIN = 6
"""Mutations from a known input, each of which is run."""


def fuzz(
    target: Target, known: Sequence[bytes], *, runs: int, seconds: float, number: int, keep_in: Path
) -> tuple[int, Path | None]:
    """Execute ``runs`` inputs, or fewer in ``seconds``; return how many, and the file of a failing one."""
    rng = random.Random(number)
    executor = Executor(target)
    structured = mutate_bytes if target.mutate is None else target.mutate
    until = time.monotonic() + seconds
    data = b""
    try:
        while executor.executions < runs:
            data = rng.choice(known)
            for _ in range(rng.randint(1, _LONGEST_CHAIN)):
                change = mutate_bytes if rng.random() < _PLAIN_SHARE else structured
                data = change(data, rng)[: target.max_bytes]
                executor(data)
            if time.monotonic() > until:
                break
    except Exception:
        traceback.print_exc()
        keep_in.mkdir(parents=True, exist_ok=True)
        path = keep_in / f"plain-{number}-{executor.executions}"
        path.write_bytes(data)
        return executor.executions, path
    return executor.executions, None
