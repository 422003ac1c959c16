"""Handshakes that are not finished: our attempts, and INITs that we answered (spec 5.6 and 5.7)."""

from __future__ import annotations

from enum import Enum

from quinkgl.transport.handshake import Initiator, LocalParty, Responder
from quinkgl.wire.addresses import Address, prefix
from quinkgl.wire.limits import LIMITS


class AttemptState(Enum):
    """What an attempt to connect is doing."""

    SENDING = "sending"
    YIELDED = "yielded"
    """The other side opened at the same time and won: its handshake goes on, ours waits."""


class Attempt:
    """One try to reach an address.

    The same INIT, sent again with back-off until it is answered or given up.
    """

    def __init__(
        self,
        *,
        party: LocalParty,
        initiator: Initiator,
        address: Address,
        expected_peer: bytes | None,
        local_id: bytes,
        datagram: bytes,
        timeout_s: float,
        tries: int,
        now: float,
    ) -> None:
        self.party = party
        self.initiator = initiator
        self.address = address
        self.expected_peer = expected_peer
        self.local_id = local_id
        self.state = AttemptState.SENDING
        self.due = True
        self.retry_at = now
        self.tries_left = tries
        self._sent_at: list[float] = []
        self._datagram = datagram
        self._timeout_s = timeout_s

    def take(self, now: float, jitter: float) -> bytes:
        """Return the INIT to send; the next one follows after twice the time, ± 10 %."""
        self.due = False
        self._sent_at.append(now)
        self.tries_left -= 1
        self.retry_at = now + self._timeout_s * jitter
        self._timeout_s *= 2
        return self._datagram

    def rtt(self, now: float) -> float | None:
        """Return the round-trip time that an answer coming now shows.

        None when the INIT was sent more than once, since nobody knows which one was answered.
        """
        return now - self._sent_at[0] if len(self._sent_at) == 1 else None

    def wait_for_other(self, now: float) -> None:
        """Yield to the peer's own handshake for as long as that may take: send nothing meanwhile."""
        self.state = AttemptState.YIELDED
        self.due = False
        self.retry_at = now + LIMITS.half_open_lifetime_s

    def go_on(self) -> None:
        """Send the INIT again: nobody answered, or the peer's own handshake came to nothing."""
        self.state = AttemptState.SENDING
        self.due = True


class HalfOpen:
    """An INIT that we answered, until the peer shows that it can hear us at its address."""

    def __init__(
        self,
        *,
        responder: Responder,
        address: Address,
        local_id: bytes,
        remote_id: bytes,
        datagram: bytes,
        received_bytes: int,
        timeout_s: float,
        now: float,
    ) -> None:
        self.responder = responder
        self.address = address
        self.network = prefix(address)
        """What the quota for strangers counts by."""
        self.local_id = local_id
        self.remote_id = remote_id
        self.expires_at = now + LIMITS.half_open_lifetime_s
        self.due = True
        self.retry_at = now
        self._datagram = datagram
        self._timeout_s = timeout_s
        self._sent_at: list[float] = []
        self._received_bytes = received_bytes

    def on_init_again(self, size: int) -> None:
        """The same INIT came again: answer again, and count its bytes."""
        self._received_bytes += size
        self.due = True

    @property
    def may_send(self) -> bool:
        """Whether one more answer keeps to three times what came from the unvalidated address.

        RFC 9000 section 8.1.
        """
        sent_bytes = len(self._sent_at) * len(self._datagram)
        return sent_bytes + len(self._datagram) <= LIMITS.unvalidated_factor * self._received_bytes

    def rtt(self, now: float) -> float | None:
        """Return the round-trip time that an answer coming now shows, as :meth:`Attempt.rtt` does."""
        return now - self._sent_at[0] if len(self._sent_at) == 1 else None

    def take(self, now: float) -> bytes | None:
        """Return the answer to send, None when it would exceed the amplification limit."""
        self.due = False
        self.retry_at = now + self._timeout_s
        self._timeout_s *= 2
        if not self.may_send:
            return None
        self._sent_at.append(now)
        return self._datagram
