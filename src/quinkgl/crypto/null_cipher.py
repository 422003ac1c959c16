"""Packet protection that protects nothing, for simulations of many peers in one process.

Packets keep their sizes, and a packet under another key, with another number, or with a flipped bit is
refused as ever; but nothing is hidden, and whoever wants to can make a tag. A node cannot come by it by
accident: see :func:`quinkgl.crypto.keys.key_source`.
"""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar, TypeAlias
from zlib import crc32

from cryptography.exceptions import InvalidTag

from quinkgl.crypto.packet_keys import PacketKeys
from quinkgl.wire.limits import CONSTANTS

Buffer: TypeAlias = bytes | bytearray | memoryview

_TAG_BYTES = CONSTANTS.tag_bytes
_REPEATS = _TAG_BYTES // 4


class NullCipher:
    """Stands where ``AESGCM`` does: the text as it is, and a checksum of key, nonce, header and text."""

    __slots__ = ("_start",)

    def __init__(self, key: bytes) -> None:
        """Take a key of 32 bytes; ValueError for another length."""
        if len(key) != CONSTANTS.key_bytes:
            raise ValueError("a packet key has 32 bytes")
        self._start = crc32(key)

    def encrypt(self, nonce: Buffer, data: Buffer, associated_data: Buffer | None) -> bytes:
        """Return the text and its tag."""
        return bytes(data) + self._tag(nonce, data, associated_data)

    def decrypt(self, nonce: Buffer, data: Buffer, associated_data: Buffer | None) -> bytes:
        """Return the text; InvalidTag where the tag is wrong."""
        whole = bytes(data)
        text = whole[:-_TAG_BYTES]
        if len(whole) < _TAG_BYTES or whole[-_TAG_BYTES:] != self._tag(nonce, text, associated_data):
            raise InvalidTag
        return text

    def encrypt_into(self, nonce: Buffer, data: Buffer, associated_data: Buffer | None, buf: Buffer) -> int:
        """Write text and tag into ``buf``, which has exactly their size; return that."""
        whole = self.encrypt(nonce, data, associated_data)
        memoryview(buf)[:] = whole
        return len(whole)

    def decrypt_into(self, nonce: Buffer, data: Buffer, associated_data: Buffer | None, buf: Buffer) -> int:
        """Write the text into ``buf``, which has exactly its size; InvalidTag where the tag is wrong."""
        text = self.decrypt(nonce, data, associated_data)
        memoryview(buf)[:] = text
        return len(text)

    def _tag(self, nonce: Buffer, data: Buffer, associated_data: Buffer | None) -> bytes:
        value = crc32(nonce, self._start)
        if associated_data is not None:
            value = crc32(associated_data, value)
        return crc32(data, value).to_bytes(4, "big") * _REPEATS


class NullPacketKeys(PacketKeys):
    """Packet keys whose cipher is :class:`NullCipher`."""

    __slots__ = ()

    cipher: ClassVar[Any] = NullCipher

    def next_phase(self) -> NullPacketKeys:
        """Return the keys of the next key phase: the cipher makes no new key of the old one here."""
        return NullPacketKeys(hashlib.sha256(self.key).digest())
