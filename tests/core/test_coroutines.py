"""Coroutines that compute run anywhere; those that wait are refused in words."""

from __future__ import annotations

import asyncio
import threading

import pytest

from quinkgl.core import run_without_event_loop


async def _compute():
    async def part():
        return 20

    return await part() + 1


async def _wait():
    await asyncio.sleep(0)


async def _fail():
    raise KeyError("lost")


def test_a_coroutine_that_never_waits_runs_to_its_end():
    assert run_without_event_loop(_compute()) == 21


def test_it_runs_in_a_thread_beside_a_running_loop():
    async def main():
        return await asyncio.to_thread(run_without_event_loop, _compute())

    assert asyncio.run(main()) == 21
    results = []
    thread = threading.Thread(target=lambda: results.append(run_without_event_loop(_compute())))
    thread.start()
    thread.join()
    assert results == [21]


def test_a_coroutine_that_waits_is_refused_and_closed():
    coroutine = _wait()
    with pytest.raises(RuntimeError, match="_wait waits for something"):
        run_without_event_loop(coroutine)
    with pytest.raises(RuntimeError, match="cannot reuse"):
        coroutine.send(None)


def test_what_it_raises_is_raised():
    with pytest.raises(KeyError, match="lost"):
        run_without_event_loop(_fail())
