"""What a harness is: a function of bytes that raises where something is wrong, and where to begin.

The same function serves the coverage-guided engine, its replacement, the runner that executes a fixed number
of inputs, and the tests that replay the corpora.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

Run = Callable[[bytes], None]
Mutate = Callable[[bytes, random.Random], bytes]

DECODER_RUNS = 1_000_000
CONNECTION_RUNS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One harness.

    ``run`` raises for a finding and for nothing else; it keeps nothing from one call to the next. ``seeds``
    are inputs to begin with, mostly well-formed ones. ``mutate`` knows the structure of the input; bytes are
    mutated without it as well. ``wanted`` is how many executions a campaign owes, ``share`` how many of them
    a short run does.
    """

    name: str
    about: str
    run: Run
    seeds: Callable[[], Iterable[bytes]]
    mutate: Mutate | None = None
    max_bytes: int = 2048
    wanted: int = DECODER_RUNS
    kept: int = 60
    """How many inputs the minimised corpus has at most: what the tests replay."""
    short_runs: int = 20_000
    """Executions that take about three seconds, for a run of all harnesses."""
