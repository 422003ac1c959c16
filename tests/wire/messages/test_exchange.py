"""Messages of the two-sided exchange."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.wire.cbor import encode
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from quinkgl.wire.messages.exchange import (
    WEIGHT_ONE,
    Abort,
    Accept,
    Ack,
    Ask,
    Commit,
    Offer,
    Ready,
    decode_exchange_message_untrusted,
    encode_exchange_message,
    most_weight,
)

NAME, ANSWER, ROOT = bytes(range(16)), bytes(range(16, 32)), bytes(range(32))
EVERY = [
    Offer(NAME, ROOT, 10, WEIGHT_ONE // 2, 0, 1),
    Offer(NAME, ROOT, 1 << 32, most_weight(64), 64, 255, {3: b"x"}),
    Accept(NAME, ANSWER, ROOT, 10, {1: [2, "three"]}),
    Ready(NAME, ANSWER),
    Ask(NAME, ANSWER),
    Commit(NAME, ANSWER),
    Abort(NAME, None, 7),
    Abort(NAME, ANSWER, 0xFFFF),
    Ack(NAME, ANSWER),
]


@pytest.mark.parametrize("message", EVERY)
def test_every_message_comes_back_as_it_was(message):
    assert decode_exchange_message_untrusted(encode_exchange_message(message)) == message


@pytest.mark.req("B-005")
@pytest.mark.parametrize("lateness", [0, 1, 8, 64])
def test_a_weight_that_is_not_damped_for_its_lateness_is_refused(lateness):
    most = WEIGHT_ONE // (2 * lateness + 1)
    assert most_weight(lateness) == most
    encode_exchange_message(Offer(NAME, ROOT, 1, most, lateness, 1))
    fields = {0: 1, 1: NAME, 3: ROOT, 4: 1, 5: most + 1, 6: lateness, 7: 1, 8: {}}
    with pytest.raises(RemoteProtocolError) as caught:
        decode_exchange_message_untrusted(encode(fields))
    assert caught.value.code is ErrorCode.E_SCHEMA


@pytest.mark.parametrize(
    "message",
    [
        Offer(NAME[1:], ROOT, 1, 1, 0, 1),
        Offer(NAME, ROOT, 0, 1, 0, 1),
        Offer(NAME, ROOT, 1, 0, 0, 1),
        Offer(NAME, ROOT, 1, 1, 65, 1),
        Accept(NAME, b"", ROOT, 1),
        Ready(NAME, ROOT),
        Abort(NAME, None, 1 << 16),
    ],
)
def test_a_field_outside_its_bounds_is_not_encoded(message):
    with pytest.raises(LocalProtocolError):
        encode_exchange_message(message)


@pytest.mark.req("B-002")
def test_kinds_from_64_up_are_for_later():
    assert decode_exchange_message_untrusted(encode({0: 64, 1: 1})) is None
    with pytest.raises(RemoteProtocolError):
        decode_exchange_message_untrusted(encode({0: 8}))


@given(st.binary(max_size=80))
def test_any_bytes_are_a_message_or_the_one_exception(data):
    with contextlib.suppress(RemoteProtocolError):
        decode_exchange_message_untrusted(data)
