"""What one neighbour has been told of others, and what it is to be told next.

A record is told once: a neighbour that has it, because it was sent it or sent it itself, is not sent it again
until there is a newer one. News that come faster than the permitted rate wait and share a message.
"""

from __future__ import annotations

from collections.abc import Callable

from quinkgl.crypto.identity import PeerId
from quinkgl.protocol.rate import TokenBucket
from quinkgl.protocol.records import SignedRecord
from quinkgl.wire.limits import Limits
from quinkgl.wire.messages.membership import PeerRecord


class Telling:
    """The membership side of one session."""

    __slots__ = ("_interval_s", "_length", "_memory", "_neighbour", "_pending", "_told", "bucket", "send_at")

    def __init__(self, neighbour: PeerId, *, now: float, limits: Limits) -> None:
        self.bucket = TokenBucket(burst=limits.records_burst, interval_s=limits.records_interval_s, now=now)
        self.send_at = now
        self._neighbour = neighbour
        self._interval_s = limits.records_interval_s
        self._length = limits.shuffle_length
        self._memory = limits.connections + limits.view_size
        self._told: dict[PeerId, int] = {}
        self._pending: dict[PeerId, None] = {}

    @property
    def told(self) -> int:
        """How many peers it is remembered for that the neighbour has their record."""
        return len(self._told)

    @property
    def pending(self) -> int:
        """How many records wait to be sent."""
        return len(self._pending)

    def is_news(self, record: PeerRecord) -> bool:
        """Whether the neighbour may not have this record yet; its own is no news to it [M-023]."""
        return record.key != self._neighbour and self._told.get(record.key, -1) < record.seq

    def note(self, record: PeerRecord) -> None:
        """Remember that the neighbour has a record; what was noted longest ago is forgotten first."""
        self._told[record.key] = max(record.seq, self._told.pop(record.key, 0))
        if len(self._told) > self._memory:
            del self._told[next(iter(self._told))]

    def queue(self, record: PeerRecord, *, foremost: bool = False) -> None:
        """Have a record sent if it is news and there is room in the message; a foremost one makes room."""
        if not self.is_news(record) or record.key in self._pending:
            return
        if len(self._pending) >= self._length:
            if not foremost:
                return
            self._pending.popitem()
        self._pending[record.key] = None

    def postpone(self, now: float) -> None:
        """Send nothing more in the next interval."""
        self.send_at = now + self._interval_s

    def take(self, now: float, newest: Callable[[PeerId], SignedRecord | None]) -> tuple[bytes, ...]:
        """Return the records to send at ``now``: none before it is time for another message [M-024].

        ``newest`` gives the record of a key as it is held by now, None where it is no longer held [M-001].
        """
        if not self._pending or now < self.send_at:
            return ()
        records = [signed for key in self._pending if (signed := newest(key)) is not None]
        self._pending.clear()
        for signed in records:
            self.note(signed.record)
        if records:
            self.postpone(now)
        return tuple(signed.encoded for signed in records)
