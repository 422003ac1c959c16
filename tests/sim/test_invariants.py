"""Every invariant and every check of a host fails when it is broken."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quinkgl.swarm import (
    FingerprintReceived,
    PeerConnected,
    PeerConvicted,
    PeerDisconnected,
    SwarmClosed,
    UpdateDelivered,
    UpdateReceived,
)
from quinkgl.testing.contract import ContractError
from quinkgl.testing.sim import InvariantError, NodePlan, Plan, World
from quinkgl.testing.sim.books import Books, check_books
from quinkgl.testing.sim.host import Host
from quinkgl.testing.sim.nat import NatClass
from quinkgl.testing.sim.plan import Action, Kind
from quinkgl.testing.sim.scheduler import Scheduler
from quinkgl.testing.sim.trace import Trace
from quinkgl.transport import Transmit
from quinkgl.wire.errors import ErrorCode

PLAN = Plan(
    seed=1,
    nodes=(NodePlan(), NodePlan(), NodePlan()),
    picks=((0, 1), (1, 2), (0, 2)),
    actions=tuple(Action(0.0, Kind.START, index) for index in range(3)),
    round_s=2.0,
)


@pytest.fixture
def world():
    """Three honest peers after some rounds."""
    world = World(PLAN)
    world.run_until(8.0)
    assert world.watch.delivered > 5
    return world


@pytest.fixture
def update(world):
    """An update that peer 0 really got, as it would be told again."""
    seen = []
    peer = world.peers[0]
    on_event = peer.host.on_event
    peer.host.on_event = lambda event: (seen.append(event), on_event(event))
    world.run_until(15.0)
    return next(event for event in seen if isinstance(event, UpdateReceived))


def other(world):
    return world.peers[1].identity.peer_id


@pytest.mark.parametrize(
    ("event", "complaint"),
    [
        (lambda world: PeerConnected(other(world), ("5.0.1.1", 4000), incoming=True), "connected twice"),
        (lambda _: PeerDisconnected(bytes(32), 0, "", by_remote=False), "never had"),
        (lambda world: UpdateDelivered(other(world), bytes(32)), "told twice, or for nothing"),
        (lambda world: FingerprintReceived(other(world), b"x", 0), "did not ask for"),
        (lambda world: PeerConvicted(other(world), 1, b"", b""), "which is honest"),
    ],
)
def test_an_event_that_contradicts_is_noticed(world, event, complaint):
    with pytest.raises(InvariantError, match=complaint):
        world.watch.on_event(world.peers[0], event(world))


def test_nothing_may_follow_the_end(world):
    world.watch.on_event(world.peers[0], SwarmClosed())
    with pytest.raises(InvariantError, match="after SwarmClosed"):
        world.watch.on_event(world.peers[0], SwarmClosed())


def test_what_arrives_must_have_been_published_and_once(world, update):
    def told(**changes):
        header = replace(update.header, **changes.pop("header", {}))
        world.watch.on_event(world.peers[0], replace(update, header=header, **changes))

    with pytest.raises(InvariantError, match="who is not connected"):
        told(peer=bytes(32))
    with pytest.raises(InvariantError, match="twice"):
        told()
    for changes, complaint in (
        ({"header": {"round": 999}}, "nobody published"),
        ({"header": {"root": bytes(32)}}, "nobody published"),
        ({"body": memoryview(b"other")}, "another body"),
    ):
        world.peers[0].disk = None
        begin_again(world, update.peer)
        with pytest.raises(InvariantError, match=complaint):
            told(**changes)


def begin_again(world, neighbour):
    """Let peer 0 have another life, with a session."""
    world.watch.on_stopped(world.peers[0])
    world.watch.on_started(world.peers[0])
    world.watch.on_event(world.peers[0], PeerConnected(neighbour, ("5.0.1.1", 4000), incoming=True))


def test_what_is_on_the_disk_binds_the_next_life(world, update):
    peer = world.peers[0]
    begin_again(world, update.peer)
    assert (update.header.author, update.header.incarnation, update.header.round) in peer.disk.memory.had
    with pytest.raises(InvariantError, match="twice"):
        world.watch.on_event(peer, update)
    peer.disk.memory.had.clear()
    peer.disk.memory.convicted[update.peer] = None
    begin_again(world, update.peer)
    with pytest.raises(InvariantError, match="a convict"):
        world.watch.on_event(peer, update)


def test_a_convict_is_not_listened_to(world, update):
    stranger = bytes(32)
    world.watch.on_event(world.peers[0], PeerConnected(stranger, ("5.0.1.1", 4000), incoming=True))
    world.watch.on_event(world.peers[0], PeerConvicted(stranger, 1, b"", b""))
    header = replace(update.header, author=stranger)
    with pytest.raises(InvariantError, match="a convict"):
        world.watch.on_event(world.peers[0], replace(update, peer=stranger, header=header))


def test_a_request_does_not_die_with_its_session(world):
    world.watch.on_asked(world.peers[0], other(world))
    with pytest.raises(InvariantError, match="left a request unanswered"):
        world.watch.on_event(world.peers[0], PeerDisconnected(other(world), 0, "", by_remote=False))


def test_no_honest_peer_accuses_another(world):
    event = PeerDisconnected(other(world), ErrorCode.E_CID_LIMIT, "", by_remote=True)
    with pytest.raises(InvariantError, match="ended with node 1, which is honest: E_CID_LIMIT"):
        world.watch.on_event(world.peers[0], event)
    world.watch.on_event(world.peers[0], PeerConnected(event.peer, ("5.0.1.1", 4000), incoming=True))
    world.watch.on_event(world.peers[0], replace(event, code=ErrorCode.E_IDLE))


def test_a_peer_is_listed_where_it_is():
    node = NodePlan(nat=NatClass.SYMMETRIC)
    world = World(replace(PLAN, nodes=(NodePlan(), node, NodePlan()), heal_at_s=0.0))
    world.run_until(8.0)
    wrong = "lists node 1 where it is not"
    assert wrong not in world.liveness.missing()
    world.peers[1].host.rebind()
    assert wrong in world.liveness.missing()
    world.run_until(30.0)
    assert wrong not in world.liveness.missing()


def test_a_peer_that_lacks_rounds_is_excused_only_where_it_lacks_nothing_that_was_sent_to_it():
    world = World(replace(PLAN, heal_at_s=0.0))
    world.heal()
    world.run_until(12.0)
    peer, author = world.peers[0], world.peers[1]
    assert world.liveness.is_reached()
    peer.productive.clear()
    assert not world.liveness.is_reached(), "not excused as long as there is time"
    assert world.liveness.missing() == ""
    ended, peer.ended = peer.ended, []
    lacking = "node 0 has ended 0 rounds with updates"
    assert world.liveness.missing() == lacking, "its rounds stand still"
    peer.ended = ended
    world.watch.on_published(author, 777, bytes(32), b"", [peer.identity.peer_id])
    assert world.liveness.missing() == "", "it may be on its way"
    world.run_until(18.0)
    peer.productive.clear()
    assert world.liveness.missing() == lacking


def test_a_session_that_began_after_the_heal_stays_and_one_of_about_then_may_be_of_an_earlier_life():
    world = World(replace(PLAN, heal_at_s=0.0))
    world.heal()
    world.run_until(12.0)
    event = PeerDisconnected(other(world), ErrorCode.E_RESET, "", by_remote=False)
    connected = world.watch._lives[0].connected  # noqa: SLF001
    connected[event.peer] = 4.9
    world.watch.on_event(world.peers[0], event)
    connected[event.peer] = 5.1
    with pytest.raises(InvariantError, match="though nothing was wrong"):
        world.watch.on_event(world.peers[0], event)


def test_an_author_that_wrote_to_others_alone_is_excused_and_one_whose_update_did_not_come_is_not():
    world = World(replace(PLAN, heal_at_s=0.0))
    world.heal()
    world.run_until(12.0)
    first, second = world.liveness.pairs()[0]
    here, there = first, second
    assert world.liveness.is_reached()
    assert world.watch.has_written(there, here)
    del here.received[there.identity.peer_id]
    lacking = f"nothing of node {there.index} has come to node {here.index}"
    assert world.liveness.missing() == lacking, "something was addressed to it"
    world.watch._wrote_to.discard((there.identity.peer_id, here.identity.peer_id))  # noqa: SLF001
    assert not world.liveness.is_reached(), "not excused as long as there is time"
    assert world.liveness.missing() == ""
    there.ended.clear()
    assert world.liveness.missing().startswith(lacking), "it stands still"


def test_a_delivery_that_never_was_is_noticed(world):
    peer, target = world.peers[0], world.peers[1]
    world.watch.on_published(peer, 777, bytes(32), b"", [target.identity.peer_id])
    with pytest.raises(InvariantError, match="believes that node 1 has"):
        world.watch.on_event(peer, UpdateDelivered(target.identity.peer_id, bytes(32)))


def test_an_address_that_has_not_proved_itself_gets_three_times_its_bytes(world):
    host, nobody = world.peers[0].host, world.phantom(world.peers[0]._rng)  # noqa: SLF001
    world.watch.on_from_nowhere(host, nobody, 100)
    world.watch.on_nowhere(host, nobody, b"\x40" * 300)
    with pytest.raises(InvariantError, match="301 bytes"):
        world.watch.on_nowhere(host, nobody, b"\x40")


def test_a_collection_beyond_its_bound_is_noticed(world):
    swarm = world.peers[0].swarm
    world.watch.check_memory(swarm, 0)
    assert {name.split()[0] for name in swarm.occupancy()} == {
        "transport",
        "membership",
        "gossip",
        "exchange",
    }

    class Fat:
        def occupancy(self):
            return {"things": (4, 3)}

    with pytest.raises(InvariantError, match="holds 4 things"):
        world.watch.check_memory(Fat(), 0)


def test_peers_that_were_not_told_of_are_noticed(world):
    world.watch.check_connected(world.peers[0])
    world.watch.on_event(world.peers[0], PeerDisconnected(other(world), 0, "", by_remote=False))
    with pytest.raises(InvariantError, match="lists other peers"):
        world.watch.check_connected(world.peers[0])


@pytest.mark.parametrize(
    ("first", "second", "complaint"),
    [
        (Books(10, applied={b"e": 3}), Books(17), "has the sides"),
        (Books(10, applied={b"e": 3}), Books(10, applied={b"e": -2}), "has the sides"),
        (Books(10), Books(11), "the sum"),
    ],
)
def test_books_that_do_not_balance_are_noticed(first, second, complaint):
    check_books([Books(12, applied={b"e": -2}), Books(8, applied={b"e": 2})], 20)
    with pytest.raises(AssertionError, match=complaint):
        check_books([first, second], 20)


# The machine contract, as a host checks it


class Machine:
    """A machine that keeps the contract; each of those below breaks one rule of it."""

    def __init__(self):
        self.now, self.due, self.out = 0.0, None, []
        self.deadline_reason = "test"

    def receive_datagram(self, data, source, *, now, segment_size=None):
        self.now, self.out = now, [bytes(data)]

    def handle_timer(self, *, now):
        self.now = max(self.now, now)
        if self.due is not None and self.due <= now:
            self.due = None

    def next_event(self):
        return None

    def next_datagram(self, now):
        return Transmit(self.out.pop(), ("5.0.0.9", 1)) if self.out else None

    def deadline(self):
        return self.now if self.out else self.due


class Silent(Machine):
    def deadline(self):
        return self.due


class Stuck(Machine):
    def handle_timer(self, *, now):
        pass


class Keeper(Machine):
    def receive_datagram(self, data, source, *, now, segment_size=None):
        self.now, self.out = now, [data]


class Wire:
    def __init__(self):
        self.sent = []

    def send(self, host, data, destination, segment_size):
        self.sent.append(data)


def placed(machine):
    scheduler = Scheduler()
    host = Host(0, ("5.0.0.1", 1), scheduler=scheduler, sender=Wire(), trace=Trace())
    host.install(machine, lambda _: None)
    return scheduler, host


def test_a_machine_that_keeps_the_contract_passes():
    scheduler, host = placed(Machine())
    host.machine.due = 2.0
    host.settle()
    host.arrive(b"hello", ("5.0.0.9", 1), None)
    scheduler.run(5.0)
    assert host._sender.sent == [b"hello"]  # noqa: SLF001
    assert host.machine.due is None


def test_output_that_no_deadline_announced_is_noticed():
    _, host = placed(Silent())
    with pytest.raises(ContractError, match="while deadline"):
        host.arrive(b"hello", ("5.0.0.9", 1), None)


def test_a_timer_without_progress_is_noticed():
    scheduler, host = placed(Stuck())
    host.machine.due = 2.0
    host.settle()
    with pytest.raises(ContractError, match="no progress"):
        scheduler.run(5.0)


def test_bytes_that_were_kept_without_a_copy_are_spoilt():
    _, host = placed(Keeper())
    host.arrive(b"hello", ("5.0.0.9", 1), None)
    assert host._sender.sent == [b"\xa5" * 5]  # noqa: SLF001
