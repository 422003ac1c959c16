"""Deterministic CBOR: round trips, the RFC's examples, an independent decoder as judge, hostile input."""

from __future__ import annotations

import sys
import tracemalloc
import unicodedata
from typing import Any

import cbor2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quinkgl.wire.cbor import (
    MAX_KEY,
    array_of,
    boolean,
    bstr,
    decode_map_untrusted,
    decode_untrusted,
    encode,
    map_value,
    read_map_untrusted,
    tstr,
    uint,
)
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from quinkgl.wire.limits import LIMITS

MAX_BYTES = 16384


def decode(data: bytes, **changes) -> Any:
    return decode_untrusted(data, **({"max_bytes": MAX_BYTES, "where": "message"} | changes))


def code_of(data: bytes, **changes) -> ErrorCode:
    with pytest.raises(RemoteProtocolError) as caught:
        decode(data, **changes)
    return caught.value.code


def keys_first(value: Any) -> Any:
    """The value as the decoder returns it: tuples are lists, buffers bytes."""
    if isinstance(value, dict):
        return {key: keys_first(item) for key, item in value.items()}
    return [keys_first(item) for item in value] if isinstance(value, (list, tuple)) else value


# --- values ---

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).map(
    lambda text: unicodedata.normalize("NFC", text)
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.integers(0, 300)
    | st.binary(max_size=40)
    | texts
)
keys = st.integers(0, 30) | st.integers(0, MAX_KEY)


def containers(children):
    return st.lists(children, max_size=5) | st.dictionaries(keys, children, max_size=5)


values = st.recursive(scalars, containers, max_leaves=25).filter(lambda value: depth(value) <= 8)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@pytest.mark.req("C-001")
@given(values)
def test_round_trip(value):
    data = encode(value)
    back = decode(data)
    assert back == value
    assert encode(back) == data
    assert cbor2.loads(data) == value  # another library reads the same


@pytest.mark.req("C-001", "C-009")
@given(values)
def test_another_library_makes_the_same_bytes(value):
    assert encode(value) == cbor2.dumps(value, canonical=True)


@given(st.dictionaries(keys, st.integers(0, 9), max_size=8), st.randoms(use_true_random=False))
def test_the_order_in_which_keys_were_inserted_does_not_matter(value, random):
    items = list(value.items())
    random.shuffle(items)
    assert encode(dict(items)) == encode(value)


def test_sequences_buffers_and_enums_are_encoded_as_what_they_are():
    assert encode((1, [b"a", bytearray(b"b"), memoryview(b"c")])) == encode([1, [b"a", b"b", b"c"]])
    assert encode({0: ErrorCode.E_CBOR}) == encode({0: 0x20})
    assert decode(bytearray(b"\x01")) == decode(memoryview(b"\x01")) == 1


# RFC 8949, appendix A: the examples that the profile has.
ACCEPTED = {
    "00": 0,
    "01": 1,
    "0a": 10,
    "17": 23,
    "1818": 24,
    "1819": 25,
    "1864": 100,
    "1903e8": 1000,
    "1a000f4240": 1000000,
    "1b000000e8d4a51000": 1000000000000,
    "1bffffffffffffffff": 18446744073709551615,
    "20": -1,
    "29": -10,
    "3863": -100,
    "3903e7": -1000,
    "3b7fffffffffffffff": -(2**63),
    "f4": False,
    "f5": True,
    "f6": None,
    "40": b"",
    "4401020304": b"\x01\x02\x03\x04",
    "60": "",
    "6161": "a",
    "6449455446": "IETF",
    "62225c": '"\\',
    "62c3bc": "ü",
    "63e6b0b4": "水",
    "64f0908591": "\U00010151",
    "80": [],
    "83010203": [1, 2, 3],
    "8301820203820405": [1, [2, 3], [4, 5]],
    "98190102030405060708090a0b0c0d0e0f101112131415161718181819": list(range(1, 26)),
    "a0": {},
    "a201020304": {1: 2, 3: 4},
}

# The examples that it has not, and other encodings of values that it has.
REFUSED = {
    # floats, RFC 8949 appendix A
    "f90000": ErrorCode.E_SCHEMA,
    "f93c00": ErrorCode.E_SCHEMA,
    "f97e00": ErrorCode.E_SCHEMA,
    "fa47c35000": ErrorCode.E_SCHEMA,
    "fb7e37e43c8800759c": ErrorCode.E_SCHEMA,
    "fb7ff8000000000000": ErrorCode.E_SCHEMA,
    # undefined and unassigned simple values
    "f7": ErrorCode.E_SCHEMA,
    "e0": ErrorCode.E_SCHEMA,
    "f0": ErrorCode.E_SCHEMA,
    "f820": ErrorCode.E_SCHEMA,
    "f8ff": ErrorCode.E_SCHEMA,
    # tags: bignum, date, base64, self-described, shared reference, regular expression, COSE_Sign1
    "c249010000000000000000": ErrorCode.E_SCHEMA,
    "c0": ErrorCode.E_SCHEMA,
    "c11a514b67b0": ErrorCode.E_SCHEMA,
    "d9d9f700": ErrorCode.E_SCHEMA,
    "d81c80": ErrorCode.E_SCHEMA,
    "d82361": ErrorCode.E_SCHEMA,
    "d28443a10127a04040": ErrorCode.E_SCHEMA,
    # integers below -2^63
    "3b8000000000000000": ErrorCode.E_SCHEMA,
    "3bffffffffffffffff": ErrorCode.E_SCHEMA,
    # map keys other than unsigned integers below 2^32
    "a1616100": ErrorCode.E_SCHEMA,
    "a1416100": ErrorCode.E_SCHEMA,
    "a12000": ErrorCode.E_SCHEMA,
    "a1f500": ErrorCode.E_SCHEMA,
    "a18000": ErrorCode.E_SCHEMA,
    "a1c2410100": ErrorCode.E_SCHEMA,
    "a11b000000010000000000": ErrorCode.E_SCHEMA,
    # arguments that are not in their shortest form
    "1800": ErrorCode.E_CBOR_CANON,
    "1817": ErrorCode.E_CBOR_CANON,
    "1900ff": ErrorCode.E_CBOR_CANON,
    "1a0000ffff": ErrorCode.E_CBOR_CANON,
    "1b00000000ffffffff": ErrorCode.E_CBOR_CANON,
    "3817": ErrorCode.E_CBOR_CANON,
    "580161": ErrorCode.E_CBOR_CANON,
    "780161": ErrorCode.E_CBOR_CANON,
    "980100": ErrorCode.E_CBOR_CANON,
    "b8010000": ErrorCode.E_CBOR_CANON,
    "a1180000": ErrorCode.E_CBOR_CANON,
    # key order and duplicates
    "a203040102": ErrorCode.E_CBOR_CANON,
    "a201020103": ErrorCode.E_CBOR_CANON,
    "a2181800171800": ErrorCode.E_CBOR_CANON,
    # indefinite lengths, RFC 8949 appendix A
    "5f42010243030405ff": ErrorCode.E_CBOR_CANON,
    "7f657374726561646d696e67ff": ErrorCode.E_CBOR_CANON,
    "9fff": ErrorCode.E_CBOR_CANON,
    "9f018202039f0405ffff": ErrorCode.E_CBOR_CANON,
    "bf61610161629f0203ffff": ErrorCode.E_CBOR_CANON,
    # text in another normalization form: u and a combining diaeresis
    "6375cc88": ErrorCode.E_CBOR_CANON,
    # not one well-formed item: truncated, trailing bytes, reserved heads, bad UTF-8
    "": ErrorCode.E_CBOR,
    "18": ErrorCode.E_CBOR,
    "1901": ErrorCode.E_CBOR,
    "1a010203": ErrorCode.E_CBOR,
    "1b01020304050607": ErrorCode.E_CBOR,
    "41": ErrorCode.E_CBOR,
    "5bffffffffffffffff": ErrorCode.E_CBOR,
    "7b7fffffffffffffff": ErrorCode.E_CBOR,
    "81": ErrorCode.E_CBOR,
    "9a7fffffff00": ErrorCode.E_CBOR,
    "8258c8" + 200 * "00" + "9904b0" + 1100 * "00": ErrorCode.E_CBOR,
    "a100": ErrorCode.E_CBOR,
    "bb7fffffffffffffff0000": ErrorCode.E_CBOR,
    "f8": ErrorCode.E_CBOR,
    "f93c": ErrorCode.E_CBOR,
    "fb00": ErrorCode.E_CBOR,
    "0000": ErrorCode.E_CBOR,
    "a000": ErrorCode.E_CBOR,
    "1c": ErrorCode.E_CBOR,
    "1f": ErrorCode.E_CBOR,
    "3f": ErrorCode.E_CBOR,
    "5c": ErrorCode.E_CBOR,
    "9e": ErrorCode.E_CBOR,
    "bd": ErrorCode.E_CBOR,
    "df": ErrorCode.E_CBOR,
    "fc": ErrorCode.E_CBOR,
    "fe": ErrorCode.E_CBOR,
    "ff": ErrorCode.E_CBOR,
    "81ff": ErrorCode.E_CBOR,
    "f800": ErrorCode.E_CBOR,
    "f814": ErrorCode.E_CBOR,
    "f81f": ErrorCode.E_CBOR,
    "61ff": ErrorCode.E_CBOR,
    "62c328": ErrorCode.E_CBOR,
    "62c080": ErrorCode.E_CBOR,
    "63eda080": ErrorCode.E_CBOR,
    "64f4908080": ErrorCode.E_CBOR,
}


@pytest.mark.req("C-001")
@pytest.mark.parametrize("data", ACCEPTED)
def test_accepted_encodings(data):
    value = decode(bytes.fromhex(data))
    assert value == ACCEPTED[data]
    assert type(value) is type(ACCEPTED[data])
    assert encode(value).hex() == data


@pytest.mark.req("C-002", "C-003", "C-004", "C-005", "C-006", "C-007", "C-008", "C-014")
@pytest.mark.parametrize("data", REFUSED)
def test_refused_encodings(data):
    assert code_of(bytes.fromhex(data)) is REFUSED[data]


@pytest.mark.req("C-015")
@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("821817f7", ErrorCode.E_CBOR_CANON),  # 23 in two bytes, then undefined
        ("82f71817", ErrorCode.E_SCHEMA),
        ("826375cc88ff", ErrorCode.E_CBOR_CANON),  # text that is not composed, then a break
        ("82ff6375cc88", ErrorCode.E_CBOR),
        ("580a61", ErrorCode.E_CBOR_CANON),  # one string: its head is too long, and it is cut short
        ("62ff", ErrorCode.E_CBOR),  # its length before its content, which is no UTF-8
        ("a2020301f7", ErrorCode.E_CBOR_CANON),  # keys out of order, then a value that is not allowed
    ],
)
def test_the_first_fault_in_the_order_of_the_bytes_is_reported(data, code):
    assert code_of(bytes.fromhex(data)) is code


def test_an_error_names_the_message_and_the_place():
    with pytest.raises(RemoteProtocolError, match=r"peer record.*byte 3.*C-006") as caught:
        decode(b"\x82\x00\xf7", where="peer record")
    assert caught.value.layer == "wire"


# --- limits ---


@pytest.mark.req("C-010")
def test_size_is_checked_at_the_limit_and_one_above():
    data = encode(bytes(100))
    assert decode(data, max_bytes=len(data)) == bytes(100)
    assert code_of(data, max_bytes=len(data) - 1) is ErrorCode.E_TOO_BIG


@pytest.mark.req("C-011")
@pytest.mark.parametrize("opening", [b"\x81", b"\xa1\x00"])
def test_depth_is_checked_at_the_limit_and_one_above(opening):
    assert depth(decode(opening * LIMITS.cbor_depth + b"\x00")) == LIMITS.cbor_depth
    assert code_of(opening * (LIMITS.cbor_depth + 1) + b"\x00") is ErrorCode.E_TOO_BIG
    assert depth(decode(opening * (LIMITS.cbor_depth - 1) + b"\x80")) == LIMITS.cbor_depth


@pytest.mark.req("C-012")
def test_items_are_counted_at_the_limit_and_one_above():
    for most in (LIMITS.cbor_items, 64):
        flat = encode([0] * (most - 1))
        assert decode(flat, max_items=most) == [0] * (most - 1)
        assert code_of(encode([0] * most), max_items=most) is ErrorCode.E_TOO_BIG
    pairs = LIMITS.cbor_items // 2
    assert code_of(encode(dict.fromkeys(range(pairs), 0))) is ErrorCode.E_TOO_BIG
    assert len(decode(encode(dict.fromkeys(range(pairs - 1), 0)))) == pairs - 1
    spread = [[0] * 31 for _ in range(31)]  # 1 + 31 + 31 * 31 items
    assert decode(encode(spread), max_items=993) == spread
    assert code_of(encode(spread), max_items=992) is ErrorCode.E_TOO_BIG


@pytest.mark.req("C-013")
def test_text_is_checked_at_the_limit_and_one_above():
    most = LIMITS.text_bytes
    assert decode(encode("é" * (most // 2))) == "é" * (most // 2)
    assert code_of(b"\x79" + (most + 1).to_bytes(2, "big") + b"a" * (most + 1)) is ErrorCode.E_TOO_BIG
    with pytest.raises(LocalProtocolError, match="257 bytes"):
        encode("a" * (most + 1))


# --- an independent decoder as judge ---


def judge(data: bytes) -> tuple[bool, Any]:
    """Accept by another library's strict switches, a type check, and encoding it back."""

    def plain(value: Any) -> bool:
        if isinstance(value, dict):
            return all(type(key) is int and 0 <= key < 2**32 for key in value) and all(
                map(plain, value.values())
            )
        if isinstance(value, list):
            return all(map(plain, value))
        if type(value) is int:
            return -(2**63) <= value < 2**64
        if type(value) is str:
            return unicodedata.normalize("NFC", value) == value and len(value.encode()) <= 256
        return value is None or type(value) in (bool, bytes)

    try:
        value = cbor2.loads(data, max_depth=8, allow_indefinite=False, allow_duplicate_keys=False)
        return plain(value) and cbor2.dumps(value, canonical=True) == data, value
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError):
        return False, None


def head(major: int, argument: int, extra: int) -> bytes:
    """A head in a form that may be longer than the shortest."""
    for width, (info, size) in enumerate(((None, 0), (24, 1), (25, 2), (26, 4), (27, 8))):
        fits = argument < 24 if info is None else argument < 1 << 8 * size
        if fits and width >= extra:
            first = argument if info is None else info
            return bytes([major << 5 | first]) + (argument.to_bytes(size, "big") if size else b"")
    return bytes([major << 5 | 27]) + argument.to_bytes(8, "big")


@st.composite
def sloppy(draw, children=None):
    """Well-formed items that are mostly in the profile, and sometimes not."""
    extra = draw(st.sampled_from([0, 0, 0, 0, 0, 0, 1, 2]))
    kind = draw(st.sampled_from("uuunbttaammsgi" if children is not None else "uuunbtts"))
    if kind == "u":
        return head(0, draw(st.integers(0, 30) | st.integers(0, 2**64 - 1)), extra)
    if kind == "n":
        return head(1, draw(st.integers(0, 30) | st.integers(2**63 - 2, 2**63 + 2)), extra)
    if kind == "b":
        body = draw(st.binary(max_size=30))
        return head(2, len(body), extra) + body
    if kind == "t":
        body = draw(st.text(max_size=8).map(lambda text: text.encode("utf-8", "surrogatepass")))
        return head(3, len(body), extra) + body
    if kind == "s":
        return draw(st.sampled_from([b"\xf4", b"\xf5", b"\xf6", b"\xf7", b"\xf9\x3c\x00", b"\xf8\x20"]))
    if kind == "g":
        return head(6, draw(st.sampled_from([0, 2, 3, 4, 18, 28, 258])), extra) + draw(children)
    inside = draw(st.lists(children, max_size=4))
    if kind == "i":
        return b"\x9f" + b"".join(inside) + b"\xff"
    if kind == "a":
        return head(4, len(inside), extra) + b"".join(inside)
    order = st.lists(st.integers(0, 40), min_size=len(inside), max_size=len(inside))
    names = draw(order.map(sorted) | order)
    pairs = [head(0, name, 0) + item for name, item in zip(names, inside, strict=True)]
    return head(5, len(inside), extra) + b"".join(pairs)


messages = st.recursive(sloppy(), sloppy, max_leaves=8)


@st.composite
def damaged(draw):
    data = bytearray(draw(messages))
    for _ in range(draw(st.integers(1, 3))):
        if data:
            position = draw(st.integers(0, len(data) - 1))
            data[position] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))]) if draw(st.booleans()) else bytes(data)


@pytest.mark.req("C-001", "C-002", "C-003", "C-004", "C-005", "C-006", "C-007", "C-008")
@settings(max_examples=600, deadline=None)
@given(messages | damaged() | st.binary(max_size=30))
@example(b"\xc2\x41\x01")  # a bignum that the other library reads as 1
def test_accepted_if_and_only_if_the_judge_accepts(data):
    accepted, expected = judge(data)
    if accepted:
        value = decode(data)
        assert value == expected
        assert encode(value) == data
    else:
        code_of(data)


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_one_error_or_are_the_one_encoding(data):
    try:
        value = decode(data)
    except RemoteProtocolError as error:
        assert error.code in {
            ErrorCode.E_CBOR,
            ErrorCode.E_CBOR_CANON,
            ErrorCode.E_SCHEMA,
            ErrorCode.E_TOO_BIG,
        }
    else:
        assert encode(value) == data


@pytest.mark.parametrize("first", range(256))
def test_every_initial_byte_alone_and_with_bytes_behind_it(first):
    for tail in (b"", b"\x00", bytes(9), b"\xff" * 9, bytes(40)):
        data = bytes([first]) + tail
        accepted, expected = judge(data)
        if accepted:
            assert decode(data) == expected
        else:
            code_of(data)


# --- hostile input: work is counted in calls, memory in bytes, never in seconds ---


def calls_of(data: bytes) -> int:
    """Count the calls, Python's and C's, that one decoding makes."""
    count = 0

    def trace(frame, event, argument) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(trace)
    try:
        decode_untrusted(data, max_bytes=1 << 20, where="x")
    except RemoteProtocolError:
        pass
    finally:
        sys.setprofile(None)
    return count


def hostile(size: int) -> dict[str, bytes]:
    """Inputs of about ``size`` bytes that cost some decoders more than their size."""
    colliding = (2**61 - 1).__mul__
    bignums = b"".join(b"\xc2\x49" + colliding(k).to_bytes(9, "big") + b"\x00" for k in range(1, size // 12))
    return {
        "colliding big keys": head(5, size // 12 - 1, 0) + bignums,
        "keys in ascending order": encode(dict.fromkeys(range(size // 4), 0)),
        "nested arrays": b"\x81" * size,
        "nested maps": b"\xa1\x00" * (size // 2),
        "nested indefinite arrays": b"\x9f" * size,
        "nested tags": b"\xc1" * size,
        "empty arrays": head(4, size, 0) + b"\x80" * size,
        "huge string": b"\x5b" + b"\x7f" * 8 + bytes(size),
        "huge text": b"\x7b" + b"\x7f" * 8 + b"a" * size,
        "huge array": b"\x9b" + b"\x7f" * 8 + bytes(size),
        "huge map": b"\xbb" + b"\x7f" * 8 + bytes(size),
        "array of the input's length": head(4, size, 0) + bytes(size),
        "repeated key": head(5, size // 2, 0) + bytes(size),
        "combining characters": head(3, 2 * (size // 2), 0) + "\u0301".encode() * (size // 2),
    }


@pytest.mark.req("C-012", "C-014")
@pytest.mark.parametrize("name", hostile(64))
def test_work_is_bounded_by_the_number_of_items(name):
    """Sixteen times the input costs no more calls than the item budget allows, and mostly none."""
    few, many = calls_of(hostile(1024)[name]), calls_of(hostile(16384)[name])
    assert few <= 8 * LIMITS.cbor_items
    assert many <= 8 * LIMITS.cbor_items
    assert many <= few + 64 or name == "keys in ascending order"


@pytest.mark.req("C-014")
@pytest.mark.parametrize("name", hostile(64))
def test_memory_is_bounded_by_the_input(name):
    data = hostile(16384)[name]
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError):
            decode_untrusted(data, max_bytes=1 << 20, where="x")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 65536 + 8 * len(data)


@pytest.mark.req("C-008")
@pytest.mark.parametrize("multiple", [1, 2, 7, 8])
def test_keys_whose_hashes_collide_are_refused(multiple):
    """hash(n) is n modulo 2^61 - 1: maps of such keys take quadratic time to build."""
    key = multiple * (2**61 - 1)
    assert hash(key) == hash(0)
    assert code_of(b"\xa2\x00\x00\x1b" + key.to_bytes(8, "big") + b"\x00") is ErrorCode.E_SCHEMA


@pytest.mark.req("C-008")
def test_the_largest_key_is_checked_at_the_limit_and_one_above():
    assert decode(b"\xa1\x1a" + b"\xff" * 4 + b"\x00") == {MAX_KEY: 0}
    assert code_of(b"\xa1\x1b" + (MAX_KEY + 1).to_bytes(8, "big") + b"\x00") is ErrorCode.E_SCHEMA


# --- what may not be encoded ---


@pytest.mark.req("C-009")
@pytest.mark.parametrize(
    "value",
    [
        1.0,
        2**64,
        -(2**63) - 1,
        {1, 2},
        object(),
        1j,
        "\ud800",
        "u\u0308",
        {"a": 1},
        {-1: 1},
        {2**32: 1},
        {True: 1},
        {1.0: 1},
        {b"a": 1},
        [[1.5]],
        {1: {2: object()}},
    ],
)
def test_values_outside_the_profile_are_the_callers_mistake(value):
    with pytest.raises(LocalProtocolError) as caught:
        encode(value)
    assert caught.value.code is ErrorCode.E_USAGE


@pytest.mark.req("C-009")
def test_nesting_is_bounded_when_encoding_too():
    value: Any = 0
    for _ in range(LIMITS.cbor_depth):
        value = [value]
    assert decode(encode(value)) == value
    with pytest.raises(LocalProtocolError, match="nested"):
        encode([value])
    circular: list[Any] = []
    circular.append(circular)
    with pytest.raises(LocalProtocolError, match="nested"):
        encode(circular)


# --- schemas ---

FIELDS = {0: uint(5), 1: bstr(1, 4)}


def refuse(value: Any, required=FIELDS, optional=None) -> str:
    with pytest.raises(RemoteProtocolError) as caught:
        read_map_untrusted(value, where="hello", required=required, optional=optional or {})
    assert caught.value.code is ErrorCode.E_SCHEMA
    return str(caught.value)


@pytest.mark.req("C-022", "C-023")
def test_known_fields_come_back_and_unknown_ones_from_64_are_left_out():
    message = {0: 5, 1: b"abcd", 64: 7, 0x1B + 0x1F * 2: [1, {2: 3}], MAX_KEY: None}
    assert read_map_untrusted(message, where="hello", required=FIELDS) == {0: 5, 1: b"abcd"}
    with_optional = read_map_untrusted(
        message | {2: True}, where="hello", required=FIELDS, optional={2: boolean(), 3: uint()}
    )
    assert with_optional == {0: 5, 1: b"abcd", 2: True}


@pytest.mark.req("C-020", "C-021")
def test_a_missing_wrong_or_unknown_key_is_named():
    assert "hello: key 1 is missing" in refuse({0: 1})
    assert "hello: key 0 is not an unsigned integer from 0 to 5" in refuse({0: 6, 1: b"a"})
    assert "hello: unknown key 63" in refuse({0: 1, 1: b"a", 63: 0})
    assert "hello: key 2 is not a boolean" in refuse({0: 1, 1: b"a", 2: 0}, optional={2: boolean()})
    for value in ([], 0, None, b"", "", True):
        assert "hello: not a map" in refuse(value)


@pytest.mark.req("C-020")
@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (uint(5), [0, 5], [-1, 6, True, False, None, b"", "0", [], {}]),
        (uint(5, minimum=2), [2, 5], [1, 6]),
        (uint(), [0, 2**64 - 1], [-1]),
        (bstr(2, 3), [b"ab", b"abc"], [b"a", b"abcd", "ab", 2, None, [b"ab"]]),
        (tstr(3), ["", "abc", "ü"], ["abcd", "üü", b"abc", 0, None]),
        (tstr(), ["a" * LIMITS.text_bytes], [0]),
        (boolean(), [True, False], [0, 1, None, b""]),
        (array_of(uint(5), 2), [[], [0], [5, 5]], [[0, 0, 0], [6], [True], {}, None, b""]),
        (array_of(uint(5), 2, minimum=1), [[0]], [[]]),
        (array_of(array_of(boolean(), 1), 1), [[], [[]], [[True]]], [[[1]], [True]]),
        (
            map_value(2),
            [{}, {0: 1, 1: b"a"}, {63: "a", 64: True}, {0: [1, [b"", "", False]]}, {0: -1}],
            [{0: 1, 1: 1, 2: 1}, {0: None}, {0: {}}, {0: [None]}, {0: [[{}]]}, [], None, 0],
        ),
    ],
)
def test_kinds(kind, good, bad):
    for value in good:
        assert kind(value) is None
        assert read_map_untrusted({7: value}, where="x", required={7: kind}) == {7: value}
    for value in bad:
        assert isinstance(kind(value), str)
        refuse({7: value}, required={7: kind})


def test_the_index_of_a_wrong_element_is_named():
    assert "element 1 is not a boolean" in refuse({0: [True, 1]}, required={0: array_of(boolean(), 3)})


@given(values)
def test_reading_any_value_raises_one_error_or_gives_the_known_fields(value):
    try:
        fields = read_map_untrusted(value, where="x", required={0: uint()}, optional={1: map_value(3)})
    except RemoteProtocolError as error:
        assert error.code is ErrorCode.E_SCHEMA
    else:
        assert fields.keys() <= {0, 1}
        assert all(value[key] == item for key, item in fields.items())


@pytest.mark.req("C-010", "C-020")
def test_decoding_and_reading_in_one_step():
    data = encode({0: 1, 1: b"ab"})
    assert decode_map_untrusted(data, max_bytes=20, where="x", required=FIELDS) == {0: 1, 1: b"ab"}
    for bad in (data + b"\x00", encode({0: 1}), encode([]), bytes(21)):
        with pytest.raises(RemoteProtocolError):
            decode_map_untrusted(bad, max_bytes=20, where="x", required=FIELDS)
