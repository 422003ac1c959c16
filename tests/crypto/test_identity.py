"""Peer ids: every key that must be refused, computed here; signatures and their malleability."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.crypto.identity import (
    SIGNATURE_LABELS,
    Identity,
    check_peer_id_untrusted,
    format_peer_id,
    parse_peer_id,
    short_id,
    verify_bytes_untrusted,
    verify_untrusted,
)
from quinkgl.crypto.keys import KeySource
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError

# --- edwards25519 in a few lines (RFC 8032 section 5.1) ---

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)


def add(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    cross = D * a[0] * b[0] * a[1] * b[1]
    x = (a[0] * b[1] + a[1] * b[0]) * pow(1 + cross, -1, P)
    y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - cross, -1, P)
    return x % P, y % P


def multiply(scalar: int, point: tuple[int, int]) -> tuple[int, int]:
    result = (0, 1)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def recover_x(y: int) -> int | None:
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    for root in (pow(square, (P + 3) // 8, P), pow(square, (P + 3) // 8, P) * ROOT_OF_MINUS_ONE % P):
        if root * root % P == square:
            return root
    return None


def small_order_points() -> set[tuple[int, int]]:
    """The subgroup of order 8: the multiples of a point of order 8, found by clearing the prime order."""
    for y in range(2, 100):
        x = recover_x(y)
        if x is not None:
            candidate = multiply(L, (x, y))
            if multiply(4, candidate) != (0, 1):
                return {multiply(n, candidate) for n in range(8)}
    raise AssertionError("no point of order 8 among the first hundred")


def encodings(point: tuple[int, int]) -> set[bytes]:
    """Every 32-byte string that a lenient decoder reads as this point, the canonical one among them."""
    x, y = point
    signs = (0, 1) if x == 0 else (x & 1,)
    return {
        (form | sign << 255).to_bytes(32, "little") for form in (y, y + P) if form < 2**255 for sign in signs
    }


SMALL_ORDER = sorted(set().union(*map(encodings, small_order_points())))
NON_CANONICAL = [(y | sign << 255).to_bytes(32, "little") for y in range(P, 2**255) for sign in (0, 1)]


def identity(seed: int = 7) -> Identity:
    return Identity.from_seed(bytes([seed]) * 32)


# --- keys that are refused ---


def test_the_subgroup_of_order_8_has_14_encodings():
    """Chalkias, Garillot, Nikolaenko, "Taming the many EdDSAs" (2020): eight, and six not canonical."""
    points = small_order_points()
    assert len(points) == 8
    assert all(multiply(8, point) == (0, 1) for point in points)
    assert len(SMALL_ORDER) == 14
    assert sum(encoding in NON_CANONICAL for encoding in SMALL_ORDER) == 4
    # The other two that are not canonical: x = 0 with its sign bit set.
    assert (1 | 1 << 255).to_bytes(32, "little") in SMALL_ORDER
    assert (P - 1 | 1 << 255).to_bytes(32, "little") in SMALL_ORDER


@pytest.mark.req("I-003")
@pytest.mark.parametrize("key", SMALL_ORDER, ids=bytes.hex)
def test_every_key_of_small_order_is_refused(key):
    with pytest.raises(RemoteProtocolError) as caught:
        check_peer_id_untrusted(key)
    assert caught.value.code is ErrorCode.E_HS_IDENTITY


@pytest.mark.req("I-002")
@pytest.mark.parametrize("key", NON_CANONICAL, ids=bytes.hex)
def test_every_key_that_is_not_canonical_is_refused(key):
    with pytest.raises(RemoteProtocolError) as caught:
        check_peer_id_untrusted(key)
    assert caught.value.code is ErrorCode.E_HS_IDENTITY


@pytest.mark.req("I-003", "I-004")
def test_why_a_small_order_key_must_be_refused():
    """One signature, R the neutral element and S zero, fits every message under the neutral key."""
    neutral = (1).to_bytes(32, "little")
    signature = neutral + bytes(32)
    for message in (b"", b"round 1: root a", b"round 1: root b"):
        Ed25519PublicKey.from_public_bytes(neutral).verify(signature, message)  # the library accepts it
        with pytest.raises(RemoteProtocolError):
            verify_bytes_untrusted(neutral, message, signature)


@pytest.mark.req("I-001")
@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_key_of_another_length_is_refused(size):
    with pytest.raises(RemoteProtocolError) as caught:
        check_peer_id_untrusted(bytes(size))
    assert caught.value.code is ErrorCode.E_HS_IDENTITY


@given(st.binary(min_size=32, max_size=32))
def test_real_keys_pass(seed):
    check_peer_id_untrusted(Identity.from_seed(seed).peer_id)


def test_a_canonical_key_off_the_curve_never_verifies():
    y = next(y for y in range(2, 100) if recover_x(y) is None)
    key = y.to_bytes(32, "little")
    check_peer_id_untrusted(key)
    with pytest.raises(RemoteProtocolError):
        verify_bytes_untrusted(key, b"message", identity().sign_bytes(b"message"))


# --- signatures ---


@pytest.mark.req("I-006")
def test_rfc_8032_test_1():
    known = Identity.from_seed(
        bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    )
    assert known.peer_id.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert known.sign_bytes(b"").hex() == (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b"
    )


@pytest.mark.req("I-007")
@pytest.mark.parametrize("domain", sorted(SIGNATURE_LABELS))
def test_a_signature_covers_label_zero_message(domain):
    signature = identity().sign(domain, b"message")
    verify_bytes_untrusted(identity().peer_id, f"qgl1 {domain}".encode() + b"\x00message", signature)
    verify_untrusted(identity().peer_id, domain, b"message", signature)


@pytest.mark.req("I-007")
def test_a_signature_of_one_domain_is_worthless_in_every_other():
    for made in SIGNATURE_LABELS:
        signature = identity().sign(made, b"message")
        for read in SIGNATURE_LABELS:
            if read != made:
                with pytest.raises(RemoteProtocolError):
                    verify_untrusted(identity().peer_id, read, b"message", signature)


def test_another_message_or_another_key_does_not_verify():
    signature = identity().sign("update", b"message")
    with pytest.raises(RemoteProtocolError) as caught:
        verify_untrusted(identity().peer_id, "update", b"massage", signature)
    assert caught.value.code is ErrorCode.E_HS_IDENTITY
    assert caught.value.peer == identity().peer_id
    with pytest.raises(RemoteProtocolError) as caught:
        verify_untrusted(identity(8).peer_id, "update", b"message", signature, code=ErrorCode.E_REC_SIG)
    assert caught.value.code is ErrorCode.E_REC_SIG


@pytest.mark.req("I-005")
def test_s_is_not_malleable():
    """RFC 8032 sections 5.1.7 and 8.4: S + L satisfies the equation and must be refused all the same."""
    signature = identity().sign_bytes(b"message")
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    assert s < L
    for other in (s + L, s + 2 * L, L - s, 0, L):
        with pytest.raises(RemoteProtocolError):
            verify_bytes_untrusted(identity().peer_id, b"message", r + other.to_bytes(32, "little"))
    verify_bytes_untrusted(identity().peer_id, b"message", signature)


@pytest.mark.req("I-005")
def test_r_is_not_malleable():
    """R is compared as bytes: a point that differs from it by one of small order is not accepted."""
    signature = identity().sign_bytes(b"message")
    y = int.from_bytes(signature[:32], "little") & (2**255 - 1)
    x = recover_x(y)
    assert x is not None
    if x & 1 != signature[31] >> 7:
        x = P - x
    for torsion in small_order_points() - {(0, 1)}:
        moved = min(encodings(add((x, y), torsion)))
        with pytest.raises(RemoteProtocolError):
            verify_bytes_untrusted(identity().peer_id, b"message", moved + signature[32:])


@pytest.mark.req("I-005")
@pytest.mark.parametrize("size", [0, 1, 32, 63, 65, 128])
def test_a_signature_of_another_length_does_not_verify(size):
    signature = (identity().sign_bytes(b"message") * 2)[:size]
    with pytest.raises(RemoteProtocolError):
        verify_bytes_untrusted(identity().peer_id, b"message", signature)


@given(st.integers(0, 511))
def test_every_bit_of_a_signature_counts(bit):
    damaged = bytearray(identity().sign_bytes(b"message"))
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RemoteProtocolError):
        verify_bytes_untrusted(identity().peer_id, b"message", bytes(damaged))


@given(st.binary(max_size=40), st.binary(max_size=80))
def test_arbitrary_keys_and_signatures_raise_one_error(key, signature):
    with pytest.raises(RemoteProtocolError):
        verify_untrusted(key, "update", b"message", signature)


def test_an_unknown_domain_is_the_callers_mistake():
    with pytest.raises(LocalProtocolError, match="'updates'"):
        identity().sign("updates", b"")
    with pytest.raises(LocalProtocolError):
        verify_untrusted(identity().peer_id, "psk", b"", bytes(64))  # a derivation label, not for signatures


# --- the key pair ---


def test_identities_come_from_the_key_source():
    first, second = (Identity.generate(KeySource.system()) for _ in range(2))
    assert first.peer_id != second.peer_id
    verify_untrusted(first.peer_id, "update", b"x", first.sign("update", b"x"))


def test_pem_round_trip():
    pem = identity().to_pem()
    assert pem.startswith(b"-----BEGIN PRIVATE KEY-----")
    assert Identity.from_pem(pem).peer_id == identity().peer_id
    assert Identity.from_pem(pem).sign_bytes(b"x") == identity().sign_bytes(b"x")


def test_other_pem_files_are_refused():
    key = load_pem_private_key(identity().to_pem(), password=None)
    encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    for pem in (b"", b"no pem", identity().to_pem()[:60], encrypted):
        with pytest.raises(LocalProtocolError, match="not an unencrypted PEM private key"):
            Identity.from_pem(pem)
    other = X25519PrivateKey.from_private_bytes(bytes(32))
    with pytest.raises(LocalProtocolError, match="no Ed25519 key"):
        Identity.from_pem(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_seed_has_32_bytes(size):
    with pytest.raises(LocalProtocolError, match="not 32"):
        Identity.from_seed(bytes(size))


def test_the_private_key_does_not_show():
    assert repr(identity()) == f"Identity(ed25519:{identity().peer_id.hex()})"
    assert (bytes([7]) * 32).hex() not in repr(identity())


# --- text ---


def test_text_forms():
    peer = identity().peer_id
    assert format_peer_id(peer) == "ed25519:" + peer.hex()
    assert short_id(peer) == peer.hex()[:8]
    for text in (format_peer_id(peer), peer.hex(), peer.hex().upper()):
        assert parse_peer_id(text) == peer


@pytest.mark.parametrize(
    "text", ["", "ed25519:", "ab" * 31, "ab" * 33, "zz" * 32, "ab" * 31 + " b", " " * 64]
)
def test_other_text_is_no_peer_id(text):
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        parse_peer_id(text)


def test_a_refused_key_is_no_peer_id():
    with pytest.raises(ValueError, match="small order"):
        parse_peer_id("ed25519:" + "00" * 32)


def test_a_derived_key_follows_from_the_identity_and_the_domain():
    ours, other = Identity.from_seed(bytes(32)), Identity.from_seed(bytes([1]) * 32)
    assert ours.derive_key("reset") == Identity.from_seed(bytes(32)).derive_key("reset")
    assert len({ours.derive_key("reset"), other.derive_key("reset"), ours.derive_key("psk")}) == 3
    with pytest.raises(LocalProtocolError):
        ours.derive_key("handshake")
