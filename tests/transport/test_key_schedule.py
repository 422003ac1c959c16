"""Key phases and secret exchanges: two key schedules face to face, without a connection around them."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from quinkgl.crypto.keys import KeySource
from quinkgl.crypto.packet_keys import PacketKeys
from quinkgl.transport.key_schedule import KeyLimits, KeySchedule
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.key_log import parse_key_log
from quinkgl.wire.messages.secrets import (
    ExchangeOffer,
    ExchangeReply,
    decode_exchange_message_untrusted,
    encode_exchange_message,
)

PTO_S = 0.1
HASH = bytes(range(32))
INITIATOR_KEY, RESPONDER_KEY = b"\x11" * 32, b"\x22" * 32


@dataclass
class Packet:
    """One sealed packet: its number, its first byte, and what it carries for the other side."""

    number: int
    first_byte: int
    sealed: bytes
    message: bytes | None = None
    message_end: int = 0


@dataclass
class End:
    """One side: a key schedule and the packet numbers around it."""

    keys: KeySchedule
    log: list[str]
    next_number: int = 0
    written: int = 0
    read: int = 0

    def send(self, now: float, *, count: int = 1) -> list[Packet]:
        """Seal packets; the first one carries the message that the schedule has, if any."""
        packets = []
        for _ in range(count):
            message = self.keys.next_message()
            if message is not None:
                self.written += len(message)
                self.keys.on_message_written(self.written)
            number = self.next_number
            self.next_number += 1
            first_byte = 0x40 | self.keys.phase_bit
            sealed = self.keys.send_keys.seal(number, bytes([first_byte]), b"packet %d" % number)
            self.keys.sealed(number, 1, now)
            packets.append(Packet(number, first_byte, sealed, message, self.written))
        return packets

    def take(self, packet: Packet, now: float) -> bool:
        """Open a packet of the other side and act on its message; whether it was authentic."""
        plaintext = self.keys.open_untrusted(
            packet.number, packet.first_byte, bytes([packet.first_byte]), packet.sealed, now
        )
        if plaintext is None:
            return False
        assert plaintext == b"packet %d" % packet.number
        if packet.message is not None:
            self.keys.receive_message_untrusted(packet.message, now)
            self.read = packet.message_end
        return True

    def acknowledge(self, packet: Packet, now: float) -> None:
        """Hear that a packet arrived, and the stream up to where it stood then."""
        self.keys.on_acknowledged(packet.number, now)
        self.keys.on_stream_acknowledged(packet.message_end, now)


def make_pair(*, post_quantum: bool = False, limits: KeyLimits | None = None) -> tuple[End, End]:
    ends = []
    for initiator in (True, False):
        mine, theirs = (INITIATOR_KEY, RESPONDER_KEY) if initiator else (RESPONDER_KEY, INITIATOR_KEY)
        log: list[str] = []
        keys = KeySchedule(
            send=PacketKeys(mine),
            receive=PacketKeys(theirs),
            handshake_hash=HASH,
            initiator=initiator,
            post_quantum=post_quantum,
            source=KeySource.insecure_deterministic(random.Random(initiator)),
            limits=limits if limits is not None else KeyLimits(),
            probe_timeout=lambda: PTO_S,
            now=0.0,
            log=log.append,
            send_id=b"to other" if initiator else b"to first",
            receive_id=b"to first" if initiator else b"to other",
        )
        ends.append(End(keys, log))
    return ends[0], ends[1]


def deliver(source: End, sink: End, now: float, *, count: int = 1) -> list[Packet]:
    """Send packets that arrive and are acknowledged at once."""
    packets = source.send(now, count=count)
    for packet in packets:
        assert sink.take(packet, now)
        source.acknowledge(packet, now)
    return packets


def refusal(step) -> ErrorCode:
    with pytest.raises(RemoteProtocolError) as caught:
        step()
    return caught.value.code


# Phases


@pytest.mark.req("K-020", "K-021", "K-023")
def test_a_key_is_changed_after_so_many_packets_and_the_receiver_follows():
    a, b = make_pair(limits=KeyLimits(phase_packets=10))
    for step in range(101):
        deliver(a, b, float(step))
    assert a.keys.send_phase == b.keys.receive_phase == 10
    assert (a.keys.receive_phase, b.keys.send_phase) == (0, 0)  # each direction by itself
    assert a.next_number == 101  # numbers go on


@pytest.mark.req("K-020", "P-004")
def test_the_phase_bit_is_the_lowest_bit_of_the_phase():
    a, b = make_pair(limits=KeyLimits(phase_packets=5))
    bits = [deliver(a, b, float(step))[0].first_byte & 0x20 for step in range(20)]
    assert bits == ([0] * 5 + [0x20] * 5) * 2


@pytest.mark.req("K-022")
def test_no_key_is_changed_before_a_packet_under_it_was_acknowledged():
    a, b = make_pair(limits=KeyLimits(phase_packets=5))
    packets = a.send(0.0, count=50)
    assert a.keys.send_phase == 0
    for packet in packets:
        assert b.take(packet, 0.5)
    a.acknowledge(packets[0], 1.0)
    assert a.keys.send_phase == 1
    more = a.send(10.0, count=50)  # many probe time-outs later, nothing of the new phase acknowledged
    assert a.keys.send_phase == 1
    a.acknowledge(packets[-1], 10.0)  # a packet of the old phase says nothing about the new key
    assert a.keys.send_phase == 1
    a.acknowledge(more[0], 10.0)
    assert a.keys.send_phase == 2


@pytest.mark.req("K-022")
def test_three_probe_time_outs_lie_between_two_changes():
    a, b = make_pair(limits=KeyLimits(phase_packets=1))
    changes = []
    for step in range(300):
        now = 0.01 * step
        before = a.keys.send_phase
        deliver(a, b, now)
        if a.keys.send_phase != before:
            changes.append(now)
    gaps = [later - earlier for earlier, later in zip([0.0, *changes], changes, strict=False)]
    assert len(changes) >= 8
    assert min(gaps) >= 3 * PTO_S - 1e-9


@pytest.mark.req("K-021")
def test_a_key_is_changed_when_it_is_old():
    a, b = make_pair(limits=KeyLimits(phase_s=600.0))
    deliver(a, b, 1.0)
    assert a.keys.deadline() == 600.0
    a.keys.handle_timer_untrusted(599.9)
    assert a.keys.send_phase == 0
    a.keys.handle_timer_untrusted(600.0)
    assert a.keys.send_phase == 1
    assert a.keys.deadline() == 3600.0  # nothing of the new phase is acknowledged; the ratchet comes next
    deliver(a, b, 700.0)
    assert a.keys.deadline() == 1200.0
    assert b.keys.receive_phase == 1


@pytest.mark.req("K-024")
def test_the_old_key_is_kept_for_three_probe_time_outs():
    a, b = make_pair(limits=KeyLimits(phase_packets=5))
    late = a.send(0.0, count=3)
    deliver(a, b, 0.5, count=2)
    deliver(a, b, 1.0)
    assert b.keys.receive_phase == 1
    assert b.keys.deadline() == 1.0 + 3 * PTO_S
    assert b.take(late[0], 1.2)
    assert not b.take(late[1], 1.3)  # even if no timer was served in time
    b.keys.handle_timer_untrusted(1.3)
    assert not b.take(late[2], 1.3)
    assert b.keys.deadline() is None


@pytest.mark.req("K-023")
def test_a_packet_of_the_new_phase_may_be_overtaken():
    a, b = make_pair(limits=KeyLimits(phase_packets=5))
    deliver(a, b, 0.5, count=5)
    first, second, third = a.send(1.0, count=3)
    for packet in (third, first, second):
        assert b.take(packet, 1.0)
    assert b.keys.receive_phase == 1


@pytest.mark.req("K-023")
def test_a_receiver_that_missed_nothing_of_a_phase_but_its_end_follows_twice():
    """Late packets of the phase before the last are lost; everything else opens."""
    a, b = make_pair(limits=KeyLimits(phase_packets=2))
    late = a.send(0.0)
    deliver(a, b, 0.4)
    deliver(a, b, 0.8, count=2)
    assert a.keys.send_phase == 2
    deliver(a, b, 0.9)
    assert b.keys.receive_phase == 2
    assert not b.take(late[0], 0.9)


@pytest.mark.req("K-023", "K-024", "P-025")
def test_reordering_and_loss_never_break_a_session_that_keeps_the_rules():
    for seed in range(30):
        rng = random.Random(seed)
        a, b = make_pair(limits=KeyLimits(phase_packets=rng.choice([1, 3, 10])))
        flying: list[tuple[float, Packet]] = []
        arrived = 0
        for step in range(600):
            now = 0.01 * step
            (sent,) = a.send(now)
            if rng.random() > 0.2:
                flying.append((now + rng.uniform(0.0, 0.1), sent))
            for when, packet in sorted(flying, key=lambda item: item[0]):
                if when <= now:
                    assert b.take(packet, now), f"seed {seed}: packet {packet.number}"
                    arrived += 1
                    if rng.random() > 0.2:
                        a.acknowledge(packet, now)
            flying = [item for item in flying if item[0] > now]
        assert arrived > 400
        assert b.keys.receive_phase >= 9, f"seed {seed}"


# Violations


@pytest.mark.req("K-025")
def test_an_older_key_for_a_higher_number_ends_the_session():
    a, b = make_pair(limits=KeyLimits(phase_packets=5))
    old = a.keys.send_keys
    deliver(a, b, 0.5, count=5)
    deliver(a, b, 1.0)
    number = a.next_number + 10
    wrong = Packet(number, 0x40, old.seal(number, b"\x40", b"packet %d" % number))
    assert refusal(lambda: b.take(wrong, 1.0)) is ErrorCode.E_KEY_UPDATE


@pytest.mark.req("K-025")
def test_a_newer_key_for_a_lower_number_ends_the_session():
    a, b = make_pair(limits=KeyLimits(phase_packets=5))
    low = a.next_number
    a.next_number += 1
    deliver(a, b, 0.5, count=5)
    deliver(a, b, 1.0)
    wrong = Packet(low, 0x60, a.keys.send_keys.seal(low, b"\x60", b"packet %d" % low))
    assert refusal(lambda: b.take(wrong, 1.0)) is ErrorCode.E_KEY_UPDATE


@pytest.mark.req("K-025")
def test_the_next_key_for_a_number_below_the_present_phase_ends_the_session():
    a, b = make_pair()
    low = a.next_number
    a.next_number += 1
    deliver(a, b, 0.5, count=5)
    wrong = Packet(low, 0x60, a.keys.send_keys.next_phase().seal(low, b"\x60", b"packet %d" % low))
    assert refusal(lambda: b.take(wrong, 1.0)) is ErrorCode.E_KEY_UPDATE


def test_a_flipped_phase_bit_changes_nothing():
    a, b = make_pair(limits=KeyLimits(phase_packets=5))
    for step in range(20):
        (packet,) = a.send(float(step))
        flipped = Packet(packet.number, packet.first_byte ^ 0x20, packet.sealed)
        assert not b.take(flipped, float(step))
        assert b.take(packet, float(step))
        a.acknowledge(packet, float(step))


@pytest.mark.req("K-026")
def test_forged_phase_bits_derive_no_keys(monkeypatch):
    _, b = make_pair()
    derived = []
    original = PacketKeys.next_phase
    monkeypatch.setattr(PacketKeys, "next_phase", lambda keys: derived.append(1) or original(keys))
    for number in range(1000):
        assert not b.take(Packet(number, 0x60, bytes(40)), 0.0)
    assert derived == []


@pytest.mark.req("K-028")
def test_as_many_forged_packets_as_the_cipher_bears_end_the_session():
    _, b = make_pair(limits=KeyLimits(integrity_failures=100))
    for number in range(99):
        assert not b.take(Packet(number, 0x40 | (0x20 * (number & 1)), bytes(40)), 0.0)
    assert refusal(lambda: b.take(Packet(99, 0x40, bytes(40)), 0.0)) is ErrorCode.E_AEAD_LIMIT


@pytest.mark.req("K-027")
def test_a_key_that_cannot_be_changed_is_used_up_in_the_end():
    a, _ = make_pair(limits=KeyLimits(phase_packets=5, confidentiality_packets=20))
    a.send(0.0, count=19)
    assert not a.keys.is_used_up
    a.send(0.0)
    assert a.keys.is_used_up


@pytest.mark.req("K-025", "P-015")
def test_a_run_is_opened_under_the_keys_of_the_present_phase_alone():
    a, b = make_pair(limits=KeyLimits(phase_packets=5))
    run = a.send(0.0, count=4)
    keys = b.keys.receive_keys_for(run[0].first_byte)
    assert keys is not None
    assert all(keys.open_untrusted(p.number, bytes([p.first_byte]), p.sealed) for p in run)
    b.keys.opened_untrusted(run[0].number, run[-1].number)
    assert b.keys.receive_keys_for(0x60) is None
    a.acknowledge(run[0], 0.5)
    assert a.keys.packets_left == 1
    deliver(a, b, 0.5)
    assert a.keys.packets_left == 5
    (packet,) = deliver(a, b, 1.0)
    assert b.keys.receive_keys_for(packet.first_byte) is not None
    assert refusal(lambda: b.keys.opened_untrusted(2, 3)) is ErrorCode.E_KEY_UPDATE


# Exchanges


@pytest.mark.req("K-035", "K-037")
def test_ml_kem_goes_into_both_directions_before_anything_of_an_application():
    a, b = make_pair(post_quantum=True)
    ends = (a.keys, b.keys)
    assert [(keys.application_allowed, keys.application_expected) for keys in ends] == [(False, False)] * 2
    deliver(a, b, 0.1)  # OFFER
    assert [(keys.application_allowed, keys.application_expected) for keys in ends] == [(False, False)] * 2
    (reply,) = b.send(0.2)
    assert a.take(reply, 0.3)
    assert a.keys.application_allowed
    assert a.keys.send_phase == 1
    assert not b.keys.application_allowed
    deliver(a, b, 0.4)
    assert b.keys.application_allowed
    assert b.keys.application_expected
    assert not a.keys.application_expected
    deliver(b, a, 0.5)
    assert a.keys.application_expected
    assert (a.keys.receive_phase, b.keys.receive_phase) == (1, 1)


@pytest.mark.req("K-033")
def test_the_mixed_keys_are_not_the_next_ones_of_the_chain():
    a, b = make_pair(post_quantum=True)
    chain = a.keys.send_keys.next_phase()
    deliver(a, b, 0.1)
    deliver(b, a, 0.2)
    (packet,) = a.send(0.3)
    assert packet.first_byte & 0x20
    assert chain.open_untrusted(packet.number, bytes([packet.first_byte]), packet.sealed) is None
    assert b.take(packet, 0.3)


@pytest.mark.req("K-036")
def test_the_responder_mixes_when_its_answer_is_acknowledged_without_a_gap():
    a, b = make_pair(post_quantum=True)
    deliver(a, b, 0.1)
    (reply,) = b.send(0.2)
    b.keys.on_acknowledged(reply.number, 0.3)
    b.keys.on_stream_acknowledged(reply.message_end - 1, 0.3)  # the packet arrived, a byte before it did not
    assert b.keys.send_phase == 0
    b.keys.on_stream_acknowledged(reply.message_end, 0.4)
    assert b.keys.send_phase == 1
    assert b.keys.application_allowed


@pytest.mark.req("K-034")
def test_nobody_changes_keys_otherwise_while_an_exchange_is_under_way():
    limits = KeyLimits(phase_packets=3, phase_s=5.0)
    a, b = make_pair(post_quantum=True, limits=limits)
    (offer,) = a.send(0.0)
    assert b.take(offer, 0.0)
    for step in range(20):
        for packet in a.send(0.1 * step):
            assert b.take(packet, 0.1 * step)
            a.acknowledge(packet, 0.1 * step)
        (packet,) = b.send(0.1 * step)
        packet.message = None  # REPLY is on its way all this time
        assert a.take(packet, 0.1 * step)
        b.keys.on_acknowledged(packet.number, 0.1 * step)
    assert (a.keys.send_phase, b.keys.send_phase) == (0, 0)


def test_ordinary_changes_go_on_after_an_exchange():
    a, b = make_pair(post_quantum=True, limits=KeyLimits(phase_packets=3))
    for step in range(42):
        deliver(a, b, float(step))
        deliver(b, a, float(step))
    assert a.keys.send_phase == b.keys.receive_phase > 10
    assert b.keys.send_phase == a.keys.receive_phase > 10


@pytest.mark.req("K-039")
def test_a_fresh_secret_goes_into_the_keys_at_every_ratchet():
    a, b = make_pair(limits=KeyLimits(ratchet_s=100.0))
    now = 0.0
    for turn in range(1, 6):
        assert a.keys.deadline() == pytest.approx(100.0 * turn)
        now = 100.0 * turn
        deliver(a, b, now - 1.0)
        a.keys.handle_timer_untrusted(now)
        assert a.keys.has_message
        deliver(a, b, now)
        deliver(b, a, now)
        deliver(a, b, now)
        deliver(b, a, now)
        assert (a.keys.send_phase, b.keys.send_phase) == (turn, turn)
        a.keys.handle_timer_untrusted(now + 1.0)
        b.keys.handle_timer_untrusted(now + 1.0)
    assert b.keys.deadline() is None or b.keys.deadline() > now
    assert a.keys.application_allowed


@pytest.mark.req("K-034", "K-036")
def test_exchanges_survive_any_order_of_packets():
    """Both sides send all the time under short phases and ratchets; every packet opens."""
    for seed in range(30):
        rng = random.Random(seed)
        limits = KeyLimits(phase_packets=rng.choice([2, 7, 1000]), ratchet_s=rng.choice([0.5, 2.0]))
        a, b = make_pair(post_quantum=seed % 2 == 0, limits=limits)
        flying: list[tuple[float, End, End, Packet]] = []
        for step in range(1000):
            now = 0.01 * step
            for end in (a, b):
                due = end.keys.deadline()
                if due is not None and due <= now:
                    end.keys.handle_timer_untrusted(now)
            for source, sink in ((a, b), (b, a)):
                (packet,) = source.send(now)
                # What carries a message is never lost here: the stream would send it again.
                if packet.message is not None or rng.random() > 0.2:
                    flying.append((now + rng.uniform(0.0, 0.1), source, sink, packet))
            for when, source, sink, packet in sorted(flying, key=lambda item: item[0]):
                if when <= now:
                    assert sink.take(packet, now), f"seed {seed}: packet {packet.number}"
                    if rng.random() > 0.2:
                        source.keys.on_acknowledged(packet.number, now)
                        source.keys.on_stream_acknowledged(sink.read, now)
            flying = [item for item in flying if item[0] > now]
        assert min(a.keys.send_phase, b.keys.send_phase) >= 3, f"seed {seed}"


@pytest.mark.req("K-031")
def test_messages_out_of_turn_end_the_session():
    offer = encode_exchange_message(ExchangeOffer(2, b"\x09" + bytes(31)))
    reply = encode_exchange_message(ExchangeReply(2, b"\x09" + bytes(31)))
    lattice = make_pair(post_quantum=True)[0].keys.next_message() or b""
    a, b = make_pair()
    assert refusal(lambda: a.keys.receive_message_untrusted(offer, 0.0)) is ErrorCode.E_FRAME_CONTEXT
    assert refusal(lambda: a.keys.receive_message_untrusted(reply, 0.0)) is ErrorCode.E_FRAME_CONTEXT
    assert refusal(lambda: b.keys.receive_message_untrusted(reply, 0.0)) is ErrorCode.E_FRAME_CONTEXT
    assert refusal(lambda: b.keys.receive_message_untrusted(lattice, 0.0)) is ErrorCode.E_FRAME_CONTEXT
    b.keys.receive_message_untrusted(offer, 0.0)
    assert refusal(lambda: b.keys.receive_message_untrusted(offer, 0.0)) is ErrorCode.E_FRAME_CONTEXT
    a, b = make_pair(post_quantum=True)
    assert refusal(lambda: b.keys.receive_message_untrusted(offer, 0.0)) is ErrorCode.E_FRAME_CONTEXT
    assert refusal(lambda: a.keys.receive_message_untrusted(reply, 0.0)) is ErrorCode.E_FRAME_CONTEXT


@pytest.mark.req("K-031", "K-032")
@pytest.mark.parametrize(
    ("message", "code"),
    [
        (ExchangeOffer(2, bytes(32)), ErrorCode.E_SCHEMA),
        (ExchangeOffer(2, bytes(range(31))), ErrorCode.E_SCHEMA),
        (ExchangeOffer(2, bytes(range(33))), ErrorCode.E_SCHEMA),
        (ExchangeOffer(3, bytes(range(32))), ErrorCode.E_FRAME_CONTEXT),
        (ExchangeOffer(200, bytes(range(32))), ErrorCode.E_FRAME_CONTEXT),
    ],
)
def test_offers_that_are_none_end_the_session(message, code):
    _, b = make_pair()
    assert refusal(lambda: b.keys.receive_message_untrusted(encode_exchange_message(message), 0.0)) is code
    assert b.keys.send_phase == 0
    assert not b.keys.has_message


@pytest.mark.req("K-032")
def test_an_answer_of_another_length_ends_the_session():
    a, _ = make_pair(post_quantum=True)
    a.keys.next_message()
    reply = encode_exchange_message(ExchangeReply(1, bytes(1087)))
    assert refusal(lambda: a.keys.receive_message_untrusted(reply, 0.0)) is ErrorCode.E_SCHEMA


@pytest.mark.req("K-040")
def test_a_peer_that_leaves_an_exchange_unfinished_loses_the_session():
    limits = KeyLimits(phase_s=50.0)
    for end in make_pair(post_quantum=True, limits=limits):  # no OFFER comes, or no REPLY
        assert end.keys.deadline() == 50.0
        assert refusal(lambda end=end: end.keys.handle_timer_untrusted(50.0)) is ErrorCode.E_KEY_UPDATE


def test_messages_are_read_as_they_were_written():
    for message in (
        ExchangeOffer(1, bytes(1184)),
        ExchangeReply(1, bytes(1088)),
        ExchangeReply(2, bytes(32)),
    ):
        assert decode_exchange_message_untrusted(encode_exchange_message(message)) == message
    for data in (b"\xa3\x00\x03\x01\x02\x02\x41\x00", b"\xa0", b"", b"\xa3\x00\x18\x40\x01\x02\x02\x41\x00"):
        assert refusal(lambda data=data: decode_exchange_message_untrusted(data)) in {
            ErrorCode.E_SCHEMA,
            ErrorCode.E_CBOR,
        }


# The key log


def test_the_key_log_has_every_key_of_both_sides():
    a, b = make_pair(post_quantum=True, limits=KeyLimits(phase_packets=4))
    for step in range(20):
        deliver(a, b, float(step))
        deliver(b, a, float(step))
    logs = [
        {(entry.destination_id, entry.phase): entry for line in end.log if (entry := parse_key_log(line))}
        for end in (a, b)
    ]
    common = logs[0].keys() & logs[1].keys()
    assert len(common) >= 8
    for name in sorted(common):
        ours, theirs = logs[0][name], logs[1][name]
        assert (ours.key, ours.handshake_hash) == (theirs.key, HASH)
    assert logs[0][b"to other", 0].key == INITIATOR_KEY
    sent = logs[0][b"to other", 1]
    assert 0 < sent.first_number <= logs[1][b"to other", 1].first_number
    assert len({entry.key for entry in logs[0].values()}) == len(logs[0])
