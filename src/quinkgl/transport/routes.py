"""Which session a short packet belongs to, and what those of no session are answered (spec 6.6 and 6b.6).

Packets are routed by connection id alone, wherever they come from. One that bears no id of ours may be a
stateless reset, which ends the session whose token it carries. All others are for sessions that this node has
lost, or never had: their sender gets a reset, within a rate.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from quinkgl.transport.stateless_reset import ResetLimiter, ResetTokens, build_reset, reset_token
from quinkgl.wire.packets import CONNECTION_ID_BYTES

if TYPE_CHECKING:
    import random

    from quinkgl.transport.connection import Connection
    from quinkgl.transport.stats import EndpointStats
    from quinkgl.wire.addresses import Address

_TOKEN_KEY_BYTES = 32
_RESETS_QUEUED = 64


class IdSource:
    """Makes connection ids and the reset tokens that belong to them.

    It knows no session, so that one that holds it is freed as soon as its endpoint forgets it.
    """

    __slots__ = ("_reset_key", "_rng")

    def __init__(self, reset_key: bytes, rng: random.Random) -> None:
        """``reset_key`` is the key behind our own tokens (:func:`stateless_reset.reset_key`)."""
        self._reset_key = reset_key
        self._rng = rng

    def issue(self) -> tuple[bytes, bytes]:
        """Make a connection id and its reset token."""
        connection_id = self._rng.randbytes(CONNECTION_ID_BYTES)
        return connection_id, reset_token(self._reset_key, connection_id)


class Routes:
    """Connection ids and reset tokens of all sessions of an endpoint."""

    def __init__(self, reset_key: bytes, rng: random.Random, stats: EndpointStats, now: float) -> None:
        """``reset_key`` is the key behind our own tokens (:func:`stateless_reset.reset_key`)."""
        self.id_source = IdSource(reset_key, rng)
        self._reset_key = reset_key
        self._rng = rng
        self._stats = stats
        self._by_id: dict[bytes, Connection] = {}
        self._ids: dict[bytes, list[bytes]] = {}
        self._tokens = ResetTokens(rng.randbytes(_TOKEN_KEY_BYTES))
        self._tokens_of: dict[bytes, tuple[bytes, ...]] = {}
        self._limiter = ResetLimiter(now)
        self._resets: deque[tuple[bytes, Address]] = deque(maxlen=_RESETS_QUEUED)

    def __len__(self) -> int:
        """How many connection ids lead to a session."""
        return len(self._by_id)

    def find(self, connection_id: bytes) -> Connection | None:
        """Return the session whose packets bear an id."""
        return self._by_id.get(connection_id)

    def update(self, connection: Connection) -> None:
        """Follow a session's ids and tokens; ``local_id`` is the name that it is known by here."""
        name = connection.local_id
        held = self._ids.get(name)
        if held is None:
            held = self._ids[name] = [name]
            self._by_id[name] = connection
        for connection_id, is_new in connection.local_ids.take_changes():
            if is_new:
                held.append(connection_id)
                self._by_id[connection_id] = connection
            else:
                held.remove(connection_id)
                del self._by_id[connection_id]
        if connection.remote_ids.tokens_changed:
            connection.remote_ids.tokens_changed = False
            self._replace_tokens(name, connection.remote_ids.tokens())

    def remove(self, connection: Connection) -> None:
        """Forget a session that is over."""
        for connection_id in self._ids.pop(connection.local_id, []):
            del self._by_id[connection_id]
        self._replace_tokens(connection.local_id, ())

    def reset_by(self, datagram: bytes | memoryview) -> Connection | None:
        """Return the session that a datagram without an id of ours ends."""
        name = self._tokens.owner_of(datagram)
        held = None if name is None else self._ids.get(name)
        return self._by_id.get(held[0]) if held else None

    def answer(self, datagram: bytes | memoryview, source: Address, now: float) -> None:
        """Answer a packet of a session that is not here, within size and rate."""
        connection_id = bytes(datagram[1 : 1 + CONNECTION_ID_BYTES])
        token = reset_token(self._reset_key, connection_id)
        reset = build_reset(token, len(datagram), self._rng)
        if reset is None or source[1] == 0:
            return
        if not self._limiter.take(now):
            self._stats.drop("reset_rate")
            return
        self._resets.append((reset, source))
        self._stats.resets_sent += 1

    @property
    def has_resets(self) -> bool:
        """Whether a reset waits to be sent."""
        return bool(self._resets)

    def next_reset(self) -> tuple[bytes, Address] | None:
        """Take the next reset to send."""
        return self._resets.popleft() if self._resets else None

    def _replace_tokens(self, name: bytes, tokens: tuple[bytes, ...]) -> None:
        self._tokens.replace(name, self._tokens_of.pop(name, ()), tokens)
        if tokens:
            self._tokens_of[name] = tokens
