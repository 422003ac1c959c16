"""Two-sided exchanges between whole swarm members, over lossy links, broken sessions and restarts."""

from __future__ import annotations

import pytest

from quinkgl.swarm import (
    ExchangeAborted,
    ExchangeCommitted,
    ExchangeObjectReceived,
    ExchangeOffered,
    PeerDisconnected,
    SaveWanted,
    SwarmConfig,
)
from quinkgl.testing.network import Link
from quinkgl.testing.swarms import SwarmNetwork, updates_of
from quinkgl.transport import ConnectionConfig, EndpointConfig
from quinkgl.wire.control import Channel
from quinkgl.wire.errors import ErrorCode, LocalProtocolError
from quinkgl.wire.merkle import leaf_hash
from quinkgl.wire.messages.exchange import WEIGHT_ONE
from quinkgl.wire.messages.session import TransportParameters

QUICK = SwarmConfig(
    endpoint=EndpointConfig(
        parameters=TransportParameters(idle_timeout_s=5.0),
        connection=ConnectionConfig(keepalive_s=1.0),
        handshake_timeout_s=0.25,
        handshake_tries=3,
    ),
    redial_s=1.0,
)
HALF = WEIGHT_ONE // 2


class Mixer:
    """An application that mixes one number with its peers, and keeps checkpoints."""

    def __init__(self, net, index, number):
        self.net, self.index, self.number = net, index, number
        self.held, self.seen, self.applied = {}, 0, 0
        self.save()

    @property
    def node(self):
        return self.net.members[self.index]

    @property
    def swarm(self):
        return self.node.machine

    def body(self):
        return self.number.to_bytes(8, "big", signed=True) * 8_000

    def save(self):
        self.disk = (self.number, dict(self.held), self.applied, self.swarm.state(), self.swarm.exchange_mark)

    def restart(self, life):
        """Come back from the last checkpoint."""
        self.number, held, self.applied, state, _ = self.disk
        self.net.network.remove(self.net.address(self.index))
        self.net.add(index=self.index, state=state, life=life, config=QUICK)
        names = {(view.peer, view.exchange) for view in self.swarm.open_exchanges()}
        self.held = {name: numbers for name, numbers in held.items() if name in names}
        self.seen = 0

    def offer(self, index, **options):
        peer = self.net.identity(index).peer_id
        return self.swarm.offer_exchange(peer, self.body(), weight=HALF, now=self.net.network.now, **options)

    def work(self):
        """Do what the events ask for."""
        now = self.net.network.now
        while self.seen < len(self.node.events):
            event = self.node.events[self.seen]
            self.seen += 1
            match event:
                case ExchangeOffered(peer, exchange):
                    self.swarm.accept_exchange(peer, exchange, self.body(), now=now)
                case ExchangeObjectReceived(view, body):
                    theirs = int.from_bytes(body[:8], "big", signed=True)
                    mine = self.number
                    self.held[view.peer, view.exchange] = (
                        (mine, theirs) if view.is_initiator else (theirs, mine)
                    )
                    self.swarm.exchange_held(view.peer, view.exchange, now=now)
                case ExchangeCommitted(view):
                    offered, answered = self.held.pop((view.peer, view.exchange))
                    gain = view.weight * (answered - offered) // WEIGHT_ONE
                    self.number += gain if view.is_initiator else -gain
                    self.applied += 1
                    self.swarm.exchange_applied(view.peer, view.exchange, now=now)
                case ExchangeAborted(peer, exchange):
                    self.held.pop((peer, exchange), None)
                case SaveWanted():
                    self.save()
                    self.swarm.state_saved(self.disk[-1], now=now)


def pair(seed=0, link=None):
    net = SwarmNetwork(seed, link)
    net.add(config=QUICK)
    net.add(config=QUICK)
    net.connect(1, 0)
    assert net.network.run(lambda: all(node.machine.peers() for node in net.members), limit_s=30)
    return net, [Mixer(net, 0, 100), Mixer(net, 1, 20)]


def run(net, mixers, until, limit_s=60.0):
    def step():
        for mixer in mixers:
            mixer.work()
        return until()

    return net.network.run(step, limit_s=limit_s)


def transport_of(mixer):
    """The endpoint below a member, to say what no member says."""
    return mixer.swarm.machine._endpoint  # noqa: SLF001


def settled(mixers):
    return lambda: not any(mixer.swarm.open_exchanges() for mixer in mixers)


@pytest.mark.req("B-004")
@pytest.mark.parametrize("link", [Link(), Link(loss=0.1)], ids=["clean", "lossy"])
def test_two_members_mix_and_the_sum_stays(link):
    net, mixers = pair(3, link)
    assert mixers[0].offer(1) is not None
    assert run(net, mixers, lambda: all(mixer.applied for mixer in mixers))
    assert [mixer.number for mixer in mixers] == [60, 60]
    assert run(net, mixers, settled(mixers))


@pytest.mark.req("B-012", "B-013")
@pytest.mark.parametrize("who", [0, 1])
@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_member_that_crashes_between_two_steps_takes_it_up_again(who, after):
    net, mixers = pair(5)
    mixers[0].offer(1)
    kinds = (ExchangeObjectReceived, ExchangeCommitted, SaveWanted)

    def reached():
        events = [event for event in mixers[who].node.events if isinstance(event, kinds)]
        return len(events) >= after

    assert run(net, mixers, reached)
    mixers[who].restart(1)
    net.connect(who, 1 - who)
    assert run(net, mixers, lambda: all(mixer.swarm.peers() for mixer in mixers))
    assert run(net, mixers, settled(mixers))
    net.network.run(limit_s=1.0)
    assert mixers[0].applied == mixers[1].applied
    assert sum(mixer.number for mixer in mixers) == 120


@pytest.mark.req("B-041")
def test_an_undecided_exchange_ends_with_the_session():
    net, mixers = pair(7)
    mixers[0].offer(1)
    net.network.set_link(net.address(0), net.address(1), Link(loss=1.0))
    assert run(net, mixers, lambda: any(isinstance(e, PeerDisconnected) for e in mixers[0].node.events))
    mixers[0].work()
    (event,) = [event for event in mixers[0].node.events if isinstance(event, ExchangeAborted)]
    assert event.code == ErrorCode.GONE
    assert mixers[0].offer(1) is None


@pytest.mark.req("H-002", "B-041")
@pytest.mark.parametrize("offerer", [0, 1])
def test_what_waited_for_a_session_that_was_replaced_is_not_said_in_the_new_one(offerer):
    """An object on the way fails with its session, and its ABORT has no session to go to any more."""
    net, mixers = pair(23, Link(delay_s=0.05, rate=20_000))
    assert mixers[offerer].offer(1 - offerer)
    kept, calls_again = net.members
    assert run(net, mixers, kept.machine.has_open_transfers, limit_s=10)
    cut, path = Link(loss=1.0), (net.address(0), net.address(1))
    net.network.set_link(*path, cut)
    run(net, mixers, lambda: False, limit_s=4.0)
    net.network.set_link(*reversed(path), cut)  # nor is the end heard of
    assert run(net, mixers, lambda: bool(ended(net, 1)), limit_s=4.0)
    probes = kept.machine.stats.datagrams_sent  # after the next one there is time for a handshake
    assert run(net, mixers, lambda: kept.machine.stats.datagrams_sent > probes, limit_s=4.0)
    assert not ended(net, 0)
    for way in (path, tuple(reversed(path))):
        net.network.set_link(*way, Link(delay_s=0.01))
    net.connect(1, 0)
    assert run(net, mixers, lambda: bool(ended(net, 0)), limit_s=10)
    assert not run(net, mixers, lambda: len(ended(net, 0) + ended(net, 1)) > 2, limit_s=3.0)
    assert ended(net, 0)[0].code == ErrorCode.E_HS_DUP
    assert [event for event in kept.events if isinstance(event, ExchangeAborted)]
    assert calls_again.machine.peers()
    assert "E_FRAME_CONTEXT" not in calls_again.machine.stats.dropped


def ended(net, index):
    """The sessions of a member that are over."""
    return [event for event in net.members[index].events if isinstance(event, PeerDisconnected)]


def test_a_refused_offer_is_over_on_both_sides():
    net, mixers = pair(13)
    name = mixers[0].offer(1)

    def offered():
        return [event for event in mixers[1].node.events if isinstance(event, ExchangeOffered)]

    assert net.network.run(lambda: bool(offered()), limit_s=5)
    assert mixers[1].swarm.abort_exchange(offered()[0].peer, name, now=net.network.now)
    net.network.settle_all()
    net.network.run(limit_s=1.0)
    for mixer in mixers:
        (event,) = [event for event in mixer.node.events if isinstance(event, ExchangeAborted)]
        assert (event.exchange, event.code) == (name, ErrorCode.NOT_WANTED)


def test_what_is_on_the_way_for_an_aborted_exchange_is_cancelled():
    net, mixers = pair(15, Link(delay_s=0.01, rate=20_000))
    name = mixers[0].offer(1, lateness=1)
    run(net, mixers, lambda: mixers[1].node.machine.stats.bytes_received > 10_000, limit_s=5.0)
    assert mixers[1].swarm.has_open_transfers()
    assert mixers[0].swarm.abort_exchange(net.identity(1).peer_id, name, now=net.network.now)
    net.network.settle_all()
    assert net.network.run(lambda: not any(mixer.swarm.has_open_transfers() for mixer in mixers), limit_s=5)
    assert mixers[1].node.machine.stats.bytes_received < 50_000 < len(mixers[0].body())
    assert not any(isinstance(event, ExchangeCommitted) for mixer in mixers for event in mixer.node.events)
    # The next one is as good as the first.
    assert mixers[0].offer(1) is not None
    assert run(net, mixers, lambda: all(mixer.applied for mixer in mixers))


def test_an_object_is_let_go_when_its_exchange_is_given_up():
    net, mixers = pair(16)
    body, peer = bytearray(1000), net.identity(1).peer_id
    name = mixers[0].swarm.offer_exchange(peer, body, weight=HALF, now=net.network.now)
    with pytest.raises(BufferError):
        body.append(0)  # it is lent out
    assert mixers[0].swarm.abort_exchange(peer, name, now=net.network.now)
    net.network.settle_all()
    body.append(0)


def test_what_was_on_the_way_when_a_session_ended_is_not_taken_for_an_update():
    net, mixers = pair(18, Link(delay_s=0.01, rate=20_000))
    mixers[0].offer(1, lateness=1)
    run(net, mixers, lambda: mixers[1].node.machine.stats.bytes_received > 10_000, limit_s=5.0)
    assert mixers[1].swarm.has_open_transfers()
    mixers[1].swarm.disconnect(net.identity(0).peer_id, now=net.network.now)
    assert net.network.run(lambda: not any(mixer.swarm.peers() for mixer in mixers), limit_s=10)
    assert net.network.run(lambda: all(mixer.swarm.peers() for mixer in mixers), limit_s=10)
    net.publish(0, bytes(5000), round=1)
    assert net.network.run(lambda: bool(updates_of(mixers[1].node)), limit_s=10)


@pytest.mark.req("B-015", "B-040")
def test_a_round_that_ends_does_not_wait_for_an_exchange():
    net, mixers = pair(17)
    mixers[0].offer(1)
    mixers[0].swarm.set_round(1, now=net.network.now)
    assert run(net, mixers, settled(mixers), limit_s=5.0)
    assert [mixer.number for mixer in mixers] == [100, 20]
    (event,) = [event for event in mixers[0].node.events if isinstance(event, ExchangeAborted)]
    assert event.code == ErrorCode.E_RND_STALE


def test_a_peer_whose_transfers_take_all_its_room_aborts():
    net, mixers = pair(19, Link(delay_s=0.01, rate=50_000))
    for _ in range(3):
        assert mixers[0].offer(1, lateness=1) is not None
        mixers[0].number += 1  # another body each time
    assert run(net, mixers, settled(mixers), limit_s=60.0)
    codes = {event.code for event in mixers[1].node.events if isinstance(event, ExchangeAborted)}
    assert codes <= {ErrorCode.E_BUSY}
    assert mixers[0].applied == mixers[1].applied
    assert sum(mixer.number for mixer in mixers) == 123


@pytest.mark.req("B-043")
def test_an_object_that_no_exchange_waits_for_is_refused():
    net, mixers = pair(9)
    body = memoryview(bytes(100))
    raw = transport_of(mixers[0])
    peer = net.identity(1).peer_id
    raw.offer_object(peer, leaf_hash(body), leaf_hash(body), b"", body, now=net.network.now)
    mixers[0].swarm.handle_timer(now=net.network.now)
    net.network.settle_all()
    net.network.run(limit_s=1.0)
    assert mixers[1].swarm.stats.dropped["object_not_wanted"] == 1


@pytest.mark.req("B-002")
def test_commands_that_do_not_fit_and_messages_that_break_the_rules():
    net, mixers = pair(11)
    swarm, now, peer = mixers[0].swarm, net.network.now, net.identity(1).peer_id
    with pytest.raises(LocalProtocolError):
        swarm.offer_exchange(peer, b"x", weight=0, now=now)
    with pytest.raises(LocalProtocolError):
        swarm.state_saved(1, now=now)
    assert not swarm.accept_exchange(peer, bytes(16), b"x", now=now)
    assert not swarm.abort_exchange(peer, bytes(16), now=now)
    assert swarm.peer_departed(peer, now=now) == 0
    raw = transport_of(mixers[1])
    raw.send_message(net.identity(0).peer_id, Channel.EXCHANGE, b"\xa1\x00\x01", now=now)
    net.network.settle_all()
    assert run(net, mixers, lambda: any(isinstance(e, PeerDisconnected) for e in mixers[0].node.events))


@pytest.mark.parametrize("channel", [Channel.MEMBERSHIP, Channel.EXCHANGE, Channel.GOSSIP])
def test_a_breach_is_held_against_a_peer_once_whatever_its_channel(channel):
    net, mixers = pair(11)
    peer = net.identity(0).peer_id
    transport_of(mixers[1]).send_message(peer, channel, b"\xa1\x00\x01", now=net.network.now)
    net.network.settle_all()
    assert run(net, mixers, lambda: any(isinstance(e, PeerDisconnected) for e in mixers[0].node.events))
    assert run(net, mixers, mixers[0].swarm.peers)  # it calls again
    (view,) = mixers[0].swarm.peers()
    assert view.score == pytest.approx(-10.0, abs=0.5)
