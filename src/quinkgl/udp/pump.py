"""One machine and one socket, pumped by whoever waits: the whole of a driver but its event loop.

A driver calls `settle` after every command, `read` when the socket is readable, `resend` when it is writable
while `is_blocked`, and `fire` at `wake_at`. The waiting, and nothing else, is its own.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final, Generic, TypeVar

from quinkgl.udp.bursts import BurstSocket, Offload
from quinkgl.udp.machine import Machine
from quinkgl.udp.sockets import BoundSocket

EventT = TypeVar("EventT")

_BURST_TRANSMITS: Final = 64
_BURST_BYTES: Final = 1 << 20
_FULL_KERNEL_TICK_S: Final = 0.01


class Pump(Generic[EventT]):
    """Moves bytes and time into a machine, and events and datagrams out of it; never waits.

    Attributes:
        events: what the machine said and nobody has taken yet, in order.
        socket: the socket, which counts.
        is_closing: nobody takes events any more; set by `close`.
    """

    def __init__(
        self,
        machine: Machine[EventT],
        bound: BoundSocket,
        *,
        max_events: int = 1024,
        offload: Offload = "auto",
    ) -> None:
        self.machine = machine
        self.socket = BurstSocket(bound, offload=offload)
        self.events: deque[EventT] = deque()
        self.is_closing = False
        self._max_events = max_events

    @property
    def is_full(self) -> bool:
        """Whether the application is behind: leave packets in the kernel until it has taken events."""
        return len(self.events) >= self._max_events and not self.is_closing

    @property
    def is_blocked(self) -> bool:
        """Whether the kernel has no room: wait until the socket is writable, then `resend`."""
        return self.socket.is_blocked

    @property
    def is_finished(self) -> bool:
        """Whether the close handshake is over and has left this process."""
        return self.is_closing and self.machine.drained and not self.socket.is_blocked

    def settle(self, now: float) -> None:
        """Take the machine's events and send its datagrams: due after every input and every command.

        What is ready beyond one burst keeps the deadline at or before now: `fire` comes back for it.
        """
        machine, send = self.machine, self.socket.send
        while (event := machine.next_event()) is not None:
            self.events.append(event)
        if self.socket.is_blocked:
            return
        total = 0
        for _ in range(_BURST_TRANSMITS):
            if total >= _BURST_BYTES or (transmit := machine.next_datagram(now)) is None:
                return
            total += len(transmit.data)
            if not send(transmit.data, transmit.destination, transmit.segment_size):
                return

    def read(self, now: float) -> None:
        """Feed the machine one burst, then settle once: one acknowledgement covers it all."""
        self.socket.read_burst(self.machine.receive_datagram, now)
        self.settle(now)

    def resend(self, now: float) -> None:
        """Send what the kernel had no room for, and go on if it has now."""
        if self.socket.resend():
            self.settle(now)

    def wake_at(self, now: float) -> float:
        """When to call `fire`: infinity for never.

        Output that is ready but cannot leave must not make the loop spin: with a full kernel, not at once.
        """
        due = self.machine.deadline()
        if due is None:
            return math.inf
        return max(due, now + _FULL_KERNEL_TICK_S) if self.socket.is_blocked else due

    def fire(self, now: float) -> None:
        """Do what is due; called too early, do nothing."""
        due = self.machine.deadline()
        if due is not None and due <= now:
            self.machine.handle_timer(now=now)
            self.settle(now)

    def close(self, now: float) -> None:
        """Begin the close handshake. A queue of events that is full does not stop it any more."""
        self.is_closing = True
        self.machine.close(now=now)
        self.settle(now)
