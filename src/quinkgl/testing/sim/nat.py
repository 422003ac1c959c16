"""Address translators by class (RFC 4787): what they map, whom they let in, and that they forget."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from quinkgl.wire.addresses import Address

_FIRST_PORT = 20_000
_PORTS = 40_000


class NatClass(Enum):
    """How a translator maps and filters."""

    NONE = "none"
    FULL_CONE = "full cone"
    """One public port for a node, and whoever sends there reaches it."""
    RESTRICTED = "restricted"
    """One public port; only hosts to which the node has sent reach it."""
    PORT_RESTRICTED = "port-restricted"
    """One public port; only addresses to which the node has sent reach it."""
    SYMMETRIC = "symmetric"
    """A public port for each destination, which alone reaches the node there."""


@dataclass(slots=True)
class _Mapping:
    outside: Address
    used_at: float
    sent_to: dict[object, float]


class Translator:
    """The translator in front of one node."""

    def __init__(self, kind: NatClass, public_host: str, *, forgets_after_s: float = 120.0) -> None:
        """Stand at ``public_host``; a mapping that nothing leaves through for so long is gone."""
        self.kind = kind
        self.public_host = public_host
        self.opened: list[Address] = []
        """Public addresses that came into being and that the network does not know yet."""
        self._forgets_after_s = forgets_after_s
        self._mappings: dict[object, _Mapping] = {}
        self._by_outside: dict[Address, _Mapping] = {}
        self._next_port = 0
        self.forwarded: Address | None = None
        """Where strangers get in: the one mapping of a full cone, which is kept up for ever."""
        if kind is NatClass.FULL_CONE:
            self.forwarded = self._open(None, 0.0).outside

    def outgoing(self, destination: Address, now: float) -> Address:
        """Return the public address from which a datagram to ``destination`` goes out."""
        key = destination if self.kind is NatClass.SYMMETRIC else None
        mapping = self._mappings.get(key)
        if mapping is None or self._is_forgotten(mapping, now):
            mapping = self._open(key, now)
        mapping.used_at = now
        mapping.sent_to[destination[0] if self.kind is NatClass.RESTRICTED else destination] = now
        return mapping.outside

    def admits(self, outside: Address, source: Address, now: float) -> bool:
        """Whether a datagram that comes to a public address is let in."""
        mapping = self._by_outside.get(outside)
        if mapping is None or self._is_forgotten(mapping, now):
            return False
        if self.kind is NatClass.FULL_CONE:
            return True
        key = source[0] if self.kind is NatClass.RESTRICTED else source
        sent_at = mapping.sent_to.get(key)
        return sent_at is not None and now - sent_at <= self._forgets_after_s

    def has(self, outside: Address) -> bool:
        """Whether a public address is one of this translator's, and not given up."""
        return outside in self._by_outside

    def rebind(self) -> None:
        """Forget everything, as after a restart: what leaves next gets other ports. Not what is forwarded."""
        if self.forwarded is None:
            self._mappings.clear()
            self._by_outside.clear()

    def _is_forgotten(self, mapping: _Mapping, now: float) -> bool:
        return self.forwarded is None and now - mapping.used_at > self._forgets_after_s

    def _open(self, key: object, now: float) -> _Mapping:
        old = self._mappings.get(key)
        if old is not None:
            self._by_outside.pop(old.outside, None)
        self._next_port += 1
        outside = self.public_host, _FIRST_PORT + 7 * self._next_port % _PORTS
        mapping = _Mapping(outside, now, {})
        self._mappings[key] = mapping
        self._by_outside[outside] = mapping
        self.opened.append(outside)
        return mapping
