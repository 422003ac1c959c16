"""What may leave a session now, and in datagrams of which size (spec chapter 8 and 6b.7).

Loss recovery, congestion window, pacing and path MTU belong to the current path and change together: a larger
datagram is a larger step of the window, and another host begins with all of them anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from quinkgl.transport.congestion import CongestionController
from quinkgl.transport.contents import Contents
from quinkgl.transport.pacer import Pacer
from quinkgl.transport.path_mtu import MtuState, PathMtu
from quinkgl.transport.recovery import AckResult, LossRecovery, RunPart
from quinkgl.transport.staging import run_packets_of
from quinkgl.transport.stats import EndpointStats
from quinkgl.transport.timers import Timer, TimerTable

if TYPE_CHECKING:
    import random

PROBES = 2
"""RFC 9002 6.2.4: two packets a probe time-out, so that one more loss does not double the wait."""


class Flow:
    """The sending side of one path at a time."""

    __slots__ = (
        "_make_mtu",
        "_new_controller",
        "_run_packets",
        "_stats",
        "_timers",
        "mtu",
        "pacer",
        "probes_due",
        "recovery",
    )

    def __init__(
        self,
        *,
        make_mtu: Callable[[], PathMtu],
        new_controller: Callable[[int], CongestionController],
        max_ack_delay_s: float,
        max_probe_interval_s: float,
        run_packets: int,
        timers: TimerTable,
        stats: EndpointStats,
        rng: random.Random,
    ) -> None:
        """``make_mtu`` begins the search on a path, ``new_controller`` makes a controller for its size.

        ``max_ack_delay_s`` is the peer's; ``max_probe_interval_s`` is as :class:`LossRecovery` takes it;
        ``rng`` chooses which packet numbers are skipped.
        """
        self._make_mtu = make_mtu
        self._new_controller = new_controller
        self._run_packets = run_packets
        self._timers = timers
        self._stats = stats
        self.mtu = make_mtu()
        self.recovery: LossRecovery[Contents] = LossRecovery(
            new_controller(self.mtu.datagram_bytes),
            max_ack_delay_s=max_ack_delay_s,
            max_probe_interval_s=max_probe_interval_s,
            rng=rng,
        )
        self.pacer = Pacer(self.mtu.datagram_bytes)
        self.probes_due = 0
        """Probes of a probe time-out that are still to be sent; they pass window and pacing."""

    @property
    def probe_timeout_s(self) -> float:
        """One probe time-out without back-off."""
        return self.recovery.rtt.probe_timeout(self.recovery.max_ack_delay_s)

    @property
    def next_size(self) -> int:
        """Bytes of the next datagram [P-040, Q-054].

        The first of two probes has the size that the path is known to carry: when large datagrams vanish,
        its acknowledgement shows that the others are lost.
        """
        return self.mtu.smallest_bytes if self.probes_due >= PROBES else self.mtu.datagram_bytes

    def may_send(self, now: float) -> bool:
        """Congestion window and pacing; a probe passes both (RFC 9002 7.5) [R-060, R-070]."""
        if self.probes_due > 0:
            return True
        recovery = self.recovery
        window = recovery.controller.window
        if recovery.bytes_in_flight + self.mtu.datagram_bytes > window:
            return False
        ready = self.pacer.ready_at(now, window, recovery.rtt.smoothed)
        if ready > now:
            self._timers.set(Timer.PACING, ready)
            return False
        return True

    def sendable_packets(self, size: int) -> int:
        """How many full datagrams may leave as one run, given that one may."""
        if self.probes_due > 0:
            return 1
        window = self.recovery.controller.window - self.recovery.bytes_in_flight
        burst = self.pacer.burst_bytes
        return max(1, min(self._run_packets, run_packets_of(size), window // size, -(-burst // size)))

    def on_sent(self, size: int) -> None:
        """Bytes that ask for an ACK left."""
        self.probes_due = max(0, self.probes_due - 1)
        self.pacer.on_sent(size)

    def mtu_probe_due(self, now: float) -> int | None:
        """Return the size of a probe for a larger datagram to send now, None when none is due [Q-051].

        Recovery never hears of it: its loss is no sign of congestion (RFC 8899 section 3).
        """
        mtu = self.mtu
        if mtu.state is MtuState.OFF or self.probes_due:
            return None
        size = mtu.probe_due(now)
        if size is None or size > self.recovery.controller.window or not self.may_send(now):
            return None
        return size

    def on_mtu_probe_sent(self, size: int, now: float) -> None:
        """The packet with the last number taken was a probe for a larger datagram."""
        self.mtu.on_probe_sent(self.recovery.next_number - 1, size, now, self.probe_timeout_s)
        self.pacer.on_sent(size)

    def on_ack_untrusted(
        self, ranges: tuple[tuple[int, int], ...], delay_s: float, now: float
    ) -> AckResult[Contents]:
        """Process an ACK as :meth:`LossRecovery.on_ack_untrusted`, and learn from it about the path's MTU."""
        result = self.recovery.on_ack_untrusted(ranges, delay_s, now)
        mtu = self.mtu
        if mtu.is_suspicious:
            for part in result.acknowledged:
                mtu.on_packet_acknowledged(part.run.size)
        if mtu.is_waiting and mtu.on_ranges_acknowledged(ranges):
            self._stats.mtu_raised += 1
            self._on_size_changed()
        self._on_lost(result.lost, now)
        return result

    def on_timeout(self, now: float) -> list[RunPart[Contents]]:
        """Act on the loss timer: return what is lost; an empty list asks for probes."""
        lost = self.recovery.on_timeout(now)
        self._on_lost(lost, now)
        return lost

    def on_new_path(self, *, is_new_host: bool) -> None:
        """The session runs to another address: measure anew where the host is another (RFC 9000 9.4)."""
        if is_new_host:
            self.mtu = self._make_mtu()
            self.recovery.on_new_path(self._new_controller(self.mtu.datagram_bytes))
            self.pacer = Pacer(self.mtu.datagram_bytes)
        self.recovery.probe_count = 0

    def _on_lost(self, lost: Sequence[RunPart[Contents]], now: float) -> None:
        for part in lost:
            self._stats.packets_lost += part.mask.bit_count()
        if lost and self.mtu.on_packets_lost(min(part.smallest_bytes for part in lost), now):
            self._stats.mtu_black_holes += 1
            self._on_size_changed()

    def _on_size_changed(self) -> None:
        """Everything that is built from now on has the new size."""
        self.recovery.controller.set_datagram_bytes(self.mtu.datagram_bytes)
        self.pacer.set_datagram_bytes(self.mtu.datagram_bytes)
