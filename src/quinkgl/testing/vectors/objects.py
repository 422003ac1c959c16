"""Operations of the families of objects and tensors."""

from __future__ import annotations

import hashlib

import numpy as np

from quinkgl.serialization.tensors import decode_tensors_untrusted, encode_tensors
from quinkgl.testing.vectors.ours import Fields, Json, operation
from quinkgl.transport.object_events import ObjectOffered, ObjectReceived
from quinkgl.transport.objects import ObjectExchange
from quinkgl.transport.reassembly import Reassembly
from quinkgl.transport.wanted import WantedRanges
from quinkgl.wire.merkle import leaf_hashes, list_bytes, merkle_root
from quinkgl.wire.messages.objects import Offer, decode_object_message_untrusted, encode_object_message

_PERIOD = 251
_PEER = bytes(32)


def _pattern(size: int, start: int) -> bytes:
    period = bytes(range(_PERIOD))
    return (period * ((start + size) // _PERIOD + 1))[start : start + size]


@operation("merkle", "root")
def root(given: Fields) -> tuple[Fields, Fields]:
    """Hash an object."""
    body = _pattern(given["size"], given["start"])
    leaves = leaf_hashes(body)
    listed = list_bytes(len(body))
    return {"leaves": leaves}, {
        "root": merkle_root(leaves),
        "list_bytes": listed,
        "byte_space": listed + len(body),
    }


def _chunk(chunk: Fields) -> bytes:
    if "bytes" in chunk:
        return bytes.fromhex(chunk["bytes"])
    data = bytearray(_pattern(chunk["size"], chunk["start"]))
    if "flip" in chunk:
        data[chunk["flip"]] ^= 1
    return bytes(data)


@operation("merkle", "receive")
def receive(given: Fields) -> tuple[Fields, Fields]:
    """Accept an offer and take its chunks."""
    exchange = ObjectExchange(Reassembly(), _PEER)
    offer = Offer(0, bytes.fromhex(given["root"]), given["size"], b"")
    exchange.receive_message_untrusted(encode_object_message(offer), now=0.0)
    exchange.next_event()
    exchange.accept(0, now=0.0)
    for chunk in given["chunks"]:
        exchange.receive_chunk_untrusted(0, chunk["offset"], _chunk(chunk))
    event = exchange.next_event()
    if not isinstance(event, ObjectReceived):
        raise TypeError(f"{event} in place of an object")
    taken = [(chunk["offset"], hashlib.sha256(_chunk(chunk)).digest()) for chunk in given["chunks"]]
    return {"chunks": taken}, {"sha256": hashlib.sha256(event.body).digest(), "size": len(event.body)}


@operation("offers", "offers")
def offers(given: Fields) -> tuple[Fields, Fields]:
    """Take offers in order."""
    exchange = ObjectExchange(Reassembly(), _PEER)
    offered, answers = [], []
    for message in given["messages"]:
        exchange.receive_message_untrusted(bytes.fromhex(message), now=0.0)
        while (event := exchange.next_event()) is not None:
            if isinstance(event, ObjectOffered):
                fields = {"transfer": event.transfer, "root": event.root, "size": event.size}
                offered.append({**fields, "header": event.header})
        while (answer := exchange.next_message()) is not None:
            answers.append(answer)
    return {}, {"offered": offered, "answers": answers}


@operation("offers", "send")
def send(given: Fields) -> tuple[Fields, Fields]:
    """Send what a WANT asks for."""
    exchange = ObjectExchange(Reassembly(), _PEER)
    body = bytes(given["size"])
    leaves = leaf_hashes(body)
    exchange.offer(merkle_root(leaves), b"".join(leaves), b"", memoryview(body), now=0.0)
    message = bytes.fromhex(given["want"])
    exchange.receive_message_untrusted(message, now=0.0)
    chunks: list[Json] = []
    while (taken := exchange.next_chunk(given["room"])) is not None:
        chunk, data = taken
        chunks.append([chunk.start, len(data)])
    want: Json = decode_object_message_untrusted(message)
    mid = {"wanted": WantedRanges(want.ranges).total, "credit": want.credit}
    return {**mid, "byte_space": list_bytes(len(body)) + len(body)}, {"chunks": chunks}


@operation("offers", "ranks")
def ranks(given: Fields) -> tuple[Fields, Fields]:
    """Find wanted bytes by rank."""
    flat = given["ranges"]
    wanted = WantedRanges(tuple(zip(flat[::2], flat[1::2], strict=True)))
    return {}, {"wanted": wanted.total, "offsets": [wanted.position(rank)[0] for rank in given["ranks"]]}


@operation("tensors", "decode")
def decode(given: Fields) -> tuple[Fields, Fields]:
    """Decode tensors and encode them again."""
    data = bytes.fromhex(given["bytes"])
    found = decode_tensors_untrusted(data, expected=None, max_bytes=given.get("max_bytes", len(data)))
    shown = [
        {
            "name": name,
            "dtype": array.dtype.name,
            "shape": array.shape,
            "elements": np.ascontiguousarray(array).tobytes(),
        }
        for name, array in found.items()
    ]
    return {}, {"tensors": shown, "bytes": encode_tensors(found)}
