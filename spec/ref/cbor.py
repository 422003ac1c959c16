"""Deterministic CBOR in the profile of chapter 3: one encoding for each value."""

import unicodedata

from .data import LIMITS, SpecError, need

Value = int | bytes | str | bool | list["Value"] | dict[int, "Value"] | None

UNSIGNED, NEGATIVE, BYTES, TEXT, ARRAY, MAP, TAG, SIMPLE = range(8)


def head(major: int, argument: int) -> bytes:
    """An initial byte with its argument in the shortest form (C-003)."""
    if argument < 24:
        return bytes([major << 5 | argument])
    size = next(size for size in (1, 2, 4, 8) if argument < 1 << 8 * size)
    return bytes([major << 5 | 23 + size.bit_length()]) + argument.to_bytes(size, "big")


def encode(value: Value) -> bytes:
    """The one encoding of a value; `E_SCHEMA` or `E_TOO_BIG` for what must not be sent (C-009)."""
    data = _encode(value)
    decode(data)
    return data


def _encode(value: Value) -> bytes:
    if value is None or isinstance(value, bool):
        return bytes([{False: 0xF4, True: 0xF5, None: 0xF6}[value]])
    if isinstance(value, int):
        need(-(2**63) <= value < 2**64, "E_SCHEMA", "an integer outside the profile")
        return head(UNSIGNED, value) if value >= 0 else head(NEGATIVE, -1 - value)
    if isinstance(value, bytes):
        return head(BYTES, len(value)) + value
    if isinstance(value, str):
        raw = value.encode()
        return head(TEXT, len(raw)) + raw
    if isinstance(value, list):
        return head(ARRAY, len(value)) + b"".join(map(_encode, value))
    return head(MAP, len(value)) + b"".join(_encode(key) + _encode(value[key]) for key in sorted(value))


def decode(
    data: bytes, max_bytes: int | None = None, depth: int | None = None, items: int | None = None
) -> Value:
    """Read exactly one item (C-002 to C-015); the first fault in the order of the bytes decides the code."""
    need(max_bytes is None or len(data) <= max_bytes, "E_TOO_BIG", "larger than its kind of message may be")
    reader = _Reader(data, depth or LIMITS["cbor_depth"], items or LIMITS["cbor_items"])
    value = reader.item(1)
    need(reader.at == len(data), "E_CBOR", "bytes after the item")
    return value


class _Reader:
    """A place in the bytes, and how many items were read."""

    def __init__(self, data: bytes, depth: int, items: int) -> None:
        self.data = data
        self.at = 0
        self.depth = depth
        self.items = items - 1

    def take(self, count: int) -> bytes:
        need(count <= len(self.data) - self.at, "E_CBOR", "bytes are missing")
        self.at += count
        return self.data[self.at - count : self.at]

    def head(self) -> tuple[int, int, int]:
        """Major type, argument and additional information: first well-formed, then definite and shortest."""
        first = self.take(1)[0]
        major, info = first >> 5, first & 31
        if info == 31:
            need(major in (BYTES, TEXT, ARRAY, MAP), "E_CBOR", "a reserved initial byte, or a break alone")
            raise SpecError("E_CBOR_CANON", "an indefinite length")
        need(info < 28, "E_CBOR", "a reserved initial byte")
        argument = info if info < 24 else int.from_bytes(self.take(1 << (info - 24)), "big")
        if major == SIMPLE:
            need(info != 24 or argument >= 32, "E_CBOR", "a simple value in two bytes that has one")
        else:
            shortest = info < 24 or argument >= (24 if info == 24 else 1 << (8 << (info - 25)))
            need(shortest, "E_CBOR_CANON", "an argument that is not in its shortest form")
        return major, argument, info

    def item(self, depth: int) -> Value:
        """One value; `depth` counts the arrays and maps around it, itself included."""
        major, argument, info = self.head()
        if major == SIMPLE:
            need(20 <= info <= 22, "E_SCHEMA", "a float, undefined or another simple value")
        need(major != TAG, "E_SCHEMA", "a tag")
        need(major != NEGATIVE or argument < 2**63, "E_SCHEMA", "an integer below -2^63")
        if major in (UNSIGNED, NEGATIVE):
            return argument if major == UNSIGNED else -1 - argument
        if major == SIMPLE:
            return {20: False, 21: True, 22: None}[info]
        if major == BYTES:
            return self.take(argument)
        if major == TEXT:
            return self.text(argument)
        need(depth <= self.depth, "E_TOO_BIG", "nested too deep")
        children = argument * (1 if major == ARRAY else 2)
        need(children <= len(self.data) - self.at, "E_CBOR", "elements are missing")
        self.items -= children
        need(self.items >= 0, "E_TOO_BIG", "too many items")
        if major == ARRAY:
            return [self.item(depth + 1) for _ in range(argument)]
        return self.map(argument, depth)

    def text(self, length: int) -> str:
        need(length <= len(self.data) - self.at, "E_CBOR", "bytes are missing")
        need(length <= LIMITS["text_bytes"], "E_TOO_BIG", "a text that is too long")
        try:
            text = self.take(length).decode()
        except UnicodeDecodeError as error:
            raise SpecError("E_CBOR", "text that is not UTF-8") from error
        need(
            unicodedata.is_normalized("NFC", text), "E_CBOR_CANON", "text that is not in normalization form C"
        )
        return text

    def map(self, length: int, depth: int) -> dict[int, Value]:
        result: dict[int, Value] = {}
        last = -1
        for _ in range(length):
            major, key, _ = self.head()
            need(
                major == UNSIGNED and key < 2**32, "E_SCHEMA", "a key that is no unsigned integer below 2^32"
            )
            need(key > last, "E_CBOR_CANON", "keys that do not ascend")
            result[key] = self.item(depth + 1)
            last = key
        return result
