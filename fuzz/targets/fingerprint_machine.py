"""The fingerprint exchange with a hostile peer, in both roles."""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Sequence

from fuzz.bench import PEERS, US, Bench, signed
from fuzz.harness import Target
from fuzz.mutators import Choices, Step, load, mutate_cbor, pack, script_mutator, unpack
from fuzz.oracles import Finding
from fuzz.targets.message_decoders import HASH, ID16
from quinkgl.protocol.fingerprint_exchange import FingerprintExchange, FingerprintReceived, FingerprintShelf
from quinkgl.wire.cbor import encode
from quinkgl.wire.errors import LocalProtocolError
from quinkgl.wire.messages.fingerprint import (
    Answer,
    Decline,
    Request,
    Statement,
    decode_fingerprint_message_untrusted,
    encode_fingerprint_message,
    encode_statement,
)

RAW, ANSWER, REQUEST, WAIT, PUT, TAKE_AWAY, DRAIN, DECLINE = range(8)
_QUIET = frozenset({"stats", "_now"})
_REMOTE = PEERS[0]
_BODIES = (b"what my data look like", b"another body", b"\0" * 700)
_SWARM, _HOLDER, _VERIFIER, _NONCE, _EPOCH, _DIGEST = range(6)


class _Run:
    """One script: the machine, and the nonce that it waits for."""

    def __init__(self) -> None:
        self.shelf = FingerprintShelf()
        machine = FingerprintExchange(US, HASH, _REMOTE.peer_id, self.shelf, rng=random.Random(1), now=0.0)
        self.bench = Bench(machine)
        self.nonce = ID16
        self.said: list[tuple[bytes, bytes]] = []

    def step(self, code: int, payload: bytes) -> None:
        choices = Choices(payload)
        match code % 8:
            case 0:
                data = choices.rest()
                self.bench.message(data, size=len(data), ignore=_QUIET)
            case 1:
                self._answer(choices)
            case 2:
                epoch = choices.number(2)
                self.bench.command("request", None if epoch == 0 else epoch - 1)
            case 3:
                flag = choices.number()
                if flag & 0x80:
                    self.bench.step_back(flag & 0x7F)
                self.bench.wait(choices.number(2) / 4)
            case 4:
                with contextlib.suppress(LocalProtocolError):
                    self.shelf.put(_BODIES[choices.number() % 3], choices.number())
            case 5:
                self.shelf.take_away(budget_spent=bool(choices.number() & 1))
            case 7:
                data = encode_fingerprint_message(Decline(self.nonce, choices.number(2)))
                self.bench.message(data, size=len(data), ignore=_QUIET)
        self.drain()
        self.bench.check_bounds()

    def _answer(self, choices: Choices) -> None:
        flags, signer = choices.number(), choices.number()
        payload = choices.rest()
        body = _BODIES[flags & 1]
        try:
            value = load(payload)
            if flags & 4:
                value[_NONCE] = self.nonce
            if flags & 8:
                value[_DIGEST] = hashlib.sha256(body).digest()
            payload = encode(value)
        except (ValueError, TypeError, IndexError, LocalProtocolError):
            pass
        statement = signed(signer, "fingerprint", payload)
        try:
            data = encode_fingerprint_message(Answer(statement, body))
        except LocalProtocolError:
            return
        self.said.append((payload, body))
        self.bench.message(data, size=len(data), ignore=_QUIET)
        before = len(self.bench.events)
        self.drain()
        for event in self.bench.events[before:]:
            if isinstance(event, FingerprintReceived):
                self._judge(event, payload, body, signer)

    def _judge(self, event: FingerprintReceived, payload: bytes, body: bytes, signer: int) -> None:
        """Only an answer of the peer's own, to our own request, about this very body is shown."""
        value = load(payload)
        right = {
            _SWARM: HASH,
            _HOLDER: _REMOTE.peer_id,
            _VERIFIER: US.peer_id,
            _NONCE: self.nonce,
            _DIGEST: hashlib.sha256(body).digest(),
        }
        if (
            signer % 6 != 1
            or event.body != body
            or any(value.get(key) != item for key, item in right.items())
        ):
            raise Finding(f"believed: {value}")

    def drain(self) -> None:
        """Take what is ready; what we ask and show is well formed."""
        _, messages = self.bench.drain()
        for message in messages:
            decoded = decode_fingerprint_message_untrusted(message)
            if isinstance(decoded, Request):
                self.nonce = decoded.nonce
            elif isinstance(decoded, Answer) and decoded.body not in _BODIES:
                raise Finding("a body that was never released")


def run(data: bytes) -> None:
    """Run a script."""
    script = _Run()
    for code, payload in unpack(data):
        script.step(code, payload)


def _statement(**changes: object) -> bytes:
    fields: dict[str, object] = {
        "swarm_id": HASH,
        "holder": _REMOTE.peer_id,
        "verifier": US.peer_id,
        "nonce": ID16,
        "epoch": 0,
        "digest": hashlib.sha256(_BODIES[0]).digest(),
    }
    return encode_statement(Statement(**{**fields, **changes}))  # type: ignore[arg-type]


def pool() -> Sequence[Step]:
    """Steps that mean something."""
    return [
        (RAW, encode_fingerprint_message(Request(ID16))),
        (RAW, encode_fingerprint_message(Request(ID16, 3))),
        (RAW, encode_fingerprint_message(Answer(signed(1, "fingerprint", _statement()), _BODIES[0]))),
        (RAW, encode({0: 64})),
        (ANSWER, b"\x0c\x01" + _statement()),
        (ANSWER, b"\x0c\x02" + _statement()),
        (ANSWER, b"\x08\x01" + _statement()),
        (ANSWER, b"\x0c\x01" + _statement(verifier=PEERS[1].peer_id)),
        (ANSWER, b"\x0c\x01" + _statement(epoch=4)),
        (REQUEST, b"\0\0"),
        (REQUEST, b"\0\5"),
        (WAIT, b"\0\0\x04"),
        (WAIT, b"\x85\xff\xff"),
        (PUT, b"\0\3"),
        (PUT, b"\1\4"),
        (TAKE_AWAY, b"\1"),
        (DRAIN, b""),
        (DECLINE, b"\0\x70"),
    ]


def seeds() -> list[bytes]:
    """An answer to a request, an answer shown, a time-out."""
    known = list(pool())
    return [
        pack([(REQUEST, b"\0\0"), known[4]]),
        pack([(REQUEST, b"\0\5"), known[8], known[4]]),
        pack([(PUT, b"\0\3"), *[known[0]] * 12, known[1]]),
        pack([(REQUEST, b"\0\0"), (WAIT, b"\0\xff\xff"), known[4], (DECLINE, b"\0\0")]),
    ]


def _payload(code: int, body: bytes, rng: random.Random) -> bytes:
    if code % 8 == ANSWER:
        head = body[:2] if rng.random() < 0.6 else bytes((rng.randrange(16), rng.randrange(4)))
        return head + (mutate_cbor(body[2:], rng) if rng.random() < 0.8 else body[2:])
    return mutate_cbor(body, rng)


TARGETS = (
    Target(
        name="fingerprint",
        about="the fingerprint exchange, both roles",
        run=run,
        seeds=seeds,
        mutate=script_mutator(8, pool=pool, payload=_payload),
        kept=30,
        short_runs=5_000,
    ),
)
