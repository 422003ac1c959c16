"""COSE_Sign1: the published example, the one accepted form, and everything next to it."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.crypto.cose import Sign1, decode_sign1_untrusted, sign1, verify_sign1_untrusted
from quinkgl.crypto.identity import SIGNATURE_LABELS, Identity, verify_bytes_untrusted
from quinkgl.wire.cbor import encode
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError

SIGNER = Identity.from_seed(bytes([5]) * 32)
PROTECTED = b"\xa1\x01\x27"


def envelope(
    *, tag: int = 18, protected=PROTECTED, unprotected=None, payload=b"payload", signature=None
) -> bytes:
    unprotected = {} if unprotected is None else unprotected
    signature = bytes(64) if signature is None else signature
    return cbor2.dumps(cbor2.CBORTag(tag, [protected, unprotected, payload, signature]))


def read(data: bytes, domain: str = "update") -> bytes:
    opened = decode_sign1_untrusted(data, max_bytes=512)
    verify_sign1_untrusted(opened, domain, SIGNER.peer_id)
    return opened.payload


def test_the_published_example_eddsa_sig_01():
    """github.com/cose-wg/Examples, eddsa-sig-01: the structure that is signed (RFC 9052 section 4.4).

    Its headers carry a content type and a key id, which our profile does not: the envelope itself is refused.
    """
    example = bytes.fromhex(
        "d28445a201270300a10442313154546869732069732074686520636f6e74656e742e"
        "58407142fd2ff96d56db85bee905a76ba1d0b7321a95c8c4d3607c5781932b7afb87"
        "11497dfa751bf40b58b3bcc32300b1487f3db34085eef013bf08f4a44d6fef0d"
    )
    signer = Identity.from_seed(
        bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    )
    protected, _, payload, signature = cbor2.loads(example).value
    structure = encode(["Signature1", protected, b"", payload])
    assert structure.hex() == (
        "846a5369676e61747572653145a2012703004054546869732069732074686520636f6e74656e742e"
    )
    assert signer.sign_bytes(structure) == signature
    verify_bytes_untrusted(signer.peer_id, structure, signature)
    with pytest.raises(RemoteProtocolError) as caught:
        decode_sign1_untrusted(example, max_bytes=512)
    assert caught.value.code is ErrorCode.E_SCHEMA


@pytest.mark.req("I-010")
@given(st.binary(max_size=300), st.sampled_from(sorted(SIGNATURE_LABELS)))
def test_round_trip_in_the_words_of_another_library(payload, domain):
    data = sign1(SIGNER, domain, payload)
    protected, unprotected, inside, signature = cbor2.loads(data).value
    assert (cbor2.loads(data).tag, protected, unprotected, inside) == (18, PROTECTED, {}, payload)
    signed = cbor2.dumps(["Signature1", protected, f"qgl1 {domain}".encode(), payload])
    verify_bytes_untrusted(SIGNER.peer_id, signed, signature)
    assert decode_sign1_untrusted(data, max_bytes=len(data)) == Sign1(payload, signature)
    assert read(data, domain) == payload


@pytest.mark.req("I-012")
def test_every_other_domain_fails():
    data = sign1(SIGNER, "update", b"payload")
    for domain in set(SIGNATURE_LABELS) - {"update"}:
        with pytest.raises(RemoteProtocolError):
            read(data, domain)


@pytest.mark.req("I-012")
def test_a_plain_signature_is_no_envelope_and_the_other_way_round():
    """What is signed begins with a label there and with an array here, so the two never meet."""
    plain = SIGNER.sign("update", b"payload")
    with pytest.raises(RemoteProtocolError):
        read(envelope(signature=plain))
    assert all(label[0] != 0x84 for label in SIGNATURE_LABELS.values())


@pytest.mark.req("I-004", "I-014")
def test_the_code_of_a_wrong_signature_is_the_callers():
    opened = decode_sign1_untrusted(envelope(), max_bytes=512)
    with pytest.raises(RemoteProtocolError) as caught:
        verify_sign1_untrusted(opened, "update", SIGNER.peer_id, code=ErrorCode.E_UPD_HEADER)
    assert caught.value.code is ErrorCode.E_UPD_HEADER
    with pytest.raises(RemoteProtocolError) as caught:
        verify_sign1_untrusted(opened, "update", bytes(32), code=ErrorCode.E_UPD_HEADER)
    assert caught.value.code is ErrorCode.E_HS_IDENTITY  # a key that nobody can have, whatever it signed


@pytest.mark.req("I-011", "I-013")
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (envelope(tag=17), ErrorCode.E_SCHEMA),
        (envelope(tag=98), ErrorCode.E_SCHEMA),
        (envelope()[1:], ErrorCode.E_SCHEMA),  # untagged
        (b"\xd8\x12" + envelope()[1:], ErrorCode.E_SCHEMA),  # tag 18 not in its shortest form
        (b"\xd2" + envelope(), ErrorCode.E_SCHEMA),  # tagged twice
        (envelope(protected=b""), ErrorCode.E_SCHEMA),
        (envelope(protected=b"\xa1\x01\x26"), ErrorCode.E_SCHEMA),  # ES256
        (envelope(protected=b"\xa1\x01\x38\x18"), ErrorCode.E_SCHEMA),
        (envelope(protected=b"\xa2\x01\x27\x04\x41\x31"), ErrorCode.E_SCHEMA),
        (envelope(protected={1: -8}), ErrorCode.E_SCHEMA),
        (envelope(unprotected={4: b"11"}), ErrorCode.E_SCHEMA),
        (envelope(unprotected=[]), ErrorCode.E_SCHEMA),
        (envelope(payload=None), ErrorCode.E_SCHEMA),  # detached
        (envelope(payload="payload"), ErrorCode.E_SCHEMA),
        (envelope(signature=bytes(63)), ErrorCode.E_SCHEMA),
        (envelope(signature=bytes(65)), ErrorCode.E_SCHEMA),
        (envelope(signature="x" * 64), ErrorCode.E_SCHEMA),
        (b"\xd2" + encode([PROTECTED, {}, b"payload"]), ErrorCode.E_SCHEMA),
        (b"\xd2" + encode([PROTECTED, {}, b"payload", bytes(64), 0]), ErrorCode.E_SCHEMA),
        (b"\xd2" + encode({0: 1}), ErrorCode.E_SCHEMA),
        (b"\xd2" + encode(bytes(64)), ErrorCode.E_SCHEMA),
        (envelope() + b"\x00", ErrorCode.E_SCHEMA),
        (envelope()[:-1], ErrorCode.E_SCHEMA),
        (b"\xd2", ErrorCode.E_SCHEMA),
        (b"", ErrorCode.E_SCHEMA),
        (b"\xd2\x9f" + envelope()[2:] + b"\xff", ErrorCode.E_SCHEMA),
        (envelope(payload=bytes(600)), ErrorCode.E_TOO_BIG),
    ],
)
def test_every_other_form_is_refused(data, code):
    with pytest.raises(RemoteProtocolError) as caught:
        decode_sign1_untrusted(data, max_bytes=512, where="record")
    assert caught.value.code is code
    assert "record" in str(caught.value)


@pytest.mark.req("I-013")
def test_the_size_limit_is_exact():
    data = sign1(SIGNER, "update", b"payload")
    assert decode_sign1_untrusted(memoryview(data), max_bytes=len(data)).payload == b"payload"
    with pytest.raises(RemoteProtocolError) as caught:
        decode_sign1_untrusted(data, max_bytes=len(data) - 1)
    assert caught.value.code is ErrorCode.E_TOO_BIG


@pytest.mark.req("I-008")
def test_every_damaged_byte_is_noticed():
    data = sign1(SIGNER, "update", b"payload")
    for position in range(len(data)):
        for change in (0x01, 0x20, 0x80):
            damaged = bytearray(data)
            damaged[position] ^= change
            with pytest.raises(RemoteProtocolError):
                read(bytes(damaged))


@given(st.binary(max_size=200), st.booleans())
def test_arbitrary_bytes_raise_one_error(data, tagged):
    with pytest.raises(RemoteProtocolError):
        read(b"\xd2" + data if tagged else data)


def test_an_unknown_domain_is_the_callers_mistake():
    with pytest.raises(LocalProtocolError):
        sign1(SIGNER, "nonsense", b"")
