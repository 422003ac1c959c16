"""The short way to HMAC-SHA-256: what the library's gives, for every key that it takes."""

from __future__ import annotations

import hmac

from hypothesis import given
from hypothesis import strategies as st

from quinkgl.crypto.short_hmac import short_hmac


@given(st.binary(max_size=64), st.binary(max_size=300))
def test_it_is_hmac_sha_256(key, message):
    assert short_hmac(key, message) == hmac.digest(key, message, "sha256")


def test_a_known_answer():
    # RFC 4231, test case 2
    assert (
        short_hmac(b"Jefe", b"what do ya want for nothing?").hex()
        == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )
