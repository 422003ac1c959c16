"""Holds any machine of the stack to the machine contract, on every step.

A machine takes bytes, commands and time, and gives events, output and a deadline; it owns no clock, socket or
thread. What it promises about these calls is the same for a manifest handshake and for a whole swarm, so it
is checked by one wrapper: :class:`Checked` stands in front of a machine, passes every call through and raises
:class:`ContractError` at the first one that breaks a rule. Tests and the simulator drive the wrapper in place
of the machine; the machine never knows.

The rules, and how each is noticed:

1. time that goes backwards is clamped and counted: :meth:`Checked.step_back`
2. network input raises only what its kind of input may raise, commands only LocalProtocolError
3. while output is ready, ``deadline() <= now``
4. after the timer that ``deadline()`` asked for and a drain, the deadline lies later
5. ``deadline()`` and ``handle_timer()`` before the deadline change nothing
6. every collection stays inside its bound: ``occupancy()``, where a machine offers it
7. a second ``close()`` changes nothing
8. a call from inside a call is refused, whichever it is: :func:`assert_refuses_reentry`
9. a LocalProtocolError leaves the state untouched
10. events are frozen, slotted dataclasses
11. the bytes of ``receive_datagram`` are the caller's again afterwards: the machine is given a view of a
    buffer that is overwritten as soon as the call returns, so whatever it kept without copying is spoilt
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import random
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from types import FrameType
from typing import Any, Generic, TypeVar

from quinkgl.wire.errors import LocalProtocolError, RemoteProtocolError
from quinkgl.wire.exclusive import Exclusive

M = TypeVar("M")

_DRAIN_LIMIT = 1_000_000
"""A machine that still gives output after this many pulls at one instant never dries up."""


class ContractError(AssertionError):
    """A machine broke a rule of the machine contract."""


def freeze(value: object, ignore: frozenset[str] = frozenset(), _above: tuple[int, ...] = ()) -> object:
    """Return the observable state of a machine as plain nested tuples, so that two moments can be compared.

    Walks containers and the attributes of objects whose class belongs to QuinkGL; the state of a seeded
    random generator is part of it, anything else (keys, ciphers, functions) counts by its type alone.
    ``ignore`` names attributes that are left out.
    """
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    if id(value) in _above:
        return "<cycle>"
    inside = functools.partial(freeze, ignore=ignore, _above=(*_above, id(value)))
    if isinstance(value, Mapping):
        return tuple((inside(key), inside(item)) for key, item in value.items())
    if isinstance(value, (list, tuple, deque)):
        return tuple(inside(item) for item in value)
    if isinstance(value, (set, frozenset)):
        return tuple(sorted(repr(inside(item)) for item in value))
    if _is_ours(value):
        return type(value).__qualname__, tuple(
            (name, inside(getattr(value, name)))
            for name in _attributes(value)
            if name not in ignore and name != "_is_inside"  # the guard of exclusive calls
        )
    return _freeze_leaf(value)


def _freeze_leaf(value: object) -> object:
    """Freeze what has no parts."""
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, Enum):
        return type(value).__qualname__, value.name
    if isinstance(value, random.Random) and not isinstance(value, random.SystemRandom):
        return value.getstate()
    tobytes = getattr(value, "tobytes", None)
    return type(value).__qualname__ if tobytes is None else tobytes()


def _is_ours(value: object) -> bool:
    return type(value).__module__.startswith("quinkgl.") and not isinstance(value, Enum)


def _attributes(value: object) -> list[str]:
    """Names of the attributes that an instance holds, whether in slots or in a dictionary."""
    slots = [
        name
        for cls in type(value).__mro__
        for name in _as_tuple(cls.__dict__.get("__slots__", ()))
        if name not in {"__dict__", "__weakref__"} and hasattr(value, name)
    ]
    return [*dict.fromkeys([*slots, *getattr(value, "__dict__", {})])]


def _as_tuple(slots: str | Iterable[str]) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)


@dataclasses.dataclass(frozen=True, slots=True)
class Drained:
    """What a machine had ready: its events, and each other output with the name of the call that gave it."""

    events: tuple[Any, ...]
    outputs: tuple[tuple[str, Any], ...]

    def of(self, call: str) -> list[Any]:
        """Return the outputs of one call, such as ``"next_message"``, in order."""
        return [output for name, output in self.outputs if name == call]


class Checked(Generic[M]):
    """A machine behind a wrapper that checks the contract on every call.

    Call it exactly as the machine itself. ``deep`` also compares the whole state around calls that must
    change nothing, which costs time in proportion to the state; ``ignore`` names attributes that the
    comparison leaves out; ``clock_steps_back`` reads the machine's count of times that the clock went
    backwards.
    """

    def __init__(
        self,
        machine: M,
        *,
        deep: bool = True,
        ignore: frozenset[str] = frozenset(),
        clock_steps_back: Callable[[Any], int] = lambda machine: int(machine.stats.clock_steps_back),
        now: float = 0.0,
    ) -> None:
        self.machine = machine
        self.now = now
        self._deep = deep
        self._ignore = ignore
        self._clock_steps_back = clock_steps_back
        self._fired_at: float | None = None
        self._dry: list[str] = []
        self._outputs = sorted(
            (name for name in dir(machine) if name.startswith("next_")),
            key=lambda name: (name != "next_event", name),
        )
        self._timed: dict[str, bool] = {}

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.machine, name)
        if not callable(attribute):
            return attribute
        if name.startswith("next_"):
            return functools.partial(self._output, name, attribute)
        if name == "deadline":
            return self._deadline
        if self._takes_now(name, attribute):
            return functools.partial(self._input, name, attribute)
        return attribute

    def _takes_now(self, name: str, method: Callable[..., Any]) -> bool:
        """Whether a method takes the time; a signature is looked at once."""
        if name not in self._timed:
            self._timed[name] = "now" in inspect.signature(method).parameters
        return self._timed[name]

    def drain(self, now: float | None = None) -> Drained:
        """Pull everything that is ready at ``now``, by default the time of the last call; events first."""
        events: list[Any] = []
        outputs: list[tuple[str, Any]] = []
        when = self.now if now is None else max(now, self.now)
        for name in self._outputs:
            call = getattr(self, name)
            arguments = (when,) if self._takes_now(name, getattr(self.machine, name)) else ()
            for _ in range(_DRAIN_LIMIT):
                output = call(*arguments)
                if output is None:
                    break
                if name == "next_event":
                    events.append(output)
                else:
                    outputs.append((name, output))
            else:
                raise ContractError(f"{name} never dries up at {when}")
        return Drained(tuple(events), tuple(outputs))

    def step_back(self, seconds: float = 1000.0) -> None:
        """Let the clock go backwards by ``seconds``: the machine must clamp it and count it (rule 1)."""
        quiet = self._ignore | {"clock_steps_back"}
        before, counted = freeze(self.machine, quiet), self._clock_steps_back(self.machine)
        machine: Any = self.machine
        deadline = machine.deadline()
        self._call("handle_timer", machine.handle_timer, (), {"now": self.now - seconds})
        if self._clock_steps_back(self.machine) != counted + 1:
            raise ContractError(f"a clock that went back {seconds} s was not counted")
        if deadline is not None and deadline <= self.now:
            return  # something was due: the call was not a spurious one
        if machine.deadline() != deadline or freeze(self.machine, quiet) != before:
            raise ContractError(f"a clock that went back {seconds} s changed the state")

    def _state(self) -> object:
        return freeze(self.machine, self._ignore) if self._deep else None

    def _deadline(self) -> float | None:
        before = self._state()
        machine: Any = self.machine
        deadline: float | None = machine.deadline()
        if self._state() != before:
            raise ContractError("deadline() changed the state")
        return deadline

    def _output(self, name: str, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        now = max(self.now, *args, *kwargs.values()) if args or kwargs else self.now
        deadline = self._deadline()
        output = self._call(name, method, args, kwargs)
        self.now = now
        if output is None:
            self._dry.append(name)
            self._check_progress()
            return None
        if deadline is None or deadline > now:
            raise ContractError(f"{name} gave output at {now} while deadline() was {deadline}")
        if name == "next_event":
            _check_event(output)
        self._dry = [dry for dry in self._dry if dry != name]
        return output

    def _check_progress(self) -> None:
        """After the due timer and a whole drain the deadline must lie later (rule 4)."""
        if self._fired_at is None or any(name not in self._dry for name in self._outputs):
            return
        fired_at, self._fired_at = self._fired_at, None
        deadline = self._deadline()
        if deadline is not None and deadline <= fired_at:
            why = getattr(self.machine, "deadline_reason", "")
            raise ContractError(f"no progress: fired at {fired_at}, the deadline is still {deadline} ({why})")

    def _input(self, name: str, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        now: float = kwargs.get("now", self.now)
        deadline = self._deadline()
        if deadline is not None and name == "handle_timer" and now >= deadline:
            self._fired_at = deadline
        elif name != "handle_timer":
            self._fired_at = None
        self._dry = []
        spurious = name == "handle_timer" and (deadline is None or max(now, self.now) < deadline)
        before = self._state() if spurious and now == self.now else None
        lent = None
        if name == "receive_datagram" and args:
            lent = bytearray(args[0])
            args = (memoryview(lent), *args[1:])
        try:
            result = self._call(name, method, args, kwargs)
        finally:
            self.now = max(self.now, now)
            if lent is not None:
                lent[:] = b"\xa5" * len(lent)
        if before is not None and self._state() != before:
            raise ContractError(f"handle_timer at {now}, before the deadline {deadline}, changed the state")
        if name == "close":
            closed = self._state()
            self._call(name, method, args, kwargs)
            if self._state() != closed:
                raise ContractError("a second close() changed the state")
        self._check_bounds()
        return result

    def _call(
        self, name: str, method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Call through, and judge what is raised (rules 2 and 9)."""
        before = self._state()
        try:
            return method(*args, **kwargs)
        except LocalProtocolError as error:
            if name.startswith(("receive_", "next_", "handle_")):
                raise ContractError(f"{name} raised {error!r}") from error
            if self._state() != before:
                raise ContractError(f"{name} raised {error!r} and changed the state") from error
            raise
        except RemoteProtocolError as error:
            if name != "receive_message":
                raise ContractError(f"{name} raised {error!r}") from error
            self._check_bounds()
            raise
        except ContractError:
            raise
        except Exception as error:
            raise ContractError(f"{name} raised {error!r}") from error

    def _check_bounds(self) -> None:
        occupancy = getattr(self.machine, "occupancy", None)
        if occupancy is None:
            return
        for name, (held, bound) in occupancy().items():
            if held > bound:
                raise ContractError(f"{name} holds {held}, its bound is {bound}")


def _check_event(event: object) -> None:
    """Events are values (rule 10): frozen, nobody changes them; slotted, nobody adds to them."""
    parameters = getattr(type(event), "__dataclass_params__", None)
    if parameters is None or not parameters.frozen or "__slots__" not in type(event).__dict__:
        raise ContractError(f"{type(event).__qualname__} is not a frozen, slotted dataclass")


def assert_refuses_reentry(machine: Any, call: Callable[[], object], *, now: float) -> None:
    """Run ``call``, a call of ``machine``, and call the machine again inside it: it must refuse (rule 8).

    The attempt is made from a profiling hook at every function that ``call`` enters, which is where a
    callback or another thread would come in. Of a machine whose calls are marked ``exclusive``, every public
    one that takes the time or gives output must refuse.
    """
    refused: list[RuntimeError] = []
    let_in: list[str] = []

    def hook(_frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and not refused:
            try:
                machine.handle_timer(now=now)
            except RuntimeError as error:
                refused.append(error)
                let_in.extend(name for name in _exclusive_calls(machine) if not _is_refused(machine, name))

    before = sys.getprofile()
    sys.setprofile(hook)
    try:
        call()
    finally:
        sys.setprofile(before)
    if not refused:
        raise ContractError(f"{type(machine).__qualname__} let itself be called from inside a call")
    if let_in:
        raise ContractError(f"{type(machine).__qualname__} let {', '.join(let_in)} in from inside a call")


def _exclusive_calls(machine: Any) -> list[str]:
    """Names of the calls that must be exclusive, of a machine that marks them so."""
    if not isinstance(machine, Exclusive):
        return []
    return [
        name
        for name, method in inspect.getmembers(type(machine), inspect.isfunction)
        if not name.startswith("_")
        and (name.startswith("next_") or "now" in inspect.signature(method).parameters)
    ]


def _is_refused(machine: Any, name: str) -> bool:
    """Whether a call is refused before its arguments, of which there are none, are looked at."""
    try:
        getattr(machine, name)()
    except RuntimeError:
        return True
    except TypeError:
        return False
    return False
