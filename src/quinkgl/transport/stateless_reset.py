"""Stateless reset: how a node that lost a session says so to a peer that still has it (spec 6b.6).

The token of a connection id is a keyed hash of the id, with a key that follows from the node's identity: a
node that was restarted computes the same tokens as before, and nobody else can. Whoever holds a session knows
the tokens of the ids that it uses, since they came encrypted, and ends the session when a datagram that
belongs to none of its own ends with one of them.

Two nodes that both lost a session must not answer each other for ever: a reset is always smaller than what it
answers, and nothing small is answered (RFC 9000 section 10.3.3).
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from quinkgl.crypto.identity import Identity
from quinkgl.crypto.short_hmac import short_hmac
from quinkgl.wire.limits import CONSTANTS, LIMITS
from quinkgl.wire.packets import GREASE_MASK, KEY_PHASE_BIT, SHORT_FORM

if TYPE_CHECKING:
    import random

TOKEN_BYTES = CONSTANTS.stateless_reset_token_bytes
SMALLEST_BYTES = CONSTANTS.reset_min_bytes
LARGEST_BYTES = CONSTANTS.reset_max_bytes


def reset_key(identity: Identity, swarm_id: bytes) -> bytes:
    """Return the key behind an endpoint's tokens.

    It is bound to the swarm, so that two endpoints of one identity cannot be made to end each other's
    sessions (RFC 9000 section 21.11).
    """
    return hmac.digest(identity.derive_key("reset"), swarm_id, "sha256")


def reset_token(key: bytes, connection_id: bytes) -> bytes:
    """Return the 16-byte token of one connection id."""
    return short_hmac(key, connection_id)[:TOKEN_BYTES]


def reset_size(trigger_bytes: int, random_size: int) -> int | None:
    """Return the size of the reset that answers a datagram, None where none may be sent.

    ``random_size`` is what the size would be if any were allowed.
    """
    if trigger_bytes <= SMALLEST_BYTES:
        return None
    return min(trigger_bytes - 1, max(SMALLEST_BYTES, random_size))


def build_reset(token: bytes, trigger_bytes: int, rng: random.Random) -> bytes | None:
    """Return a datagram that looks like a short packet and ends with ``token`` [Q-041].

    None when the datagram that it would answer is too small.
    """
    size = reset_size(trigger_bytes, rng.randint(SMALLEST_BYTES, LARGEST_BYTES))
    if size is None:
        return None
    first = SHORT_FORM | rng.getrandbits(8) & (GREASE_MASK | KEY_PHASE_BIT)
    return bytes([first]) + rng.randbytes(size - 1 - TOKEN_BYTES) + token


class ResetTokens:
    """Finds the session that a reset ends, in time that does not tell how near a guess came [Q-042, Q-043].

    Tokens are looked up under a keyed hash with a key of this process, as RFC 9000 section 10.3.1 proposes.
    """

    __slots__ = ("_key", "_owners")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._owners: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        """Count the tokens."""
        return len(self._owners)

    def replace(self, owner: bytes, old: tuple[bytes, ...], new: tuple[bytes, ...]) -> None:
        """Exchange the tokens of one session; ``owner`` names it."""
        for token in old:
            self._owners.pop(self._digest(token), None)
        for token in new:
            self._owners[self._digest(token)] = owner

    def owner_of(self, datagram: bytes | memoryview) -> bytes | None:
        """Return the session that a datagram for no id of ours resets, if any."""
        if len(datagram) < SMALLEST_BYTES or not self._owners:
            return None
        return self._owners.get(self._digest(bytes(datagram[-TOKEN_BYTES:])))

    def _digest(self, token: bytes) -> bytes:
        return hmac.digest(self._key, token, "sha256")


class ResetLimiter:
    """How many resets a second may leave: a bucket of one second's worth [Q-040]."""

    __slots__ = ("_at", "_tokens")

    def __init__(self, now: float) -> None:
        self._tokens = float(LIMITS.reset_rate_per_s)
        self._at = now

    def take(self, now: float) -> bool:
        """Whether one more reset may leave now; it is counted."""
        rate = LIMITS.reset_rate_per_s
        self._tokens = min(float(rate), self._tokens + (now - self._at) * rate)
        self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
