"""What must hold for any input, and how it is measured.

Measuring costs more than the work that is measured, so a harness calls through :func:`metered` and the engine
decides: not at all, calls alone (now and then during a campaign), or calls and memory (when a corpus is
replayed).
"""

from __future__ import annotations

import contextlib
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from types import FrameType
from typing import Any, TypeVar

from quinkgl.wire.cbor import decode_untrusted, encode
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError

T = TypeVar("T")

MAX_ERROR_CHARACTERS = 1200
"""An error tells what is wrong, and repeats no message."""
_FIRST_IGNORABLE_KEY = 64
_HOOK_BYTES = 4096
"""What the measuring itself may take."""


class Finding(AssertionError):  # noqa: N818 - what a fuzzer calls it
    """An input for which something does not hold."""


class Meter(IntEnum):
    """What is measured about each call."""

    OFF = 0
    CALLS = 1
    CALLS_AND_MEMORY = 2
    STATE = 3
    """Nothing is measured; whole states are compared around what must change none."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What a call may cost for an input: a constant, and so much for each byte of it.

    ``calls`` counts the functions entered, those of C included where the coverage probes do not count as
    such; ``memory`` is the most that was allocated at any moment beyond what was before, in bytes.
    """

    calls: int = 400
    calls_per_byte: float = 12
    memory: int = 60_000
    memory_per_byte: float = 120


DECODER = Bound()


class _State:
    meter = Meter.OFF
    counts_c = True


def counts_c_calls(counts: bool) -> None:
    """Say whether calls of C functions count: instrumented code makes some of its own."""
    _State.counts_c = counts


@contextlib.contextmanager
def measuring(meter: Meter) -> Iterator[None]:
    """Measure what goes through :func:`metered` inside."""
    before, _State.meter = _State.meter, meter
    started = meter is Meter.CALLS_AND_MEMORY and not tracemalloc.is_tracing()
    if started:
        tracemalloc.start()
    try:
        yield
    finally:
        _State.meter = before
        if started:
            tracemalloc.stop()


def compares_states() -> bool:
    """Whether this execution is one of those that compare whole states."""
    return _State.meter is Meter.STATE


def metered(bound: Bound, size: int, call: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """Call, and hold the cost to ``bound`` for an input of ``size`` bytes."""
    if _State.meter is Meter.OFF or _State.meter is Meter.STATE:
        return call(*args, **kwargs)
    return _measured(bound, size, call, args, kwargs)


def _measured(
    bound: Bound, size: int, call: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> T:
    count = 0
    wanted = ("call", "c_call") if _State.counts_c else ("call",)

    def hook(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        if event in wanted:
            count += 1

    traced = tracemalloc.is_tracing()
    base = 0
    if traced:
        tracemalloc.reset_peak()
        base = tracemalloc.get_traced_memory()[0]
    sys.setprofile(hook)
    try:
        return call(*args, **kwargs)
    finally:
        sys.setprofile(None)
        peak = tracemalloc.get_traced_memory()[1] - base if traced else 0
        most_calls = bound.calls + bound.calls_per_byte * size
        most_bytes = _HOOK_BYTES + bound.memory + bound.memory_per_byte * size
        if count > most_calls:
            raise Finding(f"{count} calls for {size} bytes; the bound is {most_calls:.0f}")
        if peak > most_bytes:
            raise Finding(f"{peak} bytes of memory for {size} bytes; the bound is {most_bytes:.0f}")


def check_error(error: RemoteProtocolError) -> None:
    """Check that an error says what it must: a code that may be sent, and a text of bounded length."""
    if not isinstance(error.code, ErrorCode) or error.code.scope == "local":
        raise Finding(f"a remote error with the code {error.code!r}") from error
    if len(str(error)) > MAX_ERROR_CHARACTERS:
        raise Finding(f"an error of {len(str(error))} characters") from error


def attempt(
    decode: Callable[..., T], data: bytes, *args: Any, bound: Bound = DECODER, **kwargs: Any
) -> T | None:
    """Decode; None where the bytes are refused. Anything but a RemoteProtocolError comes out as a finding."""
    try:
        return metered(bound, len(data), decode, data, *args, **kwargs)
    except RemoteProtocolError as error:
        check_error(error)
        return None


def check_message(
    data: bytes,
    decode: Callable[[bytes], Any],
    encode_message: Callable[[Any], bytes],
    *,
    exact: bool = True,
) -> Any:
    """Decode a message that is one CBOR map, and encode what was accepted again.

    The decoder takes a view of a larger buffer as well as bytes. Encoding what was decoded gives the same
    message; where ``exact``, also the same bytes, the keys left out that a reader must ignore.
    """
    message = attempt(decode, data)
    if message is None:
        return None
    encoded = encode_message(message)
    if decode(encoded) != message:
        raise Finding(f"encoding {message!r} gives another message")
    if exact:
        value = decode_untrusted(data, max_bytes=len(data), where="again", max_items=1 << 20)
        known = {key: item for key, item in value.items() if key < _FIRST_IGNORABLE_KEY}
        if encode(known) != encoded:
            raise Finding(f"{message!r} is encoded in another way: {encoded.hex()}")
    return message


def check_equal(actual: object, expected: object, what: str) -> None:
    """Raise a finding where two things differ that must not."""
    if actual != expected:
        raise Finding(f"{what}: {actual!r:.300} instead of {expected!r:.300}")
