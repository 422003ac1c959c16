"""Dissected bytes are tiled by their fields; what is well formed leaves none unexplained."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.crypto.cose import sign1
from quinkgl.crypto.identity import Identity
from quinkgl.serialization import encode_tensors
from quinkgl.wire import frames, packets
from quinkgl.wire.cbor import encode
from quinkgl.wire.control import Channel, encode_control
from quinkgl.wire.dissect import (
    dissect_frames,
    dissect_packet,
    dissect_reset,
    field_value,
    unexplained,
)
from quinkgl.wire.dissect_messages import dissect_cbor, dissect_leaf_list, dissect_message, dissect_tensors
from quinkgl.wire.messages import exchange
from quinkgl.wire.messages.fetch import Get, Piece, encode_fetch_message
from quinkgl.wire.messages.fingerprint import Answer, Statement, encode_fingerprint_message, encode_statement
from quinkgl.wire.messages.gossip import UpdateHeader, encode_update_header
from quinkgl.wire.messages.objects import Cancel, Done, Offer, Want, encode_object_message
from quinkgl.wire.messages.secrets import ExchangeReply
from quinkgl.wire.messages.secrets import encode_exchange_message as encode_secret

ALL = (
    dissect_packet,
    dissect_frames,
    dissect_message,
    dissect_cbor,
    dissect_leaf_list,
    dissect_tensors,
)
ID = bytes(range(8))
IDENTITY = Identity.from_seed(b"\x01" * 32)


def tiled(data, fields):
    at = 0
    for field in fields:
        assert field.start == at, field
        assert field.stop >= at
        at = field.stop
    assert at == len(data)
    return fields


@pytest.mark.parametrize("dissect", ALL)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_tiled(dissect, data):
    tiled(data, dissect(data))


@given(st.binary(max_size=200), st.sampled_from([0xC0, 0xC1, 0xC2, 0xC3, 0xC4, 0x40, 0x50, 0x60]))
def test_any_packet_is_tiled(data, first):
    data = bytes([first]) + data
    tiled(data, dissect_packet(data))


def long(kind, noise):
    return packets.encode_long(kind, version=1, destination_id=ID, source_id=ID, noise=noise)


@given(st.sampled_from(list(packets.LongType)[:3]), st.integers(0, 200), st.binary(max_size=120))
def test_a_noise_length_below_that_of_its_keys_is_tiled(kind, length, rest):
    data = bytearray(long(kind, bytes(100)) if kind else init())
    at = 53 + 9 if not kind else 21
    data[at : at + 2] = length.to_bytes(2, "big")
    data += rest
    tiled(bytes(data), dissect_packet(bytes(data)))


def init():
    head, tail = packets.encode_init(
        version=1, destination_id=ID, source_id=ID, versions=(1, 0x1A2A3A4A), noise=bytes(48)
    )
    return head + bytes(32) + tail


PACKETS = {
    "init": init(),
    "resp": long(packets.LongType.RESP, bytes(32 + 48 + 100)),
    "fin": long(packets.LongType.FIN, bytes(48 + 100)),
    "cookie": packets.encode_cookie(version=1, destination_id=ID, nonce=bytes(16), sealed=bytes(32)),
    "versions": packets.encode_version_negotiation(destination_id=ID, source_id=ID, versions=(1, 2)),
    "frames": packets.SHORT_HEADER.pack(0x60, ID, 7) + bytes(30),
    "bulk": packets.BULK_HEADER.pack(0x50, ID, 7, 1, 4096) + bytes(1000),
}


@pytest.mark.parametrize("data", PACKETS.values(), ids=PACKETS)
def test_every_byte_of_a_packet_has_a_name(data):
    fields = tiled(data, dissect_packet(data))
    assert unexplained(fields) == 0
    assert field_value(data, fields, "destination id") == ID
    for cut in range(len(data)):
        tiled(data[:cut], dissect_packet(data[:cut]))


FRAMES = {
    "padding": bytes(9),
    "ping": frames.PING,
    "ack": frames.encode_ack(frames.Ack(((90, 100), (7, 8), (0, 1)), 0.004)),
    "ack_ecn": frames.encode_ack(frames.Ack(((90, 100),), 0.004, (1, 2, 3))),
    "control": frames.encode_control_frame(9, b"some"),
    "max_control": frames.encode_max_control(9),
    "max_data": frames.encode_max_data(1, 9),
    "challenge": frames.encode_path_challenge(ID),
    "response": frames.encode_path_response(ID),
    "new_cid": frames.encode_new_cid(3, ID, bytes(16)),
    "retire_cid": frames.encode_retire_cid(3),
    "close": frames.encode_close(0x10, "bye"),
    "grease": bytes.fromhex("3a0003aabbcc"),
}


@pytest.mark.parametrize("data", FRAMES.values(), ids=FRAMES)
def test_every_byte_of_a_frame_has_a_name(data):
    assert unexplained(tiled(data, dissect_frames(data))) == 0
    both = data + frames.PING
    assert unexplained(tiled(both, dissect_frames(both))) == 0


def test_every_frame_type_is_known_here():
    assert {data[0] for data in FRAMES.values()} >= set(frames.FrameType)


def test_what_is_no_frame_is_unexplained_from_there_on():
    data = frames.PING + b"\x3f rest"
    fields = tiled(data, dissect_frames(data))
    assert unexplained(fields) == len(data) - 1


def test_ranges_are_shown_as_packet_numbers():
    shown = [field.text for field in dissect_frames(FRAMES["ack"])]
    assert "90-100" in shown
    assert "7-8" in shown
    assert "0-1" in shown


def offer():
    header = UpdateHeader(
        bytes(32), IDENTITY.peer_id, 3, bytes(32), 9, 1, 64, 0, bytes(16), 5, params={1: [1, "a"]}
    )
    return Offer(7, bytes(32), 9, sign1(IDENTITY, "update", encode_update_header(header)), b"the body!")


def answer():
    statement = Statement(bytes(32), bytes(32), bytes(32), bytes(16), 7, bytes(32))
    return Answer(sign1(IDENTITY, "fingerprint", encode_statement(statement)), b"body")


MESSAGES = {
    "offer": (Channel.OBJECTS, encode_object_message(offer())),
    "want": (Channel.OBJECTS, encode_object_message(Want(7, ((0, 5), (9, 1000)), 1 << 40))),
    "done": (Channel.OBJECTS, encode_object_message(Done(7))),
    "cancel": (Channel.OBJECTS, encode_object_message(Cancel(7, 0x40, True))),
    "get": (Channel.MANIFEST, encode_fetch_message(Get(bytes(32), 0))),
    "piece": (Channel.MANIFEST, encode_fetch_message(Piece(0, 5, b"{ ..}", bytes(64)))),
    "answer": (Channel.FINGERPRINT, encode_fingerprint_message(answer())),
    "proof": (Channel.GOSSIP, encode({0: 2, 1: offer().header, 2: offer().header})),
    "exchange offer": (
        Channel.EXCHANGE,
        exchange.encode_exchange_message(exchange.Offer(bytes(16), bytes(32), 9, 1, 0, 1, {1: "a"})),
    ),
    "exchange abort": (
        Channel.EXCHANGE,
        exchange.encode_exchange_message(exchange.Abort(bytes(16), bytes(16), 0x61)),
    ),
    "secret": (Channel.SESSION, encode_secret(ExchangeReply(2, bytes(32)))),
    "later": (Channel.GOSSIP, encode({0: 64, 70: -5, 71: [None, False, {3: b""}]})),
    "grease": (0x3A, b"anything"),
}


@pytest.mark.parametrize(("channel", "body"), MESSAGES.values(), ids=MESSAGES)
def test_every_byte_of_a_message_has_a_name(channel, body):
    data = encode_control(channel, body)
    fields = tiled(data, dissect_message(data))
    assert unexplained(fields) == 0
    numbered = [field.name for field in fields if " kind " in field.name or ".key " in field.name]
    assert all("params" in name or "metadata" in name for name in numbered) or channel in {
        Channel.GOSSIP,
        0x3A,
    }
    for cut in range(len(data)):
        tiled(data[:cut], dissect_message(data[:cut]))


def test_what_is_signed_is_shown_by_name():
    names = {field.name for field in dissect_message(encode_control(*MESSAGES["offer"]))}
    assert {"OFFER.root", "OFFER.header signed.round", "OFFER.header COSE signature"} <= names
    for message, name in (
        ("answer", "ANSWER.statement signed.verifier"),
        ("proof", "PROOF.second signed.round"),
    ):
        fields = dissect_message(encode_control(*MESSAGES[message]))
        assert name in {field.name for field in fields}


def test_numbers_are_shown_with_their_sign():
    for number in (0, 23, 24, -1, -2, -25, -1000):
        (field,) = dissect_cbor(encode(number))
        assert field.text == str(number)


def test_nesting_without_end_is_unexplained():
    data = b"\x81" * 100 + b"\x00"
    assert unexplained(tiled(data, dissect_cbor(data))) > 0


def test_tensors_are_named_down_to_their_padding():
    weights = {
        "a": np.ones((3, 5), np.float32),
        "b.c": np.zeros((), np.int64),
        "e": np.zeros((0, 2), np.uint8),
    }
    data = encode_tensors(weights)
    fields = tiled(data, dissect_tensors(data))
    assert unexplained(fields) == 0
    elements = {field.name: field.stop - field.start for field in fields if field.name.startswith("elements")}
    assert elements == {"elements of 'a'": 60, "elements of 'b.c'": 8, "elements of 'e'": 0}
    for cut in range(len(data)):
        tiled(data[:cut], dissect_tensors(data[:cut]))


def test_a_leaf_list_and_a_reset():
    data = bytes(range(64)) * 2
    assert unexplained(tiled(data, dissect_leaf_list(data))) == 0
    assert unexplained(tiled(data, dissect_reset(data))) == 0
    assert unexplained(dissect_leaf_list(data[:-1])) == 31


def test_a_name_that_is_not_there():
    with pytest.raises(KeyError):
        field_value(b"", [], "destination id")
