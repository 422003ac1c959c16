"""The family of tensor objects (chapter 9b), with a reader of its own: the second implementation has none."""

from __future__ import annotations

import unicodedata
from math import prod

from ref import SpecError

from .family import HEX, NUM, TEXT, Family, Json, array, record

DTYPES: dict[int, tuple[str, int, int]] = {
    0x01: ("float16", 2, 0x7C00),
    0x02: ("float32", 4, 0x7F800000),
    0x03: ("float64", 8, 0x7FF0000000000000),
    **{0x11 + n: (f"int{8 << n}", 1 << n, 0) for n in range(4)},
    **{0x21 + n: (f"uint{8 << n}", 1 << n, 0) for n in range(4)},
    0x31: ("bool", 1, 0),
}
CODES = {name: (code, size) for code, (name, size, _) in DTYPES.items()}

tensors = Family(
    "tensors",
    "Tensor objects: the table, the bodies, what a reader refuses (chapter 9b).",
    "`decode`: read the bytes as a tensor object with at most `max_bytes` bytes (where it is absent, of "
    "any size), as a reader that knows no model and "
    "allows neither NaN nor infinities. Compare names, dtypes, shapes and elements (little-endian, as they "
    "stand), and write the same list of "
    "tensors again.",
)
TENSOR = record(name=TEXT, dtype=TEXT, shape=array(NUM), elements=HEX)


def layout(condition: object, why: str, code: str = "E_OBJ_LAYOUT") -> None:
    """Refuse what breaks a rule of the layout."""
    if not condition:
        raise SpecError(code, why)


def read_entry(table: bytes, at: int) -> tuple[str, str, list[int], int, int]:
    """Return name, dtype, shape and offset of the entry at a place of the table, and where it ends."""

    def take(count: int) -> bytes:
        nonlocal at
        layout(at + count <= len(table), "the table ends inside an entry (T-002)")
        at += count
        return table[at - count : at]

    length = int.from_bytes(take(2), "little")
    layout(1 <= length <= 256, "a name of 0 or of more than 256 bytes (T-003)")
    try:
        name = take(length).decode()
    except UnicodeDecodeError as error:
        raise SpecError("E_OBJ_LAYOUT", "a name that is not UTF-8 (T-003)") from error
    layout(unicodedata.is_normalized("NFC", name), "a name that is not in form C (T-003)")
    code, dimensions = take(2)
    layout(code in DTYPES, "an unknown dtype (T-005)")
    layout(dimensions <= 8, "more than 8 dimensions (T-006)")
    shape = [int.from_bytes(take(8), "little") for _ in range(dimensions)]
    layout(prod(size for size in shape if size) <= 2**48, "too many elements (T-006)")
    return name, DTYPES[code][0], shape, int.from_bytes(take(8), "little"), at


@tensors.op(
    "decode",
    "bytes to tensors",
    takes=record(bytes=HEX, max_bytes_=NUM),
    gives=record(tensors=array(TENSOR), bytes=HEX),
)
def _decode(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    data = bytes.fromhex(given["bytes"])
    layout(len(data) <= given.get("max_bytes", len(data)), "larger than the limit (T-020)", "E_OBJ_SIZE")
    layout(len(data) >= 16 and data[:4] == b"QGT1" and not any(data[12:16]), "no header (T-001)")
    count, size = (int.from_bytes(data[at : at + 4], "little") for at in (4, 8))
    layout(count <= 65536 and 16 + size <= len(data), "a table that is not inside the object (T-002)")
    table, at, end, rows = data[16 : 16 + size], 0, 16 + size, []
    for _ in range(count):
        name, dtype, shape, offset, at = read_entry(table, at)
        layout(offset == -(-end // 64) * 64, "an offset that does not follow from the table (T-007)")
        rows.append((name, dtype, shape, offset, end))
        end = offset + prod(shape) * CODES[dtype][1]
    layout(at == size, "bytes behind the last entry (T-002)")
    layout(len({row[0] for row in rows}) == len(rows), "two equal names (T-004)")
    layout(len(data) == end, "the object does not end with its last body (T-009)", "E_OBJ_SIZE")
    found = []
    for name, dtype, shape, offset, before in rows:
        layout(not any(data[before:offset]), "padding that is not zero (T-008)")
        body = data[offset : offset + prod(shape) * CODES[dtype][1]]
        check_values(dtype, body)
        found.append({"name": name, "dtype": dtype, "shape": shape, "elements": body})
    return {}, {"tensors": found, "bytes": encode(found)}


def check_values(dtype: str, body: bytes) -> None:
    """Refuse NaN, infinities, and booleans that are neither false nor true."""
    code, size = CODES[dtype]
    if dtype == "bool":
        layout(max(body, default=0) <= 1, "a bool that is neither 0 nor 1 (T-011)", "E_OBJ_VALUE")
    special = DTYPES[code][2]
    for at in range(0, len(body) if special else 0, size):
        element = int.from_bytes(body[at : at + size], "little")
        layout(element & special != special, "NaN or an infinity (T-022)", "E_OBJ_VALUE")


def encode(found: list[dict[str, Json]]) -> bytes:
    """Return the one encoding of a list of tensors."""
    rows = [
        (each["name"].encode(), CODES[each["dtype"]][0], each["shape"], each["elements"]) for each in found
    ]
    table_bytes = sum(2 + len(name) + 2 + 8 * len(shape) + 8 for name, _, shape, _ in rows)
    table, bodies = b"", b""
    start = 16 + table_bytes
    for name, code, shape, body in rows:
        bodies += bytes(-(start + len(bodies)) % 64)
        table += len(name).to_bytes(2, "little") + name + bytes([code, len(shape)])
        table += b"".join(size.to_bytes(8, "little") for size in shape) + (start + len(bodies)).to_bytes(
            8, "little"
        )
        bodies += body
    return (
        b"QGT1"
        + len(rows).to_bytes(4, "little")
        + table_bytes.to_bytes(4, "little")
        + bytes(4)
        + table
        + bodies
    )


def tensor(name: str, dtype: str, shape: list[int], elements: bytes) -> dict[str, Json]:
    """Return a tensor for the encoder."""
    return {"name": name, "dtype": dtype, "shape": shape, "elements": elements}


EXAMPLE = encode(
    [
        tensor("b", "float32", [2], bytes.fromhex("0000803f000000c0")),
        tensor("n", "int64", [], bytes.fromhex("0700000000000000")),
    ]
)
for _slug, _list in (
    ("none", []),
    ("scalar", [tensor("x", "uint8", [], b"\x07")]),
    (
        "every-dtype",
        [
            tensor(f"t{code:02x}", name, [2], bytes([1, 0] * size)[: 2 * size])
            for code, (name, size, _) in DTYPES.items()
            if name != "bool"
        ],
    ),
    ("bool", [tensor("mask", "bool", [4], b"\x00\x01\x01\x00")]),
    ("empty-tensor", [tensor("e", "float32", [3, 0, 2], b""), tensor("f", "int8", [1], b"\xff")]),
    (
        "names",
        [
            tensor("ü", "int8", [1], b"\x01"),
            tensor("a" * 256, "int8", [1], b"\x02"),
            tensor("A", "int8", [1], b"\x03"),
        ],
    ),
    ("eight-dimensions", [tensor("d", "uint16", [1, 1, 1, 2, 1, 1, 1, 1], b"\x01\x00\x02\x00")]),
    (
        "largest-finite",
        [
            tensor("h", "float16", [2], bytes.fromhex("ff7bfffb")),
            tensor("s", "float32", [1], bytes.fromhex("ffff7f7f")),
        ],
    ),
):
    tensors.valid(_slug, "decode", "T-001 T-002 T-007 T-009", bytes=encode(_list))
tensors.valid("example", "decode", "T-001 T-007 T-008", "the example of the chapter", bytes=EXAMPLE)


def changed(at: int, data: str, base: bytes = EXAMPLE) -> bytes:
    """Return the example with some bytes replaced."""
    new = bytes.fromhex(data)
    return base[:at] + new + base[at + len(new) :]


# The example: table at 16, entries at 16 and 37, padding from 50, bodies at 64 and 128, 136 bytes in all.
CASES: tuple[tuple[str, str, str, str, bytes], ...] = (
    ("nothing", "E_OBJ_LAYOUT", "T-001", "no bytes", b""),
    ("15-bytes", "E_OBJ_LAYOUT", "T-001", "a header of 15 bytes", EXAMPLE[:15]),
    ("magic", "E_OBJ_LAYOUT", "T-001", "another magic", changed(3, "32")),
    ("reserved", "E_OBJ_LAYOUT", "T-001", "the reserved field is not zero", changed(12, "01")),
    (
        "table-beyond",
        "E_OBJ_LAYOUT",
        "T-002",
        "a table that is longer than the object",
        changed(8, "79000000"),
    ),
    ("table-huge", "E_OBJ_LAYOUT", "T-002", "a table of 4 GiB", changed(8, "ffffffff")),
    (
        "table-cut",
        "E_OBJ_LAYOUT",
        "T-002",
        "a table that ends inside its second entry",
        changed(8, "21000000"),
    ),
    (
        "count-less",
        "E_OBJ_LAYOUT",
        "T-002",
        "one entry is announced, and there are two",
        changed(4, "01000000"),
    ),
    (
        "count-more",
        "E_OBJ_LAYOUT",
        "T-002",
        "three entries are announced, and there are two",
        changed(4, "03000000"),
    ),
    ("count-65537", "E_OBJ_LAYOUT", "T-002", "65,537 tensors", changed(4, "01000100")),
    ("name-empty", "E_OBJ_LAYOUT", "T-003", "a name of 0 bytes", changed(16, "0000")),
    (
        "name-257",
        "E_OBJ_LAYOUT",
        "T-003",
        "a name of 257 bytes",
        encode([tensor("a" * 257, "int8", [1], b"\x01")]),
    ),
    ("name-not-utf-8", "E_OBJ_LAYOUT", "T-003", "a name that is not UTF-8", changed(18, "ff")),
    (
        "name-not-composed",
        "E_OBJ_LAYOUT",
        "T-003",
        "u and a combining diaeresis",
        encode([tensor("u\u0308", "int8", [1], b"\x01")]),
    ),
    ("name-twice", "E_OBJ_LAYOUT", "T-004", "two tensors of one name", changed(39, "62")),
    ("dtype-0", "E_OBJ_LAYOUT", "T-005", "the dtype 0x00", changed(19, "00")),
    ("dtype-unknown", "E_OBJ_LAYOUT", "T-005", "an unassigned dtype", changed(19, "15")),
    (
        "nine-dimensions",
        "E_OBJ_LAYOUT",
        "T-006",
        "nine dimensions",
        encode([tensor("d", "int8", [1] * 9, b"\x01")]),
    ),
    ("elements-2-48", "E_OBJ_LAYOUT", "T-006", "2^48 + 1 elements", changed(21, "0100000000000100")),
    (
        "elements-beside-zero",
        "E_OBJ_LAYOUT",
        "T-006",
        "dimensions that are not zero have a product above 2^48",
        encode([tensor("d", "int8", [2**48, 2, 0], b"")]),
    ),
    (
        "offset-first",
        "E_OBJ_LAYOUT",
        "T-007",
        "the first offset is a multiple of 64 too far",
        changed(29, "80"),
    ),
    ("offset-unaligned", "E_OBJ_LAYOUT", "T-007", "an offset right behind the table", changed(29, "32")),
    (
        "offset-overlap",
        "E_OBJ_LAYOUT",
        "T-007",
        "the second body at the place of the first",
        changed(42, "40"),
    ),
    ("offset-huge", "E_OBJ_LAYOUT", "T-007", "an offset of 2^63", changed(42, "0000000000000080")),
    ("padding-first", "E_OBJ_LAYOUT", "T-008", "padding behind the table is not zero", changed(50, "01")),
    (
        "padding-between",
        "E_OBJ_LAYOUT",
        "T-008",
        "padding between the bodies is not zero",
        changed(127, "01"),
    ),
    ("size-less", "E_OBJ_SIZE", "T-009", "the last byte is missing", EXAMPLE[:-1]),
    ("size-more", "E_OBJ_SIZE", "T-009", "a byte follows the last body", EXAMPLE + b"\0"),
    ("size-no-bodies", "E_OBJ_SIZE", "T-009", "no bodies at all", EXAMPLE[:50]),
    ("bool-2", "E_OBJ_VALUE", "T-011", "a bool of 2", encode([tensor("m", "bool", [2], b"\x01\x02")])),
    ("nan-float32", "E_OBJ_VALUE", "T-022", "not a number", changed(64, "0000c07f")),
    ("infinity-float32", "E_OBJ_VALUE", "T-022", "an infinity", changed(68, "0000807f")),
    (
        "minus-infinity-float16",
        "E_OBJ_VALUE",
        "T-022",
        "an infinity below zero",
        encode([tensor("h", "float16", [1], bytes.fromhex("00fc"))]),
    ),
    (
        "nan-float64",
        "E_OBJ_VALUE",
        "T-022",
        "a NaN with its lowest bit alone",
        encode([tensor("d", "float64", [1], bytes.fromhex("010000000000f07f"))]),
    ),
)
for _slug, _code, _rules, _why, _data in CASES:
    tensors.invalid(_slug, "decode", _code, _rules, _why, bytes=_data)
tensors.invalid(
    "too-large", "decode", "E_OBJ_SIZE", "T-020", "one byte more than the limit", bytes=EXAMPLE, max_bytes=135
)
tensors.invalid(
    "too-large-unread",
    "decode",
    "E_OBJ_SIZE",
    "T-020",
    "too large, and no tensor object at all",
    bytes=bytes(20),
    max_bytes=19,
)

FAMILIES = (tensors,)
