"""Pairs of handshakes over an ordered pipe: they agree, or both know why not."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quinkgl.protocol.manifest_handshake import (
    HANDSHAKE_TABLE,
    HandshakeState,
    Input,
    ManifestAgreed,
    ManifestHandshake,
    ManifestRefused,
    Terms,
)
from quinkgl.testing.carrier import OrderedPipe
from quinkgl.testing.contract import Checked, assert_refuses_reentry
from quinkgl.wire.cbor import encode
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.messages.manifest import (
    Agree,
    Hello,
    Refuse,
    decode_manifest_message_untrusted,
    encode_manifest_message,
)

TERMS = Terms(
    swarm_id=bytes(range(32)),
    schema_version=3,
    arch_hash="sha256:" + "ab" * 32,
    input_shape=(64,),
    output_shape=(10,),
    aggregation="FedAvg",
    topology="Random",
    compression_enabled=False,
    byzantine_f=0,
    expires_unix=2_000_000_000,
    max_object_bytes=1 << 20,
    features=("introduce", "relay"),
)
UNIX = 1_900_000_000.0
TIMEOUT = LIMITS.manifest_handshake_timeout_s


def machine(terms=TERMS, *, initiator=True, now=0.0, unix_now=UNIX):
    return Checked(ManifestHandshake(terms, role_initiator=initiator, now=now, unix_now=unix_now), now=now)


def run(one, other, *, delay=lambda: 0.0, until=60.0):
    """Carry messages both ways until nothing moves any more; return what each side reported."""
    sides = (one, other)
    pipes = (OrderedPipe(delay), OrderedPipe(delay))  # pipes[i] leads from side i
    events = ([], [])
    now = 0.0
    while now <= until:
        for index, side in enumerate(sides):
            while (data := pipes[1 - index].receive(now)) is not None:
                side.receive_message(data, now=now)
            if side.deadline() is not None and side.deadline() <= now:
                side.handle_timer(now=now)
            drained = side.drain(now)
            events[index].extend(drained.events)
            for data in drained.of("next_message"):
                pipes[index].send(data, now)
        due = [pipe.next_arrival() for pipe in pipes] + [side.deadline() for side in sides]
        due = [when for when in due if when is not None]
        if not due:
            break
        now = max(now, min(due))
    return events


@pytest.mark.req("H-001")
@settings(max_examples=40)
@given(st.lists(st.floats(0, 4), min_size=4, max_size=4))
def test_two_sides_that_mean_the_same_agree(delays):
    one, other = machine(), machine(initiator=False)
    events = run(one, other, delay=iter(delays).__next__)
    expected = ManifestAgreed(TERMS, TERMS.max_object_bytes, TERMS.features)
    assert events == ([expected], [expected])
    assert one.state is other.state is HandshakeState.AGREED
    assert one.deadline() is None
    assert one.deadline_reason == ""


@pytest.mark.req("H-013", "H-014")
def test_agreement_takes_the_smaller_size_and_the_common_features():
    ours = dataclasses.replace(TERMS, max_object_bytes=500, features=("a", "b", "c"))
    theirs = dataclasses.replace(TERMS, max_object_bytes=700, features=("b", "c", "d"))
    (ours_events, theirs_events) = run(machine(ours), machine(theirs, initiator=False))
    assert ours_events == [ManifestAgreed(theirs, 500, ("b", "c"))]
    assert theirs_events == [ManifestAgreed(ours, 500, ("b", "c"))]


DIFFERENCES = [
    ("swarm_id", bytes(32), ErrorCode.E_MAN_UNKNOWN),
    ("schema_version", 4, ErrorCode.E_MAN_VERSION),
    ("arch_hash", "sha256:" + "cd" * 32, ErrorCode.E_MAN_ARCH),
    ("input_shape", (8, 8), ErrorCode.E_MAN_SHAPE),
    ("output_shape", (9,), ErrorCode.E_MAN_SHAPE),
    ("aggregation", "Krum", ErrorCode.E_MAN_TERMS),
    ("topology", "Ring", ErrorCode.E_MAN_TERMS),
    ("compression_enabled", True, ErrorCode.E_MAN_TERMS),
    ("byzantine_f", 1, ErrorCode.E_MAN_TERMS),
    ("expires_unix", None, ErrorCode.E_MAN_TERMS),
]


@pytest.mark.req("H-010")
@pytest.mark.parametrize(("field", "value", "code"), DIFFERENCES, ids=[case[0] for case in DIFFERENCES])
def test_a_difference_is_refused_by_both_with_its_code(field, value, code):
    one, other = machine(), machine(dataclasses.replace(TERMS, **{field: value}), initiator=False)
    for side, events in zip((one, other), run(one, other), strict=True):
        (event,) = events
        assert isinstance(event, ManifestRefused)
        assert (event.code, event.field, event.by_remote) == (code, field, False)
        assert "\n" not in event.reason
        assert side.state is HandshakeState.REFUSED
        assert side.stats.dropped == {"after_refusal": 1}  # the other side's REFUSE
        assert side.deadline() is None


@pytest.mark.req("H-010")
def test_the_first_difference_is_named():
    other = dataclasses.replace(TERMS, arch_hash="x", aggregation="Krum")
    (event,), _ = run(machine(), machine(other, initiator=False))
    assert event.field == "arch_hash"


@pytest.mark.req("H-011")
def test_an_expired_manifest_is_refused_with_the_time_that_has_passed():
    soon = dataclasses.replace(TERMS, expires_unix=int(UNIX) + 3)
    for delay, code in ((2.0, None), (4.0, ErrorCode.E_MAN_EXPIRED)):
        (event,), _ = run(machine(soon), machine(soon, initiator=False), delay=lambda delay=delay: delay)
        assert getattr(event, "code", None) is code


@pytest.mark.req("H-001", "H-020")
def test_a_silent_peer_is_refused_in_time():
    one = machine()
    assert one.drain().of("next_message") == [encode_manifest_message(Hello(TERMS, True))]
    assert one.deadline() == TIMEOUT
    assert one.deadline_reason == "timeout"
    one.handle_timer(now=TIMEOUT - 0.001)
    assert one.state is HandshakeState.WAIT_HELLO
    one.handle_timer(now=TIMEOUT)
    assert one.deadline_reason == "output"
    drained = one.drain()
    assert drained.events == (ManifestRefused(ErrorCode.E_MAN_TIMEOUT, "", "no HELLO in time", False),)
    (message,) = drained.of("next_message")
    assert decode_manifest_message_untrusted(message).code == ErrorCode.E_MAN_TIMEOUT


@pytest.mark.req("H-020")
def test_a_peer_that_does_not_answer_is_refused_in_time():
    one = machine()
    one.receive_message(encode_manifest_message(Hello(TERMS, False)), now=1.0)
    one.drain()
    one.handle_timer(now=TIMEOUT)
    assert one.drain().events[0].reason == "no answer in time"


def test_an_agreement_can_still_be_withdrawn_by_a_side_that_timed_out():
    one = machine()
    for message in (Hello(TERMS, False), Agree(), Refuse(ErrorCode.E_MAN_TIMEOUT, "", "no answer in time")):
        one.receive_message(encode_manifest_message(message), now=1.0)
    agreed, refused = one.drain().events
    assert isinstance(agreed, ManifestAgreed)
    assert refused == ManifestRefused(ErrorCode.E_MAN_TIMEOUT, "", "no answer in time", by_remote=True)


@pytest.mark.req("H-005")
def test_a_mirror_is_noticed():
    one = machine()
    (hello,) = one.drain().of("next_message")
    with pytest.raises(RemoteProtocolError) as refused:
        one.receive_message(hello, now=0.0)
    assert refused.value.code is ErrorCode.E_PROTOCOL
    assert one.state is HandshakeState.REFUSED


@pytest.mark.req("E-002", "H-021")
def test_a_refusal_keeps_its_text_harmless_and_its_code_known():
    one = machine()
    one.receive_message(encode_manifest_message(Refuse(0x1234, "a\x1b", "b\nc\u202e")), now=0.0)
    replaced = "\N{REPLACEMENT CHARACTER}"
    expected = ManifestRefused(
        ErrorCode.E_PROTOCOL, f"a{replaced}", f"b{replaced}c{replaced}", by_remote=True
    )
    assert one.drain().events == (expected,)


def test_a_name_that_begins_with_a_combining_character_can_be_refused():
    strange = dataclasses.replace(TERMS, aggregation="\N{COMBINING ACUTE ACCENT}x")
    (event,), _ = run(machine(), machine(strange, initiator=False))
    assert event.field == "aggregation"
    assert event.reason.isascii()


def test_long_reasons_are_cut_for_the_wire_only():
    one = machine()
    one.receive_message(
        encode_manifest_message(Hello(dataclasses.replace(TERMS, arch_hash="y" * 128), False)), now=0.0
    )
    drained = one.drain()
    refuse = decode_manifest_message_untrusted(drained.of("next_message")[-1])
    assert len(refuse.reason) == LIMITS.reason_bytes
    assert drained.events[0].reason.startswith(refuse.reason)
    assert "y" * 128 in drained.events[0].reason


@pytest.mark.req("H-004")
def test_unknown_kinds_are_ignored():
    one = machine()
    one.receive_message(encode({0: 99}), now=0.0)
    assert one.state is HandshakeState.WAIT_HELLO
    assert one.stats.dropped == {"unknown_kind": 1}


@given(st.binary(max_size=200))
def test_bytes_that_are_no_message_end_the_handshake(data):
    one = machine()
    try:
        one.receive_message(data, now=0.0)
    except RemoteProtocolError:
        assert one.state is HandshakeState.REFUSED
        assert one.stats.dropped == {"breach": 1}


def test_terms_that_no_hello_can_carry_are_the_callers_mistake():
    with pytest.raises(LocalProtocolError):
        machine(dataclasses.replace(TERMS, input_shape=(0,)))


def in_state(state):
    """A machine that messages have led to a state, with what it said drained."""
    one = machine()
    messages = {
        HandshakeState.WAIT_HELLO: (),
        HandshakeState.WAIT_ANSWER: (Hello(TERMS, False),),
        HandshakeState.AGREED: (Hello(TERMS, False), Agree()),
        HandshakeState.REFUSED: (Refuse(1, "", ""),),
    }
    for message in messages[state]:
        one.receive_message(encode_manifest_message(message), now=0.0)
    assert one.state is state
    one.drain()
    return one


INPUTS = {
    Input.HELLO_FITS: encode_manifest_message(Hello(TERMS, False)),
    Input.HELLO_DIFFERS: encode_manifest_message(Hello(dataclasses.replace(TERMS, topology="x"), False)),
    Input.AGREE: encode_manifest_message(Agree()),
    Input.REFUSE: encode_manifest_message(Refuse(1, "", "")),
    Input.BREACH: b"\xff",
    Input.TIMEOUT: None,
}


@pytest.mark.req("H-004", "H-007")
@pytest.mark.parametrize("state", HandshakeState)
@pytest.mark.parametrize("event", Input)
def test_the_machine_does_what_its_table_says(state, event):
    one = in_state(state)
    action, following = HANDSHAKE_TABLE.step(state, event)
    raised = None
    try:
        if event is Input.TIMEOUT:
            one.handle_timer(now=TIMEOUT)
        else:
            one.receive_message(INPUTS[event], now=1.0)
    except RemoteProtocolError as error:
        raised = error
    drained = one.drain()
    assert one.state is following
    assert (raised is not None) == (action.name == "FAULT")
    if raised is not None:
        assert raised.code is (ErrorCode.E_CBOR if event is Input.BREACH else ErrorCode.E_PROTOCOL)
    sent = [type(decode_manifest_message_untrusted(data)) for data in drained.of("next_message")]
    assert sent == {"SEND_AGREE": [Agree], "SEND_REFUSE": [Refuse]}.get(action.name, [])
    reported = [type(event) for event in drained.events]
    expected = {
        "SEND_REFUSE": [ManifestRefused],
        "REPORT_AGREED": [ManifestAgreed],
        "REPORT_REFUSED": [ManifestRefused],
    }
    assert reported == expected.get(action.name, [])


def test_the_contract_of_time_and_owner():
    one = machine(now=100.0)
    one.drain()
    one.step_back()
    assert_refuses_reentry(
        one.machine, lambda: one.machine.receive_message(encode({0: 99}), now=100.0), now=100.0
    )
