"""Where keys come from, and that nobody gets guessable ones by accident."""

from __future__ import annotations

import random

import pytest

from quinkgl.crypto.keys import KeySource, key_source
from quinkgl.crypto.packet_keys import PacketKeys
from quinkgl.wire.errors import ErrorCode, LocalProtocolError


@pytest.mark.req("W-031")
def test_a_seeded_generator_alone_gives_no_keys():
    with pytest.raises(LocalProtocolError, match="insecure_deterministic_keys") as caught:
        key_source(random.Random(1), insecure_deterministic_keys=False)
    assert caught.value.code is ErrorCode.E_USAGE


@pytest.mark.req("W-031")
@pytest.mark.parametrize("flag", [True, False])
def test_a_system_generator_gives_system_keys_whatever_the_flag(flag):
    source = key_source(random.SystemRandom(), insecure_deterministic_keys=flag)
    assert source.x25519().private_bytes_raw() != source.x25519().private_bytes_raw()
    assert source.ed25519().private_bytes_raw() != source.ed25519().private_bytes_raw()


def test_deterministic_keys_repeat_with_the_seed():
    def draw(seed: int) -> tuple[bytes, bytes, bytes]:
        source = key_source(random.Random(seed), insecure_deterministic_keys=True)
        return (
            source.x25519().private_bytes_raw(),
            source.ed25519().private_bytes_raw(),
            source.random_bytes(5),
        )

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 100])
def test_random_bytes_have_the_length_asked_for(count):
    source = KeySource.system()
    assert len(source.random_bytes(count)) == count
    if count >= 31:
        assert source.random_bytes(count) != source.random_bytes(count)


def test_deterministic_keys_alone_leave_the_cipher_as_it_is():
    assert KeySource.insecure_deterministic(random.Random(1)).packet_keys is PacketKeys
