"""The payload of handshake messages 2 and 3: who I am and what I can take (spec 5.5)."""

from __future__ import annotations

from dataclasses import dataclass

from quinkgl.wire.addresses import Address, decode_address_untrusted, encode_address
from quinkgl.wire.cbor import bstr, decode_untrusted, encode, map_value, read_map_untrusted, uint
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.limits import LIMITS

_PEER, _SIGNATURE, _PARAMETERS, _RECORD, _OBSERVED = range(5)
_IDLE_TIMEOUT_MS, _MAX_DATAGRAM, _MAX_ACK_DELAY_MS = range(3)
_WHERE = "handshake payload"


@dataclass(frozen=True, slots=True)
class TransportParameters:
    """What each side tells the other about itself; the other side must respect it."""

    idle_timeout_s: float = LIMITS.idle_timeout_s
    max_datagram_bytes: int = LIMITS.max_datagram_bytes
    max_ack_delay_s: float = LIMITS.max_ack_delay_s


@dataclass(frozen=True, slots=True)
class HandshakePayload:
    """Who the sender is, signed, with its transport parameters.

    ``signature`` covers the handshake hash, ``record`` is its signed peer record (empty when it sends none), and
    ``observed_address`` is where it sees us.
    """

    peer_id: bytes
    signature: bytes
    parameters: TransportParameters
    record: bytes = b""
    observed_address: Address | None = None


def encode_handshake_payload(payload: HandshakePayload) -> bytes:
    """Encode the payload; empty record and unknown address are left out."""
    parameters = payload.parameters
    fields: dict[int, object] = {
        _PEER: payload.peer_id,
        _SIGNATURE: payload.signature,
        _PARAMETERS: {
            _IDLE_TIMEOUT_MS: round(parameters.idle_timeout_s * 1000),
            _MAX_DATAGRAM: parameters.max_datagram_bytes,
            _MAX_ACK_DELAY_MS: round(parameters.max_ack_delay_s * 1000),
        },
    }
    if payload.record:
        fields[_RECORD] = payload.record
    if payload.observed_address is not None:
        fields[_OBSERVED] = encode_address(payload.observed_address)
    return encode(fields)


def decode_handshake_payload_untrusted(data: bytes) -> HandshakePayload:
    """Read the payload.

    RemoteProtocolError E_HS_PARAMS for parameters out of range, CBOR's own codes for the rest.
    """
    fields = read_map_untrusted(
        decode_untrusted(data, max_bytes=LIMITS.handshake_payload_bytes, where=_WHERE),
        where=_WHERE,
        required={_PEER: bstr(32, 32), _SIGNATURE: bstr(64, 64), _PARAMETERS: map_value(16)},
        optional={_RECORD: bstr(1, LIMITS.record_bytes), _OBSERVED: bstr(6, 18)},
    )
    observed = fields.get(_OBSERVED)
    return HandshakePayload(
        peer_id=fields[_PEER],
        signature=fields[_SIGNATURE],
        parameters=_parameters_untrusted(fields[_PARAMETERS]),
        record=fields.get(_RECORD, b""),
        observed_address=None if observed is None else decode_address_untrusted(observed),
    )


def _parameters_untrusted(value: object) -> TransportParameters:
    fields = read_map_untrusted(
        value,
        where="transport parameters",
        required={
            _IDLE_TIMEOUT_MS: uint(600_000),
            _MAX_DATAGRAM: uint(LIMITS.max_datagram_bytes),
            _MAX_ACK_DELAY_MS: uint(1000),
        },
    )
    if fields[_IDLE_TIMEOUT_MS] < 1000 or fields[_MAX_DATAGRAM] < LIMITS.init_min_datagram_bytes:
        raise RemoteProtocolError(
            ErrorCode.E_HS_PARAMS,
            f"idle time-out of {fields[_IDLE_TIMEOUT_MS]} ms or datagrams of {fields[_MAX_DATAGRAM]} bytes",
            layer="wire",
            section="5.5",
        )
    return TransportParameters(
        idle_timeout_s=fields[_IDLE_TIMEOUT_MS] / 1000,
        max_datagram_bytes=fields[_MAX_DATAGRAM],
        max_ack_delay_s=fields[_MAX_ACK_DELAY_MS] / 1000,
    )
