"""Membership among hostile peers: true, false and old records, sessions that come and go, steps of clocks."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Any

from fuzz.bench import IDENTITIES, PEERS, US, Bench, peer, signed
from fuzz.harness import Target
from fuzz.mutators import Choices, Step, load, mutate_cbor, pack, script_mutator, unpack
from fuzz.oracles import Finding
from quinkgl.crypto.identity import Identity
from quinkgl.crypto.psk import derive_member_keys
from quinkgl.protocol.membership import Membership, PeerDiscovered
from quinkgl.protocol.records import check_record_untrusted, issue_record, swarm_tag
from quinkgl.wire.cbor import encode
from quinkgl.wire.errors import LocalProtocolError
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.messages.membership import (
    Records,
    decode_record_untrusted,
    encode_membership_message,
    encode_record,
)

RECORDS, RECORDS_RAW, CONNECT, DISCONNECT, UNREACHABLE, WAIT, UNIX, ADDRESSES, DRAIN, RESTORE = range(10)
_KEYS = derive_member_keys(b"fuzzed")
_UNIX = 1_800_000_000.0
_LIMITS = dataclasses.replace(LIMITS, view_size=3, connections=3, events=12, records_burst=4)
_QUIET = frozenset({"stats", "bucket", "_now"})
_ADDRESSES = (("198.51.100.1", 5000), ("10.0.0.1", 4000), ("2001:db8::5", 9))
_KEY, _ISSUED, _TAG, _PERIOD = 0, 2, 4, 7


class _Run:
    """One script."""

    def __init__(self) -> None:
        machine = Membership(US, _KEYS, rng=random.Random(1), now=0.0, unix_now=_UNIX, limits=_LIMITS)
        self.bench = Bench(machine)
        self.unix = _UNIX
        self.bench.command("set_addresses", _ADDRESSES[:1])
        self.bench.command("peer_connected", peer(0))
        self.records: list[bytes] = []

    def step(self, code: int, payload: bytes) -> None:
        choices = Choices(payload)
        match code % 10:
            case 0:
                self._records(choices)
            case 1:
                sender, data = peer(choices.number()), choices.rest()
                self.bench.message(sender, data, size=len(data), ignore=_QUIET)
            case 2:
                who = choices.number()
                record = self.records[who % len(self.records)] if self.records and who & 8 else None
                self.bench.command("peer_connected", peer(who), record)
            case 3:
                self.bench.command("peer_disconnected", peer(choices.number()))
            case 4:
                self.bench.command("peer_unreachable", peer(choices.number()))
            case 5:
                self.bench.wait(choices.number(2) / 4)
            case 6:
                self.unix = _UNIX + choices.number(3) - 200_000
                self.bench.command("set_unix_time", self.unix)
                self.unix -= self.bench.now
                self.bench.wait(0.0)
                self.unix += self.bench.now
            case 7:
                chosen = choices.number()
                self.bench.command("set_addresses", [a for n, a in enumerate(_ADDRESSES) if chosen >> n & 1])
            case 9:
                self._restore()
        if code % 2 == 0 or code % 10 == DRAIN:
            self.drain()
        self.check()

    def _records(self, choices: Choices) -> None:
        sender, flags = choices.number(), choices.number()
        payload = _mended(choices.rest(), flags)
        self.records.append(signed(flags & 7, "peer-record", payload))
        told = self.records[-1 - (flags >> 6) :]
        try:
            data = encode_membership_message(Records(tuple(told)))
        except LocalProtocolError:
            return
        self.bench.message(peer(sender), data, size=len(data), ignore=_QUIET)

    def _restore(self) -> None:
        state = self.bench.raw.state()
        other = Membership(US, _KEYS, rng=random.Random(2), now=0.0, unix_now=_UNIX, limits=_LIMITS)
        other.restore(state, now=0.0)

    def drain(self) -> None:
        """Take what is ready and judge it."""
        events, _ = self.bench.drain()
        for event in events:
            if not isinstance(event, PeerDiscovered) or event.peer == US.peer_id or not event.addresses:
                raise Finding(f"nobody to connect to: {event}")

    def check(self) -> None:
        """Whatever is held was signed by its own peer, for this swarm, and has not ended."""
        raw = self.bench.raw
        self.bench.check_bounds()
        if len(raw.view()) > _LIMITS.view_size:
            raise Finding(f"{len(raw.view())} records in the view")
        for record in raw.known():
            if record.key == US.peer_id or record.swarm_tag != swarm_tag(_KEYS.root, record.key):
                raise Finding(f"a record that does not belong here: {record}")


def _mended(payload: bytes, flags: int) -> bytes:
    """Put right what only a member can know, where the flags say so: most mutations are about the rest."""
    if not flags & 0x38:
        return payload
    try:
        value: Any = load(payload)
    except ValueError:
        return payload
    if not isinstance(value, dict):
        return payload
    key = IDENTITIES[(flags & 7) % len(IDENTITIES)].peer_id
    if flags & 8:
        value[_KEY] = key
        value[_TAG] = swarm_tag(_KEYS.root, key)
    if flags & 16 and type(value.get(_ISSUED)) is int:
        value[_PERIOD] = value[_ISSUED] // 10 if 0 <= value[_ISSUED] < 1 << 60 else 0
    try:
        return encode({key: value[key] for key in sorted(value)})
    except (LocalProtocolError, TypeError):
        return payload


def run(data: bytes) -> None:
    """Run a script."""
    script = _Run()
    for code, payload in unpack(data):
        script.step(code, payload)
    script.drain()


def run_record(data: bytes) -> None:
    """A record is believed only if its own peer signed it; the first byte says who did and what is mended."""
    from fuzz.oracles import attempt

    flags, payload = data[:1], data[1:]
    number = flags[0] if flags else 0
    encoded = payload if number & 0x40 else signed(number & 7, "peer-record", _mended(payload, number))
    unverified = attempt(
        lambda bytes_: check_record_untrusted(bytes_, root=_KEYS.root, unix_now=_UNIX, limits=LIMITS), encoded
    )
    if unverified is None:
        return
    verified = attempt(lambda _: unverified.verify_untrusted(), encoded)
    signer = IDENTITIES[(number & 7) % len(IDENTITIES)].peer_id
    if verified is None:
        if not number & 0x40 and unverified.record.key == signer:
            raise Finding("a true signature is refused")
        return
    if not number & 0x40 and verified.record.key != signer:
        raise Finding(f"{verified.record} is believed, and another signed it")
    if decode_record_untrusted(encode_record(verified.record)) != verified.record:
        raise Finding("a record that is another one")


def _true(number: int, **options: Any) -> bytes:
    identity: Identity = PEERS[number]
    issued = issue_record(
        identity,
        _KEYS.root,
        seq=options.get("seq", 1),
        addresses=options.get("addresses", (("192.0.2.1", 4000 + number),)),
        ttl=options.get("ttl", 7200),
        unix_now=options.get("unix_now", _UNIX),
    )
    return encode_record(issued.record)


def pool() -> Sequence[Step]:
    """Steps that mean something."""
    steps: list[Step] = []
    for number in range(4):
        head = bytes([0, number + 1])
        steps.append((RECORDS, head + _true(number)))
        steps.append((RECORDS, head + _true(number, seq=2, addresses=(("10.0.0.9", 1), ("127.0.0.1", 2)))))
        steps.append((RECORDS, bytes([number, (number + 1) | 0xC0]) + _true(number, seq=3, ttl=20)))
        steps += [(CONNECT, bytes([number])), (CONNECT, bytes([number | 8])), (DISCONNECT, bytes([number]))]
        steps.append((UNREACHABLE, bytes([number])))
    raw = encode_membership_message(Records((signed(1, "peer-record", _true(0)),)))
    steps += [(RECORDS_RAW, b"\0" + raw), (RECORDS_RAW, b"\0" + encode({0: 64}))]
    steps += [
        (WAIT, b"\x00\x28"),
        (WAIT, b"\x10\x00"),
        (WAIT, b"\xff\xff"),
        (UNIX, b"\x03\x0d\x40"),
        (UNIX, b"\0\0\0"),
    ]
    steps += [(ADDRESSES, b"\2"), (ADDRESSES, b"\7"), (ADDRESSES, b"\0"), (DRAIN, b""), (RESTORE, b"")]
    return steps


def seeds() -> list[bytes]:
    """A newcomer, a restart, expiry."""
    known = list(pool())
    return [
        pack(known[:8]),
        pack([known[0], known[3], (WAIT, b"\0\x50"), known[8], (WAIT, b"\xff\xff"), (RESTORE, b"")]),
        pack([step for step in known if step[0] == RECORDS] + [(DRAIN, b"")]),
    ]


def record_seeds() -> list[bytes]:
    """True records and one under a wrong name."""
    return [bytes([n + 1]) + _true(n) for n in range(3)] + [
        bytes([5]) + _true(0),
        b"\x40" + signed(1, "peer-record", _true(0)),
    ]


def _payload(code: int, body: bytes, rng: random.Random) -> bytes:
    head = body[:2]
    if rng.random() < 0.4:
        head = bytes(rng.randrange(256) if rng.random() < 0.5 else value for value in head)
        if rng.random() < 0.6:
            return head + body[2:]
    return head + mutate_cbor(body[2:], rng)


def _mutate_record(data: bytes, rng: random.Random) -> bytes:
    flags = (data[0] if data else 0) if rng.random() < 0.6 else rng.randrange(256)
    return bytes([flags]) + mutate_cbor(data[1:], rng)


TARGETS = (
    Target(
        name="membership",
        about="membership: records, sessions, clocks in any order",
        run=run,
        seeds=seeds,
        mutate=script_mutator(10, pool=pool, payload=_payload),
        max_bytes=1280,
        kept=30,
        short_runs=4_000,
    ),
    Target(
        name="signed_record",
        about="signed records: whose they are, and whether they hold",
        run=run_record,
        seeds=record_seeds,
        mutate=_mutate_record,
        max_bytes=1024,
        kept=30,
        short_runs=8_000,
    ),
)
