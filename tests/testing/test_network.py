"""The virtual network: what links do to datagrams, and that time passes as the machines ask."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import pairwise

import pytest

from quinkgl.testing.network import Blackouts, Bursts, Link, VirtualNetwork
from quinkgl.transport import Transmit

HERE, THERE = ("192.0.2.1", 1), ("192.0.2.2", 2)


@dataclass(frozen=True, slots=True)
class Heard:
    data: bytes
    at: float


@dataclass(frozen=True, slots=True)
class Rang:
    at: float


class Station:
    """Sends what it is told to, reports what it hears, and rings at the times that it is set to."""

    def __init__(self, *alarms: float) -> None:
        self.alarms = deque(alarms)
        self.out: deque[tuple[bytes, tuple[str, int]]] = deque()
        self.events: deque[Heard | Rang] = deque()
        self.sources: list[tuple[str, int]] = []
        self.now = 0.0

    def send(self, data: bytes, destination=THERE) -> None:
        self.out.append((data, destination))

    def receive_datagram(self, data, source, *, now):
        self.now = now
        self.events.append(Heard(bytes(data), now))
        self.sources.append(source)

    def handle_timer(self, *, now):
        self.now = now
        while self.alarms and self.alarms[0] <= now:
            self.alarms.popleft()
            self.events.append(Rang(now))

    def next_event(self):
        return self.events.popleft() if self.events else None

    def next_datagram(self, now):
        self.now = now
        return Transmit(*self.out.popleft()) if self.out else None

    def deadline(self):
        if self.events or self.out:
            return self.now
        return self.alarms[0] if self.alarms else None


def stations(seed: int = 0, link: Link | None = None) -> tuple[VirtualNetwork, Station, list]:
    """Return a network, the station that sends, and what the other one said."""
    network = VirtualNetwork(seed, link)
    sender = Station()
    network.add(HERE, sender)
    return network, sender, network.add(THERE, Station()).events


def send_many(link: Link, count: int, *, seed: int = 0, spacing_s: float = 0.0) -> list[Heard]:
    network, sender, heard = stations(seed, link)
    for number in range(count):
        sender.send(number.to_bytes(4, "big"))
        if spacing_s:
            network.run(limit_s=spacing_s)
    network.run(limit_s=100.0)
    return heard


def test_a_datagram_takes_the_delay():
    assert send_many(Link(delay_s=0.25), 1) == [Heard(bytes(4), 0.25)]


def test_a_clean_link_delivers_everything_once_and_in_order():
    heard = send_many(Link(), 50)
    assert [int.from_bytes(event.data, "big") for event in heard] == list(range(50))


def test_loss():
    assert send_many(Link(loss=1.0), 20) == []
    assert 60 < len(send_many(Link(loss=0.2), 100)) < 95


def test_duplicates():
    heard = send_many(Link(duplicate=1.0), 10)
    assert [event.data for event in heard] == [
        number.to_bytes(4, "big") for number in range(10) for _ in "12"
    ]


def test_corruption_changes_one_bit():
    for number, event in enumerate(send_many(Link(corrupt=1.0), 50)):
        difference = int.from_bytes(event.data, "big") ^ number
        assert difference.bit_count() == 1


def test_an_empty_datagram_cannot_be_corrupted():
    network, sender, heard = stations(link=Link(corrupt=1.0))
    sender.send(b"")
    network.run(limit_s=1.0)
    assert [event.data for event in heard] == [b""]


def test_jitter_reorders():
    heard = send_many(Link(delay_s=0.01, jitter_s=0.1), 50)
    numbers = [int.from_bytes(event.data, "big") for event in heard]
    assert sorted(numbers) == list(range(50))
    assert numbers != sorted(numbers)
    assert all(0.01 <= event.at <= 0.11 for event in heard)


def test_a_rate_spaces_datagrams_and_its_queue_has_an_end():
    heard = send_many(Link(delay_s=0.0, rate=400.0, queue_bytes=40), 30)
    assert [event.at for event in heard] == pytest.approx(
        [0.01 * (number + 1) for number in range(len(heard))]
    )
    assert len(heard) == 11  # one on the line and ten that wait
    assert len(send_many(Link(delay_s=0.0, rate=400.0, queue_bytes=40), 30, spacing_s=0.02)) == 30


def test_each_direction_of_a_path_may_have_its_own_link():
    network, sender, heard = stations(link=Link(delay_s=0.1))
    network.set_link(HERE, THERE, Link(delay_s=0.7))
    sender.send(b"slow")
    network.run(limit_s=5.0)
    network.nodes[THERE].machine.send(b"fast", HERE)
    network.run(limit_s=5.0)
    assert heard == [Heard(b"slow", 0.7)]
    assert network.nodes[HERE].events == [Heard(b"fast", pytest.approx(5.1))]


def test_one_seed_gives_one_run():
    link = Link(jitter_s=0.05, loss=0.1, duplicate=0.1, corrupt=0.1)
    assert send_many(link, 100, seed=5) == send_many(link, 100, seed=5)
    assert send_many(link, 100, seed=5) != send_many(link, 100, seed=6)


def test_timers_fire_exactly_when_they_are_due():
    network = VirtualNetwork()
    node = network.add(HERE, Station(0.5, 0.5, 1.25))
    assert network.run(limit_s=10.0)
    assert node.events == [Rang(0.5), Rang(0.5), Rang(1.25)]
    assert network.now == 10.0


def test_a_run_stops_at_its_limit_or_when_the_condition_holds():
    network = VirtualNetwork()
    node = network.add(HERE, Station(1.0, 2.0, 3.0))
    assert network.run(lambda: bool(node.events), limit_s=10.0)
    assert network.now == 1.0
    assert not network.run(lambda: len(node.events) == 3, limit_s=1.5)
    assert network.now == 2.5
    assert network.run(lambda: len(node.events) == 3, limit_s=0.5)


def test_events_reach_their_callback_which_may_call_the_machine():
    network, sender, heard = stations()
    node = network.nodes[THERE]
    node.on_event = lambda event: node.machine.send(b"back", HERE)
    sender.send(b"there")
    network.run(limit_s=1.0)
    assert [event.data for event in heard] == [b"there"]
    assert [event.data for event in network.nodes[HERE].events] == [b"back"]


def test_the_tap_sees_what_leaves_and_the_nodes_count_it():
    seen = []
    network, sender, _ = stations(link=Link(loss=1.0))
    network.tap = lambda *args: seen.append(args)
    sender.send(b"abc")
    network.run(limit_s=1.0)
    network.inject(THERE, HERE, b"de")
    assert seen == [(0.0, HERE, THERE, b"abc"), (1.0, THERE, HERE, b"de")]
    assert network.nodes[HERE].bytes_sent == 3
    assert network.nodes[HERE].sent_to == {THERE: 3}
    assert network.delivered == 0


def test_injected_datagrams_arrive_as_if_they_had_been_sent():
    network, _, heard = stations()
    network.inject(("203.0.113.9", 9), THERE, b"forged")
    network.run(limit_s=1.0)
    assert heard == [Heard(b"forged", 0.01)]
    assert network.nodes[THERE].received_from == {("203.0.113.9", 9): 6}
    assert network.delivered == 1


def test_a_crash_takes_a_machine_away_and_its_successor_gets_what_is_on_the_way():
    network, sender, heard = stations()
    sender.send(b"lost")
    network.settle_all()
    network.remove(THERE)
    network.run(limit_s=1.0)
    sender.send(b"found")
    network.settle_all()
    successor = network.add(THERE, Station())
    network.run(limit_s=1.0)
    assert heard == []
    assert [event.data for event in successor.events] == [b"found"]


def test_a_machine_whose_deadline_lies_in_the_past_is_caught():
    class Late(Station):
        def deadline(self):
            return -1.0

    network = VirtualNetwork()
    network.add(HERE, Late())
    with pytest.raises(AssertionError, match="lies before now"):
        network.run(limit_s=1.0)


# --- what paths do over time ---


def test_a_datagram_above_the_mtu_vanishes():
    network, sender, heard = stations(link=Link(mtu=1300))
    for size in (1300, 1301, 40):
        sender.send(bytes(size))
    network.run(limit_s=1.0)
    assert [len(event.data) for event in heard] == [1300, 40]


def test_the_mtu_changes_when_it_is_told_to():
    network, sender, heard = stations(link=Link(mtu_changes=((1.0, 1300), (2.0, 9000))))
    for _ in range(3):
        sender.send(bytes(1400))
        network.run(limit_s=1.0)
    assert [round(event.at, 2) for event in heard] == [0.01, 2.01]


def test_bursts_lose_in_a_row_as_often_as_the_chain_says():
    heard = send_many(Link(bursts=Bursts(enter=0.02, leave=0.25)), 20_000)
    numbers = [int.from_bytes(event.data, "big") for event in heard]
    gaps = [later - earlier - 1 for earlier, later in pairwise(numbers)]
    bursts = [gap for gap in gaps if gap]
    assert 0.05 < 1 - len(heard) / 20_000 < 0.1  # 0.02 / (0.02 + 0.25) = 7.4 %
    assert 3.5 < sum(bursts) / len(bursts) < 4.5


def test_a_blackout_comes_at_the_end_of_each_period():
    heard = send_many(Link(delay_s=0.0, blackouts=Blackouts(period_s=5.0, dark_s=2.0)), 20, spacing_s=1.0)
    times = [event.at for event in heard]
    assert times == [0, 1, 2, 5, 6, 7, 10, 11, 12, 15, 16, 17]


def test_a_translated_node_shows_another_port_in_each_interval():
    network, sender, heard = stations()
    network.translate(HERE, every_s=5.0)
    for _ in range(4):
        sender.send(b"x")
        network.run(limit_s=3.0)
    sources = network.nodes[THERE].machine.sources
    assert len(heard) == 4
    assert sources[0] == sources[1] == HERE
    assert sources[2] == sources[3] != HERE
    assert sources[2][0] == HERE[0]


def test_what_is_sent_to_an_address_given_up_vanishes():
    network, _, _ = stations()
    answers = network.nodes[HERE].events
    there = network.nodes[THERE].machine
    network.translate(HERE)
    new = network.rebind(HERE)
    assert network.public_address(HERE) == new != HERE
    there.send(b"old", HERE)
    there.send(b"new", new)
    network.run(limit_s=1.0)
    assert [event.data for event in answers] == [b"new"]


def test_what_is_on_its_way_when_the_address_changes_vanishes():
    network, _, _ = stations(link=Link(delay_s=0.5))
    there = network.nodes[THERE].machine
    network.translate(HERE, every_s=1.0)
    there.send(b"in time", HERE)
    network.run(limit_s=0.75)
    there.send(b"too late", HERE)
    network.run(limit_s=2.0)
    assert [event.data for event in network.nodes[HERE].events] == [b"in time"]


@pytest.mark.parametrize("address", [("192.0.2.1", 1), ("2001:db8::1", 1)])
def test_a_node_may_move_to_another_host(address):
    network = VirtualNetwork()
    network.add(address, Station())
    moved = network.rebind(address, moves_host=True)
    assert moved[0] != address[0]
    assert moved[0].rpartition(":" if ":" in moved[0] else ".")[0] in address[0]


def test_links_stay_those_of_the_node_behind_its_translator():
    network, sender, heard = stations()
    network.set_link(HERE, THERE, Link(delay_s=0.25))
    network.rebind(HERE)
    sender.send(b"x")
    network.run(limit_s=1.0)
    assert [event.at for event in heard] == [0.25]
