"""The two halves of the CONTROL stream: ordered, reliable bytes with a window (spec 7.4)."""

from __future__ import annotations

from typing import NamedTuple

from quinkgl.transport.ranges import RangeSet
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.limits import LIMITS


class ControlPiece(NamedTuple):
    """Bytes of the stream that a packet carried: half-open range of offsets."""

    start: int
    stop: int


class ControlSender:
    """Holds bytes until they are acknowledged; sends new ones only within the peer's credit."""

    __slots__ = ("_acknowledged", "_base", "_buffer", "_limit", "_next", "_resend")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._base = 0
        self._next = 0
        self._limit = LIMITS.control_window_bytes
        self._acknowledged = RangeSet()
        self._resend = RangeSet()

    @property
    def queued_bytes(self) -> int:
        """Bytes not acknowledged yet, sent or not."""
        return len(self._buffer)

    @property
    def end(self) -> int:
        """Offset behind the last byte that was written."""
        return self._base + len(self._buffer)

    @property
    def acknowledged(self) -> int:
        """Offset up to which the peer has everything."""
        return self._base

    @property
    def has_output(self) -> bool:
        """Whether a piece can be taken now."""
        return len(self._resend) > 0 or self._next < min(self._limit, self._base + len(self._buffer))

    def write(self, data: bytes) -> None:
        """Append bytes to the stream."""
        self._buffer += data

    def take(self, room: int) -> tuple[ControlPiece, bytes] | None:
        """Return the next bytes to send, at most ``room``: lost ones first [F-030]."""
        if len(self._resend):
            start, stop = self._resend.first()
            stop = min(stop, start + room)
            self._resend.remove(start, stop)
        else:
            start = self._next
            stop = min(start + room, self._limit, self._base + len(self._buffer))
            if stop <= start:
                return None
            self._next = stop
        return ControlPiece(start, stop), bytes(self._buffer[start - self._base : stop - self._base])

    def on_acknowledged(self, piece: ControlPiece) -> None:
        """Release bytes; those below the lowest unacknowledged one leave memory."""
        start = max(piece.start, self._base)
        if start >= piece.stop:
            return  # sent twice, and released when the other one was acknowledged
        self._acknowledged.add(start, piece.stop)
        self._resend.remove(start, piece.stop)
        start, stop = self._acknowledged.first()
        if start == self._base:
            del self._buffer[: stop - self._base]
            self._base = stop
            self._acknowledged.drop_below(stop)

    def on_lost(self, piece: ControlPiece) -> None:
        """Queue a lost piece again, but for what was acknowledged meanwhile [F-005]."""
        self._resend.add(max(piece.start, self._base), max(piece.stop, self._base))
        for start, stop in self._acknowledged:
            self._resend.remove(start, stop)

    def on_credit(self, limit: int) -> None:
        """Take the peer's new limit; limits never shrink [F-032]."""
        self._limit = max(self._limit, limit)


class ControlReceiver:
    """Puts pieces back in order within a fixed window.

    A piece that comes in order passes straight through; memory is held only while a gap is open.
    """

    __slots__ = ("_buffer", "_delivered", "_ranges", "_window")

    def __init__(self) -> None:
        self._window = LIMITS.control_window_bytes
        self._buffer = bytearray()
        self._delivered = 0
        self._ranges = RangeSet()

    @property
    def limit(self) -> int:
        """The highest offset that the peer may send up to."""
        return self._delivered + self._window

    def receive_untrusted(self, offset: int, data: bytes) -> bytes:
        """Take a piece and return the bytes that are now in order [F-031, F-033].

        Raises RemoteProtocolError E_FLOW when the piece exceeds the credit.
        """
        end = offset + len(data)
        if end > self.limit:
            raise RemoteProtocolError(
                ErrorCode.E_FLOW, f"CONTROL bytes up to {end}; the credit ends at {self.limit}", section="7.4"
            )
        if not data or end <= self._delivered:
            return b""
        if offset <= self._delivered and not len(self._ranges):
            ready = data[self._delivered - offset :]
            self._delivered = end
            return ready
        if not self._buffer:
            self._buffer = bytearray(self._window)
        for start, stop in self._ranges.add(max(offset, self._delivered), end):
            self._store(start, data[start - offset : stop - offset])
        start, stop = self._ranges.first()
        if start != self._delivered:
            return b""
        ready = self._load(start, stop)
        self._delivered = stop
        self._ranges.drop_below(stop)
        if not len(self._ranges):
            self._buffer = bytearray()
        return ready

    def _store(self, position: int, data: bytes) -> None:
        """Copy into the ring; bytes below the credit never overtake it."""
        index = position % self._window
        head = min(len(data), self._window - index)
        self._buffer[index : index + head] = data[:head]
        self._buffer[: len(data) - head] = data[head:]

    def _load(self, start: int, stop: int) -> bytes:
        index = start % self._window
        head = min(stop - start, self._window - index)
        return bytes(self._buffer[index : index + head] + self._buffer[: stop - start - head])
