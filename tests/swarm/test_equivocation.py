"""An author that signs two updates for one round, in a whole swarm."""

from __future__ import annotations

import pytest

from quinkgl.swarm import PeerConnected, PeerConvicted, PeerDisconnected
from quinkgl.testing.swarms import SwarmNetwork
from quinkgl.wire.errors import ErrorCode


def convicted(node):
    return [event.peer for event in node.events if isinstance(event, PeerConvicted)]


def meet_all(net, state, life):
    """Start member 3 from a state, and let it meet the others."""
    net.add(index=3, state=state, life=life)
    net.connect(3, 1)
    assert net.network.run(lambda: len(net.members[3].machine.peers()) == 3, limit_s=200)


def convict_member_3(net):
    """Have member 3 sign two updates for one round, and the others see both; return its peer id."""
    net.mesh(3)
    liar, address = net.identity(3).peer_id, net.address(3)
    state = net.add().machine.state()
    state["gossip"]["incarnation"] = 10**15
    meet_all(net, state, life=1)
    net.publish(3, b"to one", round=1, targets=[0])
    net.network.run(limit_s=5.0)
    net.network.remove(address)
    # A second life that has forgotten the first signs round 1 of the same incarnation anew.
    meet_all(net, state, life=2)
    net.publish(3, b"to another", round=1)
    assert net.network.run(
        lambda: all(convicted(net.members[index]) == [liar] for index in (0, 1, 2)), limit_s=120
    )
    return liar


@pytest.mark.req("G-030", "G-031", "G-033")
def test_a_proof_reaches_all_and_nobody_keeps_a_session_with_the_convict():
    net = SwarmNetwork(seed=2)
    liar = convict_member_3(net)
    heard = [len(net.members[index].events) for index in (0, 1, 2)]
    net.network.run(limit_s=60.0)  # some intervals in which a peer of the view is suggested
    for index in (0, 1, 2):
        later = net.members[index].events[heard[index] :]
        meetings = [event for event in later if isinstance(event, PeerConnected) and event.peer == liar]
        assert all(meeting.incoming for meeting in meetings)  # nobody calls it
        assert liar not in [view.peer for view in net.members[index].machine.peers()]
    assert any(
        isinstance(event, PeerDisconnected) and event.code == ErrorCode.E_EQUIVOCATION
        for event in net.members[3].events
    )
    # A convict that calls again is sent away.
    net.connect(3, 0)
    net.network.run(limit_s=10.0)
    assert liar not in [view.peer for view in net.members[0].machine.peers()]


@pytest.mark.req("G-033")
def test_a_member_that_forgot_hears_of_the_proof_in_its_next_session():
    net = SwarmNetwork(seed=3)
    liar = convict_member_3(net)
    net.network.remove(net.address(3))
    net.network.remove(net.address(2))
    net.add(index=2, life=2)
    net.connect(2, 0)
    assert net.network.run(lambda: convicted(net.members[2]) == [liar], limit_s=120)
