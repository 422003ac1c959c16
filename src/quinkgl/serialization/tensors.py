"""The flat tensor format (``spec/09b-tensors.md``): one table, then raw bodies.

A table of names, dtypes, shapes and offsets, then each tensor's elements in C order, little-endian, every
body at a multiple of 64 bytes. Weights in an order have exactly one encoding, so a hash over the object is a
hash over the weights; there is nothing to execute in it, and nothing in it can make a reader allocate more
than the object itself.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from unicodedata import is_normalized

import numpy as np
from numpy.typing import NDArray

from quinkgl.core.weights import Signature, TensorSpec, Weights, signature, signature_difference
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.spec_data import load

Buffer: TypeAlias = bytes | bytearray | memoryview

_SPEC: Final = load("tensors")
_FORMAT: Final[dict[str, Any]] = _SPEC["format"]
MAGIC: Final[bytes] = _FORMAT["magic"].encode("ascii")
ALIGNMENT_BYTES: Final[int] = _FORMAT["alignment_bytes"]
MAX_TENSORS: Final[int] = _FORMAT["max_tensors"]
MAX_NAME_BYTES: Final[int] = _FORMAT["max_name_bytes"]
MAX_DIMENSIONS: Final[int] = _FORMAT["max_dimensions"]
MAX_ELEMENTS: Final[int] = _FORMAT["max_elements"]

_CODES: Final[dict[str, int]] = {name: entry["code"] for name, entry in _SPEC["dtypes"].items()}
_DTYPES: Final[dict[int, np.dtype[Any]]] = {
    code: np.dtype(name).newbyteorder("<") for name, code in _CODES.items()
}
_HEADER: Final = struct.Struct("<4sIII")  # magic, tensors, bytes of the table, zero
_NAME: Final = struct.Struct("<H")
_KIND: Final = struct.Struct("<BB")  # dtype, dimensions
_OFFSET: Final = struct.Struct("<Q")
_LEAST_ENTRY_BYTES: Final = _NAME.size + 1 + _KIND.size + _OFFSET.size
_PADDING: Final = bytes(ALIGNMENT_BYTES - 1)
_BLOCK: Final = 1 << 16
"""Elements looked at in one go, so that a check needs little memory beside the tensor."""

if any(_DTYPES[entry["code"]].itemsize != entry["bytes"] for entry in _SPEC["dtypes"].values()):
    raise ImportError("spec/tensors.toml and NumPy disagree about the size of a dtype")


@dataclass(frozen=True, slots=True)
class _Entry:
    """One row of the table; ``offset`` counts from the start of the object."""

    spec: TensorSpec
    dtype: np.dtype[Any]
    offset: int

    @property
    def bytes(self) -> int:
        return math.prod(self.spec.shape) * self.dtype.itemsize

    @property
    def end(self) -> int:
        return self.offset + self.bytes


def encode_tensors(weights: Weights) -> bytes:
    """Return the encoding of weights: one allocation of the exact size, each body copied once into it.

    Order is that of the mapping. An array that is not contiguous or not little-endian is copied once more.
    ``decode_tensors_untrusted`` gives equal arrays back, bit for bit.

    Raises:
        ValueError: a dtype, name, shape or number of tensors that the format does not have; it names the
            tensor.
    """
    entries, table = _layout(signature(weights))
    parts: list[Any] = [_HEADER.pack(MAGIC, len(entries), len(table), 0), table]
    end = _HEADER.size + len(table)
    for entry, array in zip(entries, weights.values(), strict=True):
        parts.append(_PADDING[: entry.offset - end])
        parts.append(np.ascontiguousarray(array, entry.dtype).reshape(-1).view(np.uint8))
        end = entry.end
    return b"".join(parts)


def encoded_size(expected: Signature) -> int:
    """Return how many bytes weights of this signature take.

    Raises:
        ValueError: the format does not have such weights; it names the tensor.
    """
    entries, table = _layout(expected)
    return entries[-1].end if entries else _HEADER.size + len(table)


def decode_tensors_untrusted(
    data: Buffer,
    *,
    expected: Signature | None,
    max_bytes: int,
    allow_nonfinite: bool = False,
) -> dict[str, NDArray[Any]]:
    """Read weights from bytes that anybody may have made.

    Args:
        data: the object. It must not change while the arrays are in use.
        expected: the signature that the weights must have, order included; None takes any.
        max_bytes: the largest object to look at.
        allow_nonfinite: take NaN and infinity too.

    Returns:
        Read-only arrays by name, in the table's order: views of ``data``, or copies where its address does
        not suit a dtype. Little-endian, which is NumPy's native order on all but a few machines.

    Raises:
        RemoteProtocolError: E_OBJ_SIZE for an object that is too large or whose length is not what its table
            says, E_OBJ_LAYOUT for a table that breaks a rule or is not the expected one, E_OBJ_VALUE for a
            forbidden value. Nothing else, whatever the bytes. Time and memory are linear in ``len(data)``.
    """
    view = memoryview(data).cast("B")
    if len(view) > max_bytes:
        raise _fault(ErrorCode.E_OBJ_SIZE, f"{len(view)} bytes where {max_bytes} are allowed", "T-020")
    entries, table_end = _read_table_untrusted(view)
    if expected is not None:
        difference = signature_difference(expected, tuple(entry.spec for entry in entries))
        if difference is not None:
            raise _fault(ErrorCode.E_OBJ_LAYOUT, f"not the expected tensors: {difference}", "T-021")
    _check_bounds_untrusted(view, entries, table_end)
    flat = np.frombuffer(view, np.uint8)
    return {entry.spec.name: _body_untrusted(flat, entry, allow_nonfinite) for entry in entries}


# --- writing ---


def _layout(specs: Signature) -> tuple[list[_Entry], bytes]:
    """Return where each body goes, and the encoded table."""
    if len(specs) > MAX_TENSORS:
        raise ValueError(f"{len(specs)} tensors; the tensor format has at most {MAX_TENSORS}")
    names = [_encode_name(spec.name) for spec in specs]
    if len({*names}) != len(names):
        raise ValueError("tensor names must differ from each other")
    fixed = _NAME.size + _KIND.size + _OFFSET.size
    end = _HEADER.size + sum(
        fixed + len(name) + 8 * len(spec.shape) for name, spec in zip(names, specs, strict=True)
    )
    entries: list[_Entry] = []
    rows: list[bytes] = []
    for name, spec in zip(names, specs, strict=True):
        code = _CODES.get(spec.dtype)
        if code is None:
            raise ValueError(f"tensor {spec.name!r} has dtype {spec.dtype}; possible are {', '.join(_CODES)}")
        if len(spec.shape) > MAX_DIMENSIONS:
            raise ValueError(
                f"tensor {spec.name!r} has {len(spec.shape)} dimensions, at most {MAX_DIMENSIONS}"
            )
        if _extent(spec.shape) > MAX_ELEMENTS:
            raise ValueError(f"tensor {spec.name!r} has the shape {list(spec.shape)}, which is too large")
        entry = _Entry(spec, _DTYPES[code], _aligned(end))
        end = entry.end
        entries.append(entry)
        shape = struct.pack(f"<{len(spec.shape)}Q", *spec.shape)
        rows.append(
            _NAME.pack(len(name))
            + name
            + _KIND.pack(code, len(spec.shape))
            + shape
            + _OFFSET.pack(entry.offset)
        )
    return entries, b"".join(rows)


def _encode_name(name: str) -> bytes:
    try:
        encoded = name.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"tensor name {name!r} is not valid Unicode") from None
    if not 1 <= len(encoded) <= MAX_NAME_BYTES or not is_normalized("NFC", name):
        raise ValueError(f"tensor name {name!r} is not 1 to {MAX_NAME_BYTES} bytes of NFC text")
    return encoded


def _extent(shape: tuple[int, ...]) -> int:
    """The product of the dimensions that are not zero: what array libraries must be able to count."""
    return math.prod(size for size in shape if size)


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


# --- reading ---


def _fault(code: ErrorCode, message: str, section: str) -> RemoteProtocolError:
    return RemoteProtocolError(code, f"tensors: {message}", layer="serialization", section=section)


def _read_table_untrusted(view: memoryview) -> tuple[list[_Entry], int]:
    """Return the rows and where the table ends; checks all that can be said without the bodies."""
    if len(view) < _HEADER.size:
        raise _fault(ErrorCode.E_OBJ_LAYOUT, f"{len(view)} bytes are no header", "T-001")
    magic, count, table_bytes, reserved = _HEADER.unpack_from(view)
    if magic != MAGIC or reserved:
        raise _fault(ErrorCode.E_OBJ_LAYOUT, "not this format, or not this version of it", "T-001")
    end = _HEADER.size + table_bytes
    if count > MAX_TENSORS or count * _LEAST_ENTRY_BYTES > table_bytes or end > len(view):
        raise _fault(ErrorCode.E_OBJ_LAYOUT, f"{count} tensors in a table of {table_bytes} bytes", "T-002")
    table = bytes(view[_HEADER.size : end])
    try:
        entries = list(_rows_untrusted(table, count))
    except struct.error:
        raise _fault(ErrorCode.E_OBJ_LAYOUT, "the table ends inside an entry", "T-002") from None
    if len({entry.spec.name for entry in entries}) != count:
        raise _fault(ErrorCode.E_OBJ_LAYOUT, "two tensors have the same name", "T-004")
    return entries, end


def _rows_untrusted(table: bytes, count: int) -> Iterator[_Entry]:
    """Yield the rows; ``struct.error`` where the table ends too early."""
    at = 0
    for _ in range(count):
        (length,) = _NAME.unpack_from(table, at)
        at += _NAME.size
        name = _name_untrusted(table[at : at + length], length)
        at += length
        code, dimensions = _KIND.unpack_from(table, at)
        at += _KIND.size
        dtype = _DTYPES.get(code)
        if dtype is None:
            raise _fault(ErrorCode.E_OBJ_LAYOUT, f"{name!r} has the unknown dtype 0x{code:02x}", "T-005")
        if dimensions > MAX_DIMENSIONS:
            raise _fault(ErrorCode.E_OBJ_LAYOUT, f"{name!r} has {dimensions} dimensions", "T-006")
        shape = struct.unpack_from(f"<{dimensions}Q", table, at)
        at += 8 * dimensions
        if _extent(shape) > MAX_ELEMENTS:
            raise _fault(ErrorCode.E_OBJ_LAYOUT, f"{name!r} has an impossible shape", "T-006")
        (offset,) = _OFFSET.unpack_from(table, at)
        at += _OFFSET.size
        yield _Entry(TensorSpec(name, dtype.name, shape), dtype, offset)
    if at != len(table):
        raise _fault(ErrorCode.E_OBJ_LAYOUT, f"{len(table) - at} bytes after the last entry", "T-002")


def _name_untrusted(encoded: bytes, length: int) -> str:
    if len(encoded) != length or not 1 <= length <= MAX_NAME_BYTES:
        raise _fault(ErrorCode.E_OBJ_LAYOUT, f"a name of {length} bytes", "T-003")
    try:
        name = encoded.decode("utf-8")
    except UnicodeDecodeError:
        raise _fault(ErrorCode.E_OBJ_LAYOUT, "a name that is not UTF-8", "T-003") from None
    if not is_normalized("NFC", name):
        raise _fault(ErrorCode.E_OBJ_LAYOUT, "a name that is not in normalization form C", "T-003")
    return name


def _check_bounds_untrusted(view: memoryview, entries: list[_Entry], table_end: int) -> None:
    """Every body at the one place where it may be, zeros between them, nothing behind the last."""
    end = table_end
    for entry in entries:
        if entry.bytes > len(view):
            raise _fault(ErrorCode.E_OBJ_SIZE, f"{entry.spec} is larger than the object", "T-009")
        if entry.offset != _aligned(end):
            raise _fault(
                ErrorCode.E_OBJ_LAYOUT,
                f"{entry.spec.name!r} is at {entry.offset}, not {_aligned(end)}",
                "T-007",
            )
        if any(view[end : entry.offset]):
            raise _fault(ErrorCode.E_OBJ_LAYOUT, f"padding before {entry.spec.name!r} is not zero", "T-008")
        end = entry.end
    if end != len(view):
        raise _fault(ErrorCode.E_OBJ_SIZE, f"{len(view)} bytes where the table says {end}", "T-009")


def _body_untrusted(flat: NDArray[np.uint8], entry: _Entry, allow_nonfinite: bool) -> NDArray[Any]:
    """Return one tensor; ``flat`` holds the whole object."""
    raw = flat[entry.offset : entry.end]
    if entry.dtype.kind == "b" and raw.size and raw.max() > 1:
        raise _fault(
            ErrorCode.E_OBJ_VALUE, f"{entry.spec.name!r} holds a bool that is neither 0 nor 1", "T-011"
        )
    array = raw.view(entry.dtype)
    if not array.flags.aligned:
        array = array.copy()
    if entry.dtype.kind == "f" and not allow_nonfinite and not _is_finite(array):
        raise _fault(ErrorCode.E_OBJ_VALUE, f"{entry.spec.name!r} holds NaN or infinity", "T-022")
    array = array.reshape(entry.spec.shape)
    array.flags.writeable = False
    return array


def _is_finite(array: NDArray[Any]) -> bool:
    return all(bool(np.isfinite(array[at : at + _BLOCK]).all()) for at in range(0, array.size, _BLOCK))
