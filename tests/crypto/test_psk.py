"""Keys of a swarm, against HKDF of another implementation and the words of the specification."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.crypto.psk import (
    Mode,
    derive_fetch_keys,
    derive_member_keys,
    derive_service_keys,
    hkdf_expand,
    hkdf_extract,
    swarm_id,
)

MANIFEST = b'{"name":"digits","schema_version":3}'
SWARM = hashlib.sha256(MANIFEST).digest()


def hkdf(salt: bytes, ikm: bytes, info: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt, info).derive(ikm)


def test_rfc_5869_case_1():
    prk = hkdf_extract(bytes(range(13)), b"\x0b" * 22)
    assert prk.hex() == "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"
    # The first 32 of the 42 bytes of output.
    assert hkdf_expand(prk, bytes(range(0xF0, 0xFA))).hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
    )


def test_rfc_5869_case_3_has_neither_salt_nor_info():
    prk = hkdf_extract(b"", b"\x0b" * 22)
    assert prk.hex() == "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04"
    assert hkdf_expand(prk, b"").hex() == "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"


@given(st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=80))
def test_hkdf_against_another_implementation(salt, ikm, info):
    prk = hkdf_extract(salt, ikm)
    assert hkdf_expand(prk, info) == hkdf(salt, ikm, info)
    assert hkdf_expand(prk, info) == HKDFExpand(hashes.SHA256(), 32, info).derive(prk)


@pytest.mark.req("K-001", "K-002")
@pytest.mark.parametrize("secret", [b"", b"let me in"])
def test_member_keys(secret):
    keys = derive_member_keys(MANIFEST, secret)
    ikm = hashlib.sha256(b"qgl1 possession\x00" + MANIFEST).digest() + secret
    assert (keys.swarm_id, keys.mode) == (SWARM, Mode.MEMBER)
    assert keys.root == hkdf_extract(SWARM, ikm)
    assert keys.psk == hkdf(SWARM, ikm, b"qgl1 psk")
    assert keys.mac1_key == hkdf(SWARM, ikm, b"qgl1 mac1")


@pytest.mark.req("K-001")
@pytest.mark.parametrize("secret", [b"", b"let me in"])
def test_fetch_keys(secret):
    keys = derive_fetch_keys(SWARM, secret)
    assert (keys.swarm_id, keys.mode) == (SWARM, Mode.FETCH)
    assert keys.psk == hkdf(SWARM, b"qgl1 fetch" + secret, b"qgl1 psk")
    assert keys.mac1_key == hkdf(SWARM, b"qgl1 fetch" + secret, b"qgl1 mac1")


@pytest.mark.req("K-001")
def test_service_keys():
    peer = bytes(range(32))
    keys = derive_service_keys(peer)
    assert (keys.swarm_id, keys.mode) == (hashlib.sha256(b"qgl1 service" + peer).digest(), Mode.SERVICE)
    assert keys.psk == hkdf(keys.swarm_id, peer, b"qgl1 psk")


def test_no_two_modes_secrets_or_manifests_share_a_key():
    made = [
        derive_member_keys(MANIFEST),
        derive_member_keys(MANIFEST, b"secret"),
        derive_member_keys(MANIFEST + b" "),
        derive_fetch_keys(SWARM),
        derive_fetch_keys(SWARM, b"secret"),
        derive_service_keys(SWARM),
    ]
    values = [value for keys in made for value in (keys.psk, keys.mac1_key, keys.root)]
    assert len(set(values)) == len(values)


def test_the_swarm_id_is_the_hash_of_the_bytes():
    assert swarm_id(b"").hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert swarm_id(MANIFEST) == SWARM


def test_secrets_do_not_show():
    keys = derive_member_keys(MANIFEST, b"secret")
    for value in (keys.psk, keys.mac1_key, keys.root):
        assert repr(value) not in repr(keys)
    assert repr(keys.swarm_id) in repr(keys)
