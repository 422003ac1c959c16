"""Cookies: who can read one, what it proves, and for how long."""

from __future__ import annotations

import random

import pytest

from quinkgl.crypto.cookie import CookieSecret, mac2, open_cookie_untrusted, seal_cookie
from quinkgl.crypto.keys import KeySource
from quinkgl.wire.limits import CONSTANTS

HERE, THERE = ("192.0.2.1", 4001), ("192.0.2.1", 4002)
HEAD, MAC1, TAIL = b"head", b"1" * 16, b"tail"
PERIOD_S = CONSTANTS.cookie_secret_s
KEY, NONCE, COOKIE = b"k" * 32, b"n" * 16, b"c" * 16


def secret(now: float = 0.0) -> CookieSecret:
    return CookieSecret(KeySource.insecure_deterministic(random.Random(1)), now)


def parts(cookie: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    return HEAD, MAC1, mac2(cookie, HEAD, MAC1, TAIL), TAIL


@pytest.mark.req("S-065")
def test_only_holders_of_the_swarm_s_keys_read_a_cookie():
    sealed = seal_cookie(KEY, NONCE, COOKIE, MAC1)
    assert len(sealed) == 32
    assert open_cookie_untrusted(KEY, NONCE, sealed, MAC1) == COOKIE
    assert open_cookie_untrusted(b"K" * 32, NONCE, sealed, MAC1) is None
    assert open_cookie_untrusted(KEY, b"N" * 16, sealed, MAC1) is None


@pytest.mark.req("S-065")
def test_a_cookie_answers_one_first_packet_and_cannot_be_changed():
    sealed = seal_cookie(KEY, NONCE, COOKIE, MAC1)
    assert open_cookie_untrusted(KEY, NONCE, sealed, b"2" * 16) is None
    for position in range(len(sealed)):
        forged = sealed[:position] + bytes([sealed[position] ^ 1]) + sealed[position + 1 :]
        assert open_cookie_untrusted(KEY, NONCE, forged, MAC1) is None
    assert open_cookie_untrusted(KEY, NONCE, sealed[:-1], MAC1) is None
    assert open_cookie_untrusted(KEY, NONCE, b"", MAC1) is None


@pytest.mark.req("S-062")
def test_a_cookie_proves_one_address():
    cookies = secret()
    cookie = cookies.cookie(HERE, 0.0)
    assert len(cookie) == 16
    assert cookies.cookie(THERE, 0.0) != cookie
    assert cookies.is_proof(HERE, parts(cookie), 0.0)
    assert not cookies.is_proof(THERE, parts(cookie), 0.0)
    assert not cookies.is_proof(("192.0.2.2", 4001), parts(cookie), 0.0)


def test_no_other_byte_may_change():
    cookies = secret()
    head, first, second, tail = parts(cookies.cookie(HERE, 0.0))
    assert cookies.is_proof(HERE, (head, first, second, tail), 0.0)
    assert not cookies.is_proof(HERE, (b"heaD", first, second, tail), 0.0)
    assert not cookies.is_proof(HERE, (head, b"2" * 16, second, tail), 0.0)
    assert not cookies.is_proof(HERE, (head, first, b"2" * 16, tail), 0.0)
    assert not cookies.is_proof(HERE, (head, first, second, b"taiL"), 0.0)
    assert not cookies.is_proof(HERE, (head, first, bytes(16), tail), 0.0)


def test_another_node_s_cookie_proves_nothing():
    other = CookieSecret(KeySource.insecure_deterministic(random.Random(2)), 0.0)
    assert not secret().is_proof(HERE, parts(other.cookie(HERE, 0.0)), 0.0)


@pytest.mark.req("S-061")
def test_a_cookie_is_good_for_one_change_of_the_secret_and_not_for_two():
    cookies = secret()
    first = parts(cookies.cookie(HERE, PERIOD_S - 0.1))
    assert cookies.is_proof(HERE, first, PERIOD_S)
    second = parts(cookies.cookie(HERE, PERIOD_S))
    assert first != second
    assert cookies.is_proof(HERE, first, 2 * PERIOD_S - 0.1)
    assert not cookies.is_proof(HERE, first, 2 * PERIOD_S)
    assert cookies.is_proof(HERE, second, 2 * PERIOD_S)
    assert not cookies.is_proof(HERE, second, 3 * PERIOD_S)


@pytest.mark.req("S-061")
def test_a_cookie_does_not_outlive_a_long_silence():
    cookies = secret()
    old = parts(cookies.cookie(HERE, 0.0))
    assert not cookies.is_proof(HERE, old, 2 * PERIOD_S)
    assert not cookies.is_proof(HERE, old, 1000 * PERIOD_S)
