"""Bytes that nobody may send: CBOR heads of any width, maps in any order, packets with any field.

Cases that must be refused are built with these, so that no encoder's good manners stand in the way.
"""

from __future__ import annotations

WIDTHS = {1: 24, 2: 25, 4: 26, 8: 27}


def head(major: int, number: int, width: int | None = None) -> bytes:
    """Return a CBOR head, in its shortest form or with an argument of ``width`` bytes."""
    if width is None:
        if number < 24:
            return bytes([major << 5 | number])
        width = next(size for size in WIDTHS if number < 1 << 8 * size)
    return bytes([major << 5 | WIDTHS[width]]) + number.to_bytes(width, "big")


def item(value: object) -> bytes:
    """Return the encoding of a value; ``Raw`` stands for itself, a list of pairs for a map in that order."""
    if isinstance(value, Raw):
        return value.data
    if isinstance(value, bool) or value is None:
        return {False: b"\xf4", True: b"\xf5", None: b"\xf6"}[value]
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        text = value.encode()
        return head(3, len(text)) + text
    if isinstance(value, Pairs):
        return head(5, len(value.pairs)) + b"".join(item(key) + item(entry) for key, entry in value.pairs)
    if isinstance(value, dict):
        return item(Pairs(*sorted(value.items())))
    if isinstance(value, (list, tuple)):
        return head(4, len(value)) + b"".join(map(item, value))
    raise TypeError(type(value).__name__)


class Raw:
    """Bytes that stand in place of a value."""

    def __init__(self, data: bytes | str) -> None:
        self.data = bytes.fromhex(data) if isinstance(data, str) else data


class Pairs:
    """A map whose pairs keep the order in which they are given."""

    def __init__(self, *pairs: tuple[object, object]) -> None:
        self.pairs = pairs


def flip(data: bytes, at: int, bits: int = 1) -> bytes:
    """Return the bytes with some bits of one of them turned over."""
    changed = bytearray(data)
    changed[at] ^= bits
    return bytes(changed)


def pattern(size: int, start: int = 0) -> bytes:
    """Return bytes that count up from ``start``, modulo 251."""
    return (bytes(range(251)) * ((start + size) // 251 + 1))[start : start + size]


def filled(value: dict[int, object], size: int) -> bytes:
    """Return the map with an ignored key 64 whose value makes it ``size`` bytes long."""
    for count in range(size, 0, -1):
        data = item({**value, 64: bytes(count)})
        if len(data) <= size:
            break
    if len(data) != size:
        raise ValueError(f"{size} bytes cannot be filled")
    return data
