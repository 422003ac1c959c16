"""Our attempts to reach an address: one INIT at a time, sent again until somebody answers (spec 5.6)."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import TYPE_CHECKING

from quinkgl.crypto.cookie import mac2
from quinkgl.crypto.mac import mac1
from quinkgl.crypto.psk import SwarmKeys
from quinkgl.transport.handshake import Initiator, LocalParty, Session
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.packets import CONNECTION_ID_BYTES, MAC_BYTES, encode_init

if TYPE_CHECKING:
    import random

    from quinkgl.wire.addresses import Address
    from quinkgl.wire.packets import LongPacket


class AttemptState(Enum):
    """What an attempt to connect is doing."""

    SENDING = "sending"
    YIELDED = "yielded"
    """The other side opened at the same time and won: its handshake goes on, ours waits."""
    OVER = "over"


class AttemptEvent(Enum):
    """What moves an attempt."""

    AGAIN = "again"
    """Nobody answered in time, or the handshake that we yielded to came to nothing."""
    EXHAUSTED = "exhausted"
    """As AGAIN, and no datagram is left to send."""
    ANSWERED = "answered"
    REFUSED = "refused"
    """The answer is authentic, and has to be refused."""
    NO_VERSION = "no version"
    """The other side speaks none of ours."""
    GREATER_INIT = "greater INIT"
    """The other side opens to us at this time, and its key is the greater one."""
    SETTLED = "settled"
    """Another handshake made the session that this attempt is for."""


_ENDS = (
    AttemptEvent.EXHAUSTED,
    AttemptEvent.ANSWERED,
    AttemptEvent.REFUSED,
    AttemptEvent.NO_VERSION,
    AttemptEvent.SETTLED,
)

TRANSITIONS: dict[tuple[AttemptState, AttemptEvent], AttemptState] = {
    (AttemptState.SENDING, AttemptEvent.AGAIN): AttemptState.SENDING,
    (AttemptState.SENDING, AttemptEvent.GREATER_INIT): AttemptState.YIELDED,
    (AttemptState.YIELDED, AttemptEvent.AGAIN): AttemptState.SENDING,
    **{
        (state, event): AttemptState.OVER
        for state in (AttemptState.SENDING, AttemptState.YIELDED)
        for event in _ENDS
    },
}
"""Every move there is; anything else is a defect."""


class Attempt:
    """One try to reach an address.

    The same INIT, sent again with back-off until it is answered or given up. It becomes another one only
    where the other side asks for that: with the proof of a cookie, or in another version.
    """

    def __init__(
        self,
        *,
        party: LocalParty,
        address: Address,
        expected_peer: bytes | None,
        local_id: bytes,
        offered: tuple[int, ...],
        timeout_s: float,
        tries: int,
        now: float,
    ) -> None:
        """Make an attempt; :meth:`begin` gives it its INIT. ``offered`` are the versions that it tells."""
        self.party = party
        self.address = address
        self.expected_peer = expected_peer
        self.local_id = local_id
        self.offered = offered
        self.state = AttemptState.SENDING
        self.due = True
        self.queued = False
        self.retry_at = now
        self.tries_left = tries
        self.initiator: Initiator
        self.mac1 = b""
        self.first_destination_id = b""
        self.followed_version_negotiation = False
        self._may_answer_cookie = False
        self._sent_at: list[float] = []
        self._parts = (b"", b"")
        self._cookie = b""
        self._timeout_s = timeout_s

    def begin(self, initiator: Initiator, cookie: bytes, rng: random.Random) -> None:
        """Make the INIT of this attempt, with the proof of a cookie where there is one."""
        # S-010, S-011, P-012
        self.initiator = initiator
        self.first_destination_id = rng.randbytes(CONNECTION_ID_BYTES)
        self._parts = encode_init(
            version=initiator.version,
            destination_id=self.first_destination_id,
            source_id=self.local_id,
            versions=self.offered,
            noise=initiator.message1,
        )
        self.mac1 = mac1(self.party.keys.mac1_key, *self._parts)
        self._cookie = cookie
        self._sent_at = []

    def take(self, now: float, jitter: float) -> bytes:
        """Return the INIT to send; the next one follows after twice the time, ± 10 % [S-030]."""
        self.due = False
        self._sent_at.append(now)
        if self.retry_at <= now:  # and not for a cookie
            self.tries_left -= 1
            self.retry_at = now + self._timeout_s * jitter
            self._timeout_s *= 2
            self._may_answer_cookie = True
        head, tail = self._parts
        proof = mac2(self._cookie, head, self.mac1, tail) if self._cookie else bytes(MAC_BYTES)
        return head + self.mac1 + proof + tail

    def is_meant_by(self, packet: LongPacket, source: Address) -> bool:
        """Whether an answer comes from where the INIT went, in its version [S-031, S-065, S-074]."""
        return (packet.version, source) == (self.initiator.version, self.address)

    def use_cookie(self, cookie: bytes) -> None:
        """Prove our address from now on, and at once if this is the first cookie since the last try.

        Once a try: two nodes with a fault, or somebody between them, must not keep each other busy.
        """
        self._cookie = cookie
        if self._may_answer_cookie and self.state is AttemptState.SENDING:
            self._may_answer_cookie = False
            self.due = True

    def rtt(self, now: float) -> float | None:
        """Return the round-trip time that an answer coming now shows [S-035].

        None when the INIT was sent more than once, since nobody knows which one was answered.
        """
        return now - self._sent_at[0] if len(self._sent_at) == 1 else None

    def wait_for_other(self, now: float) -> None:
        """Yield to the peer's own handshake for as long as that may take: send nothing meanwhile [S-050]."""
        self.move(AttemptEvent.GREATER_INIT)
        self.due = False
        self.retry_at = now + LIMITS.half_open_lifetime_s

    def go_on(self, now: float) -> None:
        """Send the INIT again: nobody answered, or the peer's own handshake came to nothing."""
        self.move(AttemptEvent.AGAIN)
        self.due = True
        self.retry_at = now

    def move(self, event: AttemptEvent) -> None:
        """Make a transition; KeyError for one that is not in the table."""
        self.state = TRANSITIONS[self.state, event]

    def is_answered_by(self, session: Session, address: Address) -> bool:
        """Whether a session with the peer at ``address`` is what this attempt is for."""
        keys = self.party.keys
        if (keys.swarm_id, keys.mode) != (session.swarm_id, session.mode):
            return False
        if self.expected_peer is None:
            return self.address == address
        return self.expected_peer == session.peer_id


class AttemptTable:
    """The attempts that are under way, by the id that we chose and by the address they go to."""

    def __init__(self) -> None:
        self._by_id: dict[bytes, Attempt] = {}
        self._by_address: dict[Address, dict[bytes, Attempt]] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Attempt]:
        """Iterate over a copy, oldest first."""
        return iter(list(self._by_id.values()))

    def add(self, attempt: Attempt) -> None:
        """Take up an attempt."""
        self._by_id[attempt.local_id] = attempt
        self._by_address.setdefault(attempt.address, {})[attempt.local_id] = attempt

    def remove(self, attempt: Attempt, event: AttemptEvent) -> None:
        """Forget an attempt, which ``event`` ends."""
        attempt.move(event)
        attempt.due = False
        del self._by_id[attempt.local_id]
        here = self._by_address[attempt.address]
        del here[attempt.local_id]
        if not here:
            del self._by_address[attempt.address]

    def get(self, local_id: bytes) -> Attempt | None:
        """Return the attempt with an id."""
        return self._by_id.get(local_id)

    def is_trying(self, address: Address, expected_peer: bytes | None, keys: SwarmKeys) -> bool:
        """Whether an attempt with this expectation and these keys is under way to an address."""
        return any(
            (attempt.expected_peer, attempt.party.keys) == (expected_peer, keys)
            for attempt in self._by_address.get(address, {}).values()
        )

    def at(self, address: Address, state: AttemptState) -> tuple[Attempt, ...]:
        """Return the attempts to an address that are in a state, oldest first."""
        here = self._by_address.get(address)
        return () if here is None else tuple(attempt for attempt in here.values() if attempt.state is state)
