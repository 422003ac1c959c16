"""Messages of the object exchange: OFFER, WANT, DONE, CANCEL (spec chapter 9).

A transfer is named by a number that the offering side chose. Its *byte space* is the leaf list (32 bytes a
leaf, left out when there is one leaf) followed by the body; WANT ranges, credit and bulk offsets all count in
that space.
"""

from __future__ import annotations

import itertools
import operator
from dataclasses import dataclass

from quinkgl.wire.cbor import Kind, array_of, boolean, bstr, decode_untrusted, uint
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from quinkgl.wire.limits import HARD, LIMITS
from quinkgl.wire.messages.schema import KIND, Schema

_TRANSFER = 1
_ROOT, _SIZE, _HEADER, _BODY = 2, 3, 4, 5
_RANGES, _CREDIT = 2, 3
_CODE, _BY_OFFERER = 2, 3
_OFFER_KIND, _WANT_KIND, _DONE_KIND, _CANCEL_KIND = 1, 2, 3, 4
_U32, _U64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
_WHERE = "object message"


def _schema(where: str, kind: int, more: dict[int, Kind], optional: dict[int, Kind] | None = None) -> Schema:
    return Schema(
        where,
        LIMITS.control_message_bytes,
        required={KIND: uint(kind, kind), _TRANSFER: uint(_U32), **more},
        optional=optional or {},
    )


_OFFER_SCHEMA = _schema(
    "OFFER",
    _OFFER_KIND,
    {_ROOT: bstr(32, 32), _SIZE: uint(HARD.object_bytes), _HEADER: bstr(0, LIMITS.header_bytes)},
    {_BODY: bstr(1, LIMITS.unsolicited_bytes)},
)
_WANT_SCHEMA = _schema(
    "WANT", _WANT_KIND, {_RANGES: array_of(uint(_U64), 2 * HARD.want_ranges), _CREDIT: uint(_U64)}
)
_DONE_SCHEMA = _schema("DONE", _DONE_KIND, {})
_CANCEL_SCHEMA = _schema("CANCEL", _CANCEL_KIND, {_CODE: uint(0xFFFF), _BY_OFFERER: boolean()})


@dataclass(frozen=True, slots=True)
class Offer:
    """I have this object for you. ``body`` rides along when it is small (at most 4 KiB and one leaf)."""

    transfer: int
    root: bytes
    size: int
    header: bytes
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Want:
    """Send me these half-open ranges of the byte space, and no more than ``credit`` bytes of them for now."""

    transfer: int
    ranges: tuple[tuple[int, int], ...]
    credit: int


@dataclass(frozen=True, slots=True)
class Done:
    """Every leaf is verified; the offering side may forget the transfer."""

    transfer: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """The transfer is over without success; ``by_offerer`` tells whose transfer number it is."""

    transfer: int
    code: int
    by_offerer: bool


ObjectMessage = Offer | Want | Done | Cancel


def encode_object_message(message: ObjectMessage) -> bytes:
    """Encode one message; LocalProtocolError for a field outside its bounds."""
    match message:
        case Offer():
            fields: dict[int, object] = {
                KIND: _OFFER_KIND,
                _TRANSFER: message.transfer,
                _ROOT: message.root,
                _SIZE: message.size,
                _HEADER: message.header,
            }
            if message.body is not None:
                fields[_BODY] = message.body
            return _OFFER_SCHEMA.encode_checked(fields)
        case Want():
            flat = [bound for pair in message.ranges for bound in pair]
            if not _are_ranges(flat):
                raise LocalProtocolError(
                    ErrorCode.E_USAGE, "WANT ranges are not ascending pairs", section="9.2"
                )
            return _WANT_SCHEMA.encode_checked(
                {KIND: _WANT_KIND, _TRANSFER: message.transfer, _RANGES: flat, _CREDIT: message.credit}
            )
        case Done():
            return _DONE_SCHEMA.encode_checked({KIND: _DONE_KIND, _TRANSFER: message.transfer})
        case _:
            return _CANCEL_SCHEMA.encode_checked(
                {
                    KIND: _CANCEL_KIND,
                    _TRANSFER: message.transfer,
                    _CODE: operator.index(message.code),
                    _BY_OFFERER: message.by_offerer,
                }
            )


def decode_object_message_untrusted(data: bytes) -> ObjectMessage:
    """Read one message; RemoteProtocolError for anything that the schema does not allow."""
    value = decode_untrusted(data, max_bytes=LIMITS.control_message_bytes, where=_WHERE)
    kind = value.get(KIND) if isinstance(value, dict) else None
    if kind == _OFFER_KIND:
        fields = _OFFER_SCHEMA.read_untrusted(value)
        return Offer(fields[_TRANSFER], fields[_ROOT], fields[_SIZE], fields[_HEADER], fields.get(_BODY))
    if kind == _WANT_KIND:
        fields = _WANT_SCHEMA.read_untrusted(value)
        return Want(fields[_TRANSFER], _ranges_untrusted(fields[_RANGES]), fields[_CREDIT])
    if kind == _DONE_KIND:
        return Done(_DONE_SCHEMA.read_untrusted(value)[_TRANSFER])
    if kind == _CANCEL_KIND:
        fields = _CANCEL_SCHEMA.read_untrusted(value)
        return Cancel(fields[_TRANSFER], fields[_CODE], fields[_BY_OFFERER])
    raise RemoteProtocolError(
        ErrorCode.E_SCHEMA, f"object message of unknown kind {kind!r}", layer="wire", section="9.2"
    )


def _are_ranges(flat: list[int]) -> bool:
    """Whether flat bounds are pairs: non-empty, ascending and apart."""
    return bool(flat) and not len(flat) % 2 and all(low < high for low, high in itertools.pairwise(flat))


def _ranges_untrusted(flat: list[int]) -> tuple[tuple[int, int], ...]:
    """Pair up the flat bounds."""
    if not _are_ranges(flat):
        raise RemoteProtocolError(
            ErrorCode.E_SCHEMA, "WANT ranges are not ascending pairs", layer="wire", section="9.2"
        )
    return tuple(zip(flat[::2], flat[1::2], strict=True))
