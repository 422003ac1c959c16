"""Runs of bulk packets: a faster way to exactly what single packets do."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quinkgl.crypto.packet_keys import PacketKeys
from quinkgl.testing.endpoints import A, Dialogue, Pair, events_of
from quinkgl.testing.network import Link
from quinkgl.transport import (
    ConnectionConfig,
    ConnectionLost,
    EndpointConfig,
    ObjectArrived,
    ObjectSent,
    OfferReceived,
    leaf_hashes,
    merkle_root,
)
from quinkgl.transport.scratch import Scratch
from quinkgl.transport.staging import Staging, run_packets_of
from quinkgl.wire.control import Channel, encode_control
from quinkgl.wire.errors import ErrorCode
from quinkgl.wire.frames import Ack, Close, encode_ack, encode_control_frame
from quinkgl.wire.messages.objects import Offer, encode_object_message
from quinkgl.wire.packets import BULK_HEADER, BULK_OVERHEAD_BYTES, PacketForm, packet_form

SIZE = 1200
STEP = SIZE - BULK_OVERHEAD_BYTES
KEYS = PacketKeys(bytes(range(32)))
CONNECTION_ID = b"whereto?"
BODY = random.Random(3).randbytes(60_000)
LEAVES = leaf_hashes(BODY)
ROOT = merkle_root(LEAVES)
SPACE = b"".join(LEAVES) + BODY
"""The byte space of the transfer: leaf list, then body."""


def sealed_alone(
    number: int, offset: int, body: bytes, *, transfer: int = 7, first_byte: int = 0x55
) -> bytes:
    """Return a bulk packet, sealed without any run."""
    header = BULK_HEADER.pack(first_byte, CONNECTION_ID, number, transfer, offset)
    return header + KEYS.seal(number, header, body)


def seal_run(number: int, offset: int, body: bytes, *, size: int = SIZE, transfer: int = 7) -> bytes:
    return (
        Staging()
        .buffer(size)
        .seal(
            KEYS,
            first_byte=0x55,
            connection_id=CONNECTION_ID,
            number=number,
            transfer=transfer,
            offset=offset,
            body=memoryview(body),
        )
    )


def read(data: bytes, size: int = SIZE):
    """Read and open a run; return its header and its bytes, None for what could not be had."""
    scratch = Scratch()
    scratch.admit(size)
    run = scratch.read_untrusted(memoryview(data), size)
    opened = None if run is None else scratch.open_untrusted(KEYS, run, size)
    return run, None if opened is None else bytes(opened)


# Sealing


@pytest.mark.req("P-021")
@pytest.mark.parametrize("size", [1200, 1452, 8900, 32_000])
@pytest.mark.parametrize("missing", [0, 1, 700])
def test_a_run_is_byte_for_byte_its_packets(size, missing):
    step = size - BULK_OVERHEAD_BYTES
    body = random.Random(1).randbytes(run_packets_of(size) * step - missing)
    starts = range(0, len(body), step)
    alone = [
        sealed_alone(1000 + index, 5_000_000_000 + start, body[start : start + step])
        for index, start in enumerate(starts)
    ]
    assert seal_run(1000, 5_000_000_000, body, size=size) == b"".join(alone)


def test_a_buffer_is_used_again_for_another_session_and_transfer():
    buffer = Staging().buffer(SIZE)
    for index, (connection_id, transfer) in enumerate([(b"one  one", 1), (b"two  two", 1), (b"two  two", 2)]):
        body = random.Random(index).randbytes(3 * STEP - 100)
        run = buffer.seal(
            KEYS,
            first_byte=0x50 + index,
            connection_id=connection_id,
            number=index,
            transfer=transfer,
            offset=0,
            body=memoryview(body),
        )
        header = run[:29]
        assert header == BULK_HEADER.pack(0x50 + index, connection_id, index, transfer, 0)
        assert KEYS.open_untrusted(index, header, run[29:SIZE]) == body[:STEP]


def test_runs_fit_one_datagram_and_one_system_call():
    assert run_packets_of(1200) == 54
    assert run_packets_of(1023) == 64
    assert run_packets_of(65_507) == 1
    assert run_packets_of(40_000) == 1


# Reading


@pytest.mark.parametrize("length", [2 * STEP, 2 * STEP - 1, STEP + 1, 7 * STEP - 500, 54 * STEP])
def test_a_run_is_read_and_opened_at_once(length):
    body = random.Random(2).randbytes(length)
    run, opened = read(seal_run(300, 9000, body))
    assert (run.number, run.packets, run.transfer, run.offset) == (300, -(-length // STEP), 7, 9000)
    assert opened == body


def test_a_run_ends_where_the_next_header_is_another():
    body = random.Random(4).randbytes(10 * STEP)
    run = seal_run(5, 0, body)
    for at in range(2, 10):
        for other in (
            sealed_alone(5 + at + 1, at * STEP, bytes(STEP)),
            sealed_alone(5 + at, at * STEP + 1, bytes(STEP)),
            sealed_alone(5 + at, at * STEP, bytes(STEP), transfer=8),
            sealed_alone(5 + at, at * STEP, bytes(STEP), first_byte=0x75),
        ):
            found, opened = read(run[: at * SIZE] + other + run[(at + 1) * SIZE :])
            assert found.packets == at
            assert opened == body[: at * STEP]


def test_two_packets_that_do_not_follow_each_other_are_no_run():
    first = sealed_alone(5, 0, bytes(STEP))
    for other in (sealed_alone(7, STEP, bytes(STEP)), sealed_alone(6, 0, bytes(STEP)), first):
        assert read(first + other)[0] is None


def test_a_tail_too_short_for_a_chunk_is_left_alone():
    run = seal_run(5, 0, bytes(3 * STEP))
    for rest in range(BULK_OVERHEAD_BYTES + 1):
        assert read(run[: 2 * SIZE + rest])[0].packets == 2
        assert read(run[: SIZE + rest])[0] is None


def test_numbers_and_offsets_at_the_end_of_their_range_are_no_run():
    last = (1 << 64) - 1
    for number, offset in ((last - 1, 0), (0, last - STEP)):
        packets = [sealed_alone(number + i, min(last, offset + i * STEP), bytes(STEP)) for i in range(2)]
        assert read(b"".join(packets))[0] is None


@pytest.mark.req("P-024")
@pytest.mark.parametrize("segment", [0, 1, 4, 5])
@pytest.mark.parametrize("byte", [30, 700, -1])
def test_one_wrong_tag_and_nothing_of_the_run_is_given_out(segment, byte):
    data = bytearray(seal_run(0, 0, bytes(5 * STEP + 900)))
    end = min(len(data), (segment + 1) * SIZE)
    data[end - 1 if byte < 0 else segment * SIZE + byte] ^= 1
    run, opened = read(bytes(data))
    assert run.packets == 6
    assert opened is None


def test_a_stranger_makes_nobody_allocate():
    """Segment sizes come from the network: buffers are made for those of which an authentic packet came."""
    table = accepting()
    forged = b"".join(packets_of(table, range(8)))
    forged = bytes(byte ^ 1 if index % SIZE == SIZE - 1 else byte for index, byte in enumerate(forged))
    deliver(table, forged)
    assert table.dropped["tag"] == 8
    assert not table.endpoint.admits_runs_of(SIZE)
    deliver(table, b"".join(packets_of(table, range(8, 16))))
    assert table.endpoint.admits_runs_of(SIZE)


def test_buffers_of_few_sizes_are_kept():
    scratch, staging = Scratch(), Staging()
    for size in (1200, 1300, 1400, 1500, 1600):
        scratch.admit(size)
        staging.buffer(size)
    assert [scratch.admits(size) for size in (1200, 1300, 1600)] == [False, True, True]


# What an endpoint makes of them


def accepting(**config) -> Dialogue:
    """Return an endpoint that has accepted the object, in dialogue with who offered it."""
    table = Dialogue(config=EndpointConfig(**config))
    offer = encode_control(Channel.OBJECTS, encode_object_message(Offer(0, ROOT, len(BODY), b"h", None)))
    table.deliver(table.peer.seal(encode_control_frame(0, offer)))
    (event,) = table.events_of(OfferReceived)
    assert table.command("accept_object", event.peer, 0)
    table.wait(0.0)
    return table


def packets_of(table: Dialogue, chunks) -> list[bytes]:
    """Return the peer's bulk packets with the numbered chunks of the byte space."""
    return [table.peer.bulk(0, index * STEP, SPACE[index * STEP : (index + 1) * STEP]) for index in chunks]


CHUNKS = -(-len(SPACE) // STEP)


def deliver(table: Dialogue, data: bytes, *, as_run: bool = True) -> None:
    """Let datagrams that lie end to end arrive, together or one by one, before the endpoint is drained."""
    now, source = table.now, table.peer.address
    if as_run:
        table.endpoint.receive_datagram(data, source, now=now, segment_size=SIZE)
    else:
        for start in range(0, len(data), SIZE):
            table.endpoint.receive_datagram(data[start : start + SIZE], source, now=now)


@pytest.mark.req("P-016")
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_runs_and_single_packets_have_the_same_effect(data):
    """Loss, reordering, duplicates, corruption, any grouping: same events, same ACKs, same drops."""
    order = list(range(CHUNKS))
    for _ in range(data.draw(st.integers(0, 4), label="faults")):
        start = data.draw(st.integers(0, len(order)))
        stop = data.draw(st.integers(start, len(order)))
        match data.draw(st.sampled_from(["lose", "repeat", "move"])):
            case "lose":
                del order[start:stop]
            case "repeat":
                order += order[start:stop]
            case _:
                order = order[:start] + order[stop:] + order[start:stop]
    damaged = data.draw(st.sets(st.integers(0, max(0, len(order) - 1)), max_size=3), label="damaged")
    sizes = data.draw(st.lists(st.integers(1, 50), min_size=1, max_size=20), label="groups")
    heard = []
    for as_run in (True, False):
        table = accepting()
        by_number = packets_of(table, range(CHUNKS))
        queue = [bytearray(by_number[index]) for index in order]
        for index in sorted(damaged):
            if index < len(queue):
                queue[index][len(queue[index]) // 2] ^= 4
        groups, sent = [], [packet for packet in map(bytes, queue) if len(packet) == SIZE]
        position = 0
        while position < len(sent):
            size = sizes[len(groups) % len(sizes)]
            groups.append(b"".join(sent[position : position + size]))
            position += size
        groups += [packet for packet in map(bytes, queue) if len(packet) < SIZE]  # the tail of the object
        answers = []
        for group in groups:
            deliver(table, group, as_run=as_run)
            answers.append(table.wait(0.0))
        stats = table.endpoint.stats
        heard.append((answers, table.events, table.dropped, stats.datagrams_received, stats.bytes_received))
    assert heard[0] == heard[1]
    arrived = [event for event in heard[0][1] if isinstance(event, ObjectArrived)]
    whole = {index for place, index in enumerate(order) if place not in damaged}
    assert len(arrived) == (len(whole) == CHUNKS)
    assert all(event.body == BODY for event in arrived)


@pytest.mark.req("P-017")
def test_a_forged_segment_changes_no_byte():
    """Scratch before delivery: what the cipher wrote of a wrong packet must never reach the object."""
    table = accepting()
    packets = packets_of(table, range(CHUNKS))
    forged = bytearray(packets[20])
    forged[100] ^= 0xFF
    run = b"".join(packets[:20]) + bytes(forged) + b"".join(packets[21:40])
    deliver(table, run)
    assert table.dropped == {"tag": 1}
    deliver(table, b"".join(packets[40:]))
    table.wait(0.0)
    assert not table.events_of(ObjectArrived)
    # The forged one again and its neighbours too: they are replays, and what has arrived stays as it is.
    deliver(table, b"".join(packets[18:20]) + bytes(forged) + packets[21])
    deliver(table, packets[20])
    (arrived,) = table.events_of(ObjectArrived) or (table.wait(0.0), table.events_of(ObjectArrived))[1]
    assert arrived.body == BODY


@pytest.mark.req("P-017")
def test_a_forged_run_beyond_what_has_arrived_changes_no_byte():
    """The same packets with other bytes, forged whole: had they been opened in place, they would show."""
    table = accepting()
    packets = packets_of(table, range(CHUNKS))
    deliver(table, b"".join(packets[:30]))
    forged = b"".join(
        BULK_HEADER.pack(0x50, table.peer.remote_id, 1000 + index, 0, index * STEP) + bytes(STEP + 16)
        for index in range(30)
    )
    deliver(table, forged)
    assert table.dropped == {"tag": 30}
    deliver(table, b"".join(packets[30:]))
    table.wait(0.0)
    (arrived,) = table.events_of(ObjectArrived)
    assert arrived.body == BODY


@pytest.mark.req("P-022")
def test_a_run_counts_once():
    table = accepting()
    run = b"".join(packets_of(table, range(30)))
    deliver(table, run)
    deliver(table, run)
    assert table.dropped == {"replay": 30}


@pytest.mark.req("R-015")
def test_one_ack_for_a_drained_batch():
    table = accepting()
    packets = packets_of(table, range(40))
    deliver(table, b"".join(packets[:20]))
    deliver(table, b"".join(packets[20:]))
    acks = [frame for frame in table.wait(0.0) if isinstance(frame, Ack)]
    assert len(acks) == 1


def test_a_run_of_frame_packets_is_taken_one_by_one():
    table = accepting()
    pings = [table.peer.seal(b"\x01" * 10) for _ in range(5)]
    table.endpoint.receive_datagram(
        b"".join(pings), table.peer.address, now=table.now, segment_size=len(pings[0])
    )
    (ack,) = [frame for frame in table.wait(0.0) if isinstance(frame, Ack)]
    assert ack.ranges[0][1] - ack.ranges[0][0] >= 4
    assert not table.dropped


def test_a_run_for_a_session_that_is_over_has_no_effect():
    table = accepting()
    packets = packets_of(table, range(40))
    deliver(table, b"".join(packets[:10]))
    table.command("close", 0, "enough")
    table.wait(0.0)
    deliver(table, b"".join(packets[10:]))
    assert not table.events_of(ObjectArrived)
    unknown = bytearray(packets[39])
    unknown[1] ^= 1
    deliver(table, bytes(unknown) * 3)
    assert table.dropped["unknown_connection"] == 3


# Whole transfers


def transfer(pair: Pair, size: int, *, limit_s: float = 120.0) -> bytes:
    """Send ``size`` bytes from A to B and return what arrived."""
    body = random.Random(size).randbytes(size)
    leaves = leaf_hashes(body)
    machine = pair.b.machine
    pair.b.on_event = lambda event: (
        machine.accept_object(event.peer, event.transfer, now=pair.now)
        if isinstance(event, OfferReceived)
        else None
    )
    if not pair.is_open:
        pair.connect()
    root = merkle_root(leaves)
    pair.a.machine.offer_object(pair.id_b, root, b"".join(leaves), b"", memoryview(body), now=pair.now)
    done = len(events_of(pair.a, ObjectSent))
    assert pair.run(lambda: len(events_of(pair.a, ObjectSent)) > done, limit_s=limit_s)
    arrived = events_of(pair.b, ObjectArrived)[-1].body
    assert arrived == body
    return body


def config(run_packets: int = 64, datagram_bytes: int = 1200) -> EndpointConfig:
    return EndpointConfig(
        connection=ConnectionConfig(
            run_packets=run_packets, datagram_bytes=datagram_bytes, mtu_discovery=False
        )
    )


@pytest.mark.parametrize("run_packets", [1, 2, 64])
@pytest.mark.parametrize(
    "link",
    [
        Link(delay_s=0.01),
        Link(delay_s=0.02, loss=0.05),
        Link(delay_s=0.02, jitter_s=0.004, loss=0.02, duplicate=0.05, corrupt=0.02),
        Link(delay_s=0.01, rate=2e6, queue_bytes=30_000),
    ],
    ids=["clean", "loss", "everything", "queue"],
)
def test_transfers_with_and_without_runs(run_packets, link):
    pair = Pair(11, link, config_a=config(run_packets), config_b=config(run_packets))
    transfer(pair, 700_000)


@pytest.mark.req("P-041")
@pytest.mark.parametrize("datagram_bytes", [1200, 1452, 8900, 30_000, 60_000])
def test_transfers_in_datagrams_of_any_size(datagram_bytes):
    pair = Pair(12, Link(delay_s=0.005), config_a=config(64, datagram_bytes))
    transfer(pair, 2_000_000)


def count_runs(pair: Pair) -> list[int]:
    """Watch the runs that A hands out; return a list that fills with the packets of each."""
    runs: list[int] = []
    machine = pair.a.machine
    inner = machine.next_datagram

    def watched(now):
        transmit = inner(now)
        if transmit is not None and packet_form(transmit.data) is PacketForm.BULK:
            size = transmit.segment_size or len(transmit.data)
            runs.append(-(-len(transmit.data) // size))
        return transmit

    machine.next_datagram = watched
    return runs


def test_a_single_packet_a_run_is_the_plain_path():
    pair = Pair(13, Link(delay_s=0.01), config_a=config(1))
    runs = count_runs(pair)
    transfer(pair, 300_000)
    assert set(runs) == {1}


def test_runs_grow_with_what_window_and_pacing_allow():
    pair = Pair(14, Link(delay_s=0.01), config_a=config(64))
    runs = count_runs(pair)
    transfer(pair, 3_000_000)
    assert runs[1] <= 10
    assert max(runs) >= 20
    assert sum(runs) / len(runs) > 5


@pytest.mark.req("R-060")
def test_a_run_does_not_exceed_the_window():
    """On a path so fast that pacing never holds back, the first runs are as long as the window is."""
    pair = Pair(18, Link(delay_s=0.0001), config_a=config(64))
    runs = count_runs(pair)
    flying = []
    pair.network.tap = lambda now, source, _destination, data: (
        flying.append((now, len(data))) if source == A and packet_form(data) is PacketForm.BULK else None
    )
    transfer(pair, 100_000)
    started = flying[0][0]
    assert 6_000 < sum(size for now, size in flying if now == started) <= 16_000
    assert max(runs) >= 5


def test_a_run_is_counted_as_its_datagrams():
    pair = Pair(15, Link(delay_s=0.01))
    seen = []
    pair.network.tap = lambda _now, source, _destination, data: (
        seen.append(len(data)) if source == A else None
    )
    transfer(pair, 300_000)
    stats = pair.a.machine.stats
    assert (stats.datagrams_sent, stats.bytes_sent) == (len(seen), sum(seen))


# Skipped packet numbers


@pytest.mark.req("P-020", "P-026")
def test_now_and_then_a_number_is_skipped_between_runs():
    """RFC 9000 21.4: one in 128 to 512 where little is in flight, never inside a run."""
    for run_packets in (1, 64):
        pair = Pair(16, Link(delay_s=0.01), config_a=config(run_packets))
        numbers = []

        def tap(_now, source, _destination, data, numbers=numbers):
            if source == A and packet_form(data) in {PacketForm.BULK, PacketForm.FRAMES}:
                numbers.append(int.from_bytes(data[9:17], "big"))

        pair.network.tap = tap
        transfer(pair, 4_000_000)
        gaps = [later - earlier for earlier, later in pairwise(numbers)]
        assert numbers[0] in {0, 1}
        assert set(gaps) == {1, 2}
        assert 2 <= gaps.count(2) <= len(numbers) / 128
        assert events_of(pair.a, ConnectionLost) == []


@pytest.mark.req("R-002")
def test_who_acknowledges_a_skipped_number_is_disconnected():
    """An optimistic ACK of all that may have been sent covers numbers that never were."""
    table = Dialogue()
    sent: set[int] = set()
    for _ in range(600):
        table.command("send_message", table.peer.peer_id, Channel.GOSSIP, b"x" * 100)
        heard = table.wait(0.001)
        lost = [frame for frame in heard if isinstance(frame, Close)]
        if lost:
            assert lost[0].code == ErrorCode.E_ACK
            break
        newest = table.peer.received[-1]
        sent |= set(table.peer.received)
        table.deliver(table.peer.seal(encode_ack(Ack(((0, newest),), 0.0))))
    assert not set(range(max(sent) + 1)) <= sent
    (event,) = table.events_of(ConnectionLost)
    assert event.code == ErrorCode.E_ACK


@pytest.mark.req("R-016")
def test_gaps_do_not_accumulate_in_acks():
    """The receiver stops telling what the sender knows it told (RFC 9000 13.2.4)."""
    pair = Pair(17, Link(delay_s=0.01))
    transfer(pair, 4_000_000)
    transfer(pair, 4_000_001)
    sizes = []

    def tap(_now, source, _destination, data):
        if source != A and packet_form(data) is PacketForm.FRAMES:
            sizes.append(len(data))

    pair.network.tap = tap
    transfer(pair, 4_000_002)
    median = sorted(sizes)[len(sizes) // 2]
    print(f"ACKs of {median} bytes, at most {max(sizes)}")
    assert median <= 33 + 16 + 8 * 3  # headers, the first range, and three more
