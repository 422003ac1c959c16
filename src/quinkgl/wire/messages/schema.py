"""A message's shape, written once for both directions: what may be sent is what may be received.

Each message is a CBOR map (``spec/03-encoding.md``). A :class:`Schema` names its keys and what each may hold;
encoding goes through the same checks as decoding, with a LocalProtocolError where decoding raises a
RemoteProtocolError. So no node can be made to send what its peers would refuse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from quinkgl.wire.cbor import Buffer, Kind, decode_untrusted, encode, read_map_untrusted
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from quinkgl.wire.limits import CONSTANTS

KIND = 0
"""The key that tells the messages of one family apart."""

ENVELOPE_BYTES = 76
"""What a COSE_Sign1 adds to a payload of 256 to 65535 bytes: tag, array, headers, length, signature."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The keys of one map, how long its encoding may be, and what to call it in errors."""

    where: str
    max_bytes: int
    required: Mapping[int, Kind]
    optional: Mapping[int, Kind] = field(default_factory=dict)

    def encode(self, fields: Mapping[int, object]) -> bytes:
        """Return the encoding of ``fields``.

        Raises LocalProtocolError (E_USAGE) for a field that a receiver would refuse, and for an encoding
        longer than ``max_bytes``.
        """
        data = encode(fields)
        try:
            self.decode_untrusted(data)
        except RemoteProtocolError as error:
            raise LocalProtocolError(ErrorCode.E_USAGE, error.message, section=error.section) from None
        return data

    def encode_checked(self, fields: Mapping[int, object]) -> bytes:
        """As :meth:`encode`, judging the fields and not their encoding: for messages of the busiest paths.

        ``fields`` is built of what a decoder returns: bytes and no other buffer, lists and no tuples.
        """
        try:
            self.read_untrusted(fields)
        except RemoteProtocolError as error:
            raise LocalProtocolError(ErrorCode.E_USAGE, error.message, section=error.section) from None
        return encode(fields)

    def decode_untrusted(self, data: Buffer) -> dict[int, Any]:
        """Return the known fields of an encoded map; RemoteProtocolError for what the bytes may be else."""
        return self.read_untrusted(decode_untrusted(data, max_bytes=self.max_bytes, where=self.where))

    def read_untrusted(self, value: Any) -> dict[int, Any]:
        """Return the known fields of a map that is decoded already."""
        return read_map_untrusted(value, where=self.where, required=self.required, optional=self.optional)


def kind_untrusted(value: Any, *, where: str) -> int:
    """Return what kind of message a value is; RemoteProtocolError (E_SCHEMA) where it does not say."""
    kind = value.get(KIND) if isinstance(value, dict) else None
    if type(kind) is not int or kind < 0:
        raise RemoteProtocolError(ErrorCode.E_SCHEMA, f"{where}: not a map with a kind", section="C-020")
    return kind


def unknown_kind_untrusted(kind: int, *, where: str) -> None:
    """Let a kind from 64 up pass, as unknown keys do; RemoteProtocolError (E_SCHEMA) for one below."""
    if kind < CONSTANTS.first_ignorable_key:
        raise RemoteProtocolError(ErrorCode.E_SCHEMA, f"{where}: unknown kind {kind}", section="C-021")
