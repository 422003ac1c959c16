"""mac1 against published values, and that every bit counts."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import hashes, hmac
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.crypto.mac import mac1, verify


def test_rfc_4231_case_5_is_truncated_to_128_bits():
    assert mac1(b"\x0c" * 20, b"Test With Truncation").hex() == "a3b6167473100ee06e0c796c2955552b"


@pytest.mark.req("S-011")
@given(st.binary(min_size=1, max_size=80), st.lists(st.binary(max_size=40), max_size=4))
def test_against_another_implementation(key, parts):
    reference = hmac.HMAC(key, hashes.SHA256())
    for part in parts:
        reference.update(part)
    assert mac1(key, *parts) == reference.finalize()[:16]
    assert verify(key, mac1(key, b"".join(parts)), *map(memoryview, parts))


@pytest.mark.req("K-006", "S-012")
def test_any_other_tag_key_or_packet_fails():
    tag = mac1(b"key", b"packet")
    for bit in range(128):
        damaged = bytearray(tag)
        damaged[bit // 8] ^= 1 << bit % 8
        assert not verify(b"key", damaged, b"packet")
    assert verify(b"key", memoryview(tag), b"pac", b"ket")
    assert not verify(b"kez", tag, b"packet")
    assert not verify(b"key", tag, b"packet\x00")
    assert not verify(b"key", tag[:15], b"packet")
    assert not verify(b"key", b"", b"packet")
    assert not verify(b"key", tag + b"\x00", b"packet")
