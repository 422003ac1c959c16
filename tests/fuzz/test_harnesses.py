"""The harnesses notice what they are for: a fault planted in the sources is found by the inputs at hand."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from fuzz.executor import Executor, replay  # noqa: E402
from fuzz.oracles import Bound, Finding, Meter, attempt, check_error, measuring, metered  # noqa: E402
from fuzz.sessions import OTHERS, PEER_ADDRESS, Hostile, begin  # noqa: E402
from fuzz.targets import connections, load_target, target_names  # noqa: E402

from fuzz import engine_hypothesis, mutators  # noqa: E402 - as in test_replay
from quinkgl.protocol.exchange import Exchanges  # noqa: E402
from quinkgl.protocol.fingerprint_exchange import FingerprintExchange  # noqa: E402
from quinkgl.protocol.manifest_fetch import ManifestFetch  # noqa: E402
from quinkgl.transport import MessageReceived  # noqa: E402
from quinkgl.transport.endpoint import Endpoint  # noqa: E402
from quinkgl.transport.key_schedule import KeySchedule  # noqa: E402
from quinkgl.transport.object_receiver import ObjectReceiver  # noqa: E402
from quinkgl.wire import cbor, frames  # noqa: E402
from quinkgl.wire.control import Channel  # noqa: E402
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError  # noqa: E402


def finds(name: str, mutations: int = 0) -> bool:
    """Whether the seeds of a harness, or what becomes of them, are a finding now."""
    target = load_target(name)
    rng = random.Random(0)
    for data in target.seeds():
        change = mutators.mutate_bytes if target.mutate is None else target.mutate
        for each in (data, *(change(data, rng) for _ in range(mutations))):
            try:
                replay(target, each[: target.max_bytes])
            except Exception:  # noqa: BLE001 - whatever is raised is a finding
                return True
    return False


def test_a_second_encoding_is_found(monkeypatch):
    monkeypatch.setattr(cbor, "_LEAST", dict.fromkeys((24, 25, 26, 27), 0))
    assert not finds("cbor")
    with pytest.raises(Finding, match="second encoding"):
        replay(load_target("cbor"), b"\x18\x01")


def test_another_exception_is_found(monkeypatch):
    monkeypatch.setattr(
        frames, "_slice_untrusted", lambda payload, start, length, _kind: payload[start:][length]
    )
    assert finds("frames")


def test_unverified_bytes_are_found(monkeypatch):
    monkeypatch.setattr(
        ObjectReceiver, "_verify_leaves", lambda self, leaves: self._keep(leaves[0], leaves[-1] + 1)
    )
    assert finds("object_exchange", mutations=20)
    assert finds("resume_file", mutations=20)


def test_a_manifest_that_was_not_asked_for_is_found(monkeypatch):
    monkeypatch.setattr("quinkgl.protocol.manifest_fetch.hmac.compare_digest", lambda _one, _other: True)
    assert ManifestFetch.__module__ == "quinkgl.protocol.manifest_fetch"
    assert finds("manifest_fetch", mutations=20)


def test_an_answer_that_is_bound_to_another_is_found(monkeypatch):
    monkeypatch.setattr(FingerprintExchange, "_check_binding_untrusted", lambda *_arguments: None)
    assert finds("fingerprint", mutations=100)


def test_an_exchange_that_is_decided_twice_is_found(monkeypatch):
    once = Exchanges._apply  # noqa: SLF001 - a fault is planted there

    def twice(self, record, event, code=ErrorCode.NO_ERROR):
        state = record.state
        once(self, record, event, code)
        if event.value == "commit" and record.state is not state:
            record.state = state
            self._records[record.peer, record.exchange] = record
            once(self, record, event, code)

    monkeypatch.setattr(Exchanges, "_apply", twice)
    assert finds("exchange")


def test_a_packet_that_is_not_authentic_and_moves_a_session_is_found(monkeypatch):
    opened = KeySchedule.open_untrusted

    def lax(self, number, first, header, ciphertext, now):
        plaintext = opened(self, number, first, header, ciphertext, now)
        return b"\x01" if plaintext is None else plaintext

    monkeypatch.setattr(KeySchedule, "open_untrusted", lax)
    assert finds("packet_path")


def test_an_endpoint_that_raises_is_found(monkeypatch):
    monkeypatch.setattr(Endpoint, "_on_unknown", lambda *_arguments: 1 / 0)
    assert finds("packet_path")


@pytest.mark.parametrize("incoming", [True, False])
def test_a_hostile_peer_is_heard_and_hears(incoming):
    endpoint = connections.new_endpoint()
    begin(endpoint, 1001, incoming=True)
    hostile = Hostile(endpoint, begin(endpoint, 1000, incoming=incoming))
    hostile.message(Channel.GOSSIP, b"one")
    for source in (OTHERS[1], PEER_ADDRESS):
        hostile.source = source
        hostile.deliver(hostile.seal(frames.PING))
    assert endpoint.stats.dropped == {}
    assert [event.data for event in hostile.events if isinstance(event, MessageReceived)] == [b"one"]
    assert hostile.peer.received, "its acknowledgements were opened"


def test_work_beyond_the_bound_is_found():
    def slow(count):
        for _ in range(count):
            len(b"")

    bound = Bound(calls=100, calls_per_byte=1)
    with measuring(Meter.CALLS):
        metered(bound, 10, slow, 50)
        with pytest.raises(Finding, match="calls for 10 bytes"):
            metered(bound, 10, slow, 200)
    metered(bound, 10, slow, 200)


def test_memory_beyond_the_bound_is_found():
    bound = Bound(memory=1000, memory_per_byte=10)
    with measuring(Meter.CALLS_AND_MEMORY):
        metered(bound, 10, bytearray, 500)
        with pytest.raises(Finding, match="bytes of memory for 10 bytes"):
            metered(bound, 10, bytearray, 50_000)


def test_only_errors_that_are_for_peers_may_leave_a_decoder():
    def refuse(_data, error):
        raise error

    assert attempt(refuse, b"", RemoteProtocolError(ErrorCode.E_CBOR, "no")) is None
    with pytest.raises(Finding):
        check_error(RemoteProtocolError(ErrorCode.E_USAGE, "misuse"))
    with pytest.raises(Finding):
        check_error(RemoteProtocolError(ErrorCode.E_CBOR, "x" * 5000))
    with pytest.raises(ValueError, match="other"):
        attempt(refuse, b"", ValueError("other"))


def test_what_is_kept_from_input_to_input_is_found(monkeypatch):
    monkeypatch.setattr("fuzz.executor._MEMORY_EVERY", 100)
    monkeypatch.setattr("fuzz.executor._MORE_BLOCKS", 200)
    kept: list[object] = []
    target = load_target("frames")
    leaking = type(target)(
        name="leak", about="", run=lambda data: kept.append([data, object()]), seeds=target.seeds
    )
    executor = Executor(leaking)
    inputs = (bytes([number & 0xFF]) for number in range(1000))
    with pytest.raises(Finding, match="kept from one input"):
        list(map(executor, inputs))


@pytest.mark.parametrize("name", target_names())
def test_mutators_give_bytes_for_any_bytes(name):
    target = load_target(name)
    if target.mutate is None:
        return
    rng = random.Random(name)
    data = next(iter(target.seeds()))
    for number in range(60):
        data = target.mutate(data, rng)[: target.max_bytes]
        assert isinstance(data, bytes)
        if number % 10 == 9:
            data = rng.randbytes(rng.randrange(40))


def test_the_replacement_engine_counts_and_finds(tmp_path):
    target = load_target("frames")
    known = list(target.seeds())
    done, finding = engine_hypothesis.fuzz(target, known, runs=300, seconds=60, number=1, keep_in=tmp_path)
    assert (done >= 300, finding) == (True, None)

    def broken(data):
        assert b"\x1c" not in data

    faulty = type(target)(name="faulty", about="", run=broken, seeds=target.seeds, mutate=target.mutate)
    _, finding = engine_hypothesis.fuzz(faulty, known, runs=300, seconds=60, number=1, keep_in=tmp_path)
    assert finding is not None
    assert finding.read_bytes() == b"\x1c", "made as small as it can be"
