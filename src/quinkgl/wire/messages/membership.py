"""Peer records and the message that carries them: RECORDS (``spec/10-membership.md``).

A record is the payload of a COSE_Sign1 that its own peer has signed; this module knows the payload and the
message, not the signature. Kinds 2 and 3 are reserved for the shuffle.
"""

from __future__ import annotations

from dataclasses import dataclass

from quinkgl.wire.addresses import Address, decode_address_untrusted, encode_address
from quinkgl.wire.cbor import Buffer, array_of, bstr, decode_untrusted, uint
from quinkgl.wire.limits import CONSTANTS, HARD, LIMITS
from quinkgl.wire.messages.schema import ENVELOPE_BYTES, KIND, Schema, kind_untrusted, unknown_kind_untrusted

MAX_SEQ = (1 << 63) - 1
MAX_MESSAGE_BYTES = HARD.shuffle_length * (LIMITS.record_bytes + 3) + 64
"""A RECORDS message with as many of the largest records as it may hold."""

_RECORDS = 1
_LIST = 1
_KEY, _SEQ, _ISSUED, _TTL, _TAG, _ADDRESSES, _VOUCHERS, _PERIOD = range(8)
_UNIX = uint((1 << 53) - 1)
_WHERE = "membership message"

_RECORDS_SCHEMA = Schema(
    "RECORDS",
    MAX_MESSAGE_BYTES,
    required={
        KIND: uint(_RECORDS, _RECORDS),
        _LIST: array_of(bstr(1, LIMITS.record_bytes), HARD.shuffle_length, 1),
    },
)
_RECORD_SCHEMA = Schema(
    "peer record",
    LIMITS.record_bytes - ENVELOPE_BYTES,
    required={
        _KEY: bstr(CONSTANTS.key_bytes, CONSTANTS.key_bytes),
        _SEQ: uint(MAX_SEQ),
        _ISSUED: _UNIX,
        _TTL: uint(int(HARD.record_ttl_s), 1),
        _TAG: bstr(CONSTANTS.swarm_tag_bytes, CONSTANTS.swarm_tag_bytes),
        _ADDRESSES: array_of(bstr(6, 18), LIMITS.record_addresses),
        _VOUCHERS: array_of(bstr(1, LIMITS.record_bytes), LIMITS.record_vouchers),
        _PERIOD: _UNIX,
    },
)


@dataclass(frozen=True, slots=True)
class PeerRecord:
    """Where a peer says it can be reached, for one swarm and for a while.

    ``key`` is the peer id, ``seq`` grows with each record of the peer, ``issued`` is in seconds since 1970
    and ``ttl`` in seconds, ``swarm_tag`` (8 bytes) names the swarm to its members alone, ``addresses`` are
    candidates in order of preference, ``vouchers`` are opaque promises of relays, ``period`` counts periods
    of 10 s up to ``issued``.
    """

    key: bytes
    seq: int
    issued: int
    ttl: int
    swarm_tag: bytes
    addresses: tuple[Address, ...]
    period: int
    vouchers: tuple[bytes, ...] = ()

    @property
    def expires(self) -> int:
        """When the record ends, in seconds since 1970."""
        return self.issued + self.ttl


@dataclass(frozen=True, slots=True)
class Records:
    """Signed records, each as its peer signed it."""

    records: tuple[bytes, ...]


def encode_record(record: PeerRecord) -> bytes:
    """Encode the payload of a signed record; LocalProtocolError for a field outside its bounds."""
    return _RECORD_SCHEMA.encode(
        {
            _KEY: record.key,
            _SEQ: record.seq,
            _ISSUED: record.issued,
            _TTL: record.ttl,
            _TAG: record.swarm_tag,
            _ADDRESSES: [encode_address(address) for address in record.addresses],
            _VOUCHERS: record.vouchers,
            _PERIOD: record.period,
        }
    )


def decode_record_untrusted(payload: Buffer) -> PeerRecord:
    """Read the payload of a record; RemoteProtocolError for anything that the schema refuses."""
    fields = _RECORD_SCHEMA.decode_untrusted(payload)
    return PeerRecord(
        key=fields[_KEY],
        seq=fields[_SEQ],
        issued=fields[_ISSUED],
        ttl=fields[_TTL],
        swarm_tag=fields[_TAG],
        addresses=tuple(decode_address_untrusted(address) for address in fields[_ADDRESSES]),
        period=fields[_PERIOD],
        vouchers=tuple(fields[_VOUCHERS]),
    )


def encode_membership_message(message: Records) -> bytes:
    """Encode one message; LocalProtocolError for no records, too many, or one that is too long."""
    return _RECORDS_SCHEMA.encode({KIND: _RECORDS, _LIST: message.records})


def decode_membership_message_untrusted(data: Buffer) -> Records | None:
    """Read one message, None for a kind from 64 up; RemoteProtocolError for what the schema refuses."""
    value = decode_untrusted(data, max_bytes=MAX_MESSAGE_BYTES, where=_WHERE)
    kind = kind_untrusted(value, where=_WHERE)
    if kind != _RECORDS:
        unknown_kind_untrusted(kind, where=_WHERE)
        return None
    return Records(tuple(_RECORDS_SCHEMA.read_untrusted(value)[_LIST]))
