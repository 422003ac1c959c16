"""Runs a coroutine that never waits, without an event loop.

The published interfaces have `async` methods that compute and never wait (`train`, `aggregate`,
`select_targets`). A driver runs them in a worker thread, where there is no event loop; such a coroutine
ends at its first `send`.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run_without_event_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that never waits for anything.

    Raises:
        RuntimeError: the coroutine waits (for I/O, a sleep, another task), which needs an event loop.
            Override the synchronous method of the interface instead, and leave waiting to the driver.
    """
    name = getattr(coroutine, "__qualname__", "a coroutine")
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        coroutine.close()
    raise RuntimeError(
        f"{name} waits for something, and there is no event loop where it is called; "
        "override the synchronous method instead"
    )
