"""The keys of one session: which key a packet is sealed and opened under (5a.6)."""

from dataclasses import dataclass
from typing import Any

from .data import CONSTANTS, SpecError, need
from .packets import key_choice, mix_secret, open_packet, rekey


@dataclass
class Sending:
    """The direction that goes out."""

    key: bytes
    phase: int = 0
    since: float = 0.0
    packets: int = 0
    acknowledged: bool = False
    mixed: bool = False

    def change(self, key: bytes, now: float) -> None:
        """Go on to the next phase under this key."""
        self.key, self.phase = key, self.phase + 1
        self.since, self.packets, self.acknowledged = now, 0, False

    def is_due(self, now: float) -> bool:
        """Whether a phase has lasted its packets or its time, and may end (K-021, K-022)."""
        old = self.packets >= CONSTANTS["key_phase_packets"] or now - self.since >= CONSTANTS["key_phase_s"]
        return old and self.acknowledged


class Receiving:
    """The direction that comes in."""

    def __init__(self, key: bytes) -> None:
        """Begin in phase 0."""
        self.key, self.next, self.before = key, rekey(key), b""
        self.phase, self.lowest, self.highest, self.highest_before = 0, 2**64, -1, -1
        self.next_is_mixed, self.mixes = False, 0
        self.before_until = 0.0

    def mix_next(self, secret: bytes, h: bytes, method: int) -> None:
        """The next key will hold this secret."""
        self.next, self.next_is_mixed = mix_secret(self.key, secret, h, method), True

    def open(self, datagram: bytes, fields: dict[str, Any], now: float, keep_s: float) -> dict[str, Any]:
        """Open a packet under the key that it needs; `E_KEY_UPDATE` where keys are out of order (K-025)."""
        number = fields["number"]
        if self.before and now >= self.before_until:
            self.before = b""
        choice = key_choice(fields["phase"], number, self.phase, self.lowest)
        if choice == "before":
            need(self.before, "drop", "the key before is forgotten")
            opened = open_packet(self.before, datagram)
            self.highest_before = max(self.highest_before, number)
            return opened
        if choice == "next":
            opened = self.open_next(datagram)
            need(
                number > self.highest,
                "E_KEY_UPDATE",
                "a newer key than that of a packet with a higher number",
            )
            self.key, self.next, self.before = self.next, rekey(self.next), self.key
            self.phase, self.lowest, self.highest_before = self.phase + 1, number, self.highest
            self.mixes, self.next_is_mixed = self.mixes + self.next_is_mixed, False
            self.before_until = now + keep_s
        else:
            opened = open_packet(self.key, datagram)
            need(number > self.highest_before, "E_KEY_UPDATE", "a newer key than that of a higher number")
        self.lowest, self.highest = min(self.lowest, number), max(self.highest, number)
        return opened

    def open_next(self, datagram: bytes) -> dict[str, Any]:
        """Under the next key; that the one before fits is an error of the peer, anything else is dropped."""
        try:
            return open_packet(self.next, datagram)
        except SpecError as error:
            if error.code != "drop" or not self.before:
                raise
        open_packet(self.before, datagram)
        raise SpecError("E_KEY_UPDATE", "an older key than that of a packet with a lower number")
