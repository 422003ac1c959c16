"""Packet protection: nonces, tags, key phases."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.crypto.packet_keys import PacketKeys, nonce

KEY = bytes(range(32))


def test_mcgrew_and_viega_case_14():
    """ "The Galois/Counter Mode of Operation", appendix B: key, nonce and plaintext all zero."""
    sealed = PacketKeys(bytes(32)).seal(0, b"", bytes(16))
    assert sealed.hex() == "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"


@pytest.mark.req("P-021")
@given(st.integers(0, 2**64 - 1), st.binary(max_size=40), st.binary(max_size=200))
def test_the_nonce_is_four_zeros_and_the_packet_number(number, header, plaintext):
    expected = bytes(4) + number.to_bytes(8, "big")
    assert nonce(number) == expected
    sealed = PacketKeys(KEY).seal(number, header, plaintext)
    assert sealed == AESGCM(KEY).encrypt(expected, plaintext, header)
    assert PacketKeys(KEY).open_untrusted(number, header, memoryview(sealed)) == plaintext


@pytest.mark.req("P-023", "P-024")
def test_anything_that_is_not_authentic_is_none():
    keys = PacketKeys(KEY)
    sealed = keys.seal(5, b"header", b"plaintext")
    assert keys.open_untrusted(5, b"header", sealed) == b"plaintext"
    for position in range(len(sealed)):
        damaged = bytearray(sealed)
        damaged[position] ^= 1
        assert keys.open_untrusted(5, b"header", damaged) is None
    assert keys.open_untrusted(6, b"header", sealed) is None
    assert keys.open_untrusted(5, b"Header", sealed) is None
    assert keys.open_untrusted(5, b"", sealed) is None
    assert PacketKeys(bytes(32)).open_untrusted(5, b"header", sealed) is None
    for length in range(len(sealed)):
        assert keys.open_untrusted(5, b"header", sealed[:length]) is None


@given(st.binary(max_size=64))
def test_arbitrary_bytes_are_none(data):
    assert PacketKeys(KEY).open_untrusted(0, b"", data) is None


@pytest.mark.req("P-025")
def test_key_phases_follow_noise_rekey():
    """Noise section 4.2: the first 32 bytes of ENCRYPT(k, 2^64 - 1, empty, 32 zero bytes)."""
    second = AESGCM(KEY).encrypt(bytes(4) + b"\xff" * 8, bytes(32), b"")[:32]
    phase = PacketKeys(KEY).next_phase()
    sealed = phase.seal(9, b"h", b"text")
    assert sealed == PacketKeys(second).seal(9, b"h", b"text")
    assert PacketKeys(KEY).open_untrusted(9, b"h", sealed) is None
    third = AESGCM(second).encrypt(bytes(4) + b"\xff" * 8, bytes(32), b"")[:32]
    assert phase.next_phase().seal(9, b"", b"x") == PacketKeys(third).seal(9, b"", b"x")


def test_a_run_sealed_in_one_sweep_equals_single_packets():
    keys = PacketKeys(KEY)
    run = list(map(keys.aead.encrypt, map(nonce, range(3)), [b"a", b"b", b"c"], [b"h"] * 3))
    assert run == [keys.seal(0, b"h", b"a"), keys.seal(1, b"h", b"b"), keys.seal(2, b"h", b"c")]


@pytest.mark.parametrize("size", [0, 15, 31, 33])
def test_a_key_of_no_aes_size_is_refused(size):
    with pytest.raises(ValueError, match="key"):
        PacketKeys(bytes(size))
