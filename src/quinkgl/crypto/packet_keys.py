"""Packet protection: AES-256-GCM of one direction and one key phase.

The nonce is four zero bytes and the 64-bit packet number, big-endian (Noise revision 34, section 12.4).
Packet numbers never repeat within a session, so nonces never repeat under a key; the largest packet number,
2^64 - 1, belongs to the derivation of the next key and is never used for a packet.
"""

from __future__ import annotations

from struct import Struct
from typing import Any, ClassVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from quinkgl.crypto.psk import domain_label, hkdf_expand, hkdf_extract
from quinkgl.wire.limits import CONSTANTS

_pack_nonce = Struct(">4xQ").pack
_LAST_NONCE = (1 << 64) - 1


def nonce(packet_number: int) -> bytes:
    """Return the 12-byte nonce of a packet number [P-021]."""
    return _pack_nonce(packet_number)


class PacketKeys:
    """One 32-byte key. ``aead`` is the cipher itself, for runs of packets that are sealed in one sweep.

    ``key`` is for key logs and for the derivation of what follows; it never leaves the node otherwise.

    Whoever uses ``aead.decrypt_into`` must know that a wrong tag leaves unverified plaintext in the buffer.
    """

    __slots__ = ("aead", "key")

    cipher: ClassVar[Any] = AESGCM
    """What ``aead`` is made of; a simulation may put another one here (``null_cipher``)."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.aead: AESGCM = self.cipher(key)

    def seal(self, packet_number: int, header: bytes, plaintext: bytes | bytearray | memoryview) -> bytes:
        """Return the ciphertext and its 16-byte tag; ``header`` is authenticated, not encrypted."""
        return self.aead.encrypt(_pack_nonce(packet_number), plaintext, header)

    def open_untrusted(
        self, packet_number: int, header: bytes, ciphertext: bytes | bytearray | memoryview
    ) -> bytes | None:
        """Return the plaintext, or None where the packet is not authentic (too short for a tag included)."""
        try:
            return self.aead.decrypt(_pack_nonce(packet_number), ciphertext, header)
        except InvalidTag:
            return None

    def next_phase(self) -> PacketKeys:
        """Return the keys of the next key phase: REKEY of Noise revision 34, section 4.2 [P-025]."""
        zeros = bytes(CONSTANTS.key_bytes)
        return PacketKeys(self.aead.encrypt(_pack_nonce(_LAST_NONCE), zeros, None)[: CONSTANTS.key_bytes])

    def mixed(self, secret: bytes, handshake_hash: bytes, domain: str) -> PacketKeys:
        """Return the keys of the next key phase where a new secret goes into them (spec 5a.7).

        ``domain`` names a label of ``spec/registries/domains.toml``.
        """
        root = hkdf_extract(self.key, secret + handshake_hash)
        return type(self)(hkdf_expand(root, domain_label(domain)))
