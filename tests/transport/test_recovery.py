"""Loss detection and probe time-outs: worked examples of RFC 9002 sections 6 and 7."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.transport.congestion import NewReno
from quinkgl.transport.recovery import LossRecovery
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError

SIZE = 1200
ACK_DELAY_S = 0.025


def recovery(*, rtt_s: float | None = 0.1) -> LossRecovery[str]:
    """Return a recovery that knows its round-trip time, unless told otherwise."""
    made: LossRecovery[str] = LossRecovery(NewReno(SIZE), max_ack_delay_s=ACK_DELAY_S)
    if rtt_s is not None:
        made.rtt.sample(rtt_s, 0.0)
    return made


def send(made: LossRecovery[str], count: int, now: float, *, size: int = SIZE) -> list[int]:
    numbers = []
    for _ in range(count):
        number = made.take_number()
        made.on_sent(number, size, f"packet {number}", now)
        numbers.append(number)
    return numbers


def acknowledge(made: LossRecovery[str], *numbers: int, now: float, delay_s: float = 0.0):
    """Acknowledge single numbers; return the numbers newly acknowledged and those lost."""
    ranges = [(number, number) for number in sorted(numbers, reverse=True)]
    result = made.on_ack_untrusted(ranges, delay_s, now)
    return numbers_of(result.acknowledged), numbers_of(result.lost)


def numbers_of(parts) -> list[int]:
    return [number for part in parts for number in part.numbers]


# Acknowledgement


@pytest.mark.req("P-020", "R-001")
def test_numbers_count_up_and_packets_come_back_with_their_contents():
    made = recovery()
    assert send(made, 3, 0.0) == [0, 1, 2]
    assert made.next_number == 3
    assert made.bytes_in_flight == 3 * SIZE
    result = made.on_ack_untrusted([(0, 2)], 0.0, 0.1)
    assert [packet.contents for packet in result.acknowledged] == ["packet 0", "packet 1", "packet 2"]
    assert result.lost == []
    assert made.bytes_in_flight == 0
    assert made.deadline() is None


def test_an_acknowledgement_counts_once():
    made = recovery()
    send(made, 2, 0.0)
    assert acknowledge(made, 0, now=0.1) == ([0], [])
    assert acknowledge(made, 0, now=0.2) == ([], [])
    assert made.bytes_in_flight == SIZE


@pytest.mark.req("F-020", "R-002")
def test_acknowledging_what_was_never_sent_is_an_error():
    made = recovery()
    send(made, 2, 0.0)
    with pytest.raises(RemoteProtocolError) as caught:
        made.on_ack_untrusted([(0, 2)], 0.0, 0.1)
    assert caught.value.code is ErrorCode.E_ACK
    assert made.bytes_in_flight == 2 * SIZE


@pytest.mark.req("R-001")
def test_many_numbers_that_ask_for_no_acknowledgement_cost_nothing():
    """A peer that leaves the oldest packet out must not make each ACK walk over all numbers since."""
    made = recovery()
    send(made, 1, 0.0)
    for _ in range(1_000_000):
        made.take_number()
    (newest,) = send(made, 1, 1.0)
    for _ in range(2000):  # a walk over a million numbers each would take minutes
        made.on_ack_untrusted([(1, newest - 1)], 0.0, 1.0)
    assert acknowledge(made, newest, now=1.0) == ([newest], [0])


@pytest.mark.req("R-020")
def test_only_the_largest_newly_acknowledged_packet_gives_a_sample():
    """Section 5.1."""
    made = recovery(rtt_s=None)
    send(made, 2, 1.0)
    acknowledge(made, 1, now=1.2)
    assert made.rtt.latest == pytest.approx(0.2)
    result = made.on_ack_untrusted([(0, 1)], 0.0, 1.22)
    assert numbers_of(result.acknowledged) == [0]  # newly, and not the largest
    assert made.rtt.latest == pytest.approx(0.2)


@pytest.mark.req("R-021")
def test_the_peers_delay_is_capped_at_what_it_promised():
    """Section 5.3: max_ack_delay."""
    made = recovery(rtt_s=0.1)
    send(made, 1, 0.0)
    acknowledge(made, 0, now=0.5, delay_s=0.3)
    assert made.rtt.smoothed == pytest.approx(0.875 * 0.1 + 0.125 * (0.5 - ACK_DELAY_S))


# Loss


@pytest.mark.req("R-030")
def test_the_packet_threshold():
    """Section 6.1.1: three later packets acknowledged make an older one lost; two do not."""
    made = recovery()
    send(made, 4, 0.0)
    assert acknowledge(made, 2, now=0.05) == ([2], [])
    assert acknowledge(made, 3, now=0.06) == ([3], [0])
    assert made.bytes_in_flight == SIZE  # packet 1 is missing, but not long enough


@pytest.mark.req("R-030")
def test_the_time_threshold():
    """Section 6.1.2: 9/8 of the round trip after it was sent, once a later packet was acknowledged."""
    made = recovery(rtt_s=0.1)
    send(made, 1, 0.0)
    send(made, 1, 0.005)
    assert acknowledge(made, 1, now=0.105) == ([1], [])
    due = made.deadline()
    assert due == pytest.approx(0.1125)
    lost = made.on_timeout(due)
    assert numbers_of(lost) == [0]
    assert made.deadline() is None
    assert made.probe_count == 0


@pytest.mark.req("R-030")
def test_packets_after_the_largest_acknowledged_are_not_lost_but_late():
    made = recovery()
    send(made, 10, 0.0)
    assert acknowledge(made, 1, now=0.1) == ([1], [])
    assert numbers_of(made.on_timeout(made.deadline())) == [0]
    assert made.bytes_in_flight == 8 * SIZE


@pytest.mark.req("R-061")
def test_a_loss_is_told_to_the_controller_once_a_round_trip():
    made = recovery()
    send(made, 8, 0.0)
    assert acknowledge(made, 5, 6, 7, now=0.1) == ([5, 6, 7], [0, 1, 2, 3, 4])
    assert made.controller.window == 6000


@pytest.mark.req("R-061")
def test_growth_needs_a_window_that_is_in_use():
    made = recovery()
    send(made, 2, 0.0)
    acknowledge(made, 0, 1, now=0.1)
    assert made.controller.window == 12000
    send(made, 10, 0.2)
    acknowledge(made, *range(2, 12), now=0.3)
    assert made.controller.window == 24000


# Probe time-out


@pytest.mark.req("R-040")
def test_the_probe_time_out_without_a_sample():
    """Section 6.2.2: one second, and the peer's delay."""
    made = recovery(rtt_s=None)
    send(made, 1, 10.0)
    assert made.deadline() == pytest.approx(10.0 + 0.333 + 4 * 0.1665 + ACK_DELAY_S)


@pytest.mark.req("R-042")
def test_probes_are_no_rarer_than_the_session_bears():
    """R-042: the doubling ends at the bound, or at the time-out itself where that is longer."""
    for bound, longest in ((1.0, 1.0), (0.01, 0.1 + 4 * 0.05 + ACK_DELAY_S)):
        made = LossRecovery(NewReno(SIZE), max_ack_delay_s=ACK_DELAY_S, max_probe_interval_s=bound)
        made.rtt.sample(0.1, 0.0)
        send(made, 1, 0.0)
        times = [0.0]
        for _ in range(8):
            times.append(made.deadline())
            made.on_timeout(times[-1])
        assert times[-1] - times[-2] == pytest.approx(longest)


@pytest.mark.req("R-040")
def test_the_probe_time_out_counts_from_the_last_packet_and_doubles():
    """Section 6.2.1: smoothed + 4 variations + delay, times two for each that passed."""
    made = recovery(rtt_s=0.1)
    send(made, 1, 0.0)
    send(made, 1, 0.2)
    timeout = 0.1 + 4 * 0.05 + ACK_DELAY_S
    assert made.deadline() == pytest.approx(0.2 + timeout)
    now = made.deadline()
    assert made.on_timeout(now) == []
    assert [packet.contents for packet in made.oldest(2)] == ["packet 0", "packet 1"]
    assert made.deadline() == pytest.approx(now + 2 * timeout)  # also where no probe could be sent
    send(made, 1, now + 0.1)
    assert made.deadline() == pytest.approx(now + 0.1 + 2 * timeout)
    made.on_timeout(made.deadline())
    assert made.probe_count == 2


@pytest.mark.req("R-030")
def test_a_probe_time_out_declares_nothing_lost_and_leaves_the_window_alone():
    """Section 6.2.4."""
    made = recovery()
    send(made, 5, 0.0)
    window = made.controller.window
    made.on_timeout(made.deadline())
    assert made.bytes_in_flight == 5 * SIZE
    assert made.controller.window == window


@pytest.mark.req("R-040")
def test_an_acknowledgement_ends_the_back_off():
    made = recovery()
    send(made, 2, 0.0)
    for _ in range(5):
        made.on_timeout(made.deadline())
    assert made.probe_count == 5
    acknowledge(made, 0, now=30.0)
    assert made.probe_count == 0


@pytest.mark.req("R-042")
def test_the_back_off_is_bounded():
    made = recovery()
    send(made, 1, 0.0)
    for _ in range(2000):
        made.on_timeout(made.deadline())
    now = made.deadline()
    made.on_timeout(now)
    assert made.deadline() - now == pytest.approx((0.1 + 0.2 + ACK_DELAY_S) * 2**10)


# Persistent congestion


def lose_over(made: LossRecovery[str], gap_s: float, *, hole: bool = False) -> None:
    """Lose four packets ``gap_s`` apart, and let a packet that was sent later be acknowledged."""
    made.on_sent(made.take_number(), SIZE, "first", 0.0)
    acknowledge(made, 0, now=0.1)  # the first sample
    now = 1.0
    for index in range(4):
        if hole and index == 2:
            made.take_number()  # a packet that asked for no acknowledgement
        send(made, 1, now)
        now += gap_s
    send(made, 3, now)
    acknowledge(made, made.next_number - 1, now=now + 0.1)


@pytest.mark.req("R-050")
def test_losses_over_three_probe_time_outs_are_persistent_congestion():
    """Section 7.6: (smoothed + 4 variations + delay) x 3; the window falls to its minimum."""
    made = recovery()
    period = 3 * made.rtt.probe_timeout(ACK_DELAY_S)
    lose_over(made, period / 3 + 0.01)
    assert made.controller.window == 2 * SIZE + SIZE  # and slow start from there, by what was acknowledged


@pytest.mark.req("R-050")
def test_shorter_losses_are_not():
    made = recovery()
    lose_over(made, 0.02)
    assert made.controller.window == 6000


@pytest.mark.req("R-050")
def test_a_gap_in_the_run_interrupts_it():
    """Section 7.6.2: no packet in between may have arrived; a packet that nobody reports on may have."""
    made = recovery()
    period = 3 * made.rtt.probe_timeout(ACK_DELAY_S)
    lose_over(made, period / 3 + 0.01, hole=True)
    assert made.controller.window == 6000


@pytest.mark.req("R-050")
def test_losses_before_the_first_sample_do_not_count():
    """Section 7.6.2."""
    made = recovery(rtt_s=None)
    for now in (0.0, 5.0, 10.0, 15.0, 15.1, 15.2, 15.3):
        send(made, 1, now)
    assert acknowledge(made, 6, now=15.4) == ([6], [0, 1, 2, 3, 4, 5])
    assert made.controller.window == 6000


@pytest.mark.req("R-050")
def test_losses_without_any_sample_are_not_persistent():
    """The largest number acknowledged is a packet that asked for nothing: it gives no sample."""
    made = recovery(rtt_s=None)
    send(made, 5, 0.0)
    made.take_number()
    assert acknowledge(made, 5, 4, now=30.0) == ([4], [0, 1, 2, 3])
    assert not made.rtt.has_sample
    assert made.controller.window == 6000


@pytest.mark.req("R-001")
@given(st.data())
def test_every_packet_is_reported_once_and_bytes_in_flight_add_up(data):
    """Whatever is acknowledged, and whenever timers fire: a packet ends acknowledged or lost, and once."""
    made = recovery()
    now = 0.0
    open_numbers: set[int] = set()
    for _ in range(data.draw(st.integers(1, 30))):
        now += data.draw(st.floats(0, 0.3))
        action = data.draw(st.sampled_from(["send", "acknowledge", "time-out"]))
        if action == "send":
            open_numbers |= set(send(made, data.draw(st.integers(1, 5)), now))
            continue
        if action == "acknowledge":
            if made.next_number == 0:
                continue
            numbers = data.draw(st.sets(st.integers(0, made.next_number - 1), min_size=1, max_size=6))
            arrived, lost = acknowledge(made, *numbers, now=now)
            assert set(arrived) == open_numbers & numbers
        else:
            due = made.deadline()
            if due is None:
                assert not open_numbers
                continue
            now = max(now, due)
            arrived, lost = [], numbers_of(made.on_timeout(now))
        assert set(lost) <= open_numbers - set(arrived)
        open_numbers -= {*arrived, *lost}
        assert made.bytes_in_flight == SIZE * len(open_numbers)
        assert numbers_of(made.oldest(2)) == sorted(open_numbers)[:2]


# Runs


def send_run(made: LossRecovery[str], count: int, now: float, *, last_size: int = SIZE) -> int:
    first = made.take_numbers(count)
    made.on_sent(first, SIZE, f"run {first}", now, count=count, last_size=last_size)
    return first


def test_a_run_is_acknowledged_and_lost_in_parts():
    made = recovery()
    send_run(made, 10, 0.0, last_size=500)
    assert made.bytes_in_flight == 9 * SIZE + 500
    result = made.on_ack_untrusted([(8, 9), (4, 5), (1, 1)], 0.0, 0.05)
    assert numbers_of(result.acknowledged) == [1, 4, 5, 8, 9]
    assert numbers_of(result.lost) == [0, 2, 3, 6]
    assert made.bytes_in_flight == SIZE  # number 7 is late, but not long enough
    assert numbers_of(made.on_timeout(made.deadline())) == [7]
    assert made.bytes_in_flight == 0
    assert made.deadline() is None


def test_the_tail_of_a_run_above_the_largest_acknowledged_stays_in_flight():
    made = recovery()
    send_run(made, 10, 0.0)
    result = made.on_ack_untrusted([(4, 4)], 0.0, 0.05)
    assert (numbers_of(result.acknowledged), numbers_of(result.lost)) == ([4], [0, 1])
    assert numbers_of(made.on_timeout(made.deadline())) == [2, 3]
    assert made.bytes_in_flight == 5 * SIZE
    assert numbers_of(made.oldest(3)) == [5, 6, 7]


@pytest.mark.req("P-026")
def test_a_large_window_has_few_skipped_numbers():
    made: LossRecovery[str] = LossRecovery(NewReno(SIZE), max_ack_delay_s=ACK_DELAY_S, rng=random.Random(1))
    numbers = [send(made, 1, 0.0)[0] for _ in range(10_000)]
    skipped = sorted(set(range(made.next_number)) - set(numbers))
    assert 3 <= len(skipped) <= 16
    assert skipped[-1] > 5_000


@pytest.mark.req("P-026", "R-002")
def test_skipped_numbers_are_remembered():
    made: LossRecovery[str] = LossRecovery(NewReno(SIZE), max_ack_delay_s=ACK_DELAY_S, rng=random.Random(1))
    numbers = [made.take_number() for _ in range(30_000)]
    skipped = sorted(set(range(made.next_number)) - set(numbers))
    assert all(128 <= later - earlier <= 514 for earlier, later in pairwise([0, *skipped]))
    for number in skipped[-60:]:
        with pytest.raises(RemoteProtocolError) as caught:
            made.on_ack_untrusted([(number - 1, number)], 0.0, 0.1)
        assert caught.value.code is ErrorCode.E_ACK
    around = [(low, high - 1) for low, high in pairwise([-1, *skipped])]
    ranges = [(low + 1, high) for low, high in around]
    last = made.take_number()
    made.on_sent(last, SIZE, "the last", 0.0)
    result = made.on_ack_untrusted([(last, last), *ranges[::-1][:31]], 0.0, 0.1)
    assert numbers_of(result.acknowledged) == [last]


@given(st.data())
def test_runs_are_recovered_as_their_packets_are(data):
    """The same numbers, sent as runs and one by one: acknowledged, lost, in flight and due alike."""
    as_runs, singly = recovery(), recovery()
    now = 0.0
    for _ in range(data.draw(st.integers(1, 20))):
        now += data.draw(st.floats(0, 0.2))
        match data.draw(st.sampled_from(["send", "acknowledge", "time-out"])):
            case "send":
                count = data.draw(st.integers(1, 40))
                last_size = data.draw(st.integers(1, SIZE))
                send_run(as_runs, count, now, last_size=last_size)
                send(singly, count - 1, now)
                send(singly, 1, now, size=last_size)
            case "acknowledge" if as_runs.next_number:
                numbers = data.draw(st.sets(st.integers(0, as_runs.next_number - 1), min_size=1))
                ranges: list[tuple[int, int]] = []
                for number in sorted(numbers, reverse=True):
                    if ranges and ranges[-1][0] == number + 1:
                        ranges[-1] = number, ranges[-1][1]
                    else:
                        ranges.append((number, number))
                one, other = (made.on_ack_untrusted(ranges, 0.0, now) for made in (as_runs, singly))
                assert numbers_of(one.acknowledged) == numbers_of(other.acknowledged)
                assert numbers_of(one.lost) == numbers_of(other.lost)
            case _:
                due = as_runs.deadline()
                if due is not None:
                    now = max(now, due)
                    assert numbers_of(as_runs.on_timeout(now)) == numbers_of(singly.on_timeout(now))
        assert as_runs.deadline() == singly.deadline()
        assert as_runs.bytes_in_flight == singly.bytes_in_flight
        assert as_runs.probe_count == singly.probe_count
        assert numbers_of(as_runs.oldest(5)) == numbers_of(singly.oldest(5))


# Another path


@pytest.mark.req("Q-022")
def test_packets_of_the_old_path_tell_nothing_of_the_new_one():
    made = recovery()
    old = send(made, 6, 0.4)
    fresh = NewReno(SIZE)
    window = fresh.window
    made.on_new_path(fresh)
    assert made.bytes_in_flight == 0
    assert not made.rtt.has_sample
    new = send(made, 2, 0.5)
    assert acknowledge(made, old[5], now=0.6) == ([old[5]], old[:3])
    assert not made.rtt.has_sample
    assert fresh.window == window
    assert made.bytes_in_flight == 2 * SIZE
    assert acknowledge(made, *new, now=0.7)[0] == new
    assert made.rtt.latest == pytest.approx(0.2)
    assert made.bytes_in_flight == 0
