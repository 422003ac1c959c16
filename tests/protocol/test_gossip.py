"""Gossip: what is signed, what is accepted, what is refused and why."""

from __future__ import annotations

import dataclasses
import itertools
import random

import pytest

from quinkgl.crypto.cose import sign1
from quinkgl.crypto.identity import Identity
from quinkgl.protocol.gossip import (
    Accept,
    EquivocationDetected,
    Gossip,
    OfferOut,
    Refuse,
    UpdateReceived,
)
from quinkgl.protocol.inbox import HEADERS_KEPT, INBOX_TABLE, Inbox, Input
from quinkgl.protocol.scores import Band, Deed
from quinkgl.testing.contract import Checked, assert_refuses_reentry
from quinkgl.wire.cbor import decode_untrusted, encode
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from quinkgl.wire.limits import LIMITS, limits_with
from quinkgl.wire.messages.gossip import UpdateHeader, encode_update_header

SWARM = bytes(range(32))
US, THEM, OTHER = (Identity.from_seed(bytes([number]) * 32) for number in (1, 2, 3))
UNIX = 1_900_000_000.0
FREE = {"offer_interval_s": 0.0}
"""No limit on the rate of offers, for tests of other rules."""


def gossip(identity=US, *, now=0.0, seed=1, unix_now=UNIX, **options):
    machine = Gossip(
        identity, SWARM, rng=random.Random(seed), now=now, unix_now=unix_now, **{**FREE, **options}
    )
    return Checked(machine, now=now)


def listening(**options):
    """A machine that THEM can make offers to."""
    machine = gossip(**options)
    machine.peer_connected(THEM.peer_id, now=machine.now)
    return machine


def root_of(number):
    return number.to_bytes(32, "big")


def header(round=1, *, root=None, author=THEM, **changes):
    fields = {
        "swarm_id": SWARM,
        "author": author.peer_id,
        "round": round,
        "root": root_of(round) if root is None else root,
        "size": 100,
        "codec": 1,
        "sample_count": 64,
        "issued": int(UNIX),
        "nonce": bytes(16),
        "incarnation": 5,
    }
    return UpdateHeader(**{**fields, **changes})


def signed(update, signer=THEM, domain="update"):
    return sign1(signer, domain, encode_update_header(update))


class Offering:
    """Makes the offers of one peer, each under a transfer number of its own."""

    def __init__(self, machine, peer=THEM):
        self.machine, self.peer, self.transfer = machine, peer, 0

    def offer(self, update, encoded=None, **other):
        """Offer an update; return what the machine did about it."""
        self.transfer += 1
        root, size = other.get("root", update.root), other.get("size", update.size)
        encoded = signed(update, self.peer) if encoded is None else encoded
        self.machine.object_offered(
            self.peer.peer_id, self.transfer, root, size, encoded, now=other.get("now", self.machine.now)
        )
        return actions(self.machine)

    def accepted(self, update, **other):
        answer = self.offer(update, **other)
        return answer[-1:] == [Accept(self.peer.peer_id, self.transfer)]

    def code(self, update, encoded=None, **other):
        """Offer an update that is to be refused; return the code."""
        (answer,) = self.offer(update, encoded, **other)
        assert isinstance(answer, Refuse)
        assert (answer.peer, answer.transfer) == (self.peer.peer_id, self.transfer)
        return answer.code

    def receive(self, body=b"body"):
        """Let the body of the last offer arrive; return the events."""
        self.machine.object_received(self.peer.peer_id, self.transfer, body, now=self.machine.now)
        return self.machine.drain().events

    def give(self, update, **other):
        """Offer an update that is accepted and delivered."""
        assert self.accepted(update, **other)
        (event,) = self.receive()
        return event


def actions(machine):
    return machine.drain().of("next_action")


# --- publishing ---


def publish(machine, round=1, targets=(THEM.peer_id,), **changes):
    options = {"root": root_of(round), "size": 100, "codec": 1, "sample_count": 64} | changes
    return machine.publish(
        options.pop("root"), options.pop("size"), round=round, targets=targets, now=machine.now, **options
    )


@pytest.mark.req("G-004")
def test_an_update_is_signed_once_and_offered_to_each_target():
    machine = gossip()
    update = publish(
        machine,
        3,
        (OTHER.peer_id, THEM.peer_id, OTHER.peer_id),
        params={1: 2},
        metadata={5: b"x"},
        base=bytes(32),
    )
    offers = actions(machine)
    assert offers == [
        OfferOut(peer, root_of(3), signed(update, US)) for peer in (OTHER.peer_id, THEM.peer_id)
    ]
    assert (update.swarm_id, update.author, update.issued) == (SWARM, US.peer_id, int(UNIX))
    assert update.incarnation == UNIX * 1000
    assert update.nonce != bytes(16)
    assert machine.stats.offers_sent == 2


def test_issued_follows_the_wall_clock():
    machine = gossip(now=7.0)
    machine.set_unix_time(UNIX + 50, now=10.0)
    machine.handle_timer(now=15.0)
    assert publish(machine).issued == int(UNIX) + 55
    with pytest.raises(LocalProtocolError):
        machine.set_unix_time(-1.0, now=15.0)


@pytest.mark.req("G-001")
@pytest.mark.parametrize(
    "change",
    [
        {"round": 2},
        {"round": 1},
        {"size": 0},
        {"size": LIMITS.object_bytes + 1},
        {"root": b"short"},
        {"codec": 256},
        {"sample_count": -1},
        {"metadata": {1: bytes(300)}},
        {"params": {1: {}}},
        {"base": b""},
        {"targets": (US.peer_id,)},
        {"targets": (b"nobody",)},
    ],
)
def test_what_cannot_be_published_changes_nothing(change):
    machine = gossip()
    publish(machine, 2)
    machine.drain()
    with pytest.raises(LocalProtocolError):
        publish(machine, **{"round": 3, **change})
    assert actions(machine) == []
    assert publish(machine, 3).round == 3


def test_the_largest_header_fits_its_limit():
    machine = gossip(unix_now=4e12)
    for length in range(150, 300):
        try:
            publish(
                machine,
                2**32 - 1,
                root=bytes([255]) * 32,
                size=LIMITS.object_bytes,
                codec=255,
                sample_count=2**53 - 1,
                metadata={1: bytes(length)},
                base=bytes([255]) * 32,
            )
        except LocalProtocolError:
            continue
        (offer,) = actions(machine)
        assert len(offer.header) <= LIMITS.header_bytes
        machine = gossip(unix_now=4e12)
    with pytest.raises(LocalProtocolError):
        publish(machine, metadata={1: bytes(300)})


@pytest.mark.req("G-016")
def test_own_roots_cannot_be_offered_back():
    machine = listening()
    publish(machine, 1)
    actions(machine)
    them = Offering(machine)
    assert them.code(header(root=root_of(1))) is ErrorCode.NOT_WANTED


def test_deliveries_are_counted():
    machine = listening()
    publish(machine, 1)
    machine.object_delivered(THEM.peer_id, root_of(1), now=1.0)
    machine.object_delivered(THEM.peer_id, root_of(2), now=1.0)
    machine.object_delivered(OTHER.peer_id, root_of(1), now=1.0)
    assert machine.stats.updates_delivered == 1
    assert machine.stats.dropped == {"delivery_unknown": 2}


# --- what is believed ---


def test_a_true_offer_is_accepted_and_its_body_delivered():
    them = Offering(listening())
    update = header(params={1: 2}, metadata={3: True})
    event = them.give(update)
    assert isinstance(event, UpdateReceived)
    assert (event.peer, event.header, bytes(event.body)) == (THEM.peer_id, update, b"body")
    assert event.staleness == 0
    assert them.machine.stats.updates_received == them.machine.stats.offers_accepted == 1
    assert them.machine.stats.dropped == {}


FALSE_OFFERS = {
    "offer_malformed": [
        lambda them: them.code(header(), b""),
        lambda them: them.code(header(), encode_update_header(header())),
        lambda them: them.code(header(), sign1(THEM, "update", b"\xa0")),
        lambda them: them.code(header(), signed(header()) + b"\x00"),
        lambda them: them.code(header(), bytes(LIMITS.header_bytes + 1)),
    ],
    "offer_foreign_swarm": [lambda them: them.code(header(swarm_id=bytes(32)))],
    "offer_foreign_author": [
        lambda them: them.code(header(author=OTHER), signed(header(author=OTHER), OTHER)),
        lambda them: them.code(header(author=US), signed(header(author=US), US)),
    ],
    "offer_mismatch": [
        lambda them: them.code(header(), root=bytes(32)),
        lambda them: them.code(header(), size=99),
    ],
    "offer_signature": [
        lambda them: them.code(header(), signed(header(), OTHER)),
        lambda them: them.code(header(), signed(header(), domain="peer-record")),
        lambda them: them.code(header(), forged()),
    ],
}


def forged():
    """A signed header with one bit of its sample count changed."""
    encoded = bytearray(signed(header(sample_count=64)))
    position = encoded.index(encode_update_header(header(sample_count=64)))
    other = encode_update_header(header(sample_count=65))
    encoded[position : position + len(other)] = other
    return bytes(encoded)


@pytest.mark.req("G-010", "G-011", "G-012", "G-013", "G-014")
@pytest.mark.parametrize(
    ("reason", "attempt"),
    [(reason, attempt) for reason, attempts in FALSE_OFFERS.items() for attempt in attempts],
)
def test_a_false_header_is_refused(reason, attempt):
    machine = listening()
    assert attempt(Offering(machine)) is ErrorCode.E_UPD_HEADER
    assert machine.stats.dropped == {reason: 1}
    assert machine.inbox(THEM.peer_id) is Inbox.IDLE


def test_a_header_with_a_later_versions_fields_is_believed():
    fields = decode_untrusted(encode_update_header(header()), max_bytes=512, where="test") | {99: b"grease"}
    machine = listening()
    machine.object_offered(THEM.peer_id, 1, root_of(1), 100, sign1(THEM, "update", encode(fields)), now=0.0)
    assert actions(machine) == [Accept(THEM.peer_id, 1)]


def test_a_stranger_is_refused():
    machine = gossip()
    assert Offering(machine).code(header()) is ErrorCode.NOT_WANTED
    machine.peer_connected(THEM.peer_id, now=0.0)
    assert machine.peer_disconnected(THEM.peer_id, now=0.0)
    assert Offering(machine).code(header()) is ErrorCode.NOT_WANTED
    assert machine.stats.dropped == {"not_connected": 2}


@pytest.mark.req("G-015")
def test_size_is_limited():
    machine = listening(max_object_bytes=1000)
    them = Offering(machine)
    assert them.code(header(size=1001)) is ErrorCode.E_OBJ_SIZE
    assert them.accepted(header(2, size=1000))


# --- the round window ---


@pytest.mark.req("G-020")
def test_a_round_must_be_above_the_last_one_received():
    them = Offering(listening())
    them.give(header(10))
    for round in (9, 1, 0):
        assert them.code(header(round, root=root_of(100 + round))) is ErrorCode.E_RND_REPLAY
    assert them.machine.stats.dropped == {"offer_replay": 3}
    them.give(header(11))


@pytest.mark.req("G-003")
def test_the_wall_clock_of_an_author_decides_nothing():
    them = Offering(listening())
    for round, issued in enumerate((int(UNIX), 0, 2**53 - 1, int(UNIX) - 10**8), start=10):
        assert them.give(header(round, issued=issued)).header.issued == issued


@pytest.mark.req("G-016")
def test_the_same_update_again_is_a_duplicate():
    them = Offering(listening())
    update = header(10)
    them.give(update)
    assert them.code(update) is ErrorCode.NOT_WANTED
    assert them.machine.stats.dropped == {"offer_duplicate": 1}


@pytest.mark.req("G-022")
def test_a_round_may_not_run_ahead_of_its_authors_pace():
    them = Offering(listening())
    them.give(header(10))
    assert them.code(header(27)) is ErrorCode.E_RND_AHEAD
    assert them.code(header(2**32 - 1)) is ErrorCode.E_RND_AHEAD
    assert them.machine.stats.dropped == {"offer_ahead": 2}
    them.give(header(26))  # a counter that ran away was not followed
    assert them.code(header(26 + 17)) is ErrorCode.E_RND_AHEAD


@pytest.mark.req("G-022")
def test_pace_is_measured_in_our_rounds_and_in_seconds():
    for rounds, seconds in ((1, 0.0), (0, 1.0), (3, 4.0)):
        them = Offering(listening())
        them.give(header(10))
        them.machine.set_round(rounds, now=seconds)
        most = 10 + LIMITS.round_ahead * (1 + rounds + int(seconds))
        assert them.code(header(most + 1)) is ErrorCode.E_RND_AHEAD
        assert them.accepted(header(most))


@pytest.mark.req("G-020", "G-022")
def test_a_node_that_was_away_meets_any_counter():
    """Neither we nor the author are locked out after an absence, whichever counter is behind."""
    them = Offering(listening())
    them.machine.set_round(500, now=0.0)
    them.give(header(10))  # it was away; we are far ahead
    them.machine.set_round(900, now=0.0)
    them.give(header(11))
    them.machine.peer_disconnected(THEM.peer_id, now=0.0)
    them.machine.peer_connected(THEM.peer_id, now=0.0)
    them.give(header(100_000))  # we were away; it is far ahead
    assert them.code(header(200_000)) is ErrorCode.E_RND_AHEAD  # but not within a session
    them.machine.peer_disconnected(THEM.peer_id, now=0.0)
    them.machine.peer_connected(THEM.peer_id, now=0.0)
    assert them.code(header(99_999)) is ErrorCode.E_RND_REPLAY


@pytest.mark.req("G-021")
def test_a_slow_author_is_never_stale_by_our_counter():
    them = Offering(listening())
    for round in range(5):
        them.machine.set_round(round * 100, now=0.0)
        assert them.give(header(round)).staleness == 0


@pytest.mark.req("G-020")
def test_a_restarted_author_begins_anew_with_a_higher_incarnation():
    them = Offering(listening())
    them.give(header(400))
    them.give(header(1, incarnation=6))
    assert them.code(header(401)) is ErrorCode.E_RND_REPLAY
    them.give(header(2, incarnation=6))


@pytest.mark.req("G-020")
def test_an_older_incarnation_is_refused_even_if_nothing_of_the_newer_was_received():
    them = Offering(listening())
    assert them.accepted(header(1, incarnation=6))
    them.machine.object_failed(THEM.peer_id, them.transfer, ErrorCode.GONE, now=0.0)
    assert them.code(header(400)) is ErrorCode.E_RND_REPLAY


@pytest.mark.req("G-021", "G-023")
def test_an_update_that_its_author_has_left_behind_is_stale():
    them = Offering(listening())
    assert them.accepted(header(10))
    them.machine.object_failed(THEM.peer_id, them.transfer, ErrorCode.TOO_SLOW, now=0.0)
    assert them.code(header(10 - LIMITS.round_stale - 1)) is ErrorCode.E_RND_STALE
    assert them.give(header(10 - LIMITS.round_stale)).staleness == LIMITS.round_stale
    assert them.machine.stats.dropped == {"transfer_too_slow": 1, "offer_stale": 1}


@pytest.mark.req("G-023")
def test_a_body_that_takes_too_many_of_our_rounds_is_given_up():
    them = Offering(listening())
    them.machine.set_round(5, now=0.0)
    assert them.accepted(header(10))
    them.machine.set_round(5 + LIMITS.round_stale, now=0.0)
    assert actions(them.machine) == []
    them.machine.set_round(6 + LIMITS.round_stale, now=0.0)
    assert actions(them.machine) == [Refuse(THEM.peer_id, them.transfer, ErrorCode.E_RND_STALE)]
    assert them.receive() == ()
    assert them.machine.stats.dropped == {"transfer_stale": 1, "transfer_unknown": 1}
    them.give(header(11))


@pytest.mark.req("G-023")
def test_staleness_counts_rounds_of_both():
    machine = listening(limits=limits_with(reassembly_global_bytes=16384))
    them = Offering(machine)
    assert them.accepted(header(10))
    first = them.transfer
    assert them.code(header(13, size=16385)) is ErrorCode.E_BUSY
    machine.set_round(2, now=0.0)
    machine.object_received(THEM.peer_id, first, b"body", now=0.0)
    (event,) = machine.drain().events
    assert event.staleness == 3 + 2


def test_rounds_of_another_incarnation_do_not_count_as_staleness():
    machine = listening(limits=limits_with(reassembly_global_bytes=16384))
    them = Offering(machine)
    assert them.accepted(header(10))
    first = them.transfer
    assert them.code(header(500, incarnation=6, size=16385)) is ErrorCode.E_BUSY
    machine.set_round(2, now=0.0)
    machine.object_received(THEM.peer_id, first, b"body", now=0.0)
    (event,) = machine.drain().events
    assert event.staleness == 2


@pytest.mark.req("G-023")
def test_a_body_that_is_too_stale_on_arrival_is_dropped():
    machine = listening(limits=limits_with(reassembly_global_bytes=16384))
    them = Offering(machine)
    assert them.accepted(header(10))
    first = them.transfer
    assert them.code(header(10 + LIMITS.round_stale + 1, size=16385)) is ErrorCode.E_BUSY
    machine.object_received(THEM.peer_id, first, b"body", now=0.0)
    assert machine.drain().events == ()
    assert machine.stats.dropped == {"offer_busy": 1, "transfer_stale": 1}


def test_our_own_round_never_goes_back():
    machine = gossip()
    machine.set_round(5, now=0.0)
    machine.set_round(5, now=0.0)
    with pytest.raises(LocalProtocolError):
        machine.set_round(4, now=0.0)
    assert machine.round == 5


# --- one body at a time, the newest wins ---


@pytest.mark.req("G-024")
def test_the_newest_update_supersedes_the_one_on_the_way():
    them = Offering(listening())
    assert them.accepted(header(10))
    assert them.offer(header(11)) == [
        Refuse(THEM.peer_id, 1, ErrorCode.SUPERSEDED),
        Accept(THEM.peer_id, 2),
    ]
    (event,) = them.receive()
    assert event.header.round == 11


@pytest.mark.req("G-025")
def test_an_older_update_does_not_supersede():
    them = Offering(listening())
    assert them.accepted(header(10))
    assert them.code(header(9)) is ErrorCode.SUPERSEDED
    assert them.code(header(10)) is ErrorCode.NOT_WANTED
    assert them.code(header(10, nonce=bytes([1]) * 16)) is ErrorCode.NOT_WANTED  # the same, signed again
    assert them.machine.inbox(THEM.peer_id) is Inbox.WANTED


@pytest.mark.req("G-026")
def test_a_failed_update_may_be_offered_again():
    them = Offering(listening())
    assert them.accepted(header(10))
    them.machine.object_failed(THEM.peer_id, 99, ErrorCode.GONE, now=0.0)
    assert them.machine.inbox(THEM.peer_id) is Inbox.WANTED
    them.machine.object_failed(THEM.peer_id, them.transfer, ErrorCode.GONE, now=0.0)
    them.machine.object_failed(OTHER.peer_id, them.transfer, ErrorCode.GONE, now=0.0)
    assert them.machine.stats.dropped == {"transfer_failed": 1}
    them.give(header(10))


def test_a_body_that_nobody_asked_for_is_dropped():
    machine = listening()
    them = Offering(machine)
    assert them.receive() == ()
    machine.object_received(OTHER.peer_id, 1, b"body", now=0.0)
    assert machine.stats.dropped == {"transfer_unknown": 2}


@pytest.mark.req("G-026")
def test_a_session_that_ends_takes_its_transfer_with_it():
    them = Offering(listening())
    assert them.accepted(header(10))
    them.machine.peer_disconnected(THEM.peer_id, now=0.0)
    assert not them.machine.peer_disconnected(THEM.peer_id, now=0.0)
    assert them.receive() == ()
    them.machine.peer_connected(THEM.peer_id, now=0.0)
    them.give(header(10))


# --- bounds ---


@pytest.mark.req("G-040")
def test_the_rate_of_offers_is_limited_before_anything_is_verified():
    machine = listening(offer_interval_s=2.0, offer_burst=3)
    them = Offering(machine)
    for round in (1, 2, 3):
        assert them.accepted(header(round))
    assert them.code(header(4), b"not even a header") is ErrorCode.E_RND_RATE
    assert them.code(header(4), now=1.9) is ErrorCode.E_RND_RATE
    assert them.accepted(header(4), now=2.0)
    machine.peer_disconnected(THEM.peer_id, now=2.0)
    machine.peer_connected(THEM.peer_id, now=2.0)
    assert them.code(header(5)) is ErrorCode.E_RND_RATE  # a new session is no new bucket


def several(count, **limits):
    """A machine and the offers of so many connected peers."""
    machine = gossip(limits=limits_with(**limits))
    offers = [Offering(machine, Identity.from_seed(bytes([number]) * 32)) for number in range(10, 10 + count)]
    for them in offers:
        machine.peer_connected(them.peer.peer_id, now=0.0)
    return machine, offers


@pytest.mark.req("G-041", "W-040")
def test_bodies_on_the_way_are_bounded_in_number():
    machine, (one, two, three) = several(3, transfers_global=2)
    assert one.accepted(header(1, author=one.peer, root=root_of(1)))
    assert two.accepted(header(1, author=two.peer, root=root_of(2)))
    assert three.code(header(1, author=three.peer, root=root_of(3))) is ErrorCode.E_BUSY
    assert one.accepted(header(2, author=one.peer, root=root_of(4)))  # in place of its own
    assert machine.stats.dropped == {"offer_busy": 1, "offer_superseded": 1}


@pytest.mark.req("G-041", "G-048")
def test_who_behaved_badly_is_served_while_half_of_the_places_are_free():
    machine, offers = several(5, transfers_global=8)
    *others, bad = offers
    for _ in range(2):
        machine.scores.note(bad.peer.peer_id, Deed.INVALID, now=0.0)
    assert machine.scores.band(bad.peer.peer_id, now=0.0) is Band.LIMITED
    for number, them in enumerate(others):
        assert them.accepted(header(1, author=them.peer, root=root_of(number)))
        taken = bad.accepted(header(number + 1, author=bad.peer, root=root_of(10 + number)))
        assert taken is (number < 3)
    assert machine.stats.dropped == {"offer_superseded": 2, "offer_busy": 1}


@pytest.mark.req("G-041")
def test_bodies_on_the_way_are_bounded_in_bytes():
    machine, (one, two) = several(2, reassembly_global_bytes=16384)
    assert one.accepted(header(1, author=one.peer, root=root_of(1), size=16000))
    assert two.code(header(1, author=two.peer, root=root_of(2), size=385)) is ErrorCode.E_BUSY
    assert two.accepted(header(2, author=two.peer, root=root_of(3), size=384))
    assert one.accepted(header(2, author=one.peer, root=root_of(4), size=16000))  # in place of its own
    assert machine.stats.dropped == {"offer_busy": 1, "offer_superseded": 1}


def test_the_action_queue_is_bounded():
    machine = listening(limits=limits_with(events=16))
    for transfer in range(30):
        update = header(transfer + 1)
        machine.object_offered(THEM.peer_id, transfer, update.root, 100, signed(update), now=0.0)
    given = actions(machine)
    assert len(given) == 16
    assert machine.stats.dropped["action_queue_full"] > 0
    accepted = [action.transfer for action in given if isinstance(action, Accept)]
    refused = [action.transfer for action in given if isinstance(action, Refuse)]
    pending = [transfer for transfer in accepted if transfer not in refused]
    assert len(pending) == 1  # nothing was accepted that the carrier did not hear of


@pytest.mark.req("G-016")
def test_seen_roots_are_bounded_first_in_first_out():
    them = Offering(listening(limits=limits_with(seen_roots=3)))
    for round in range(1, 6):
        them.give(header(round))
    assert them.code(header(6, root=root_of(3))) is ErrorCode.NOT_WANTED
    them.give(header(7, root=root_of(1)))


@pytest.mark.req("G-042")
def test_authors_are_bounded_and_the_present_are_kept():
    limits = limits_with(authors=128, connections=100)
    machine = gossip(limits=limits)
    names = [number.to_bytes(32, "big") for number in range(1, 301)]
    for name in names[:100]:
        assert machine.peer_connected(name, now=0.0)
    assert not machine.peer_connected(names[100], now=0.0)
    assert machine.stats.dropped == {"peers_full": 1}
    machine.peer_disconnected(names[0], now=0.0)
    for name in names[100:]:
        assert machine.peer_connected(name, now=0.0)
        machine.peer_disconnected(name, now=0.0)
    assert machine.occupancy()["authors"] == (128, 128)
    assert not machine.peer_connected(names[1], now=0.0)


def test_a_peer_is_another_key_and_connects_once():
    machine = listening()
    assert not machine.peer_connected(THEM.peer_id, now=0.0)
    for peer in (US.peer_id, b""):
        with pytest.raises(LocalProtocolError):
            machine.peer_connected(peer, now=0.0)


# --- equivocation ---


@pytest.mark.req("G-030", "G-031")
def test_two_updates_for_one_round_convict_their_author():
    machine = listening()
    them = Offering(machine)
    one, two = header(10), header(10, root=root_of(11))
    assert them.accepted(one)
    them.transfer += 1
    machine.object_offered(THEM.peer_id, them.transfer, two.root, 100, signed(two), now=0.0)
    drained = machine.drain()
    assert drained.of("next_action") == [
        Refuse(THEM.peer_id, 1, ErrorCode.E_EQUIVOCATION),
        Refuse(THEM.peer_id, 2, ErrorCode.E_EQUIVOCATION),
    ]
    assert drained.events == (EquivocationDetected(THEM.peer_id, 10, signed(one), signed(two)),)
    assert machine.inbox(THEM.peer_id) is Inbox.BARRED
    assert them.code(header(11)) is ErrorCode.E_EQUIVOCATION
    machine.peer_disconnected(THEM.peer_id, now=0.0)
    machine.peer_connected(THEM.peer_id, now=0.0)
    assert them.code(header(1, incarnation=9)) is ErrorCode.E_EQUIVOCATION
    assert machine.stats.dropped == {"offer_equivocation": 2, "offer_barred": 2}


@pytest.mark.req("G-030")
def test_a_refused_header_is_evidence_too():
    them = Offering(listening(max_object_bytes=1000))
    assert them.code(header(10, size=2000)) is ErrorCode.E_OBJ_SIZE
    assert them.code(header(10, root=root_of(11))) is ErrorCode.E_EQUIVOCATION


@pytest.mark.req("G-030")
def test_one_round_in_two_incarnations_is_no_equivocation():
    them = Offering(listening())
    them.give(header(10))
    them.give(header(10, root=root_of(11), incarnation=6))
    assert them.machine.inbox(THEM.peer_id) is not Inbox.BARRED


@pytest.mark.req("G-030")
def test_only_headers_that_their_author_signed_convict():
    them = Offering(listening())
    assert them.accepted(header(10))
    other = header(10, root=root_of(11))
    assert them.code(other, signed(other, OTHER)) is ErrorCode.E_UPD_HEADER
    assert them.machine.inbox(THEM.peer_id) is Inbox.WANTED


@pytest.mark.req("G-032")
def test_evidence_is_bounded():
    them = Offering(listening())
    for round in range(1, HEADERS_KEPT + 2):
        them.give(header(round))
    assert them.code(header(1, root=root_of(99))) is ErrorCode.E_RND_REPLAY
    assert them.code(header(2, root=root_of(98))) is ErrorCode.E_EQUIVOCATION


# --- a later life ---


def later_life(machine, **options):
    state = decode_untrusted(
        encode(list(machine.state().values())), max_bytes=1 << 20, where="state", max_items=100_000
    )
    incarnation, authors, seen, barred = state
    successor = gossip(**options)
    successor.restore(
        {"incarnation": incarnation, "authors": authors, "seen": seen, "barred": barred}, now=successor.now
    )
    return successor


@pytest.mark.req("G-031", "G-042", "G-050")
def test_a_later_life_remembers_rounds_roots_and_the_barred():
    machine = listening()
    machine.peer_connected(OTHER.peer_id, now=0.0)
    them, other = Offering(machine), Offering(machine, OTHER)
    them.give(header(10))
    assert other.accepted(header(7, author=OTHER))
    other.offer(header(7, author=OTHER, root=root_of(70)))
    assert machine.inbox(OTHER.peer_id) is Inbox.BARRED

    successor = later_life(machine)
    assert successor.inbox(OTHER.peer_id) is Inbox.BARRED
    assert successor.state()["authors"] == machine.state()["authors"]
    for peer in (THEM, OTHER):
        successor.peer_connected(peer.peer_id, now=0.0)
    them, other = Offering(successor), Offering(successor, OTHER)
    assert them.code(header(9)) is ErrorCode.E_RND_REPLAY
    assert them.code(header(11, root=root_of(10))) is ErrorCode.NOT_WANTED
    assert other.code(header(8, author=OTHER)) is ErrorCode.E_EQUIVOCATION
    them.give(header(1000))


@pytest.mark.req("G-001", "G-002")
def test_a_later_life_is_a_higher_incarnation_whatever_the_clock_says():
    machine = gossip(unix_now=UNIX)
    first = publish(machine, 50).incarnation
    for unix_now in (UNIX, UNIX - 1000, UNIX + 1000):
        again = publish(later_life(machine, unix_now=unix_now), 1).incarnation
        assert again > first


def refused(machine, root, code=ErrorCode.E_RND_REPLAY, by=THEM):
    machine.object_refused(by.peer_id, root, code, now=machine.now)


@pytest.mark.req("G-002", "G-008")
def test_an_author_that_lost_its_state_and_its_time_rises_above_its_earlier_life():
    """Each refusal of a new update takes it higher, by more each time, and five times at the most."""
    machine = gossip()
    for peer in (THEM, OTHER):
        machine.peer_connected(peer.peer_id, now=machine.now)
    incarnations = [publish(machine, 1).incarnation]
    for round in range(2, 10):
        refused(machine, root_of(round - 1))
        refused(machine, root_of(round - 1), by=OTHER)  # the same update, and so the same reason
        incarnations.append(publish(machine, round).incarnation)
        assert machine.state()["incarnation"] == incarnations[-1]
    grown = [after - before for before, after in itertools.pairwise(incarnations)]
    for number, step in enumerate(grown[:5]):
        least = 2**22 * 16**number
        assert least <= step < 2 * least
    assert grown[5:] == [0, 0, 0]


@pytest.mark.req("G-008")
def test_no_two_lives_rise_by_the_same():
    """They may have begun at one wrong time, and one header for two updates would convict their author."""
    rises = []
    for seed in range(3):
        machine = listening(seed=seed)
        publish(machine, 1)
        refused(machine, root_of(1))
        rises.append(publish(machine, 2).incarnation)
    assert len(set(rises)) == len(rises)


@pytest.mark.req("G-008")
@pytest.mark.parametrize(
    ("root", "code"),
    [
        (root_of(1), ErrorCode.E_RND_REPLAY),  # not the newest
        (root_of(2), ErrorCode.E_RND_STALE),
        (root_of(2), ErrorCode.NOT_WANTED),
        (root_of(2), ErrorCode.E_IDLE),
        (root_of(9), ErrorCode.E_RND_REPLAY),  # nobody's
    ],
)
def test_an_incarnation_stays_for_any_other_refusal(root, code):
    machine = listening()
    before = [publish(machine, round).incarnation for round in (1, 2)]
    refused(machine, root, code)
    assert {*before, publish(machine, 3).incarnation} == {UNIX * 1000}


@pytest.mark.req("G-008")
def test_a_stranger_refuses_nothing():
    machine = gossip()
    before = publish(machine, 1).incarnation
    refused(machine, root_of(1))
    assert publish(machine, 2).incarnation == before


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"incarnation": "x", "authors": [], "seen": [], "barred": []},
        {"incarnation": -1, "authors": [], "seen": [], "barred": []},
        {"incarnation": 1, "authors": [[b"k" * 32, 1]], "seen": [], "barred": []},
        {"incarnation": 1, "authors": [[b"k" * 31, 1, 1]], "seen": [], "barred": []},
        {"incarnation": 1, "authors": [[b"k" * 32, 1, None]], "seen": [], "barred": []},
        {"incarnation": 1, "authors": [], "seen": [7], "barred": []},
        {"incarnation": 1, "authors": [], "seen": None, "barred": []},
        {"incarnation": 1, "authors": [], "seen": [], "barred": ["x" * 32]},
    ],
)
def test_a_state_of_another_form_is_refused(state):
    with pytest.raises(LocalProtocolError):
        gossip().restore(state, now=0.0)


def test_a_state_is_restored_into_a_new_machine_only():
    with pytest.raises(LocalProtocolError):
        listening().restore(gossip().state(), now=0.0)


def test_a_later_life_forgets_the_oldest_when_it_has_less_room():
    machine = gossip()
    names = [number.to_bytes(32, "big") for number in range(1, 201)]
    state = {"incarnation": 1, "authors": [[name, 1, 1] for name in names], "seen": names, "barred": names}
    machine = gossip(limits=limits_with(authors=128, connections=10, seen_roots=5, equivocation_proofs=7))
    machine.restore(state, now=0.0)
    kept = machine.state()
    assert [key for key, _, _ in kept["authors"]] == names[-128:]
    assert kept["seen"] == names[-5:]
    assert kept["barred"] == [[name] for name in names[-7:]]


# --- the machine ---


def in_state(state):
    machine = listening()
    them = Offering(machine)
    if state is not Inbox.IDLE:
        assert them.accepted(header(10))
    if state is Inbox.BARRED:
        them.offer(header(10, root=root_of(11)))
    assert machine.inbox(THEM.peer_id) is state
    machine.drain()
    return them


def happen(them, event):
    """Make an event of the table happen through the machine's interface."""
    machine, peer = them.machine, THEM.peer_id
    match event:
        case Input.OFFER:
            them.offer(header(12))
        case Input.RECEIVED:
            machine.object_received(peer, them.transfer, b"body", now=0.0)
        case Input.FAILED:
            machine.object_failed(peer, them.transfer, ErrorCode.GONE, now=0.0)
        case Input.STALE:
            machine.set_round(LIMITS.round_stale + 1, now=0.0)
        case Input.LEFT:
            machine.peer_disconnected(peer, now=0.0)
        case Input.PROOF:
            them.offer(header(11))
            them.offer(header(11, root=root_of(99)))


@pytest.mark.parametrize("state", Inbox)
@pytest.mark.parametrize("event", Input)
def test_the_machine_does_what_its_table_says(state, event):
    them = in_state(state)
    happen(them, event)
    assert them.machine.inbox(THEM.peer_id) is INBOX_TABLE.step(state, event).next


@pytest.mark.req("G-006")
def test_the_gossip_channel_has_no_messages_yet():
    machine = listening()
    machine.receive_message(THEM.peer_id, encode({0: 64}), now=0.0)
    machine.receive_message(OTHER.peer_id, encode({0: 1}), now=0.0)
    for data in (b"", encode({0: 1})):
        with pytest.raises(RemoteProtocolError):
            machine.receive_message(THEM.peer_id, data, now=0.0)
    assert machine.stats.dropped == {"unknown_kind": 1, "not_connected": 1, "malformed": 2}
    assert machine.next_message(0.0) is None


def test_the_contract_of_time_and_owner():
    machine = listening(now=50.0)
    machine.step_back()
    assert machine.deadline() is None
    assert machine.deadline_reason == ""
    publish(machine)
    assert machine.deadline() == 50.0
    assert machine.deadline_reason == "output"
    assert_refuses_reentry(machine.machine, lambda: machine.machine.set_round(1, now=50.0), now=50.0)


def test_runs_are_identical():
    def run():
        machine = listening(seed=9)
        publish(machine, 1)
        return dataclasses.astuple(publish(machine, 2)), actions(machine)

    assert run() == run()
