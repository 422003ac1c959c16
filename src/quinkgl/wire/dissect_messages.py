"""Dissecting messages and objects: CONTROL messages down to their keys, leaf lists, tensor tables.

What :mod:`quinkgl.wire.dissect` says holds here too: fields tile the bytes, and nothing raises.
"""

from __future__ import annotations

import math
import struct
from contextlib import suppress
from typing import Any, Final

from quinkgl.wire.cbor import Buffer
from quinkgl.wire.control import HEADER_BYTES, Channel, is_grease
from quinkgl.wire.dissect import UNEXPLAINED, Cursor, Field
from quinkgl.wire.merkle import HASH_BYTES
from quinkgl.wire.spec_data import load

_TENSORS: Final[dict[str, Any]] = load("tensors")
_MAGIC: Final[bytes] = _TENSORS["format"]["magic"].encode("ascii")
_ALIGNMENT: Final[int] = _TENSORS["format"]["alignment_bytes"]
_DTYPES: Final = {entry["code"]: (name, entry["bytes"]) for name, entry in _TENSORS["dtypes"].items()}
_CHANNELS: Final = {entry["code"]: name for name, entry in load("registries/channels").items()}
_SIGN1: Final = 0xD2
_DEPTH: Final = 12

Names = dict[int, str]

_HELLO: Final = (
    "initiator swarm_id schema_version arch_hash input_shape output_shape aggregation topology "
    "compression_enabled byzantine_f max_object_bytes features expires_unix"
)

_EXCHANGE: Final = "exchange answer root size weight lateness codec metadata code"


def _names(words: str, first: int = 1) -> Names:
    return dict(enumerate(words.split(), first))


_MESSAGES: Final[dict[tuple[int, int], tuple[str, Names]]] = {
    (Channel.OBJECTS, 1): ("OFFER", _names("transfer root size header body")),
    (Channel.OBJECTS, 2): ("WANT", _names("transfer ranges credit")),
    (Channel.OBJECTS, 3): ("DONE", _names("transfer")),
    (Channel.OBJECTS, 4): ("CANCEL", _names("transfer code by_offerer")),
    (Channel.MANIFEST, 1): ("HELLO", _names(_HELLO)),
    (Channel.MANIFEST, 2): ("AGREE", {}),
    (Channel.MANIFEST, 3): ("REFUSE", _names("code term reason")),
    (Channel.MANIFEST, 4): ("GET", _names("swarm_id offset")),
    (Channel.MANIFEST, 5): ("PIECE", _names("offset total data signature")),
    (Channel.MEMBERSHIP, 1): ("RECORDS", _names("records")),
    (Channel.GOSSIP, 2): ("PROOF", _names("first second")),
    (Channel.FINGERPRINT, 1): ("REQUEST", _names("nonce epoch")),
    (Channel.FINGERPRINT, 2): ("ANSWER", _names("statement body")),
    (Channel.FINGERPRINT, 3): ("DECLINE", _names("nonce code")),
    (Channel.SESSION, 1): ("EXCHANGE_OFFER", _names("method public")),
    (Channel.SESSION, 2): ("EXCHANGE_REPLY", _names("method answer")),
    **{
        (Channel.EXCHANGE, kind): (f"exchange {name}", _names(_EXCHANGE))
        for kind, name in enumerate(["OFFER", "ACCEPT", "READY", "ASK", "COMMIT", "ABORT", "ACK"], 1)
    },
}
"""Message and key names by channel and kind; a kind or key that is not here is shown by its number."""

_HEADER: Final = _names(
    "swarm_id author round root size codec sample_count params metadata issued nonce base incarnation "
    "objects",
    0,
)
_SIGNED: Final[dict[tuple[str, str], Names]] = {
    ("OFFER", "header"): _HEADER,
    ("PROOF", "first"): _HEADER,
    ("PROOF", "second"): _HEADER,
    ("RECORDS", "records"): _names("key seq issued ttl swarm_tag addresses vouchers period", 0),
    ("ANSWER", "statement"): _names("swarm_id holder verifier nonce epoch digest", 0),
}
"""Keys of what is signed inside a message's field."""


def dissect_message(data: Buffer) -> list[Field]:
    """Return the fields of one message of the CONTROL stream, its channel and length included."""
    cursor = Cursor(data)
    try:
        code = cursor.number("channel", 1)
        channel = "GREASE" if is_grease(code) else _CHANNELS.get(code, f"channel {code}")
        cursor.fields[-1] = cursor.fields[-1]._replace(text=channel)
        cursor.number("length", HEADER_BYTES - 1)
        if channel == "GREASE":
            return cursor.rest("GREASE message")
        kind = _kind(data[HEADER_BYTES:])
        name, names = _MESSAGES.get((code, kind), (f"{channel} kind {kind}", {}))
        _map(cursor, name, {0: "kind", **names}, _DEPTH)
    except EOFError:
        pass  # cut short, or no CBOR: what is left has no name
    return cursor.rest()


def dissect_cbor(data: Buffer, name: str = "item", names: Names | None = None) -> list[Field]:
    """Return the fields of one CBOR item; ``names`` are those of the keys where it is a map."""
    cursor = Cursor(data)
    with suppress(EOFError):  # as above
        _item(cursor, name, names or {}, _DEPTH)
    return cursor.rest()


def _kind(body: Buffer) -> int:
    """Read the kind of a message: the first pair of its map, in the shortest form, has key 0."""
    if len(body) >= 3 and body[0] >> 5 == 5 and body[1] == 0:
        if body[2] < 24:
            return body[2]
        if body[2] == 24 and len(body) > 3:
            return body[3]
    return -1


def _head(cursor: Cursor) -> tuple[int, int, int]:
    """Return major type, argument and size of the head at the cursor, without moving it."""
    if not cursor.left:
        raise EOFError
    first = cursor.data[cursor.at]
    major, low = first >> 5, first & 0x1F
    if low < 24:
        return major, low, 1
    size = {24: 1, 25: 2, 26: 4, 27: 8}.get(low, 0)
    if not size or cursor.left < 1 + size:
        raise EOFError
    return major, int.from_bytes(cursor.data[cursor.at + 1 : cursor.at + 1 + size], "big"), 1 + size


def _item(cursor: Cursor, path: str, names: Names, depth: int) -> None:
    major, argument, size = _head(cursor)
    if depth == 0:
        raise EOFError
    if major == 5:
        _map(cursor, path, names, depth)
    elif major == 4:
        cursor.take(f"{path}, array head", size, f"{argument} items")
        for index in range(argument):
            _item(cursor, f"{path}[{index}]", names, depth - 1)
    elif major == 6:
        cursor.take(f"{path}, tag", size, str(argument))
        _item(cursor, path, names, depth - 1)
    elif major in {2, 3}:
        _string(cursor, path, major == 3, depth)
    else:
        cursor.take(path, size, _scalar(major, argument))


def _scalar(major: int, argument: int) -> str:
    if major == 7:
        return {20: "false", 21: "true", 22: "null"}.get(argument, f"simple {argument}")
    return str(argument if major == 0 else -1 - argument)


def _string(cursor: Cursor, path: str, is_text: bool, depth: int) -> None:
    _, length, size = _head(cursor)
    if cursor.left < size + length:
        raise EOFError
    body = bytes(cursor.data[cursor.at + size : cursor.at + size + length])
    message, _, key = path.partition(".")
    signed = _SIGNED.get((message, key.partition("[")[0]))
    if signed is not None and body[:1] == bytes([_SIGN1]):
        cursor.take(f"{path}, head", size, f"{length} bytes")
        _sign1(cursor, path, signed, depth - 1)
    elif is_text:
        cursor.take(f"{path}, head", size, f"{length} bytes")
        cursor.take(path, length, ascii(body.decode("utf-8", "replace")))
    else:
        cursor.take(f"{path}, head", size, f"{length} bytes")
        cursor.take(path, length)


def _sign1(cursor: Cursor, path: str, names: Names, depth: int) -> None:
    """Walk a COSE_Sign1: tag, array of four, and the payload as a map of its own."""
    _, tag, size = _head(cursor)
    cursor.take(f"{path} COSE tag", size, str(tag))
    _, count, size = _head(cursor)
    cursor.take(f"{path} COSE array head", size, f"{count} items")
    _item(cursor, f"{path} COSE protected header", {}, depth)
    _item(cursor, f"{path} COSE unprotected header", {}, depth)
    _, length, size = _head(cursor)
    cursor.take(f"{path} COSE payload, head", size, f"{length} bytes")
    _map(cursor, f"{path} signed", names, depth)
    _item(cursor, f"{path} COSE signature", {}, depth)


def _map(cursor: Cursor, path: str, names: Names, depth: int) -> None:
    major, count, size = _head(cursor)
    if major != 5 or depth == 0:
        raise EOFError
    cursor.take(f"{path}, map head", size, f"{count} pairs")
    for _ in range(count):
        key_major, key, key_size = _head(cursor)
        word = names.get(key, f"key {key}") if key_major == 0 else f"key of type {key_major}"
        cursor.take(f"{path}.{word}, key", key_size, str(key))
        _item(cursor, f"{path}.{word}", {}, depth - 1)


def dissect_leaf_list(data: Buffer) -> list[Field]:
    """Return the fields of the leaf list that stands before an object's body."""
    cursor = Cursor(data)
    while cursor.left >= HASH_BYTES:
        cursor.take(f"hash of leaf {len(cursor.fields)}", HASH_BYTES)
    return cursor.rest()


def dissect_tensors(data: Buffer) -> list[Field]:
    """Return the fields of a body in the tensor format: header, table, padding and each tensor's elements.

    Anything else is one field, ``unexplained``: bodies of other codecs are for others to read.
    """
    cursor = Cursor(data)
    if bytes(data[:4]) != _MAGIC:
        return cursor.rest()
    try:
        cursor.take("magic", 4, _MAGIC.decode())
        count = _little(cursor, "tensors", 4)
        _little(cursor, "table bytes", 4)
        _little(cursor, "reserved", 4)
        bodies = [_tensor_row(cursor, index) for index in range(count)]
        for name, offset, size in bodies:
            padding = offset - cursor.at
            if 0 < padding < _ALIGNMENT:
                cursor.take("padding", padding, f"{padding} bytes")
            if padding < 0 or offset != cursor.at:
                break
            cursor.take(f"elements of {name}", size)
    except (EOFError, KeyError):
        pass  # cut short, or a dtype that is not in use
    return cursor.rest()


def _little(cursor: Cursor, name: str, size: int) -> int:
    value = int.from_bytes(cursor.take(name, size), "little")
    cursor.fields[-1] = cursor.fields[-1]._replace(text=str(value))
    return value


def _tensor_row(cursor: Cursor, index: int) -> tuple[str, int, int]:
    """Name the bytes of one row of the table; return the tensor's name, offset and size."""
    row = f"tensor {index}"
    name = ascii(
        cursor.take(f"{row} name", _little(cursor, f"{row} name bytes", 2)).decode("utf-8", "replace")
    )
    cursor.fields[-1] = cursor.fields[-1]._replace(text=name)
    dtype, item = _DTYPES[_little(cursor, f"{row} dtype", 1)]
    cursor.fields[-1] = cursor.fields[-1]._replace(text=dtype)
    dimensions = _little(cursor, f"{row} dimensions", 1)
    shape = struct.unpack(f"<{dimensions}Q", cursor.take(f"{row} shape", 8 * dimensions))
    cursor.fields[-1] = cursor.fields[-1]._replace(text=str(list(shape)))
    return name, _little(cursor, f"{row} offset", 8), math.prod(shape) * item


__all__ = [
    "UNEXPLAINED",
    "dissect_cbor",
    "dissect_leaf_list",
    "dissect_message",
    "dissect_tensors",
]
