"""Times as a manifest writes them: RFC 3339 in UTC, with a final Z."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from quinkgl.manifest.errors import FieldError
from quinkgl.manifest.record import kind, show

_FORM = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(\.\d{1,6})?Z", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc_time(value: object) -> str:
    """Admit a time such as `2026-03-01T12:00:00Z`, optionally with up to six digits of fraction."""
    if type(value) is not str:
        raise FieldError("", f"expected a time such as 2026-03-01T12:00:00Z, got {kind(value)} {show(value)}")
    try:
        unix_seconds(value)
    except ValueError:
        raise FieldError("", f"{show(value)} is not a UTC time such as 2026-03-01T12:00:00Z") from None
    return value


def unix_seconds(time: str) -> float:
    """Return the seconds since 1970-01-01T00:00:00Z.

    Raises:
        ValueError: not of the form above, or no such date.
    """
    match = _FORM.fullmatch(time)
    if match is None:
        raise ValueError(f"{time[:40]!r} is not an RFC 3339 time in UTC")
    whole = datetime.strptime(match[1], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    return (whole - _EPOCH) / timedelta(seconds=1) + float(match[2] or 0)


def format_utc(unix: float) -> str:
    """Return a time as a manifest writes it, in whole seconds (rounded down)."""
    return (_EPOCH + timedelta(seconds=int(unix // 1))).strftime("%Y-%m-%dT%H:%M:%SZ")
