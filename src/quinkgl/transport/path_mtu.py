"""How large a datagram the path carries: search upwards, fall back when large ones vanish (spec 6b.7).

Datagram packetization layer path MTU discovery (RFC 8899) for a transport that acknowledges packets: a probe
is a packet of the size in question that carries nothing but PING and PADDING, so that its loss costs nothing;
an acknowledgement proves the size. Nothing is asked of routers, and nothing that they say is believed.

Probes are sent only while there is bulk data that would profit: an idle session has no timer for this.
"""

from __future__ import annotations

from enum import Enum

from quinkgl.wire.limits import CONSTANTS

_LARGEST_PROBE_BYTES = max(CONSTANTS.mtu_probes_bytes)


class MtuState(Enum):
    """What the search is doing (RFC 8899 section 5.2)."""

    OFF = "off"
    SEARCHING = "searching"
    COMPLETE = "complete"
    """No larger size gets through; look again after a long time."""
    COOLING = "cooling"
    """Large datagrams vanished: the smallest size for a while."""


class MtuEvent(Enum):
    """What moves the search."""

    EXHAUSTED = "exhausted"
    """The last try of a size was lost, or there is no larger one."""
    DUE = "due"
    """The wait is over, and there is data that a larger size would help."""
    VANISHED = "vanished"
    """Too often in a row nothing but large packets was lost."""


TRANSITIONS: dict[tuple[MtuState, MtuEvent], MtuState] = {
    (MtuState.SEARCHING, MtuEvent.EXHAUSTED): MtuState.COMPLETE,
    (MtuState.SEARCHING, MtuEvent.VANISHED): MtuState.COOLING,
    (MtuState.COMPLETE, MtuEvent.VANISHED): MtuState.COOLING,
    (MtuState.COMPLETE, MtuEvent.DUE): MtuState.SEARCHING,
    (MtuState.COOLING, MtuEvent.DUE): MtuState.SEARCHING,
}
"""Every move there is; anything else is a defect. OFF is for a whole path."""


class PathMtu:
    """The datagram size of one path, bytes of UDP payload."""

    __slots__ = (
        "_again_at",
        "_bursts",
        "_cap",
        "_probe_number",
        "_probe_size",
        "_start",
        "_timeout_at",
        "_tries",
        "datagram_bytes",
        "state",
    )

    def __init__(self, *, start: int, cap: int, discovery: bool) -> None:
        """Begin at ``start``, which is taken for granted; never send more than ``cap``."""
        cap = min(cap, max(start, _LARGEST_PROBE_BYTES))
        self._start = min(start, cap)
        self._cap = cap
        self.datagram_bytes = self._start
        """What a datagram has at most now."""
        self.state = MtuState.SEARCHING if discovery and self._start < cap else MtuState.OFF
        self._probe_number: int | None = None
        self._probe_size = 0
        self._timeout_at = 0.0
        self._tries = 0
        self._again_at = 0.0
        self._bursts = 0

    @classmethod
    def within(cls, peer_most: int, start: int, most: int, *, discovery: bool) -> PathMtu:
        """Begin at ``start`` or at what the peer takes, where that is less; end at the least bound."""
        # P-040, Q-055
        start = min(start, peer_most)
        return cls(start=start, cap=max(start, min(most, peer_most)), discovery=discovery)

    @property
    def smallest_bytes(self) -> int:
        """The size that the path is known to carry."""
        return self._start

    @property
    def is_waiting(self) -> bool:
        """Whether a probe is on its way: acknowledgements are then worth a look."""
        return self._probe_number is not None

    def probe_due(self, now: float) -> int | None:
        """Return the size of a probe to send now, or None [Q-050, Q-051]."""
        if self.state is MtuState.OFF or (self.is_waiting and not self._is_timed_out(now)):
            return None
        if now < self._again_at:
            return None
        if self.state is not MtuState.SEARCHING:
            self._tries = 0
            self._move(MtuEvent.DUE)
        size = self._next_size()
        if size is None:
            self._complete(now)
        return size

    def on_probe_sent(self, number: int, size: int, now: float, timeout_s: float) -> None:
        """A probe left as packet ``number``; it is lost if unacknowledged for ``timeout_s``."""
        self._probe_number = number
        self._probe_size = size
        self._timeout_at = now + timeout_s

    def on_ranges_acknowledged(self, ranges: tuple[tuple[int, int], ...]) -> bool:
        """Look for the probe in an ACK; True when it arrived and the size rose."""
        number = self._probe_number
        if number is None or not any(first <= number <= last for first, last in ranges):
            return False
        self._probe_number = None
        self._tries = 0
        self._bursts = 0
        self._again_at = 0.0
        if self._probe_size <= self.datagram_bytes or self.state is not MtuState.SEARCHING:
            return False
        self.datagram_bytes = self._probe_size
        return True

    # Black holes

    @property
    def is_suspicious(self) -> bool:
        """Whether large packets vanished lately: their acknowledgements are then worth a look."""
        return self._bursts > 0

    def on_packet_acknowledged(self, size: int) -> None:
        """A packet arrived; a large one clears the suspicion."""
        if size > self._start:
            self._bursts = 0

    def on_packets_lost(self, smallest: int, now: float) -> bool:
        """Packets were found lost, none smaller than ``smallest`` bytes; True when the size fell [Q-053].

        Only where every one of them was larger than what the path is known to carry can the size be the
        reason, and only after a few times in a row without one that arrived is it.
        """
        if smallest <= self._start or self.datagram_bytes <= self._start or self.state is MtuState.OFF:
            return False
        self._bursts += 1
        if self._bursts < CONSTANTS.mtu_black_hole_bursts:
            return False
        self._bursts = 0
        self._tries = 0
        self._probe_number = None
        self.datagram_bytes = self._start
        self._move(MtuEvent.VANISHED)
        self._again_at = now + CONSTANTS.mtu_cool_off_s
        return True

    # Inside

    def _move(self, event: MtuEvent) -> None:
        """Make a transition; KeyError for one that is not in the table."""
        self.state = TRANSITIONS[self.state, event]

    def _next_size(self) -> int | None:
        """Return the next larger size to try, None when none is left."""
        for size in (*CONSTANTS.mtu_probes_bytes, self._cap):
            if self.datagram_bytes < size <= self._cap:
                return size
        return None

    def _is_timed_out(self, now: float) -> bool:
        """Count a probe that was not acknowledged in time; it is no sign of congestion [Q-052]."""
        if now < self._timeout_at:
            return False
        self._probe_number = None
        self._tries += 1
        if self._tries >= CONSTANTS.mtu_probe_tries:
            self._complete(now)
        else:
            self._again_at = now + CONSTANTS.mtu_probe_retry_s
        return True

    def _complete(self, now: float) -> None:
        self._move(MtuEvent.EXHAUSTED)
        self._again_at = now + CONSTANTS.mtu_raise_s
