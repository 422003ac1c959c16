"""One session: messages, packets, acknowledgements, probes, pacing, objects, and its end."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest

from quinkgl.testing.endpoints import A, B, Dialogue, Pair, ScriptedPeer, events_of
from quinkgl.testing.network import Link
from quinkgl.transport import (
    ConnectionConfig,
    ConnectionLost,
    EndpointConfig,
    KeyLimits,
    MessageReceived,
    ObjectArrived,
    ObjectSent,
    OfferReceived,
    TransferFailed,
    leaf_hashes,
    merkle_root,
)
from quinkgl.wire.control import Channel, encode_control
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, error_code_untrusted
from quinkgl.wire.frames import (
    PING,
    Ack,
    Close,
    Control,
    MaxControl,
    MaxData,
    PathResponse,
    Ping,
    encode_ack,
    encode_close,
    encode_control_frame,
    encode_max_control,
    encode_path_challenge,
    encode_path_response,
)
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.messages.objects import (
    Cancel,
    Offer,
    Want,
    decode_object_message_untrusted,
    encode_object_message,
)
from quinkgl.wire.messages.session import TransportParameters
from quinkgl.wire.packets import PacketForm, packet_form

BODY = random.Random(5).randbytes(200_000)
LEAVES = leaf_hashes(BODY)
ROOT = merkle_root(LEAVES)


FIXED = EndpointConfig(connection=ConnectionConfig(mtu_discovery=False))
"""Datagrams of 1,200 bytes all the time."""


def offer_from(pair: Pair, body: bytes = BODY) -> None:
    leaves = leaf_hashes(body)
    transfer = pair.a.machine.offer_object(
        pair.id_b, merkle_root(leaves), b"".join(leaves), b"header", memoryview(body), now=pair.now
    )
    assert transfer is not None


def accept_all(pair: Pair) -> None:
    """Let B accept whatever is offered."""
    machine = pair.b.machine
    pair.b.on_event = lambda event: (
        machine.accept_object(event.peer, event.transfer, now=pair.now)
        if isinstance(event, OfferReceived)
        else None
    )


def control(*messages: bytes, offset: int = 0, channel: Channel = Channel.GOSSIP) -> bytes:
    return encode_control_frame(offset, b"".join(encode_control(channel, body) for body in messages))


def closes(heard: list) -> list[Close]:
    return [frame for frame in heard if isinstance(frame, Close)]


# Messages


@pytest.mark.req("F-033", "F-042")
def test_messages_arrive_in_order_both_ways():
    pair = Pair()
    pair.connect()
    sent = [bytes([index]) * index for index in range(40)]
    for body in sent:
        assert pair.a.machine.send_message(pair.id_b, Channel.GOSSIP, body, now=pair.now)
        assert pair.b.machine.send_message(pair.id_a, Channel.MEMBERSHIP, body, now=pair.now)
    pair.run(limit_s=1.0)
    assert events_of(pair.b, MessageReceived) == [
        MessageReceived(pair.id_a, Channel.GOSSIP, body) for body in sent
    ]
    assert events_of(pair.a, MessageReceived) == [
        MessageReceived(pair.id_b, Channel.MEMBERSHIP, body) for body in sent
    ]


@pytest.mark.req("F-033", "F-034")
def test_more_than_a_window_of_messages_gets_through_a_lossy_link():
    pair = Pair(1, Link(delay_s=0.01, loss=0.05))
    pair.connect()
    sent = [random.Random(index).randbytes(10_000) for index in range(20)]
    for body in sent:
        assert pair.a.machine.send_message(pair.id_b, Channel.MANIFEST, body, now=pair.now)
    pair.run(lambda: len(events_of(pair.b, MessageReceived)) == 20, limit_s=60.0)
    assert [event.data for event in events_of(pair.b, MessageReceived)] == sent


@pytest.mark.req("F-035", "W-040")
def test_a_full_queue_takes_no_more_until_the_peer_has_read():
    pair = Pair(link=Link(delay_s=0.01))
    pair.connect()
    queued = 0
    while pair.a.machine.send_message(pair.id_b, Channel.GOSSIP, bytes(16_000), now=pair.now):
        queued += 1
        assert queued < 100
    assert not pair.a.machine.has_message_room(pair.id_b)
    pair.run(lambda: len(events_of(pair.b, MessageReceived)) == queued, limit_s=10.0)
    pair.run(limit_s=1.0)
    assert pair.a.machine.has_message_room(pair.id_b)
    assert not pair.a.machine.has_message_room(bytes(32))


def test_a_message_over_the_limit_is_misuse():
    pair = Pair(deep=True)
    pair.connect()
    with pytest.raises(LocalProtocolError) as caught:
        pair.a.machine.send_message(
            pair.id_b, Channel.GOSSIP, bytes(LIMITS.control_message_bytes + 1), now=pair.now
        )
    assert caught.value.code is ErrorCode.E_TOO_BIG


@pytest.mark.req("F-030")
def test_the_credit_of_the_control_stream_is_respected_and_renewed():
    table = Dialogue()
    for _ in range(8):
        table.command("send_message", table.peer.peer_id, Channel.GOSSIP, bytes(16_000))
    sent = 0
    for _ in range(200):
        heard = table.deliver(table.peer.seal(table.peer.acknowledge())) + table.wait(0.05)
        sent = max([sent, *(frame.offset + len(frame.data) for frame in heard if isinstance(frame, Control))])
    assert sent == LIMITS.control_window_bytes
    heard = table.deliver(table.peer.seal(encode_max_control(sent + 100))) + table.wait(0.05)
    assert max(frame.offset + len(frame.data) for frame in heard if isinstance(frame, Control)) == sent + 100


@pytest.mark.req("F-034")
def test_half_a_window_read_is_granted_anew_and_again_if_the_grant_is_lost():
    table = Dialogue()
    stream = b"".join(encode_control(Channel.GOSSIP, bytes(10_000)) for _ in range(4))
    grants, lost = [], []
    for start in range(0, len(stream), 1000):
        heard = table.deliver(table.peer.seal(encode_control_frame(start, stream[start : start + 1000])))
        if MaxControl in map(type, heard):
            grants += [frame for frame in heard if isinstance(frame, MaxControl)]
            lost.append(table.peer.received[-1])
    assert len(grants) == 1
    assert 1.5 * LIMITS.control_window_bytes <= grants[0].limit <= LIMITS.control_window_bytes + len(stream)
    table.command("send_message", table.peer.peer_id, Channel.GOSSIP, bytes(6000))
    heard = table.wait(0.1)
    arrived = set(table.peer.received) - set(lost)  # everything but the grant is acknowledged
    heard += table.deliver(table.peer.seal(table.peer.acknowledge(*arrived)))
    (again,) = [frame for frame in heard if isinstance(frame, MaxControl)]
    assert again.limit >= grants[0].limit


# Packets


@pytest.mark.req("F-021", "P-023", "P-024")
def test_a_packet_with_a_wrong_tag_has_no_effect():
    """Removing the check of the tag would deliver this message."""
    table = Dialogue()
    packet = bytearray(table.peer.seal(control(b"forged")))
    packet[-1] ^= 1
    assert table.deliver(bytes(packet)) == []
    assert table.wait(1.0) == []
    assert table.events_of(MessageReceived) == []
    assert table.dropped == {"tag": 1}


@pytest.mark.req("P-003", "P-021", "P-023", "P-024")
def test_a_changed_byte_anywhere_in_a_packet_has_no_effect():
    table = Dialogue()
    packet = table.peer.seal(control(b"message"))
    for position in (0, *range(9, len(packet))):  # 1 to 8 is the connection id
        changed = bytearray(packet)
        changed[position] ^= 1
        table.deliver(bytes(changed))
    assert table.events_of(MessageReceived) == []
    table.deliver(packet)
    assert [event.data for event in table.events_of(MessageReceived)] == [b"message"]


@pytest.mark.req("P-024")
def test_a_forged_chunk_is_not_delivered():
    table, transfer = receiving(b"x" * 5000)
    packet = bytearray(table.peer.bulk(transfer, 0, b"x" * 1000))
    packet[40] ^= 1
    table.deliver(bytes(packet))
    assert table.dropped["tag"] == 1
    for start in range(0, 5000, 1000):
        table.deliver(table.peer.bulk(transfer, start, b"x" * 1000))
    assert [bytes(event.body) for event in table.events_of(ObjectArrived)] == [b"x" * 5000]


@pytest.mark.req("P-022")
def test_a_packet_counts_once():
    """Removing the replay window would answer the challenge twice."""
    table = Dialogue()
    packet = table.peer.seal(encode_path_challenge(b"12345678"))
    assert PathResponse(b"12345678") in table.deliver(packet)
    assert table.deliver(packet, packet) == []
    assert table.dropped == {"replay": 2}


@pytest.mark.req("V-001")
def test_a_datagram_is_one_packet_and_never_two():
    table = Dialogue()
    one, other = (table.peer.seal(encode_path_challenge(data)) for data in (b"12345678", b"87654321"))
    assert table.deliver(one + other) == []
    assert table.dropped == {"tag": 1}
    assert PathResponse(b"12345678") in table.deliver(one)


@pytest.mark.req("P-022")
def test_packets_below_the_window_are_replays():
    table = Dialogue()
    number = LIMITS.replay_window + 10
    assert table.deliver(table.peer.seal(encode_path_challenge(b"12345678"), number=number)) != []
    assert table.deliver(table.peer.seal(encode_path_challenge(b"12345678"), number=10)) == []
    assert table.deliver(table.peer.seal(encode_path_challenge(b"87654321"), number=11)) != []
    assert table.dropped == {"replay": 1}


@pytest.mark.req("P-031")
def test_short_packets_and_unknown_ids_are_counted():
    table = Dialogue()
    packet = table.peer.seal(PING)
    bulk = table.peer.bulk(0, 0, b"x")
    assert table.deliver(packet[:10], packet[:32], bulk[:40], bytes([0x40]) + bytes(60)) == []
    assert table.dropped == {"short_packet": 3, "unknown_connection": 1}
    assert [len(reset) < 61 for reset in table.resets] == [True]


@pytest.mark.req("P-003")
def test_bits_that_mean_nothing_yet_are_ignored():
    table = Dialogue()
    for bits in (0x01, 0x02, 0x07):
        number = table.peer.next_number
        session, header = (
            table.peer.session,
            bytes([0x40 | bits]) + table.peer.remote_id + number.to_bytes(8, "big"),
        )
        table.peer.next_number += 1
        table.deliver(header + session.send_keys.seal(number, header, encode_path_challenge(bytes(8))))
    assert table.dropped == {}
    assert len(table.datagrams) >= 3


@pytest.mark.req("F-005", "P-020", "P-040")
def test_packet_numbers_are_never_used_twice_and_datagrams_keep_their_size():
    seen: Counter = Counter()

    def tap(_now, source, destination, data):
        assert len(data) <= LIMITS.init_min_datagram_bytes
        if packet_form(data) in {PacketForm.FRAMES, PacketForm.BULK}:
            seen[source, data[1:9], data[9:17]] += 1

    pair = Pair(2, Link(delay_s=0.02, jitter_s=0.02, loss=0.1, duplicate=0.1), config_a=FIXED, config_b=FIXED)
    pair.network.tap = tap
    accept_all(pair)
    pair.connect()
    offer_from(pair)
    for _ in range(20):
        pair.a.machine.send_message(pair.id_b, Channel.GOSSIP, bytes(3000), now=pair.now)
        pair.run(limit_s=0.3)
    assert pair.run(lambda: events_of(pair.a, ObjectSent), limit_s=120.0)
    assert len(seen) > 200
    assert set(seen.values()) == {1}


@pytest.mark.req("P-040", "S-025")
@pytest.mark.parametrize(("ours", "theirs", "expected"), [(1400, 1300, 1300), (1400, 65507, 1400)])
def test_datagrams_are_no_larger_than_the_peer_takes(ours, theirs, expected):
    peer = ScriptedPeer(parameters=TransportParameters(max_datagram_bytes=theirs))
    config = EndpointConfig(connection=ConnectionConfig(datagram_bytes=ours))
    table = Dialogue(config=config, peer=peer)
    for _ in range(3):
        table.command("send_message", peer.peer_id, Channel.GOSSIP, bytes(5000))
    table.wait(0.1)
    assert max(map(len, table.datagrams)) == expected


# Frames that end the session


@pytest.mark.req("C-002", "F-001", "F-002", "F-011", "F-031", "F-040", "F-041", "O-005", "R-002")
@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", ErrorCode.E_FRAME_FORMAT),
        (b"\x04", ErrorCode.E_FRAME_FORMAT),
        (b"\x3f", ErrorCode.E_FRAME_UNKNOWN),
        (encode_path_response(bytes(8)), ErrorCode.E_FRAME_CONTEXT),
        (encode_ack(Ack(((10**6, 10**6),), 0.0)), ErrorCode.E_ACK),
        (encode_control_frame(LIMITS.control_window_bytes, b"x"), ErrorCode.E_FLOW),
        (encode_control_frame(0, b"\x3f\x00\x00"), ErrorCode.E_FRAME_UNKNOWN),
        (encode_control_frame(0, b"\x01\xff\xff"), ErrorCode.E_TOO_BIG),
        (control(b"\xff", channel=Channel.OBJECTS), ErrorCode.E_CBOR),
        (
            control(encode_object_message(Offer(0, bytes(32), 0, b"")), channel=Channel.OBJECTS),
            ErrorCode.E_OBJ_HASH,
        ),
    ],
    ids=[
        "no frame",
        "cut short",
        "unknown type",
        "response without challenge",
        "ack of nothing",
        "beyond the credit",
        "unknown channel",
        "too big",
        "no cbor",
        "wrong hash",
    ],
)
def test_a_broken_rule_ends_the_session_with_its_code(payload, code):
    table = Dialogue()
    heard = table.deliver(table.peer.seal(payload))
    (lost,) = table.events_of(ConnectionLost)
    assert (lost.peer, lost.code, lost.by_remote) == (table.peer.peer_id, code, False)
    assert [close.code for close in closes(heard)] == [code]
    assert table.dropped == {code.name: 1}
    assert table.endpoint.peers() == ()


@pytest.mark.req("O-020")
def test_a_chunk_that_nobody_asked_for_ends_the_session():
    table = Dialogue()
    (close,) = closes(table.deliver(table.peer.bulk(0, 0, b"x")))
    assert close.code == ErrorCode.E_FLOW


@pytest.mark.req("F-001")
def test_nothing_of_a_malformed_packet_takes_effect():
    table = Dialogue()
    table.deliver(table.peer.seal(control(b"message"), b"\x3f"))
    assert table.events_of(MessageReceived) == []


@pytest.mark.req("F-004")
def test_messages_before_the_broken_rule_are_delivered_before_the_end():
    table = Dialogue()
    table.deliver(table.peer.seal(control(b"fine") + encode_path_response(bytes(8))))
    assert [type(event) for event in table.events[-2:]] == [MessageReceived, ConnectionLost]


@pytest.mark.req("F-063", "F-064")
def test_nothing_is_delivered_after_close():
    table = Dialogue()
    table.deliver(table.peer.seal(encode_close(0, "bye"), control(b"too late")))
    assert table.events[-1] == ConnectionLost(table.peer.peer_id, 0, "bye", by_remote=True)


@pytest.mark.req("F-003", "R-012")
def test_grease_frames_are_ignored_and_ask_for_nothing():
    table = Dialogue()
    assert table.deliver(table.peer.seal(b"\x1b\x00\x03abc\x3a\x00\x00")) == []
    assert table.wait(1.0) == []
    assert table.events_of(ConnectionLost) == []


@pytest.mark.req("F-010")
def test_challenges_are_echoed_four_at_most():
    table = Dialogue()
    challenges = [bytes([index]) * 8 for index in range(6)]
    heard = table.deliver(table.peer.seal(*map(encode_path_challenge, challenges)))
    assert [frame.data for frame in heard if isinstance(frame, PathResponse)] == challenges[-4:]


# Acknowledgement


def ack_of(heard: list) -> Ack | None:
    acks = [frame for frame in heard if isinstance(frame, Ack)]
    return acks[0] if acks else None


@pytest.mark.req("F-022", "R-010", "R-011")
def test_one_packet_is_acknowledged_after_the_delay_and_two_at_once():
    table = Dialogue()
    assert table.deliver(table.peer.seal(PING)) == []
    (ack,) = table.wait(LIMITS.max_ack_delay_s)
    assert ack.ranges == ((0, 1),)
    assert ack.delay_s == pytest.approx(LIMITS.max_ack_delay_s, abs=1e-5)
    assert table.deliver(table.peer.seal(PING)) == []
    assert ack_of(table.deliver(table.peer.seal(PING))).ranges == ((0, 3),)


@pytest.mark.req("R-010")
def test_a_gap_is_acknowledged_at_once():
    table = Dialogue()
    assert ack_of(table.deliver(table.peer.seal(PING, number=5))).ranges == ((5, 5), (0, 0))
    assert ack_of(table.deliver(table.peer.seal(PING, number=4))).ranges == ((4, 5), (0, 0))


@pytest.mark.req("R-013")
def test_an_acknowledgement_that_may_wait_goes_along_with_what_leaves():
    table = Dialogue()
    assert table.deliver(table.peer.seal(PING)) == []
    table.command("send_message", table.peer.peer_id, Channel.GOSSIP, b"message")
    kinds = [type(frame) for frame in table.wait(0.0)]
    assert kinds == [Ack, Control]
    assert table.wait(1.0) != []
    assert sum(isinstance(frame, Ack) for frame in table.wait(1.0)) == 0


@pytest.mark.req("R-014")
def test_acknowledgements_pass_window_and_pacing():
    table = Dialogue()
    table.command("send_message", table.peer.peer_id, Channel.GOSSIP, bytes(16_000))
    table.command("send_message", table.peer.peer_id, Channel.GOSSIP, bytes(16_000))
    table.wait(0.2)
    assert len(table.datagrams) == 10  # the initial window
    heard = table.deliver(table.peer.seal(PING), table.peer.seal(PING))
    assert [type(frame) for frame in heard] == [Ack]


@pytest.mark.req("F-023")
def test_an_ack_with_counts_of_marks_is_an_ack():
    table = Dialogue()
    table.command("send_message", table.peer.peer_id, Channel.GOSSIP, b"message")
    table.wait(0.0)
    assert not table.endpoint.is_quiet()
    newest = table.peer.received[-1]
    table.deliver(table.peer.seal(encode_ack(Ack(((newest, newest),), 0.0, ecn=(1, 2, 3)))))
    assert table.endpoint.is_quiet()
    assert not any(isinstance(frame, Ack) and frame.ecn for frame in table.wait(60.0))


@pytest.mark.req("R-012")
def test_packets_that_ask_for_nothing_are_not_acknowledged():
    table = Dialogue()
    assert table.deliver(table.peer.seal(table.peer.acknowledge()), table.peer.seal(bytes(10))) == []
    assert table.wait(1.0) == []


# Time-outs


@pytest.mark.req("R-040", "R-041")
def test_two_probes_repeat_the_oldest_two_packets():
    table = Dialogue()
    table.command("send_message", table.peer.peer_id, Channel.GOSSIP, bytes(4000))
    first = [frame for frame in table.wait(0.1) if isinstance(frame, Control)]
    again = [frame for frame in table.wait(0.4) if isinstance(frame, Control)]
    assert len(first) == 4
    assert again == first[:2]


@pytest.mark.req("R-040")
def test_a_lost_tail_is_probed_for():
    """Removing the probe time-out would leave the last message of a burst undelivered for ever."""
    pair = Pair(link=Link(delay_s=0.05))
    pair.connect()
    pair.run(limit_s=1.0)
    pair.network.set_link(A, B, Link(loss=1.0))
    pair.a.machine.send_message(pair.id_b, Channel.GOSSIP, b"the last word", now=pair.now)
    pair.network.settle_all()
    pair.network.set_link(A, B, Link(delay_s=0.05))
    assert pair.run(lambda: events_of(pair.b, MessageReceived), limit_s=1.0)


@pytest.mark.req("R-040", "R-041", "R-042", "R-060")
def test_probes_back_off_and_pass_window_and_pacing():
    table = Dialogue()
    table.command("send_message", table.peer.peer_id, Channel.GOSSIP, bytes(16_000))
    table.wait(0.2)
    before = len(table.datagrams)
    assert before == 10  # the initial window
    times = []
    for _ in range(2500):
        table.wait(0.01)
        times += [table.now] * (len(table.datagrams) - before - len(times))
    assert times[::2] == times[1::2]  # two probes each time
    gaps = [later - earlier for earlier, later in pairwise(times[::2])]
    assert len(gaps) >= 4
    longest = LIMITS.idle_timeout_s / 10
    assert all(
        1.9 < later / earlier < 2.1 or later == pytest.approx(longest, abs=0.02)
        for earlier, later in pairwise(gaps)
    )


@pytest.mark.req("R-040")
def test_the_peers_own_delay_is_waited_for():
    """RFC 9002 6.2.1: whoever said that it may take a second to acknowledge is not probed before."""
    waits = []
    for delay_s in (0.025, 1.0):
        table = Dialogue(peer=ScriptedPeer(parameters=TransportParameters(max_ack_delay_s=delay_s)))
        table.command("send_message", table.peer.peer_id, Channel.GOSSIP, b"message")
        table.wait(0.0)
        start, probed = table.now, []
        while not probed:
            probed = table.wait(0.005)
        waits.append(table.now - start)
    assert waits[1] - waits[0] == pytest.approx(0.975, abs=0.01)


def test_an_acknowledgement_that_ends_the_back_off_may_make_a_probe_overdue():
    """The deadline is then now, not in the past. (An ACK of our ACK gives no sample that would raise it.)"""
    table = Dialogue()
    table.command("send_message", table.peer.peer_id, Channel.GOSSIP, b"message")
    table.wait(0.5)  # the first two probes left
    first = table.peer.received[-3]
    (ack,) = table.deliver(table.peer.seal(PING), table.peer.seal(PING))
    ours = table.peer.received[-1]
    assert isinstance(ack, Ack)
    table.wait(1.2)  # two more probes left, half of the next wait is over
    table.deliver(table.peer.seal(table.peer.acknowledge(first, ours)))
    assert table.endpoint.deadline() == table.now
    assert len(table.wait(0.0)) == 2


@pytest.mark.req("R-041")
def test_a_probe_with_nothing_to_repeat_is_a_ping():
    table = Dialogue()
    ping = table.wait(LIMITS.keepalive_s)
    assert ping == [Ping()]
    assert table.wait(0.5) == [Ping(), Ping()]  # nobody acknowledged it


@pytest.mark.req("F-065", "S-025")
def test_the_idle_time_out_is_the_smaller_of_both():
    for ours, theirs in ((60.0, 30.0), (20.0, 60.0)):
        config = EndpointConfig(parameters=TransportParameters(idle_timeout_s=ours))
        peer = ScriptedPeer(parameters=TransportParameters(idle_timeout_s=theirs))
        table = Dialogue(config=config, peer=peer)
        table.wait(min(ours, theirs) - 0.1)
        assert table.events_of(ConnectionLost) == []
        table.wait(0.2)
        (lost,) = table.events_of(ConnectionLost)
        assert (lost.code, lost.by_remote) == (ErrorCode.E_IDLE, False)
        assert table.deliver(table.peer.seal(PING)) == []  # it ended without a CLOSE


@pytest.mark.req("K-021", "K-027")
def test_a_session_ends_before_its_key_is_used_up():
    """A cipher protects only so many packets under one key, and this peer lets none be changed."""
    config = EndpointConfig(
        connection=ConnectionConfig(keys=KeyLimits(phase_packets=10, confidentiality_packets=20))
    )
    table = Dialogue(config=config)
    for _ in range(100):
        table.deliver(table.peer.seal(PING))
        table.wait(0.05)
        if table.events_of(ConnectionLost):
            break
    (lost,) = table.events_of(ConnectionLost)
    assert (lost.code, lost.by_remote) == (ErrorCode.E_AEAD_LIMIT, False)
    assert 28 <= max(table.peer.received) <= 40  # ten under the first key, twenty under the second


@pytest.mark.req("F-070")
@pytest.mark.parametrize("idle_timeout_s", [60.0, 4.0])
def test_keepalive_keeps_sessions_and_address_translations_alive(idle_timeout_s):
    sent: dict = {A: [], B: []}
    config = EndpointConfig(parameters=TransportParameters(idle_timeout_s=idle_timeout_s))
    pair = Pair(link=Link(delay_s=0.05), config_b=config)
    pair.network.tap = lambda now, source, _destination, _data: sent[source].append(now)
    pair.connect()
    pair.run(limit_s=600.0)
    assert pair.is_open
    most = min(LIMITS.keepalive_s, idle_timeout_s / 4)
    for times in sent.values():
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert max(gaps) <= most + 0.1
        assert len(times) < 3 * 600 / most  # and no more than that takes


# Round-trip time, window, pacing


@pytest.mark.req("S-035")
@pytest.mark.parametrize("delay_s", [0.0005, 0.025, 0.25, 0.6])
def test_the_round_trip_estimate_on_a_clean_link(delay_s):
    """At 600 ms the INIT was sent twice before the answer came: nobody knows which one it answers."""
    pair = Pair(link=Link(delay_s=delay_s))
    accept_all(pair)
    pair.connect()
    for node, peer in ((pair.a, pair.id_b), (pair.b, pair.id_a)):
        assert node.machine.rtt_of(peer) >= min(0.333, 2 * delay_s)
    offer_from(pair)
    assert pair.run(lambda: events_of(pair.a, ObjectSent), limit_s=60.0)
    assert pair.a.machine.rtt_of(pair.id_b) == pytest.approx(2 * delay_s, rel=0.1)
    assert pair.a.machine.rtt_of(bytes(32)) is None


@pytest.mark.req("R-070")
def test_pacing_spreads_a_window():
    """Removing the pacing would let a whole window leave at one instant."""
    bursts: Counter = Counter()

    def tap(now, source, _destination, data):
        if source == A and packet_form(data) is PacketForm.BULK:
            bursts[now] += len(data)

    pair = Pair(link=Link(delay_s=0.05), config_a=FIXED)
    pair.network.tap = tap
    accept_all(pair)
    pair.connect()
    offer_from(pair, BODY * 2)
    assert pair.run(lambda: events_of(pair.a, ObjectSent), limit_s=60.0)
    assert max(bursts.values()) <= 10 * LIMITS.init_min_datagram_bytes
    assert len(bursts) > 50


def test_throughput_of_an_ideal_path():
    """10 Mbit/s and 30 ms: at least 85 % of the line is payload. Headers and tags take 3.75 % of it."""
    rate, size = 1.25e6, 4_000_000
    pair = Pair(link=Link(delay_s=0.015, rate=rate))
    accept_all(pair)
    pair.connect()
    start = pair.now
    offer_from(pair, random.Random(9).randbytes(size))
    assert pair.run(lambda: events_of(pair.b, ObjectArrived), limit_s=30.0)
    share = size / (pair.now - start) / rate
    print(f"{share:.1%} of the line")
    assert share >= 0.85


# Objects


def receiving(body: bytes) -> tuple[Dialogue, int]:
    """Return a dialogue in which the scripted peer's offer of ``body`` was accepted."""
    table = Dialogue()
    offer = encode_object_message(Offer(0, merkle_root(leaf_hashes(body)), len(body), b""))
    table.deliver(table.peer.seal(control(offer, channel=Channel.OBJECTS)))
    (event,) = table.events_of(OfferReceived)
    assert table.command("accept_object", table.peer.peer_id, event.transfer)
    wants = [
        decode_object_message_untrusted(frame.data[3:])
        for frame in table.wait(0.1)
        if isinstance(frame, Control)
    ]
    assert wants == [Want(0, ((0, len(body)),), len(body))]
    table.deliver(table.peer.seal(table.peer.acknowledge()))
    return table, event.transfer


@pytest.mark.req("O-024", "O-025")
def test_a_leaf_that_does_not_match_is_not_delivered():
    """Removing the check of the leaves would deliver this object."""
    table, transfer = receiving(b"x" * 5000)
    for start in range(0, 5000, 1000):
        heard = table.deliver(table.peer.bulk(transfer, start, b"y" * 1000))
    assert table.events_of(ObjectArrived) == []
    assert [close.code for close in closes(heard)] == [ErrorCode.E_OBJ_HASH]
    assert [event.code for event in table.events_of(TransferFailed)] == [ErrorCode.E_OBJ_HASH]


@pytest.mark.req("O-022")
def test_bytes_beyond_the_credit_end_the_session():
    """Removing the check of the credit would take these bytes."""
    size = 4 * LIMITS.credit_per_transfer_bytes
    table = Dialogue()
    offer = encode_object_message(Offer(0, bytes(32), size, b""))
    table.deliver(table.peer.seal(control(offer, channel=Channel.OBJECTS)))
    assert table.command("accept_object", table.peer.peer_id, 0)
    table.wait(0.1)
    (close,) = closes(table.deliver(table.peer.bulk(0, 2 * LIMITS.credit_per_transfer_bytes, b"x" * 1000)))
    assert close.code == ErrorCode.E_FLOW


@pytest.mark.req("O-010")
def test_an_object_inside_its_offer_arrives_with_the_acceptance():
    table = Dialogue()
    body = b"a few bytes"
    offer = Offer(0, merkle_root(leaf_hashes(body)), len(body), b"header", body)
    table.deliver(table.peer.seal(control(encode_object_message(offer), channel=Channel.OBJECTS)))
    assert table.command("accept_object", table.peer.peer_id, 0)
    table.wait(0.0)
    (arrived,) = table.events_of(ObjectArrived)
    assert (bytes(arrived.body), arrived.header) == (body, b"header")


@pytest.mark.req("F-042")
def test_messages_and_offers_keep_their_order():
    table = Dialogue()
    offer = encode_object_message(Offer(0, bytes(32), 5000, b""))
    stream = encode_control(Channel.GOSSIP, b"1") + encode_control(Channel.OBJECTS, offer)
    stream += encode_control(Channel.GOSSIP, b"2")
    table.deliver(table.peer.seal(encode_control_frame(0, stream)))
    assert [type(event) for event in table.events[-3:]] == [MessageReceived, OfferReceived, MessageReceived]


def test_a_large_object_needs_new_credit_on_its_way_even_if_grants_are_lost():
    pair = Pair(4, Link(delay_s=0.01, loss=0.02))
    accept_all(pair)
    pair.connect()
    body = random.Random(6).randbytes(2 * LIMITS.credit_per_transfer_bytes + 12_345)
    offer_from(pair, body)
    assert pair.run(lambda: events_of(pair.a, ObjectSent), limit_s=300.0)
    (arrived,) = events_of(pair.b, ObjectArrived)
    assert arrived.body == body


@pytest.mark.req("O-017")
def test_grants_leave_in_max_data_frames_and_lost_ones_leave_again():
    size = 4 * LIMITS.credit_per_transfer_bytes
    table = Dialogue()
    offer = encode_object_message(Offer(0, bytes(32), size, b""))
    table.deliver(table.peer.seal(control(offer, channel=Channel.OBJECTS)))
    assert table.command("accept_object", table.peer.peer_id, 0)
    table.wait(0.1)
    table.deliver(table.peer.seal(table.peer.acknowledge()))
    heard = []
    for start in range(0, LIMITS.credit_per_transfer_bytes // 2, 1100):
        heard += table.deliver(table.peer.bulk(0, 20_000 + start, bytes(1100)))
        if any(isinstance(frame, MaxData) for frame in heard):
            break
    (grant,) = [frame for frame in heard if isinstance(frame, MaxData)]
    assert LIMITS.credit_per_transfer_bytes < grant.limit <= 2 * LIMITS.credit_per_transfer_bytes
    again = [frame for frame in table.wait(3.0) if isinstance(frame, MaxData)]
    assert again
    assert set(again) == {grant}


# The end


@pytest.mark.req("F-060", "F-062")
def test_both_sides_learn_the_code():
    pair = Pair(link=Link(delay_s=0.05))
    pair.connect()
    pair.a.machine.disconnect(pair.id_b, ErrorCode.E_MAN_ARCH, "another architecture", now=pair.now)
    pair.run(limit_s=LIMITS.close_timeout_s)
    assert events_of(pair.a, ConnectionLost) == [
        ConnectionLost(pair.id_b, ErrorCode.E_MAN_ARCH, "another architecture", by_remote=False)
    ]
    assert events_of(pair.b, ConnectionLost) == [
        ConnectionLost(pair.id_a, ErrorCode.E_MAN_ARCH, "another architecture", by_remote=True)
    ]
    assert pair.a.machine.deadline() is None
    assert pair.b.machine.deadline() is None


@pytest.mark.req("F-061", "F-062")
def test_an_answered_close_ends_after_one_round_trip():
    pair = Pair(link=Link(delay_s=0.05))
    pair.connect()
    pair.run(limit_s=5.0)
    start = pair.now
    pair.a.machine.close(now=pair.now)
    assert pair.run(lambda: pair.a.machine.drained, limit_s=10.0)
    assert pair.now - start == pytest.approx(0.1, abs=0.001)


@pytest.mark.req("F-061")
@pytest.mark.parametrize("seed", range(10))
def test_a_lost_close_is_sent_again(seed):
    pair = Pair(seed, Link(delay_s=0.05))
    pair.connect()
    pair.run(limit_s=2.0)
    pair.network.set_link(A, B, Link(loss=1.0))
    pair.a.machine.close(now=pair.now)
    pair.network.settle_all()
    pair.network.set_link(A, B, Link(delay_s=0.05))
    assert pair.run(lambda: events_of(pair.b, ConnectionLost), limit_s=2.0)
    pair.run(limit_s=5.0)
    assert pair.a.machine.drained


@pytest.mark.req("F-061")
@pytest.mark.parametrize("delay_s", [0.001, 0.5])
def test_a_close_that_nobody_hears_ends_in_time(delay_s):
    pair = Pair(link=Link(delay_s=delay_s))
    pair.connect()
    pair.network.set_link(A, B, Link(loss=1.0))
    start = pair.now
    pair.a.machine.close(ErrorCode.NO_ERROR, "good night", now=pair.now)
    assert pair.run(lambda: pair.a.machine.drained, limit_s=100.0)
    assert pair.now - start <= LIMITS.close_timeout_s
    assert pair.a.machine.deadline() is None


def test_closing_twice_changes_nothing():
    pair = Pair(deep=True)
    pair.connect()
    pair.a.machine.close(ErrorCode.NO_ERROR, "", now=pair.now)
    pair.a.machine.close(ErrorCode.E_INTERNAL, "again", now=pair.now)
    pair.run(limit_s=1.0)
    assert [event.code for event in events_of(pair.b, ConnectionLost)] == [ErrorCode.NO_ERROR]


@pytest.mark.req("F-060", "F-061", "F-063")
def test_while_closing_packets_are_answered_with_close():
    table = Dialogue()
    table.command("disconnect", table.peer.peer_id, ErrorCode.E_BUSY, "full")
    assert [close.code for close in closes(table.wait(0.0))] == [ErrorCode.E_BUSY]
    for packet in (table.peer.seal(PING), table.peer.bulk(0, 0, b"x"), table.peer.seal(b"\x3f")):
        heard = table.deliver(packet)
        assert [close.code for close in closes(heard)] == [ErrorCode.E_BUSY]
        assert len(heard) == 1
    assert table.events_of(MessageReceived) == []
    assert table.deliver(table.peer.seal(encode_close(0, ""))) == []
    table.wait(0.0)
    assert table.deliver(table.peer.seal(PING)) == []
    assert table.dropped == {"session_over": 1, "unknown_connection": 1}
    assert table.endpoint.deadline() is None


@pytest.mark.req("F-062", "F-063")
def test_a_close_is_answered_once():
    table = Dialogue()
    heard = table.deliver(table.peer.seal(encode_close(ErrorCode.E_BUSY, "full")))
    assert heard == [Close(ErrorCode.E_BUSY, "")]
    assert table.deliver(table.peer.seal(PING), table.peer.seal(encode_close(0, ""))) == []
    assert table.dropped == {"session_over": 2}
    table.wait(LIMITS.close_timeout_s)
    assert table.endpoint.deadline() is None


def test_commands_for_a_session_that_is_over_do_nothing():
    table = Dialogue()
    peer = table.peer.peer_id
    table.deliver(table.peer.seal(encode_close(0, "")))
    assert not table.command("send_message", peer, Channel.GOSSIP, b"x")
    assert not table.command("accept_object", peer, 0)
    assert table.command("offer_object", peer, ROOT, b"".join(LEAVES), b"", memoryview(BODY)) is None
    table.command("refuse_object", peer, 0, 0)
    table.command("withdraw_object", peer, 0, 0)
    table.command("disconnect", peer, 0, "")
    assert table.wait(0.0) == []
    assert table.endpoint.address_of(peer) is None


@pytest.mark.req("E-003")
@pytest.mark.parametrize("code", [ErrorCode.E_IDLE, ErrorCode.E_HS_TIMEOUT, ErrorCode.E_USAGE, 0x00E7])
def test_what_a_node_notices_at_itself_is_never_sent(code):
    table, transfer = receiving(b"x" * 5000)
    peer = table.peer.peer_id
    root = table.command("offer_object", peer, ROOT, b"".join(LEAVES), b"", memoryview(BODY))
    table.wait(0.0)
    for call in (
        lambda: table.command("disconnect", peer, code, ""),
        lambda: table.command("refuse_object", peer, transfer, code),
        lambda: table.command("withdraw_object", peer, root, code),
        lambda: table.command("close", code),
    ):
        with pytest.raises(LocalProtocolError) as caught:
            call()
        assert caught.value.section == "E-003"
    assert table.wait(0.0) == []
    assert table.endpoint.peers() == (peer,)


@pytest.mark.req("E-001")
def test_a_reason_is_for_people_alone():
    heard = []
    for reason in ("", "full", "E_HS_IDENTITY: refuse the peer", "\N{REPLACEMENT CHARACTER}" * 20):
        table = Dialogue()
        answer = table.deliver(table.peer.seal(encode_close(ErrorCode.E_BUSY, reason)))
        (lost,) = table.events_of(ConnectionLost)
        heard.append((answer, lost.code, lost.by_remote, table.endpoint.deadline(), table.dropped))
    assert heard == heard[:1] * 4


@pytest.mark.req("E-002")
@pytest.mark.parametrize("code", [0x001B, 0x002F, ErrorCode.E_IDLE, 0x00E0, 0xFFFF])
def test_a_code_that_nobody_knows_ends_what_it_was_sent_to_end(code):
    table, transfer = receiving(b"x" * 5000)
    cancel = encode_object_message(Cancel(transfer, code, by_offerer=True))
    first = len(encode_control(Channel.OBJECTS, encode_object_message(Offer(0, bytes(32), 5000, b""))))
    table.deliver(table.peer.seal(control(cancel, offset=first, channel=Channel.OBJECTS)))
    assert [error_code_untrusted(event.code) for event in table.events_of(TransferFailed)] == [
        ErrorCode.E_PROTOCOL
    ]
    table.deliver(table.peer.seal(encode_close(code, "")))
    assert [error_code_untrusted(event.code) for event in table.events_of(ConnectionLost)] == [
        ErrorCode.E_PROTOCOL
    ]
    assert table.endpoint.peers() == ()


@pytest.mark.req("F-064")
def test_open_transfers_fail_with_the_session():
    pair = Pair(link=Link(delay_s=0.05))
    accept_all(pair)
    pair.connect()
    offer_from(pair)
    pair.run(limit_s=0.3)
    assert not pair.a.machine.is_quiet()
    pair.a.machine.close(now=pair.now)
    pair.run(limit_s=1.0)
    assert pair.a.machine.is_quiet()
    assert [(event.outgoing, event.root) for event in events_of(pair.a, TransferFailed)] == [(True, ROOT)]
    assert [(event.outgoing, event.root) for event in events_of(pair.b, TransferFailed)] == [(False, ROOT)]
    assert isinstance(pair.a.events[-1], ConnectionLost)
    assert isinstance(pair.b.events[-1], ConnectionLost)


@pytest.mark.req("O-002", "O-011", "O-031")
@pytest.mark.parametrize("by_offerer", [True, False])
def test_withdrawing_and_refusing_cross_the_network(by_offerer):
    pair = Pair(link=Link(delay_s=0.05))
    pair.connect()
    offer_from(pair)
    pair.run(lambda: events_of(pair.b, OfferReceived), limit_s=1.0)
    if by_offerer:
        pair.a.machine.withdraw_object(pair.id_b, 0, ErrorCode.SUPERSEDED, now=pair.now)
        node, code, outgoing = pair.b, ErrorCode.SUPERSEDED, False
    else:
        pair.b.machine.refuse_object(pair.id_a, 0, ErrorCode.NOT_WANTED, now=pair.now)
        node, code, outgoing = pair.a, ErrorCode.NOT_WANTED, True
    pair.run(limit_s=1.0)
    (failed,) = events_of(node, TransferFailed)
    assert (failed.transfer, failed.code, failed.outgoing) == (0, code, outgoing)


@pytest.mark.req("O-031")
def test_cancel_of_a_peer_is_answered_by_silence():
    table, transfer = receiving(b"x" * 5000)
    cancel = encode_object_message(Cancel(transfer, ErrorCode.GONE, by_offerer=True))
    first = len(encode_control(Channel.OBJECTS, encode_object_message(Offer(0, bytes(32), 5000, b""))))
    table.deliver(table.peer.seal(control(cancel, offset=first, channel=Channel.OBJECTS)))
    assert [event.code for event in table.events_of(TransferFailed)] == [ErrorCode.GONE]
    assert not any(isinstance(frame, Control) for frame in table.wait(1.0))
