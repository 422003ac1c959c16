"""New secrets inside a session: both ends get the same, and nothing else is accepted."""

from __future__ import annotations

import random

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

from quinkgl.crypto.agreement import (
    ANSWER_BYTES,
    PUBLIC_BYTES,
    Method,
    Offer,
    answer_untrusted,
    has_ml_kem,
)
from quinkgl.crypto.keys import KeySource
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError

SOURCE = KeySource.insecure_deterministic(random.Random(5))


def refusal(step) -> ErrorCode:
    with pytest.raises(RemoteProtocolError) as caught:
        step()
    return caught.value.code


def test_this_library_has_ml_kem():
    """The oldest version that the package allows has it, with the OpenSSL that its wheels bring."""
    assert has_ml_kem()


@pytest.mark.req("K-032")
@pytest.mark.parametrize("method", Method)
def test_both_ends_get_the_same_fresh_secret(method):
    seen = set()
    for _ in range(3):
        offer = Offer(method, SOURCE)
        answer, secret = answer_untrusted(method, offer.public, SOURCE)
        assert offer.secret_untrusted(answer) == secret
        assert (len(offer.public), len(answer), len(secret)) == (
            PUBLIC_BYTES[method],
            ANSWER_BYTES[method],
            32,
        )
        seen |= {secret, offer.public, answer}
    assert len(seen) == 9


def test_a_changed_ciphertext_gives_a_secret_that_the_sender_does_not_have():
    offer = Offer(Method.ML_KEM_768, SOURCE)
    answer, secret = answer_untrusted(Method.ML_KEM_768, offer.public, SOURCE)
    changed = bytes([answer[0] ^ 1]) + answer[1:]
    assert offer.secret_untrusted(changed) != secret


@pytest.mark.req("K-032")
@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize("change", [-1, 1])
def test_values_of_another_length_are_refused(method, change):
    offer = Offer(method, SOURCE)
    answer, _ = answer_untrusted(method, offer.public, SOURCE)

    def resized(value: bytes) -> bytes:
        return value[:-1] if change < 0 else value + b"\x00"

    assert refusal(lambda: answer_untrusted(method, resized(offer.public), SOURCE)) is ErrorCode.E_SCHEMA
    assert refusal(lambda: offer.secret_untrusted(resized(answer))) is ErrorCode.E_SCHEMA


@pytest.mark.req("K-032")
def test_a_point_of_small_order_is_refused_at_both_ends():
    zero = bytes(32)
    assert refusal(lambda: answer_untrusted(Method.X25519, zero, SOURCE)) is ErrorCode.E_SCHEMA
    assert refusal(lambda: Offer(Method.X25519, SOURCE).secret_untrusted(zero)) is ErrorCode.E_SCHEMA


@pytest.mark.req("K-032")
def test_coefficients_out_of_range_are_refused():
    """FIPS 203 section 7.2, the modulus check."""
    public = Offer(Method.ML_KEM_768, SOURCE).public
    broken = b"\xff\xff\xff" + public[3:]
    assert refusal(lambda: answer_untrusted(Method.ML_KEM_768, broken, SOURCE)) is ErrorCode.E_SCHEMA


def test_ml_kem_keys_are_made_from_their_seed():
    source = KeySource(lambda count: bytes(range(count)))
    assert source.ml_kem().private_bytes_raw() == bytes(range(64))
    assert MLKEM768PrivateKey.from_seed_bytes(bytes(range(64))).public_key().public_bytes_raw() == (
        source.ml_kem().public_key().public_bytes_raw()
    )
