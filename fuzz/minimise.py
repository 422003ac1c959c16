"""Keeps of many inputs a few that reach what all reach: steps from line to line of the sources.

The shortest inputs are looked at first, and one is kept that takes a step which none before it took. So the
corpora can be read, and are the same wherever they are made from the same inputs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from fuzz.harness import Target

_SOURCES = str(Path(__file__).resolve().parents[1] / "src")

Step = tuple[CodeType, int, int]


class _Tracer:
    """Collects the steps from line to line that code of the sources takes."""

    def __init__(self) -> None:
        self.steps: set[Step] = set()

    def __call__(self, frame: FrameType, _event: str, _argument: object) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(_SOURCES):
            return None
        steps = self.steps
        before = 0

        def on_line(inner: FrameType, event: str, _argument: object) -> Any:
            nonlocal before
            if event == "line":
                steps.add((code, before, inner.f_lineno))
                before = inner.f_lineno
            elif event == "exception":
                steps.add((code, inner.f_lineno, -1))
            return on_line

        return on_line


def steps_of(target: Target, data: bytes) -> set[Step]:
    """Run an input and return the steps that it took; a finding comes out."""
    tracer = _Tracer()
    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        target.run(data)
    finally:
        sys.settrace(before)
    return tracer.steps


def minimise(target: Target, inputs: Iterable[bytes], *, most: int) -> list[bytes]:
    """Return at most ``most`` inputs that reach what all of them reach, as far as so many can."""
    reached: set[Step] = set()
    kept: list[tuple[int, bytes]] = []
    for data in sorted(set(inputs), key=lambda data: (len(data), data)):
        new = steps_of(target, data) - reached
        if new:
            reached |= new
            kept.append((len(new), data))
    kept.sort(key=lambda item: -item[0])
    return [data for _, data in kept[:most]]
