"""Proofs of equivocation: who is convicted, who is told, and what a false proof costs."""

from __future__ import annotations

import dataclasses
import random

import pytest

from quinkgl.crypto.cose import sign1
from quinkgl.crypto.identity import Identity
from quinkgl.protocol.gossip import EquivocationDetected, Gossip
from quinkgl.protocol.inbox import Inbox
from quinkgl.testing.contract import Checked
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from quinkgl.wire.limits import LIMITS, limits_with
from quinkgl.wire.messages.gossip import (
    Proof,
    UpdateHeader,
    decode_gossip_message_untrusted,
    encode_gossip_message,
    encode_update_header,
)

SWARM = bytes(range(32))
US, LIAR, FRIEND, OTHER = (Identity.from_seed(bytes([number]) * 32) for number in (1, 2, 3, 4))


def header(**changes):
    plain = UpdateHeader(
        swarm_id=SWARM,
        author=LIAR.peer_id,
        round=7,
        root=bytes(32),
        size=100,
        codec=1,
        sample_count=1,
        issued=0,
        nonce=bytes(16),
        incarnation=5,
    )
    return dataclasses.replace(plain, **changes)


def signed(signer=LIAR, **changes):
    return sign1(signer, "update", encode_update_header(header(**changes)))


def proof(signer=LIAR, **changes):
    return Proof(signed(signer, **changes), signed(signer, **{"root": bytes([1]) * 32, **changes}))


def gossip(*peers, limits=LIMITS, state=None):
    machine = Checked(
        Gossip(US, SWARM, rng=random.Random(1), now=0.0, unix_now=1e9, offer_interval_s=0.0, limits=limits)
    )
    if state is not None:
        machine.restore(state, now=0.0)
    for peer in peers:
        machine.peer_connected(peer.peer_id, now=0.0)
    return machine


def tell(machine, told, peer=FRIEND):
    machine.receive_message(peer.peer_id, encode_gossip_message(told), now=machine.now)


def said(machine):
    return [
        (peer, decode_gossip_message_untrusted(data)) for peer, data in machine.drain().of("next_message")
    ]


@pytest.mark.req("G-033")
def test_two_headers_are_told_to_all_neighbours_but_their_author():
    machine = gossip(LIAR, FRIEND, OTHER)
    for transfer, root in enumerate((bytes(32), bytes([1]) * 32)):
        machine.object_offered(LIAR.peer_id, transfer, root, 100, signed(root=root), now=0.0)
    assert said(machine) == [(peer.peer_id, proof()) for peer in (FRIEND, OTHER)]


@pytest.mark.req("G-033", "G-034", "G-036")
def test_a_proof_convicts_and_is_told_on_once():
    machine = gossip(LIAR, FRIEND, OTHER)
    tell(machine, proof())
    drained = machine.drain()
    (event,) = drained.events
    assert event == EquivocationDetected(LIAR.peer_id, 7, *dataclasses.astuple(proof()))
    assert [peer for peer, _ in drained.of("next_message")] == [OTHER.peer_id]
    assert machine.inbox(LIAR.peer_id) is Inbox.BARRED
    tell(machine, proof(), peer=OTHER)
    assert machine.drain().events == ()
    assert machine.stats.dropped["proof_known"] == 1


@pytest.mark.req("G-031", "G-034")
def test_a_proof_about_somebody_who_was_never_met():
    machine = gossip(FRIEND)
    tell(machine, proof())
    machine.drain()
    machine.peer_connected(LIAR.peer_id, now=0.0)
    assert machine.inbox(LIAR.peer_id) is Inbox.BARRED
    machine.object_offered(LIAR.peer_id, 1, bytes(32), 100, signed(round=8), now=0.0)
    (refused,) = machine.drain().of("next_action")
    assert refused.code == ErrorCode.E_EQUIVOCATION


@pytest.mark.req("G-031", "G-033", "G-037")
def test_a_proof_survives_a_restart_and_is_told_to_new_neighbours():
    machine = gossip(FRIEND)
    tell(machine, proof())
    later = gossip(state=machine.state())
    assert later.inbox(LIAR.peer_id) is Inbox.BARRED
    assert later.state()["barred"] == [[LIAR.peer_id, proof().first, proof().second]]
    later.peer_connected(LIAR.peer_id, now=0.0)
    assert said(later) == []
    later.peer_connected(OTHER.peer_id, now=0.0)
    assert said(later) == [(OTHER.peer_id, proof())]


FALSE = {
    "one root": Proof(signed(), signed(nonce=bytes([1]) * 16)),
    "two rounds": Proof(signed(), signed(round=8, root=bytes([1]) * 32)),
    "two incarnations": Proof(signed(), signed(incarnation=6, root=bytes([1]) * 32)),
    "two authors": Proof(signed(), signed(OTHER, author=OTHER.peer_id, root=bytes([1]) * 32)),
    "another swarm": proof(swarm_id=bytes(32)),
    "another's signature": proof(OTHER),
    "one signature": Proof(signed(), signed(OTHER, root=bytes([1]) * 32)),
    "no header": Proof(b"x", signed()),
}


@pytest.mark.req("G-034")
@pytest.mark.parametrize("false", FALSE.values(), ids=FALSE.keys())
def test_a_proof_that_proves_nothing_is_counted_against_its_sender(false):
    machine = gossip(FRIEND, OTHER)
    with pytest.raises(RemoteProtocolError):
        tell(machine, false)
    assert machine.stats.dropped == {"proof_false": 1}
    assert machine.inbox(LIAR.peer_id) is Inbox.IDLE
    assert said(machine) == []


@pytest.mark.req("G-033", "H-002")
def test_a_proof_that_was_not_sent_by_the_end_of_a_session_is_told_in_the_next_one():
    machine = gossip(FRIEND, OTHER)
    tell(machine, proof())
    machine.peer_disconnected(OTHER.peer_id, now=0.0)
    assert said(machine) == []
    machine.peer_connected(OTHER.peer_id, now=0.0)
    assert said(machine) == [(OTHER.peer_id, proof())]


@pytest.mark.req("G-035")
def test_a_proof_about_ourselves_convicts_nobody():
    machine = gossip(FRIEND, OTHER)
    tell(machine, proof(US, author=US.peer_id))
    assert machine.stats.dropped == {"proof_about_us": 1}
    assert said(machine) == []


@pytest.mark.req("G-036")
def test_proofs_in_a_flood_are_not_looked_at():
    machine = gossip(FRIEND, limits=limits_with(proofs_burst=2))
    for _ in range(3):
        tell(machine, proof(US, author=US.peer_id))
    assert machine.stats.dropped == {"proof_about_us": 2, "proof_rate": 1}


@pytest.mark.req("G-031")
def test_convicts_are_bounded():
    machine = gossip(FRIEND, limits=limits_with(equivocation_proofs=1))
    tell(machine, proof())
    tell(machine, proof(OTHER, author=OTHER.peer_id))
    assert machine.inbox(OTHER.peer_id) is Inbox.BARRED
    assert [convict[0] for convict in machine.state()["barred"]] == [OTHER.peer_id]


@pytest.mark.parametrize("convict", [[b"x"], [bytes(32), b"x"], [bytes(32), b"x", 1], [bytes(32), b"", b""]])
def test_a_saved_convict_of_another_form_is_refused(convict):
    state = {"incarnation": 1, "authors": [], "seen": [], "barred": [convict]}
    with pytest.raises(LocalProtocolError):
        gossip(state=state)


def test_a_proof_is_at_most_eleven_hundred_bytes():
    largest = encode_gossip_message(Proof(bytes(LIMITS.header_bytes), bytes(LIMITS.header_bytes)))
    assert len(largest) <= 1100
    assert decode_gossip_message_untrusted(largest) is not None
    with pytest.raises(LocalProtocolError):
        encode_gossip_message(Proof(bytes(LIMITS.header_bytes + 1), b"x"))
