"""A sampling profiler of this process: which function was running at each millisecond of CPU time.

Python runs signal handlers between byte codes, so the time of a call into C counts for the Python function
that made it. That is what is wanted here: a stage is a function of ours with all the C that it calls.
"""

from __future__ import annotations

import signal
from collections import Counter
from types import FrameType

_PERIOD_S = 0.001
_OURS = "quinkgl"


class Sampler:
    """Counts samples by ``module:function`` of the innermost frame that is ours, or else by its module."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def start(self) -> None:
        """Begin to sample."""
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, _PERIOD_S, _PERIOD_S)

    def stop(self) -> None:
        """End sampling."""
        signal.setitimer(signal.ITIMER_PROF, 0.0)

    def _sample(self, _number: int, frame: FrameType | None) -> None:
        if frame is None:
            return
        innermost = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        walk: FrameType | None = frame
        while walk is not None:
            module = str(walk.f_globals.get("__name__", ""))
            if module.startswith(_OURS):
                self.counts[f"{module}:{walk.f_code.co_name}"] += 1
                return
            walk = walk.f_back
        self.counts[innermost] += 1
