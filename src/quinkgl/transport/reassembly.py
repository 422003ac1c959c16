"""What the receiving transfers of an endpoint hold together: memory, and what broken ones left behind.

Memory for objects is reserved only for offers that were accepted, within one budget for the endpoint and a
share for each peer (spec 9.3). A transfer into the endpoint's own memory that ends early leaves its verified
leaves here for a while, by root, and the next offer of the object, whoever makes it, goes on from there (spec
9.5). What is left behind counts against the budget too, and gives way to transfers that are alive.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from quinkgl.transport.sinks import MemorySink
from quinkgl.wire.limits import LIMITS

_MOST_TIMES_DEFAULT = 2
"""A window beyond twice the default brings nothing more on a path of less than a millisecond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectConfig:
    """Bounds of the object exchange; the defaults are the specification's."""

    object_bytes: int = LIMITS.object_bytes
    """The largest object that is offered or taken."""
    reassembly_bytes: int = LIMITS.reassembly_global_bytes
    reassembly_per_peer_bytes: int = LIMITS.reassembly_per_peer_bytes
    transfers: int = LIMITS.transfers_global
    """Objects being received from all peers together."""
    transfers_in_per_peer: int = LIMITS.transfers_in_per_peer
    transfers_out_per_peer: int = LIMITS.transfers_out_per_peer
    min_rate_bytes_per_s: float = LIMITS.transfer_min_rate_bytes_per_s
    """A slower transfer ends with TOO_SLOW when others need its room."""
    min_rate_window_s: float = LIMITS.transfer_min_rate_window_s
    transfer_stall_s: float = LIMITS.transfer_stall_s
    """An offer or a transfer that stands still for so long ends with TOO_SLOW."""
    receive_buffer_bytes: int = 0
    """What the carrier holds of what has arrived and was not read yet: a socket's receive buffer, as the
    kernel granted it. 0 where nobody knows."""
    partials: int = LIMITS.partials
    partial_keep_s: float = LIMITS.partial_keep_s

    @property
    def credit_window_bytes(self) -> int:
        """The window that a transfer begins with: half of the receive buffer, at least the default."""
        default = LIMITS.credit_per_transfer_bytes
        return max(default, min(self.receive_buffer_bytes // 2, _MOST_TIMES_DEFAULT * default))

    @property
    def min_window_bytes(self) -> float:
        """What a transfer must move in each window."""
        return self.min_rate_bytes_per_s * self.min_rate_window_s


@dataclass(frozen=True, slots=True)
class _Partial:
    """The verified leaves of a broken transfer, and until when they are kept."""

    sink: MemorySink
    until: float


class Reassembly:
    """The budget of an endpoint, its partial objects, and the peers that were too slow."""

    def __init__(self, config: ObjectConfig | None = None) -> None:
        self.config = config if config is not None else ObjectConfig()
        self.used = 0
        """Bytes reserved, by transfers and by partial objects."""
        self.transfers = 0
        self._partials: dict[tuple[bytes, int], _Partial] = {}
        self._slow: dict[bytes, float] = {}
        self._refused_at = -math.inf

    @property
    def partial_objects(self) -> int:
        """How many broken transfers are remembered."""
        return len(self._partials)

    def make_room(self, size: int, *, now: float) -> bool:
        """Tell whether one more transfer of ``size`` bytes may begin [O-012, O-035].

        The oldest partial objects give way where that helps. Where there is no room, transfers that are too
        slow learn from :meth:`is_short_of_room` that they are in the way.
        """
        kept = sum(partial.sink.memory_bytes for partial in self._partials.values())
        no_bytes = self.used - kept + size > self.config.reassembly_bytes
        if no_bytes or self.transfers >= self.config.transfers:
            self._refused_at = now
            return False
        while self.used + size > self.config.reassembly_bytes:
            self._drop_oldest()
        return True

    def is_short_of_room(self, *, now: float) -> bool:
        """Whether a transfer could not begin for lack of room, within the last window of the least rate."""
        return now - self._refused_at <= self.config.min_rate_window_s

    def hold(self, size: int) -> None:
        """Take one transfer's share."""
        self.used += size
        self.transfers += 1

    def release(self, size: int) -> None:
        """Give one transfer's share back."""
        self.used -= size
        self.transfers -= 1

    def take_partial(self, root: bytes, size: int) -> MemorySink | None:
        """Give out what is left of an earlier transfer of this object; the taker holds its share then."""
        partial = self._partials.pop((root, size), None)
        if partial is None:
            return None
        self.used -= partial.sink.memory_bytes
        return partial.sink

    def keep_partial(self, sink: MemorySink, *, now: float) -> None:
        """Keep what a transfer verified, after its share was given back; nothing verified is not worth it."""
        # O-033, O-034
        if sink.leaf_list() is None or not any(True for _ in sink.verified()):
            return
        if self.config.partials <= 0 or self.config.partial_keep_s <= 0:
            return
        self.take_partial(sink.root, sink.size)  # an older one of the same object gives way
        while len(self._partials) >= self.config.partials:
            self._drop_oldest()
        self._partials[sink.root, sink.size] = _Partial(sink, now + self.config.partial_keep_s)
        self.used += sink.memory_bytes

    def forget_partials(self) -> None:
        """Let go of everything that was kept: nobody will offer it here any more."""
        while self._partials:
            self._drop_oldest()

    def mark_slow(self, peer: bytes, *, now: float) -> None:
        """Ask nothing of a peer for a window's time, so that others get the room that it held for nothing."""
        # O-038
        self._slow.pop(peer, None)
        while len(self._slow) >= LIMITS.connections:
            del self._slow[next(iter(self._slow))]
        self._slow[peer] = now + self.config.min_rate_window_s

    def is_slow(self, peer: bytes, *, now: float) -> bool:
        """Whether a transfer from ``peer`` was too slow a short while ago."""
        return self._slow.get(peer, now) > now

    def handle_timer(self, *, now: float) -> None:
        """Let go of partial objects that were kept long enough."""
        expired = [key for key, partial in self._partials.items() if partial.until <= now]
        for root, size in expired:
            self.take_partial(root, size)

    def deadline(self) -> float | None:
        """When to call :meth:`handle_timer`."""
        if not self._partials:
            return None
        return min(partial.until for partial in self._partials.values())

    def _drop_oldest(self) -> None:
        self.take_partial(*next(iter(self._partials)))
