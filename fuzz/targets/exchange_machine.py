"""The two-sided exchange with hostile peers, an application that does anything, and crashes in between."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Any

from fuzz.bench import US, Bench, peer
from fuzz.harness import Target
from fuzz.mutators import Choices, Step, load, mutate_cbor, pack, script_mutator, unpack
from fuzz.oracles import Finding
from fuzz.targets.message_decoders import HASH, ID16, OTHER_HASH
from quinkgl.protocol.exchange import (
    ExchangeAborted,
    ExchangeCommitted,
    ExchangeOffered,
    Exchanges,
    SaveWanted,
    SendObject,
)
from quinkgl.wire.cbor import encode
from quinkgl.wire.errors import LocalProtocolError
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.messages import exchange

(
    RAW,
    NAMED,
    OFFER,
    ACCEPT,
    ABORT,
    HOLD,
    APPLIED,
    SAVED,
    ROUND,
    WAIT,
    CONNECT,
    DISCONNECT,
    OBJECT,
    FAILED,
    DEPARTED,
    CRASH,
) = range(16)
_QUIET = frozenset({"stats", "_now"})
_LIMITS = dataclasses.replace(LIMITS, exchanges=5, exchanges_per_peer=3, connections=3, events=10)
_EXCHANGE, _ANSWER = 1, 2


class _Run:
    """One script: the machine, the disk, and what was decided about each exchange in this life."""

    def __init__(self) -> None:
        self.lives = 0
        self.disk: dict[str, Any] = {"open": []}
        self._begin()

    def _begin(self) -> None:
        self.lives += 1
        self.bench = Bench(
            Exchanges(US.peer_id, rng=random.Random(self.lives), now=0.0, limits=_LIMITS), bound=_BOUND
        )
        self.names: list[tuple[bytes, bytes]] = []
        """Exchanges that were heard of: peer and name."""
        self.answers: dict[tuple[bytes, bytes], bytes] = {}
        self.decided: dict[tuple[bytes, bytes], str] = {}
        self.bench.raw.restore(self.disk, now=0.0)
        self.drain()
        for number in range(2):
            self.bench.command("peer_connected", peer(number))
        self.drain()

    def step(self, code: int, payload: bytes) -> None:
        choices = Choices(payload)
        bench = self.bench
        match code % 16:
            case 0:
                sender, data = peer(choices.number()), choices.rest()
                self._message(sender, data)
            case 1:
                self._named(choices)
            case 2:
                sender, weight, lateness = peer(choices.number()), choices.number(4), choices.number() % 5
                name = bench.command("offer", sender, HASH, 8, weight=weight, lateness=lateness)
                if name is not None:
                    self.names.append((sender, name))
            case 3:
                bench.command("accept", *self._name(choices), OTHER_HASH, 8)
            case 4:
                bench.command("abort", *self._name(choices))
            case 5:
                bench.command("hold", *self._name(choices))
            case 6:
                bench.command("applied", *self._name(choices))
            case 7:
                self.disk = bench.raw.state()
                bench.command("state_saved", bench.raw.mark - choices.number() % 3)
            case 8:
                bench.command("set_round", bench.raw.round + choices.number() % 8 - 1)
            case 9:
                if choices.number() & 0x80:
                    bench.step_back(3.0)
                bench.wait(choices.number() / 4)
            case 10:
                bench.command("peer_connected", peer(choices.number()))
            case 11:
                bench.command("peer_disconnected", peer(choices.number()))
            case 12:
                sender, other = peer(choices.number()), choices.number()
                bench.raw.wants_object(sender, HASH, 8)
                bench.command("object_received", sender, HASH if other & 1 else OTHER_HASH, b"12345678")
            case 13:
                bench.command("object_failed", peer(choices.number()), HASH, choices.number(2))
            case 14:
                bench.command("peer_departed", peer(choices.number()))
            case 15:
                self._begin()
        if len(payload) % 3 or code & 0x80:
            self.drain()
        self.bench.check_bounds()

    def _name(self, choices: Choices) -> tuple[bytes, bytes]:
        number = choices.number()
        return self.names[number % len(self.names)] if self.names else (peer(number), ID16)

    def _named(self, choices: Choices) -> None:
        """A message about an exchange that there is, with the right answer number or a wrong one."""
        flags = choices.number()
        sender, name = self._name(choices)
        payload = choices.rest()
        try:
            value = load(payload)
            value[_EXCHANGE] = name
            if _ANSWER in value and flags & 1:
                value[_ANSWER] = self.answers.get((sender, name), ID16)
            payload = encode(value)
        except (ValueError, TypeError, IndexError, LocalProtocolError):
            pass
        self._message(peer(flags >> 4) if flags & 2 else sender, payload)

    def _message(self, sender: bytes, data: bytes) -> None:
        try:
            decoded = exchange.decode_exchange_message_untrusted(data)
        except Exception:
            decoded = None
        if isinstance(decoded, exchange.Offer):
            self.names.append((sender, decoded.exchange))
        if isinstance(decoded, exchange.Accept):
            self.answers.setdefault((sender, decoded.exchange), decoded.answer)
        malformed = decoded is None
        self.bench.message(sender, data, size=len(data), ignore=_QUIET if malformed else None)

    def drain(self) -> None:
        """Take what is ready and judge it."""
        events, outputs = self.bench.drain()
        for output in outputs:
            if isinstance(output, SendObject):
                continue
            receiver, data = output
            said = exchange.decode_exchange_message_untrusted(data)
            if isinstance(said, exchange.Accept):
                self.answers[receiver, said.exchange] = said.answer
        for event in events:
            self._judge(event)

    def _judge(self, event: Any) -> None:
        match event:
            case ExchangeOffered():
                self.names.append((event.peer, event.exchange))
                self.decided.pop((event.peer, event.exchange), None)
            case ExchangeCommitted(view):
                self._decide((view.peer, view.exchange), "committed")
                if not 1 <= view.weight <= exchange.WEIGHT_ONE:
                    raise Finding(f"a weight of {view.weight}")
            case ExchangeAborted(who, name):
                self._decide((who, name), "aborted")
            case SaveWanted(mark) if mark > self.bench.raw.mark:
                raise Finding(f"mark {mark} is wanted, {self.bench.raw.mark} was reached")

    def _decide(self, name: tuple[bytes, bytes], what: str) -> None:
        """An exchange is decided once in a life; an offer under an old name begins another."""
        if name in self.decided:
            raise Finding(f"{what}, and {self.decided[name]} before")
        self.decided[name] = what


def _bound() -> Any:
    from fuzz.oracles import Bound

    return Bound(calls=2500, calls_per_byte=25, memory=120_000, memory_per_byte=200)


_BOUND = _bound()


def run(data: bytes) -> None:
    """Run a script."""
    script = _Run()
    for code, payload in unpack(data):
        script.step(code, payload)
    script.drain()


def _message(message: exchange.ExchangeMessage) -> bytes:
    return exchange.encode_exchange_message(message)


def pool() -> Sequence[Step]:
    """Steps that mean something."""
    steps: list[Step] = []
    for message in (
        exchange.Offer(ID16, HASH, 8, 1 << 31, 0, 1, {}),
        exchange.Offer(ID16[::-1], HASH, 8, exchange.most_weight(2), 2, 1, {1: 2}),
        exchange.Accept(ID16, ID16[::-1], HASH, 8, {}),
        exchange.Ready(ID16, ID16),
        exchange.Ask(ID16, ID16),
        exchange.Commit(ID16, ID16),
        exchange.Abort(ID16, None, 0x51),
        exchange.Abort(ID16, ID16, 0x51),
        exchange.Ack(ID16, ID16),
    ):
        for who in range(2):
            steps.append((RAW, bytes([who]) + _message(message)))
            steps.append((NAMED, bytes([1, who]) + _message(message)))
    for who in range(2):
        number = bytes([who])
        steps += [
            (code, number) for code in (ACCEPT, ABORT, HOLD, APPLIED, CONNECT, DISCONNECT, DEPARTED, SAVED)
        ]
        steps += [
            (OFFER, number + b"\x80\0\0\0\0"),
            (OBJECT, number + b"\1"),
            (OBJECT, number + b"\0"),
            (FAILED, number + b"\0\5"),
        ]
    steps += [
        (ROUND, b"\2"),
        (ROUND, b"\7"),
        (WAIT, b"\0\x10"),
        (WAIT, b"\0\xff"),
        (WAIT, b"\x80\0"),
        (CRASH, b""),
    ]
    return steps


def seeds() -> list[bytes]:
    """A whole exchange as initiator, as responder, and with a crash before the decision is applied."""
    offer = (RAW, b"\0" + _message(exchange.Offer(ID16, HASH, 8, 1 << 31, 0, 1, {})))
    accept = (NAMED, b"\1\0" + _message(exchange.Accept(ID16, ID16[::-1], HASH, 8, {})))
    ready, commit, ack = (
        (NAMED, b"\1\0" + _message(kind(ID16, ID16)))
        for kind in (exchange.Ready, exchange.Commit, exchange.Ack)
    )
    take = [(OBJECT, b"\0\1"), (HOLD, b"\0"), (SAVED, b"\0")]
    return [
        pack([(OFFER, b"\0\x80\0\0\0\0"), accept, *take, ready, (APPLIED, b"\0"), (SAVED, b"\0"), ack]),
        pack([offer, (ACCEPT, b"\0"), *take, commit, (APPLIED, b"\0"), (SAVED, b"\0")]),
        pack([offer, (ACCEPT, b"\0"), *take, (CRASH, b""), commit, (APPLIED, b"\0"), (CRASH, b"")]),
        pack([(OFFER, b"\0\x80\0\0\0\0"), accept, *take, ready, (CRASH, b""), ready, (ROUND, b"\7")]),
        pack([(WAIT, b"\x80\0"), offer, (ROUND, b"\7"), (DEPARTED, b"\0")]),
    ]


def _payload(code: int, body: bytes, rng: random.Random) -> bytes:
    split = 2 if code % 16 == NAMED else 1
    head = body[:split] if rng.random() < 0.6 else bytes(rng.randrange(8) for _ in range(split))
    return head + (mutate_cbor(body[split:], rng) if rng.random() < 0.7 else body[split:])


TARGETS = (
    Target(
        name="exchange",
        about="the two-sided exchange, with crashes",
        run=run,
        seeds=seeds,
        mutate=script_mutator(16, pool=pool, payload=_payload),
        kept=30,
        short_runs=5_000,
    ),
)
