"""Connection ids of a session: those we gave the peer, and those that it gave us (spec 6.6).

Each side numbers the ids that it gives out 0, 1, 2, …; number 0 is the id of the handshake. A side keeps the
other one supplied with ``connection_ids`` ids, so that every path can have one of its own and nobody on the
way can tell that two paths carry one session. An id is used up by RETIRE_CID, which comes from the side that
used it, and is answered with a new one.
"""

from __future__ import annotations

import hmac
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from quinkgl.transport.ranges import RangeSet
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.limits import LIMITS

_MAX_SEQUENCE = 0xFFFF_FFFF
_UNTOLD_PER_STOCK = 4
"""A peer that gives ids faster than it takes news of retired ones makes us keep more and more news."""


class ConnectionId(NamedTuple):
    """One id with its number and the token of the stateless reset that belongs to it.

    The token is empty only where the peer gave none.
    """

    sequence: int
    id: bytes
    token: bytes


class LocalIds:
    """The ids that packets to us bear, and what the peer has yet to be told about them."""

    __slots__ = ("_by_sequence", "_changes", "_issue", "_next_sequence", "_stock", "_untold")

    def __init__(self, first: ConnectionId, issue: Callable[[], tuple[bytes, bytes]]) -> None:
        """``issue`` makes a fresh id and its reset token; ``first`` is the id of the handshake."""
        self._issue = issue
        self._stock = LIMITS.connection_ids
        self._by_sequence: dict[int, ConnectionId] = {first.sequence: first}
        self._next_sequence = first.sequence + 1
        self._untold: deque[ConnectionId] = deque()
        self._changes: list[tuple[bytes, bool]] = []

    def ids(self) -> tuple[bytes, ...]:
        """Return the ids that packets to us may bear [P-033]."""
        return tuple(entry.id for entry in self._by_sequence.values())

    def supply(self) -> None:
        """Fill the peer's stock up [P-032]."""
        while len(self._by_sequence) < self._stock and self._next_sequence <= _MAX_SEQUENCE:
            entry = ConnectionId(self._next_sequence, *self._issue())
            self._next_sequence += 1
            self._by_sequence[entry.sequence] = entry
            self._untold.append(entry)
            self._changes.append((entry.id, True))

    def take_changes(self) -> list[tuple[bytes, bool]]:
        """Take the changes for whoever routes packets: each an id, and whether it came or went."""
        changes, self._changes = self._changes, []
        return changes

    @property
    def has_changes(self) -> bool:
        """Whether whoever routes packets has yet to hear of a change."""
        return bool(self._changes)

    @property
    def has_news(self) -> bool:
        """Whether the peer has yet to be told of an id."""
        return bool(self._untold)

    def next_news(self) -> ConnectionId | None:
        """Take the next id to tell the peer, in a NEW_CID."""
        return self._untold.popleft() if self._untold else None

    def on_lost(self, entry: ConnectionId) -> None:
        """A NEW_CID was lost: tell it again, unless the peer has retired the id since [P-034]."""
        if entry.sequence in self._by_sequence and entry not in self._untold:
            self._untold.append(entry)

    def retire_untrusted(self, sequence: int, used: bytes) -> None:
        """The peer will not use an id again; ``used`` is the id that the packet with this news bore.

        Raises RemoteProtocolError E_PROTOCOL for a number that was never given out, or the id in use.
        """
        if sequence >= self._next_sequence:
            raise _wrong(f"id {sequence} is retired before it was given out", "P-037")
        entry = self._by_sequence.get(sequence)
        if entry is None:
            return
        if entry.id == used:
            raise _wrong("a packet retires the id that it bears", "P-037")
        del self._by_sequence[sequence]
        self._changes.append((entry.id, False))
        self.supply()


class RemoteIds:
    """The ids that our packets may bear: one in use on each path, the others in stock."""

    __slots__ = ("_known", "_retired", "_retiring", "_seen", "_untaken", "_used", "first", "tokens_changed")

    def __init__(self, first: ConnectionId) -> None:
        """Start with the id of the handshake, in use."""
        self.first = first
        self.tokens_changed = True
        """Whether :meth:`tokens` gives others than before; whoever looks clears it."""
        self._known: dict[int, ConnectionId] = {first.sequence: first}
        self._used: dict[int, ConnectionId] = {first.sequence: first}
        self._seen = RangeSet()
        self._seen.add(first.sequence, first.sequence + 1)
        self._retired = 0
        self._retiring: deque[int] = deque()
        self._untaken: set[int] = set()
        """Numbers of retired ids of which the peer is not known to have heard."""

    @property
    def stock(self) -> int:
        """How many ids are there for new paths."""
        return len(self._known) - len(self._used)

    def tokens(self) -> tuple[bytes, ...]:
        """Reset tokens of the ids in use: what a stateless reset for this session ends with [Q-042]."""
        return tuple(entry.token for entry in self._used.values() if entry.token)

    def receive_untrusted(self, entry: ConnectionId) -> None:
        """Take an id of a NEW_CID; one that was seen before changes nothing.

        Raises RemoteProtocolError: E_CID_LIMIT for an id beyond the stock that the peer may fill, E_PROTOCOL
        for another id under the same number or another number for the same id.
        """
        known = self._known.get(entry.sequence)
        if known is not None or entry.sequence in self._seen:
            if known is not None and not _equal(known, entry):
                raise _wrong(f"two connection ids have number {entry.sequence}", "P-036")
            return
        if (
            entry.sequence >= self._retired + LIMITS.connection_ids
            or len(self._retiring) > _UNTOLD_PER_STOCK * LIMITS.connection_ids
        ):
            raise RemoteProtocolError(
                ErrorCode.E_CID_LIMIT,
                f"id {entry.sequence} while {self._retired} are retired; {LIMITS.connection_ids} may stand",
                layer="transport",
                section="P-035",
            )
        for other in self._known.values():
            if other.id == entry.id:
                raise _wrong(f"connection id {entry.sequence} has another number already", "P-036")
        self._seen.add(entry.sequence, entry.sequence + 1)
        self._known[entry.sequence] = entry

    def take(self) -> ConnectionId | None:
        """Take an id from stock into use on a new path; None when there is none."""
        for sequence in sorted(self._known):
            if sequence not in self._used:
                entry = self._known[sequence]
                self._used[sequence] = entry
                self.tokens_changed = True
                return entry
        return None

    def retire(self, entry: ConnectionId) -> None:
        """Give up an id whose path is not used again."""
        if self._known.pop(entry.sequence, None) is None:
            return
        self._used.pop(entry.sequence, None)
        self.tokens_changed = True
        self._retired += 1
        self._retiring.append(entry.sequence)
        self._untaken.add(entry.sequence)

    @property
    def has_news(self) -> bool:
        """Whether the peer has yet to be told of an id that was given up."""
        return bool(self._retiring)

    def next_news(self) -> int | None:
        """Take the number of the next id to tell the peer, in a RETIRE_CID."""
        return self._retiring.popleft() if self._retiring else None

    def on_lost(self, sequence: int) -> None:
        """A RETIRE_CID was lost, or a probe repeats it: say it again, unless another one has arrived."""
        # P-034
        if sequence in self._untaken and sequence not in self._retiring:
            self._retiring.append(sequence)

    def on_acknowledged(self, sequence: int) -> None:
        """A RETIRE_CID arrived."""
        self._untaken.discard(sequence)
        if sequence in self._retiring:
            self._retiring.remove(sequence)


def _equal(known: ConnectionId, entry: ConnectionId) -> bool:
    return known.id == entry.id and hmac.compare_digest(known.token, entry.token)


def _wrong(message: str, section: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.E_PROTOCOL, message, layer="transport", section=section)
