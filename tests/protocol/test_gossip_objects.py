"""Updates of several objects: all or nothing."""

from __future__ import annotations

import dataclasses
import random

import pytest

from quinkgl.crypto.cose import sign1
from quinkgl.crypto.identity import Identity
from quinkgl.protocol.gossip import Accept, Gossip, UpdateReceived
from quinkgl.testing.contract import Checked
from quinkgl.wire.errors import ErrorCode, LocalProtocolError
from quinkgl.wire.limits import limits_with
from quinkgl.wire.messages.gossip import UpdateHeader, UpdateObject, encode_update_header

SWARM = bytes(32)
US, THEM = (Identity.from_seed(bytes([number]) * 32) for number in (1, 2))
BODY, ONE, TWO = (letter * 32 for letter in (b"b", b"1", b"2"))
SIZES = {BODY: 100, ONE: 200, TWO: 300}


def header(**changes):
    plain = UpdateHeader(
        swarm_id=SWARM,
        author=THEM.peer_id,
        round=1,
        root=BODY,
        size=100,
        codec=1,
        sample_count=1,
        issued=0,
        nonce=bytes(16),
        incarnation=5,
        objects=(UpdateObject(ONE, 200, 1, "one"), UpdateObject(TWO, 300, 2, "two")),
    )
    return dataclasses.replace(plain, **changes)


class Table:
    """A machine that THEM makes offers to; transfers are numbered from 1."""

    def __init__(self, **options):
        gossip = Gossip(
            US, SWARM, rng=random.Random(1), now=0.0, unix_now=1e9, offer_interval_s=10.0, **options
        )
        self.machine = Checked(gossip)
        self.machine.peer_connected(THEM.peer_id, now=0.0)
        self.transfer = 0

    def offer(self, root, update=None, size=None):
        """Offer a part of an update; return what is done about it."""
        update = header() if update is None else update
        self.transfer += 1
        encoded = sign1(THEM, "update", encode_update_header(update))
        size = SIZES.get(root, 1) if size is None else size
        self.machine.object_offered(THEM.peer_id, self.transfer, root, size, encoded, now=0.0)
        return [self.short(action) for action in self.machine.drain().of("next_action")]

    @staticmethod
    def short(action):
        return action.transfer if isinstance(action, Accept) else (action.transfer, ErrorCode(action.code))

    def receive(self, transfer, body=b""):
        self.machine.object_received(THEM.peer_id, transfer, body, now=0.0)
        return self.machine.drain().events

    def fail(self, transfer):
        self.machine.object_failed(THEM.peer_id, transfer, ErrorCode.TOO_SLOW, now=0.0)
        return [self.short(action) for action in self.machine.drain().of("next_action")]


@pytest.mark.req("G-044", "G-045")
@pytest.mark.parametrize("order", [(BODY, ONE, TWO), (TWO, BODY, ONE), (ONE, TWO, BODY)])
def test_an_update_is_handed_on_when_all_of_it_is_there(order):
    table = Table(offer_burst=1)
    for number, root in enumerate(order, 1):
        assert table.offer(root) == [number]
    for number in (3, 1):
        assert table.receive(number, order[number - 1]) == ()
    (event,) = table.receive(2, order[1])
    assert isinstance(event, UpdateReceived)
    assert (bytes(event.body), *map(bytes, event.attachments)) == (BODY, ONE, TWO)
    assert event.header == header()
    assert table.machine.stats.updates_received == 1
    assert table.machine.stats.offers_accepted == 1


@pytest.mark.req("G-044")
def test_parts_may_come_one_after_the_other():
    table = Table(offer_burst=1)
    for number, root in enumerate((BODY, ONE, TWO), 1):
        assert table.offer(root) == [number]
        events = table.receive(number, root)
    assert len(events) == 1


@pytest.mark.req("G-045")
def test_a_part_that_fails_ends_all_of_it():
    table = Table(offer_burst=9)
    for root in (BODY, ONE, TWO):
        table.offer(root)
    assert table.receive(1) == ()
    assert table.fail(2) == [(3, ErrorCode.GONE)]
    assert table.receive(3) == ()
    assert table.machine.stats.dropped == {
        "transfer_too_slow": 1,
        "update_incomplete": 1,
        "transfer_unknown": 1,
    }
    # It may come again.
    for number, root in enumerate((BODY, ONE, TWO), 4):
        assert table.offer(root) == [number]
    assert [len(table.receive(number)) for number in (4, 5, 6)] == [0, 0, 1]


@pytest.mark.req("G-024", "G-045")
def test_a_newer_update_takes_the_place_of_all_of_it():
    table = Table(offer_burst=9)
    for root in (BODY, ONE, TWO):
        table.offer(root)
    table.receive(2)
    newer = header(round=2, root=b"n" * 32, size=1, objects=())
    old = [(transfer, ErrorCode.SUPERSEDED) for transfer in (1, 3)]
    assert table.offer(b"n" * 32, newer) == [*old, 4]
    assert len(table.receive(4)) == 1


@pytest.mark.req("G-023", "G-045")
def test_rounds_that_pass_give_up_all_of_it():
    table = Table(offer_burst=9, limits=limits_with(round_stale=1))
    table.offer(BODY)
    table.offer(ONE)
    table.machine.set_round(2, now=0.0)
    actions = table.machine.drain().of("next_action")
    assert [(action.transfer, action.code) for action in actions] == [
        (1, ErrorCode.E_RND_STALE),
        (2, ErrorCode.E_RND_STALE),
    ]


@pytest.mark.req("G-044")
@pytest.mark.parametrize(("root", "size"), [(BODY, 100), (TWO, 301), (b"x" * 32, 1)])
def test_a_part_counts_once_and_only_as_named(root, size):
    table = Table(offer_burst=9)
    table.offer(BODY)
    assert table.offer(root, size=size) == [(2, ErrorCode.NOT_WANTED)]


@pytest.mark.req("G-015", "G-041", "G-044")
def test_the_parts_together_need_room_and_each_its_size():
    table = Table(offer_burst=9, limits=limits_with(reassembly_global_bytes=1 << 20), max_object_bytes=250)
    assert table.offer(BODY) == [(1, ErrorCode.E_OBJ_SIZE)]
    large = header(objects=(UpdateObject(ONE, 1 << 20, 1, ""),))
    table = Table(offer_burst=9, limits=limits_with(reassembly_global_bytes=1 << 20))
    assert table.offer(BODY, large) == [(1, ErrorCode.E_BUSY)]


@pytest.mark.req("G-013")
def test_an_offer_that_is_no_part_of_the_header_is_refused():
    table = Table(offer_burst=9)
    assert table.offer(b"x" * 32) == [(1, ErrorCode.E_UPD_HEADER)]


@pytest.mark.req("G-043")
def test_further_objects_are_signed_and_bounded():
    machine = Table(max_object_bytes=1000).machine
    options = {"round": 1, "codec": 1, "sample_count": 1, "targets": (), "now": 0.0}
    with pytest.raises(LocalProtocolError):
        machine.publish(BODY, 1, objects=(UpdateObject(ONE, 1001, 1, ""),), **options)
    with pytest.raises(LocalProtocolError):
        machine.publish(BODY, 1, objects=(UpdateObject(BODY, 1, 1, ""),), **options)
    objects = (UpdateObject(ONE, 1000, 1, "variate"),)
    assert machine.publish(BODY, 1, objects=objects, **options).objects == objects


@pytest.mark.req("G-044")
def test_no_part_is_accepted_that_there_may_be_no_room_to_refuse():
    table = Table(limits=limits_with(events=16))
    assert table.offer(BODY) == [1]
    encoded = sign1(THEM, "update", encode_update_header(header()))
    for transfer in range(15):
        table.machine.object_offered(THEM.peer_id, transfer, BODY, SIZES[BODY], encoded, now=0.0)
    table.machine.object_offered(THEM.peer_id, 20, ONE, SIZES[ONE], encoded, now=0.0)
    *duplicates, last = table.machine.drain().of("next_action")
    assert len(duplicates) == 15
    assert table.short(last) == (20, ErrorCode.E_BUSY)
