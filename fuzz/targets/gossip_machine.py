"""Gossip among hostile peers: offers with signed headers, bodies, proofs, messages, in any order."""

from __future__ import annotations

import contextlib
import dataclasses
import random
from collections.abc import Sequence
from typing import Any

from fuzz.bench import US, Bench, peer, signed
from fuzz.harness import Target
from fuzz.mutators import Choices, Step, load, mutate_cbor, pack, script_mutator, unpack
from fuzz.oracles import Finding
from fuzz.targets.message_decoders import HASH, ID16, header
from quinkgl.protocol.gossip import Accept, EquivocationDetected, Gossip, OfferOut, Refuse, UpdateReceived
from quinkgl.wire.cbor import encode
from quinkgl.wire.errors import LocalProtocolError, RemoteProtocolError
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.messages.gossip import (
    Proof,
    UpdateObject,
    decode_update_header_untrusted,
    encode_gossip_message,
    encode_update_header,
)

(
    OFFER,
    OFFER_RAW,
    BODY,
    FAILED,
    MESSAGE,
    PROOF,
    CONNECT,
    DISCONNECT,
    ROUND,
    WAIT,
    PUBLISH,
    DRAIN,
    DELIVERED,
    RESTORE,
) = range(14)
_QUIET = frozenset({"stats", "scores", "proofs", "_now"})
"""What a refused message may change: counts, the sender's standing, its rate, and the time."""
_LIMITS = dataclasses.replace(
    LIMITS, authors=4, connections=4, seen_roots=6, transfers_global=3, equivocation_proofs=3, events=40
)


class _Run:
    """One script: the machine, and which offers it has accepted."""

    def __init__(self) -> None:
        rng = random.Random(1)
        machine = Gossip(
            US,
            HASH,
            rng=rng,
            now=0.0,
            unix_now=1.8e9,
            offer_interval_s=0.5,
            max_object_bytes=1000,
            limits=_LIMITS,
        )
        self.bench = Bench(machine)
        self.open: dict[tuple[bytes, int], bytes] = {}
        """Accepted transfers, with the header of each."""
        self.offered: dict[tuple[bytes, int], bytes] = {}
        """Transfers of the latest session with each peer, with the header of each."""
        self.over: dict[tuple[bytes, int], None] = {}
        """Those among them whose session has ended: nothing may come of them, accepted or not."""
        self.transfer = 0
        for number in range(3):
            self.bench.command("peer_connected", peer(number))

    def step(self, code: int, payload: bytes) -> None:
        choices = Choices(payload)
        match code % 14:
            case 0 | 1:
                self._offer(choices, is_signed=code % 14 == OFFER)
            case 2:
                self._body(choices)
            case 3:
                key = self._some(choices.number())
                if key is not None:
                    self.open.pop(key, None)
                    self.bench.command("object_failed", *key, choices.number(2))
            case 4:
                sender, data = peer(choices.number()), choices.rest()
                self.bench.message(sender, data, size=len(data), ignore=_QUIET)
            case 5:
                self._proof(choices)
            case 6:
                self._connect(peer(choices.number()))
            case 7:
                self._disconnect(peer(choices.number()))
            case 8:
                self.bench.command("set_round", self.bench.raw.round + choices.number() - 2)
            case 9:
                if choices.number() % 8 == 7:
                    self.bench.step_back(choices.number())
                self.bench.wait(choices.number() / 16)
            case 10:
                self._publish(choices)
            case 12:
                self.bench.command("object_delivered", peer(choices.number()), HASH)
            case 13:
                self._restore()
        if code % 2 or code % 14 == DRAIN:
            self.drain()
        self.bench.check_bounds()

    def _connect(self, who: bytes) -> None:
        """Begin a session, in which numbers begin anew: all that waited was taken while it was agreed on."""
        self.drain()
        if self.bench.command("peer_connected", who):
            self.offered = {key: header for key, header in self.offered.items() if key[0] != who}
            self.over = {key: None for key in self.over if key[0] != who}

    def _disconnect(self, who: bytes) -> None:
        if self.bench.command("peer_disconnected", who):
            self.over |= {key: None for key in self.offered if key[0] == who}
            self.open = {key: header for key, header in self.open.items() if key[0] != who}

    def _offer(self, choices: Choices, *, is_signed: bool) -> None:
        who, flags = choices.number(), choices.number()
        payload = choices.rest()
        encoded = signed(1 + who % 5 if not flags & 4 else 2, "update", payload) if is_signed else payload
        root, size = HASH, 100
        try:
            parsed = decode_update_header_untrusted(payload)
        except (RemoteProtocolError, ValueError):
            pass
        else:
            parts = list(parsed.parts.items())
            root, size = parts[flags >> 4 & 3] if len(parts) > flags >> 4 & 3 else parts[0]
        # The carrier ends a session at a number that was used in it [O-001], so no answer has two meanings.
        if not flags & 1 or (peer(who), self.transfer) in self.offered:
            self.transfer += 1
        key = (peer(who), self.transfer)
        self.offered[key] = encoded
        self.bench.message(
            *key, root, size + (flags >> 1 & 1), encoded, size=len(encoded), name="object_offered"
        )
        if choices.is_empty and flags & 8:
            self.drain()

    def _body(self, choices: Choices) -> None:
        number = choices.number()
        whole = [*self.open, *self.over]
        key = whole[number % len(whole)] if whole else (peer(choices.number()), choices.number())
        self.drain()  # what was accepted, or given up, before the body came
        known = self.open.pop(key, None)
        before = len(self.bench.events)
        self.bench.command("object_received", *key, b"body")
        self.drain()
        for event in self.bench.events[before:]:
            if isinstance(event, UpdateReceived) and known is None:
                raise Finding("an update without an accepted offer")

    def _some(self, number: int) -> tuple[bytes, int] | None:
        return list(self.open)[number % len(self.open)] if self.open else None

    def _proof(self, choices: Choices) -> None:
        sender, author = peer(choices.number()), 1 + choices.number() % 5
        payload = choices.rest()
        try:
            value = load(payload)
            other = encode({**value, 3: bytes(32)})
        except (ValueError, TypeError, IndexError, LocalProtocolError):
            other = payload
        try:
            data = encode_gossip_message(
                Proof(signed(author, "update", payload), signed(author, "update", other))
            )
        except LocalProtocolError:
            return
        self.bench.message(sender, data, size=len(data), ignore=None)

    def _publish(self, choices: Choices) -> None:
        with contextlib.suppress(LocalProtocolError):
            self.bench.machine.publish(
                choices.take(32).ljust(32, b"\1"),
                100,
                round=choices.number(),
                codec=1,
                sample_count=1,
                targets=[peer(0), peer(choices.number())],
                now=self.bench.now,
            )

    def _restore(self) -> None:
        """What one life saves the next one takes, and saves the same."""
        state = self.bench.raw.state()
        other = Gossip(US, HASH, rng=random.Random(2), now=0.0, unix_now=1.8e9, limits=_LIMITS)
        other.restore(state, now=0.0)
        again = other.state()
        if {**again, "incarnation": 0} != {**state, "incarnation": 0}:
            raise Finding(f"a restored state is another one: {state} {again}")

    def drain(self) -> None:
        """Take what is ready and judge it."""
        events, outputs = self.bench.drain()
        for output in outputs:
            match output:
                case Accept(sender, transfer):
                    if (sender, transfer) not in self.offered:
                        raise Finding("an offer was accepted that nobody made")
                    if (sender, transfer) not in self.over:
                        self.open[sender, transfer] = self.offered[sender, transfer]
                case Refuse(sender, transfer):
                    self.open.pop((sender, transfer), None)
                case OfferOut() | _:
                    pass
        for event in events:
            self._judge(event)

    def _judge(self, event: Any) -> None:
        if isinstance(event, EquivocationDetected):
            if event.first == event.second or event.author == US.peer_id:
                raise Finding(f"no proof of anything: {event}")
        elif isinstance(event, UpdateReceived):
            if event.header.author != event.peer or event.header.swarm_id != HASH or event.staleness < 0:
                raise Finding(f"not an update of its sender's: {event}")
            if event.peer == US.peer_id:
                raise Finding("an update of our own")


def run(data: bytes) -> None:
    """Run a script."""
    script = _Run()
    for code, payload in unpack(data):
        script.step(code, payload)
    script.drain()
    if script.bench.raw.deadline() is not None:
        raise Finding("something is due after everything was taken")


def _header(author: int, **changes: Any) -> bytes:
    return encode_update_header(header(author=peer(author), **changes))


def pool() -> Sequence[Step]:
    """Steps that mean something."""
    steps: list[Step] = []
    for author in range(3):
        for round_ in (1, 2, 3, 9):
            steps.append(
                (OFFER, bytes([author, 0]) + _header(author, round=round_, root=bytes([round_]) * 32))
            )
        steps.append((OFFER, bytes([author, 0]) + _header(author, round=2, root=bytes([77]) * 32)))
        steps.append((OFFER, bytes([author, 0]) + _header(author, round=1, incarnation=6)))
        more = (UpdateObject(bytes([8]) * 32, 10, 1, "a"), UpdateObject(bytes([9]) * 32, 20, 1, "b"))
        for part in range(3):
            steps.append((OFFER, bytes([author, part << 4]) + _header(author, round=4, objects=more)))
        steps.append((PROOF, bytes([author, author + 1]) + _header(author + 1)))
        steps += [(BODY, bytes([author])), (CONNECT, bytes([author])), (DISCONNECT, bytes([author]))]
        steps.append((PUBLISH, bytes([author]) * 32 + bytes([author + 1, author])))
    steps += [
        (OFFER_RAW, bytes([0, 0]) + signed(1, "update", _header(0))),
        (MESSAGE, b"\x00" + encode({0: 64})),
    ]
    steps += [
        (FAILED, b"\0\0\x50"),
        (ROUND, b"\5"),
        (WAIT, b"\0\x10"),
        (WAIT, b"\0\xff"),
        (WAIT, b"\7\x05\1"),
    ]
    steps += [(DRAIN, b""), (DELIVERED, b"\0"), (RESTORE, b""), (ROUND, b"\x10")]
    return steps


def seeds() -> list[bytes]:
    """Whole deliveries, an equivocation, a proof."""
    known = list(pool())
    return [
        pack([known[0], (DRAIN, b""), (BODY, b"\0")]),
        pack([known[0], (DRAIN, b""), known[4]]),
        pack([known[0], known[1], (DRAIN, b""), (BODY, b"\0"), (ROUND, b"\x10"), (RESTORE, b"")]),
        pack([*[step for step in known if step[0] == OFFER][6:9], (DRAIN, b""), *([(BODY, b"\x00")] * 3)]),
        pack([step for step in known if step[0] == PROOF]),
        ID16,
    ]


def _payload(code: int, body: bytes, rng: random.Random) -> bytes:
    head = body[:2]
    if rng.random() < 0.3:
        head = bytes(rng.randrange(256) if rng.random() < 0.5 else value for value in head)
        return head + body[2:]
    return head + mutate_cbor(body[2:], rng)


TARGETS = (
    Target(
        name="gossip",
        about="gossip: offers, bodies, proofs in any order",
        run=run,
        seeds=seeds,
        mutate=script_mutator(14, pool=pool, payload=_payload),
        max_bytes=1280,
        kept=30,
        short_runs=4_000,
    ),
)
