"""Messages of the manifest handshake: HELLO, AGREE, REFUSE (``spec/04b-manifest-handshake.md``).

Kinds 4 and 5 are reserved for fetching a manifest in pieces.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

from quinkgl.wire.cbor import Buffer, array_of, boolean, bstr, decode_untrusted, tstr, uint
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.limits import CONSTANTS, HARD, LIMITS
from quinkgl.wire.messages.schema import KIND, Schema, kind_untrusted, unknown_kind_untrusted

MAX_MESSAGE_BYTES = 2048
"""No message of the manifest handshake is longer: 32 features, 2 × 16 dimensions and four names fit."""

_HELLO, _AGREE, _REFUSE = 1, 2, 3

_INITIATOR, _SWARM, _SCHEMA, _ARCH, _INPUT, _OUTPUT, _AGGREGATION, _TOPOLOGY = range(1, 9)
_COMPRESSION, _BYZANTINE, _OBJECT_BYTES, _FEATURES, _EXPIRES = range(9, 14)
_CODE, _FIELD, _REASON = range(1, 4)

_DIMENSIONS = array_of(uint(0xFFFFFFFF, 1), 16)
_NAME = tstr(64)
_WHERE = "manifest handshake message"

_HELLO_SCHEMA = Schema(
    "HELLO",
    MAX_MESSAGE_BYTES,
    required={
        KIND: uint(_HELLO, _HELLO),
        _INITIATOR: boolean(),
        _SWARM: bstr(CONSTANTS.key_bytes, CONSTANTS.key_bytes),
        _SCHEMA: uint(0xFF),
        _ARCH: tstr(128),
        _INPUT: _DIMENSIONS,
        _OUTPUT: _DIMENSIONS,
        _AGGREGATION: _NAME,
        _TOPOLOGY: _NAME,
        _COMPRESSION: boolean(),
        _BYZANTINE: uint(0xFFFF),
        _OBJECT_BYTES: uint(HARD.object_bytes, 1),
        _FEATURES: array_of(tstr(32), 32),
    },
    optional={_EXPIRES: uint((1 << 53) - 1)},
)
_AGREE_SCHEMA = Schema("AGREE", MAX_MESSAGE_BYTES, required={KIND: uint(_AGREE, _AGREE)})
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
class Terms:
    """What a node can and will do in a swarm, as its manifest and its model say.

    ``arch_hash`` and the shapes are those of the model that the node really runs, not a copy of the
    manifest's; shapes are without the batch dimension. ``expires_unix`` is when the manifest ends, in seconds
    since 1970, or None. ``max_object_bytes`` is the largest update that the node takes; ``features`` are
    names of ``spec/registries/features.toml`` that it offers, in ascending order.
    """

    swarm_id: bytes
    schema_version: int
    arch_hash: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    aggregation: str
    topology: str
    compression_enabled: bool
    byzantine_f: int
    expires_unix: int | None
    max_object_bytes: int
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hello:
    """My terms; ``initiator`` tells the sides apart, so that a message that only comes back is noticed."""

    terms: Terms
    initiator: bool


@dataclass(frozen=True, slots=True)
class Agree:
    """Your terms fit mine."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Your terms do not fit: the code, the term that differs, and at most 64 bytes for people."""

    code: int
    field: str
    reason: str


ManifestMessage: TypeAlias = Hello | Agree | Refuse


def encode_manifest_message(message: ManifestMessage) -> bytes:
    """Encode one message; LocalProtocolError for a field outside its bounds."""
    match message:
        case Hello():
            return _HELLO_SCHEMA.encode(_hello_fields(message))
        case Agree():
            return _AGREE_SCHEMA.encode({KIND: _AGREE})
        case Refuse():
            fields = {KIND: _REFUSE, _CODE: message.code, _FIELD: message.field, _REASON: message.reason}
            return _REFUSE_SCHEMA.encode(fields)


def decode_manifest_message_untrusted(data: Buffer) -> ManifestMessage | None:
    """Read one message, None for a kind from 64 up; RemoteProtocolError for what the schema refuses."""
    value = decode_untrusted(data, max_bytes=MAX_MESSAGE_BYTES, where=_WHERE)
    match kind_untrusted(value, where=_WHERE):
        case 1:
            return _hello_untrusted(_HELLO_SCHEMA.read_untrusted(value))
        case 2:
            _AGREE_SCHEMA.read_untrusted(value)
            return Agree()
        case 3:
            fields = _REFUSE_SCHEMA.read_untrusted(value)
            return Refuse(fields[_CODE], fields[_FIELD], fields[_REASON])
        case kind:
            unknown_kind_untrusted(kind, where=_WHERE)
            return None


def _hello_fields(message: Hello) -> dict[int, object]:
    terms = message.terms
    fields: dict[int, object] = {
        KIND: _HELLO,
        _INITIATOR: message.initiator,
        _SWARM: terms.swarm_id,
        _SCHEMA: terms.schema_version,
        _ARCH: terms.arch_hash,
        _INPUT: terms.input_shape,
        _OUTPUT: terms.output_shape,
        _AGGREGATION: terms.aggregation,
        _TOPOLOGY: terms.topology,
        _COMPRESSION: terms.compression_enabled,
        _BYZANTINE: terms.byzantine_f,
        _OBJECT_BYTES: terms.max_object_bytes,
        _FEATURES: sorted(terms.features),
    }
    if terms.expires_unix is not None:
        fields[_EXPIRES] = terms.expires_unix
    return fields


def _hello_untrusted(fields: dict[int, Any]) -> Hello:
    features = fields[_FEATURES]
    if any(left >= right for left, right in pairwise(features)):
        raise RemoteProtocolError(ErrorCode.E_SCHEMA, "HELLO: the features do not ascend", section="H-003")
    return Hello(
        Terms(
            swarm_id=fields[_SWARM],
            schema_version=fields[_SCHEMA],
            arch_hash=fields[_ARCH],
            input_shape=tuple(fields[_INPUT]),
            output_shape=tuple(fields[_OUTPUT]),
            aggregation=fields[_AGGREGATION],
            topology=fields[_TOPOLOGY],
            compression_enabled=fields[_COMPRESSION],
            byzantine_f=fields[_BYZANTINE],
            expires_unix=fields.get(_EXPIRES),
            max_object_bytes=fields[_OBJECT_BYTES],
            features=tuple(features),
        ),
        initiator=fields[_INITIATOR],
    )
