"""What happened, in order: a running hash over every event, and on request a file of JSON lines.

Two runs with the same trace hash did the same things at the same times, datagram by datagram. The file has
one line an event, in the manner of qlog: ``time`` in virtual seconds, ``name``, ``node``, ``data``.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, is_dataclass
from enum import IntEnum
from struct import Struct
from typing import IO, Any
from zlib import crc32

from quinkgl.wire.addresses import Address

_HEAD = Struct(">BdiI")


class Kind(IntEnum):
    """What kind of thing happened."""

    SENT = 1
    ARRIVED = 2
    LOST = 3
    TIMER = 4
    EVENT = 5
    ACTION = 6
    NOTE = 7


class Trace:
    """The record of one run."""

    def __init__(self, file: IO[str] | None = None, *, contents: bool = True) -> None:
        """``contents`` puts a checksum of each datagram into the hash, not its size and ends alone."""
        self.events = 0
        self._contents = contents
        self._hash = hashlib.sha256()
        self._update = self._hash.update
        self._file = file
        self._addresses: dict[Address, bytes] = {}

    @property
    def digest(self) -> str:
        """The trace hash so far, hexadecimal."""
        return self._hash.hexdigest()

    def datagram(self, kind: Kind, now: float, node: int, other: Address, data: bytes) -> None:
        """Note a datagram that was sent, arrived or was lost at ``node``; ``other`` is the far address."""
        self.events += 1
        far = self._addresses.get(other)
        if far is None:
            far = self._addresses[other] = f"{other[0]} {other[1]}".encode()
        checksum = crc32(data) if self._contents else 0
        self._update(_HEAD.pack(kind, now, node, checksum) + len(data).to_bytes(4, "big") + far)
        if self._file is not None:
            self._write(
                now, f"transport:datagram_{kind.name.lower()}", node, {"size": len(data), "far": other}
            )

    def timer(self, now: float, node: int) -> None:
        """Note that the timer of ``node`` fired."""
        self.events += 1
        self._update(_HEAD.pack(Kind.TIMER, now, node, 0))

    def event(self, now: float, node: int, event: object) -> None:
        """Note an event that a swarm gave its driver."""
        self.events += 1
        name = type(event).__name__
        values = {item.name: plain(getattr(event, item.name)) for item in fields(event)}  # type: ignore[arg-type]
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        self._update(_HEAD.pack(Kind.EVENT, now, node, len(text)) + name.encode() + text.encode())
        if self._file is not None:
            self._write(now, f"swarm:{name}", node, values)

    def note(self, now: float, name: str, node: int, data: dict[str, Any], kind: Kind = Kind.NOTE) -> None:
        """Note anything else: an action of the plan, a publication, a verdict."""
        self.events += 1
        text = json.dumps(plain(data), sort_keys=True, separators=(",", ":"))
        self._update(_HEAD.pack(kind, now, node, len(text)) + name.encode() + text.encode())
        if self._file is not None:
            self._write(now, f"simulation:{name}", node, data)

    def _write(self, now: float, name: str, node: int, data: dict[str, Any]) -> None:
        line = {"time": round(now, 6), "name": name, "node": node, "data": plain(data)}
        if self._file is not None:
            self._file.write(json.dumps(line, separators=(",", ":")) + "\n")


_LONG_BYTES = 64
"""Longer values are known by their hash."""


def plain(value: Any) -> Any:
    """Return a value of events as JSON knows it; bytes as hexadecimal digits, long ones by size and CRC."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        data = bytes(value)
        return data.hex() if len(data) <= _LONG_BYTES else f"{len(data)} bytes, crc {crc32(data):08x}"
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if is_dataclass(value):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    return str(value)
