"""The offering side of one transfer: which bytes of an object go out next (spec 9.4).

It keeps no copy: the body is the one immutable buffer that all targets of an update share, and chunks are
slices.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from quinkgl.transport.ranges import RangeSet
from quinkgl.transport.wanted import WantedRanges
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.merkle import list_bytes
from quinkgl.wire.messages.objects import Want


class Chunk(NamedTuple):
    """Bytes of one transfer's byte space that a packet carried: half-open range."""

    transfer: int
    start: int
    stop: int


class SenderState(Enum):
    """Where the offering side of a transfer is."""

    OFFERED = "offered"
    SENDING = "sending"
    ENDED = "ended"


class SenderEvent(Enum):
    """What moves the offering side of a transfer."""

    WANT = "WANT"
    DONE = "DONE"
    CANCEL = "CANCEL of the receiver"
    STALLED = "stalled"
    """Nothing has left for too long."""
    WITHDRAWN = "withdrawn"
    """The application has."""
    CLOSED = "closed"
    """The session is over."""


TRANSITIONS: dict[tuple[SenderState, SenderEvent], SenderState] = {
    (SenderState.OFFERED, SenderEvent.WANT): SenderState.SENDING,
    # A later WANT takes the place of the earlier one.
    (SenderState.SENDING, SenderEvent.WANT): SenderState.SENDING,
    **{
        (state, event): SenderState.ENDED
        for state in (SenderState.OFFERED, SenderState.SENDING)
        for event in SenderEvent
        if event is not SenderEvent.WANT
    },
}
"""Every move there is; anything else is a defect. What is late finds no transfer any more."""


class ObjectSender:
    """Hands out chunks of one object within the receiver's credit, lost ones first."""

    __slots__ = (
        "_body",
        "_credit",
        "_list",
        "_rank",
        "_resend",
        "_wanted",
        "progress_bytes",
        "root",
        "size",
        "state",
        "transfer",
    )

    def __init__(self, transfer: int, root: bytes, leaves: bytes, body: memoryview) -> None:
        self.transfer = transfer
        self.root = root
        self.size = len(body)
        self.state = SenderState.OFFERED
        self.progress_bytes = 0
        """Bytes that were handed out, those sent again included: what the least rate is measured by."""
        self._list = memoryview(leaves) if list_bytes(len(body)) else memoryview(b"")
        self._body = body
        self._wanted = WantedRanges(())
        self._rank = 0
        self._credit = 0
        self._resend = RangeSet()

    @property
    def has_output(self) -> bool:
        """Whether a chunk can be taken now."""
        if self.state is not SenderState.SENDING:
            return False
        return len(self._resend) > 0 or self._rank < min(self._credit, self._wanted.total)

    @property
    def progress(self) -> tuple[int, int]:
        """How many of the wanted bytes left for the first time, and how many there are."""
        return self._rank, self._wanted.total

    def on_want_untrusted(self, want: Want) -> None:
        """Start sending what the receiver wants [O-014, O-015].

        Raises RemoteProtocolError E_OBJ_SIZE for ranges beyond the object.
        """
        if want.ranges[-1][1] > len(self._list) + self.size:
            raise RemoteProtocolError(
                ErrorCode.E_OBJ_SIZE,
                f"WANT up to byte {want.ranges[-1][1]} of a smaller object",
                section="9.3",
            )
        self._move(SenderEvent.WANT)
        self._wanted = WantedRanges(want.ranges)
        self._rank = 0
        self._credit = want.credit
        self._resend = RangeSet()

    def on_credit(self, limit: int) -> None:
        """Take a new credit; credits never shrink [O-016]."""
        self._credit = max(self._credit, limit)

    def take(self, room: int) -> tuple[Chunk, memoryview] | None:
        """Return the next chunk of at most ``room`` bytes [O-013, O-018].

        A chunk lies in the leaf list or in the body, not in both.
        """
        if len(self._resend):
            start, stop = self._resend.first()
            stop = self._clip(start, min(stop, start + room))
            self._resend.remove(start, stop)
        elif self.has_output:
            start, stop = self._wanted.position(self._rank)
            allowed = min(room, min(self._credit, self._wanted.total) - self._rank)
            stop = self._clip(start, min(stop, start + allowed))
            self._rank += stop - start
        else:
            return None
        self.progress_bytes += stop - start
        return Chunk(self.transfer, start, stop), self._bytes(start, stop)

    def on_lost(self, chunk: Chunk) -> None:
        """Queue a lost chunk again."""
        if self.state is SenderState.SENDING:
            self._resend.add(chunk.start, chunk.stop)

    def end(self, event: SenderEvent) -> None:
        """Let go of the body; nothing more is sent. ``event`` is any but WANT."""
        self._move(event)
        self._body = memoryview(b"")
        self._resend = RangeSet()

    def _move(self, event: SenderEvent) -> None:
        """Make a transition; KeyError for one that is not in the table."""
        self.state = TRANSITIONS[self.state, event]

    def _clip(self, start: int, stop: int) -> int:
        boundary = len(self._list)
        return min(stop, boundary) if start < boundary else stop

    def _bytes(self, start: int, stop: int) -> memoryview:
        boundary = len(self._list)
        if start < boundary:
            return self._list[start:stop]
        return self._body[start - boundary : stop - boundary]
