"""Whole swarms of membership machines in virtual time: who knows one address meets them all."""

from __future__ import annotations

import hashlib
import heapq
import os
import random
import subprocess
import sys

import pytest

from quinkgl.crypto.cose import decode_sign1_untrusted, sign1, verify_sign1_untrusted
from quinkgl.crypto.identity import Identity
from quinkgl.crypto.psk import derive_member_keys
from quinkgl.protocol.membership import Membership, PeerDiscovered
from quinkgl.protocol.records import issue_record
from quinkgl.testing.carrier import OrderedPipe
from quinkgl.testing.contract import Checked
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.messages.membership import (
    Records,
    decode_membership_message_untrusted,
    decode_record_untrusted,
    encode_membership_message,
    encode_record,
)

KEYS = derive_member_keys(b"{}")
UNIX = 1_900_000_000.0


class Net:
    """Members that connect to whomever they discover, over ordered pipes with random delays."""

    def __init__(self, *, seed, delay_s=0.2):
        self.rng = random.Random(seed)
        self.delay_s = delay_s
        self.now = 0.0
        self.nodes = {}
        self.addresses = {}
        self.pipes = {}
        self.joins = []
        self.arrivals = []
        self.dialling = {}
        self.handed_on = 0
        self.verified = set()
        self.dead = set()
        self.trace = hashlib.sha256()

    def add(self, *, at=0.0, knows=(), identity=None, addresses=None):
        """Add a member that comes up ``at`` a time and dials the members it knows; return its key."""
        number = len(self.addresses) + 1
        identity = identity or Identity.from_seed(number.to_bytes(32, "big"))
        addresses = addresses or [(f"192.0.2.{number}", 4000 + number)]
        self.joins.append((at, identity, addresses, tuple(knows)))
        self.addresses.update(dict.fromkeys(addresses, identity.peer_id))
        return identity.peer_id

    def run(self, until, *, stop=lambda: False):
        """Let virtual time pass; return when it stopped."""
        while not stop():
            due = [at for at, *_ in self.joins] + list(self.dialling.values())
            due += [machine.deadline() for machine in self.nodes.values()]
            due += [at for at, _ in self.arrivals[:1]]
            if not due or min(due) > until:
                self.now = until
                break
            self.now = max(self.now, min(due))
            self.step()
        return self.now

    def step(self):
        for join in [join for join in self.joins if join[0] <= self.now]:
            self.joins.remove(join)
            self.start(*join[1:])
        while self.arrivals and self.arrivals[0][0] <= self.now:
            _, (source, target) = heapq.heappop(self.arrivals)
            if (source, target) in self.pipes:  # the session may be over
                data = self.pipes[source, target].receive(self.now)
                self.nodes[target].receive_message(source, data, now=self.now)
        for pair in [pair for pair, at in self.dialling.items() if at <= self.now]:
            del self.dialling[pair]
            self.connect(*pair)
        for key, machine in list(self.nodes.items()):
            if machine.deadline() <= self.now:
                machine.handle_timer(now=self.now)
                self.drain(key, machine)

    def start(self, identity, addresses, knows):
        machine = Membership(
            identity, KEYS, rng=random.Random(self.rng.random()), now=self.now, unix_now=UNIX + self.now
        )
        checked = Checked(machine, deep=False, now=self.now)
        self.nodes[identity.peer_id] = checked
        checked.set_addresses(addresses, now=self.now)
        for peer in knows:
            self.dial(identity.peer_id, peer)

    def dial(self, one, other):
        self.dialling.setdefault((one, other), self.now + self.rng.random() * self.delay_s)

    def connect(self, one, other):
        """A session stands; each side learns the other's record in the handshake."""
        if other in self.dead or other not in self.nodes:
            self.nodes[one].peer_unreachable(other, now=self.now)
            return
        if (one, other) in self.pipes:
            return
        for source, target in ((one, other), (other, one)):
            self.pipes[source, target] = OrderedPipe(lambda: self.rng.random() * self.delay_s)
        for source, target in ((one, other), (other, one)):
            record = self.nodes[target].own_record
            assert self.nodes[source].peer_connected(target, record, now=self.now)

    def kill(self, key):
        """A member dies; its neighbours notice."""
        self.dead.add(key)
        del self.nodes[key]
        for source, target in [pair for pair in self.pipes if key in pair]:
            del self.pipes[source, target]
            if source != key:
                self.nodes[source].peer_disconnected(key, now=self.now)

    def drain(self, key, machine):
        drained = machine.drain(self.now)
        for event in drained.events:
            assert isinstance(event, PeerDiscovered)
            assert (event.peer, key) not in self.dialling or (key, event.peer) not in self.pipes
            assert all(self.addresses[address] == event.peer for address in event.addresses)
            self.trace.update(key + event.peer)
            self.dial(key, event.peer)
        for peer, data in drained.of("next_message"):
            self.trace.update(key + peer + data)
            self.inspect(data)
            if (key, peer) in self.pipes:
                pipe = self.pipes[key, peer]
                pipe.send(data, self.now)
                heapq.heappush(self.arrivals, (pipe.last_arrival, (key, peer)))
        assert len(machine.view()) <= LIMITS.view_size

    def inspect(self, data):
        """Every record that is handed on carries the signature of its peer."""
        for encoded in decode_membership_message_untrusted(data).records:
            self.handed_on += 1
            if encoded not in self.verified:
                envelope = decode_sign1_untrusted(encoded, max_bytes=LIMITS.record_bytes)
                verify_sign1_untrusted(envelope, "peer-record", decode_record_untrusted(envelope.payload).key)
                self.verified.add(encoded)

    def met(self):
        """Whether every member has a session with every other."""
        count = len(self.nodes)
        return not self.joins and len(self.pipes) == count * (count - 1)

    def dropped(self):
        totals = {}
        for machine in self.nodes.values():
            for reason, count in machine.stats.dropped.items():
                totals[reason] = totals.get(reason, 0) + count
        return totals


STARTS = {
    "star": lambda keys, rng: keys[:1],
    "chain": lambda keys, rng: keys[-1:],
    "random": lambda keys, rng: [keys[rng.randrange(len(keys))]],
}


def start_swarm(start, count, *, seed, spacing):
    net = Net(seed=seed)
    keys, rng = [], random.Random(seed)
    for number in range(count):
        knows = STARTS[start](keys, rng) if keys else ()
        keys.append(net.add(at=number * spacing, knows=knows))
    return net, keys


@pytest.mark.req("M-026")
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize(("count", "within_s"), [(5, 30.0), (20, 60.0), (50, 120.0)])
def test_who_knows_one_address_meets_all(start, count, within_s):
    net, _ = start_swarm(start, count, seed=count, spacing=0.1)
    took = net.run(within_s, stop=net.met)
    print(f"start {start}, {count} peers, seed {count}: all met after {took:.1f} s, {net.handed_on} records")
    assert net.met()
    assert net.dropped() == {}


@pytest.mark.parametrize("seed", range(5))
def test_peers_that_start_at_once_meet(seed):
    net, _ = start_swarm("star", 12, seed=seed, spacing=0.0)
    net.run(60.0, stop=net.met)
    assert net.met(), f"seed {seed}"


def test_a_newcomer_meets_an_old_swarm():
    net, keys = start_swarm("star", 20, seed=4, spacing=0.1)
    net.run(60.0)
    assert net.met()
    newcomer = net.add(at=net.now + 1.0, knows=[keys[7]])
    took = net.run(net.now + 60.0, stop=lambda: newcomer in net.nodes and net.met()) - 61.0
    print(f"seed 4: a newcomer met 20 peers in {took:.1f} s")
    assert net.met()
    assert took < 30.0


def test_a_quiet_swarm_says_nothing():
    """When everybody has everybody's record there is nothing to tell."""
    net, _ = start_swarm("random", 8, seed=2, spacing=0.1)
    net.run(120.0)
    before = net.handed_on
    net.run(1000.0)
    assert net.handed_on == before


@pytest.mark.req("M-012", "M-020")
def test_the_dead_are_forgotten_and_the_living_stay_known():
    net, keys = start_swarm("star", 8, seed=3, spacing=0.1)
    net.run(60.0)
    net.kill(keys[0])
    net.kill(keys[1])
    net.run(LIMITS.record_ttl_s + 200.0)
    assert net.met()  # nobody else was lost over two re-issues and an expiry
    for machine in net.nodes.values():
        assert {record.key for record in machine.known()} == set(net.nodes) - {machine.peer_id}


@pytest.mark.req("M-020", "M-021")
def test_a_peer_that_moves_is_found_at_its_new_address():
    net, keys = start_swarm("star", 6, seed=5, spacing=0.1)
    net.run(30.0)
    moved, address = keys[3], ("192.0.2.200", 9)
    net.addresses[address] = moved
    net.nodes[moved].set_addresses([address], now=net.now)
    net.run(net.now + 2 * LIMITS.shuffle_interval_s)
    for key, machine in net.nodes.items():
        if key != moved:
            (record,) = [record for record in machine.known() if record.key == moved]
            assert record.addresses == (address,)


@pytest.mark.req("M-010", "M-011", "M-012", "M-015", "M-016")
def test_a_liar_among_us_changes_nothing():
    """A member hands on forged, replayed, expired and foreign records all the time; nobody believes one."""
    net, keys = start_swarm("star", 8, seed=7, spacing=0.1)
    net.run(20.0)
    liar = Identity.from_seed(bytes([255]) * 32)
    foreign = derive_member_keys(b"{}", b"another secret")
    rng = random.Random(7)
    victims = [Identity.from_seed(number.to_bytes(32, "big")) for number in range(1, 9)]
    for key in keys:
        assert net.nodes[key].peer_connected(liar.peer_id, now=net.now)
    old = {victim.peer_id: net.nodes[victim.peer_id].own_record for victim in victims}
    moved = [(f"192.0.2.{number + 100}", number + 100) for number in range(8)]
    for key, address in zip(keys, moved, strict=True):
        net.addresses[address] = key
        net.nodes[key].set_addresses([address], now=net.now)
    net.run(60.0)

    def lie():
        victim = rng.choice(victims)
        options = {"seq": 2**40, "addresses": (("203.0.113.1", 1),), "ttl": 7200, "unix_now": UNIX + net.now}
        match rng.randrange(5):
            case 0:  # signed by the liar in the victim's name
                record = issue_record(victim, KEYS.root, **options).record
                return sign1(liar, "peer-record", encode_record(record))
            case 1:
                return issue_record(victim, foreign.root, **options).encoded
            case 2:
                return issue_record(victim, KEYS.root, **(options | {"unix_now": UNIX - 7200})).encoded
            case 3:
                return old[victim.peer_id]
            case _:
                true = bytearray(net.nodes[victim.peer_id].own_record)
                true[rng.randrange(len(true))] ^= 1 + rng.randrange(255)
                return bytes(true)

    for _ in range(100):
        net.run(net.now + 1.5)
        for key in keys:
            lies = tuple(lie() for _ in range(LIMITS.shuffle_length))
            data = encode_membership_message(Records(lies))
            net.nodes[key].receive_message(liar.peer_id, data, now=net.now)
        for key, machine in net.nodes.items():
            net.drain(key, machine)  # asserts that every address suggested is true
    for key, machine in net.nodes.items():
        assert {record.key: record.addresses for record in machine.known()} == {
            other: (address,) for other, address in zip(keys, moved, strict=True) if other != key
        }, "seed 7"
    reasons = {"record_signature", "record_scope", "record_expired", "record_old", "record_malformed"}
    assert set(net.dropped()) == reasons


def digest_of_a_run():
    net, _ = start_swarm("random", 9, seed=6, spacing=0.3)
    net.run(100.0)
    return net.trace.hexdigest()


def test_runs_are_identical_whatever_the_hash_seed():
    script = (
        "import importlib.util as u, sys;"
        "spec = u.spec_from_file_location('swarm', sys.argv[1]);"
        "module = u.module_from_spec(spec); spec.loader.exec_module(module);"
        "print(module.digest_of_a_run())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", script, __file__],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for hash_seed in ("0", "1")
    }
    assert digests == {digest_of_a_run()}
