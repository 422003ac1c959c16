"""Pairs of fetcher and source over an ordered pipe: the manifest arrives whole, or both know why not."""

from __future__ import annotations

import contextlib
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quinkgl.protocol.manifest_fetch import (
    FetchOver,
    FetchState,
    ManifestFetch,
    ManifestFetched,
    ManifestNotFetched,
    ManifestServed,
    ManifestSource,
)
from quinkgl.testing.carrier import OrderedPipe
from quinkgl.testing.contract import Checked, assert_refuses_reentry
from quinkgl.wire.cbor import encode
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.messages.fetch import (
    PIECE_BYTES,
    FetchRefused,
    Get,
    Piece,
    decode_fetch_message_untrusted,
    encode_fetch_message,
)

SIGNATURE = bytes(range(64))
TIMEOUT = LIMITS.manifest_fetch_timeout_s


def manifest(size=3000):
    return bytes(index % 251 for index in range(size))


def digest(data):
    return hashlib.sha256(data).digest()


def fetch(swarm_id, *, now=0.0):
    return Checked(ManifestFetch(swarm_id, now=now), now=now)


def asked(swarm_id):
    """A fetcher whose first request is on its way."""
    fetcher = fetch(swarm_id)
    assert len(fetcher.drain(0.0).of("next_message")) == 1
    return fetcher


def source(data, signature=SIGNATURE, *, now=0.0):
    return Checked(ManifestSource(digest(data), data, signature, now=now), now=now)


def run(one, other, *, delay=lambda: 0.0, until=60.0):
    """Carry messages both ways until nothing moves any more; return what each side reported, and when."""
    sides = (one, other)
    pipes = (OrderedPipe(delay), OrderedPipe(delay))
    events = ([], [])
    now = 0.0
    while now <= until:
        for index, side in enumerate(sides):
            while (data := pipes[1 - index].receive(now)) is not None:
                side.receive_message(data, now=now)
            if side.deadline() is not None and side.deadline() <= now:
                side.handle_timer(now=now)
            drained = side.drain(now)
            events[index].extend(drained.events)
            for data in drained.of("next_message"):
                pipes[index].send(data, now)
        due = [pipe.next_arrival() for pipe in pipes] + [side.deadline() for side in sides]
        due = [when for when in due if when is not None]
        if not due:
            break
        now = max(now, min(due))
    return events


@pytest.mark.req("H-030")
@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([1, 3000, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES, 65536]),
    st.floats(0, 1),
    st.sampled_from([None, SIGNATURE]),
)
def test_a_manifest_of_any_size_arrives_whole(size, delay, signature):
    data = manifest(size)
    fetcher, giver = fetch(digest(data)), source(data, signature)
    fetched, served = run(fetcher, giver, delay=lambda: delay, until=TIMEOUT - 1)
    assert fetched == [ManifestFetched(data, signature)]
    assert served == [ManifestServed()]
    assert fetcher.state is giver.state is FetchState.DONE
    assert fetcher.deadline() is None
    assert fetcher.deadline_reason == ""


@pytest.mark.req("H-038")
def test_bytes_that_do_not_hash_to_the_id_are_not_handed_on():
    """The source is honest about its own swarm; somebody in between changes one bit."""
    data = manifest()
    fetcher = asked(digest(data))
    piece = Piece(0, len(data), bytes([data[0] ^ 1]) + data[1:], SIGNATURE)
    fetcher.receive_message(encode_fetch_message(piece), now=0.0)
    (event,) = fetcher.drain(0.0).events
    assert isinstance(event, ManifestNotFetched)
    assert event.code is ErrorCode.E_MAN_HASH
    assert fetcher.state is FetchState.FAILED
    fetcher.receive_message(encode_fetch_message(piece), now=0.0)
    assert fetcher.stats.dropped == {"after_end": 1}


@pytest.mark.req("H-034")
def test_another_swarm_is_refused_and_the_session_is_over():
    fetcher, giver = fetch(bytes(32)), source(manifest())
    fetched, served = run(fetcher, giver)
    assert fetched == [ManifestNotFetched(ErrorCode.E_MAN_UNKNOWN, "not served here")]
    assert served == [FetchOver(ErrorCode.E_MAN_UNKNOWN)]


def test_all_that_may_wait_at_a_source_is_inside_its_bound():
    data = manifest(PIECE_BYTES + 1)
    giver = source(data)
    for request in (Get(digest(data), 0), Get(digest(data), PIECE_BYTES), Get(bytes(32), 0)):
        giver.receive_message(encode_fetch_message(request), now=0.0)
    held, bound = giver.occupancy()["messages"]
    assert held == bound == 3


@pytest.mark.req("H-037")
def test_silence_ends_in_time():
    fetcher, giver = fetch(bytes(32)), source(manifest())
    fetcher.drain(0.0)
    for side in (fetcher, giver):
        assert side.deadline() == TIMEOUT
        assert side.deadline_reason == "timeout"
        side.handle_timer(now=TIMEOUT / 2)
        assert side.drain(TIMEOUT / 2).events == ()
        side.handle_timer(now=TIMEOUT)
    (event,) = fetcher.drain(TIMEOUT).events
    assert event.code is ErrorCode.E_MAN_TIMEOUT
    assert giver.drain(TIMEOUT).events == (FetchOver(ErrorCode.E_MAN_TIMEOUT),)


@pytest.mark.req("H-037")
def test_a_fetcher_that_does_not_leave_is_sent_away_in_time():
    data = manifest()
    giver = source(data)
    giver.receive_message(encode_fetch_message(Get(digest(data), 0)), now=0.0)
    assert giver.deadline_reason == "output"
    assert giver.drain(0.0).events == (ManifestServed(),)
    giver.handle_timer(now=TIMEOUT)
    assert giver.drain(TIMEOUT).events == (FetchOver(ErrorCode.E_MAN_TIMEOUT),)


@pytest.mark.req("H-033")
def test_a_manifest_beyond_the_limit_is_not_begun():
    fetcher = asked(bytes(32))
    piece = Piece(0, LIMITS.manifest_bytes + 1, bytes(PIECE_BYTES))
    fetcher.receive_message(encode_fetch_message(piece), now=0.0)
    (event,) = fetcher.drain(0.0).events
    assert event.code is ErrorCode.E_TOO_BIG


TWO = 2 * PIECE_BYTES
BAD_FOR_FETCHER = {
    "a piece that was not asked for": [Piece(PIECE_BYTES, TWO, bytes(PIECE_BYTES))],
    "the same piece again": [Piece(0, TWO, bytes(PIECE_BYTES)), Piece(0, TWO, bytes(PIECE_BYTES))],
    "another total": [Piece(0, TWO, bytes(PIECE_BYTES)), Piece(PIECE_BYTES, TWO + 1, bytes(PIECE_BYTES))],
    "a short piece": [Piece(0, TWO, bytes(100))],
    "a request": [Get(bytes(32), 0)],
}


@pytest.mark.req("H-032", "H-033")
@pytest.mark.parametrize("messages", BAD_FOR_FETCHER.values(), ids=BAD_FOR_FETCHER)
def test_a_source_that_breaks_the_rules_is_an_error(messages):
    fetcher = asked(bytes(32))
    *good, bad = map(encode_fetch_message, messages)
    for message in good:
        fetcher.receive_message(message, now=0.0)
        fetcher.drain(0.0)
    with pytest.raises(RemoteProtocolError) as caught:
        fetcher.receive_message(bad, now=0.0)
    assert caught.value.code is ErrorCode.E_PROTOCOL
    assert fetcher.state is FetchState.FAILED
    assert fetcher.stats.dropped == {"breach": 1}
    assert fetcher.drain(0.0).events == ()


@pytest.mark.req("H-033")
def test_a_piece_before_its_request_is_an_error():
    fetcher = asked(bytes(32))
    fetcher.receive_message(encode_fetch_message(Piece(0, TWO, bytes(PIECE_BYTES))), now=0.0)
    with pytest.raises(RemoteProtocolError, match="not asked for"):
        fetcher.receive_message(encode_fetch_message(Piece(PIECE_BYTES, TWO, bytes(PIECE_BYTES))), now=0.0)


@pytest.mark.req("H-034")
@pytest.mark.parametrize("offset", [1, PIECE_BYTES, 1 << 19])
def test_each_piece_is_given_once_and_in_order(offset):
    data = manifest(TWO)
    giver = source(data)
    with pytest.raises(RemoteProtocolError, match="out of turn"):
        giver.receive_message(encode_fetch_message(Get(digest(data), offset)), now=0.0)
    assert giver.state is FetchState.FAILED
    again = source(data)
    again.receive_message(encode_fetch_message(Get(digest(data), 0)), now=0.0)
    with pytest.raises(RemoteProtocolError, match="out of turn"):
        again.receive_message(encode_fetch_message(Get(digest(data), 0)), now=0.0)


@pytest.mark.req("H-034")
def test_a_source_takes_no_answers():
    giver = source(manifest())
    with pytest.raises(RemoteProtocolError, match="an answer"):
        giver.receive_message(encode_fetch_message(FetchRefused(1, "")), now=0.0)
    giver.receive_message(encode_fetch_message(Get(bytes(32), 0)), now=0.0)
    assert giver.stats.dropped == {"breach": 1, "after_end": 1}


@given(st.binary(max_size=200))
def test_any_bytes_raise_only_what_they_may(data):
    for machine in (fetch(bytes(32)), source(manifest())):
        with contextlib.suppress(RemoteProtocolError):
            machine.receive_message(data, now=0.0)


def test_later_kinds_are_ignored():
    for machine in (fetch(bytes(32)), source(manifest())):
        machine.receive_message(encode({0: 64}), now=0.0)
        assert machine.stats.dropped == {"unknown_kind": 1}


@pytest.mark.req("E-002", "H-021")
def test_a_reason_cannot_break_a_line():
    fetcher = fetch(bytes(32))
    fetcher.receive_message(encode_fetch_message(FetchRefused(0xFFFF, "a\x1b[2Jb\n")), now=0.0)
    assert fetcher.drain(0.0).events == (ManifestNotFetched(ErrorCode.E_PROTOCOL, "a?[2Jb?"),)


def test_misuse_is_refused():
    with pytest.raises(LocalProtocolError):
        ManifestFetch(bytes(31), now=0.0)
    with pytest.raises(LocalProtocolError):
        ManifestSource(bytes(32), manifest(), now=0.0)
    with pytest.raises(LocalProtocolError):
        ManifestSource(digest(b""), b"", now=0.0)
    large = manifest(LIMITS.manifest_bytes + 1)
    with pytest.raises(LocalProtocolError):
        ManifestSource(digest(large), large, now=0.0)


def test_the_contract_of_both():
    for machine in (fetch(bytes(32), now=5.0), source(manifest(), now=5.0)):
        machine.step_back()
        inner = machine.machine
        assert_refuses_reentry(inner, lambda m=inner: m.handle_timer(now=5.0), now=5.0)
        machine.drain(5.0)
        machine.step_back()


@pytest.mark.req("H-031")
def test_messages_round_trip_and_are_bounded():
    for message in (
        Get(bytes(32), 8192),
        Piece(0, 8193, bytes(PIECE_BYTES), SIGNATURE),
        Piece(PIECE_BYTES, PIECE_BYTES + 1, b"x"),
        FetchRefused(0x30, "not served here"),
    ):
        assert decode_fetch_message_untrusted(encode_fetch_message(message)) == message
    for fields in (
        {0: 5, 1: 0, 2: 10, 3: bytes(11)},
        {0: 5, 1: 8192, 2: 8200, 3: bytes(8), 4: bytes(64)},
        {0: 5, 1: 0, 2: 10, 3: b""},
        {0: 4, 1: bytes(31), 2: 0},
        {0: 6},
    ):
        with pytest.raises(RemoteProtocolError) as caught:
            decode_fetch_message_untrusted(encode(fields))
        assert caught.value.code is ErrorCode.E_SCHEMA
