"""Paths: who is challenged, what that may cost, and what moves a session."""

from __future__ import annotations

import random

import pytest

from quinkgl.transport.connection_ids import ConnectionId, RemoteIds
from quinkgl.transport.paths import TRANSITIONS, PathEvent, Paths, PathState
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.frames import PathChallenge, PathResponse, decode_frames_untrusted
from quinkgl.wire.limits import CONSTANTS, LIMITS
from quinkgl.wire.packets import SHORT_OVERHEAD_BYTES

HOME, PORT, HOST = ("192.0.2.1", 4001), ("192.0.2.1", 4999), ("198.51.100.7", 4001)
TIMEOUT_S = 0.1


def make_paths(stock: int = 3) -> tuple[Paths, RemoteIds]:
    ids = RemoteIds(ConnectionId(0, bytes(8), bytes(16)))
    for sequence in range(1, 1 + stock):
        ids.receive_untrusted(ConnectionId(sequence, bytes([sequence]) * 8, bytes([sequence]) * 16))
    return Paths(HOME, ids, random.Random(1).randbytes, 0.0), ids


def heard(paths: Paths, number: int, source, size: int = 100, now: float = 0.0) -> None:
    if source == paths.current.address:
        paths.current.heard_number = number
        paths.current.heard_at = now
    else:
        paths.on_elsewhere(number, size, source, now, TIMEOUT_S)


def challenge_of(packet) -> bytes:
    (frame,) = decode_frames_untrusted(packet.frames)
    assert isinstance(frame, PathChallenge)
    return frame.data


def test_a_packet_from_the_current_address_asks_for_nothing():
    paths, _ = make_paths()
    heard(paths, 5, HOME)
    assert not paths.is_busy
    assert paths.next_packet(0.0) is None
    assert paths.deadline() is None


@pytest.mark.req("Q-001", "Q-010", "Q-014")
def test_another_address_is_challenged_and_nothing_moves():
    paths, _ = make_paths()
    heard(paths, 5, PORT)
    assert paths.deadline() == 0.0
    packet = paths.next_packet(0.0)
    assert packet.address == PORT
    assert packet.connection_id == bytes([1]) * 8
    assert len(challenge_of(packet)) == 8
    assert paths.current.address == HOME
    assert paths.next_packet(0.0) is None


@pytest.mark.req("Q-020", "Q-021")
@pytest.mark.parametrize(("source", "is_new_host"), [(PORT, False), (HOST, True)])
def test_an_answer_moves_the_session(source, is_new_host):
    paths, ids = make_paths()
    heard(paths, 5, source)
    change = paths.on_response_untrusted(challenge_of(paths.next_packet(0.0)))
    assert (change.address, change.is_new_host) == (source, is_new_host)
    assert paths.current.address == source
    assert paths.current.connection_id.sequence == 1
    assert ids.next_news() == 0, "the id of the old path is retired"
    assert not paths.is_busy


@pytest.mark.req("F-011")
def test_an_answer_to_nothing_is_an_error_and_a_late_one_is_not():
    paths, _ = make_paths()
    with pytest.raises(RemoteProtocolError) as caught:
        paths.on_response_untrusted(bytes(8))
    assert caught.value.code is ErrorCode.E_FRAME_CONTEXT
    heard(paths, 5, PORT)
    paths.next_packet(0.0)
    assert paths.on_response_untrusted(bytes(8)) is None
    assert paths.current.address == HOME


@pytest.mark.req("Q-010", "Q-013")
def test_any_of_the_challenges_may_be_answered_from_anywhere():
    paths, _ = make_paths()
    heard(paths, 5, PORT, size=1200)
    first = challenge_of(paths.next_packet(0.0))
    second = challenge_of(paths.next_packet(TIMEOUT_S))
    assert first != second
    assert paths.on_response_untrusted(first).address == PORT


@pytest.mark.req("Q-020", "Q-021")
def test_an_answer_after_the_peer_was_heard_at_home_again_moves_nothing():
    """Somebody on the way repeats a packet from elsewhere, and can answer: the peer itself has not moved."""
    paths, ids = make_paths()
    heard(paths, 5, HOST)
    data = challenge_of(paths.next_packet(0.0))
    heard(paths, 6, HOME)
    assert paths.on_response_untrusted(data) is None
    assert paths.current.address == HOME
    assert ids.next_news() == 1


@pytest.mark.req("Q-010", "Q-021")
def test_challenges_come_at_each_probe_time_out_and_end():
    paths, ids = make_paths()
    heard(paths, 5, PORT, size=1200)
    times, now = [], 0.0
    while (deadline := paths.deadline()) is not None:
        now = deadline
        paths.handle_timer(now)
        if paths.next_packet(now) is not None:
            times.append(round(now, 1))
    assert times == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert round(now, 1) == 0.8
    assert len(times) == CONSTANTS.path_challenge_tries
    assert ids.next_news() == 1, "its id was seen there and is used nowhere else"
    assert paths.current.address == HOME


def test_no_further_challenge_leaves_before_a_candidate_is_given_up():
    paths, _ = make_paths()
    heard(paths, 5, PORT, size=1200)
    packets = [paths.next_packet(10.0 * step) for step in range(2 * CONSTANTS.path_challenge_tries)]
    assert [packet is not None for packet in packets] == [True] * 8 + [False] * 8
    assert paths.handle_timer(1000.0)


@pytest.mark.req("Q-011", "V-008")
@pytest.mark.parametrize("size", [34, 40, 42, 100, 1200])
def test_an_address_gets_at_most_three_times_what_came_from_it(size):
    paths, _ = make_paths()
    heard(paths, 5, PORT, size=size)
    sent, now = 0, 0.0
    while (deadline := paths.deadline()) is not None:
        now = deadline
        paths.handle_timer(now)
        while (packet := paths.next_packet(now)) is not None:
            sent += SHORT_OVERHEAD_BYTES + len(packet.frames)
    assert 0 < sent <= LIMITS.unvalidated_factor * size


@pytest.mark.req("Q-011", "V-008")
def test_answers_count_against_what_an_address_gets_as_challenges_do():
    paths, _ = make_paths()
    size = SHORT_OVERHEAD_BYTES + 9 + 8
    sent = 0
    for number in range(40):
        now = number * TIMEOUT_S
        heard(paths, number + 5, HOST, size=size, now=now)
        for _ in range(4):
            paths.on_challenge(bytes(8), HOST)
        while (packet := paths.next_packet(now)) is not None:
            sent += SHORT_OVERHEAD_BYTES + len(packet.frames)
        assert sent <= LIMITS.unvalidated_factor * size * (number + 1)
        assert not paths.is_busy or paths.deadline() is not None


@pytest.mark.req("Q-003", "W-040")
def test_candidates_are_bounded_and_the_newest_stay():
    paths, ids = make_paths()
    for number in range(1, 50):
        heard(paths, number, ("203.0.113.9", number))
    addresses = set()
    while (packet := paths.next_packet(0.0)) is not None:
        addresses.add(packet.address)
    assert len(addresses) == LIMITS.paths_per_connection - 1
    assert addresses == {("203.0.113.9", number) for number in (47, 48, 49)}
    assert ids.stock == 0


@pytest.mark.req("Q-014", "Q-021")
def test_without_an_id_in_stock_a_path_shares_that_of_the_current_one():
    paths, ids = make_paths(stock=0)
    heard(paths, 5, PORT)
    packet = paths.next_packet(0.0)
    assert packet.connection_id == bytes(8)
    assert paths.on_response_untrusted(challenge_of(packet)) is not None
    assert not ids.has_news, "the id is still in use"


@pytest.mark.req("Q-012")
def test_a_challenge_is_answered_where_it_came_from():
    paths, _ = make_paths()
    paths.on_challenge(b"at home.", HOME)
    paths.on_challenge(b"far away", HOST)
    answers = [paths.next_packet(0.0), paths.next_packet(0.0)]
    assert [packet.address for packet in answers] == [HOME, HOST]
    assert decode_frames_untrusted(answers[1].frames) == [PathResponse(b"far away")]
    assert paths.next_packet(0.0) is None
    assert not paths.is_busy


@pytest.mark.req("F-010")
def test_of_many_challenges_the_last_four_are_answered():
    paths, _ = make_paths()
    for number in range(10):
        paths.on_challenge(bytes([number]) * 8, HOME)
    answers = []
    while (packet := paths.next_packet(0.0)) is not None:
        answers.append(packet.frames[-1])
    assert answers == [6, 7, 8, 9]


def test_a_path_that_came_back_is_challenged_again():
    paths, _ = make_paths()
    for number, source in enumerate((PORT, HOME, HOST), start=1):
        heard(paths, number, source)
        assert paths.on_response_untrusted(challenge_of(paths.next_packet(0.0))).address == source


def test_nothing_moves_from_a_path_that_is_gone():
    assert not [move for move in TRANSITIONS if move[0] is PathState.GONE]
    assert all(TRANSITIONS[PathState.CANDIDATE, event] for event in PathEvent)
