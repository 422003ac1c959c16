"""The fingerprint exchange: one peer shows another what its data look like, bound to who asked and when.

One machine serves one peer, in both roles. The body is opaque here. It is released once for a data epoch and
shown unchanged to everybody afterwards, so that noise in it cannot be averaged away by asking again; the
:class:`FingerprintShelf`, one for a whole node, holds it to that. What a verifier may conclude from an answer
is that its signer had this body when the request was made, and meant it for this verifier: freshness and
audience, no more. That the body describes any data at all is the holder's word.
Source: ``spec/12-fingerprint.md``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from quinkgl.crypto.cose import decode_sign1_untrusted, sign1, verify_sign1_untrusted
from quinkgl.crypto.identity import Identity
from quinkgl.protocol.machine import PeerMachine, misuse
from quinkgl.protocol.rate import TokenBucket
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError, error_code_untrusted
from quinkgl.wire.exclusive import exclusive
from quinkgl.wire.limits import CONSTANTS, LIMITS, Limits
from quinkgl.wire.messages.fingerprint import (
    MAX_EPOCH,
    NONCE_BYTES,
    STATEMENT_BYTES,
    Answer,
    Decline,
    FingerprintMessage,
    Request,
    Statement,
    decode_fingerprint_message_untrusted,
    decode_statement_untrusted,
    encode_fingerprint_message,
    encode_statement,
)
from quinkgl.wire.messages.schema import ENVELOPE_BYTES

if TYPE_CHECKING:
    import random

DOMAIN = "fingerprint"
_HOUR_S = 3600.0
_MESSAGES = 8
"""Messages that may wait: a carrier that stalls, and a peer that asks meanwhile, cost no more than this."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a node shows: the body, the data epoch that it belongs to, and SHA-256 of the body."""

    body: bytes
    epoch: int
    digest: bytes


class FingerprintShelf:
    """The one fingerprint of a node, which every exchange of it shows."""

    __slots__ = ("_digest", "_epoch", "_limit", "code", "fingerprint")

    def __init__(self, *, limits: Limits = LIMITS) -> None:
        self.fingerprint: Fingerprint | None = None
        self.code = ErrorCode.E_FP_UNSUPPORTED
        """Why requests are declined while there is none."""
        self._limit = limits.fingerprint_bytes
        self._epoch = -1
        self._digest = b""

    def put(self, body: bytes, epoch: int) -> None:
        """Release the body of a data epoch: once, and the same body ever after [N-011].

        LocalProtocolError for an epoch that is over, another body for the present epoch, or a body that is
        empty or too long.
        """
        digest = hashlib.sha256(body).digest()
        if not 0 < len(body) <= self._limit:
            raise misuse(f"a fingerprint of {len(body)} bytes; it has 1 to {self._limit}")
        if not max(0, self._epoch) <= epoch <= MAX_EPOCH:
            raise misuse(f"data epoch {epoch} is over: {self._epoch} was released")
        if epoch == self._epoch and digest != self._digest:
            raise misuse(f"data epoch {epoch} has another fingerprint already")
        self.fingerprint, self._epoch, self._digest = Fingerprint(bytes(body), epoch, digest), epoch, digest

    def take_away(self, *, budget_spent: bool) -> None:
        """Show nothing any more: since the privacy budget is spent, or because none is offered."""
        self.fingerprint = None
        self.code = ErrorCode.E_FP_BUDGET if budget_spent else ErrorCode.E_FP_UNSUPPORTED

    def state(self) -> dict[str, Any]:
        """Return what must survive a restart: the epoch that was released, and its body's hash."""
        return {"epoch": self._epoch, "digest": self._digest}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what :meth:`state` returned; the body itself is put again by the application.

        LocalProtocolError for a state of another form.
        """
        epoch, digest = state.get("epoch"), state.get("digest")
        if type(epoch) is not int or not -1 <= epoch <= MAX_EPOCH:
            raise misuse("the saved data epoch is none")
        if type(digest) is not bytes or len(digest) != (0 if epoch < 0 else CONSTANTS.key_bytes):
            raise misuse("the saved hash of a fingerprint is none")
        self._epoch, self._digest = epoch, digest


@dataclass(frozen=True, slots=True)
class FingerprintReceived:
    """The peer signed this body, for us and for our request of just now."""

    body: bytes
    epoch: int


@dataclass(frozen=True, slots=True)
class FingerprintNotReceived:
    """There is no fingerprint to be had, and the peer's affinity is unknown [N-023]."""

    code: ErrorCode


FingerprintEvent: TypeAlias = FingerprintReceived | FingerprintNotReceived


class FingerprintExchange(PeerMachine[FingerprintEvent]):
    """The exchange with one peer: requests of ours, at most one at a time, and answers to its own."""

    def __init__(
        self,
        identity: Identity,
        swarm_id: bytes,
        remote: bytes,
        shelf: FingerprintShelf,
        *,
        rng: random.Random,
        now: float,
        limits: Limits = LIMITS,
    ) -> None:
        """``remote`` is the peer's id, which the carrier vouches for; nonces are drawn from ``rng``."""
        super().__init__(now=now, max_events=limits.events)
        self._identity = identity
        self._swarm_id = swarm_id
        self._remote = remote
        self._shelf = shelf
        self._rng = rng
        self._limits = limits
        self._bucket = TokenBucket(
            burst=limits.fingerprint_requests_per_hour,
            interval_s=_HOUR_S / limits.fingerprint_requests_per_hour,
            now=now,
        )
        self._waiting: Request | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether a request of ours has no answer yet."""
        return self._waiting is not None

    @exclusive
    def request(self, epoch: int | None = None, *, now: float) -> bool:
        """Ask the peer for its fingerprint, of one data epoch where that matters; ends with an event.

        False while an earlier request has no answer yet. LocalProtocolError for an impossible epoch.
        Rules: N-002, N-022.
        """
        if epoch is not None and not 0 <= epoch <= MAX_EPOCH:
            raise misuse(f"{epoch} is no data epoch")
        if self._waiting is not None:
            return False
        now = self._advance(now)
        self._waiting = Request(self._rng.randbytes(NONCE_BYTES), epoch)
        self._timeout_at = now + self._limits.fingerprint_timeout_s
        self._send(self._waiting)
        return True

    @exclusive
    def receive_message(self, data: bytes, *, now: float) -> None:
        """Take one message of the peer [N-001].

        Raises RemoteProtocolError for bytes that break the specification (the codes of the decoders), and for
        an answer that is not the peer's own to our own request (E_FP_BINDING).
        """
        now = self._advance(now)
        try:
            message = decode_fingerprint_message_untrusted(data)
            match message:
                case None:
                    self.stats.drop("unknown_kind")
                case Request():
                    self._answer(message, now)
                case Answer():
                    self._judge_untrusted(message)
                case Decline(nonce, code):
                    self._on_decline(nonce, code)
        except RemoteProtocolError:
            self.stats.drop("breach")
            raise

    @exclusive
    def handle_timer(self, *, now: float) -> None:
        """Stop waiting for an answer that did not come in time."""
        now = self._advance(now)
        if self._timeout_at is not None and now >= self._timeout_at:
            self._finish(FingerprintNotReceived(ErrorCode.E_FP_TIMEOUT))

    def occupancy(self) -> dict[str, tuple[int, int]]:
        """How many items each collection holds, and how many it may."""
        return {
            "events": (len(self._events), self._max_events),
            "messages": (len(self._outbox), _MESSAGES + 1),
        }

    # Holder

    def _answer(self, request: Request, now: float) -> None:
        # N-010
        if len(self._outbox) >= _MESSAGES:
            self.stats.drop("request_queue_full")
            return
        shown = self._shown_or_reason(request, now)
        if isinstance(shown, ErrorCode):
            self.stats.drop(shown.name)
            self._send(Decline(request.nonce, shown))
            return
        statement = Statement(
            swarm_id=self._swarm_id,
            holder=self._identity.peer_id,
            verifier=self._remote,
            nonce=request.nonce,
            epoch=shown.epoch,
            digest=shown.digest,
        )
        self._send(Answer(sign1(self._identity, DOMAIN, encode_statement(statement)), shown.body))

    def _shown_or_reason(self, request: Request, now: float) -> Fingerprint | ErrorCode:
        """Return what to show, or why nothing. Only what costs a signature counts against the rate."""
        # N-012, N-013, N-014
        shown = self._shelf.fingerprint
        if shown is None:
            return self._shelf.code
        if request.epoch is not None and request.epoch != shown.epoch:
            return ErrorCode.E_FP_EPOCH
        return shown if self._bucket.take(now) else ErrorCode.E_FP_RATE

    # Verifier

    def _judge_untrusted(self, answer: Answer) -> None:
        # N-021
        waiting = self._waiting
        if waiting is None:
            self.stats.drop("late_answer")
            return
        envelope = decode_sign1_untrusted(
            answer.statement, max_bytes=STATEMENT_BYTES + ENVELOPE_BYTES, where="fingerprint statement"
        )
        statement = decode_statement_untrusted(envelope.payload)
        if statement.nonce != waiting.nonce:
            self.stats.drop("late_answer")  # to a request that was given up, or an old answer again
            return
        if len(answer.body) > self._limits.fingerprint_bytes:
            self._finish(FingerprintNotReceived(ErrorCode.E_TOO_BIG))
            return
        self._check_binding_untrusted(statement, waiting, answer.body)
        verify_sign1_untrusted(envelope, DOMAIN, self._remote, code=ErrorCode.E_FP_BINDING)
        self._finish(FingerprintReceived(answer.body, statement.epoch))

    def _check_binding_untrusted(self, statement: Statement, waiting: Request, body: bytes) -> None:
        """Check that the statement is about this swarm, peer, body, and our request [N-020]."""
        for name, found, expected in (
            ("swarm", statement.swarm_id, self._swarm_id),
            ("holder", statement.holder, self._remote),
            ("verifier", statement.verifier, self._identity.peer_id),
            ("body", statement.digest, hashlib.sha256(body).digest()),
            ("epoch", statement.epoch, statement.epoch if waiting.epoch is None else waiting.epoch),
        ):
            if found != expected:
                raise RemoteProtocolError(
                    ErrorCode.E_FP_BINDING,
                    f"a fingerprint bound to another {name}",
                    layer="protocol",
                    peer=self._remote,
                    section="N-020",
                )

    def _on_decline(self, nonce: bytes, code: int) -> None:
        if self._waiting is None or self._waiting.nonce != nonce:
            self.stats.drop("late_answer")
            return
        self._finish(FingerprintNotReceived(error_code_untrusted(code)))

    def _finish(self, event: FingerprintEvent) -> None:
        self._waiting = self._timeout_at = None
        self._emit(event)

    def _send(self, message: FingerprintMessage) -> None:
        self._outbox.append(encode_fingerprint_message(message))
