"""What the text once left open: both implementations give the answer that it settles."""

from __future__ import annotations

import pytest
from ref import cbor, frames, handshake, messages
from ref.data import LIMITS
from test_ref_examples import bytes_of
from test_same_answers import verdict

from quinkgl.wire import packets
from quinkgl.wire.cbor import decode_untrusted
from quinkgl.wire.frames import decode_frames_untrusted
from quinkgl.wire.messages.objects import decode_object_message_untrusted
from quinkgl.wire.messages.session import decode_handshake_payload_untrusted

INIT = bytes_of("long-packets", "INIT_without_padding").ljust(1200, b"\0")
RESP = bytes_of("long-packets", "RESP")
PAYLOAD = bytes_of("handshake-messages", "payload_2")
PARAMETERS = bytes.fromhex("02a40019ea600119ffe30218190300")
DEEP, ITEMS, TEXT = LIMITS["cbor_depth"], LIMITS["cbor_items"], LIMITS["text_bytes"]


@pytest.mark.req("C-015", "C-012")
@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("a17f00", "E_CBOR_CANON"),  # a key: its form before its type
        ("a1f8ff00", "E_SCHEMA"),
        ("a1f81400", "E_CBOR"),
        ("a2011b0000000100000000", "E_CBOR"),
        ("a201001b000000010000000000", "E_SCHEMA"),  # a key's range before its order
        ("a205001b000000000000000100", "E_CBOR_CANON"),
        ("d80100", "E_CBOR_CANON"),  # a tag: its form before its type
        ("3bffffffffffffffff", "E_SCHEMA"),
        ("81" * DEEP + "9a00010000", "E_TOO_BIG"),  # depth before bytes left
        ("81" * (DEEP - 1) + "9a00010000", "E_CBOR"),
        (f"99{ITEMS:04x}" + "00" * (ITEMS - 1) + "ff", "E_TOO_BIG"),  # items where they are announced
        (f"99{ITEMS - 1:04x}" + "00" * (ITEMS - 2) + "ff", "E_CBOR"),
        (f"99{ITEMS - 1:04x}" + "00" * (ITEMS - 1), "accepted"),
        (f"79{TEXT + 1:04x}" + "61" * TEXT, "E_CBOR"),  # bytes left before the size of a text
        (f"79{TEXT + 1:04x}" + "ff" * (TEXT + 1), "E_TOO_BIG"),
    ],
)
def test_the_first_fault_of_an_encoding_decides(data, code):
    data = bytes.fromhex(data)
    assert verdict(cbor.decode, data) == code
    assert verdict(lambda data: decode_untrusted(data, max_bytes=65536, where="test"), data) == code


@pytest.mark.req("P-013")
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (INIT[:21], "E_PROTOCOL"),
        (INIT[:1] + bytes(4) + INIT[5:22], "E_VERSION"),  # whatever the rest
        (b"\xf0" + bytes(4) + INIT[5:], "E_VERSION"),
        (b"\xf0" + INIT[1:], "E_PROTOCOL"),
        (INIT[:-1], "E_PROTOCOL"),
        (RESP[:22], "E_PROTOCOL"),
        (INIT, "accepted"),
    ],
)
def test_the_first_fault_of_a_long_packet_decides(data, code):
    ours = handshake.decode_answer if data[0] == handshake.RESP else handshake.decode_init
    assert verdict(ours, data) == code
    assert verdict(packets.decode_long_untrusted, data) == code


@pytest.mark.req("F-001", "F-002")
@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("01" + "20", "E_FRAME_UNKNOWN"),
        ("01" + "0c01", "E_FRAME_FORMAT"),
        ("20" + "0c01", "E_FRAME_UNKNOWN"),
        ("1c000000" + "10", "E_FRAME_UNKNOWN"),  # a frame that is reserved counts as unknown
        ("", "E_FRAME_FORMAT"),
    ],
)
def test_a_packet_of_frames_is_read_whole_before_anything_is_done(data, code):
    data = bytes.fromhex(data)
    assert verdict(frames.decode_frames, data) == code
    assert verdict(decode_frames_untrusted, data) == code


@pytest.mark.req("O-040", "C-021")
@pytest.mark.parametrize("kind", [0, 5, 63, 64, 1000])
def test_an_unknown_kind_on_the_channel_of_objects_is_an_error(kind):
    data = cbor.encode({0: kind, 1: 7})
    assert verdict(lambda data: messages.decode_message("objects", data), data) == "E_SCHEMA"
    assert verdict(decode_object_message_untrusted, data) == "E_SCHEMA"


@pytest.mark.req("C-020")
@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ("02a40019ea600119ffe30218190300", "accepted"),
        ("02a30019ea600119ffe30300", "E_SCHEMA"),  # one is missing
        ("02a4000a0119ffe30218190300", "E_HS_PARAMS"),
        ("02a40019ea600119ffe30218190303", "E_HS_PARAMS"),
    ],
)
def test_parameters_of_a_handshake(parameters, code):
    assert PARAMETERS in PAYLOAD
    data = PAYLOAD.replace(PARAMETERS, bytes.fromhex(parameters))
    assert verdict(lambda data: messages.decode_map("payload", data, 1024), data) == code
    assert verdict(decode_handshake_payload_untrusted, data) == code
