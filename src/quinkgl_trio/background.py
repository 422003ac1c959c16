"""Background tasks of a context manager, without their nursery showing through."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def background() -> AsyncGenerator[trio.Nursery]:
    """A nursery whose tasks are cancelled when the block ends.

    An exception of the block, or of a single task, comes out as it is and not inside an ExceptionGroup, so
    that callers of a context manager built on this can catch what they know.
    """
    failure: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            except Exception as error:  # noqa: BLE001  raised again below, outside the nursery
                failure = error
            finally:
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise _only_exception(group) from failure
    if failure is not None:
        raise failure


def _only_exception(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one exception inside nested groups, or the group where there are several."""
    inner: BaseException = group
    while isinstance(inner, BaseExceptionGroup) and len(inner.exceptions) == 1:
        inner = inner.exceptions[0]
    return group if isinstance(inner, BaseExceptionGroup) else inner
