"""What an object exchange tells: offers, and how transfers ended."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ObjectOffered:
    """The peer offers an object; answer with ``accept`` or ``refuse``."""

    transfer: int
    root: bytes
    size: int
    header: bytes


@dataclass(frozen=True, slots=True)
class ObjectReceived:
    """An accepted object is whole and every leaf of it verified."""

    transfer: int
    root: bytes
    header: bytes
    body: memoryview


@dataclass(frozen=True, slots=True)
class ObjectDelivered:
    """The peer has all of an object that we offered."""

    transfer: int
    root: bytes


@dataclass(frozen=True, slots=True)
class ObjectFailed:
    """A transfer ended without success; ``outgoing`` tells whose offer it was."""

    transfer: int
    root: bytes
    code: int
    outgoing: bool


ObjectEvent = ObjectOffered | ObjectReceived | ObjectDelivered | ObjectFailed
