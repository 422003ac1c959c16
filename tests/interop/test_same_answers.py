"""Both implementations take the same bytes for the same, and refuse the others with the same code."""

from __future__ import annotations

import json
import math
import random
import struct
from collections.abc import Callable

import pytest
from loopback import MANIFEST
from ref import SpecError, cbor, frames, handshake, identity, messages
from ref import manifest as ref_manifest
from ref.addresses import decode_address
from test_ref_examples import EXAMPLES, SENT, bytes_of

from quinkgl import SwarmManifest
from quinkgl.crypto.cose import decode_sign1_untrusted
from quinkgl.manifest.canonical import canonical_json
from quinkgl.wire import packets
from quinkgl.wire.addresses import decode_address_untrusted
from quinkgl.wire.cbor import decode_untrusted
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.frames import decode_frames_untrusted
from quinkgl.wire.messages import (
    exchange,
    fetch,
    fingerprint,
    gossip,
    manifest,
    membership,
    objects,
    session,
)

ROUNDS = 3000


def long(data: bytes) -> bytes:
    """As a long packet: what is none goes elsewhere."""
    return bytes([data[0] | 0xC0]) + data[1:] if data else data


def one_of(data: bytes, *types: packets.LongType) -> None:
    """Read a long packet that has to be of one of these types: a changed byte may make it another one."""
    packet = packets.decode_long_untrusted(long(data))
    if packet.type not in types:
        raise RemoteProtocolError(ErrorCode.E_PROTOCOL, f"a {packet.type.name}")


Decoder = Callable[[bytes], object]
# What the library decodes, what the second implementation decodes, and good examples to begin from.
CASES: dict[str, tuple[Decoder, Decoder, list[bytes]]] = {
    "cbor": (
        lambda data: decode_untrusted(data, max_bytes=65536, where="test"),
        cbor.decode,
        [bytes.fromhex(data) for data in (*EXAMPLES["accepted"], *EXAMPLES["refused"])]
        + [data for _, _, data in SENT],
    ),
    "frames": (
        decode_frames_untrusted,
        frames.decode_frames,
        [bytes_of("ack-frame", "frame"), bytes_of("stateless-reset", "NEW_CID_1")]
        + [bytes_of("small-frames", name) for name in EXAMPLES["small-frames"]],
    ),
    "envelope": (
        lambda data: decode_sign1_untrusted(data, max_bytes=512),
        lambda data: identity.decode_envelope(data, 512),
        [
            bytes_of("envelope", "envelope"),
            bytes_of("peer-record", "record"),
            bytes_of("update-header", "header"),
        ],
    ),
    "address": (
        decode_address_untrusted,
        decode_address,
        [
            bytes.fromhex("c00002011b59"),
            bytes.fromhex("20010db8000000000000000000000001" + "1b59"),
            bytes(10) + bytes.fromhex("ffff0a0000011b59"),
            bytes.fromhex("ff" * 6),
            bytes.fromhex("e0" * 6),
        ],
    ),
    "INIT": (
        lambda data: one_of(data, packets.LongType.INIT),
        lambda data: handshake.decode_init(long(data)),
        [bytes_of("long-packets", "INIT_without_padding").ljust(size, b"\0") for size in (1200, 1300)],
    ),
    "RESP": (
        lambda data: one_of(data, packets.LongType.RESP, packets.LongType.FIN),
        lambda data: handshake.decode_answer(long(data)),
        [bytes_of("long-packets", "RESP")],
    ),
    "VERNEG": (
        packets.decode_version_negotiation_untrusted,
        handshake.decode_verneg,
        [bytes_of("version-negotiation", "VERNEG")],
    ),
    "payload": (
        session.decode_handshake_payload_untrusted,
        lambda data: messages.decode_map("payload", data, 1024),
        [bytes_of("handshake-messages", f"payload_{number}") for number in (2, 3)],
    ),
    "peer-record": (
        membership.decode_record_untrusted,
        lambda data: messages.decode_map("peer-record", data),
        [bytes_of("peer-record", "payload")],
    ),
    "update": (
        gossip.decode_update_header_untrusted,
        lambda data: messages.decode_map("update", data),
        [bytes_of("update-header", "payload")],
    ),
    "statement": (
        fingerprint.decode_statement_untrusted,
        lambda data: messages.decode_map("fingerprint", data, 192),
        [bytes_of("fingerprint", "statement")],
    ),
} | {
    channel: (
        decoder,
        lambda data, channel=channel: messages.decode_message(channel, data),
        [data for each, _, data in SENT if each == channel],
    )
    for channel, decoder in {
        "objects": objects.decode_object_message_untrusted,
        "manifest": manifest.decode_manifest_message_untrusted,
        "fetch": fetch.decode_fetch_message_untrusted,
        "membership": membership.decode_membership_message_untrusted,
        "fingerprint": fingerprint.decode_fingerprint_message_untrusted,
        "exchange": exchange.decode_exchange_message_untrusted,
    }.items()
}
HEADS = bytes.fromhex(
    "0017181920383b4058591b5f60787f80989f a0b8bfc0d8dff4f5f6f7f8f9fafbfcff1c1d1e1f".replace(" ", "")
)


def changed(draw: random.Random, data: bytes) -> bytes:
    """A few changes: a bit, a byte, a head, a cut, an insertion, a piece twice."""
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        at = draw.randrange(len(data) + 1)
        match draw.randrange(7):
            case 0 if data:
                at = min(at, len(data) - 1)
                data = data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :]
            case 1:
                data = data[:at] + draw.randbytes(1) + data[at + 1 :]
            case 2:
                data = data[:at] + bytes([draw.choice(HEADS)]) + data[at + 1 :]
            case 3:
                data = data[:at]
            case 4:
                data = data[:at] + draw.randbytes(draw.randrange(1, 4)) + data[at:]
            case 5:
                data = data[:at] + data[at + draw.randrange(1, 4) :]
            case _:
                data = data[:at] + data[max(0, at - draw.randrange(1, 9)) :]
    return data


def verdict(decoder: Decoder, data: bytes) -> str:
    """The code of a refusal, or "accepted"."""
    try:
        decoder(data)
    except RemoteProtocolError as error:
        return error.code.name
    except SpecError as error:
        return error.code
    return "accepted"


@pytest.mark.parametrize("name", CASES)
def test_the_same_bytes_have_the_same_fate(name):
    theirs, ours, examples = CASES[name]
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed = {seed}, name = {name!r}")
    draw = random.Random(seed)
    fates = set()
    for _ in range(ROUNDS):
        data = changed(draw, draw.choice(examples))
        fate = verdict(theirs, data)
        assert (fate, data.hex()) == (verdict(ours, data), data.hex())
        fates.add(fate)
    assert len(fates) > 1


def drawn(draw: random.Random, depth: int = 0) -> object:
    """A JSON value, with the numbers and characters that are written in different ways."""
    match draw.randrange(8 if depth < 3 else 5):
        case 0:
            return draw.choice((None, True, False, draw.randrange(-(1 << 70), 1 << 70)))
        case 1:
            (number,) = struct.unpack(">d", draw.randbytes(8))
            return number if math.isfinite(number) else 0.0
        case 2:
            sign, digits = draw.choice((1, -1)), draw.choice((1, 12345, 9007199254740993, 0))
            return sign * float(f"{digits}e{draw.randrange(-25, 25)}")
        case 3 | 4:
            points = (0x7F, 0xFFFF, 0x10FFFF) if draw.random() < 0.5 else (0x7F,)
            some = (draw.randrange(draw.choice(points) + 1) for _ in range(draw.randrange(6)))
            return "".join(chr(each) for each in some)
        case 5:
            return [drawn(draw, depth + 1) for _ in range(draw.randrange(4))]
        case _:
            return {str(drawn(draw, 9)): drawn(draw, depth + 1) for _ in range(draw.randrange(4))}


def test_json_has_the_same_canonical_bytes():
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed = {seed}")
    draw = random.Random(seed)
    for _ in range(ROUNDS):
        value = drawn(draw)
        assert canonical_json(value) == ref_manifest.canonical_json(value)


def test_a_manifest_has_the_same_canonical_bytes_with_and_without_what_may_be_left_out():
    text = json.loads(MANIFEST.to_json())
    assert ref_manifest.canonical_bytes(text) == MANIFEST.canonical_bytes()
    for key, default in ref_manifest.DEFAULTS.items():
        assert text.pop(key) == default
    assert ref_manifest.canonical_bytes(text) == MANIFEST.canonical_bytes()
    assert SwarmManifest.from_dict(text).canonical_bytes() == MANIFEST.canonical_bytes()
