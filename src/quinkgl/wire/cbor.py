"""Deterministic CBOR: the encoding of control messages and of everything that is signed.

The profile is a strict subset of RFC 8949 section 4.2.1 (``spec/03-encoding.md``): integers, byte strings,
short NFC text, arrays, maps with unsigned keys below 2^32, ``true``, ``false`` and ``null``; lengths definite
and shortest, keys strictly ascending, no tags, no floats. A value therefore has exactly one encoding, and
signatures can cover bytes.

The decoder is one pass that checks each head where it reads it, so nothing outside the profile is ever built:

* the size is checked first, then every declared length against the bytes that are left: memory is bounded by
  the input;
* every data item counts against a budget and nesting against a depth: time is linear in the input;
* keys ascend strictly, so duplicates need no hash table; keys below 2^32 have no hash in common, so building
  the ``dict`` stays linear too, which colliding big integers would make quadratic.

An encoding is accepted only if it is the one that :func:`encode` would make.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias
from unicodedata import is_normalized

from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from quinkgl.wire.limits import CONSTANTS, LIMITS

Buffer: TypeAlias = bytes | bytearray | memoryview

MAX_UINT = (1 << 64) - 1
MIN_INT = -(1 << 63)
MAX_KEY = (1 << 32) - 1

_UINT, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_FALSE, _TRUE, _NULL = 0xF4, 0xF5, 0xF6
_SIMPLE_VALUES = (False, True, None)
_LONG_SIMPLE, _RESERVED_SIMPLE = 0xF8, 0xFC
_LEAST_LONG_SIMPLE = 32
_SHORT = 24
"""Arguments below this stand in the initial byte itself."""
_INDEFINITE = 31
_WIDTHS = {24: 1, 25: 2, 26: 4, 27: 8}
_LEAST = {24: 24, 25: 1 << 8, 26: 1 << 16, 27: 1 << 32}
"""Smallest argument that may use each width."""


# --- encoding ---


def _append_head(out: bytearray, major: int, argument: int) -> None:
    """Append the shortest head (RFC 8949 section 3)."""
    major <<= 5
    if argument < _SHORT:
        out.append(major | argument)
    elif argument < 1 << 8:
        out += bytes((major | 24, argument))
    elif argument < 1 << 16:
        out.append(major | 25)
        out += argument.to_bytes(2, "big")
    elif argument < 1 << 32:
        out.append(major | 26)
        out += argument.to_bytes(4, "big")
    else:
        out.append(major | 27)
        out += argument.to_bytes(8, "big")


def _misuse(message: str) -> LocalProtocolError:
    return LocalProtocolError(ErrorCode.E_USAGE, message)


def _bad_keys() -> LocalProtocolError:
    return _misuse(f"map keys must be integers from 0 to {MAX_KEY}")


def _append_map(out: bytearray, value: Mapping[Any, Any], depth: int) -> None:
    try:
        keys = sorted(value)
    except TypeError:
        raise _bad_keys() from None
    _append_head(out, _MAP, len(keys))
    for key in keys:
        if type(key) is int and 0 <= key < _SHORT:
            out.append(key)
        elif isinstance(key, int) and type(key) is not bool and 0 <= key <= MAX_KEY:
            _append_head(out, _UINT, key)
        else:
            raise _bad_keys()
        _append(out, value[key], depth)


def _append_text(out: bytearray, value: str) -> None:
    try:
        text = value.encode("utf-8")
    except UnicodeEncodeError:
        raise _misuse("text holds a lone surrogate") from None
    if not is_normalized("NFC", value):
        raise _misuse("text is not in Unicode normalization form C")
    if len(text) > LIMITS.text_bytes:
        raise _misuse(f"text of {len(text)} bytes, at most {LIMITS.text_bytes} allowed")
    _append_head(out, _TEXT, len(text))
    out += text


def _append(out: bytearray, value: object, depth: int) -> None:
    """Append the encoding of ``value``; ``depth`` is how many more containers may open."""
    if isinstance(value, (bytes, bytearray, memoryview)):  # what most fields hold
        body = bytes(value)
        _append_head(out, _BYTES, len(body))
        out += body
    elif value is None or isinstance(value, bool):
        out.append(_NULL if value is None else _TRUE if value else _FALSE)
    elif isinstance(value, int):
        if not MIN_INT <= value <= MAX_UINT:
            raise _misuse(f"the integer {value} is outside -2^63..2^64-1")
        if value >= 0:
            _append_head(out, _UINT, value)
        else:
            _append_head(out, _NEGATIVE, ~value)
    elif isinstance(value, str):
        _append_text(out, value)
    elif isinstance(value, (dict, list, tuple, Mapping)):  # an abstract class is asked last: it takes long
        if depth == 0:
            raise _misuse(f"more than {LIMITS.cbor_depth} nested arrays and maps")
        if isinstance(value, (list, tuple)):
            _append_head(out, _ARRAY, len(value))
            for element in value:
                _append(out, element, depth - 1)
        else:
            _append_map(out, value, depth - 1)
    else:
        raise _misuse(f"a {type(value).__name__} has no place in the CBOR profile")


def encode(value: object) -> bytes:
    """Return the one encoding of ``value`` [C-009].

    ``value`` is built of int (-2^63..2^64-1), bytes, str (NFC, at most 256 bytes), bool, None, list or tuple,
    and mappings whose keys are ints from 0 to 2^32 - 1. Raises LocalProtocolError (E_USAGE) for anything
    else, and for nesting deeper than ``LIMITS.cbor_depth``.
    """
    out = bytearray()
    _append(out, value, LIMITS.cbor_depth)
    return bytes(out)


# --- decoding ---


class _Reader:
    """One decoding: the bytes, the position, and how many data items may still be announced.

    Reading the first byte of an item beyond the end of the bytes raises IndexError.
    """

    __slots__ = ("at", "data", "items", "where")

    def __init__(self, data: bytes, where: str, items: int) -> None:
        self.data = data
        self.at = 0
        self.items = items
        self.where = where

    def fault(self, code: ErrorCode, message: str, section: str) -> RemoteProtocolError:
        return RemoteProtocolError(code, f"{self.where}: {message} (before byte {self.at})", section=section)

    def value(self, depth: int) -> Any:
        """Read one data item; ``depth`` is how many more containers may open."""
        initial = self.data[self.at]
        self.at += 1
        if initial < _SHORT:  # the commonest item by far: a small unsigned integer
            return initial
        major = initial >> 5
        if major == _SIMPLE:
            return self.simple(initial)
        argument = initial & 0x1F
        if argument >= _SHORT:  # a call saved for most items
            argument = self.argument(initial)
        if major == _BYTES:
            start = self.skip(argument)
            return self.data[start : self.at]
        if major == _TEXT:
            return self.text(argument)
        if major == _UINT:
            return argument
        if major == _ARRAY:
            self.open(argument, depth)
            return [self.value(depth - 1) for _ in range(argument)]
        if major == _MAP:
            self.open(2 * argument, depth)
            return self.map(argument, depth - 1)
        if major == _NEGATIVE and argument <= ~MIN_INT:
            return ~argument
        raise self.fault(ErrorCode.E_SCHEMA, "a tag, or an integer below -2^63", "C-006")

    def argument(self, initial: int) -> int:
        """Read the argument that stands in or follows ``initial``; it must have the shortest form."""
        info = initial & 0x1F
        if info < _SHORT:
            return info
        width = _WIDTHS.get(info)
        if width is None:
            if info == _INDEFINITE and initial >> 5 in (_BYTES, _TEXT, _ARRAY, _MAP):
                raise self.fault(ErrorCode.E_CBOR_CANON, "an indefinite length", "C-004")
            raise self.fault(ErrorCode.E_CBOR, f"a reserved initial byte 0x{initial:02x}", "C-002")
        start = self.at
        self.at += width
        if self.at > len(self.data):
            raise self.fault(ErrorCode.E_CBOR, "the bytes end inside a head", "C-002")
        argument = int.from_bytes(self.data[start : self.at], "big")
        if argument < _LEAST[info]:
            raise self.fault(ErrorCode.E_CBOR_CANON, "an argument that is not in its shortest form", "C-003")
        return argument

    def simple(self, initial: int) -> bool | None:
        """Return the simple value that ``initial`` stands for; there are three."""
        if _FALSE <= initial <= _NULL:
            return _SIMPLE_VALUES[initial - _FALSE]
        well_formed = initial < _RESERVED_SIMPLE
        if initial == _LONG_SIMPLE:  # one more byte, never one of the short form (RFC 8949 section 3.3)
            well_formed = self.data[self.at] >= _LEAST_LONG_SIMPLE
            self.at += 1
        elif _LONG_SIMPLE < initial < _RESERVED_SIMPLE:
            self.skip(1 << (initial - _LONG_SIMPLE))
        if not well_formed:
            raise self.fault(ErrorCode.E_CBOR, "a reserved simple value or a stray break", "C-002")
        raise self.fault(ErrorCode.E_SCHEMA, "a float, undefined, or an unassigned simple value", "C-006")

    def skip(self, count: int) -> int:
        """Move over ``count`` bytes, which must be there; return where they start."""
        start = self.at
        if count > len(self.data) - start:
            raise self.fault(ErrorCode.E_CBOR, f"{count} bytes are announced and fewer left", "C-002")
        self.at += count
        return start

    def text(self, length: int) -> str:
        """Read the body of a text string."""
        start = self.skip(length)
        if length > LIMITS.text_bytes:  # before any work on it: normalizing is not linear in every library
            raise self.fault(ErrorCode.E_TOO_BIG, f"text of {length} bytes", "C-013")
        try:
            text = self.data[start : self.at].decode("utf-8")
        except UnicodeDecodeError:
            raise self.fault(ErrorCode.E_CBOR, "text that is not UTF-8", "C-002") from None
        if not is_normalized("NFC", text):
            raise self.fault(ErrorCode.E_CBOR_CANON, "text that is not in normalization form C", "C-007")
        return text

    def open(self, children: int, depth: int) -> None:
        """Account for a container before any of its children is read [C-014]."""
        if depth == 0:
            raise self.fault(ErrorCode.E_TOO_BIG, "arrays and maps nested too deep", "C-011")
        if children > len(self.data) - self.at:  # each child has at least one byte
            raise self.fault(
                ErrorCode.E_CBOR, f"{children} items are announced and fewer bytes left", "C-002"
            )
        self.items -= children
        if self.items < 0:
            raise self.fault(ErrorCode.E_TOO_BIG, "too many data items", "C-012")

    def map(self, pairs: int, depth: int) -> dict[int, Any]:
        """Read the pairs of a map, whose keys must ascend."""
        result: dict[int, Any] = {}
        last = -1
        for _ in range(pairs):
            key = self.data[self.at]
            self.at += 1
            if key >= _SHORT:
                key = self.long_key(key)
            if key <= last:
                raise self.fault(
                    ErrorCode.E_CBOR_CANON, f"map key {key} is repeated or out of order", "C-005"
                )
            result[key] = self.value(depth)
            last = key
        return result

    def long_key(self, initial: int) -> int:
        """Read the rest of a key's head; as of any head, its form is judged before its type [C-015]."""
        major = initial >> 5
        key = self.simple(initial) if major == _SIMPLE else self.argument(initial)
        if key is None or major != _UINT:
            raise self.fault(ErrorCode.E_SCHEMA, "a map key that is not an unsigned integer", "C-008")
        if key > MAX_KEY:
            raise self.fault(ErrorCode.E_SCHEMA, f"map key {key} is above 2^32 - 1", "C-008")
        return key


def decode_untrusted(data: Buffer, *, max_bytes: int, where: str, max_items: int = LIMITS.cbor_items) -> Any:
    """Return the value that ``data`` encodes: int, bytes, str, bool, None, list, or dict with int keys.

    ``data`` holds at most ``max_bytes`` bytes and ``max_items`` data items, containers and keys included;
    ``where`` names the message in errors. Work and memory are linear in the size.

    Raises RemoteProtocolError alone: E_TOO_BIG (size, nesting, items, text), E_CBOR (not exactly one
    well-formed, valid item), E_CBOR_CANON (another encoding of the value than the deterministic one),
    E_SCHEMA (a type outside the profile). The first fault in reading order decides. Source:
    ``spec/03-encoding.md``; RFC 8949 section 4.2.1 [C-001].
    """
    if len(data) > max_bytes:
        raise RemoteProtocolError(
            ErrorCode.E_TOO_BIG, f"{where}: {len(data)} bytes, at most {max_bytes} allowed", section="C-010"
        )
    reader = _Reader(bytes(data), where, max_items - 1)
    try:
        value = reader.value(LIMITS.cbor_depth)
    except IndexError:
        raise reader.fault(ErrorCode.E_CBOR, "the bytes end inside an item", "C-002") from None
    if reader.at != len(reader.data):
        raise reader.fault(ErrorCode.E_CBOR, "bytes follow the item", "C-002")
    return value


# --- schema ---

Kind: TypeAlias = Callable[[Any], str | None]
"""What a field may hold: takes a decoded value, returns what is wrong with it, or None."""

_PLAIN = frozenset({int, bytes, str, bool})
_NO_FIELDS: Mapping[int, Kind] = MappingProxyType({})


def uint(maximum: int = MAX_UINT, minimum: int = 0) -> Kind:
    """An unsigned integer from ``minimum`` to ``maximum``."""

    def fault(value: Any) -> str | None:
        if type(value) is int and minimum <= value <= maximum:
            return None
        return f"not an unsigned integer from {minimum} to {maximum}"

    return fault


def bstr(minimum: int, maximum: int) -> Kind:
    """A byte string of ``minimum`` to ``maximum`` bytes."""

    def fault(value: Any) -> str | None:
        if type(value) is bytes and minimum <= len(value) <= maximum:
            return None
        return f"not a byte string of {minimum} to {maximum} bytes"

    return fault


def tstr(maximum_bytes: int = LIMITS.text_bytes) -> Kind:
    """Text of at most ``maximum_bytes`` bytes of UTF-8."""

    def fault(value: Any) -> str | None:
        if type(value) is str and len(value.encode("utf-8")) <= maximum_bytes:
            return None
        return f"not text of at most {maximum_bytes} bytes"

    return fault


def boolean() -> Kind:
    """``true`` or ``false``."""

    def fault(value: Any) -> str | None:
        return None if type(value) is bool else "not a boolean"

    return fault


def array_of(kind: Kind, maximum: int, minimum: int = 0) -> Kind:
    """An array of ``minimum`` to ``maximum`` elements of one kind."""

    def fault(value: Any) -> str | None:
        if type(value) is not list or not minimum <= len(value) <= maximum:
            return f"not an array of {minimum} to {maximum} elements"
        for index, element in enumerate(value):
            wrong = kind(element)
            if wrong is not None:
                return f"element {index} is {wrong}"
        return None

    return fault


def _are_plain(values: Iterable[Any]) -> bool:
    """Whether each value is an integer, a string, a boolean, or an array of such."""
    return all(type(value) in _PLAIN or (type(value) is list and _are_plain(value)) for value in values)


def map_value(max_items: int) -> Kind:
    """A map that its reader passes on unread: at most ``max_items`` keys; no maps and no ``null`` inside.

    Its keys mean something only to whoever the map is for, so unknown ones are no error.
    """

    def fault(value: Any) -> str | None:
        if type(value) is not dict or len(value) > max_items:
            return f"not a map of at most {max_items} keys"
        return None if _are_plain(value.values()) else "a map with a map or null inside"

    return fault


def read_map_untrusted(
    value: Any, *, where: str, required: Mapping[int, Kind], optional: Mapping[int, Kind] = _NO_FIELDS
) -> dict[int, Any]:
    """Return the known fields of a decoded map, checked [C-022, C-023].

    Every key of ``required`` is there, and every value is of its kind. An unknown key below
    ``CONSTANTS.first_ignorable_key`` (64) is an error, one above is left out of the result. Raises
    RemoteProtocolError (E_SCHEMA) that names ``where`` and the key. Source: ``spec/03-encoding.md``.
    """
    if type(value) is not dict:
        raise RemoteProtocolError(ErrorCode.E_SCHEMA, f"{where}: not a map", section="C-020")
    fields: dict[int, Any] = {}
    for key, item in value.items():
        kind = required.get(key) or optional.get(key)
        if kind is not None:
            wrong = kind(item)
            if wrong is not None:
                raise RemoteProtocolError(
                    ErrorCode.E_SCHEMA, f"{where}: key {key} is {wrong}", section="C-020"
                )
            fields[key] = item
        elif key < CONSTANTS.first_ignorable_key:
            raise RemoteProtocolError(ErrorCode.E_SCHEMA, f"{where}: unknown key {key}", section="C-021")
    if not required.keys() <= fields.keys():
        missing = next(key for key in required if key not in fields)
        raise RemoteProtocolError(ErrorCode.E_SCHEMA, f"{where}: key {missing} is missing", section="C-020")
    return fields


def decode_map_untrusted(
    data: Buffer,
    *,
    max_bytes: int,
    where: str,
    required: Mapping[int, Kind],
    optional: Mapping[int, Kind] = _NO_FIELDS,
) -> dict[int, Any]:
    """Decode a message that is one map: :func:`decode_untrusted`, then :func:`read_map_untrusted`."""
    value = decode_untrusted(data, max_bytes=max_bytes, where=where)
    return read_map_untrusted(value, where=where, required=required, optional=optional)
