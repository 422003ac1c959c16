"""The tensor format: one encoding for each list of tensors, and one kind of refusal for everything else."""

from __future__ import annotations

import struct
import tracemalloc
from unicodedata import normalize

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from quinkgl.core import TensorSpec
from quinkgl.serialization import decode_tensors_untrusted, encode_tensors, encoded_size, signature
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError

DTYPES = ["float16", "float32", "float64", "int8", "int16", "int32", "int64"]
DTYPES += ["uint8", "uint16", "uint32", "uint64", "bool"]
EXAMPLE = {"b": np.array([1.0, -2.0], np.float32), "n": np.array(7, np.int64)}
EXAMPLE_BYTES = bytes.fromhex(
    "51475431 02000000 22000000 00000000"
    "0100 62 02 01 0200000000000000 4000000000000000"
    "0100 6e 14 00 8000000000000000" + "00" * 14 + "0000803f 000000c0" + "00" * 56 + "0700000000000000"
)

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).map(
    lambda text: normalize("NFC", text)
)
arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(
        np.dtype(dtype), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
    )
)
weights = st.dictionaries(names, arrays, max_size=6)


def decode(data, **options):
    return decode_tensors_untrusted(data, **{"expected": None, "max_bytes": 1 << 20, **options})


def refusal(data, **options):
    with pytest.raises(RemoteProtocolError) as caught:
        decode(data, **options)
    return caught.value.code, caught.value.section


def same(left, right):
    return list(left) == list(right) and all(
        left[name].dtype.name == right[name].dtype.name
        and left[name].shape == right[name].shape
        and left[name].tobytes() == right[name].tobytes()
        for name in left
    )


@given(weights)
def test_what_is_encoded_comes_back_bit_for_bit(given_weights):
    data = encode_tensors(given_weights)
    assert len(data) == encoded_size(signature(given_weights))
    back = decode(data, expected=signature(given_weights), allow_nonfinite=True)
    assert same(given_weights, back)
    assert encode_tensors(back) == data
    assert not any(array.flags.writeable for array in back.values())


@pytest.mark.req("W-010")
def test_the_example_of_the_specification():
    assert encode_tensors(EXAMPLE) == EXAMPLE_BYTES
    assert same(decode(EXAMPLE_BYTES), EXAMPLE)


def test_no_tensors_are_a_header_alone():
    assert encode_tensors({}) == struct.pack("<4sIII", b"QGT1", 0, 0, 0)
    assert decode(encode_tensors({})) == {}


@settings(max_examples=300)
@given(weights, st.data())
def test_a_changed_byte_is_refused_or_means_something_else(given_weights, data):
    encoded = bytearray(encode_tensors(given_weights))
    position = data.draw(st.integers(0, len(encoded) - 1))
    encoded[position] ^= data.draw(st.integers(1, 255))
    try:
        back = decode(bytes(encoded), allow_nonfinite=True)
    except RemoteProtocolError as error:
        assert error.code in (ErrorCode.E_OBJ_LAYOUT, ErrorCode.E_OBJ_SIZE, ErrorCode.E_OBJ_VALUE)
    else:
        assert encode_tensors(back) == bytes(encoded)


@given(weights, st.data())
def test_a_piece_of_an_object_is_refused(given_weights, data):
    encoded = encode_tensors(given_weights)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    code, _ = refusal(encoded[:cut], allow_nonfinite=True)
    assert code in (ErrorCode.E_OBJ_LAYOUT, ErrorCode.E_OBJ_SIZE)


@settings(max_examples=300)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_decoded_or_refused_with_the_one_exception(tail, with_magic):
    data = (b"QGT1" if with_magic else b"") + tail
    try:
        back = decode(data, allow_nonfinite=True)
    except RemoteProtocolError:
        return
    assert encode_tensors(back) == data


def header(count=1, table=b"", reserved=0, magic=b"QGT1", table_bytes=None):
    return (
        struct.pack("<4sIII", magic, count, len(table) if table_bytes is None else table_bytes, reserved)
        + table
    )


def entry(name=b"w", dtype=2, shape=(1,), offset=64):
    packed = struct.pack("<H", len(name)) + name + struct.pack("<BB", dtype, len(shape))
    return packed + struct.pack(f"<{len(shape)}QQ", *shape, offset)


def with_body(table, body=b"\0" * 4, count=1):
    return (header(count, table) + bytes(48))[:64] + body


LAYOUT, SIZE, VALUE = ErrorCode.E_OBJ_LAYOUT, ErrorCode.E_OBJ_SIZE, ErrorCode.E_OBJ_VALUE

HOSTILE = {
    "T-001 nothing": (b"", LAYOUT, "T-001"),
    "T-001 15 bytes": (EXAMPLE_BYTES[:15], LAYOUT, "T-001"),
    "T-001 another magic": (header(0, magic=b"QGT2"), LAYOUT, "T-001"),
    "T-001 reserved field in use": (header(0, reserved=1), LAYOUT, "T-001"),
    "T-002 table longer than the object": (header(0, table_bytes=1), LAYOUT, "T-002"),
    "T-002 more entries than fit": (header(2, entry()) + bytes(100), LAYOUT, "T-002"),
    "T-002 four billion entries": (header(0xFFFFFFFF, bytes(100)), LAYOUT, "T-002"),
    "T-002 table ends in an entry": (header(1, entry()[:-1]) + bytes(100), LAYOUT, "T-002"),
    "T-002 bytes after the last entry": (with_body(entry() + b"\0"), LAYOUT, "T-002"),
    "T-003 empty name": (with_body(entry(name=b"") + b"\0"), LAYOUT, "T-003"),
    "T-003 name beyond the table": (header(1, struct.pack("<H", 200) + bytes(20)), LAYOUT, "T-003"),
    "T-003 name of 257 bytes": (header(1, entry(name=b"x" * 257)), LAYOUT, "T-003"),
    "T-003 not UTF-8": (with_body(entry(name=b"\xff")), LAYOUT, "T-003"),
    "T-003 not in form C": (with_body(entry(name=b"e\xcc\x81")), LAYOUT, "T-003"),
    "T-004 a name twice": (with_body(entry(shape=(0,)) + entry(shape=(0,)), b"", 2), LAYOUT, "T-004"),
    "T-005 dtype 0": (with_body(entry(dtype=0)), LAYOUT, "T-005"),
    "T-005 dtype bfloat16": (with_body(entry(dtype=4)), LAYOUT, "T-005"),
    "T-006 nine dimensions": (header(1, entry(shape=(1,) * 9)) + bytes(100), LAYOUT, "T-006"),
    "T-006 a shape beyond counting": (
        header(1, entry(shape=(0, 2**30, 2**30))) + bytes(100),
        LAYOUT,
        "T-006",
    ),
    "T-007 body inside the table": (with_body(entry(offset=0)), LAYOUT, "T-007"),
    "T-007 body not aligned": (with_body(entry(offset=65)), LAYOUT, "T-007"),
    "T-007 a gap": (with_body(entry(offset=128), bytes(68)), LAYOUT, "T-007"),
    "T-007 bodies overlap": (
        (header(2, entry(shape=(2,), offset=128) + entry(name=b"v", offset=128)) + bytes(128))[:128]
        + bytes(8),
        LAYOUT,
        "T-007",
    ),
    "T-008 padding in use": (with_body(entry())[:50] + b"\1" + with_body(entry())[51:], LAYOUT, "T-008"),
    "T-009 a byte too many": (EXAMPLE_BYTES + b"\0", SIZE, "T-009"),
    "T-009 a byte too few": (EXAMPLE_BYTES[:-1], SIZE, "T-009"),
    "T-009 a body larger than the object": (with_body(entry(shape=(2**40,))), SIZE, "T-009"),
    "T-009 an empty body beyond the end": (header(1, entry(shape=(0,))), SIZE, "T-009"),
    "T-011 a bool of 2": (with_body(entry(dtype=0x31), b"\2"), VALUE, "T-011"),
    "T-022 NaN": (with_body(entry(), struct.pack("<f", float("nan"))), VALUE, "T-022"),
    "T-022 infinity": (with_body(entry(), struct.pack("<f", float("-inf"))), VALUE, "T-022"),
}


@pytest.mark.req(
    "T-001", "T-002", "T-003", "T-004", "T-005", "T-006", "T-007", "T-008", "T-009", "T-011", "T-022"
)
@pytest.mark.parametrize(("data", "code", "section"), HOSTILE.values(), ids=HOSTILE)
def test_each_rule_is_enforced_under_its_number(data, code, section):
    assert refusal(data) == (code, section)


@pytest.mark.req("T-020")
def test_an_object_over_the_limit_is_refused_unseen():
    """T-020."""
    assert refusal(b"x" * 101, max_bytes=100) == (SIZE, "T-020")
    assert decode(EXAMPLE_BYTES, max_bytes=len(EXAMPLE_BYTES))


@pytest.mark.req("T-021")
@pytest.mark.parametrize(
    "expected",
    [
        {"b": np.zeros(2, np.float32)},
        {"b": np.zeros(3, np.float32), "n": np.array(0)},
        {"b": np.zeros(2, np.float64), "n": np.array(0)},
        {"n": np.array(0), "b": np.zeros(2, np.float32)},
    ],
    ids=["unknown", "shape", "dtype", "order"],
)
def test_other_tensors_than_the_expected_ones_are_refused(expected):
    """T-021."""
    assert refusal(EXAMPLE_BYTES, expected=signature(expected)) == (LAYOUT, "T-021")


@pytest.mark.req("T-022")
def test_nonfinite_values_pass_where_the_policy_allows_them():
    values = {"w": np.array([np.nan, np.inf, -np.inf], np.float16)}
    assert same(decode(encode_tensors(values), allow_nonfinite=True), values)


@pytest.mark.req("T-022")
def test_a_nonfinite_value_far_inside_a_large_tensor_is_found():
    values = np.zeros(200_001, np.float32)
    values[-1] = np.nan
    assert refusal(encode_tensors({"w": values})) == (VALUE, "T-022")


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_arrays_are_read_only_views_where_the_address_suits(make):
    encoded = make(encode_tensors({"w": np.arange(1000, dtype=np.float64)}))
    back = decode(encoded)["w"]
    assert np.shares_memory(back, np.frombuffer(encoded, np.uint8))
    with pytest.raises(ValueError, match="read-only"):
        back[0] = 1


def test_an_object_at_an_odd_address_is_read_all_the_same():
    values = {"w": np.arange(10, dtype=np.float64), "c": np.arange(3, dtype=np.uint8)}
    odd = memoryview(b"x" + encode_tensors(values))[1:]
    back = decode(odd)
    assert same(back, values)
    assert back["w"].flags.aligned


def test_arrays_of_any_layout_are_encoded_in_c_order():
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    plain = encode_tensors({"w": np.ascontiguousarray(base[::2, ::3].T)})
    assert encode_tensors({"w": base[::2, ::3].T}) == plain
    assert encode_tensors({"w": base[::2, ::3].T.astype(">f4")}) == plain


def test_encoding_allocates_the_object_and_little_more():
    weights = {f"w{number}": np.zeros(250_000, np.float32) for number in range(8)}
    size = encoded_size(signature(weights))
    tracemalloc.start()
    data = encode_tensors(weights)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(data) == size
    assert peak < size + 64 * 1024


def test_decoding_allocates_little_beside_the_object():
    data = encode_tensors({f"w{number}": np.zeros(250_000, np.float32) for number in range(8)})
    tracemalloc.start()
    decode(data, max_bytes=len(data))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 512 * 1024


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        ({"w": np.zeros(1, np.complex64)}, "tensor 'w' has dtype complex64"),
        ({"w": np.array(["a"])}, "has dtype str"),
        ({"w": np.array([None])}, "has dtype object"),
        ({"": np.zeros(1)}, "tensor name ''"),
        ({"x" * 257: np.zeros(1)}, "1 to 256 bytes"),
        ({"e\u0301": np.zeros(1)}, "NFC"),
        ({"\ud800": np.zeros(1)}, "not valid Unicode"),
        ({"w": np.zeros((1,) * 9)}, "has 9 dimensions"),
        ({"w": np.zeros((0, 2**25, 2**25), np.int8)}, "too large"),
    ],
)
def test_what_the_format_does_not_have_is_named(bad, text):
    with pytest.raises(ValueError, match=text):
        encode_tensors(bad)


def test_signatures_that_cannot_be_encoded_are_refused():
    with pytest.raises(ValueError, match="must differ"):
        encoded_size((TensorSpec("w", "int8", ()), TensorSpec("w", "int8", ())))
    with pytest.raises(ValueError, match="at most 65536"):
        encoded_size((TensorSpec("w", "int8", ()),) * 65537)
