"""The dissector: whatever the bytes are, nothing is raised and the fields tile them."""

from __future__ import annotations

import random
from collections.abc import Iterable

from fuzz.harness import Target
from fuzz.mutators import mutate_cbor
from fuzz.oracles import Bound, Finding, metered
from fuzz.targets import message_decoders as messages
from fuzz.targets.file_decoders import mutate_tensors, tensor_seeds
from fuzz.targets.wire_decoders import frame_seeds, long_packet_seeds, mutate_frames, mutate_packet
from quinkgl.wire.control import Channel, encode_control
from quinkgl.wire.dissect import Field, dissect_frames, dissect_packet, unexplained
from quinkgl.wire.dissect_messages import dissect_cbor, dissect_leaf_list, dissect_message, dissect_tensors

_PARTS = (dissect_packet, dissect_frames, dissect_message, dissect_cbor, dissect_tensors, dissect_leaf_list)
_MUTATORS = (mutate_packet, mutate_frames, None, mutate_cbor, mutate_tensors, None)
_BOUND = Bound(calls=400, calls_per_byte=30, memory=60_000, memory_per_byte=1500)


def run(data: bytes) -> None:
    """The first byte says what the others are taken for."""
    dissect, body = _PARTS[data[0] % 6 if data else 0], data[1:]
    fields: list[Field] = metered(_BOUND, len(body), dissect, body)
    at = 0
    for field in fields:
        if field.start != at or field.stop < at:
            raise Finding(f"{field} does not begin at {at}")
        at = field.stop
    if at != len(body) or not 0 <= unexplained(fields) <= at:
        raise Finding(f"the fields end at {at} of {len(body)}")


def seeds() -> Iterable[bytes]:
    """One of each kind."""
    for number, known in ((0, long_packet_seeds()), (1, frame_seeds()), (4, tensor_seeds())):
        yield from (bytes([number]) + data for data in known)
    for channel, bodies in (
        (Channel.OBJECTS, messages.object_messages()),
        (Channel.MANIFEST, messages.manifest_messages()),
        (Channel.MEMBERSHIP, messages.membership_messages()),
        (Channel.GOSSIP, messages.gossip_messages()),
        (Channel.FINGERPRINT, messages.fingerprint_messages()),
        (Channel.SESSION, messages.secret_messages()),
        (Channel.EXCHANGE, messages.exchange_messages()),
    ):
        for body in bodies:
            yield b"\2" + encode_control(channel, body)
            yield b"\3" + body
    yield b"\5" + bytes(96)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change the bytes as what they are taken for."""
    kind = data[0] % 6 if data else 0
    change = _MUTATORS[kind]
    if change is None:
        body = mutate_cbor(data[4:], rng)
        return data[:2] + min(len(body), 0xFFFF).to_bytes(2, "big") + body
    return data[:1] + change(data[1:], rng)


TARGETS = (
    Target(
        name="dissector",
        about="the dissector of packets, frames, messages, objects",
        run=run,
        seeds=seeds,
        mutate=mutate,
        max_bytes=512,
    ),
)
