"""The contract wrapper passes a good machine and catches each way of being a bad one."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from quinkgl.testing.contract import Checked, ContractError, assert_refuses_reentry, freeze
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError


@dataclass(frozen=True, slots=True)
class Ticked:
    number: int


@dataclass
class Ticking:
    clock_steps_back: int = 0


@dataclass
class Ticker:
    """Ticks once a second and says so in an event and a message."""

    stats: Ticking = field(default_factory=Ticking)
    now: float = 0.0
    ticks: int = 0
    events: list = field(default_factory=list)
    messages: list = field(default_factory=list)
    closed: bool = False
    busy: bool = False

    def _enter(self, now):
        if self.busy:
            raise RuntimeError("re-entered")
        if now < self.now:
            self.stats.clock_steps_back += 1
        self.now = max(self.now, now)

    def handle_timer(self, *, now):
        self._enter(now)
        self.busy = True
        while not self.closed and self.now >= self.ticks + 1:
            self.ticks += 1
            self.events.append(Ticked(self.ticks))
            self.messages.append(b"tick")
        self._leave()

    def _leave(self):
        self.busy = False

    def receive_message(self, data, *, now):
        self._enter(now)
        if data != b"ok":
            raise RemoteProtocolError(ErrorCode.E_CBOR, "not ok")

    def rename(self, name, *, now):
        if not name:
            raise LocalProtocolError(ErrorCode.E_USAGE, "no name")
        self._enter(now)
        return name

    def close(self, *, now):
        self._enter(now)
        self.closed = True

    def next_event(self):
        return self.events.pop(0) if self.events else None

    def next_message(self, now):
        self._enter(now)
        return self.messages.pop(0) if self.messages else None

    def deadline(self):
        if self.events or self.messages:
            return self.now
        return None if self.closed else self.ticks + 1.0

    def occupancy(self):
        return {"events": (len(self.events), 3)}


Ticker.__module__ = "quinkgl.ticker"


def test_a_good_machine_passes_and_is_passed_through():
    ticker = Checked(Ticker())
    ticker.receive_message(b"ok", now=0.5)
    assert ticker.deadline() == 1.0
    ticker.handle_timer(now=0.7)
    ticker.handle_timer(now=1.0)
    drained = ticker.drain()
    assert drained.events == (Ticked(1),)
    assert drained.of("next_message") == [b"tick"]
    assert drained.of("next_event") == []
    assert ticker.rename("name", now=1.5) == "name"
    ticker.step_back()
    ticker.close(now=2.0)
    assert ticker.closed
    assert ticker.deadline() is None


def test_permitted_errors_come_through():
    ticker = Checked(Ticker())
    with pytest.raises(RemoteProtocolError):
        ticker.receive_message(b"bad", now=0.0)
    with pytest.raises(LocalProtocolError):
        ticker.rename("", now=0.0)


class OutputTooEarly(Ticker):
    def deadline(self):
        return self.now + 1.0


class NoProgress(Ticker):
    def deadline(self):
        return float(max(self.ticks, 1))


class NeverDry(Ticker):
    def next_message(self, now):
        self._enter(now)
        return b"more"

    def deadline(self):
        return self.now


class BusyTimer(Ticker):
    def handle_timer(self, *, now):
        self.ticks += 1


class ImpureDeadline(Ticker):
    def deadline(self):
        self.ticks += 1


class CloseTwice(Ticker):
    def close(self, *, now):
        self.ticks += 1
        self.closed = True


class DirtyError(Ticker):
    def rename(self, name, *, now):
        self.ticks += 1
        raise LocalProtocolError(ErrorCode.E_USAGE, "no name")


class Crash(Ticker):
    def receive_message(self, data, *, now):
        raise KeyError(data)


class LocalErrorOnInput(Ticker):
    def receive_message(self, data, *, now):
        raise LocalProtocolError(ErrorCode.E_USAGE, "data")


class RemoteErrorInCommand(Ticker):
    def rename(self, name, *, now):
        raise RemoteProtocolError(ErrorCode.E_CBOR, "name")


class Overfull(Ticker):
    def receive_message(self, data, *, now):
        self.events += [Ticked(0)] * 4


class OverfullBeforeError(Ticker):
    def receive_message(self, data, *, now):
        self.events += [Ticked(0)] * 4
        raise RemoteProtocolError(ErrorCode.E_CBOR, "not ok")


class DictEvent(Ticker):
    def receive_message(self, data, *, now):
        self.events.append({"ticked": 1})


class ClockUncounted(Ticker):
    def _enter(self, now):
        self.now = max(self.now, now)


class ClockFollowed(Ticker):
    def handle_timer(self, *, now):
        if now < self.now:
            self.stats.clock_steps_back += 1
        self.ticks = int(now)


BAD = {
    OutputTooEarly: lambda ticker: (ticker.handle_timer(now=1.5), ticker.drain()),
    NoProgress: lambda ticker: (ticker.handle_timer(now=1.0), ticker.drain()),
    BusyTimer: lambda ticker: ticker.handle_timer(now=0.0),
    ImpureDeadline: lambda ticker: ticker.deadline(),
    CloseTwice: lambda ticker: ticker.close(now=0.0),
    DirtyError: lambda ticker: ticker.rename("", now=0.0),
    Crash: lambda ticker: ticker.receive_message(b"ok", now=0.0),
    LocalErrorOnInput: lambda ticker: ticker.receive_message(b"ok", now=0.0),
    RemoteErrorInCommand: lambda ticker: ticker.rename("", now=0.0),
    Overfull: lambda ticker: ticker.receive_message(b"ok", now=0.0),
    OverfullBeforeError: lambda ticker: ticker.receive_message(b"ok", now=0.0),
    DictEvent: lambda ticker: (ticker.receive_message(b"ok", now=0.0), ticker.drain()),
    ClockUncounted: lambda ticker: ticker.step_back(),
    ClockFollowed: lambda ticker: ticker.step_back(),
}
for bad in BAD:
    bad.__module__ = "quinkgl.ticker"


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.__name__)
def test_a_bad_machine_is_caught(bad):
    with pytest.raises(ContractError):
        BAD[bad](Checked(bad()))


def test_a_machine_that_never_dries_up_is_caught(monkeypatch):
    monkeypatch.setattr("quinkgl.testing.contract._DRAIN_LIMIT", 100)
    with pytest.raises(ContractError, match="never dries up"):
        Checked(NeverDry(), deep=False).drain()


def test_a_shallow_check_skips_the_comparison_of_states():
    Checked(DirtyError(), deep=False).close(now=0.0)
    with pytest.raises(LocalProtocolError):
        Checked(DirtyError(), deep=False).rename("", now=0.0)


def test_ignored_attributes_may_differ():
    with pytest.raises(LocalProtocolError):
        Checked(DirtyError(), ignore=frozenset({"ticks"})).rename("", now=0.0)


def test_reentry_must_be_refused():
    ticker = Ticker()
    assert_refuses_reentry(ticker, lambda: ticker.handle_timer(now=1.0), now=1.0)
    open_ticker = ClockFollowed()
    with pytest.raises(ContractError, match="inside a call"):
        assert_refuses_reentry(open_ticker, lambda: open_ticker.receive_message(b"ok", now=0.0), now=0.0)


def test_frozen_states_compare_by_value():
    one, other = Ticker(), Ticker()
    assert freeze(one) == freeze(other)
    other.messages.append(bytearray(b"x"))
    assert freeze(one) != freeze(other)
    assert freeze(one, frozenset({"messages"})) == freeze(other, frozenset({"messages"}))
    one.events.append(one)
    assert "<cycle>" in repr(freeze(one))


@dataclass
class Collector(Ticker):
    """Keeps the datagrams that it is given: a copy, or the caller's memory itself."""

    copies: bool = True
    kept: list = field(default_factory=list)

    def receive_datagram(self, data, source, *, now):
        self._enter(now)
        self.kept.append(bytes(data) if self.copies else data)


def test_the_memory_of_a_datagram_is_lent_for_the_call_alone():
    careful, careless = Collector(), Collector(copies=False)
    for machine in (careful, careless):
        Checked(machine).receive_datagram(b"datagram", ("192.0.2.1", 1), now=0.0)
    assert careful.kept == [b"datagram"]
    assert bytes(careless.kept[0]) == b"\xa5" * 8
