"""Local scores: what they are made of, how they fade, and what they decide."""

from __future__ import annotations

import random

import pytest

from quinkgl.crypto.cose import sign1
from quinkgl.crypto.identity import Identity
from quinkgl.protocol.gossip import Accept, Gossip, OfferOut
from quinkgl.protocol.scores import Band, Deed, Scores
from quinkgl.testing.contract import Checked
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.limits import LIMITS, limits_with
from quinkgl.wire.messages.gossip import UpdateHeader, encode_update_header

A, B, C = (bytes([letter]) * 32 for letter in b"abc")
SWARM = bytes(32)
US, THEM, OTHER = (Identity.from_seed(bytes([number]) * 32) for number in (1, 2, 3))


def scores(**limits):
    return Scores(limits_with(**limits))


@pytest.mark.req("G-047")
def test_good_deeds_add_up_to_a_bound_and_bad_ones_undo_them():
    table = scores()
    for _ in range(100):
        table.note(A, Deed.DELIVERY, now=0.0)
    assert table.points(A, now=0.0) == LIMITS.score_most
    for _ in range(4):
        table.note(A, Deed.INVALID, now=0.0)
    assert table.points(A, now=0.0) == LIMITS.score_most - 40
    assert table.band(A, now=0.0) is Band.LIMITED


@pytest.mark.req("G-048")
@pytest.mark.parametrize(
    ("deeds", "band"),
    [
        ([Deed.INVALID], Band.NORMAL),
        ([Deed.INVALID] * 2, Band.LIMITED),
        ([Deed.INVALID] * 5, Band.REFUSED),
        ([Deed.SLOW] * 19, Band.NORMAL),
        ([Deed.SLOW] * 20, Band.LIMITED),
        ([Deed.TIMEOUT] * 25, Band.REFUSED),
    ],
)
def test_the_bands(deeds, band):
    table = scores()
    for deed in deeds:
        table.note(A, deed, now=0.0)
    assert table.band(A, now=0.0) is band
    assert table.band(B, now=0.0) is Band.NORMAL


@pytest.mark.req("G-047")
def test_half_is_forgotten_in_ten_minutes():
    table = scores()
    table.set_connected(A, True, now=0.0)
    for _ in range(4):
        table.note(A, Deed.INVALID, now=0.0)
    assert table.points(A, now=600.0) == pytest.approx(-20)
    assert table.points(A, now=1200.0) == pytest.approx(-10)
    table.note(A, Deed.INVALID, now=600.0)
    assert table.points(A, now=600.0) == pytest.approx(-30)


@pytest.mark.req("G-047")
def test_a_score_outlives_the_session_by_an_hour():
    table = scores(score_half_life_s=86400.0)
    table.set_connected(A, True, now=0.0)
    for _ in range(5):
        table.note(A, Deed.INVALID, now=0.0)
    table.set_connected(A, False, now=10_000.0)
    assert table.band(A, now=13_600.0) is Band.LIMITED
    table.set_connected(A, True, now=13_600.0)
    assert table.points(A, now=13_600.0) < -40
    table.set_connected(A, False, now=13_600.0)
    assert table.points(A, now=17_201.0) == 0
    table.note(A, Deed.SLOW, now=17_201.0)
    assert table.points(A, now=17_201.0) == -1
    table.set_connected(B, False, now=17_201.0)
    assert len(table) == 1


@pytest.mark.req("G-047")
def test_scores_are_bounded_and_those_who_are_away_are_forgotten_first():
    table = scores(scores=128)
    peers = [number.to_bytes(32, "big") for number in range(130)]
    table.set_connected(peers[0], True, now=0.0)
    for peer in peers:
        table.note(peer, Deed.SLOW, now=0.0)
    assert len(table) == 128
    assert [table.points(peer, now=0.0) for peer in peers[:4]] == [-1, 0, 0, -1]


def test_the_best_are_served_first():
    table = scores()
    table.note(B, Deed.SLOW, now=0.0)
    table.note(C, Deed.DELIVERY, now=0.0)
    assert table.best_first([A, B, C], now=0.0) == [C, A, B]


# In gossip


def gossip(**options):
    machine = Checked(
        Gossip(US, SWARM, rng=random.Random(1), now=0.0, unix_now=1e9, offer_interval_s=0.0, **options)
    )
    for peer in (THEM, OTHER):
        machine.peer_connected(peer.peer_id, now=0.0)
    return machine


def offer(machine, round, *, author=THEM, size=1, good=True, transfer=None):
    root = round.to_bytes(32, "big")
    header = UpdateHeader(SWARM, author.peer_id, round, root, size, 1, 1, 0, bytes(16), 5)
    encoded = sign1(author if good else US, "update", encode_update_header(header))
    machine.object_offered(author.peer_id, transfer or round, root, size, encoded, now=machine.now)
    return machine.drain().of("next_action")[-1]


def points(machine, peer=THEM):
    return machine.scores.points(peer.peer_id, now=machine.now)


def test_what_a_peer_does_is_counted():
    machine = gossip()
    offer(machine, 1)
    machine.object_received(THEM.peer_id, 1, b"x", now=0.0)
    assert points(machine) == 1
    for code, worth in ((ErrorCode.TOO_SLOW, -1), (ErrorCode.E_IDLE, -2), (ErrorCode.E_OBJ_HASH, -10)):
        before = points(machine)
        offer(machine, 2)
        machine.object_failed(THEM.peer_id, 2, code, now=0.0)
        machine.drain()
        assert points(machine) - before == worth
    before = points(machine)
    offer(machine, 2)
    machine.object_failed(THEM.peer_id, 2, ErrorCode.GONE, now=0.0)
    assert points(machine) == before
    offer(machine, 3, good=False)
    with pytest.raises(RemoteProtocolError):
        machine.receive_message(THEM.peer_id, b"", now=0.0)
    assert points(machine) == before - 20


@pytest.mark.req("G-048")
def test_offers_of_the_refused_are_not_looked_at():
    machine = gossip()
    for round in range(1, 6):
        offer(machine, round, good=False)
    refused = offer(machine, 6)
    assert refused.code == ErrorCode.NOT_WANTED
    assert machine.stats.dropped["offer_score"] == 1
    assert isinstance(offer(machine, 6, author=OTHER), Accept)


@pytest.mark.req("G-048")
def test_offers_of_the_limited_leave_half_of_the_room():
    machine = gossip(limits=limits_with(reassembly_global_bytes=1 << 20))
    for round in (1, 2):
        offer(machine, round, good=False)
    assert offer(machine, 3, size=(1 << 19) + 1).code == ErrorCode.E_BUSY
    assert isinstance(offer(machine, 4, size=1 << 19), Accept)
    assert isinstance(offer(machine, 4, author=OTHER, size=1 << 19), Accept)


@pytest.mark.req("G-048")
def test_own_updates_go_to_the_best_first():
    machine = gossip()
    offer(machine, 1, author=OTHER)
    machine.object_received(OTHER.peer_id, 1, b"x", now=0.0)
    machine.drain()
    machine.publish(
        bytes(32),
        1,
        round=1,
        codec=1,
        sample_count=1,
        targets=(THEM.peer_id, OTHER.peer_id),
        now=0.0,
    )
    actions = machine.drain().of("next_action")
    assert [action.peer for action in actions if isinstance(action, OfferOut)] == [
        OTHER.peer_id,
        THEM.peer_id,
    ]
