"""Which keys protect the packets of a session, and for how long (spec 6.5)."""

from __future__ import annotations

from quinkgl.crypto.packet_keys import PacketKeys
from quinkgl.wire.limits import CONSTANTS


class PacketProtection:
    """The keys of both directions: one phase that lasts as long as the session."""

    __slots__ = ("_receive_keys", "_sealed", "phase_bit", "send_keys", "used_up_after")

    def __init__(
        self,
        send_keys: PacketKeys,
        receive_keys: PacketKeys,
        *,
        used_up_after: int = CONSTANTS.key_phase_packets,
    ) -> None:
        self.send_keys = send_keys
        self._receive_keys = receive_keys
        self.phase_bit = 0
        """The key phase bit of packets sent now."""
        self.used_up_after = used_up_after
        self._sealed = 0

    def sealed(self, count: int, now: float) -> None:
        """Take note that ``count`` packets were sealed."""
        del now
        self._sealed += count

    @property
    def is_used_up(self) -> bool:
        """Whether no more packets may be sealed, so that the session must end."""
        return self._sealed >= self.used_up_after

    def open_untrusted(
        self, number: int, first_byte: int, header: bytes, ciphertext: bytes | memoryview, now: float
    ) -> bytes | None:
        """Return the plaintext of a packet, None where it is not authentic."""
        del first_byte, now
        return self._receive_keys.open_untrusted(number, header, ciphertext)

    def receive_keys_for(self, first_byte: int) -> PacketKeys | None:
        """Return the keys of a run of packets; None where each packet must be looked at by itself."""
        del first_byte
        return self._receive_keys
