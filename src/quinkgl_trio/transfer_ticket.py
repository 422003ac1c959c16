"""The ticket of ``quinkgl-trio send``: one token with all that a receiver needs (docs/cli/trio.md).

A ticket names an object by root and size, and carries a secret of 128 bits. Whoever holds it can open a
session with the holders of the object, and nobody else can: the session's keys come from the ticket's core
(secret, root, size, name), which is the same for every holder. Where the holders are stands beside the core,
so a second machine that has the object can add itself.

The token is ``qgs1``, then base32 of the CBOR bytes and four bytes of their SHA-256: no character in it ends
a word, and one that was copied wrong is noticed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import unicodedata
from dataclasses import dataclass, replace
from typing import Final

from quinkgl.crypto.psk import SwarmKeys, derive_member_keys
from quinkgl.wire.addresses import Address, decode_address_untrusted, encode_address
from quinkgl.wire.cbor import array_of, bstr, decode_map_untrusted, encode, tstr, uint
from quinkgl.wire.errors import RemoteProtocolError
from quinkgl.wire.limits import HARD

PREFIX: Final = "qgs1"
SECRET_BYTES: Final = 16
MOST_HOLDERS: Final = 8
NAME_BYTES: Final = 255
"""The longest file name that common file systems take."""

_VERSION, _SECRET, _ROOT, _SIZE, _NAME, _HOLDERS = range(6)
_PEER, _ADDRESSES = range(2)
_MOST_ADDRESSES = 8
_CHECK_BYTES = 4
_MOST_BYTES = 4096
_BASE32_BLOCK = 8


@dataclass(frozen=True, slots=True)
class Holder:
    """A machine that serves the object: who it was when the ticket was made, and where it listens."""

    peer_id: bytes
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Ticket:
    """What is sent, the right to receive it, and where it may be had."""

    secret: bytes
    root: bytes
    size: int
    name: str
    holders: tuple[Holder, ...] = ()

    @property
    def core(self) -> bytes:
        """The bytes that all holders share, canonical."""
        return encode(self._core_fields())

    def keys(self, extra_secret: bytes = b"") -> SwarmKeys:
        """Keys of the sessions between those who hold the ticket, and the extra secret where there is one."""
        return derive_member_keys(self.core, self.secret + extra_secret)

    def with_holder(self, holder: Holder) -> Ticket:
        """Return the ticket with a holder more, first; the last ones fall off."""
        others = tuple(other for other in self.holders if other.addresses != holder.addresses)
        return replace(self, holders=(holder, *others)[:MOST_HOLDERS])

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where the object may be had, each address once."""
        return tuple(dict.fromkeys(address for holder in self.holders for address in holder.addresses))

    def __str__(self) -> str:
        """The token."""
        holders: list[object] = [
            [holder.peer_id, *(encode_address(address) for address in holder.addresses[:_MOST_ADDRESSES])]
            for holder in self.holders
        ]
        body = encode({**self._core_fields(), _HOLDERS: holders})
        check = hashlib.sha256(body).digest()[:_CHECK_BYTES]
        return PREFIX + base64.b32encode(body + check).decode("ascii").rstrip("=").lower()

    @classmethod
    def parse(cls, token: str) -> Ticket:
        """Read a token; white space in it, from a line that was wrapped, does not matter.

        Raises:
            ValueError: it is no ticket, or was not copied whole; the message is for people.
        """
        text = "".join(token.split()).lower()
        if not text.startswith(PREFIX):
            raise ValueError(f"a ticket begins with {PREFIX}")
        text = text.removeprefix(PREFIX).upper()
        try:
            data = base64.b32decode(text + "=" * (-len(text) % _BASE32_BLOCK))
        except (binascii.Error, ValueError):
            raise ValueError("the ticket was not copied whole") from None
        body, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
        if hashlib.sha256(body).digest()[:_CHECK_BYTES] != check:
            raise ValueError("the ticket was not copied whole")
        try:
            return _read_untrusted(body)
        except RemoteProtocolError as error:
            raise ValueError(f"the ticket is of another version, or damaged: {error.message}") from error

    def _core_fields(self) -> dict[int, object]:
        return {_VERSION: 1, _SECRET: self.secret, _ROOT: self.root, _SIZE: self.size, _NAME: self.name}


def _read_untrusted(body: bytes) -> Ticket:
    fields = decode_map_untrusted(
        body,
        max_bytes=_MOST_BYTES,
        where="ticket",
        required={
            _VERSION: uint(1, 1),
            _SECRET: bstr(SECRET_BYTES, SECRET_BYTES),
            _ROOT: bstr(32, 32),
            _SIZE: uint(HARD.object_bytes),
            _NAME: tstr(NAME_BYTES),
            _HOLDERS: array_of(array_of(bstr(1, 32), 1 + _MOST_ADDRESSES, 1), MOST_HOLDERS),
        },
    )
    holders = tuple(
        Holder(peer_id, tuple(decode_address_untrusted(address) for address in addresses))
        for peer_id, *addresses in fields[_HOLDERS]
    )
    return Ticket(fields[_SECRET], fields[_ROOT], fields[_SIZE], fields[_NAME], holders)


def safe_name(name: str) -> str:
    """Return a file name that somebody else chose as one that can only be a file in the current folder.

    Folders, hidden files, control characters and what terminals would act on do not get through.
    """
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rsplit("/", 1)[-1]
    kept = "".join(
        "_" if unicodedata.category(letter)[0] in "CZ" and letter != " " else letter for letter in last
    )
    kept = kept.strip(" ").lstrip(".")
    while len(kept.encode("utf-8")) > NAME_BYTES - len(".part.map"):
        kept = kept[:-1]
    return kept or "received"
