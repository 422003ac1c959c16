"""Stateless resets: tokens that survive a restart, datagrams that get smaller and smaller, one limit."""

from __future__ import annotations

import random

import pytest

from quinkgl.testing.endpoints import make_identity
from quinkgl.transport.stateless_reset import (
    LARGEST_BYTES,
    SMALLEST_BYTES,
    ResetLimiter,
    ResetTokens,
    build_reset,
    reset_key,
    reset_token,
)
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.packets import PacketForm, packet_form

TOKEN = bytes(range(16))


def test_a_node_finds_its_tokens_again_after_a_restart():
    again = [reset_token(reset_key(make_identity(1), bytes(32)), b"12345678") for _ in range(2)]
    assert again[0] == again[1]
    assert len(again[0]) == 16


def test_tokens_differ_by_identity_by_swarm_and_by_id():
    tokens = {
        reset_token(reset_key(make_identity(identity), bytes([swarm]) * 32), bytes([number]) * 8)
        for identity in (1, 2)
        for swarm in (1, 2)
        for number in (1, 2)
    }
    assert len(tokens) == 8


@pytest.mark.req("Q-041")
@pytest.mark.parametrize("trigger", [*range(41, 130), 1200, 65507])
def test_a_reset_is_smaller_than_what_it_answers(trigger):
    for seed in range(20):
        reset = build_reset(TOKEN, trigger, random.Random(seed))
        assert SMALLEST_BYTES <= len(reset) < trigger
        assert len(reset) <= LARGEST_BYTES
        assert reset[-16:] == TOKEN


@pytest.mark.req("Q-041")
@pytest.mark.parametrize("trigger", [0, 17, 33, 39, 40])
def test_nothing_small_is_answered(trigger):
    assert build_reset(TOKEN, trigger, random.Random(1)) is None


@pytest.mark.req("Q-041")
def test_two_nodes_that_lost_a_session_fall_silent():
    rng = random.Random(1)
    size, answers = 65507, 0
    while (reset := build_reset(TOKEN, size, rng)) is not None:
        size, answers = len(reset), answers + 1
    assert answers <= 1 + LARGEST_BYTES - SMALLEST_BYTES


def test_a_reset_looks_like_a_packet_of_frames():
    for seed in range(200):
        assert packet_form(build_reset(TOKEN, 1200, random.Random(seed))) is PacketForm.FRAMES


@pytest.mark.req("Q-042")
def test_a_reset_is_known_by_its_last_bytes_alone():
    tokens = ResetTokens(b"k" * 32)
    tokens.replace(b"session", (), (TOKEN,))
    assert tokens.owner_of(b"\x40" + bytes(40) + TOKEN) == b"session"
    assert tokens.owner_of(memoryview(b"\x40" + bytes(23) + TOKEN)) == b"session"
    assert tokens.owner_of(TOKEN + b"\x40" + bytes(40)) is None
    assert tokens.owner_of(b"\x40" + bytes(22) + TOKEN) is None, "smaller than any reset"


@pytest.mark.req("Q-042")
def test_a_session_s_tokens_change_with_its_ids_and_go_with_it():
    tokens = ResetTokens(b"k" * 32)
    other = bytes(16)
    tokens.replace(b"session", (), (TOKEN,))
    tokens.replace(b"session", (TOKEN,), (other,))
    assert tokens.owner_of(bytes(40) + TOKEN) is None
    assert tokens.owner_of(bytes(40) + other) == b"session"
    tokens.replace(b"session", (other,), ())
    assert len(tokens) == 0
    assert tokens.owner_of(bytes(40) + other) is None


@pytest.mark.req("Q-040")
def test_resets_are_limited_by_the_second():
    limiter = ResetLimiter(now=100.0)
    assert sum(limiter.take(100.0) for _ in range(1000)) == LIMITS.reset_rate_per_s
    assert sum(limiter.take(100.5) for _ in range(1000)) == LIMITS.reset_rate_per_s // 2
    assert sum(limiter.take(1000.0) for _ in range(1000)) == LIMITS.reset_rate_per_s
