"""Decoders of the wire: CBOR items, frames, long packets, the CONTROL stream, addresses."""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Iterable
from typing import Any

import cbor2

from fuzz.harness import Target
from fuzz.mutators import INTERESTING, Choices, dump, mutate_bytes, mutate_cbor, mutate_integer
from fuzz.oracles import DECODER, Bound, Finding, attempt, check_equal, metered
from quinkgl.transport.control_stream import ControlReceiver
from quinkgl.wire import frames
from quinkgl.wire.addresses import (
    decode_address_untrusted,
    encode_address,
    format_address,
    is_loopback,
    parse_address,
    prefix,
)
from quinkgl.wire.cbor import decode_untrusted, encode
from quinkgl.wire.control import Channel, ControlReader, encode_control
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError, error_code_untrusted
from quinkgl.wire.limits import HARD, LIMITS
from quinkgl.wire.packets import (
    LongType,
    decode_long_untrusted,
    decode_version_negotiation_untrusted,
    encode_cookie,
    encode_init,
    encode_long,
    encode_version_negotiation,
    is_grease_version,
    long_version_untrusted,
    packet_form,
    split_init_untrusted,
)

_ID = bytes(range(8))
_OTHER_ID = bytes(range(8, 16))
_KEY = bytes(range(32))
_SEEDED = random.Random(0)

# --- CBOR ---


def run_cbor(data: bytes) -> None:
    """Any accepted item is encoded to the very same bytes, and another library reads the same from them."""
    value = attempt(decode_untrusted, data, max_bytes=2048, where="fuzz")
    if value is None:
        return
    if encode(value) != data:
        raise Finding(f"{value!r} has a second encoding")
    if len(data) < 128 and cbor2.loads(data) != value:
        raise Finding(f"another library reads {cbor2.loads(data)!r}, not {value!r}")
    lent = bytearray(data)
    again = decode_untrusted(memoryview(lent), max_bytes=2048, where="fuzz")
    lent[:] = bytes(len(lent))
    check_equal(again, value, "a decoded value that leans on what was lent")


def cbor_seeds() -> Iterable[bytes]:
    """Every type of the profile, and the edges of integers and depth."""
    for number in INTERESTING:
        yield encode(number)
    yield encode([-1, -25, -(1 << 63), True, False, None, b"", b"x" * 30, "", "é", [], {}])
    yield encode({0: 1, 5: b"bytes", 23: "text", 24: [1, [2, [3]]], 64: {1: {}}, (1 << 32) - 1: None})
    nested: Any = 0
    for _ in range(LIMITS.cbor_depth):
        nested = [nested]
    yield encode(nested)
    yield dump([nested])


# --- frames ---


def encode_frame(frame: frames.Frame) -> bytes:
    """Encode any decoded frame."""
    match frame:
        case frames.Ping():
            return frames.PING
        case frames.Ack():
            return frames.encode_ack(frame)
        case frames.Control(offset, data):
            return frames.encode_control_frame(offset, data)
        case frames.MaxControl(limit):
            return frames.encode_max_control(limit)
        case frames.MaxData(transfer, limit):
            return frames.encode_max_data(transfer, limit)
        case frames.PathChallenge(data):
            return frames.encode_path_challenge(data)
        case frames.PathResponse(data):
            return frames.encode_path_response(data)
        case frames.NewCid(sequence, connection_id, token):
            return frames.encode_new_cid(sequence, connection_id, token)
        case frames.RetireCid(sequence):
            return frames.encode_retire_cid(sequence)
        case frames.Close(code, reason):
            return frames.encode_close(code, reason)


def run_frames(data: bytes) -> None:
    """Encoding decoded frames gives frames that decode to the same; ACK ranges are in order and apart."""
    decoded = attempt(frames.decode_frames_untrusted, data)
    if decoded is None:
        return
    for frame in decoded:
        if isinstance(frame, frames.Ack):
            _check_ranges(frame)
        elif isinstance(frame, frames.Close):
            error_code_untrusted(frame.code)
            if len(frame.reason) > frames.CLOSE_REASON_BYTES:
                raise Finding(f"a reason of {len(frame.reason)} characters")
            continue  # a reason that is no UTF-8 is shown, not sent on
        if frames.decode_frames_untrusted(encode_frame(frame)) != [frame]:
            raise Finding(f"{frame!r} is another one when it was encoded again")


def _check_ranges(ack: frames.Ack) -> None:
    above = 1 << 65
    for low, high in ack.ranges:
        if not 0 <= low <= high < above - 1:
            raise Finding(f"ranges {ack.ranges} overlap, touch or go below 0")
        above = low
    if len(ack.ranges) > HARD.ack_ranges or not 0 <= ack.delay_s < 1:
        raise Finding(f"{len(ack.ranges)} ranges, delay {ack.delay_s}")


FRAME_SEEDS: tuple[bytes, ...] = (
    frames.PING,
    bytes(20),
    frames.encode_ack(frames.Ack(((5, 9),), 0.01)),
    frames.encode_ack(frames.Ack(((90, 95), (50, 60), (0, 3)), 0.5)),
    frames.encode_ack(frames.Ack(((7, 7), (1, 2)), 0.1, (3, 2, 1))),
    frames.encode_ack(frames.Ack(tuple((1000 - 4 * i, 1001 - 4 * i) for i in range(32)), 0.0)),
    frames.encode_control_frame(0, encode_control(Channel.GOSSIP, b"\xa1\x00\x02")),
    frames.encode_control_frame(1 << 40, b"stream"),
    frames.encode_max_control(1 << 17),
    frames.encode_max_data(0, 1 << 20),
    frames.encode_path_challenge(_ID),
    frames.encode_path_response(_ID),
    frames.encode_new_cid(1, _ID, _KEY[:16]),
    frames.encode_retire_cid(0),
    frames.encode_close(ErrorCode.E_BUSY, "busy"),
    b"\x1b\x00\x03abc",
    b"\x3a\x00\x00",
)


def split_frames(data: bytes) -> list[bytes]:
    """Cut a payload into frames, as far as it can be read; the rest is the last piece."""
    pieces: list[bytes] = []
    while data:
        for known in FRAME_SEEDS:
            if data[0] == known[0] and data.startswith(known):
                pieces.append(known)
                data = data[len(known) :]
                break
        else:
            length = _frame_bytes(data)
            pieces.append(data[:length])
            data = data[length:]
    return pieces


def _frame_bytes(data: bytes) -> int:
    """How long the first frame says that it is."""
    fixed = {1: 1, 5: 9, 6: 13, 0x0C: 9, 0x0D: 9, 0x0E: 29, 0x0F: 5}
    kind = data[0]
    if kind in fixed:
        return fixed[kind]
    if kind in (2, 3) and len(data) >= 16:
        return 16 + 8 * data[11] + (24 if kind == 3 else 0)
    if kind == 4 and len(data) >= 11:
        return 11 + int.from_bytes(data[9:11], "big")
    if kind == 0x1C and len(data) >= 4:
        return 4 + data[3]
    if kind % 0x1F == 0x1B and len(data) >= 3:
        return 3 + int.from_bytes(data[1:3], "big")
    return 1 if kind == 0 else len(data)


def mutate_frames(data: bytes, rng: random.Random) -> bytes:
    """Change a list of frames: put one in, leave one out, double, exchange, or change the bytes of one."""
    pieces = split_frames(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(pieces) + 1)
        kind = rng.randrange(6)
        if kind <= 1 or not pieces:
            pieces.insert(at, rng.choice(FRAME_SEEDS))
            continue
        at = min(at, len(pieces) - 1)
        if kind == 2:
            del pieces[at]
        elif kind == 3:
            pieces.insert(rng.randrange(len(pieces) + 1), pieces[at])
        else:
            pieces[at] = _mutate_frame(pieces[at], rng)
    return b"".join(pieces)


def _mutate_frame(frame: bytes, rng: random.Random) -> bytes:
    try:
        (decoded,) = frames.decode_frames_untrusted(frame)
    except (RemoteProtocolError, ValueError):
        return mutate_bytes(frame, rng)
    match decoded:
        case frames.Ack(((low, high), *more), delay_s, ecn) if rng.random() < 0.8:
            high = mutate_integer(high, rng) % (1 << 64)
            low = max(0, high - rng.choice((0, 1, 2, 100)))
            rest = [pair for pair in more if low - (1 << 31) < pair[1] < low - 1]
            return frames.encode_ack(frames.Ack(((low, high), *rest), delay_s, ecn))
        case frames.Control(offset, data) if rng.random() < 0.8:
            if rng.random() < 0.6 and len(data) > 3:
                body = mutate_cbor(data[3:], rng)
                data = struct.pack(">BH", rng.choice((data[0], rng.randrange(8))), len(body) & 0xFFFF) + body
            else:
                offset = mutate_integer(offset, rng) % (1 << 64)
            return frames.encode_control_frame(offset, data[:0xFFFF])
        case frames.MaxData(transfer, limit):
            return frames.encode_max_data(
                mutate_integer(transfer, rng) % (1 << 32), mutate_integer(limit, rng) % (1 << 64)
            )
    return mutate_bytes(frame, rng)


def frame_seeds() -> Iterable[bytes]:
    """Each kind of frame, and all of them in one packet."""
    yield from FRAME_SEEDS
    yield b"".join(FRAME_SEEDS)


# --- long packets ---


def run_long_packets(data: bytes) -> None:
    """Whatever is accepted is encoded to the same bytes; the quick readers agree with the whole one."""
    packet_form(data)
    version = long_version_untrusted(data)
    parts = split_init_untrusted(data)
    if parts is not None and b"".join(parts[1:]) != data:
        raise Finding("an INIT whose parts are not the whole")
    packet = attempt(decode_long_untrusted, data, (1, 0x0A1A2A3A))
    listed = attempt(decode_version_negotiation_untrusted, data)
    if listed is not None:
        destination_id, source_id, versions = listed
        again = encode_version_negotiation(
            destination_id=destination_id, source_id=source_id, versions=versions
        )
        check_equal(again, data, "an answer to an unknown version")
        for one in versions:
            is_grease_version(one)
    if packet is None:
        return
    check_equal(packet.version, version, "version")
    head = {"version": packet.version, "destination_id": packet.destination_id}
    if packet.type is LongType.INIT:
        start, tail = encode_init(
            **head, source_id=packet.source_id, versions=packet.versions, noise=packet.noise
        )
        again = start + packet.mac1 + packet.mac2 + tail
        check_equal(again, data[: len(again)], "INIT")
        if parts is None or (parts.mac1, parts.mac2) != (packet.mac1, packet.mac2):
            raise Finding("two readers of an INIT differ")
        check_equal(parts.head + parts.tail, data[:21] + data[53:], "what mac1 covers")
    elif packet.type is LongType.COOKIE:
        again = encode_cookie(
            version=packet.version,
            destination_id=packet.destination_id,
            nonce=packet.noise[:16],
            sealed=packet.noise[16:],
        )
        check_equal((again[:13], again[21:]), (data[:13], data[21:]), "COOKIE")
    else:
        again = encode_long(packet.type, **head, source_id=packet.source_id, noise=packet.noise)
        check_equal(again, data, packet.type.name)


def long_packet_seeds() -> Iterable[bytes]:
    """One packet of each type."""
    head, tail = encode_init(
        version=1, destination_id=bytes(8), source_id=_ID, versions=(1, 0x0A1A2A3A), noise=_KEY + bytes(16)
    )
    yield head + _KEY + tail
    for kind in (LongType.RESP, LongType.FIN):
        yield encode_long(kind, version=1, destination_id=_ID, source_id=_OTHER_ID, noise=_KEY * 4)
    yield encode_cookie(version=1, destination_id=_ID, nonce=_KEY[:16], sealed=_KEY)
    yield encode_version_negotiation(destination_id=_ID, source_id=_OTHER_ID, versions=(1, 2, 0x0A1A2A3A))
    yield b"\x40" + _ID + bytes(8) + bytes(20)
    yield b"\x50" + _ID + bytes(20) + bytes(20)


def mutate_packet(data: bytes, rng: random.Random) -> bytes:
    """Change the type, the version, a length or the padding, or any bytes."""
    changed = bytearray(data)
    match rng.randrange(6):
        case 0 if changed:
            changed[0] = rng.choice((0xC0, 0xC1, 0xC2, 0xC3, 0xC4, 0xC5, 0xD0, 0xE0, 0x40, 0x50, 0x60, 0x48))
        case 1 if len(changed) > 5:
            changed[1:5] = rng.choice((0, 1, 2, 0x0A1A2A3A, 0xFFFFFFFF)).to_bytes(4, "big")
        case 2 if len(changed) > 60:
            changed[53] = rng.choice((0, 1, 2, 16, 17, 255))
        case 3 if len(changed) > 23:
            changed[21:23] = rng.choice((0, 1, len(changed), len(changed) - 23, 0xFFFF)).to_bytes(2, "big")
        case 4:
            changed += bytes(rng.choice((1, 8, 1200)))
        case _:
            return mutate_bytes(data, rng)
    return bytes(changed)


# --- the CONTROL stream ---

_STREAM = Bound(calls=400, calls_per_byte=12, memory=400_000, memory_per_byte=200)


def run_control_stream(data: bytes) -> None:
    """Pieces in any order and overlap give the stream's messages, wherever they were cut; credit is held to.

    The input: how to cut (some bytes), then the stream.
    """
    choices = Choices(data)
    cuts = sorted({choices.number(2) for _ in range(choices.number() % 6)})
    order = choices.number(4)
    stream = choices.rest()
    whole = _read_whole(stream)
    pieces = _pieces(stream, cuts)
    metered(_STREAM, len(data), _check_pieces, stream, pieces, order, whole)


def _read_whole(stream: bytes) -> list[tuple[int, bytes]] | ErrorCode:
    try:
        messages = ControlReader().feed_untrusted(stream)
    except RemoteProtocolError as error:
        return error.code
    for channel, body in messages:
        if len(body) > LIMITS.control_message_bytes:
            raise Finding("a message over the limit")
        if encode_control(channel, body) not in stream:
            raise Finding("a message that nobody sent")
    return messages


def _pieces(stream: bytes, cuts: list[int]) -> list[tuple[int, bytes]]:
    edges = [0, *[cut % (len(stream) + 1) for cut in cuts], len(stream)]
    edges.sort()
    return [(start, stream[start:stop]) for start, stop in itertools.pairwise(edges)]


def _check_pieces(
    stream: bytes,
    pieces: list[tuple[int, bytes]],
    order: int,
    whole: list[tuple[int, bytes]] | ErrorCode,
) -> None:
    shuffled = list(pieces)
    random.Random(order).shuffle(shuffled)
    if order % 3 == 0:  # some come twice, grown to the left
        shuffled += [(start // 2, stream[start // 2 : start + len(data)]) for start, data in pieces]
    receiver, reader = ControlReceiver(), ControlReader()
    ready = b""
    messages: list[tuple[int, bytes]] = []
    fault = None
    for start, piece in shuffled:
        limit = receiver.limit
        try:
            fresh = receiver.receive_untrusted(start, piece)
        except RemoteProtocolError as error:
            if start + len(piece) <= limit:
                raise Finding(f"{error} within the credit of {limit}") from error
            return
        ready += fresh
        if fault is None:
            try:
                messages += reader.feed_untrusted(fresh)
            except RemoteProtocolError as error:
                fault = error.code
    check_equal(ready, stream, "the stream put together")
    check_equal(messages if fault is None else fault, whole, "its messages")
    beyond = receiver.limit + 1
    try:
        receiver.receive_untrusted(beyond - 1, b"xx")
    except RemoteProtocolError as error:
        check_equal(error.code, ErrorCode.E_FLOW, "bytes beyond the credit")
    else:
        raise Finding("bytes beyond the credit were taken")


def control_seeds() -> Iterable[bytes]:
    """Streams of a few messages with some cuts."""
    stream = b"".join(encode_control(channel, bytes([0xA1, 0, channel])) for channel in Channel)
    stream += b"\x1b\x00\x04grea" + encode_control(Channel.GOSSIP, bytes(300))
    yield b"\0" + bytes(4) + stream
    yield b"\x03\x00\x05\x00\x11\x00\x40\x00\x00\x00\x03" + stream
    yield b"\x05\x00\x01\x00\x02\x00\x03\x01\x00\x01\x10\x00\x00\x00\x07" + stream * 3
    yield b"\0" + bytes(4) + b"\x07\x00\x00"
    yield b"\0" + bytes(4) + b"\x00\xff\xff"


# --- addresses ---


def run_addresses(data: bytes) -> None:
    """Whatever is accepted has one spelling in bytes and in text; as text, only ValueError comes out."""
    decode_address_untrusted.cache_clear()
    address = attempt(decode_address_untrusted, data)
    if address is not None:
        _check_address(address)
        if len(data) == 6:
            check_equal(encode_address(address), data, "an IPv4 address")
    try:
        address = metered(DECODER, len(data), parse_address, data.decode("utf-8", "replace"))
    except ValueError as error:
        if isinstance(error, LocalProtocolError | UnicodeError):
            raise
        return
    _check_address(address)


def _check_address(address: tuple[str, int]) -> None:
    encoded = encode_address(address)
    check_equal(decode_address_untrusted(encoded), address, "an address")
    check_equal(parse_address(format_address(address)), address, "an address as text")
    check_equal(len(prefix(address)), 3 if len(encoded) == 6 else 6, "its prefix")
    is_loopback(address)


def address_seeds() -> Iterable[bytes]:
    """Both families, mapped, local, and as text."""
    for text in ("192.0.2.1:4001", "[2001:db8::1]:9", "[fe80::1]:1", "127.0.0.1:65535", "[::ffff:1.2.3.4]:5"):
        yield text.encode()
        yield encode_address(parse_address(text))
    yield b"[fe80::1%eth0]:1"
    yield bytes(10) + b"\xff\xff\x01\x02\x03\x04\x00\x05"


TARGETS = (
    Target(
        name="cbor",
        about="CBOR items",
        run=run_cbor,
        seeds=cbor_seeds,
        mutate=mutate_cbor,
        max_bytes=512,
    ),
    Target(
        name="frames",
        about="frames of a packet",
        run=run_frames,
        seeds=frame_seeds,
        mutate=mutate_frames,
        max_bytes=800,
    ),
    Target(
        name="long_packets",
        about="handshake packets",
        run=run_long_packets,
        seeds=long_packet_seeds,
        mutate=mutate_packet,
    ),
    Target(
        name="control_stream",
        about="the CONTROL stream in pieces",
        run=run_control_stream,
        seeds=control_seeds,
        max_bytes=1024,
    ),
    Target(
        name="addresses",
        about="addresses as bytes and as text",
        run=run_addresses,
        seeds=address_seeds,
        max_bytes=64,
    ),
)
