"""Messages of the fingerprint exchange: REQUEST, ANSWER, DECLINE (``spec/12-fingerprint.md``).

An ANSWER holds the body, which is opaque here, and a COSE_Sign1 whose payload, the *statement*, binds the
body to one verifier and to its nonce. This module knows the payload, not the signature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from quinkgl.wire.cbor import Buffer, bstr, decode_untrusted, uint
from quinkgl.wire.limits import CONSTANTS, HARD
from quinkgl.wire.messages.schema import ENVELOPE_BYTES, KIND, Schema, kind_untrusted, unknown_kind_untrusted

NONCE_BYTES = CONSTANTS.fingerprint_nonce_bytes
MAX_EPOCH = (1 << 53) - 1
STATEMENT_BYTES = 192
"""No statement is longer: four values of 32 bytes, the nonce and the epoch."""
MAX_MESSAGE_BYTES = HARD.fingerprint_bytes + STATEMENT_BYTES + ENVELOPE_BYTES + 32

_REQUEST, _ANSWER, _DECLINE = 1, 2, 3
_NONCE, _EPOCH = 1, 2
_STATEMENT, _BODY = 1, 2
_CODE = 2
_SWARM, _HOLDER, _VERIFIER, _ST_NONCE, _ST_EPOCH, _DIGEST = range(6)
_KEY = bstr(CONSTANTS.key_bytes, CONSTANTS.key_bytes)
_NONCE_KIND = bstr(NONCE_BYTES, NONCE_BYTES)
_WHERE = "fingerprint message"

_REQUEST_SCHEMA = Schema(
    "REQUEST",
    MAX_MESSAGE_BYTES,
    required={KIND: uint(_REQUEST, _REQUEST), _NONCE: _NONCE_KIND},
    optional={_EPOCH: uint(MAX_EPOCH)},
)
_ANSWER_SCHEMA = Schema(
    "ANSWER",
    MAX_MESSAGE_BYTES,
    required={
        KIND: uint(_ANSWER, _ANSWER),
        _STATEMENT: bstr(1, STATEMENT_BYTES + ENVELOPE_BYTES),
        _BODY: bstr(1, HARD.fingerprint_bytes),
    },
)
_DECLINE_SCHEMA = Schema(
    "DECLINE",
    MAX_MESSAGE_BYTES,
    required={KIND: uint(_DECLINE, _DECLINE), _NONCE: _NONCE_KIND, _CODE: uint(0xFFFF)},
)
_STATEMENT_SCHEMA = Schema(
    "fingerprint statement",
    STATEMENT_BYTES,
    required={
        _SWARM: _KEY,
        _HOLDER: _KEY,
        _VERIFIER: _KEY,
        _ST_NONCE: _NONCE_KIND,
        _ST_EPOCH: uint(MAX_EPOCH),
        _DIGEST: _KEY,
    },
)


@dataclass(frozen=True, slots=True)
class Request:
    """Show me your fingerprint, of one data epoch where ``epoch`` is not None; ``nonce`` is fresh."""

    nonce: bytes
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The signed statement and the body that it is about."""

    statement: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Decline:
    """No fingerprint for the request with this nonce, and why."""

    nonce: bytes
    code: int


@dataclass(frozen=True, slots=True)
class Statement:
    """What the holder signs: that it showed this body, of this epoch, to this verifier for this nonce.

    ``digest`` is SHA-256 of the body; ids and digest are 32 bytes, the nonce 16.
    """

    swarm_id: bytes
    holder: bytes
    verifier: bytes
    nonce: bytes
    epoch: int
    digest: bytes


FingerprintMessage: TypeAlias = Request | Answer | Decline


def encode_fingerprint_message(message: FingerprintMessage) -> bytes:
    """Encode one message; LocalProtocolError for a field outside its bounds."""
    match message:
        case Request(nonce, epoch):
            fields: dict[int, object] = {KIND: _REQUEST, _NONCE: nonce}
            if epoch is not None:
                fields[_EPOCH] = epoch
            return _REQUEST_SCHEMA.encode(fields)
        case Answer(statement, body):
            return _ANSWER_SCHEMA.encode({KIND: _ANSWER, _STATEMENT: statement, _BODY: body})
        case Decline(nonce, code):
            return _DECLINE_SCHEMA.encode({KIND: _DECLINE, _NONCE: nonce, _CODE: code})


def decode_fingerprint_message_untrusted(data: Buffer) -> FingerprintMessage | None:
    """Read one message, None for a kind from 64 up; RemoteProtocolError for what the schema refuses."""
    value = decode_untrusted(data, max_bytes=MAX_MESSAGE_BYTES, where=_WHERE)
    match kind_untrusted(value, where=_WHERE):
        case 1:
            fields = _REQUEST_SCHEMA.read_untrusted(value)
            return Request(fields[_NONCE], fields.get(_EPOCH))
        case 2:
            fields = _ANSWER_SCHEMA.read_untrusted(value)
            return Answer(fields[_STATEMENT], fields[_BODY])
        case 3:
            fields = _DECLINE_SCHEMA.read_untrusted(value)
            return Decline(fields[_NONCE], fields[_CODE])
        case kind:
            unknown_kind_untrusted(kind, where=_WHERE)
            return None


def encode_statement(statement: Statement) -> bytes:
    """Encode the payload of a signed statement; LocalProtocolError for a field outside its bounds."""
    return _STATEMENT_SCHEMA.encode(
        {
            _SWARM: statement.swarm_id,
            _HOLDER: statement.holder,
            _VERIFIER: statement.verifier,
            _ST_NONCE: statement.nonce,
            _ST_EPOCH: statement.epoch,
            _DIGEST: statement.digest,
        }
    )


def decode_statement_untrusted(payload: Buffer) -> Statement:
    """Read the payload of a statement; RemoteProtocolError for anything that the schema refuses."""
    fields = _STATEMENT_SCHEMA.decode_untrusted(payload)
    return Statement(
        swarm_id=fields[_SWARM],
        holder=fields[_HOLDER],
        verifier=fields[_VERIFIER],
        nonce=fields[_ST_NONCE],
        epoch=fields[_ST_EPOCH],
        digest=fields[_DIGEST],
    )
