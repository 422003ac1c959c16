"""The asyncio driver keeps the driver contract."""

from __future__ import annotations

import asyncio

import pytest

from quinkgl.testing.drivers import CASES, CaseUnavailableError
from quinkgl_ipv8 import DriverClosedError, open_driver


class AsyncioAdapter:
    closed_error = DriverClosedError
    open = staticmethod(open_driver)
    sleep = staticmethod(asyncio.sleep)

    def run(self, main):
        asyncio.run(main())

    async def cancelled_after(self, seconds, body):
        try:
            async with asyncio.timeout(seconds) as scope:
                await body()
        except TimeoutError:
            if not scope.expired():
                raise
        return scope.expired()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_asyncio_driver_keeps_the_contract(case):
    try:
        case.check(AsyncioAdapter())
    except CaseUnavailableError as reason:
        pytest.skip(str(reason))
