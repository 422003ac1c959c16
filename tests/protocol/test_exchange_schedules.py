"""A slice of the random schedules of the two-sided exchange; `tools/exchange_schedules.py` runs them all."""

from __future__ import annotations

import pytest

from quinkgl.testing.exchange_schedules import run_schedule


@pytest.mark.req("B-004", "B-012", "B-015")
@pytest.mark.parametrize("first", range(0, 400, 100))
def test_no_schedule_ends_one_sided_and_no_round_waits(first):
    committed = late = 0
    for seed in range(first, first + 100):
        print(f"again: run_schedule({seed})")
        result = run_schedule(seed)
        committed += result.committed
        late += result.late
    assert committed > 100
    assert late > 10
