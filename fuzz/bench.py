"""Drives one machine of the protocol through the steps of a script, and holds it to its contract."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from fuzz.oracles import Bound, Finding, check_error, compares_states, metered
from quinkgl.crypto import cose
from quinkgl.crypto.identity import Identity
from quinkgl.testing.contract import Checked, freeze
from quinkgl.wire.errors import LocalProtocolError, RemoteProtocolError

MESSAGE = Bound(calls=1500, calls_per_byte=25, memory=120_000, memory_per_byte=200)
"""What one message may cost a machine, signatures apart, which are one call each."""
_MOST_OUTPUT = 100_000
IDENTITIES = tuple(Identity.from_seed(bytes([number + 1]) * 32) for number in range(6))
"""We are the first; the others are peers."""
US = IDENTITIES[0]
PEERS = IDENTITIES[1:]


@lru_cache(maxsize=2048)
def signed(signer: int, domain: str, payload: bytes) -> bytes:
    """Return an envelope that one of the identities signed."""
    return cose.sign1(IDENTITIES[signer % len(IDENTITIES)], domain, payload)


def peer(number: int) -> bytes:
    """Return the id of a peer."""
    return PEERS[number % len(PEERS)].peer_id


# Whether a signature holds is a function of its bytes; the same few are asked about in run after run, and are
# most of what a run costs. Refusals are exceptions, which the cache does not keep.
cose.verify_bytes_untrusted = lru_cache(maxsize=4096)(cose.verify_bytes_untrusted)  # type: ignore[assignment]


class Bench:
    """One machine, the time, and what it gave so far."""

    def __init__(self, machine: Any, *, now: float = 0.0, bound: Bound = MESSAGE) -> None:
        self.raw = machine
        self.machine = Checked(machine, deep=True, now=now) if compares_states() else machine
        self.now = now
        self.events: list[Any] = []
        self._bound = bound
        self._outputs = [name for name in ("next_action", "next_message") if hasattr(machine, name)]

    def command(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a command; None where it was a misuse, which the contract holds to change nothing."""
        try:
            return getattr(self.machine, name)(*args, now=self.now, **kwargs)
        except LocalProtocolError:
            return None

    def message(
        self, *args: Any, size: int, ignore: frozenset[str] | None = None, name: str = "receive_message"
    ) -> bool:
        """Let a message arrive; whether it was taken.

        A refused one leaves the state as it was but for what ``ignore`` names; None compares nothing.
        """
        before = freeze(self.raw, ignore) if compares_states() and ignore is not None else None
        try:
            metered(self._bound, size, getattr(self.machine, name), *args, now=self.now)
        except RemoteProtocolError as error:
            check_error(error)
            if before is not None and freeze(self.raw, ignore or frozenset()) != before:
                raise Finding(f"a refused message changed the state: {error}") from error
            return False
        return True

    def wait(self, seconds: float) -> None:
        """Let time pass, and let the timer fire at its end."""
        self.now += seconds
        self.machine.handle_timer(now=self.now)

    def step_back(self, seconds: float) -> None:
        """Let the clock go back for one call."""
        before = self.raw.stats.clock_steps_back
        self.raw.handle_timer(now=self.now - seconds)
        if seconds > 0 and self.raw.stats.clock_steps_back != before + 1:
            raise Finding("a clock that went back was not counted")

    def drain(self) -> tuple[list[Any], list[Any]]:
        """Take all events and all other output that is ready."""
        events: list[Any] = []
        outputs: list[Any] = []
        for _ in range(_MOST_OUTPUT):
            event = self.machine.next_event()
            if event is None:
                break
            events.append(event)
        for name in self._outputs:
            take = getattr(self.machine, name)
            for _ in range(_MOST_OUTPUT):
                output = take(self.now)
                if output is None:
                    break
                outputs.append(output)
            else:
                raise Finding(f"{name} never dries up")
        self.events += events
        return events, outputs

    def check_bounds(self) -> None:
        """Raise a finding where a collection holds more than it may."""
        occupancy = getattr(self.raw, "occupancy", None)
        for name, (held, bound) in {} if occupancy is None else occupancy().items():
            if held > bound:
                raise Finding(f"{name} holds {held}, its bound is {bound}")
