"""One node's place in the world: an address, a clock, and a machine that is driven as the contract says."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from quinkgl.testing.contract import ContractError
from quinkgl.testing.sim.clock import Clock
from quinkgl.testing.sim.nat import Translator
from quinkgl.testing.sim.scheduler import Scheduler
from quinkgl.testing.sim.trace import Trace
from quinkgl.wire.addresses import Address

_BACKLOG = 256
"""Datagrams that a kernel keeps for a node that does not read."""
_SPURIOUS_EVERY = 64
"""Steps between two calls of ``handle_timer`` before its time, which must change nothing that shows."""
_DRAIN_LIMIT = 100_000


class Sender(Protocol):
    """What carries a host's datagrams."""

    def send(self, host: Host, data: bytes, destination: Address, segment_size: int | None) -> None:
        """Take a datagram, or a run of datagrams of ``segment_size`` bytes."""


class Host:
    """A node with one machine that speaks in datagrams: a ``Swarm``, an ``Endpoint``, or none for now.

    Held to the machine contract at each step: network input never raises, output is announced by the
    deadline, a timer that was asked for makes progress, the lent buffer is the caller's again. A breach
    raises :class:`~quinkgl.testing.contract.ContractError`.
    """

    def __init__(
        self,
        index: int,
        address: Address,
        *,
        scheduler: Scheduler,
        sender: Sender,
        trace: Trace,
        clock: Clock | None = None,
        translator: Translator | None = None,
        distance_s: float = 0.0,
        strict: bool = True,
    ) -> None:
        """Stand at ``address``, ``distance_s`` away from the middle of the network.

        ``strict`` also lends each buffer and calls timers before their time.
        """
        self.index = index
        self.address = address
        self.clock = clock if clock is not None else Clock()
        self.translator = translator
        self.distance_s = distance_s
        self.machine: Any = None
        self.on_event: Callable[[Any], None] | None = None
        """Called with each event; may call commands of the machine."""
        self.paused_until = 0.0
        self.steps = 0
        self._scheduler = scheduler
        self._sender = sender
        self._trace = trace
        self._strict = strict
        self._due: float | None = None
        self._told = 0.0
        """The latest time that the machine was told; it holds its clock there when ours goes back."""
        self._wake_at: float | None = None
        self._backlog: deque[tuple[bytes, Address, int | None]] = deque()

    @property
    def now(self) -> float:
        """Local time."""
        return self.clock.local(self._scheduler.now)

    @property
    def unix_now(self) -> float:
        """Local wall-clock time."""
        return self.clock.unix(self._scheduler.now)

    @property
    def callable_address(self) -> Address | None:
        """Where strangers reach this host, None where its translator lets none in."""
        if self.translator is None:
            return self.address
        return self.translator.forwarded

    def is_at(self, address: Address) -> bool:
        """Whether what is sent to a public address can come here now."""
        return address == self.address if self.translator is None else self.translator.has(address)

    def rebind(self) -> None:
        """Let the translator forget its mappings, but one that is forwarded for ever."""
        if self.translator is not None:
            self.translator.rebind()

    @property
    def is_up(self) -> bool:
        """Whether a machine runs here."""
        return self.machine is not None

    def install(self, machine: Any, on_event: Callable[[Any], None]) -> None:
        """Start a machine here."""
        self.machine = machine
        self.on_event = on_event
        self._due = None
        self._told = self.now

    def uninstall(self) -> None:
        """Stop the machine without a word, as a crash does."""
        self.machine = self.on_event = None
        self._due = None
        self._backlog.clear()

    def pause(self, seconds: float) -> None:
        """Let the node do nothing for a while: what arrives waits in the kernel, up to its bound."""
        self.paused_until = max(self.paused_until, self._scheduler.now + seconds)
        self._scheduler.at(self.paused_until, self._resume)

    def arrive(self, data: bytes, source: Address, segment_size: int | None) -> None:
        """Take a datagram, or a run, from the network."""
        if self.machine is None:
            return
        if self._scheduler.now < self.paused_until:
            if len(self._backlog) < _BACKLOG:
                self._backlog.append((data, source, segment_size))
            return
        now = self.now
        self._receive(data, source, segment_size, now)
        self.settle(now)

    def settle(self, now: float | None = None) -> None:
        """Drain the machine: events, then datagrams, then read the deadline. Call it after every command."""
        if self.machine is None:
            return
        now = self.now if now is None else now
        self._drain(now)
        if self.machine is not None:  # an event may have made the application stop it
            self._plan(None)

    # The machine's calls

    def _receive(self, data: bytes, source: Address, segment_size: int | None, now: float) -> None:
        self.steps += 1
        if not self._strict:
            self.machine.receive_datagram(data, source, now=now, segment_size=segment_size)
            return
        lent = bytearray(data)
        self.machine.receive_datagram(memoryview(lent), source, now=now, segment_size=segment_size)
        lent[:] = b"\xa5" * len(lent)
        if self.steps % _SPURIOUS_EVERY == 0:
            self._call_too_early(now)

    def _call_too_early(self, now: float) -> None:
        machine = self.machine
        due = machine.deadline()
        if due is not None and due <= max(now, self._told):
            return
        machine.handle_timer(now=now)
        if machine.deadline() != due:
            raise ContractError(f"handle_timer at {now}, before the deadline {due}, changed the deadline")

    def _drain(self, now: float) -> None:
        machine = self.machine
        self._told = max(self._told, now)
        due = machine.deadline()
        announced = due is not None and due <= self._told
        for _ in range(_DRAIN_LIMIT):
            event = machine.next_event()
            while event is not None:
                if not announced:
                    raise ContractError(f"an event at {now} while deadline() was {due}: {event}")
                self._take(event)
                if self.machine is not machine:
                    return
                announced = True  # the application may have asked for more
                event = machine.next_event()
            transmit = machine.next_datagram(now)
            if transmit is None:
                return
            if not announced:
                raise ContractError(f"a datagram at {now} while deadline() was {due}")
            self._emit(bytes(transmit.data), transmit.destination, transmit.segment_size)
        raise ContractError(f"node {self.index} never stops sending at {now}")

    def _take(self, event: Any) -> None:
        self._trace.event(self._scheduler.now, self.index, event)
        if self.on_event is not None:
            self.on_event(event)

    def _emit(self, data: bytes, destination: Address, segment_size: int | None) -> None:
        self._sender.send(self, data, destination, segment_size)

    # Time

    def _plan(self, fired_at: float | None) -> None:
        """Note when the machine wants to be called, and hold it to its promise to make progress."""
        due = self.machine.deadline()
        self._due = due
        if due is None:
            return
        if fired_at is not None and due <= fired_at:
            why = self.machine.deadline_reason
            raise ContractError(f"no progress: fired at {fired_at}, the deadline is still {due} ({why})")
        when = max(self.clock.virtual(due), self._scheduler.now, self.paused_until)
        if self._wake_at is None or when < self._wake_at:
            self._wake_at = when
            self._scheduler.at(when, self._wake, when)

    def step_clock(self, seconds: float) -> None:
        """Let the monotonic clock jump; a machine holds its own where that goes back, and counts it."""
        self.clock.step(self._scheduler.now, seconds)
        counted = None if self.machine is None else self.machine.stats.clock_steps_back
        self.replan()
        goes_back = self.machine is not None and self.now < self._told
        if goes_back and self.machine.stats.clock_steps_back == counted:
            raise ContractError(f"a clock that went back {-seconds} s was not counted")

    def replan(self) -> None:
        """Look at the deadline again, after the clock was set."""
        if self.machine is not None:
            self._wake_at = None
            self.settle()

    def _wake(self, when: float) -> None:
        if self._wake_at != when:
            return  # an earlier call has taken its place
        self._wake_at = None
        due = self._due
        if self.machine is None or due is None:
            return
        later = max(self.clock.virtual(due), self.paused_until)
        if later > self._scheduler.now:  # the deadline has moved since this call was planned
            self._wake_at = later
            self._scheduler.at(later, self._wake, later)
            return
        now = max(self.now, due)  # the clock's inverse may be off by a rounding
        self.steps += 1
        self._trace.timer(self._scheduler.now, self.index)
        self.machine.handle_timer(now=now)
        self._drain(now)
        if self.machine is not None:
            self._plan(due)

    def _resume(self, _: object) -> None:
        if self.machine is None or self._scheduler.now < self.paused_until:
            return
        while self._backlog:
            data, source, segment_size = self._backlog.popleft()
            self.arrive(data, source, segment_size)
        self.replan()
