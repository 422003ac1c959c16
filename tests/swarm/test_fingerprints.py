"""Members of a swarm show each other fingerprints over real sessions."""

from __future__ import annotations

import pytest

from quinkgl.swarm import FingerprintNotReceived, FingerprintReceived
from quinkgl.testing.network import Link
from quinkgl.testing.swarms import SwarmNetwork
from quinkgl.wire.errors import ErrorCode, LocalProtocolError
from quinkgl.wire.limits import LIMITS

BODY = bytes(range(256)) * 16


def pair(link=None):
    swarms = SwarmNetwork(1, link)
    swarms.mesh(2)
    return swarms, swarms.members[0], swarms.members[1], swarms.identity(1).peer_id


def answers(node):
    return [e for e in node.events if isinstance(e, (FingerprintReceived, FingerprintNotReceived))]


def test_a_fingerprint_of_the_largest_size_crosses_a_lossy_path():
    swarms, asker, shower, peer = pair(Link(loss=0.1))
    assert len(BODY) == LIMITS.fingerprint_bytes
    shower.machine.set_fingerprint(BODY, 3, now=swarms.network.now)
    assert asker.machine.request_fingerprint(peer, now=swarms.network.now)
    assert not asker.machine.request_fingerprint(peer, now=swarms.network.now)
    swarms.network.run(lambda: bool(answers(asker)), limit_s=10)
    assert answers(asker) == [FingerprintReceived(peer, BODY, 3)]


@pytest.mark.req("N-012", "N-023")
def test_who_shows_none_says_why():
    swarms, asker, shower, peer = pair()
    asker.machine.request_fingerprint(peer, now=swarms.network.now)
    swarms.network.run(lambda: len(answers(asker)) == 1, limit_s=1)
    shower.machine.withhold_fingerprint(budget_spent=True, now=swarms.network.now)
    asker.machine.request_fingerprint(peer, epoch=1, now=swarms.network.now)
    swarms.network.run(lambda: len(answers(asker)) == 2, limit_s=1)
    codes = [event.code for event in answers(asker)]
    assert codes == [ErrorCode.E_FP_UNSUPPORTED, ErrorCode.E_FP_BUDGET]
    assert asker.machine.peers()[0].score == 0
    assert shower.machine.stats.dropped["E_FP_BUDGET"] == 1


def test_a_peer_that_is_gone_answers_no_more():
    swarms, asker, shower, peer = pair()
    swarms.network.set_link(swarms.address(1), swarms.address(0), Link(loss=1.0))
    asker.machine.request_fingerprint(peer, now=swarms.network.now)
    asker.machine.disconnect(peer, now=swarms.network.now)
    swarms.network.run(limit_s=0.1)
    assert len(answers(asker)) == 1
    assert not asker.machine.request_fingerprint(peer, now=swarms.network.now)
    assert answers(shower) == []


def test_a_peer_that_is_gone_is_not_asked():
    swarms, asker, _, peer = pair()
    asker.machine.disconnect(peer, now=swarms.network.now)
    assert not asker.machine.request_fingerprint(peer, now=swarms.network.now)
    swarms.network.run(limit_s=LIMITS.fingerprint_timeout_s + 1.0)
    assert answers(asker) == []


@pytest.mark.req("N-022")
def test_a_request_without_an_answer_ends_in_time():
    swarms, asker, _, peer = pair()
    swarms.network.set_link(swarms.address(1), swarms.address(0), Link(loss=1.0))
    asker.machine.request_fingerprint(peer, now=swarms.network.now)
    swarms.network.run(limit_s=LIMITS.fingerprint_timeout_s + 0.1)
    assert answers(asker) == [FingerprintNotReceived(peer, ErrorCode.E_FP_TIMEOUT)]


@pytest.mark.req("N-011")
def test_the_released_epoch_survives_a_restart():
    swarms, _, shower, _ = pair()
    shower.machine.set_fingerprint(BODY, 3, now=swarms.network.now)
    state = shower.machine.state()
    again = swarms.add(index=1, state=state, life=1)
    with pytest.raises(LocalProtocolError):
        again.machine.set_fingerprint(b"fresh noise", 3, now=swarms.network.now)
    again.machine.set_fingerprint(BODY, 3, now=swarms.network.now)
    del state["fingerprint"]
    swarms.add(index=1, state=state, life=2).machine.set_fingerprint(b"x", 1, now=swarms.network.now)
