"""Membership: what enters the view, what is handed on, when, and to whom."""

from __future__ import annotations

import random
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.crypto.cose import decode_sign1_untrusted
from quinkgl.crypto.identity import Identity
from quinkgl.crypto.psk import derive_member_keys
from quinkgl.protocol.membership import (
    STANDING_TABLE,
    Action,
    Input,
    Membership,
    PeerDiscovered,
    Standing,
)
from quinkgl.protocol.records import SignedRecord, check_record_untrusted, issue_record
from quinkgl.testing.contract import Checked, assert_refuses_reentry
from quinkgl.wire.cbor import encode
from quinkgl.wire.errors import LocalProtocolError, RemoteProtocolError
from quinkgl.wire.limits import LIMITS, limits_with
from quinkgl.wire.messages.membership import (
    MAX_SEQ,
    Records,
    decode_membership_message_untrusted,
    decode_record_untrusted,
    encode_membership_message,
)

KEYS = derive_member_keys(b"{}")
FOREIGN = derive_member_keys(b"{}", b"another secret")
UNIX = 1_900_000_000.0
INTERVAL = LIMITS.shuffle_interval_s
US = Identity.from_seed(bytes(32))


def identity(number):
    return Identity.from_seed(number.to_bytes(32, "big"))


PEERS = [identity(number) for number in range(1, 60)]
A, B, C, D = (peer.peer_id for peer in PEERS[:4])


def address(number):
    return (f"192.0.2.{number % 250 + 1}", 4000 + number)


def record(number, *, seq=1, addresses=None, unix_now=UNIX, ttl=7200, root=KEYS.root):
    """A record of PEERS[number], as that peer would sign it."""
    where = (address(number),) if addresses is None else addresses
    return issue_record(PEERS[number], root, seq=seq, addresses=where, ttl=ttl, unix_now=unix_now)


def membership(*, seed=1, now=0.0, unix_now=UNIX, addresses=(("198.51.100.1", 5000),), limits=LIMITS):
    machine = Checked(
        Membership(US, KEYS, rng=random.Random(seed), now=now, unix_now=unix_now, limits=limits), now=now
    )
    if addresses:
        machine.set_addresses(addresses, now=now)
    return machine


def message(*records):
    return encode_membership_message(
        Records(tuple(one.encoded if isinstance(one, SignedRecord) else one for one in records))
    )


def tell(machine, peer, *records, now=None):
    machine.receive_message(peer, message(*records), now=machine.now if now is None else now)


def discovered(machine):
    return [event.peer for event in machine.drain().events]


def sent(machine):
    """What the machine has to say: for each neighbour the records of the one message it gets."""
    messages = machine.drain().of("next_message")
    assert len(messages) == len({peer for peer, _ in messages})
    return {peer: decode_membership_message_untrusted(data).records for peer, data in messages}


def connected(*numbers, **options):
    """A machine with neighbours that gave their records, and nothing left to say."""
    machine = membership(**options)
    for number in numbers:
        assert machine.peer_connected(PEERS[number].peer_id, record(number).encoded, now=machine.now)
    machine.drain()
    return machine


# --- what enters the view ---


def test_a_told_record_makes_a_peer_known():
    machine = connected(0)
    tell(machine, A, record(1))
    assert machine.drain().events == (PeerDiscovered(B, (address(1),)),)
    assert machine.view() == (record(1).record,)
    assert [found.key for found in machine.known()] == sorted([A, B])
    assert machine.standing(B) is Standing.CANDIDATE


@pytest.mark.req("M-016")
def test_records_of_strangers_are_not_heard():
    machine = membership()
    tell(machine, A, record(1))
    assert machine.known() == ()
    assert machine.stats.dropped == {"not_connected": 1}


FALSE_RECORDS = {
    "record_malformed": b"no record",
    "record_scope": record(1, root=FOREIGN.root),
    "record_signature": record(1).encoded[:-1] + bytes([record(1).encoded[-1] ^ 1]),
    "record_expired": record(1, ttl=100, unix_now=UNIX - 100),
}


@pytest.mark.req("M-010", "M-011", "M-012", "M-015")
@pytest.mark.parametrize("reason", FALSE_RECORDS)
def test_a_false_record_is_dropped_and_the_others_taken(reason):
    machine = connected(0)
    tell(machine, A, record(2), FALSE_RECORDS[reason], record(3))
    assert discovered(machine) == [C, D]
    assert machine.stats.dropped == {reason: 1}


@pytest.mark.req("M-013")
def test_a_record_from_the_future_is_dropped():
    machine = connected(0)
    tell(machine, A, record(1, unix_now=UNIX + LIMITS.clock_skew_s + 1))
    tell(machine, A, record(2, unix_now=UNIX + LIMITS.clock_skew_s))
    assert discovered(machine) == [C]
    assert machine.stats.dropped == {"record_expired": 1}


@pytest.mark.req("M-014")
def test_the_newest_record_of_a_peer_wins():
    machine = connected(0)
    newer = record(1, seq=5, addresses=(("192.0.2.99", 9),))
    tell(machine, A, newer)
    tell(machine, A, record(1, seq=4), newer, record(1, seq=5))
    assert machine.view() == (newer.record,)
    assert machine.stats.dropped == {"record_old": 1, "record_conflict": 1}
    newest = record(1, seq=6)
    tell(machine, A, newest)
    assert machine.view() == (newest.record,)
    assert discovered(machine) == [B, B]


@pytest.mark.req("M-011", "M-016")
def test_a_forged_record_cannot_replace_a_true_one():
    machine = connected(0)
    tell(machine, A, record(1))
    forged = bytearray(record(1, seq=9).encoded)
    forged[-1] ^= 1
    tell(machine, A, bytes(forged))
    equal = bytearray(record(1, seq=1, addresses=(address(7),)).encoded)
    equal[-1] ^= 1
    tell(machine, A, bytes(equal))
    assert machine.view() == (record(1).record,)
    assert machine.stats.dropped == {"record_signature": 2}


@pytest.mark.req("M-012")
def test_records_end():
    machine = connected(0)
    tell(machine, A, record(1, ttl=60), record(2, ttl=90))
    machine.drain()
    run_until(machine, 59.9)
    assert [found.key for found in machine.view()] == sorted([B, C])
    run_until(machine, 60.0)
    assert [found.key for found in machine.view()] == [C]
    assert machine.standing(B) is Standing.UNKNOWN
    tell(machine, A, record(1, ttl=60))
    assert machine.stats.dropped == {"record_expired": 1}


@pytest.mark.req("M-012")
def test_a_neighbour_whose_record_ends_is_a_stranger():
    machine = membership()
    machine.peer_connected(A, record(0, ttl=60).encoded, now=0.0)
    assert machine.standing(A) is Standing.NEIGHBOUR
    run_until(machine, 60.0)
    assert machine.standing(A) is Standing.STRANGER
    assert machine.known() == ()


@pytest.mark.req("M-030", "M-031")
def test_the_view_is_bounded_and_forgets_at_random():
    machine = connected(0, limits=limits_with(view_size=5))
    for number in range(1, 31):
        tell(machine, A, record(number), now=machine.now + 1.0)
        assert len(machine.view()) <= 5
    assert len(machine.view()) == 5
    assert machine.stats.dropped == {"view_full": 25}
    kept = [found.key for found in machine.view()]
    assert kept != sorted(peer.peer_id for peer in PEERS[26:31]), "seed 1"
    assert PEERS[30].peer_id in kept


def test_our_own_record_is_not_for_our_view():
    machine = connected(0)
    tell(machine, A, machine.own_record)
    assert [found.key for found in machine.known()] == [A]
    assert machine.stats.dropped == {}


@pytest.mark.req("M-040")
def test_private_addresses_are_for_those_who_have_one():
    private = record(1, addresses=(("192.168.1.1", 4), ("127.0.0.1", 5), ("192.0.2.1", 6)))
    for own, expected in (
        (("198.51.100.1", 1), [("192.0.2.1", 6)]),
        (("10.0.0.1", 1), [("192.168.1.1", 4), ("192.0.2.1", 6)]),
        (("127.0.0.1", 1), [("127.0.0.1", 5), ("192.0.2.1", 6)]),
    ):
        machine = connected(0, addresses=(own,))
        tell(machine, A, private)
        assert machine.drain().events == (PeerDiscovered(B, tuple(expected)),)


def test_a_peer_without_an_address_for_us_is_known_but_not_suggested():
    machine = connected(0)
    tell(machine, A, record(1, addresses=(("10.0.0.1", 1),)), record(2, addresses=()))
    assert discovered(machine) == []
    assert len(machine.view()) == 2
    machine.set_addresses([("10.0.0.9", 1)], now=machine.now)
    assert discovered(machine) == [B]  # an address of ours makes it reachable


# --- sessions ---


def test_a_neighbour_is_no_candidate():
    machine = connected(0)
    tell(machine, A, record(1))
    machine.drain()
    assert machine.peer_connected(B, None, now=0.0)
    assert machine.view() == ()
    assert machine.standing(B) is Standing.NEIGHBOUR
    assert not machine.peer_connected(B, None, now=0.0)
    assert machine.peer_disconnected(B, now=0.0)
    assert machine.view() == (record(1).record,)
    assert not machine.peer_disconnected(B, now=0.0)
    assert not machine.peer_disconnected(D, now=0.0)


def test_what_was_to_be_told_goes_with_the_session():
    machine = membership()
    machine.drain()
    assert machine.peer_connected(A, None, now=0.0)  # our record is ready for it
    assert machine.deadline_reason == "output"
    assert machine.peer_disconnected(A, now=0.0)
    assert machine.next_message(0.0) is None


@pytest.mark.req("M-043")
def test_a_peer_out_of_reach_leaves_the_view_until_it_is_told_again():
    machine = connected(0, 2)
    tell(machine, A, record(1))
    assert machine.peer_unreachable(B, now=0.0)
    assert machine.view() == ()
    assert not machine.peer_unreachable(B, now=0.0)
    assert not machine.peer_unreachable(A, now=0.0)
    tell(machine, C, record(1))
    assert discovered(machine) == [B, B]


@pytest.mark.req("M-032")
def test_a_session_needs_another_peer_and_room():
    machine = membership(limits=limits_with(connections=2))
    for peer in (US.peer_id, b"short"):
        with pytest.raises(LocalProtocolError):
            machine.peer_connected(peer, None, now=0.0)
    assert machine.peer_connected(A, None, now=0.0)
    assert machine.peer_connected(B, None, now=0.0)
    assert not machine.peer_connected(C, None, now=0.0)
    assert machine.stats.dropped == {"neighbours_full": 1}


def test_a_false_record_in_the_handshake_leaves_a_stranger():
    machine = membership()
    machine.peer_connected(A, b"no record", now=0.0)
    assert machine.standing(A) is Standing.STRANGER
    assert machine.stats.dropped == {"record_malformed": 1}


@pytest.mark.req("M-026")
def test_another_peer_is_suggested_for_the_place_of_one_that_went():
    """At once: a peer that comes back before the next tick, each time, would else keep its place for ever."""
    machine = connected(0, 1)
    tell(machine, A, record(2), record(3))
    machine.drain()
    suggested = []
    for _ in range(20):
        assert machine.peer_disconnected(B, now=machine.now)
        suggested += discovered(machine)
        machine.peer_connected(B, record(1).encoded, now=machine.now)
        machine.drain()
    assert len(suggested) == 20
    assert set(suggested) == {C, D}


@pytest.mark.req("M-026")
def test_a_peer_that_went_is_not_suggested_in_its_own_place():
    machine = connected(0, 1)
    machine.peer_disconnected(B, now=machine.now)
    assert machine.standing(B) is Standing.CANDIDATE
    assert discovered(machine) == []


# --- what is handed on ---


@pytest.mark.req("M-026")
def test_a_new_neighbour_is_told_our_record_and_the_freshest():
    machine = connected(0)
    ages = list(range(1, 13))
    random.Random(3).shuffle(ages)
    for number, age in enumerate(ages, start=1):
        tell(machine, A, record(number, unix_now=UNIX - age), now=machine.now + 1.0)
    machine.drain()
    newcomer = PEERS[40].peer_id
    machine.peer_connected(newcomer, record(40).encoded, now=machine.now)
    told = sent(machine)
    freshest = sorted(range(1, 13), key=lambda number: ages[number - 1])
    expected = [machine.own_record, record(0).encoded]
    expected += [record(number, unix_now=UNIX - ages[number - 1]).encoded for number in freshest[:6]]
    assert list(told[newcomer]) == expected
    assert len(expected) == LIMITS.shuffle_length


@pytest.mark.req("M-026")
def test_neighbours_hear_of_a_newcomer_as_many_as_one_message_is_long():
    machine = connected(*range(30))
    run_until(machine, 3 * INTERVAL)
    machine.peer_connected(PEERS[40].peer_id, record(40).encoded, now=machine.now)
    told = sent(machine)
    told.pop(PEERS[40].peer_id)
    assert len(told) == LIMITS.shuffle_length
    assert all(records == (record(40).encoded,) for records in told.values())


@pytest.mark.req("M-001")
def test_records_are_handed_on_as_they_were_signed():
    machine = connected(0)
    odd = record(1, ttl=123, seq=77)
    tell(machine, A, odd)
    machine.peer_connected(C, None, now=0.0)
    assert odd.encoded in sent(machine)[C]


@pytest.mark.req("M-041")
def test_a_record_is_handed_on_whatever_addresses_it_has():
    """None of them means anything here; the neighbour may live next to that peer."""
    machine = connected(0)
    private = record(1, addresses=(("10.0.0.1", 1), ("127.0.0.1", 2), ("fe80::1", 3)))
    tell(machine, A, private)
    assert discovered(machine) == []
    machine.peer_connected(C, None, now=machine.now)
    assert private.encoded in sent(machine)[C]


@pytest.mark.req("M-023")
def test_a_neighbour_is_told_a_record_once():
    machine = connected(0, 1)
    told = {A: [], B: []}
    for _ in range(40):
        run_to_next(machine)
        for peer, records in sent(machine).items():
            told[peer].extend(records)
    machine.handle_timer(now=machine.now)
    assert told[A].count(record(1).encoded) <= 1
    for records in told.values():
        assert len(records) == len(set(records))
    assert record(0).encoded not in told[A]


@pytest.mark.req("M-023")
def test_what_a_neighbour_told_us_is_no_news_to_it():
    machine = connected(0)
    tell(machine, A, record(1), record(2))
    machine.drain()
    assert record_traffic(machine, 10 * INTERVAL).get(A, []) == []


@pytest.mark.req("M-023")
def test_nobody_is_told_its_own_record():
    machine = connected(0)
    machine.peer_connected(B, None, now=0.0)
    tell(machine, A, record(1))
    assert machine.standing(B) is Standing.NEIGHBOUR
    told = record_traffic(machine, 5 * INTERVAL)
    assert record(1).encoded not in told[B]


def test_news_travel_with_the_tick():
    """A record that comes second-hand reaches a neighbour without it within a few intervals."""
    machine = connected(0, 1)
    tell(machine, A, record(5))
    machine.drain()
    told = record_traffic(machine, 5 * INTERVAL)
    assert told[B].count(record(5).encoded) == 1


@pytest.mark.req("M-024")
def test_messages_to_one_neighbour_keep_their_distance():
    machine = connected(0)
    times = []
    for number in range(1, 40):
        machine.peer_connected(PEERS[number].peer_id, record(number).encoded, now=machine.now + 0.1)
        times += [machine.now for peer, _ in machine.drain().of("next_message") if peer == A]
    while machine.deadline() < INTERVAL:
        run_to_next(machine)
        times += [machine.now for peer, _ in machine.drain().of("next_message") if peer == A]
    assert len(times) >= 3
    assert all(later - earlier >= LIMITS.records_interval_s for earlier, later in pairwise([0.0, *times]))


def test_our_record_makes_room_for_itself():
    machine = membership(addresses=())
    machine.peer_connected(A, record(0).encoded, now=0.0)
    for number in range(1, 12):
        machine.peer_connected(PEERS[number].peer_id, record(number).encoded, now=0.0)
    machine.drain()
    machine.set_addresses([("198.51.100.1", 5000)], now=0.5)
    machine.handle_timer(now=1.0)
    records = sent(machine)[A]
    assert machine.own_record in records
    assert len(records) == LIMITS.shuffle_length


def test_a_caller_that_does_not_drain_loses_no_news():
    machine = connected(0)
    for number in range(1, 4):
        machine.peer_connected(PEERS[number].peer_id, record(number).encoded, now=machine.now + 2.0)
    assert machine.occupancy()["messages"][0] == 4
    told = record_traffic(machine, machine.now + 3.0)
    assert {record(number).encoded for number in (1, 2, 3)} <= set(told[A])


def test_what_waits_is_forgotten_with_the_session_or_the_record():
    machine = connected(0)
    machine.peer_connected(B, record(1).encoded, now=0.0)
    assert machine.peer_disconnected(A, now=0.0)
    assert list(sent(machine)) == [B]
    machine.peer_connected(A, None, now=0.0)
    machine.drain()
    machine.peer_connected(C, record(2, ttl=1).encoded, now=0.5)
    machine.drain()
    run_until(machine, 2.0)  # the news about C had to wait, and C's record ended meanwhile
    assert A not in sent(machine)


# --- our own record ---


@pytest.mark.req("M-005")
def test_there_is_no_record_before_there_is_an_address():
    machine = membership(addresses=())
    assert machine.own_record is None
    machine.peer_connected(A, None, now=0.0)
    assert sent(machine) == {}
    machine.set_addresses([("198.51.100.1", 5000)], now=0.0)
    assert sent(machine) == {A: (machine.own_record,)}
    machine.set_addresses([], now=0.0)
    assert machine.own_record is None


def own(machine):
    """Our own record, as another member reads it."""
    found = decode_record_untrusted(decode_sign1_untrusted(machine.own_record, max_bytes=512).payload)
    checked = check_record_untrusted(machine.own_record, root=KEYS.root, unix_now=found.issued, limits=LIMITS)
    return checked.verify_untrusted().record


@pytest.mark.req("M-001", "M-002", "M-020", "M-021")
def test_our_record_says_where_we_are_and_is_issued_again_at_half_its_time():
    machine = connected(0)
    first = own(machine)
    assert first.addresses == (("198.51.100.1", 5000),)
    assert first.seq == UNIX * 1000  # a node that lost its state is not set back
    assert first.ttl == LIMITS.record_ttl_s
    told = record_traffic(machine, LIMITS.record_ttl_s / 2 - 1)
    assert told == {}
    told = record_traffic(machine, LIMITS.record_ttl_s / 2 + 1)
    assert told == {A: [machine.own_record]}
    second = own(machine)
    assert second.seq > first.seq
    assert second.issued == first.issued + LIMITS.record_ttl_s / 2


@pytest.mark.req("M-021")
def test_a_new_record_of_our_own_goes_to_all_neighbours_at_once():
    machine = connected(*range(20))
    run_until(machine, 3 * INTERVAL)  # all that was news is told
    before = machine.now
    machine.set_addresses([("198.51.100.2", 5000)], now=before)
    told = sent(machine)
    assert len(told) == 20
    assert all(records == (machine.own_record,) for records in told.values())


@pytest.mark.req("M-020", "M-021")
def test_new_addresses_make_a_new_record_but_one_an_interval():
    machine = connected(0)
    first = machine.own_record
    machine.set_addresses([("198.51.100.1", 5000)], now=1.0)
    assert machine.own_record is first
    machine.set_addresses([("198.51.100.2", 5000)], now=2.0)
    machine.set_addresses([("::ffff:198.51.100.3", 5000)], now=3.0)
    assert machine.own_record is first
    assert machine.deadline_reason in ("tick", "issue")
    told = record_traffic(machine, INTERVAL + 1)
    assert told == {A: [machine.own_record]}
    assert own(machine).addresses == (("198.51.100.3", 5000),)


@pytest.mark.parametrize(
    "addresses",
    [[("name", 1)], [("0.0.0.0", 1)], [("1.2.3.4", 0)], [address(n) for n in range(9)]],
)
def test_addresses_that_no_record_holds_are_refused(addresses):
    machine = membership()
    with pytest.raises(LocalProtocolError):
        machine.set_addresses(addresses, now=0.0)


@pytest.mark.req("M-022")
def test_a_record_of_an_earlier_life_is_outdone():
    machine = connected(0)
    earlier = issue_record(US, KEYS.root, seq=2**50, addresses=(address(9),), ttl=7200, unix_now=UNIX)
    tell(machine, A, earlier)
    told = record_traffic(machine, INTERVAL + 1)
    assert told == {A: [machine.own_record]}
    assert own(machine).seq == 2**50 + 1
    for harmless in (earlier, issue_record(US, KEYS.root, seq=1, addresses=(), ttl=9, unix_now=UNIX)):
        tell(machine, A, harmless)
    assert record_traffic(machine, 3 * INTERVAL) == {}


def test_a_record_in_our_name_that_we_did_not_sign_is_no_earlier_life():
    machine = connected(0)
    forged = bytearray(issue_record(US, KEYS.root, seq=2**50, addresses=(), ttl=7200, unix_now=UNIX).encoded)
    forged[-1] ^= 1
    tell(machine, A, bytes(forged))
    last = issue_record(US, KEYS.root, seq=MAX_SEQ, addresses=(), ttl=7200, unix_now=UNIX)
    tell(machine, A, last)
    assert own(machine).seq < 2**50
    assert record_traffic(machine, 3 * INTERVAL) == {}
    assert machine.stats.dropped == {"record_signature": 1}


def test_a_step_of_the_wall_clock_makes_a_new_record():
    machine = connected(0)
    first = own(machine)
    machine.set_unix_time(UNIX + 20.0 + LIMITS.clock_skew_s, now=20.0)
    assert machine.drain().of("next_message") == []
    machine.set_unix_time(UNIX + 1000.0, now=20.0)
    assert sent(machine) == {A: (machine.own_record,)}
    assert own(machine).seq > first.seq
    for wrong in (-1.0, float("nan")):
        with pytest.raises(LocalProtocolError):
            machine.set_unix_time(wrong, now=20.0)


@pytest.mark.req("M-002")
def test_a_clock_set_back_does_not_set_back_the_number():
    machine = connected(0)
    first = own(machine).seq
    machine.set_unix_time(UNIX - 5000.0, now=20.0)
    assert own(machine).seq == first + 1
    assert own(machine).issued == UNIX - 5000


# --- messages ---


@pytest.mark.req("M-019")
def test_a_message_that_is_none_is_the_peers_fault():
    machine = connected(0)
    for data in (b"", encode({0: 2}), encode({0: 1, 1: []}), encode({0: 1, 1: [bytes(513)]})):
        with pytest.raises(RemoteProtocolError):
            machine.receive_message(A, data, now=0.0)
    machine.receive_message(A, encode({0: 64}), now=0.0)
    assert machine.stats.dropped == {"malformed": 4, "unknown_kind": 1}


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_only_what_they_may(data):
    machine = connected(0)
    with suppress(RemoteProtocolError):
        machine.receive_message(A, data, now=0.0)
    assert [found.key for found in machine.known()] == [A]


@pytest.mark.req("M-025")
def test_the_rate_of_messages_is_limited():
    machine = connected(0)
    for _ in range(LIMITS.records_burst):
        tell(machine, A, record(1))
    with_garbage = b"not even looked at"
    machine.receive_message(A, with_garbage, now=0.0)
    tell(machine, A, record(2))
    assert machine.stats.dropped == {"records_rate": 2}
    tell(machine, A, record(2), now=LIMITS.records_interval_s)
    assert discovered(machine) == [B, C]


# --- a later life ---


@pytest.mark.req("M-002", "M-050")
def test_a_later_life_finds_its_neighbours_again():
    machine = connected(0, 1)
    tell(machine, A, record(2))
    state = machine.state()
    assert state["records"] == [record(number).encoded for number in (0, 1, 2)]
    successor = membership(unix_now=UNIX + 60, addresses=())
    successor.restore(state, now=0.0)
    successor.set_addresses([("198.51.100.1", 5000)], now=0.0)
    assert discovered(successor) == [A, B, C]
    machine_seq = own(machine).seq
    assert own(successor).seq > machine_seq


@pytest.mark.req("M-002")
def test_a_later_life_outnumbers_its_record_even_if_the_clock_was_set_back():
    state = membership().state()
    successor = membership(unix_now=UNIX - 10_000, addresses=())
    successor.restore(state, now=0.0)
    assert successor.state()["seq"] == state["seq"]
    successor.set_addresses([("198.51.100.1", 5000)], now=0.0)
    assert successor.state()["seq"] == state["seq"] + 1


def test_a_later_life_checks_what_it_finds():
    successor = membership(addresses=(), unix_now=UNIX + 8000)
    successor.restore({"seq": 0, "records": [record(0).encoded, b"x"]}, now=0.0)
    assert successor.known() == ()
    assert successor.stats.dropped == {"record_expired": 1, "record_malformed": 1}


@pytest.mark.req("M-050")
def test_a_state_holds_no_more_than_a_view():
    machine = connected(*range(30))
    state = machine.state()
    assert len(state["records"]) == LIMITS.view_size
    assert state["records"][0] == record(0).encoded


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"seq": -1, "records": []},
        {"seq": MAX_SEQ, "records": []},
        {"seq": MAX_SEQ + 1, "records": []},
        {"seq": True, "records": []},
        {"seq": 1, "records": None},
        {"seq": 1, "records": ["text"]},
    ],
)
def test_a_state_of_another_form_is_refused(state):
    machine = membership(addresses=())
    with pytest.raises(LocalProtocolError):
        machine.restore(state, now=0.0)


def test_a_state_is_restored_into_a_new_machine_only():
    for machine in (membership(), connected(0, addresses=())):
        with pytest.raises(LocalProtocolError):
            machine.restore({"seq": 1, "records": []}, now=0.0)


# --- the machine ---


def run_to_next(machine):
    machine.handle_timer(now=machine.deadline())


def run_until(machine, end):
    """Fire every timer until ``end``; messages and events are thrown away."""
    while machine.deadline() <= end:
        run_to_next(machine)
        machine.drain()
    machine.handle_timer(now=end)


def record_traffic(machine, end):
    """Fire every timer until ``end``; return what each neighbour was told, in order."""
    told = {}
    while machine.deadline() <= end:
        run_to_next(machine)
        for peer, records in sent(machine).items():
            told.setdefault(peer, []).extend(records)
    return told


def in_standing(standing):
    machine = connected(0)
    if standing is Standing.CANDIDATE:
        tell(machine, A, record(1))
    elif standing is Standing.STRANGER:
        machine.peer_connected(B, None, now=0.0)
    elif standing is Standing.NEIGHBOUR:
        machine.peer_connected(B, record(1).encoded, now=0.0)
    machine.drain()
    assert machine.standing(B) is standing
    return machine


def happen(machine, event):
    """Make an event of the table happen to B; return whether this interface can make it happen."""
    held = machine.standing(B)
    match event:
        case Input.RECORD:
            tell(machine, A, record(1, seq=9))
        case Input.CONNECT:
            machine.peer_connected(B, None, now=0.0)
        case Input.DISCONNECT:
            machine.peer_disconnected(B, now=0.0)
        case Input.FORGET if held is Standing.CANDIDATE:
            machine.peer_unreachable(B, now=0.0)
        case Input.FORGET:
            machine.handle_timer(now=7200.0)


@pytest.mark.parametrize("standing", Standing)
@pytest.mark.parametrize("event", Input)
def test_the_machine_does_what_its_table_says(standing, event):
    machine = in_standing(standing)
    happen(machine, event)
    action, following = STANDING_TABLE.step(standing, event)
    assert machine.standing(B) is following
    suggested = [event.peer for event in machine.drain().events]
    assert (suggested == [B]) == (action is Action.SUGGEST)


def test_the_contract_of_time_and_owner():
    machine = connected(0, now=100.0)
    machine.step_back()
    assert machine.deadline_reason == "tick"
    machine.peer_connected(B, None, now=100.0)
    assert machine.deadline() == 100.0
    assert machine.deadline_reason == "output"
    assert_refuses_reentry(machine.machine, lambda: machine.machine.handle_timer(now=200.0), now=100.0)


@pytest.mark.parametrize("seed", range(8))
def test_a_restless_caller_finds_rules_and_bounds_kept(seed):
    """Random calls in random order; the wrapper checks the contract at each of them."""
    rng = random.Random(seed)
    machine = membership(seed=seed, limits=limits_with(view_size=4, connections=6))
    for _ in range(100):
        number = rng.randrange(12)
        peer = PEERS[number].peer_id
        now = machine.now + rng.choice([0.0, 0.3, 2.0, 30.0])
        call = rng.randrange(7)
        if call == 0:
            machine.peer_connected(peer, rng.choice([None, record(number).encoded]), now=now)
        elif call == 1:
            machine.peer_disconnected(peer, now=now)
        elif call == 2:
            machine.peer_unreachable(peer, now=now)
        elif call == 3:
            machine.set_addresses([address(rng.randrange(3))], now=now)
        elif call == 4:
            machine.handle_timer(now=now)
        else:
            others = [record(rng.randrange(12), seq=rng.randrange(4)) for _ in range(3)]
            tell(machine, peer, *others, now=now)
        if rng.random() < 0.6:
            machine.drain()
        assert len(machine.view()) <= 4
