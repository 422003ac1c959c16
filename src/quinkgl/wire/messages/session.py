"""The payload of handshake messages 2 and 3: who I am and what I can take (spec 5.5)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from quinkgl.wire.addresses import Address, decode_address_untrusted, encode_address
from quinkgl.wire.cbor import bstr, encode, uint
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from quinkgl.wire.limits import CONSTANTS, LIMITS
from quinkgl.wire.messages.schema import Schema
from quinkgl.wire.packets import CONNECTION_ID_BYTES

_PEER, _SIGNATURE, _PARAMETERS, _RECORD, _OBSERVED, _CONNECTION_ID = range(6)
_IDLE_TIMEOUT_MS, _MAX_DATAGRAM, _MAX_ACK_DELAY_MS, _PQ, _RESET_TOKEN = range(5)
_WHERE = "handshake payload"
_MIN_IDLE_TIMEOUT_S = 1.0
_MAX_IDLE_TIMEOUT_S = 600.0
_MAX_ACK_DELAY_S = 1.0
_TOKEN_BYTES = CONSTANTS.stateless_reset_token_bytes


def _map(value: object) -> str | None:
    """A map, whatever is in it: the schema of the parameters judges that."""
    return None if isinstance(value, dict) else "not a map"


_PAYLOAD = Schema(
    _WHERE,
    LIMITS.handshake_payload_bytes,
    required={
        _PEER: bstr(32, 32),
        _SIGNATURE: bstr(64, 64),
        _PARAMETERS: _map,
        _CONNECTION_ID: bstr(CONNECTION_ID_BYTES, CONNECTION_ID_BYTES),
    },
    optional={_RECORD: bstr(1, LIMITS.record_bytes), _OBSERVED: bstr(6, 18)},
)
_TRANSPORT_PARAMETERS = Schema(
    "transport parameters",
    LIMITS.handshake_payload_bytes,
    required={_IDLE_TIMEOUT_MS: uint(), _MAX_DATAGRAM: uint(), _MAX_ACK_DELAY_MS: uint()},
    optional={_PQ: uint(), _RESET_TOKEN: bstr(_TOKEN_BYTES, _TOKEN_BYTES)},
)
"""Without the ranges: those are refused with a code of their own."""


class PostQuantum(IntEnum):
    """What a side says about the post-quantum exchange that may follow the handshake."""

    NO = 0
    OFFERED = 1
    REQUIRED = 2


_PQ_VALUES = tuple(map(int, PostQuantum))


@dataclass(frozen=True, slots=True)
class TransportParameters:
    """What each side tells the other about itself; the other side must respect it.

    LocalProtocolError (E_USAGE) for values that peers refuse (spec 5.5).
    """

    idle_timeout_s: float = LIMITS.idle_timeout_s
    max_datagram_bytes: int = LIMITS.max_datagram_bytes
    max_ack_delay_s: float = LIMITS.max_ack_delay_s
    pq: int = PostQuantum.NO
    """One of :class:`PostQuantum`; the endpoint sets it from its own configuration."""
    reset_token: bytes = b""
    """Stateless reset token of the connection id that stands in the payload; empty where there is none."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        fault = _fault(self)
        if fault is not None:
            raise LocalProtocolError(ErrorCode.E_USAGE, fault, section="5.5")

    def with_reset_token(self, token: bytes) -> TransportParameters:
        """Return the same parameters with the token of one connection id."""
        return TransportParameters(
            idle_timeout_s=self.idle_timeout_s,
            max_datagram_bytes=self.max_datagram_bytes,
            max_ack_delay_s=self.max_ack_delay_s,
            pq=self.pq,
            reset_token=token,
        )


class HandshakePayload(NamedTuple):
    """Who the sender is, signed, with its transport parameters.

    ``signature`` covers the handshake hash, ``connection_id`` is the one that packets to it must bear,
    ``record`` its signed peer record (empty when it sends none), ``observed_address`` where it sees us.
    """

    peer_id: bytes
    signature: bytes
    parameters: TransportParameters
    connection_id: bytes
    record: bytes = b""
    observed_address: Address | None = None


def encode_handshake_payload(payload: HandshakePayload) -> bytes:
    """Encode the payload; empty record and unknown address are left out.

    Its fields are the node's own, checked where they come from: an answer to a datagram is no place to raise.
    """
    fields: dict[int, object] = {
        _PEER: payload.peer_id,
        _SIGNATURE: payload.signature,
        _PARAMETERS: _parameter_fields(payload.parameters),
        _CONNECTION_ID: payload.connection_id,
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
    fields = _PAYLOAD.decode_untrusted(data)
    observed = fields.get(_OBSERVED)
    return HandshakePayload(
        peer_id=fields[_PEER],
        signature=fields[_SIGNATURE],
        parameters=_parameters_untrusted(fields[_PARAMETERS]),
        connection_id=fields[_CONNECTION_ID],
        record=fields.get(_RECORD, b""),
        observed_address=None if observed is None else decode_address_untrusted(observed),
    )


def _parameter_fields(parameters: TransportParameters) -> dict[int, object]:
    fields: dict[int, object] = {
        _IDLE_TIMEOUT_MS: round(parameters.idle_timeout_s * 1000),
        _MAX_DATAGRAM: parameters.max_datagram_bytes,
        _MAX_ACK_DELAY_MS: round(parameters.max_ack_delay_s * 1000),
        _PQ: int(parameters.pq),
    }
    if parameters.reset_token:
        fields[_RESET_TOKEN] = parameters.reset_token
    return fields


def _parameters_untrusted(value: object) -> TransportParameters:
    fields = _TRANSPORT_PARAMETERS.read_untrusted(value)
    try:
        return TransportParameters(
            idle_timeout_s=fields[_IDLE_TIMEOUT_MS] / 1000,
            max_datagram_bytes=fields[_MAX_DATAGRAM],
            max_ack_delay_s=fields[_MAX_ACK_DELAY_MS] / 1000,
            pq=fields.get(_PQ, PostQuantum.NO),
            reset_token=fields.get(_RESET_TOKEN, b""),
        )
    except LocalProtocolError as error:
        raise RemoteProtocolError(ErrorCode.E_HS_PARAMS, error.message, layer="wire", section="5.5") from None


def _fault(parameters: TransportParameters) -> str | None:
    """Say which parameter is out of range, or None."""
    if not _MIN_IDLE_TIMEOUT_S <= parameters.idle_timeout_s <= _MAX_IDLE_TIMEOUT_S:
        return f"an idle time-out of {parameters.idle_timeout_s} s"
    if not LIMITS.init_min_datagram_bytes <= parameters.max_datagram_bytes <= LIMITS.max_datagram_bytes:
        return f"datagrams of at most {parameters.max_datagram_bytes} bytes"
    if not 0 <= parameters.max_ack_delay_s <= _MAX_ACK_DELAY_S:
        return f"an acknowledgement delay of {parameters.max_ack_delay_s} s"
    if parameters.pq not in _PQ_VALUES:
        return f"{parameters.pq} for the post-quantum exchange"
    if parameters.reset_token and len(parameters.reset_token) != _TOKEN_BYTES:
        return f"a reset token of {len(parameters.reset_token)} bytes"
    return None
