"""One schema judges both directions."""

from __future__ import annotations

import pytest

from quinkgl.wire.cbor import encode, uint
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from quinkgl.wire.messages.schema import Schema, kind_untrusted, unknown_kind_untrusted

SMALL = Schema("SMALL", 8, required={0: uint(1, 1)}, optional={1: uint(9)})


def test_what_may_be_sent_is_what_may_be_received():
    assert SMALL.decode_untrusted(SMALL.encode({0: 1, 1: 9})) == {0: 1, 1: 9}


@pytest.mark.req("C-009")
@pytest.mark.parametrize("fields", [{}, {0: 2}, {0: 1, 1: 10}, {0: 1, 2: 0}, {0: 1, 64: bytes(8)}])
def test_what_may_not_be_received_may_not_be_sent(fields):
    with pytest.raises(LocalProtocolError) as local:
        SMALL.encode(fields)
    assert local.value.code is ErrorCode.E_USAGE
    with pytest.raises(RemoteProtocolError):
        SMALL.decode_untrusted(encode(fields))


@pytest.mark.parametrize("value", [None, 1, [], {}, {0: b"x"}, {0: True}, {0: -1}, {1: 1}])
def test_a_value_without_a_kind_is_refused(value):
    with pytest.raises(RemoteProtocolError) as refused:
        kind_untrusted(value, where="message")
    assert refused.value.code is ErrorCode.E_SCHEMA


@pytest.mark.req("B-002", "G-006", "H-004", "M-019", "N-001")
def test_unknown_kinds_pass_from_64_up():
    assert kind_untrusted({0: 63}, where="message") == 63
    unknown_kind_untrusted(64, where="message")
    with pytest.raises(RemoteProtocolError) as refused:
        unknown_kind_untrusted(63, where="message")
    assert refused.value.code is ErrorCode.E_SCHEMA
