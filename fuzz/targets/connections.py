"""Endpoints with live sessions: datagrams changed on the way, and a peer that says what it likes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fuzz.harness import CONNECTION_RUNS, Target
from fuzz.mutators import Choices, Step, mutate_cbor, pack, script_mutator, unpack
from fuzz.oracles import Finding, compares_states
from fuzz.sessions import OTHERS, PEER_ADDRESS, START, Hostile, begin
from fuzz.targets.message_decoders import gossip_messages, object_messages, secret_messages
from fuzz.targets.wire_decoders import FRAME_SEEDS, frame_seeds, mutate_frames
from quinkgl.testing.contract import freeze
from quinkgl.testing.endpoints import ScriptedPeer, make_endpoint
from quinkgl.transport import ConnectionConfig, Endpoint, EndpointConfig, KeyLimits, leaf_hashes, merkle_root
from quinkgl.transport.reassembly import ObjectConfig
from quinkgl.wire.control import Channel
from quinkgl.wire.frames import (
    Ack,
    encode_ack,
    encode_control_frame,
    encode_max_data,
    encode_path_response,
    encode_retire_cid,
)
from quinkgl.wire.messages.objects import Cancel, Done, Offer, Want, encode_object_message
from quinkgl.wire.messages.secrets import ExchangeOffer, ExchangeReply, encode_exchange_message

_BODY = bytes(range(256)) * 80
_SMALL = b"small"
_CONFIG = EndpointConfig(
    connections=8,
    objects=ObjectConfig(object_bytes=100_000, reassembly_bytes=200_000),
    connection=ConnectionConfig(keys=KeyLimits(phase_packets=20, phase_s=8.0, ratchet_s=4.0)),
)


def _root(body: bytes) -> bytes:
    return merkle_root(leaf_hashes(body))


def _offer(transfer: int, body: bytes = _BODY) -> bytes:
    inline = body if len(body) < 100 else None
    return encode_object_message(Offer(transfer, _root(body), len(body), b"header", inline))


_SPACE = b"".join(leaf_hashes(_BODY)) + _BODY

# --- a hostile peer with the true keys ---

(
    FRAMES,
    MESSAGE,
    BULK,
    RUN,
    WAIT,
    COMMAND,
    ACKNOWLEDGE,
    PHASE,
    MOVE,
    REPLAY,
    CHALLENGE,
    NUMBER,
    TIMER_BACK,
    QUIET,
) = range(14)


def new_endpoint() -> Endpoint:
    """Return an endpoint without a session."""
    return make_endpoint(1, config=_CONFIG, now=START)


def run_hostile(data: bytes) -> None:
    """Run a script of the peer's; the endpoint has an honest session as well, which stays."""
    steps = unpack(data)
    endpoint = new_endpoint()
    honest = begin(endpoint, 1001, incoming=True)
    last = data[-1] if data else 0
    peer = begin(endpoint, 1002 if last & 2 else 1000, incoming=not last & 1)
    hostile = Hostile(endpoint, peer)
    other = Hostile(endpoint, honest)
    script = _Script(hostile)
    for code, payload in steps:
        script.step(code, payload)
        if hostile.is_over:
            break
    hostile.wait(0.3)
    waited = hostile.now - START
    if waited < 1.0 and honest.peer_id not in endpoint.peers():
        raise Finding("the honest session is gone")
    other.now = hostile.now
    _check_end(hostile)


def _check_end(hostile: Hostile) -> None:
    """Closing brings every endpoint to its end."""
    hostile.command("close", 0, "over")
    hostile.wait(30.0)
    if not hostile.raw.drained:
        raise Finding("an endpoint that was closed does not drain")


class _Script:
    """The steps of a hostile peer."""

    def __init__(self, hostile: Hostile) -> None:
        self.hostile = hostile
        self.transfer = 0

    def step(self, code: int, payload: bytes) -> None:
        hostile, choices = self.hostile, Choices(payload)
        match code % 14:
            case 0:
                hostile.deliver(hostile.seal(payload[:1300]))
            case 1:
                channel = choices.number()
                hostile.message(channel, choices.rest())
            case 2:
                self._bulk(choices)
            case 3:
                self._run(choices)
            case 4:
                hostile.wait(choices.number(2) / 64)
            case 5:
                self._command(choices)
            case 6:
                self._acknowledge(choices)
            case 7:
                phase = choices.number() % 4
                hostile.deliver(hostile.seal(choices.rest()[:1200] or b"\1", phase=phase))
            case 8:
                hostile.source = (*OTHERS, PEER_ADDRESS)[choices.number() % 4]
                hostile.deliver(hostile.seal(choices.rest()[:1200] or b"\1"))
            case 9 if hostile.sent:
                hostile.deliver(hostile.sent[choices.number() % len(hostile.sent)])
            case 10:
                data = hostile.challenges[-1] if hostile.challenges else bytes(8)
                hostile.deliver(hostile.seal(encode_path_response(data)))
            case 11:
                number = (
                    choices.number(8)
                    if choices.number() & 1
                    else hostile.peer.next_number + choices.number(2)
                )
                before = hostile.peer.next_number
                hostile.deliver(
                    hostile.seal(choices.rest()[:1200] or b"\1", number=min(number, (1 << 64) - 1))
                )
                hostile.peer.next_number = before + 1
            case 12:
                hostile.raw.handle_timer(now=hostile.now - choices.number())
                hostile.settle()
            case 13:
                hostile.reads = not hostile.reads

    def _bulk(self, choices: Choices) -> None:
        transfer, flags, offset = choices.number(), choices.number(), choices.number(3)
        length = choices.number(2) % 1400
        body = _SPACE[offset : offset + length] if not flags & 1 else bytes(length)
        self.hostile.deliver(self.hostile.peer.bulk(transfer, offset, body))

    def _run(self, choices: Choices) -> None:
        """A run whose segments are as they should be, or of an odd size, or changed."""
        transfer, flags, offset = choices.number(), choices.number(), choices.number(3)
        size, count = 1 + choices.number(2) % 1200, 1 + choices.number() % 8
        pieces = [_SPACE[offset + at * size : offset + at * size + size] for at in range(count)]
        data = bytearray(self.hostile.run(transfer, offset, [piece for piece in pieces if piece] or [b"x"]))
        if flags & 1:
            data[choices.number(2) % len(data)] ^= 1
        segment = size + 45 + (choices.number() - 128 if flags & 2 else 0)
        if flags & 4:
            data = data[: -1 - choices.number()]
        self.hostile.deliver(bytes(data), segment_size=max(0, segment))

    def _acknowledge(self, choices: Choices) -> None:
        """What was received, something of it, or what was never sent."""
        hostile, flags = self.hostile, choices.number()
        received = hostile.peer.received
        if flags & 1 or not received:
            high = choices.number(8)
            low = max(0, high - choices.number(2))
            frame = encode_ack(Ack(((low, high),), choices.number() / 500))
        else:
            known = sorted(set(received))[flags >> 4 :] or received[-1:]
            frame = hostile.peer.acknowledge(*known[-8:], delay_s=choices.number() / 2000)
        hostile.deliver(hostile.seal(frame))

    def _command(self, choices: Choices) -> None:
        hostile, peer = self.hostile, self.hostile.peer.peer_id
        what, number = choices.number() % 8, choices.number()
        match what:
            case 0:
                hostile.command("send_message", peer, Channel(number % 7), bytes(choices.number(2)))
            case 1:
                body = _BODY if number & 1 else _SMALL
                leaves = b"".join(leaf_hashes(body))
                hostile.command(
                    "offer_object", peer, _root(body), leaves, b"h", memoryview(body), priority=number >> 4
                )
            case 2:
                transfer = hostile.offers[number % len(hostile.offers)] if hostile.offers else number
                hostile.command("accept_object", peer, transfer)
            case 3:
                hostile.command("refuse_object", peer, number, 0x51)
            case 4:
                hostile.command("withdraw_object", peer, number, 0x51)
            case 5 if number & 1:
                hostile.command("disconnect", peer, number, "enough")
            case 6:
                hostile.command("connect", PEER_ADDRESS if number & 1 else OTHERS[0])
            case 7:
                hostile.raw.progress_of(peer, number, outgoing=bool(number & 1))
                hostile.raw.is_quiet()


def hostile_pool() -> Sequence[Step]:
    """Steps that mean something."""
    steps: list[Step] = [(FRAMES, frame) for frame in frame_seeds()]
    for body in object_messages():
        steps.append((MESSAGE, bytes([Channel.OBJECTS]) + body))
    for body in secrets():
        steps.append((MESSAGE, bytes([Channel.SESSION]) + body))
    for body in gossip_messages():
        steps.append((MESSAGE, bytes([Channel.GOSSIP]) + body))
    for transfer in range(3):
        head = bytes([Channel.OBJECTS])
        steps += [(MESSAGE, head + _offer(transfer)), (MESSAGE, head + _offer(transfer, _SMALL))]
        steps.append((MESSAGE, head + encode_object_message(Want(transfer, ((0, len(_SPACE)),), 1))))
        steps.append((MESSAGE, head + encode_object_message(Want(transfer, ((0, 5000), (6000, 9000)), 8000))))
        steps += [(MESSAGE, head + encode_object_message(Done(transfer)))]
        steps += [(MESSAGE, head + encode_object_message(Cancel(transfer, 0x53, by_offerer=True)))]
        steps.append((FRAMES, encode_max_data(transfer, 1 << 20)))
        steps += [
            (COMMAND, bytes([2, transfer])),
            (COMMAND, bytes([1, transfer])),
            (COMMAND, bytes([4, transfer])),
        ]
        for at in range(0, 9000, 3000):
            steps.append((RUN, bytes([transfer, 0]) + at.to_bytes(3, "big") + b"\x03\xe7\3"))
            steps.append((BULK, bytes([transfer, 0]) + at.to_bytes(3, "big") + b"\x04\xb0"))
    steps += [
        (RUN, b"\0\2\0\0\0\x04\xaf\5\x90"),
        (RUN, b"\0\1\0\0\0\x04\xaf\5\0\x40"),
        (RUN, b"\0\6\0\0\0\0\x20\7\x60\x10"),
    ]
    steps += [
        (COMMAND, b"\0\3\0\x40"),
        (COMMAND, b"\0\1\3\0"),
        (COMMAND, b"\6\0"),
        (COMMAND, b"\6\1"),
        (COMMAND, b"\7\1"),
    ]
    steps += [
        (ACKNOWLEDGE, b"\0\0"),
        (ACKNOWLEDGE, b"\0\x20"),
        (ACKNOWLEDGE, b"\x10\0"),
        (ACKNOWLEDGE, b"\1" + bytes(7) + b"\x09\0\2"),
    ]
    steps += [(WAIT, b"\0\2"), (WAIT, b"\0\x20"), (WAIT, b"\0\xff"), (WAIT, b"\x05\0"), (WAIT, b"\x10\0")]
    steps += [(PHASE, b"\1\1"), (PHASE, b"\2\1"), (PHASE, b"\1" + encode_retire_cid(0)), (PHASE, b"\0\1")]
    steps += [(MOVE, bytes([where]) + b"\1") for where in range(4)] + [(CHALLENGE, b"")] * 3
    steps += [
        (REPLAY, b"\0"),
        (REPLAY, b"\3"),
        (NUMBER, b"\0\0\x09\1"),
        (NUMBER, b"\1" + b"\xff" * 8),
        (TIMER_BACK, b"\5"),
    ]
    steps += [
        (QUIET, b""),
        (FRAMES, encode_control_frame(0, b"")),
        (FRAMES, encode_control_frame(3, b"\3\0\1\xa0")),
    ]
    return steps


def secrets() -> list[bytes]:
    """Messages that agree on a new secret, with values that are some and with values that are none."""
    key = X25519PrivateKey.from_private_bytes(bytes(range(32))).public_key().public_bytes_raw()
    post_quantum = MLKEM768PrivateKey.from_seed_bytes(bytes(64)).public_key().public_bytes_raw()
    messages = [
        ExchangeOffer(2, key),
        ExchangeOffer(1, post_quantum),
        ExchangeReply(2, key),
        ExchangeReply(1, bytes(1088)),
    ]
    return [*map(encode_exchange_message, messages), *secret_messages()]


def hostile_seeds() -> list[bytes]:
    """An object each way, a path that moves, a key update, all frames one by one."""
    head = bytes([Channel.OBJECTS])
    accept = (COMMAND, b"\2\0")
    chunks = [(RUN, b"\0\0" + at.to_bytes(3, "big") + b"\x03\xe7\x07") for at in range(0, len(_SPACE), 8000)]
    return [
        pack([(MESSAGE, head + _offer(0)), accept, *chunks, (WAIT, b"\0\x20")]),
        pack([(MESSAGE, head + _offer(0, _SMALL)), accept, (ACKNOWLEDGE, b"\0\0")]),
        pack(
            [(COMMAND, b"\1\1"), (ACKNOWLEDGE, b"\0\0"),
             (MESSAGE, head + encode_object_message(Want(0, ((0, len(_SPACE)),), 9000))),
             (ACKNOWLEDGE, b"\0\0"), (FRAMES, encode_max_data(0, 1 << 20)), *[(ACKNOWLEDGE, b"\0\0")] * 3,
             (MESSAGE, head + encode_object_message(Done(0))), (WAIT, b"\1\0")]
        ),
        pack([(ACKNOWLEDGE, b"\0\0"), (MOVE, b"\0\1"), (WAIT, b"\0\x10"), (CHALLENGE, b""),
              (MOVE, b"\1\1"), (CHALLENGE, b"")]),
        pack([(PHASE, b"\1\1"), (PHASE, b"\1\1"), (PHASE, b"\2\1"), (ACKNOWLEDGE, b"\0\0")]),
        *(pack([(FRAMES, frame), (FRAMES, frame)]) for frame in FRAME_SEEDS),
        *(
            pack([(WAIT, b"\1\0"), (MESSAGE, bytes([Channel.SESSION]) + body), (ACKNOWLEDGE, b"\0\0"),
                  (REPLAY, bytes([role]))])
            for role in range(4)
            for body in secrets()
        ),
        *(
            pack([(ACKNOWLEDGE, b"\0\0"), *[(WAIT, b"\2\0")] * 3, (ACKNOWLEDGE, bytes([0, role]))])
            for role in range(4)
        ),
        pack([(COMMAND, b"\0\3\0\x40"), (WAIT, b"\x10\0"), (ACKNOWLEDGE, b"\1" + bytes(7) + b"\x09\0\2")]),
    ]  # fmt: skip


def _hostile_payload(code: int, body: bytes, rng: random.Random) -> bytes:
    match code % 14:
        case 0:
            return mutate_frames(body, rng)
        case 1:
            return body[:1] + mutate_cbor(body[1:], rng)
        case 7 | 8:
            return body[:1] + mutate_frames(body[1:], rng)
    return bytes(rng.randrange(256) if rng.random() < 0.3 else value for value in body)


# --- datagrams that were changed on the way ---

CHANGED, CHANGED_RUN, NOISE, PASS_TIME, CUT, GROWN = range(6)
_IGNORED = frozenset(
    {
        "stats",
        "_stats",
        "_now",
        "_scratch",
        "_staging",
        "_rng",
        "_limiter",
        "_failures",
        "_wakeups",
    }
)
"""What a datagram that is refused may change: counts, the time, the rate and the dice of answers, and the
count of packets that did not open, which limits how often a key may be tried."""


def _new_endpoint() -> tuple[Endpoint, ScriptedPeer, ScriptedPeer]:
    endpoint = new_endpoint()
    return endpoint, begin(endpoint, 1000, incoming=True), begin(endpoint, 1001, incoming=True)


@lru_cache(maxsize=1)
def _recorded() -> tuple[bytes, ...]:
    """Datagrams of a session in which the peer offers an object that is accepted, and handshake packets."""
    endpoint, peer, _ = _new_endpoint()
    hostile = Hostile(endpoint, peer)
    packets = [hostile.seal(b"\1"), hostile.seal(hostile.control(Channel.OBJECTS, _offer(0)))]
    packets += [
        hostile.seal(frame) for frame in FRAME_SEEDS if frame[0] not in (0x02, 0x03, 0x04, 0x0F, 0x1C)
    ]
    for at in range(0, 12_000, 1000):
        packets.append(hostile.peer.bulk(0, at, _SPACE[at : at + 1000]))
    stranger = ScriptedPeer(1005)
    packets += [stranger.init(), peer.init()]
    return tuple(packets)


def run_packets(data: bytes) -> None:
    """A datagram that is not authentic changes nothing; one that was not changed is taken once."""
    endpoint, peer, _ = _new_endpoint()
    hostile = Hostile(endpoint, peer)
    hostile.reads = False
    recorded = _recorded()
    for code, payload in unpack(data):
        choices = Choices(payload)
        match code % 6:
            case 0:
                original = recorded[choices.number() % len(recorded)]
                datagram = _changed(original, choices)
                _deliver(hostile, datagram, is_true=datagram == original)
            case 1:
                _changed_run(hostile, choices)
            case 2:
                _deliver(hostile, choices.rest(), is_true=False)
            case 3:
                hostile.wait(choices.number(2) / 64)
            case 4:
                original = recorded[choices.number() % len(recorded)]
                datagram = original[: choices.number(2) % (len(original) + 1)]
                _deliver(hostile, datagram, is_true=datagram == original)
            case 5:
                original = recorded[choices.number() % len(recorded)]
                _deliver(hostile, original + choices.rest(), is_true=choices.is_empty and payload[1:] == b"")
        for transfer in hostile.offers:
            hostile.command("accept_object", peer.peer_id, transfer)
        if not {peer.peer_id} <= set(endpoint.peers()) and not hostile.is_over:
            raise Finding("a session ended without a word")


def _changed(datagram: bytes, choices: Choices) -> bytes:
    changed = bytearray(datagram)
    while not choices.is_empty:
        at = choices.number() if choices.number() & 1 else choices.number(2)
        changed[at % len(changed)] ^= choices.number()
    return bytes(changed)


def _changed_run(hostile: Hostile, choices: Choices) -> None:
    """Bulk packets in one buffer, with a segment size that fits or does not."""
    bulk = [packet for packet in _recorded() if packet[0] & 0x70 == 0x50]
    first, count = choices.number() % len(bulk), 1 + choices.number() % 8
    segment = len(bulk[0]) + choices.number(2) - 0x8000
    data = _changed(b"".join(bulk[first : first + count]), choices)
    hostile.source = PEER_ADDRESS
    hostile.deliver(data, segment_size=max(0, segment))


def _deliver(hostile: Hostile, datagram: bytes, *, is_true: bool) -> None:
    endpoint = hostile.raw
    before = freeze(endpoint, _IGNORED) if compares_states() and not is_true else None
    received = endpoint.stats.datagrams_received
    dropped = sum(endpoint.stats.dropped.values())
    hostile.deliver(datagram)
    if before is None:
        return
    if endpoint.stats.datagrams_received != received + 1:
        raise Finding("a datagram was not counted")
    is_handshake = bool(datagram) and datagram[0] >= 0xC0
    if not is_handshake and sum(endpoint.stats.dropped.values()) == dropped:
        raise Finding("a datagram that is not authentic was taken")
    if not is_handshake and freeze(endpoint, _IGNORED) != before:
        raise Finding(
            f"a datagram that is not authentic changed: {_difference(before, freeze(endpoint, _IGNORED))}"
        )


def _difference(before: Any, after: Any, path: str = "") -> str:
    """Name the first place where two frozen states differ."""
    if isinstance(before, tuple) and isinstance(after, tuple) and len(before) == len(after):
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            if one != other:
                name = before[0] if index and isinstance(before[0], str) else index
                return _difference(one, other, f"{path}/{name}")
    return f"{path}: {before!r:.150} {after!r:.150}"


def packet_pool() -> Sequence[Step]:
    """Steps that mean something."""
    count = len(_recorded())
    steps: list[Step] = [(CHANGED, bytes([number])) for number in range(count)]
    for number in range(0, count, 2):
        steps += [(CHANGED, bytes([number, 1, at, 1])) for at in (0, 1, 9, 16, 17, 20, 40)]
        steps += [(CUT, bytes([number]) + at.to_bytes(2, "big")) for at in (0, 1, 9, 17, 33, 45, 46, 100)]
        steps.append((GROWN, bytes([number]) + b"\0"))
    fits = b"\x80\0"
    steps += [(CHANGED_RUN, bytes([first, many]) + fits) for first in (0, 3) for many in (1, 3, 7)]
    steps += [
        (CHANGED_RUN, b"\0\5" + shift)
        for shift in (b"\x80\1", b"\x7f\xff", b"\x7c\x40", b"\x90\0", b"\x7b\xeb")
    ]
    steps += [(CHANGED_RUN, b"\0\5" + fits + b"\0\4\x20\1"), (PASS_TIME, b"\0\x10"), (PASS_TIME, b"\4\0")]
    steps += [
        (NOISE, b""),
        (NOISE, b"\x40"),
        (NOISE, bytes(30)),
        (NOISE, b"\xc0" + bytes(1199)),
        (NOISE, b"\x50" + bytes(60)),
    ]
    return steps


def packet_seeds() -> list[bytes]:
    """The session as it was recorded, and with something wrong in each part of a packet."""
    count = len(_recorded())
    whole = [(CHANGED, bytes([number])) for number in range(count)]
    known = list(packet_pool())
    return [
        pack(whole[:20]),
        pack([whole[1], (CHANGED_RUN, b"\0\7\x80\0")]),
        *(pack([step]) for step in known[::3]),
    ]


def _packet_payload(code: int, body: bytes, rng: random.Random) -> bytes:
    return bytes(rng.randrange(256) if rng.random() < 0.2 else value for value in body) + (
        rng.randbytes(rng.choice((1, 3, 4))) if rng.random() < 0.4 else b""
    )


TARGETS = (
    Target(
        name="packet_path",
        about="datagrams changed on the way, runs of odd segments",
        run=run_packets,
        seeds=packet_seeds,
        mutate=script_mutator(6, pool=packet_pool, payload=_packet_payload),
        max_bytes=2048,
        wanted=CONNECTION_RUNS,
        kept=15,
        short_runs=1_000,
    ),
    Target(
        name="hostile_peer",
        about="a peer with the true keys that says what it likes",
        run=run_hostile,
        seeds=hostile_seeds,
        mutate=script_mutator(14, pool=hostile_pool, payload=_hostile_payload),
        max_bytes=4096,
        wanted=CONNECTION_RUNS,
        kept=50,
        short_runs=800,
    ),
)
