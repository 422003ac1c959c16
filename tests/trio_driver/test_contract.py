"""The Trio driver keeps the driver contract."""

from __future__ import annotations

import pytest
import trio

from quinkgl.testing.drivers import CASES, CaseUnavailableError
from quinkgl_trio.driver import open_driver


class TrioAdapter:
    closed_error = trio.EndOfChannel
    open = staticmethod(open_driver)
    sleep = staticmethod(trio.sleep)

    def run(self, main):
        trio.run(main)

    async def cancelled_after(self, seconds, body):
        with trio.move_on_after(seconds) as scope:
            await body()
        return scope.cancelled_caught


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_trio_driver_keeps_the_contract(case):
    try:
        case.check(TrioAdapter())
    except CaseUnavailableError as reason:
        pytest.skip(str(reason))
