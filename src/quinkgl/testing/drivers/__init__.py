"""The driver contract as tests that any driver can run.

A driver moves datagrams, time and events between a machine, a socket and an application. Whatever event loop
it uses, it owes the three the same things, and each is a case here: events in order, timers exact, output
sent at once, nothing lost when the kernel is full or the application slow, a goodbye however the block ends,
and no harm from whatever a socket can come up with. A driver's author writes a :class:`DriverAdapter` of some
thirty lines and runs every case::

    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_the_driver_keeps_the_contract(case):
        try:
            case.check(MyAdapter())
        except CaseUnavailableError as reason:
            pytest.skip(str(reason))

Nothing in here needs pytest. See docs/driver-authors.md.
"""

from __future__ import annotations

from quinkgl.testing.drivers.adapter import (
    Case,
    CaseUnavailableError,
    Driver,
    DriverAdapter,
)
from quinkgl.testing.drivers.closing import CASES as CLOSING
from quinkgl.testing.drivers.machine import Arrived, Correspondent, Parcel
from quinkgl.testing.drivers.pressure import CASES as PRESSURE
from quinkgl.testing.drivers.runs import CASES as RUNS
from quinkgl.testing.drivers.turns import CASES as TURNS

CASES: tuple[Case, ...] = (*TURNS, *PRESSURE, *CLOSING, *RUNS)
"""Every case; each has a name that says what it shows."""

__all__ = [
    "CASES",
    "Arrived",
    "Case",
    "CaseUnavailableError",
    "Correspondent",
    "Driver",
    "DriverAdapter",
    "Parcel",
]
