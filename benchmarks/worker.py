"""One end of a measured transfer or round trip, as a process of its own.

    python -m benchmarks.worker receive CARRIER '{"size": 1000000, …}'
    python -m benchmarks.worker send CARRIER '{"port": 4000, …}'

Both ends print JSON objects, one a line. Times are seconds on the system's monotonic clock, which all
processes of a machine share; CPU time is user and system time of this process alone.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.sampler import Sampler

WARM_UP_BYTES = 8_000_000
"""Moved before the clock starts, so that windows are open and code paths are warm."""


def payload(size: int, seed: int) -> memoryview:
    """Return ``size`` bytes drawn from ``seed``, read-only: the same on both sides."""
    return memoryview(np.random.default_rng(seed).bytes(size)).toreadonly()


def peak_rss_bytes() -> int:
    """Return the highest resident set size of this process so far."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@dataclass
class Clock:
    """Wall-clock and CPU time of one side of a transfer, as its carrier marks them."""

    began: float = 0.0
    ended: float = 0.0
    cpu_began: float = 0.0
    cpu_ended: float = 0.0
    rss_began: int = 0
    rss_ended: int = 0
    more: dict[str, Any] = field(default_factory=dict)
    sampler: Sampler | None = None

    def begin(self) -> None:
        """Mark the moment before the measured part."""
        if self.sampler is not None:
            self.sampler.start()
        self.rss_began = peak_rss_bytes()
        self.cpu_began = time.process_time()
        self.began = time.monotonic()

    def end(self) -> None:
        """Mark the moment after it."""
        self.ended = time.monotonic()
        self.cpu_ended = time.process_time()
        self.rss_ended = peak_rss_bytes()
        if self.sampler is not None:
            self.sampler.stop()
            self.more["samples"] = dict(self.sampler.counts)

    def as_dict(self) -> dict[str, Any]:
        """Return what the parent needs."""
        return {
            "began": self.began,
            "ended": self.ended,
            "cpu_s": self.cpu_ended - self.cpu_began,
            "rss_growth": self.rss_ended - self.rss_began,
            **self.more,
        }


def say(**values: Any) -> None:
    """Print one JSON object for the parent."""
    print(json.dumps(values), flush=True)


def main(arguments: list[str]) -> None:
    """Run one role of one carrier; see the module's description."""
    role, carrier, options = arguments
    module = importlib.import_module(f"benchmarks.carriers.{carrier}")
    chosen = json.loads(options)
    clock = Clock(sampler=Sampler() if chosen.pop("profile", False) else None)
    getattr(module, role)(clock, **chosen)
    say(**clock.as_dict())


if __name__ == "__main__":
    main(sys.argv[1:])
