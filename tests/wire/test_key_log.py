"""Lines of a key log: what is written is read back, everything else is told apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.wire.errors import LocalProtocolError
from quinkgl.wire.key_log import KeyLogEntry, format_key_log, parse_key_log

ENTRY = KeyLogEntry(bytes(range(32)), bytes(range(8)), 3, 1000, bytes(32))
LINE = (
    "QGL_TRAFFIC 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f 0001020304050607 3 1000 "
    "0000000000000000000000000000000000000000000000000000000000000000"
)


def test_the_form_that_the_reference_page_gives():
    assert format_key_log(ENTRY) == LINE
    assert parse_key_log(LINE + "\n") == ENTRY


@given(
    st.builds(
        KeyLogEntry,
        st.binary(min_size=32, max_size=32),
        st.binary(min_size=8, max_size=8),
        st.integers(0, 1000),
        st.integers(0, 2**64 - 1),
        st.binary(min_size=32, max_size=32),
    )
)
def test_every_entry_is_read_back(entry):
    assert parse_key_log(format_key_log(entry)) == entry


@pytest.mark.parametrize("line", ["", "\n", "# QGL_TRAFFIC", "CLIENT_RANDOM 00 00", "QGL_OTHER 1 2 3"])
def test_other_lines_are_skipped(line):
    assert parse_key_log(line) is None


@pytest.mark.parametrize(
    "line",
    [
        "QGL_TRAFFIC",
        LINE + " 1",
        LINE[:-2],
        LINE.replace(" 3 ", " -1 "),
        LINE.replace(" 3 ", " three "),
        LINE.replace(" 1000 ", " 18446744073709551616 "),
        LINE.replace("QGL_TRAFFIC 00", "QGL_TRAFFIC zz"),
        LINE.replace(" 0001020304050607 ", " 00010203040506 "),
    ],
)
def test_a_line_with_the_label_must_be_whole(line):
    with pytest.raises(LocalProtocolError, match="key log"):
        parse_key_log(line)
