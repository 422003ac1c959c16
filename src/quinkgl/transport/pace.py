"""How fast a transfer moves (spec 9.5): one that hardly does holds memory for nothing."""

from __future__ import annotations

from enum import Enum


class Speed(Enum):
    """The verdict about one window of time."""

    ENOUGH = "enough"
    SLOW = "slow"
    """Below the least rate: it goes when others need the room."""
    STALLED = "stalled"
    """Nothing moved for so long that nothing will."""


class Pace:
    """Measures one transfer in windows of time, each on its own.

    ``check_at`` is when the window under way ends.
    """

    __slots__ = ("_least_bytes", "_mark", "_moved_at", "_stall_s", "_window_s", "check_at")

    def __init__(self, *, least_bytes: float, window_s: float, stall_s: float, now: float) -> None:
        """Demand ``least_bytes`` in each window, and some byte in ``stall_s``."""
        self._least_bytes = least_bytes
        self._window_s = min(window_s, stall_s)
        self._stall_s = stall_s
        self._mark = 0
        self._moved_at = now
        self.check_at = now + self._window_s

    def judge(self, progress_bytes: int, *, now: float) -> Speed:
        """Judge the window that has ended, if one has, and begin the next."""
        if now < self.check_at:
            return Speed.ENOUGH
        moved = progress_bytes - self._mark
        self._mark = progress_bytes
        self.check_at = now + self._window_s
        if moved:
            self._moved_at = now
        elif now - self._moved_at >= self._stall_s:
            return Speed.STALLED
        return Speed.SLOW if moved < self._least_bytes else Speed.ENOUGH
