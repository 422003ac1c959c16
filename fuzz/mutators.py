"""Mutators that know what an input is made of: CBOR items, lists of steps, and what stands between them.

A mutator takes bytes and a generator and gives bytes. Now and then it breaks the structure on purpose, in
the ways that a strict reader must notice: a length that is not the shortest, keys out of order, a float.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from typing import Any

from quinkgl.wire.cbor import decode_untrusted
from quinkgl.wire.errors import RemoteProtocolError

INTERESTING = (
    0, 1, 2, 3, 15, 16, 17, 23, 24, 31, 32, 33, 63, 64, 65, 127, 128, 255, 256, 257, 1023, 1024, 1199, 1200,
    4095, 4096, 4097, 16383, 16384, 65535, 65536, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32,
    (1 << 53) - 1, 1 << 53, (1 << 62), (1 << 63) - 1, 1 << 63, (1 << 64) - 1,
)  # fmt: skip
_TEXTS = ("", "a", "é", "e\u0301", "\x00", "\u202e", "😀", "a" * 32, "a" * 64, "a" * 256, "ﬁ", "\x7f\x1b[2J")
_ATOMS: tuple[Any, ...] = (None, True, False, 0, -1, b"", "", [], {})
_MAX_DEPTH = 8


class Raw:
    """Bytes that stand for themselves inside a tree."""

    def __init__(self, data: bytes) -> None:
        self.data = data


_BROKEN = (
    b"\x18\x17", b"\x19\x00\xff", b"\x1b" + bytes(8), b"\xf9\x3c\x00", b"\xfb" + bytes(8), b"\xf7",
    b"\xf8\x20",    b"\xc0\x00",
    b"\xd2\x00", b"\x5f\x41\x00\xff", b"\x9f\xff", b"\xbf\xff", b"\x3b" + b"\xff" * 8, b"\x1c",
    b"\xff", b"\x5b" + b"\xff" * 8, b"\x9b" + b"\xff" * 8, b"\xbb" + b"\xff" * 8, b"\x61\xff", b"\x58\x00",
    b"\x81" * 20 + b"\x00", b"\x62e\xcc",
)  # fmt: skip


def _head(major: int, argument: int) -> bytes:
    major <<= 5
    if argument < 24:
        return bytes((major | argument,))
    for code, width in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if argument < 1 << 8 * width:
            return bytes((major | code,)) + argument.to_bytes(width, "big")
    raise ValueError(argument)


def dump(value: Any) -> bytes:
    """Encode a tree, whether or not the profile has a place for it; keys in the order in which they stand."""
    if isinstance(value, Raw):
        return value.data
    if value is None or isinstance(value, bool):
        return {None: b"\xf6", True: b"\xf5", False: b"\xf4"}[value]
    if isinstance(value, int):
        return _head(0, value & (1 << 64) - 1) if value >= 0 else _head(1, ~value & (1 << 64) - 1)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        encoded = value.encode("utf-8", "surrogatepass")
        return _head(3, len(encoded)) + encoded
    if isinstance(value, list):
        return _head(4, len(value)) + b"".join(map(dump, value))
    return _head(5, len(value)) + b"".join(dump(key) + dump(item) for key, item in value.items())


def load(data: bytes) -> Any:
    """Decode one CBOR item; ValueError for anything else."""
    try:
        return decode_untrusted(data, max_bytes=1 << 20, where="seed", max_items=1 << 20)
    except RemoteProtocolError as error:
        raise ValueError(str(error)) from None


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Change a few bytes: flip, set, insert, delete, repeat, cut."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(7):
            case 0 if at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(changed):
                changed[at] = rng.choice((0, 1, 0x1B, 0x3A, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            case 2:
                changed[at:at] = rng.randbytes(rng.choice((1, 2, 4, 8, 16)))
            case 3:
                del changed[at : at + rng.choice((1, 1, 2, 8, 32))]
            case 4:
                piece = changed[at : at + rng.choice((1, 4, 16, 64))]
                changed[at:at] = piece
            case 5 if at + 8 <= len(changed):
                width = rng.choice((1, 2, 4, 8))
                value = rng.choice(INTERESTING) & (1 << 8 * width) - 1
                changed[at : at + width] = value.to_bytes(width, rng.choice(("big", "little")))
            case _:
                del changed[at:]
    return bytes(changed)


def mutate_integer(value: int, rng: random.Random) -> int:
    """Return a number near another, or at one of the edges."""
    match rng.randrange(4):
        case 0:
            return rng.choice(INTERESTING)
        case 1:
            return value + rng.choice((-1, 1))
        case 2:
            return -value - 1
        case _:
            return value ^ 1 << rng.randrange(64)


def mutate_value(value: Any, rng: random.Random, depth: int = 0) -> Any:
    """Change one node of a tree."""
    if isinstance(value, (list, dict)) and value and rng.random() < 0.8 and depth < _MAX_DEPTH:
        return _inside(value, rng, depth)
    if rng.random() < 0.08:
        return Raw(rng.choice(_BROKEN))
    if rng.random() < 0.1:
        return rng.choice(_ATOMS)
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return mutate_integer(value, rng)
    if isinstance(value, bytes):
        return _other_bytes(value, rng)
    if isinstance(value, str):
        return rng.choice(_TEXTS) if rng.random() < 0.7 else value + rng.choice(_TEXTS)
    if isinstance(value, list):
        return [*value, *value, 0][: rng.choice((1, 2, 17, 64))]
    return (
        {**value, rng.choice((63, 64, 65, 1 << 31, 1 << 32)): rng.choice(_ATOMS)}
        if isinstance(value, dict)
        else value
    )


def _other_bytes(value: bytes, rng: random.Random) -> bytes:
    match rng.randrange(5):
        case 0:
            return value[:-1]
        case 1:
            return value + b"\x00"
        case 2:
            return bytes(len(value))
        case 3:
            return rng.randbytes(rng.choice((0, 1, 6, 8, 16, 18, 31, 32, 33, 64, 255)))
        case _:
            try:
                inner = load(value)
            except ValueError:
                return mutate_bytes(value, rng)
            return dump(mutate_value(inner, rng))


def _inside(value: Any, rng: random.Random, depth: int) -> Any:
    if isinstance(value, list):
        changed = list(value)
        at = rng.randrange(len(changed))
        match rng.randrange(6):
            case 0:
                del changed[at]
            case 1:
                changed.insert(at, changed[at])
            case 2:
                changed.reverse()
            case _:
                changed[at] = mutate_value(changed[at], rng, depth + 1)
        return changed
    pairs = list(value.items())
    at = rng.randrange(len(pairs))
    key, item = pairs[at]
    match rng.randrange(8):
        case 0:
            del pairs[at]
        case 1:
            pairs[at] = (rng.choice((key + 1 if isinstance(key, int) else 0, 63, 64, 65, 255)), item)
        case 2:
            pairs.append((rng.choice((64, 65, 1000, (1 << 32) - 1)), rng.choice(_ATOMS)))
        case 3 if rng.random() < 0.3:
            rng.shuffle(pairs)
        case _:
            pairs[at] = (key, mutate_value(item, rng, depth + 1))
    if rng.random() < 0.9:
        pairs.sort(key=lambda pair: pair[0] if isinstance(pair[0], int) else 0)
    return dict(pairs)


def mutate_cbor(data: bytes, rng: random.Random) -> bytes:
    """Change one or a few nodes of a CBOR item; bytes where it is none."""
    try:
        value = load(data)
    except ValueError:
        return mutate_bytes(data, rng)
    for _ in range(rng.choice((1, 1, 2, 3))):
        value = mutate_value(value, rng)
    return dump(value)


# --- scripts: lists of steps ---

_STEP = struct.Struct(">BH")
MAX_STEPS = 16

Step = tuple[int, bytes]


def pack(steps: Sequence[Step]) -> bytes:
    """Write steps: what is done (a byte), how long, and with what."""
    return b"".join(_STEP.pack(code & 0xFF, len(payload)) + payload for code, payload in steps)


def unpack(data: bytes, *, most: int = MAX_STEPS) -> list[Step]:
    """Read steps from any bytes; the last one may be cut short, and what follows ``most`` is left out."""
    steps: list[Step] = []
    at = 0
    while at < len(data) and len(steps) < most:
        if at + _STEP.size > len(data):
            steps.append((data[at], data[at + 1 :]))
            break
        code, length = _STEP.unpack_from(data, at)
        at += _STEP.size
        steps.append((code, data[at : at + length]))
        at += length
    return steps


def script_mutator(
    codes: int,
    *,
    pool: Callable[[], Sequence[Step]],
    payload: Callable[[int, bytes, random.Random], bytes] | None = None,
) -> Callable[[bytes, random.Random], bytes]:
    """Return a mutator of scripts with ``codes`` kinds of steps.

    ``pool`` gives steps that can be put in; ``payload`` changes what a step is done with.
    """
    known: list[Step] = []

    def mutate(data: bytes, rng: random.Random) -> bytes:
        if not known:
            known.extend(pool())
        steps = unpack(data)
        for _ in range(rng.choice((1, 1, 2, 4))):
            at = rng.randrange(len(steps) + 1)
            kind = rng.randrange(8)
            if kind <= 2 or not steps:
                steps.insert(at, rng.choice(known))
                continue
            at = min(at, len(steps) - 1)
            code, body = steps[at]
            if kind == 3:
                del steps[at]
            elif kind == 4:
                steps.insert(rng.randrange(len(steps) + 1), steps[at])
            elif kind == 5 and rng.random() < 0.4:
                steps[at] = (rng.randrange(codes), body)
            elif payload is not None:
                steps[at] = (code, payload(code, body, rng)[:0xFFFF])
            else:
                steps[at] = (code, mutate_cbor(body, rng)[:0xFFFF])
        return pack(steps[:MAX_STEPS])

    return mutate


class Choices:
    """Reads small decisions from bytes, one after the other; zeros when there are none left."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, width: int = 1) -> int:
        """Return an unsigned integer of ``width`` bytes."""
        piece = self._data[self._at : self._at + width]
        self._at += width
        return int.from_bytes(piece.ljust(width, b"\0"), "big")

    def take(self, count: int) -> bytes:
        """Return the next ``count`` bytes, or what is left."""
        piece = self._data[self._at : self._at + count]
        self._at += count
        return piece

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.take(len(self._data))

    @property
    def is_empty(self) -> bool:
        """Whether all was read."""
        return self._at >= len(self._data)
