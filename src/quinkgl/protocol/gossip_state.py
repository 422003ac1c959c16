"""What gossip saves for a later life, read back with care."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from quinkgl.crypto.identity import PeerId
from quinkgl.protocol.equivocation import read_convicts
from quinkgl.protocol.machine import misuse
from quinkgl.wire.limits import CONSTANTS
from quinkgl.wire.messages.gossip import Proof


class SavedGossip(NamedTuple):
    """What the machine's ``state`` gave, checked."""

    incarnation: int
    authors: list[tuple[PeerId, tuple[int, int]]]
    seen: list[bytes]
    barred: list[tuple[PeerId, Proof | None]]


def read_state(state: Mapping[str, Any]) -> SavedGossip:
    """Check the form of a saved state; LocalProtocolError where it is another."""
    try:
        saved = SavedGossip(
            incarnation=state["incarnation"],
            authors=[(key, (incarnation, round)) for key, incarnation, round in state["authors"]],
            seen=list(state["seen"]),
            barred=read_convicts(state["barred"]),
        )
        numbers = [saved.incarnation, *(number for _, position in saved.authors for number in position)]
        keys = [*(key for key, _ in saved.authors), *saved.seen]
    except (KeyError, TypeError, ValueError):
        raise misuse("the saved state has another form") from None
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise misuse("a saved incarnation or round is none")
    if not all(type(key) is bytes and len(key) == CONSTANTS.key_bytes for key in keys):
        raise misuse("a saved key or root is none")
    return saved
