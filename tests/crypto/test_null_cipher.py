"""The null cipher: the sizes and refusals of the real one, and no way to it by accident."""

from __future__ import annotations

import random

import pytest
from cryptography.exceptions import InvalidTag

from quinkgl.crypto.identity import Identity, signatures_remembered, verify_bytes_untrusted
from quinkgl.crypto.keys import key_source
from quinkgl.crypto.null_cipher import NullCipher, NullPacketKeys
from quinkgl.crypto.packet_keys import PacketKeys, nonce
from quinkgl.crypto.psk import derive_member_keys
from quinkgl.transport import Endpoint
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError

KEY = bytes(range(32))


@pytest.mark.parametrize("size", [0, 1, 40, 1200])
def test_sizes_are_those_of_the_real_cipher(size):
    text = random.Random(size).randbytes(size)
    sealed = NullPacketKeys(KEY).seal(7, b"header", text)
    assert len(sealed) == len(PacketKeys(KEY).seal(7, b"header", text))
    assert NullPacketKeys(KEY).open_untrusted(7, b"header", memoryview(sealed)) == text


def test_another_key_number_header_or_bit_is_refused():
    keys = NullPacketKeys(KEY)
    sealed = keys.seal(7, b"header", b"text")
    assert NullPacketKeys(bytes(32)).open_untrusted(7, b"header", sealed) is None
    assert keys.open_untrusted(8, b"header", sealed) is None
    assert keys.open_untrusted(7, b"Header", sealed) is None
    for bit in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        assert keys.open_untrusted(7, b"header", bytes(changed)) is None
    for size in range(16):
        assert keys.open_untrusted(7, b"header", sealed[:size]) is None


def test_it_writes_into_buffers_as_runs_of_packets_need_it():
    cipher = NullCipher(KEY)
    out = bytearray(20)
    assert cipher.encrypt_into(nonce(1), b"text", b"header", memoryview(out)) == 20
    assert bytes(out) == cipher.encrypt(nonce(1), b"text", b"header")
    back = bytearray(4)
    assert cipher.decrypt_into(nonce(1), out, b"header", memoryview(back)) == 4
    assert back == b"text"
    with pytest.raises(InvalidTag):
        cipher.decrypt_into(nonce(2), out, b"header", memoryview(back))


def test_every_phase_has_a_key_of_its_own():
    keys = NullPacketKeys(KEY)
    following = [keys.key, keys.next_phase().key, keys.next_phase().next_phase().key]
    assert len(set(following)) == 3
    assert isinstance(keys.next_phase(), NullPacketKeys)
    assert isinstance(keys.mixed(b"secret", bytes(32), "pq"), NullPacketKeys)


def test_a_key_of_another_length_is_none():
    with pytest.raises(ValueError, match="32 bytes"):
        NullCipher(bytes(16))


def test_nobody_gets_the_null_cipher_by_accident():
    seeded, system = random.Random(1), random.SystemRandom()
    for rng, deterministic in ((seeded, False), (system, False), (system, True)):
        with pytest.raises(LocalProtocolError) as caught:
            key_source(rng, insecure_deterministic_keys=deterministic, insecure_null_cipher=True)
        assert caught.value.code is ErrorCode.E_USAGE
    assert key_source(system, insecure_deterministic_keys=False).packet_keys is PacketKeys
    assert key_source(seeded, insecure_deterministic_keys=True).packet_keys is PacketKeys
    both = key_source(seeded, insecure_deterministic_keys=True, insecure_null_cipher=True)
    assert both.packet_keys is NullPacketKeys


def test_an_endpoint_refuses_it_too():
    with pytest.raises(LocalProtocolError):
        Endpoint(
            identity=Identity.from_seed(KEY),
            keys=derive_member_keys(b"a manifest"),
            rng=random.SystemRandom(),
            now=0.0,
            insecure_null_cipher=True,
        )


def test_signatures_are_remembered_only_while_somebody_wants_it():
    signer = Identity.from_seed(KEY)
    good, bad = signer.sign_bytes(b"said"), signer.sign_bytes(b"not said")
    with signatures_remembered() as known:
        verify_bytes_untrusted(signer.peer_id, b"said", good)
        verify_bytes_untrusted(signer.peer_id, bytearray(b"said"), good)
        assert len(known) == 1
        for _ in range(2):
            with pytest.raises(RemoteProtocolError):
                verify_bytes_untrusted(signer.peer_id, b"said", bad)
        assert len(known) == 1
        verify_bytes_untrusted(signer.peer_id, b"also said", signer.sign_bytes(b"also said"))
        assert len(known) == 2
    verify_bytes_untrusted(signer.peer_id, b"not said", bad)
    assert len(known) == 2
    with pytest.raises(RemoteProtocolError):
        verify_bytes_untrusted(signer.peer_id, b"said", bad)
