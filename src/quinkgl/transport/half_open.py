"""INITs that we answered, until their senders show that they can hear us at their address (spec 5.7)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from quinkgl.transport.handshake import Responder
from quinkgl.wire.addresses import is_loopback, prefix
from quinkgl.wire.limits import LIMITS

if TYPE_CHECKING:
    from quinkgl.wire.addresses import Address
    from quinkgl.wire.packets import LongPacket


class HalfOpen:
    """One INIT that we answered [S-042, S-043]."""

    def __init__(
        self,
        *,
        responder: Responder,
        version: int,
        address: Address,
        network: bytes | None,
        local_id: bytes,
        remote_id: bytes,
        datagram: bytes,
        received_bytes: int,
        timeout_s: float,
        now: float,
    ) -> None:
        self.responder = responder
        self._version = version
        self.address = address
        self.network = network
        self.local_id = local_id
        self.remote_id = remote_id
        self.expires_at = now + LIMITS.half_open_lifetime_s
        self.due = True
        self.queued = False
        self.retry_at = now
        self._datagram = datagram
        self._timeout_s = timeout_s
        self._sent_at: list[float] = []
        self._received_bytes = received_bytes

    def is_meant_by(self, packet: LongPacket, source: Address) -> bool:
        """Whether a FIN comes from where the INIT did, in its version, with its source [S-045, S-074]."""
        named = (packet.source_id, packet.version, source)
        return named == (self.remote_id, self._version, self.address)

    def on_init_again(self, size: int) -> None:
        """The same INIT came again: answer again, and count its bytes."""
        self._received_bytes += size
        self.due = True

    @property
    def may_send(self) -> bool:
        """Whether one more answer keeps to three times what came from the unvalidated address [V-008].

        RFC 9000 section 8.1.
        """
        sent_bytes = len(self._sent_at) * len(self._datagram)
        return sent_bytes + len(self._datagram) <= LIMITS.unvalidated_factor * self._received_bytes

    @property
    def wake_at(self) -> float:
        """When to look at it again."""
        return min(self.retry_at, self.expires_at)

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


@lru_cache(maxsize=1024)
def network_of(host: str) -> bytes | None:
    """Return what quotas for strangers count by; None for loopback, where they do not apply."""
    return None if is_loopback((host, 0)) else prefix((host, 0))


class HalfOpenTable:
    """Half-open handshakes by our id and by their sender, counted by network."""

    def __init__(self) -> None:
        self._by_id: dict[bytes, HalfOpen] = {}
        self._by_sender: dict[tuple[Address, bytes], HalfOpen] = {}
        self._in_network: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, local_id: bytes) -> HalfOpen | None:
        """Return the one with our id."""
        return self._by_id.get(local_id)

    def find(self, address: Address, remote_id: bytes) -> HalfOpen | None:
        """Return the one that an INIT with this source id from this address began."""
        return self._by_sender.get((address, remote_id))

    def add(self, half_open: HalfOpen) -> None:
        """Remember one."""
        self._by_id[half_open.local_id] = half_open
        self._by_sender[half_open.address, half_open.remote_id] = half_open
        if half_open.network is not None:
            self._in_network[half_open.network] = self._in_network.get(half_open.network, 0) + 1

    def remove(self, half_open: HalfOpen) -> None:
        """Forget one."""
        half_open.due = False
        del self._by_id[half_open.local_id]
        del self._by_sender[half_open.address, half_open.remote_id]
        if half_open.network is not None:
            left = self._in_network.pop(half_open.network) - 1
            if left:
                self._in_network[half_open.network] = left

    def is_full(self, network: bytes | None, share: int = 1) -> bool:
        """Whether ``1 / share`` of the places, in all or for one network, is taken [S-040]."""
        if len(self._by_id) * share >= LIMITS.half_open:
            return True
        return network is not None and (
            self._in_network.get(network, 0) * share >= LIMITS.half_open_per_prefix
        )
