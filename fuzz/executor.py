"""Runs one input after the other, looking closely now and then, whatever engine the inputs come from."""

from __future__ import annotations

import gc
import sys

from fuzz.harness import Target
from fuzz.oracles import Finding, Meter, measuring

_ROUND = 97
_CLOSELY = {0: Meter.CALLS, 48: Meter.STATE}
"""Which executions of each round look closely, and at what."""
_MEMORY_EVERY = 25_000
"""After each so many executions memory is compared with what it was after the first so many."""
_MORE_BLOCKS = 60_000
"""Objects that caches of bounded size may come to hold after that."""


class Executor:
    """The function that an engine calls."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.executions = 0
        self._blocks: int | None = None

    def __call__(self, data: bytes) -> None:
        """Run one input; raises where it finds something."""
        self.executions += 1
        meter = _CLOSELY.get(self.executions % _ROUND, Meter.OFF)
        if meter is Meter.OFF:
            self.target.run(data)
        else:
            with measuring(meter):
                self.target.run(data)
        if not self.executions % _MEMORY_EVERY:
            self.check_memory()

    def check_memory(self) -> None:
        """Raise a finding where memory grows with the number of executions."""
        gc.collect()
        blocks = sys.getallocatedblocks()
        if self._blocks is None:
            self._blocks = blocks
        elif blocks > self._blocks + _MORE_BLOCKS:
            raise Finding(
                f"{blocks} blocks of memory after {self.executions} executions, {self._blocks} after "
                f"the first {_MEMORY_EVERY}: something is kept from one input to the next"
            )


def replay(target: Target, data: bytes) -> None:
    """Run one input with everything measured that can be."""
    for meter in (Meter.CALLS_AND_MEMORY, Meter.STATE):
        with measuring(meter):
            target.run(data)
