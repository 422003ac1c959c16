from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.manifest.canonical import MAX_FILE_BYTES, canonical_json, parse_json_untrusted, pretty_json
from quinkgl.manifest.errors import ErrorName, ManifestError

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**40), 10**40),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"])),
)
JSON_VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=8), inner), max_leaves=20
)


def reason(data: bytes) -> str:
    with pytest.raises(ManifestError) as caught:
        parse_json_untrusted(data)
    assert caught.value.args[0] == ErrorName.ERR_MANIFEST_INVALID_JSON
    return str(caught.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"b": 1, "a": [True, None]}, b'{"a":[true,null],"b":1}'),
        (1e-05, b"1e-05"),
        (1e16, b"1e+16"),
        (123456789.0, b"123456789.0"),
        (0.1 + 0.2, b"0.30000000000000004"),
        (-0.0, b"-0.0"),
        ("ü\U0001f600", b'"\\u00fc\\ud83d\\ude00"'),
    ],
)
def test_canonical_form(value, expected):
    assert canonical_json(value) == expected


@given(JSON_VALUES)
def test_both_layouts_read_back_to_the_same_canonical_bytes(value):
    canonical = canonical_json(value)
    assert canonical_json(parse_json_untrusted(canonical)) == canonical
    assert canonical_json(parse_json_untrusted(pretty_json(value))) == canonical


def test_the_limit_of_a_file_is_exact():
    assert parse_json_untrusted(b"{}".rjust(MAX_FILE_BYTES)) == {}
    assert "bytes" in reason(b"{}".rjust(MAX_FILE_BYTES + 1))


def test_integers_and_floats_stay_apart():
    assert canonical_json(parse_json_untrusted(b"[1, 1.0, 1e0]")) == b"[1,1.0,1.0]"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b"\xff\xfe{\x00", "byte order mark"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
        (b'{"a": 1, "a": 1}', "key 'a' twice"),
        (b'{"x": {"a": 1, "b": 2, "a": 3}}', "key 'a' twice"),
        (b"[NaN]", "NaN"),
        (b"[Infinity]", "Infinity"),
        (b"[-Infinity]", "-Infinity"),
        (b"[1e999]", "infinite in binary64"),
        (b"[" + b"9" * 65 + b"]", "65 digits"),
        (b"[" * 100_000, "nested too deeply"),
        (b"{'a': 1}", "line 1 column 2"),
        (b"[1] [2]", "Extra data"),
        (b"", "line 1 column 1"),
        (b" " * (MAX_FILE_BYTES + 1), f"{MAX_FILE_BYTES + 1} bytes"),
    ],
)
def test_doubtful_json_is_refused_with_its_reason(data, words):
    assert words in reason(data)


@given(st.binary(max_size=200) | JSON_VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_give_a_value_or_a_manifest_error(data):
    try:
        parse_json_untrusted(data)
    except ManifestError as error:
        assert error.args[0] == ErrorName.ERR_MANIFEST_INVALID_JSON
        assert "\n" not in str(error)


def number_by_the_spec(value: float) -> str:
    """Section "Canonical form", rule 4, of spec/manifest.md, from the shortest digits."""
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    e = len(text) + exponent
    text = text.rstrip("0")
    minus = "-" if sign else ""
    if not text:
        return minus + "0.0"
    if e > 16 or e <= -4:
        mantissa = text[0] + ("." + text[1:] if len(text) > 1 else "")
        return f"{minus}{mantissa}e{'-' if e < 1 else '+'}{abs(e - 1):02d}"
    whole = text[:e].ljust(e, "0") if e > 0 else "0"
    fraction = text[e:] if e > 0 else "0" * -e + text
    return f"{minus}{whole}.{fraction or '0'}"


@given(
    st.floats(allow_nan=False, allow_infinity=False)
    | st.builds(lambda m, e: m * 10.0**e, st.integers(1, 10**17), st.integers(-25, 5))
)
def test_numbers_are_written_as_the_specification_says(value):
    assert canonical_json(value).decode() == number_by_the_spec(value)
