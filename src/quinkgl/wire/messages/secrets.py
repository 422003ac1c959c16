"""Messages that agree on a new secret for the session's keys (``spec/05a-keys.md``, section 5a.7).

``method`` is 1 for ML-KEM-768 and 2 for X25519; methods from 64 on may be added, and who does not know one
refuses it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from quinkgl.wire.cbor import Buffer, bstr, decode_untrusted, uint
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.messages.schema import KIND, Schema, kind_untrusted

_OFFER, _REPLY = 1, 2
_METHOD, _VALUE = 1, 2
_WHERE = "secret exchange message"
_MAX_VALUE_BYTES = 1184
_MAX_MESSAGE_BYTES = 1280


def _schema(where: str, kind: int) -> Schema:
    return Schema(
        where,
        _MAX_MESSAGE_BYTES,
        required={KIND: uint(kind, kind), _METHOD: uint(0xFF, 1), _VALUE: bstr(1, _MAX_VALUE_BYTES)},
    )


_SCHEMAS = {_OFFER: _schema("EXCHANGE_OFFER", _OFFER), _REPLY: _schema("EXCHANGE_REPLY", _REPLY)}


@dataclass(frozen=True, slots=True)
class ExchangeOffer:
    """A fresh public value: answer it, and we both have a new secret."""

    method: int
    public: bytes


@dataclass(frozen=True, slots=True)
class ExchangeReply:
    """The answer: a ciphertext (ML-KEM-768) or the other public value (X25519)."""

    method: int
    answer: bytes


ExchangeMessage: TypeAlias = ExchangeOffer | ExchangeReply


def encode_exchange_message(message: ExchangeMessage) -> bytes:
    """Encode a message. LocalProtocolError for what a receiver would refuse."""
    if isinstance(message, ExchangeOffer):
        kind, value = _OFFER, message.public
    else:
        kind, value = _REPLY, message.answer
    return _SCHEMAS[kind].encode({KIND: kind, _METHOD: message.method, _VALUE: value})


def decode_exchange_message_untrusted(data: Buffer) -> ExchangeMessage:
    """Read a message.

    Raises RemoteProtocolError E_SCHEMA for an unknown kind: each message must be understood, since keys
    depend on it. CBOR's own codes for the rest.
    """
    value = decode_untrusted(data, max_bytes=_MAX_MESSAGE_BYTES, where=_WHERE)
    kind = kind_untrusted(value, where=_WHERE)
    schema = _SCHEMAS.get(kind)
    if schema is None:
        raise RemoteProtocolError(ErrorCode.E_SCHEMA, f"{_WHERE}: unknown kind {kind}", section="K-030")
    fields = schema.read_untrusted(value)
    if kind == _OFFER:
        return ExchangeOffer(fields[_METHOD], fields[_VALUE])
    return ExchangeReply(fields[_METHOD], fields[_VALUE])
