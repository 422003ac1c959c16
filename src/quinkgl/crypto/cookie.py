"""Cookies: proof that whoever sends a first packet receives what is sent to its address (spec 5.9).

A responder that is under load remembers nothing of a first packet. It answers with a cookie, a MAC of the
packet's source address under a secret of its own, sealed so that only a holder of the swarm's keys can read
it; the same first packet with a ``mac2`` under that cookie then proves the address. (WireGuard, sections 5.3
and 5.4.7.)
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from quinkgl.crypto.keys import KeySource
from quinkgl.crypto.psk import hkdf_expand
from quinkgl.wire.limits import CONSTANTS
from quinkgl.wire.spec_data import load

if TYPE_CHECKING:
    from quinkgl.wire.addresses import Address

_LABEL = load("registries/domains")["cookie"]["label"].encode("ascii")
_BYTES = CONSTANTS.mac1_bytes
_AEAD_NONCE = bytes(CONSTANTS.nonce_bytes)
"""Constant, since each key seals one cookie."""
_NO_MAC2 = bytes(_BYTES)


def mac2(cookie: bytes, head: bytes, mac1: bytes, tail: bytes) -> bytes:
    """Return 16 bytes of HMAC-SHA-256 under a cookie over every byte of a first packet but mac2 itself."""
    return hmac.digest(cookie, head + mac1 + tail, "sha256")[:_BYTES]


def seal_cookie(mac1_key: bytes, nonce: bytes, cookie: bytes, mac1: bytes) -> bytes:
    """Return a cookie as 32 bytes that only holders of ``mac1_key`` can read; it answers that ``mac1``."""
    return _cipher(mac1_key, nonce).encrypt(_AEAD_NONCE, cookie, mac1)


def open_cookie_untrusted(mac1_key: bytes, nonce: bytes, sealed: bytes, mac1: bytes) -> bytes | None:
    """Return the cookie that answers our first packet with that ``mac1``; None where it is not authentic."""
    try:
        return _cipher(mac1_key, nonce).decrypt(_AEAD_NONCE, sealed, mac1)
    except InvalidTag:
        return None


def _cipher(mac1_key: bytes, nonce: bytes) -> AESGCM:
    return AESGCM(hkdf_expand(mac1_key, _LABEL + nonce))


class CookieSecret:
    """What a responder makes its cookies with: a secret that changes every ``cookie_secret_s``."""

    # S-061, S-062

    __slots__ = ("_changed_at", "_now", "_previous", "_source")

    def __init__(self, source: KeySource, now: float) -> None:
        """Draw the first secret; there is none before it, so another one stands in its place."""
        self._source = source
        self._previous = source.random_bytes(CONSTANTS.key_bytes)
        self._now = source.random_bytes(CONSTANTS.key_bytes)
        self._changed_at = now

    def cookie(self, address: Address, now: float) -> bytes:
        """Return the cookie of an address, 16 bytes."""
        self._rotate(now)
        return _cookie(self._now, address)

    def is_proof(self, address: Address, parts: tuple[bytes, bytes, bytes, bytes], now: float) -> bool:
        """Whether a mac2 shows a cookie that this address was given.

        ``parts`` are head, mac1, mac2 and tail of the first packet. A cookie is good under the secret of now
        and the one before it: for ``cookie_secret_s`` at least, and at most for twice that time.
        """
        head, first, second, tail = parts
        if second == _NO_MAC2:
            return False
        self._rotate(now)
        return any(
            hmac.compare_digest(mac2(_cookie(secret, address), head, first, tail), second)
            for secret in (self._now, self._previous)
        )

    def _rotate(self, now: float) -> None:
        age_s = now - self._changed_at
        if age_s < CONSTANTS.cookie_secret_s:
            return
        fresh = self._source.random_bytes(CONSTANTS.key_bytes)
        stale = age_s >= 2 * CONSTANTS.cookie_secret_s
        self._previous = self._source.random_bytes(CONSTANTS.key_bytes) if stale else self._now
        self._now = fresh
        self._changed_at = now


def _cookie(secret: bytes, address: Address) -> bytes:
    host, port = address
    return hmac.digest(secret, f"{host} {port}".encode(), "sha256")[:_BYTES]
