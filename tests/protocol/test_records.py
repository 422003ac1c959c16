"""Signed records: how they are issued and what is checked."""

from __future__ import annotations

import dataclasses

import pytest

from quinkgl.crypto.cose import decode_sign1_untrusted, sign1
from quinkgl.crypto.identity import Identity
from quinkgl.protocol.records import (
    check_record_untrusted,
    expiry,
    issue_record,
    swarm_tag,
)
from quinkgl.wire.cbor import decode_untrusted, encode
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.limits import LIMITS, limits_with
from quinkgl.wire.messages.membership import PeerRecord, encode_record

ROOT = bytes(range(32))
THEM, OTHER = (Identity.from_seed(bytes([number]) * 32) for number in (1, 2))
UNIX = 1_900_000_005.5
ADDRESSES = (("192.0.2.1", 4000),)


def issued(**changes):
    options = {"seq": 3, "addresses": ADDRESSES, "ttl": 7200, "unix_now": UNIX} | changes
    return issue_record(THEM, ROOT, **options)


def record(**changes):
    return dataclasses.replace(issued().record, **changes)


def signed(content, signer=THEM, domain="peer-record"):
    payload = encode_record(content) if isinstance(content, PeerRecord) else content
    return sign1(signer, domain, payload)


def check(encoded, *, root=ROOT, unix_now=UNIX, limits=LIMITS):
    return check_record_untrusted(encoded, root=root, unix_now=unix_now, limits=limits).verify_untrusted()


@pytest.mark.req("M-004")
def test_a_record_that_was_issued_holds():
    found = check(issued().encoded)
    assert found == issued()
    assert found.record == PeerRecord(
        key=THEM.peer_id,
        seq=3,
        issued=1_900_000_005,
        ttl=7200,
        swarm_tag=swarm_tag(ROOT, THEM.peer_id),
        addresses=ADDRESSES,
        period=190_000_000,
    )


@pytest.mark.req("M-003")
def test_the_swarm_tag_is_fixed():
    assert swarm_tag(ROOT, bytes(32)).hex() == "56bdf2b0ef7997e3"
    assert swarm_tag(bytes(32), bytes(32)) != swarm_tag(ROOT, bytes(32))
    assert swarm_tag(ROOT, bytes(31) + b"\x01") != swarm_tag(ROOT, bytes(32))


@pytest.mark.req("I-004", "I-014", "M-004", "M-010", "M-011")
@pytest.mark.parametrize(
    ("encoded", "code"),
    [
        (b"", ErrorCode.E_SCHEMA),
        (bytes(LIMITS.record_bytes + 1), ErrorCode.E_TOO_BIG),
        (signed(b"\xff"), ErrorCode.E_CBOR),
        (signed(b"\xa0"), ErrorCode.E_SCHEMA),
        (encode_record(record()), ErrorCode.E_SCHEMA),
        (signed(record(swarm_tag=bytes(8))), ErrorCode.E_REC_SCOPE),
        (signed(record(key=OTHER.peer_id)), ErrorCode.E_REC_SCOPE),
        (signed(record(period=1)), ErrorCode.E_SCHEMA),
        (signed(record(), OTHER), ErrorCode.E_REC_SIG),
        (signed(record(), domain="update"), ErrorCode.E_REC_SIG),
        (signed(record(key=bytes(32), swarm_tag=swarm_tag(ROOT, bytes(32)))), ErrorCode.E_HS_IDENTITY),
    ],
)
def test_a_record_that_does_not_hold_is_refused_with_its_code(encoded, code):
    with pytest.raises(RemoteProtocolError) as refused:
        check(encoded)
    assert refused.value.code is code


@pytest.mark.req("M-011")
def test_a_changed_record_is_refused():
    encoded = issued(seq=1000).encoded
    changed = encoded.replace(encode(1000), encode(1001))
    assert changed != encoded
    with pytest.raises(RemoteProtocolError) as refused:
        check(changed)
    assert refused.value.code is ErrorCode.E_REC_SIG


def test_a_record_with_a_later_versions_fields_holds():
    payload = decode_sign1_untrusted(issued().encoded, max_bytes=512).payload
    fields = decode_untrusted(payload, max_bytes=512, where="test") | {77: b"grease"}
    assert check(signed(encode(fields))).record == issued().record


@pytest.mark.req("M-012", "M-013")
def test_a_record_holds_from_its_issue_to_its_end():
    encoded = issued().encoded
    begin, end = 1_900_000_005 - LIMITS.clock_skew_s, 1_900_000_005 + 7200
    for unix_now in (begin, end - 0.5):
        check(encoded, unix_now=unix_now)
    for unix_now in (begin - 1, end):
        with pytest.raises(RemoteProtocolError) as refused:
            check(encoded, unix_now=unix_now)
        assert refused.value.code is ErrorCode.E_REC_EXPIRED


@pytest.mark.req("M-012")
def test_a_node_may_end_a_record_earlier_than_its_issuer():
    limits = limits_with(record_ttl_s=600.0)
    assert expiry(record(ttl=86400), LIMITS) == 1_900_000_005 + 7200
    assert expiry(record(ttl=100), LIMITS) == 1_900_000_005 + 100
    with pytest.raises(RemoteProtocolError):
        check(issued().encoded, unix_now=UNIX + 600, limits=limits)
