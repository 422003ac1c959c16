"""Single ownership.

A machine is called by one caller at a time, and never from inside one of its own calls.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
M = TypeVar("M", bound="Exclusive")


class Exclusive:
    """Base of a machine whose calls are marked :func:`exclusive`."""

    _is_inside = False


def exclusive(method: Callable[Concatenate[M, P], R]) -> Callable[Concatenate[M, P], R]:
    """Make a method refuse, with RuntimeError, to run inside another call of the same machine.

    A callback, a signal handler or a second thread that calls in half-way would see, and leave, a broken
    state.
    """

    @functools.wraps(method)
    def guarded(self: M, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if self._is_inside:
            name: Any = method.__name__
            raise RuntimeError(f"{type(self).__name__}.{name} was called from inside another call of it")
        self._is_inside = True
        try:
            return method(self, *args, **kwargs)
        finally:
            self._is_inside = False

    return guarded
