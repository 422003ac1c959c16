"""The manifest handshake and the fetching of a manifest, each with a hostile peer."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

from fuzz.bench import Bench
from fuzz.harness import Target
from fuzz.mutators import Choices, Step, load, mutate_cbor, pack, script_mutator, unpack
from fuzz.oracles import Finding
from fuzz.targets.message_decoders import HASH, terms
from quinkgl.protocol.manifest_fetch import (
    FetchState,
    ManifestFetch,
    ManifestFetched,
    ManifestServed,
    ManifestSource,
)
from quinkgl.protocol.manifest_handshake import HandshakeState, ManifestAgreed, ManifestHandshake
from quinkgl.wire.cbor import encode
from quinkgl.wire.errors import ErrorCode, LocalProtocolError
from quinkgl.wire.messages.fetch import (
    PIECE_BYTES,
    FetchRefused,
    Get,
    Piece,
    decode_fetch_message_untrusted,
    encode_fetch_message,
)
from quinkgl.wire.messages.manifest import (
    Agree,
    Hello,
    Refuse,
    decode_manifest_message_untrusted,
    encode_manifest_message,
)

# --- the handshake ---

MESSAGE, WAIT, BACK, DRAIN = range(4)
_QUIET = frozenset({"stats", "_now"})


def run_handshake(data: bytes) -> None:
    """Whatever comes, a peer is agreed with only after a HELLO that fits and an AGREE; a breach ends it."""
    steps = unpack(data)
    initiator = bool(data and data[-1] & 1)
    own = terms(features=("a", "c"), expires_unix=1_800_000_100)
    machine = ManifestHandshake(own, role_initiator=initiator, now=0.0, unix_now=1.8e9)
    bench = Bench(machine)
    heard: list[object] = []
    for code, payload in steps:
        before = machine.state
        match code % 4:
            case 0:
                is_over = before is HandshakeState.REFUSED
                taken = bench.message(payload, size=len(payload), ignore=None)
                if taken and not is_over:
                    heard.append(decode_manifest_message_untrusted(payload))
                if not taken and machine.state is not HandshakeState.REFUSED:
                    raise Finding(f"a breach, and the state is {machine.state}")
            case 1:
                bench.wait(Choices(payload).number(2) / 16)
            case 2:
                bench.step_back(float(Choices(payload).number()))
        events, messages = bench.drain() if code & 4 or code % 4 == DRAIN else ([], [])
        for message in messages:
            decode_manifest_message_untrusted(message)
        for event in events:
            if isinstance(event, ManifestAgreed):
                _check_agreement(event, heard, own.swarm_id, initiator=initiator)
        bench.check_bounds()
        if before is HandshakeState.REFUSED and machine.state is not before:
            raise Finding("a refusal was taken back")
    bench.drain()
    if len([event for event in bench.events if isinstance(event, ManifestAgreed)]) > 1:
        raise Finding("agreed twice")


def _check_agreement(event: ManifestAgreed, heard: list[object], swarm_id: bytes, *, initiator: bool) -> None:
    hellos = [message for message in heard if isinstance(message, Hello)]
    if len(hellos) != 1 or not any(isinstance(message, Agree) for message in heard):
        raise Finding(f"agreed after {heard}")
    if hellos[0].initiator == initiator or event.remote.swarm_id != swarm_id:
        raise Finding(f"agreed with {event.remote}")


def handshake_pool() -> Sequence[Step]:
    """Steps that mean something."""
    own = terms(features=("a", "c"), expires_unix=1_800_000_100)
    steps: list[Step] = [
        (MESSAGE, encode_manifest_message(Hello(own, initiator=role))) for role in (True, False)
    ]
    steps += [(MESSAGE | 4, body) for _, body in steps]
    steps.append((MESSAGE, encode_manifest_message(Hello(terms(), initiator=False))))
    steps.append((MESSAGE, encode_manifest_message(Agree())))
    steps.append((MESSAGE, encode_manifest_message(Refuse(ErrorCode.E_MAN_ARCH, "arch_hash", "differs"))))
    steps += [
        (MESSAGE, encode({0: 64})),
        (WAIT, b"\0\x20"),
        (WAIT, b"\xff\xff"),
        (BACK, b"\x20"),
        (DRAIN, b""),
    ]
    return steps


def handshake_seeds() -> list[bytes]:
    """An agreement in either role, a refusal, a time-out."""
    known = list(handshake_pool())
    agree = known[5]
    return [
        pack([known[0], agree, (DRAIN, b"")]),
        pack([known[1], agree, (DRAIN, b"\1")]),
        pack([known[1], known[6], agree]),
        pack([known[4], agree]),
        pack([(WAIT, b"\xff\xff"), known[1], (DRAIN, b"\1")]),
    ]


# --- fetching ---

RAW, PIECE, FETCH_WAIT, GET, NEXT = range(5)
_SIZES = (1, 100, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES, 3 * PIECE_BYTES + 7)
_MANIFESTS = tuple(bytes(size % 251 for size in range(count)) for count in _SIZES)


def run_fetch(data: bytes) -> None:
    """Only bytes that hash to the swarm's id come out; each piece is served once and in order."""
    steps = unpack(data)
    manifest = _MANIFESTS[(data[-1] if data else 0) % len(_MANIFESTS)]
    swarm_id = hashlib.sha256(manifest).digest()
    fetch = Bench(ManifestFetch(swarm_id, now=0.0))
    source = Bench(ManifestSource(swarm_id, manifest, HASH * 2, now=0.0))
    served = b""
    at = 0
    for code, payload in steps:
        choices = Choices(payload)
        match code % 5:
            case 0:
                for bench in (fetch, source):
                    taken = bench.message(payload, size=len(payload), ignore=None)
                    if not taken and bench.raw.state is not FetchState.FAILED:
                        raise Finding(f"a breach, and the state is {bench.raw.state}")
            case 1:
                at = _send_piece(fetch, manifest, at, choices)
            case 2:
                if choices.number() & 1:
                    fetch.step_back(2.0)
                seconds = choices.number(2) / 4
                fetch.wait(seconds)
                source.wait(seconds)
            case 3:
                offset = choices.number(3)
                request = _encoded(Get(swarm_id if choices.number() & 1 else HASH, offset))
                source.message(request, size=len(request), ignore=None)
            case 4:
                request = _encoded(Get(swarm_id, len(served)))
                source.message(request, size=len(request), ignore=None)
        if code & 8 or code % 5 == NEXT:
            served += _take(fetch, source, swarm_id)
        fetch.check_bounds()
        source.check_bounds()
    _take(fetch, source, swarm_id)
    if served and not manifest.startswith(served):
        raise Finding("what was served is not the manifest")
    if any(isinstance(event, ManifestServed) for event in source.events) and len(source.events) > 2:
        raise Finding(f"too many ends: {source.events}")


def _encoded(message: Get | Piece | FetchRefused) -> bytes:
    try:
        return encode_fetch_message(message)
    except LocalProtocolError:
        return encode({0: 64})


def _send_piece(fetch: Bench, manifest: bytes, at: int, choices: Choices) -> int:
    flags, shift = choices.number(), choices.number(2)
    data = manifest[at : at + PIECE_BYTES]
    total = len(manifest)
    if flags & 1:
        data = bytes(len(data))
    if flags & 2:
        data = data[:-1]
    if flags & 4:
        total += shift
    offset = at + (shift if flags & 8 else 0)
    message = _encoded(Piece(offset, total, data, HASH * 2 if offset == 0 and flags & 16 else None))
    taken = fetch.message(message, size=len(message), ignore=None)
    fetch.drain()
    return at + len(data) if taken else at


def _take(fetch: Bench, source: Bench, swarm_id: bytes) -> bytes:
    served = b""
    for message in source.drain()[1]:
        decoded = decode_fetch_message_untrusted(message)
        if isinstance(decoded, Piece):
            served += decoded.data
    for message in fetch.drain()[1]:
        if not isinstance(decode_fetch_message_untrusted(message), Get):
            raise Finding("the fetcher says something else than GET")
    for event in fetch.events:
        if isinstance(event, ManifestFetched) and hashlib.sha256(event.manifest).digest() != swarm_id:
            raise Finding("another manifest than was asked for")
    return served


def fetch_pool() -> Sequence[Step]:
    """Steps that mean something."""
    steps: list[Step] = [
        (PIECE | 8 * (flags & 1), bytes([flags, 0, 9])) for flags in (0, 0, 0, 1, 2, 4, 8, 16, 17)
    ]
    steps += [(NEXT, b""), (NEXT, b""), (GET, b"\0\0\0\1"), (GET, b"\0\4\0\1"), (GET, b"\0\0\0\0")]
    steps += [(FETCH_WAIT, b"\0\0\x10"), (FETCH_WAIT, b"\1\xff\xff"), (RAW, encode({0: 64}))]
    steps.append((RAW, encode_fetch_message(FetchRefused(ErrorCode.E_MAN_UNKNOWN, "not here\x07"))))
    steps.append((RAW, encode_fetch_message(Piece(0, 100, _MANIFESTS[1]))))
    return steps


def fetch_seeds() -> list[bytes]:
    """Manifests of one and more pieces, from both ends."""
    return [
        *(
            pack([*[(PIECE, b"\x10\0\0")] * 5, *[(NEXT, b"")] * 5, (RAW, bytes([which]))])
            for which in range(6)
        ),
        *(pack([*[(PIECE, b"\x01\0\0")] * 5, (NEXT, bytes([which]))]) for which in range(6)),
        pack([(PIECE, b"\1\0\0"), (GET, b"\0\0\0\0"), (RAW, b"\3")]),
    ]


def _payload(code: int, body: bytes, rng: random.Random) -> bytes:
    try:
        load(body)
    except ValueError:
        return bytes(rng.randrange(32) for _ in body)
    return mutate_cbor(body, rng)


TARGETS = (
    Target(
        name="manifest_handshake",
        about="the manifest handshake",
        run=run_handshake,
        seeds=handshake_seeds,
        mutate=script_mutator(8, pool=handshake_pool),
        kept=30,
        short_runs=8_000,
    ),
    Target(
        name="manifest_fetch",
        about="fetching a manifest, both ends",
        run=run_fetch,
        seeds=fetch_seeds,
        mutate=script_mutator(16, pool=fetch_pool, payload=_payload),
        max_bytes=4096,
        kept=30,
        short_runs=8_000,
    ),
)
