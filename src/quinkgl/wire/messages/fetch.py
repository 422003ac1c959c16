"""Messages that fetch a manifest: GET, PIECE, and REFUSE (``spec/04b-manifest-handshake.md`` section 4b.9).

They travel on the manifest channel of a session in fetch mode, where nothing else is said. A manifest that
does not fit one piece is asked for piece by piece, each exactly as long as the constant says but the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from quinkgl.wire.cbor import Buffer, bstr, decode_untrusted, tstr, uint
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from quinkgl.wire.limits import CONSTANTS, HARD, LIMITS
from quinkgl.wire.messages.schema import KIND, Schema, kind_untrusted, unknown_kind_untrusted

PIECE_BYTES = CONSTANTS.manifest_piece_bytes
MAX_MESSAGE_BYTES = PIECE_BYTES + 128
"""A whole piece with its numbers and a signature."""

_REFUSE, _GET, _PIECE = 3, 4, 5
_SWARM, _GET_OFFSET = 1, 2
_OFFSET, _TOTAL, _DATA, _SIGNATURE = range(1, 5)
_CODE, _REASON = 1, 3
_FIELD = 2
_WHERE = "fetch message"

_GET_SCHEMA = Schema(
    "GET",
    MAX_MESSAGE_BYTES,
    required={
        KIND: uint(_GET, _GET),
        _SWARM: bstr(CONSTANTS.key_bytes, CONSTANTS.key_bytes),
        _GET_OFFSET: uint(HARD.manifest_bytes - 1),
    },
)
_PIECE_SCHEMA = Schema(
    "PIECE",
    MAX_MESSAGE_BYTES,
    required={
        KIND: uint(_PIECE, _PIECE),
        _OFFSET: uint(HARD.manifest_bytes - 1),
        _TOTAL: uint(HARD.manifest_bytes, 1),
        _DATA: bstr(1, PIECE_BYTES),
    },
    optional={_SIGNATURE: bstr(CONSTANTS.signature_bytes, CONSTANTS.signature_bytes)},
)
_REFUSE_SCHEMA = Schema(
    "REFUSE",
    MAX_MESSAGE_BYTES,
    required={
        KIND: uint(_REFUSE, _REFUSE),
        _CODE: uint(0xFFFF),
        _FIELD: tstr(32),
        _REASON: tstr(LIMITS.reason_bytes),
    },
)


@dataclass(frozen=True, slots=True)
class Get:
    """Send me the piece of this swarm's manifest that begins at ``offset``."""

    swarm_id: bytes
    offset: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of the manifest from ``offset`` on, of ``total`` in all.

    The first piece of a signed manifest carries the creator's ``signature`` over all of its bytes.
    """

    offset: int
    total: int
    data: bytes
    signature: bytes | None = None


@dataclass(frozen=True, slots=True)
class FetchRefused:
    """You will not get it from me: the code, and at most 64 bytes for people."""

    code: int
    reason: str


FetchMessage: TypeAlias = Get | Piece | FetchRefused


def encode_fetch_message(message: FetchMessage) -> bytes:
    """Encode one message; LocalProtocolError for a field outside its bounds."""
    match message:
        case Get(swarm_id, offset):
            return _GET_SCHEMA.encode({KIND: _GET, _SWARM: swarm_id, _GET_OFFSET: offset})
        case Piece(offset, total, data, signature):
            fields: dict[int, object] = {KIND: _PIECE, _OFFSET: offset, _TOTAL: total, _DATA: data}
            if signature is not None:
                fields[_SIGNATURE] = signature
            encoded = _PIECE_SCHEMA.encode(fields)
            fault = _piece_fault(message)
            if fault is not None:
                raise LocalProtocolError(ErrorCode.E_USAGE, fault, section="H-031")
            return encoded
        case FetchRefused(code, reason):
            return _REFUSE_SCHEMA.encode({KIND: _REFUSE, _CODE: code, _FIELD: "", _REASON: reason})


def _piece_fault(piece: Piece) -> str | None:
    """Say what is wrong with a piece beyond its schema."""
    if piece.offset + len(piece.data) > piece.total:
        return "PIECE: ends behind the manifest"
    if piece.signature is not None and piece.offset:
        return "PIECE: a signature that is not with the first piece"
    return None


def decode_fetch_message_untrusted(data: Buffer) -> FetchMessage | None:
    """Read one message, None for a kind from 64 up; RemoteProtocolError for what the schema refuses.

    A piece that ends behind the manifest, or one with a signature that is not the first, is refused as well.
    """
    value = decode_untrusted(data, max_bytes=MAX_MESSAGE_BYTES, where=_WHERE)
    match kind_untrusted(value, where=_WHERE):
        case 3:
            fields = _REFUSE_SCHEMA.read_untrusted(value)
            return FetchRefused(fields[_CODE], fields[_REASON])
        case 4:
            fields = _GET_SCHEMA.read_untrusted(value)
            return Get(fields[_SWARM], fields[_GET_OFFSET])
        case 5:
            fields = _PIECE_SCHEMA.read_untrusted(value)
            piece = Piece(fields[_OFFSET], fields[_TOTAL], fields[_DATA], fields.get(_SIGNATURE))
            fault = _piece_fault(piece)
            if fault is not None:
                raise RemoteProtocolError(ErrorCode.E_SCHEMA, fault, section="H-031")
            return piece
        case kind:
            unknown_kind_untrusted(kind, where=_WHERE)
            return None
