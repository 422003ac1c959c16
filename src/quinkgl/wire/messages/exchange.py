"""Messages of the two-sided exchange (``spec/11b-two-sided-exchange.md``).

An exchange is named by a pair of random numbers, one of each side: ``exchange`` by its initiator, ``answer``
by its responder. What was said for another pair is never taken for this one, however late it comes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from quinkgl.wire.cbor import Buffer, bstr, decode_untrusted, map_value, uint
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.limits import HARD
from quinkgl.wire.messages.schema import KIND, Schema, kind_untrusted, unknown_kind_untrusted

MAX_MESSAGE_BYTES = 1024
"""No message of an exchange is longer: an OFFER with 16 entries of metadata fits."""

EXCHANGE_ID_BYTES = 16
WEIGHT_ONE = 1 << 32
"""The weight 1; weights are whole multiples of 2^-32, so that both sides use the very same number."""

_OFFER, _ACCEPT, _READY, _ASK, _COMMIT, _ABORT, _ACK = range(1, 8)
_EXCHANGE, _ANSWER, _ROOT, _SIZE, _WEIGHT, _LATENESS, _CODEC, _METADATA, _CODE = range(1, 10)
_ID = bstr(EXCHANGE_ID_BYTES, EXCHANGE_ID_BYTES)
_HASH = bstr(32, 32)
_OBJECT = {_ROOT: _HASH, _SIZE: uint(HARD.object_bytes, 1), _METADATA: map_value(16)}
_WHERE = "exchange message"

_OFFER_SCHEMA = Schema(
    "exchange OFFER",
    MAX_MESSAGE_BYTES,
    required={
        KIND: uint(_OFFER, _OFFER),
        _EXCHANGE: _ID,
        **_OBJECT,
        _WEIGHT: uint(WEIGHT_ONE, 1),
        _LATENESS: uint(HARD.exchange_lateness),
        _CODEC: uint(0xFF),
    },
)
_ACCEPT_SCHEMA = Schema(
    "exchange ACCEPT",
    MAX_MESSAGE_BYTES,
    required={KIND: uint(_ACCEPT, _ACCEPT), _EXCHANGE: _ID, _ANSWER: _ID, **_OBJECT},
)
_ABORT_SCHEMA = Schema(
    "exchange ABORT",
    MAX_MESSAGE_BYTES,
    required={KIND: uint(_ABORT, _ABORT), _EXCHANGE: _ID, _CODE: uint(0xFFFF)},
    optional={_ANSWER: _ID},
)


@dataclass(frozen=True, slots=True)
class Offer:
    """Let us exchange: my object is ``root`` of ``size`` bytes, encoded as ``codec``.

    ``weight`` / 2^32 is what each side's difference to the other is multiplied with, at most
    1 / (2 · ``lateness`` + 1); ``lateness`` is the number of rounds by which the decision may be late.
    """

    exchange: bytes
    root: bytes
    size: int
    weight: int
    lateness: int
    codec: int
    metadata: Mapping[int, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Accept:
    """Agreed; my object is ``root`` of ``size`` bytes."""

    exchange: bytes
    answer: bytes
    root: bytes
    size: int
    metadata: Mapping[int, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ready:
    """I hold both objects and will do as you decide."""

    exchange: bytes
    answer: bytes


@dataclass(frozen=True, slots=True)
class Ask:
    """As READY, and my time is over: what did you decide? If nothing, then let it be no."""

    exchange: bytes
    answer: bytes


@dataclass(frozen=True, slots=True)
class Commit:
    """The initiator's decision: both sides apply the effect."""

    exchange: bytes
    answer: bytes


@dataclass(frozen=True, slots=True)
class Abort:
    """There is no such exchange, or no longer; ``answer`` is None where none was known."""

    exchange: bytes
    answer: bytes | None
    code: int


@dataclass(frozen=True, slots=True)
class Ack:
    """The effect is applied and kept; the initiator may forget its decision."""

    exchange: bytes
    answer: bytes


ExchangeMessage: TypeAlias = Offer | Accept | Ready | Ask | Commit | Abort | Ack

_PAIRED: dict[int, type[Ready | Ask | Commit | Ack]] = {
    _READY: Ready,
    _ASK: Ask,
    _COMMIT: Commit,
    _ACK: Ack,
}
"""The messages that are nothing but a kind and the two numbers."""

_PAIRED_SCHEMAS = {
    kind: Schema(
        f"exchange {made.__name__.upper()}",
        MAX_MESSAGE_BYTES,
        required={KIND: uint(kind, kind), _EXCHANGE: _ID, _ANSWER: _ID},
    )
    for kind, made in _PAIRED.items()
}
_PAIRED_KINDS = {made: kind for kind, made in _PAIRED.items()}


def most_weight(lateness: int) -> int:
    """Return the largest weight that an offer with this lateness may name: 1 / (2 · lateness + 1) [B-005].

    Corrections that all come τ rounds late at full weight swing ever wider; damped by this they do not.
    """
    return WEIGHT_ONE // (2 * lateness + 1)


def encode_exchange_message(message: ExchangeMessage) -> bytes:
    """Encode one message; LocalProtocolError for a field outside its bounds."""
    match message:
        case Offer():
            return _OFFER_SCHEMA.encode(
                {
                    KIND: _OFFER,
                    _EXCHANGE: message.exchange,
                    _ROOT: message.root,
                    _SIZE: message.size,
                    _WEIGHT: message.weight,
                    _LATENESS: message.lateness,
                    _CODEC: message.codec,
                    _METADATA: message.metadata,
                }
            )
        case Accept():
            return _ACCEPT_SCHEMA.encode(
                {
                    KIND: _ACCEPT,
                    _EXCHANGE: message.exchange,
                    _ANSWER: message.answer,
                    _ROOT: message.root,
                    _SIZE: message.size,
                    _METADATA: message.metadata,
                }
            )
        case Abort(exchange, answer, code):
            fields: dict[int, object] = {KIND: _ABORT, _EXCHANGE: exchange, _CODE: code}
            if answer is not None:
                fields[_ANSWER] = answer
            return _ABORT_SCHEMA.encode(fields)
        case paired:
            kind = _PAIRED_KINDS[type(paired)]
            return _PAIRED_SCHEMAS[kind].encode(
                {KIND: kind, _EXCHANGE: paired.exchange, _ANSWER: paired.answer}
            )


def decode_exchange_message_untrusted(data: Buffer) -> ExchangeMessage | None:
    """Read one message, None for a kind from 64 up; RemoteProtocolError for what the schema refuses."""
    value = decode_untrusted(data, max_bytes=MAX_MESSAGE_BYTES, where=_WHERE)
    kind = kind_untrusted(value, where=_WHERE)
    if kind in _PAIRED:
        fields = _PAIRED_SCHEMAS[kind].read_untrusted(value)
        return _PAIRED[kind](fields[_EXCHANGE], fields[_ANSWER])
    if kind == _OFFER:
        return _offer_untrusted(_OFFER_SCHEMA.read_untrusted(value))
    if kind == _ACCEPT:
        fields = _ACCEPT_SCHEMA.read_untrusted(value)
        return Accept(*(fields[key] for key in (_EXCHANGE, _ANSWER, _ROOT, _SIZE, _METADATA)))
    if kind == _ABORT:
        fields = _ABORT_SCHEMA.read_untrusted(value)
        return Abort(fields[_EXCHANGE], fields.get(_ANSWER), fields[_CODE])
    unknown_kind_untrusted(kind, where=_WHERE)
    return None


def _offer_untrusted(fields: dict[int, Any]) -> Offer:
    if fields[_WEIGHT] > most_weight(fields[_LATENESS]):
        raise RemoteProtocolError(
            ErrorCode.E_SCHEMA, "exchange OFFER: the weight is not damped for its lateness", section="B-005"
        )
    order = (_EXCHANGE, _ROOT, _SIZE, _WEIGHT, _LATENESS, _CODEC, _METADATA)
    return Offer(*(fields[key] for key in order))
