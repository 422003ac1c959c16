"""The published strategies: what they draw is what they say, and they find what they are for."""

from __future__ import annotations

import ipaddress
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from quinkgl.testing.carriers import CarrierError, Reconnect, Send, Turn, check_carrier
from quinkgl.testing.network import Link
from quinkgl.testing.schedules import LOST, PASSES, TWICE, Fate, Schedule, ScheduledNetwork
from quinkgl.testing.strategies import (
    addresses,
    bad_packed_addresses,
    carrier_steps,
    datagrams,
    families,
    fates,
    frame_payloads,
    frames,
    grease_frames,
    invalid_frame_payloads,
    invalid_messages,
    links,
    mangled,
    message_values,
    messages,
    packed_addresses,
    schedules,
)
from quinkgl.wire.addresses import decode_address_untrusted, encode_address, format_address, parse_address
from quinkgl.wire.cbor import decode_untrusted
from quinkgl.wire.control import is_grease
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.frames import (
    Ack,
    Close,
    Control,
    FrameType,
    MaxControl,
    MaxData,
    NewCid,
    PathChallenge,
    PathResponse,
    Ping,
    RetireCid,
    decode_frames_untrusted,
    encode_ack,
    encode_close,
    encode_control_frame,
    encode_max_control,
    encode_max_data,
    encode_new_cid,
    encode_path_challenge,
    encode_path_response,
    encode_retire_cid,
)
from quinkgl.wire.packets import (
    LongType,
    PacketForm,
    decode_long_untrusted,
    decode_version_negotiation_untrusted,
    packet_form,
)

SOME = settings(max_examples=settings.default.max_examples // 3)
GENERATE = settings(database=None, max_examples=4000, phases=[Phase.generate])
"""To find any example; what the shortest is matters where a test says so."""
A, B = ("192.0.2.1", 7000), ("192.0.2.2", 7000)


# --- messages ---


@pytest.mark.parametrize("name", sorted(families()))
@SOME
@given(data=st.data())
def test_valid_messages_fit_their_schema_and_size_and_invalid_ones_do_not(name, data):
    family = families()[name]
    message = data.draw(messages(name))
    assert len(message) <= family.most_bytes
    value = decode_untrusted(message, max_bytes=family.most_bytes, where="a message")
    assert family.schema.fault(family.rule, value) is None
    invalid = data.draw(invalid_messages(name))
    assert len(invalid.data) <= family.most_bytes
    assert decode_untrusted(invalid.data, max_bytes=family.most_bytes, where="a message") == invalid.value
    if invalid.rule in {"C-020", "C-021"}:
        fault = family.schema.fault(family.rule, invalid.value)
        assert str(fault) == invalid.reason


@pytest.mark.parametrize("name", sorted(families()))
def test_every_message_of_a_family_is_drawn_by_its_name(name):
    family = families()[name]
    for message in family.messages:
        value = find(message_values(name, message), lambda _value: True, settings=GENERATE)
        assert family.schema.fault(message, value) is None
    with pytest.raises(ValueError, match="no no-such-message"):
        find(messages(name, "no-such-message"), lambda _message: True)


RULES = [("objects", "9.2"), ("manifest", "H-003"), ("fetch", "H-031"), ("exchange", "B-005")]
RULES += [("update-header", "G-043"), ("handshake-payload", "C-041"), ("peer-record", "C-041")]


@pytest.mark.parametrize(("name", "rule"), RULES, ids=str)
def test_rules_between_fields_are_broken_too(name, rule):
    found = find(invalid_messages(name), lambda each: each.rule == rule, settings=GENERATE)
    family = families()[name]
    assert family.schema.fault(family.rule, found.value) is None


@pytest.mark.parametrize(
    ("reason", "name", "message"),
    [
        ("missing", "objects", "offer"),
        ("unknown key", "objects", "done"),
        ("not a map", "objects", "want"),
        ("not an array of 2 to 512", "objects", "want"),
        ("not an integer from 0 to 65535", "objects", "cancel"),
        ("513 bytes", "objects", "offer"),
        ("31 bytes", "objects", "offer"),
        ("not a boolean", "objects", "cancel"),
        ("not text", "manifest", "refuse"),
        ("at 2/0", "handshake-payload", None),
        ("at 13/", "update-header", None),
        ("17 keys", "update-header", None),
    ],
)
def test_each_kind_of_fault_is_drawn(reason, name, message):
    find(
        invalid_messages(name, message),
        lambda each: reason in each.reason,
        settings=GENERATE,
    )


# --- frames and datagrams ---


def encoded(frame):
    match frame:
        case Ping():
            return bytes([FrameType.PING])
        case Ack():
            return encode_ack(frame)
        case Control(offset, data):
            return encode_control_frame(offset, data)
        case MaxControl(limit):
            return encode_max_control(limit)
        case MaxData(transfer, limit):
            return encode_max_data(transfer, limit)
        case PathChallenge(data):
            return encode_path_challenge(data)
        case PathResponse(data):
            return encode_path_response(data)
        case NewCid(sequence, connection_id, token):
            return encode_new_cid(sequence, connection_id, token)
        case RetireCid(sequence):
            return encode_retire_cid(sequence)
        case Close(code, reason):
            return encode_close(code, reason)
    raise AssertionError(frame)


@pytest.mark.parametrize("name", [kind.name for kind in FrameType if kind is not FrameType.PADDING])
@SOME
@given(data=st.data())
def test_a_frame_of_the_registry_s_layout_is_read_and_made_again(name, data):
    frame = data.draw(frames(name))
    (read,) = decode_frames_untrusted(frame)
    assert encoded(read) == frame


@SOME
@given(frame_payloads())
def test_frames_behind_each_other_are_all_read(payload):
    made = b"".join(encoded(frame) for frame in decode_frames_untrusted(payload))
    assert len(made) <= len(payload)


@SOME
@given(grease_frames())
def test_grease_is_skipped(frame):
    assert is_grease(frame[0])
    assert decode_frames_untrusted(frame + bytes([FrameType.PING])) == [Ping()]


@settings(max_examples=200)
@given(invalid_frame_payloads())
def test_frames_with_a_fault_are_refused_with_its_code(invalid):
    with pytest.raises(RemoteProtocolError) as refused:
        decode_frames_untrusted(invalid.data)
    assert refused.value.code is invalid.code, invalid.reason


@pytest.mark.parametrize("name", ["INIT", "RESP", "FIN", "COOKIE"])
@SOME
@given(data=st.data())
def test_a_long_packet_is_read_as_what_it_is(name, data):
    packet = decode_long_untrusted(data.draw(datagrams(name)))
    assert packet.type is LongType[name]


@SOME
@given(datagrams("VERNEG"), datagrams("FRAMES"), datagrams("BULK"))
def test_other_packets_are_read_as_what_they_are(version_negotiation, frames_packet, bulk_packet):
    assert decode_version_negotiation_untrusted(version_negotiation)[2]
    assert packet_form(frames_packet) is PacketForm.FRAMES
    assert packet_form(bulk_packet) is PacketForm.BULK


@settings(max_examples=200)
@given(mangled(datagrams()))
def test_a_mangled_datagram_is_read_or_refused(data):
    if packet_form(data) is PacketForm.LONG:
        try:
            decode_long_untrusted(data)
        except RemoteProtocolError as error:
            assert error.code in {ErrorCode.E_PROTOCOL, ErrorCode.E_VERSION}


def test_an_unknown_packet_type_has_no_datagrams():
    with pytest.raises(ValueError, match="no packet type NEWS"):
        find(datagrams("NEWS"), lambda _data: True)


# --- addresses ---


@SOME
@given(addresses())
def test_an_address_has_one_form_as_bytes_and_one_as_text(address):
    assert decode_address_untrusted(encode_address(address)) == address
    assert parse_address(format_address(address)) == address


@SOME
@given(packed_addresses())
def test_a_packed_address_is_made_again(packed):
    assert encode_address(decode_address_untrusted(packed)) == packed
    assert ipaddress.ip_address(decode_address_untrusted(packed)[0]).packed == packed[:-2]


@SOME
@given(bad_packed_addresses())
def test_an_address_that_nobody_can_have_is_refused(packed):
    with pytest.raises(RemoteProtocolError) as refused:
        decode_address_untrusted(packed)
    assert refused.value.code is ErrorCode.E_SCHEMA


# --- conditions ---


class Recorder:
    """A machine that notes when which datagram comes."""

    def __init__(self) -> None:
        self.got: list[tuple[float, bytes]] = []

    def receive_datagram(self, data: bytes, _source, *, now: float) -> None:
        self.got.append((round(now, 6), data))

    def handle_timer(self, *, now: float) -> None:
        """Have no timer."""

    def next_event(self) -> None:
        return None

    def next_datagram(self, _now: float) -> None:
        return None

    def deadline(self) -> None:
        return None


def arrivals(schedule: Schedule, count: int) -> list[tuple[float, bytes]]:
    network = ScheduledNetwork(schedule)
    recorder = Recorder()
    network.add(B, recorder)
    for number in range(count):
        network.inject(A, B, bytes([number]))
    network.run(limit_s=10)
    return recorder.got


def test_a_schedule_is_followed_to_the_letter():
    schedule = Schedule((PASSES, LOST, TWICE, Fate(1, 0.2), Fate(2, 0.03)))
    late = [(0.04, b"\4"), (0.07, b"\4"), (0.21, b"\3")]
    assert arrivals(schedule, 6) == [(0.01, b"\0"), (0.01, b"\2"), (0.01, b"\2"), (0.01, b"\5"), *late]
    assert str(schedule) == (
        "datagram 1 lost; datagram 2 twice; datagram 3 passes, 0.2 s late; datagram 4 twice, 0.03 s late"
    )
    assert str(Schedule()) == "every datagram passes"


@SOME
@given(schedules(max_size=8))
def test_what_arrives_is_what_the_schedule_says(schedule):
    got = Counter(data for _, data in arrivals(schedule, 8))
    assert got == Counter({bytes([n]): schedule.fate(n).copies for n in range(8) if schedule.fate(n).copies})


def test_each_direction_may_have_a_schedule_of_its_own():
    network = ScheduledNetwork(
        Schedule(), key=lambda source, _destination: source, schedules=[(A, Schedule((LOST,)))]
    )
    there, back = Recorder(), Recorder()
    network.add(B, there)
    network.add(A, back)
    for source, destination in [(A, B), (B, A), (A, B)]:
        network.inject(source, destination, b"x")
    network.run(limit_s=1)
    assert (len(there.got), len(back.got)) == (1, 1)


def test_fates_shrink_to_passing_and_links_to_good_ones():
    assert find(fates(), lambda _fate: True, settings=settings(database=None)) == PASSES
    best = find(links(), lambda _link: True, settings=settings(database=None))
    assert best == Link(delay_s=0.001)


# --- carriers ---


class Queue:
    """The simplest carrier that does what it owes."""

    def __init__(self) -> None:
        self.reconnect()

    def reconnect(self) -> None:
        self.sent: list[list[bytes]] = [[], []]
        self.arrived: list[list[bytes]] = [[], []]

    def send(self, side: int, message: bytes) -> None:
        self.sent[side].append(message)

    def turn(self) -> None:
        for side in (0, 1):
            self.arrived[1 - side] += self.sent[side]
            self.sent[side] = []

    def receive(self, side: int) -> bytes | None:
        return self.arrived[side].pop(0) if self.arrived[side] else None


class Reversing(Queue):
    def receive(self, side: int) -> bytes | None:
        return self.arrived[side].pop() if self.arrived[side] else None


class Repeating(Queue):
    def receive(self, side: int) -> bytes | None:
        message = super().receive(side)
        if message == b"again":
            self.arrived[side].append(b"again!")
        return message


class Cutting(Queue):
    def send(self, side: int, message: bytes) -> None:
        super().send(side, message[:30])


class Leaking(Queue):
    def reconnect(self) -> None:
        old = getattr(self, "arrived", [[], []])
        super().reconnect()
        self.arrived = old


@SOME
@given(carrier_steps())
def test_a_carrier_that_does_what_it_owes_passes(steps):
    check_carrier(Queue(), steps)


@pytest.mark.parametrize("kind", [Reversing, Cutting])
def test_a_carrier_that_does_not_is_found(kind):
    def fails(steps) -> bool:
        try:
            check_carrier(kind(), steps)
        except CarrierError:
            return True
        return False

    steps = find(carrier_steps(), fails, settings=settings(database=None, max_examples=2000))
    assert 1 <= len(steps) <= 3
    assert all(isinstance(step, Send) for step in steps)


def test_a_message_too_many_and_one_of_an_old_connection_are_found():
    with pytest.raises(CarrierError, match="which nobody sent in this connection"):
        check_carrier(Repeating(), [Send(0, b"again")])
    leaking = Leaking()
    leaking.arrived[1].append(b"old")
    with pytest.raises(CarrierError, match="side 1 receives b'old'"):
        check_carrier(leaking, [Reconnect(), Turn()])


def test_the_steps_read_as_a_story():
    assert [str(step) for step in (Send(1, b"x"), Turn(), Reconnect())] == [
        "side 1 sends b'x'",
        "the carrier turns",
        "the connection breaks and is made anew",
    ]


# --- where Hypothesis is missing ---


def test_a_missing_hypothesis_is_named_with_its_install_line():
    code = """
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "hypothesis":
            raise ModuleNotFoundError("No module named 'hypothesis'", name="hypothesis")
sys.meta_path.insert(0, Absent())
import quinkgl.testing.cddl, quinkgl.testing.carriers, quinkgl.testing.schedules
try:
    import quinkgl.testing.strategies
except ImportError as error:
    print(type(error).__name__, error)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stdout.startswith("ImportError quinkgl.testing.strategies needs"), result.stderr
    assert "pip install 'quinkgl[dev]'" in result.stdout
