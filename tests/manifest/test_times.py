from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.manifest.errors import FieldError
from quinkgl.manifest.times import format_utc, unix_seconds, utc_time


@pytest.mark.parametrize(
    ("time", "unix"),
    [
        ("1970-01-01T00:00:00Z", 0.0),
        ("1969-12-31T23:59:59Z", -1.0),
        ("2026-02-28T23:59:59.5Z", 1772323199.5),
        ("9999-12-31T23:59:59Z", 253402300799.0),
    ],
)
def test_known_times(time, unix):
    assert unix_seconds(time) == unix
    assert utc_time(time) == time


@pytest.mark.parametrize(
    "time",
    [
        *(
            "",
            "2026-02-30T00:00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00+00:00",
            "2026-01-01 00:00:00Z",
        ),
        *("2026-01-01T24:00:00Z", "٢٠٢٦-01-01T00:00:00Z", "2026-01-01T00:00:00Z\n", None, 0),
    ],
)
def test_what_is_no_such_time_is_refused(time):
    with pytest.raises(FieldError, match="2026-03-01T12:00:00Z"):
        utc_time(time)


@given(st.integers(-2_000_000_000, 100_000_000_000))
def test_format_and_parse_are_inverse(unix):
    assert unix_seconds(format_utc(unix)) == unix
    assert format_utc(unix + 0.75) == format_utc(unix)
