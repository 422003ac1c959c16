"""The header of a model update, and the gossip channel's messages (``spec/11-gossip.md``).

The header is the payload of a COSE_Sign1 that the author has signed; it travels in the OFFER of an object.
This module knows the payload, not the signature. Kind 2 of the channel is a proof of equivocation; kind 1 is
reserved for pulling an update.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from quinkgl.wire.cbor import Buffer, array_of, bstr, decode_untrusted, map_value, tstr, uint
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from quinkgl.wire.limits import CONSTANTS, HARD, LIMITS
from quinkgl.wire.messages.schema import ENVELOPE_BYTES, KIND, Schema, kind_untrusted, unknown_kind_untrusted

MAX_ROUND = (1 << 32) - 1
MAX_SAMPLE_COUNT = (1 << 53) - 1
NONCE_BYTES = 16

_SWARM, _AUTHOR, _ROUND, _ROOT, _SIZE, _CODEC, _SAMPLES, _PARAMS, _METADATA = range(9)
_ISSUED, _NONCE, _BASE, _INCARNATION, _OBJECTS = range(9, 14)
_HASH = bstr(32, 32)
_KEY = bstr(CONSTANTS.key_bytes, CONSTANTS.key_bytes)
_WHERE = "gossip message"

_NAME_BYTES = 32
_OBJECT_KINDS = (_HASH, uint(HARD.object_bytes, 1), uint(0xFF), tstr(_NAME_BYTES))


def _object(value: Any) -> str | None:
    """Judge a further object: its root, size, codec and name."""
    if type(value) is not list or len(value) != len(_OBJECT_KINDS):
        return "not an array of root, size, codec and name"
    return next(
        (wrong for kind, item in zip(_OBJECT_KINDS, value, strict=True) if (wrong := kind(item))), None
    )


_PROOF = 2
_FIRST, _SECOND = 1, 2
_PROOF_SCHEMA = Schema(
    "PROOF",
    2 * LIMITS.header_bytes + 16,
    required={
        KIND: uint(_PROOF, _PROOF),
        _FIRST: bstr(1, LIMITS.header_bytes),
        _SECOND: bstr(1, LIMITS.header_bytes),
    },
)
_HEADER_SCHEMA = Schema(
    "update header",
    LIMITS.header_bytes - ENVELOPE_BYTES,
    required={
        _SWARM: _HASH,
        _AUTHOR: _KEY,
        _ROUND: uint(MAX_ROUND),
        _ROOT: _HASH,
        _SIZE: uint(HARD.object_bytes, 1),
        _CODEC: uint(0xFF),
        _SAMPLES: uint(MAX_SAMPLE_COUNT),
        _PARAMS: map_value(16),
        _METADATA: map_value(16),
        _ISSUED: uint((1 << 53) - 1),
        _NONCE: bstr(NONCE_BYTES, NONCE_BYTES),
        _INCARNATION: uint((1 << 53) - 1),
    },
    optional={_BASE: _HASH, _OBJECTS: array_of(_object, LIMITS.update_objects, 1)},
)


@dataclass(frozen=True, slots=True)
class UpdateObject:
    """A further object of an update, such as a control variate: its ``name`` says which, to the rule."""

    root: bytes
    size: int
    codec: int
    name: str


@dataclass(frozen=True, slots=True)
class UpdateHeader:
    """What an author says about one update, and signs.

    ``round`` grows within one ``incarnation`` of the author, and the incarnation with each start of its node
    (milliseconds since 1970, or more); ``root`` is the Merkle root of the body and ``size`` its bytes;
    ``codec`` (``spec/registries/codecs.toml``) and ``params`` tell how to read it; ``sample_count`` is a
    claim; ``metadata`` is for the aggregation rule; ``issued`` is in seconds since 1970 and informs people
    only; ``base`` is the root of the update that this one is a difference to, or None; ``objects`` are
    further objects of the same update.
    """

    swarm_id: bytes
    author: bytes
    round: int
    root: bytes
    size: int
    codec: int
    sample_count: int
    issued: int
    nonce: bytes
    incarnation: int
    params: Mapping[int, Any] = field(default_factory=dict)
    metadata: Mapping[int, Any] = field(default_factory=dict)
    base: bytes | None = None
    objects: tuple[UpdateObject, ...] = ()

    @property
    def parts(self) -> dict[bytes, int]:
        """Root and size of the body and of every further object, the body first."""
        return {self.root: self.size, **{item.root: item.size for item in self.objects}}

    @property
    def total_bytes(self) -> int:
        """Bytes of the whole update."""
        return sum(self.parts.values())

    @property
    def position(self) -> tuple[int, int]:
        """Where the update stands in the sequence of its author's: incarnation, then round."""
        return self.incarnation, self.round


def encode_update_header(header: UpdateHeader) -> bytes:
    """Encode the payload of a signed header; LocalProtocolError for a field outside its bounds."""
    fields: dict[int, object] = {
        _SWARM: header.swarm_id,
        _AUTHOR: header.author,
        _ROUND: header.round,
        _ROOT: header.root,
        _SIZE: header.size,
        _CODEC: header.codec,
        _SAMPLES: header.sample_count,
        _PARAMS: header.params,
        _METADATA: header.metadata,
        _ISSUED: header.issued,
        _NONCE: header.nonce,
        _INCARNATION: header.incarnation,
    }
    if header.base is not None:
        fields[_BASE] = header.base
    if header.objects:
        fields[_OBJECTS] = [[item.root, item.size, item.codec, item.name] for item in header.objects]
        if len(header.parts) != len(header.objects) + 1:
            raise LocalProtocolError(ErrorCode.E_USAGE, "an update names an object twice", section="G-043")
    return _HEADER_SCHEMA.encode(fields)


def decode_update_header_untrusted(payload: Buffer) -> UpdateHeader:
    """Read the payload of a header; RemoteProtocolError for anything that the schema refuses."""
    fields = _HEADER_SCHEMA.decode_untrusted(payload)
    header = UpdateHeader(
        swarm_id=fields[_SWARM],
        author=fields[_AUTHOR],
        round=fields[_ROUND],
        root=fields[_ROOT],
        size=fields[_SIZE],
        codec=fields[_CODEC],
        sample_count=fields[_SAMPLES],
        issued=fields[_ISSUED],
        nonce=fields[_NONCE],
        incarnation=fields[_INCARNATION],
        params=fields[_PARAMS],
        metadata=fields[_METADATA],
        base=fields.get(_BASE),
        objects=tuple(UpdateObject(*item) for item in fields.get(_OBJECTS, ())),
    )
    if len(header.parts) != len(header.objects) + 1:
        raise RemoteProtocolError(
            ErrorCode.E_SCHEMA, "update header: an object is named twice", section="G-043"
        )
    return header


@dataclass(frozen=True, slots=True)
class Proof:
    """Two signed headers of one author for one position, with different roots."""

    first: bytes
    second: bytes


def encode_gossip_message(message: Proof) -> bytes:
    """Encode a message of the channel; LocalProtocolError for a header longer than one may be."""
    return _PROOF_SCHEMA.encode({KIND: _PROOF, _FIRST: message.first, _SECOND: message.second})


def decode_gossip_message_untrusted(data: Buffer) -> Proof | None:
    """Read a message of the gossip channel, None for a kind from 64 up.

    RemoteProtocolError for any other kind, and for what is no message at all.
    """
    value = decode_untrusted(data, max_bytes=LIMITS.control_message_bytes, where=_WHERE)
    kind = kind_untrusted(value, where=_WHERE)
    if kind == _PROOF:
        fields = _PROOF_SCHEMA.read_untrusted(value)
        return Proof(fields[_FIRST], fields[_SECOND])
    unknown_kind_untrusted(kind, where=_WHERE)
    return None
