"""How a session ends: closing and draining (RFC 9000 section 10.2, spec 7.6)."""

from __future__ import annotations

from enum import Enum

from quinkgl.transport.connection_events import ConnectionState
from quinkgl.transport.stats import EndpointStats
from quinkgl.transport.timers import Timer, TimerTable
from quinkgl.wire.errors import RemoteProtocolError
from quinkgl.wire.frames import Close, decode_frames_untrusted, encode_close
from quinkgl.wire.packets import PacketForm

_CLOSE_PERIOD = 3
"""RFC 9000 10.2: closing and draining last three probe time-outs."""


class ClosingEvent(Enum):
    """What moves a session towards its end."""

    CLOSE = "we close"
    """The application closes, or the peer broke the specification."""
    PEER_CLOSED = "CLOSE arrives"
    OVER = "over"
    """Three probe time-outs have passed since CLOSE, or nobody is there to tell."""


TRANSITIONS: dict[tuple[ConnectionState, ClosingEvent], ConnectionState] = {
    (ConnectionState.OPEN, ClosingEvent.CLOSE): ConnectionState.CLOSING,
    (ConnectionState.OPEN, ClosingEvent.PEER_CLOSED): ConnectionState.DRAINING,
    (ConnectionState.OPEN, ClosingEvent.OVER): ConnectionState.CLOSED,
    (ConnectionState.CLOSING, ClosingEvent.OVER): ConnectionState.CLOSED,
    (ConnectionState.DRAINING, ClosingEvent.OVER): ConnectionState.CLOSED,
}
"""Every move there is; anything else is a defect. CLOSE while CLOSING only makes it over at once."""


class Closing:
    """The state of a session, and the CLOSE that is said, and said again, at its end."""

    __slots__ = ("_close_due", "_close_timeout_s", "_frame", "_stats", "_timers", "state")

    def __init__(self, timers: TimerTable, stats: EndpointStats, *, close_timeout_s: float) -> None:
        self.state = ConnectionState.OPEN
        self._timers = timers
        self._stats = stats
        self._close_timeout_s = close_timeout_s
        self._frame = b""
        self._close_due = False

    def begin(self, code: int, reason: str, *, by_remote: bool, probe_timeout_s: float, now: float) -> None:
        """Leave OPEN: say CLOSE, and answer what is late for a while [F-060, F-062]."""
        self._move(ClosingEvent.PEER_CLOSED if by_remote else ClosingEvent.CLOSE)
        self._frame = encode_close(code, "" if by_remote else reason)
        self._close_due = True
        self._timers.stop_all()
        self._timers.set(Timer.CLOSE, now + min(_CLOSE_PERIOD * probe_timeout_s, self._close_timeout_s))

    def finish(self) -> None:
        """Be CLOSED at once."""
        self._move(ClosingEvent.OVER)
        self._close_due = False
        self._timers.stop_all()

    def _move(self, event: ClosingEvent) -> None:
        """Make a transition; KeyError for one that is not in the table."""
        self.state = TRANSITIONS[self.state, event]

    def handle_timer(self, now: float) -> None:
        """Act on the timers of the end."""
        if self._timers.expired(Timer.CLOSE, now):
            self.finish()
        if self._timers.expired(Timer.CLOSE_AGAIN, now):
            self._close_due = True

    def next_frame(self, probe_timeout_s: float, now: float) -> bytes | None:
        """Take the CLOSE frame that is due, None when none is [F-061]."""
        if not self._close_due:
            return None
        self._close_due = False
        if self.state is ConnectionState.CLOSING:
            self._timers.set(Timer.CLOSE_AGAIN, now + probe_timeout_s)
        return self._frame

    def on_late_packet(self, plaintext: bytes, form: PacketForm, now: float) -> None:
        """Answer an authentic packet that came while closing [F-061, F-063].

        The peer's own CLOSE means that both know: nothing is left to wait for.
        """
        self._close_due = True
        if form is not PacketForm.FRAMES:
            return
        try:
            frames = decode_frames_untrusted(plaintext)
        except RemoteProtocolError:
            self._stats.drop("session_over")
            return
        if any(isinstance(frame, Close) for frame in frames):
            self._close_due = False
            self._timers.set(Timer.CLOSE, now)
