"""Pairs of fingerprint exchanges: what is shown is fresh, addressed to one verifier, and always the same."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.crypto.cose import decode_sign1_untrusted, sign1
from quinkgl.crypto.identity import Identity
from quinkgl.protocol.fingerprint_exchange import (
    FingerprintExchange,
    FingerprintNotReceived,
    FingerprintReceived,
    FingerprintShelf,
)
from quinkgl.testing.contract import Checked, assert_refuses_reentry
from quinkgl.wire.cbor import encode
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.messages.fingerprint import (
    MAX_EPOCH,
    NONCE_BYTES,
    Answer,
    Decline,
    Request,
    Statement,
    decode_fingerprint_message_untrusted,
    decode_statement_untrusted,
    encode_fingerprint_message,
    encode_statement,
)

SWARM = bytes(range(32))
VERIFIER = Identity.from_seed(b"\x01" * 32)
HOLDER = Identity.from_seed(b"\x02" * 32)
OTHER = Identity.from_seed(b"\x03" * 32)
BODY = b"what my data look like"
PER_HOUR = LIMITS.fingerprint_requests_per_hour


def exchange(own, remote, shelf=None, *, seed=1, now=0.0):
    machine = FingerprintExchange(
        own,
        SWARM,
        remote.peer_id,
        shelf if shelf is not None else FingerprintShelf(),
        rng=random.Random(seed),
        now=now,
    )
    return Checked(machine, now=now)


def shelf_with(body=BODY, epoch=7):
    shelf = FingerprintShelf()
    shelf.put(body, epoch)
    return shelf


def pair(shelf=None):
    return exchange(VERIFIER, HOLDER), exchange(HOLDER, VERIFIER, shelf, seed=2)


def carry(source, destination, now=0.0):
    """Bring over all that one side has to say; return it decoded."""
    messages = source.drain(now).of("next_message")
    for message in messages:
        destination.receive_message(message, now=now)
    return [decode_fingerprint_message_untrusted(message) for message in messages]


def ask(verifier, holder, *, epoch=None, now=0.0):
    assert verifier.request(epoch, now=now)
    carry(verifier, holder, now)
    carry(holder, verifier, now)
    (event,) = verifier.drain(now).events
    return event


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"epoch": 3},
        {"epoch": 3, "digest": 1 << 40},
        {"epoch": "3", "digest": bytes(32)},
        {"epoch": 3, "digest": bytes(31)},
        {"epoch": -1, "digest": bytes(32)},
        {"epoch": MAX_EPOCH + 1, "digest": bytes(32)},
    ],
)
def test_a_saved_state_of_another_form_is_refused(state):
    shelf = shelf_with()
    before = shelf.state()
    with pytest.raises(LocalProtocolError):
        shelf.restore(state)
    assert shelf.state() == before


def test_a_saved_state_is_taken_up():
    for shelf in (FingerprintShelf(), shelf_with()):
        later = FingerprintShelf()
        later.restore(shelf.state())
        assert later.state() == shelf.state()


def test_an_answer_is_received_and_the_body_is_opaque():
    verifier, holder = pair(shelf_with())
    assert ask(verifier, holder) == FingerprintReceived(BODY, 7)
    assert verifier.deadline() is None
    assert verifier.deadline_reason == holder.deadline_reason == ""
    assert ask(verifier, holder, epoch=7) == FingerprintReceived(BODY, 7)


def test_both_may_ask_at_once():
    verifier, holder = (
        exchange(VERIFIER, HOLDER, shelf_with(b"a", 1)),
        exchange(HOLDER, VERIFIER, shelf_with(b"b", 2)),
    )
    assert verifier.request(now=0.0)
    assert holder.request(now=0.0)
    for _ in range(2):
        ours, theirs = verifier.drain(0.0), holder.drain(0.0)
        for message in ours.of("next_message"):
            holder.receive_message(message, now=0.0)
        for message in theirs.of("next_message"):
            verifier.receive_message(message, now=0.0)
    assert verifier.drain(0.0).events == (FingerprintReceived(b"b", 2),)
    assert holder.drain(0.0).events == (FingerprintReceived(b"a", 1),)


@pytest.mark.req("N-002")
def test_each_request_has_a_nonce_of_its_own():
    verifier, holder = pair(shelf_with())
    nonces = []
    for _ in range(2):
        assert verifier.request(now=0.0)
        (request,) = carry(verifier, holder)
        nonces.append(request.nonce)
        carry(holder, verifier)
    assert len(nonces[0]) == NONCE_BYTES == 16
    assert nonces[0] != nonces[1]


@pytest.mark.req("N-010", "N-012", "N-013")
@pytest.mark.parametrize(
    ("prepare", "epoch", "code"),
    [
        (lambda shelf: None, None, ErrorCode.E_FP_UNSUPPORTED),
        (lambda shelf: shelf.take_away(budget_spent=True), None, ErrorCode.E_FP_BUDGET),
        (lambda shelf: shelf.take_away(budget_spent=False), None, ErrorCode.E_FP_UNSUPPORTED),
        (lambda shelf: shelf.put(BODY, 7), 6, ErrorCode.E_FP_EPOCH),
    ],
)
def test_a_request_is_declined_with_its_reason(prepare, epoch, code):
    shelf = FingerprintShelf()
    prepare(shelf)
    verifier, holder = pair(shelf)
    assert ask(verifier, holder, epoch=epoch) == FingerprintNotReceived(code)
    assert holder.stats.dropped == {code.name: 1}


@pytest.mark.req("N-014")
def test_answers_are_limited_in_an_hour():
    verifier, holder = pair(shelf_with())
    for _ in range(PER_HOUR):
        assert ask(verifier, holder) == FingerprintReceived(BODY, 7)
    assert ask(verifier, holder) == FingerprintNotReceived(ErrorCode.E_FP_RATE)
    assert ask(verifier, holder, now=3600.0 / PER_HOUR) == FingerprintReceived(BODY, 7)


@pytest.mark.req("N-022")
def test_one_request_at_a_time_and_it_ends_in_time():
    verifier = exchange(VERIFIER, HOLDER)
    assert verifier.request(now=0.0)
    assert not verifier.request(now=1.0)
    assert verifier.deadline_reason == "output"
    verifier.drain(1.0)
    assert verifier.deadline() == LIMITS.fingerprint_timeout_s
    assert verifier.deadline_reason == "timeout"
    verifier.handle_timer(now=5.0)
    verifier.handle_timer(now=LIMITS.fingerprint_timeout_s)
    assert verifier.drain().events == (FingerprintNotReceived(ErrorCode.E_FP_TIMEOUT),)
    assert verifier.request(now=11.0)


def forged(*, signer=HOLDER, body=BODY, domain="fingerprint", nonce, **changes):
    statement = Statement(SWARM, HOLDER.peer_id, VERIFIER.peer_id, nonce, 7, hashlib.sha256(BODY).digest())
    statement = dataclasses.replace(statement, **changes)
    return encode_fingerprint_message(Answer(sign1(signer, domain, encode_statement(statement)), body))


FORGERIES = {
    "another verifier": {"verifier": OTHER.peer_id},
    "another holder": {"holder": OTHER.peer_id},
    "another swarm": {"swarm_id": bytes(32)},
    "another body": {"body": b"something else"},
    "another epoch": {"epoch": 8},
    "another signer": {"signer": OTHER},
    "another domain": {"domain": "update"},
}


@pytest.mark.req("N-020")
@pytest.mark.parametrize("changes", FORGERIES.values(), ids=FORGERIES)
def test_an_answer_that_is_not_bound_to_everything_is_an_error(changes):
    verifier, _ = pair()
    verifier.request(7, now=0.0)
    (message,) = verifier.drain(0.0).of("next_message")
    nonce = decode_fingerprint_message_untrusted(message).nonce
    with pytest.raises(RemoteProtocolError) as caught:
        verifier.receive_message(forged(nonce=nonce, **changes), now=0.0)
    assert caught.value.code is ErrorCode.E_FP_BINDING
    assert verifier.stats.dropped == {"breach": 1}
    # The same, unchanged, is fine: each refusal above has the one reason that it names.
    verifier.receive_message(forged(nonce=nonce), now=0.0)
    assert verifier.drain(0.0).events == (FingerprintReceived(BODY, 7),)


@pytest.mark.req("N-021")
def test_an_answer_of_earlier_serves_no_later_request():
    verifier, holder = pair(shelf_with())
    assert verifier.request(now=0.0)
    carry(verifier, holder)
    old = holder.drain(0.0).of("next_message")
    verifier.handle_timer(now=LIMITS.fingerprint_timeout_s)
    now = LIMITS.fingerprint_timeout_s
    verifier.drain(now)
    verifier.receive_message(old[0], now=now)
    assert verifier.request(now=now)
    verifier.drain(now)
    verifier.receive_message(old[0], now=now)
    verifier.receive_message(
        encode_fingerprint_message(Decline(bytes(NONCE_BYTES), ErrorCode.E_FP_BUDGET)), now=now
    )
    large = bytes(LIMITS.fingerprint_bytes + 1)
    stale = forged(nonce=bytes(NONCE_BYTES), body=large, digest=hashlib.sha256(large).digest())
    verifier.receive_message(stale, now=now)
    assert verifier.drain(now).events == ()
    assert verifier.stats.dropped == {"late_answer": 4}


def test_a_body_beyond_our_limit_is_not_taken():
    body = bytes(LIMITS.fingerprint_bytes + 1)
    verifier, _ = pair()
    verifier.request(now=0.0)
    (message,) = verifier.drain(0.0).of("next_message")
    nonce = decode_fingerprint_message_untrusted(message).nonce
    answer = forged(nonce=nonce, body=body, digest=hashlib.sha256(body).digest())
    verifier.receive_message(answer, now=0.0)
    assert verifier.drain(0.0).events == (FingerprintNotReceived(ErrorCode.E_TOO_BIG),)


@pytest.mark.req("N-010")
def test_a_peer_that_asks_without_reading_costs_a_bounded_queue():
    _, holder = pair(shelf_with())
    for index in range(100):
        request = Request(index.to_bytes(NONCE_BYTES, "big"))
        holder.receive_message(encode_fingerprint_message(request), now=0.0)
    answers = [decode_fingerprint_message_untrusted(data) for data in holder.drain(0.0).of("next_message")]
    assert 1 <= len(answers) <= 8
    nonces = [
        decode_statement_untrusted(decode_sign1_untrusted(one.statement, max_bytes=300).payload).nonce
        if isinstance(one, Answer)
        else one.nonce
        for one in answers
    ]
    assert nonces == [index.to_bytes(NONCE_BYTES, "big") for index in range(len(answers))]
    assert holder.stats.dropped["request_queue_full"] >= 92


@pytest.mark.req("N-011")
def test_an_epoch_has_one_body_for_ever():
    shelf = shelf_with(epoch=7)
    shelf.put(BODY, 7)
    for body, epoch in ((b"fresh noise", 7), (BODY, 6), (b"", 8), (bytes(5000), 8), (BODY, MAX_EPOCH + 1)):
        with pytest.raises(LocalProtocolError):
            shelf.put(body, epoch)
    shelf.put(b"new data", 8)
    assert shelf.fingerprint.epoch == 8
    with pytest.raises(LocalProtocolError):
        FingerprintShelf().put(BODY, -1)


@pytest.mark.req("N-011")
def test_an_epoch_has_one_body_also_after_a_restart():
    state = shelf_with(epoch=7).state()
    shelf = FingerprintShelf()
    shelf.restore(state)
    assert shelf.fingerprint is None
    with pytest.raises(LocalProtocolError):
        shelf.put(b"fresh noise", 7)
    shelf.put(BODY, 7)
    assert shelf.fingerprint.body == BODY


@given(st.binary(max_size=200))
def test_any_bytes_raise_only_what_they_may(data):
    machine = exchange(VERIFIER, HOLDER, shelf_with())
    machine.request(now=0.0)
    with contextlib.suppress(RemoteProtocolError):
        machine.receive_message(data, now=0.0)


@pytest.mark.req("N-001")
def test_later_kinds_are_ignored_and_earlier_ones_are_not():
    machine = exchange(VERIFIER, HOLDER)
    machine.receive_message(encode({0: 64}), now=0.0)
    assert machine.stats.dropped == {"unknown_kind": 1}
    with pytest.raises(RemoteProtocolError):
        machine.receive_message(encode({0: 4}), now=0.0)


def test_the_contract():
    machine = exchange(VERIFIER, HOLDER, shelf_with(), now=5.0)
    machine.step_back()
    with pytest.raises(LocalProtocolError):
        machine.request(MAX_EPOCH + 1, now=5.0)
    machine.request(now=5.0)
    machine.drain(5.0)
    machine.step_back()
    inner = machine.machine
    assert_refuses_reentry(inner, lambda: inner.handle_timer(now=5.0), now=5.0)


@given(st.binary(min_size=32, max_size=32), st.integers(0, MAX_EPOCH))
def test_statements_round_trip(value, epoch):
    statement = Statement(value, value, value, value[:16], epoch, value)
    assert decode_statement_untrusted(encode_statement(statement)) == statement
