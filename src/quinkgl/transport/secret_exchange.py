"""Exchanges of new secrets between the two ends of a session: whose turn it is, and what is said (spec 5a.7).

The initiator of the session offers, the responder answers; there is one exchange at a time. The responder has
the secret when it answers, the initiator when the answer comes. Each puts it into the keys of its own sending
direction, and this module says when it may: the initiator at once, the responder when it knows that the other
side has the answer. Where both ends offer ML-KEM-768 the first exchange is one, right after the handshake;
afterwards X25519 exchanges follow each other in long intervals.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from quinkgl.crypto.agreement import ANSWER_BYTES, PUBLIC_BYTES, Method, Offer, answer_untrusted
from quinkgl.crypto.keys import KeySource
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.messages.secrets import (
    ExchangeOffer,
    ExchangeReply,
    decode_exchange_message_untrusted,
    encode_exchange_message,
)

DOMAINS = {Method.ML_KEM_768: "pq", Method.X25519: "ratchet"}
"""Under which label each secret is mixed into the keys."""


class ExchangeState(Enum):
    """Where the exchange under way is."""

    IDLE = "idle"
    OFFERED = "offered"
    """We offered; the answer is awaited."""
    ANSWERED = "answered"
    """We answered; the other side has not shown yet that it has the answer."""
    MIXED = "mixed"
    """Our sending direction has the secret; the other side's does not yet."""


class ExchangeEvent(Enum):
    """What moves an exchange on."""

    WE_OFFER = "we offer"
    OFFER = "OFFER arrives"
    REPLY = "REPLY arrives"
    REPLY_KNOWN = "the other side has REPLY"
    PEER_MIXED = "a packet under the other side's mixed key arrives"


TRANSITIONS = {
    (ExchangeState.IDLE, ExchangeEvent.WE_OFFER): ExchangeState.OFFERED,
    (ExchangeState.IDLE, ExchangeEvent.OFFER): ExchangeState.ANSWERED,
    (ExchangeState.OFFERED, ExchangeEvent.REPLY): ExchangeState.MIXED,
    (ExchangeState.ANSWERED, ExchangeEvent.REPLY_KNOWN): ExchangeState.MIXED,
    (ExchangeState.ANSWERED, ExchangeEvent.PEER_MIXED): ExchangeState.IDLE,
    (ExchangeState.MIXED, ExchangeEvent.PEER_MIXED): ExchangeState.IDLE,
}
"""Every step that there is. An OFFER or REPLY at any other time breaks the protocol; that the other side has
REPLY, and that it mixed, can be told only where these steps wait for it."""


@dataclass(frozen=True, slots=True)
class Secret:
    """What an exchange gave, and under which label it goes into the keys."""

    value: bytes
    domain: str


class SecretExchange:
    """One end of the exchanges of a session."""

    __slots__ = (
        "_awaits_ml_kem",
        "_initiator",
        "_offer",
        "_outbox",
        "_post_quantum",
        "_ratchet_s",
        "_source",
        "_started_at",
        "_timeout_s",
        "state",
    )

    def __init__(
        self,
        *,
        initiator: bool,
        post_quantum: bool,
        source: KeySource,
        ratchet_s: float,
        timeout_s: float,
        now: float,
    ) -> None:
        """Begin with the session; ``post_quantum`` where both ends offer ML-KEM-768."""
        self.state = ExchangeState.IDLE
        self._initiator = initiator
        self._post_quantum = post_quantum
        self._source = source
        self._ratchet_s = ratchet_s
        self._timeout_s = timeout_s
        self._awaits_ml_kem = post_quantum
        """Whether the first exchange, which is to be ML-KEM-768, is still to come."""
        self._offer: Offer | None = None
        self._outbox: bytes | None = None
        self._started_at = now
        if initiator and post_quantum:
            self._start(Method.ML_KEM_768, now)

    @property
    def holds_keys(self) -> bool:
        """Whether our sending direction must keep its key: the next one is to have the secret inside."""
        # K-034
        state = self.state
        return state is ExchangeState.OFFERED or state is ExchangeState.ANSWERED

    def next_message(self) -> bytes | None:
        """Take the message to send."""
        message, self._outbox = self._outbox, None
        return message

    @property
    def has_message(self) -> bool:
        """Whether there is one."""
        return self._outbox is not None

    def receive_message_untrusted(self, data: bytes, now: float) -> Secret:
        """Take an OFFER or a REPLY and return the secret that both ends have now.

        Raises RemoteProtocolError: E_FRAME_CONTEXT for a message out of turn or of another method than the
        one whose turn it is, E_SCHEMA for values that are none.
        """
        message = decode_exchange_message_untrusted(data)
        if isinstance(message, ExchangeOffer):
            return self._answer_untrusted(message, now)
        offer = self._offer
        if offer is None or message.method != offer.method:
            raise _out_of_turn("REPLY to no offer of ours")
        if len(message.answer) != ANSWER_BYTES[offer.method]:
            raise RemoteProtocolError(
                ErrorCode.E_SCHEMA,
                f"REPLY of {len(message.answer)} bytes",
                layer="transport",
                section="K-032",
            )
        secret = offer.secret_untrusted(message.answer)
        self._step(ExchangeEvent.REPLY)
        self._offer = None
        return Secret(secret, DOMAINS[offer.method])

    def on_reply_known(self) -> bool:
        """The other side has our REPLY; whether that makes it our turn to mix."""
        return self._try_step(ExchangeEvent.REPLY_KNOWN)

    def on_peer_mixed(self) -> None:
        """The first packet under the other side's mixed key is there."""
        self._try_step(ExchangeEvent.PEER_MIXED)

    def deadline(self) -> float | None:
        """When to offer again, or when to wait no longer for the other side."""
        if self.state is not ExchangeState.IDLE or self._awaits_ml_kem:
            return self._started_at + self._timeout_s
        return self._started_at + self._ratchet_s if self._initiator else None

    def handle_timer(self, now: float) -> None:
        """Offer a new exchange when it is time [K-039].

        Raises RemoteProtocolError E_KEY_UPDATE where the other side has left the last one unfinished for too
        long.
        """
        due = self.deadline()
        if due is None or due > now:
            return
        if self.state is not ExchangeState.IDLE or self._awaits_ml_kem:
            raise RemoteProtocolError(
                ErrorCode.E_KEY_UPDATE,
                f"a secret exchange stood still for {self._timeout_s:.0f} s",
                layer="transport",
                section="K-040",
            )
        self._start(Method.X25519, now)

    def _start(self, method: Method, now: float) -> None:
        self._awaits_ml_kem = False
        self._offer = Offer(method, self._source)
        self._outbox = encode_exchange_message(ExchangeOffer(method, self._offer.public))
        self._started_at = now
        self._step(ExchangeEvent.WE_OFFER)

    def _answer_untrusted(self, message: ExchangeOffer, now: float) -> Secret:
        if self._initiator:
            raise _out_of_turn("OFFER of the side that did not open the session")
        if self.state is not ExchangeState.IDLE:
            raise _out_of_turn("OFFER before the last exchange was over")
        method = self._method_untrusted(message.method)
        if len(message.public) != PUBLIC_BYTES[method]:
            raise RemoteProtocolError(
                ErrorCode.E_SCHEMA,
                f"OFFER of {len(message.public)} bytes",
                layer="transport",
                section="K-032",
            )
        answer, secret = answer_untrusted(method, message.public, self._source)
        self._awaits_ml_kem = False
        self._step(ExchangeEvent.OFFER)
        self._started_at = now
        self._outbox = encode_exchange_message(ExchangeReply(method, answer))
        return Secret(secret, DOMAINS[method])

    def _method_untrusted(self, number: int) -> Method:
        """Return the method of an offer; the first one is ML-KEM-768 if both ends offer it."""
        try:
            method = Method(number)
        except ValueError:
            raise _out_of_turn(f"OFFER of the unknown method {number}") from None
        if method is Method.ML_KEM_768 and not self._post_quantum:
            raise _out_of_turn("OFFER of ML-KEM-768, which was not agreed on")
        if method is not Method.ML_KEM_768 and self._awaits_ml_kem:
            raise _out_of_turn("OFFER of X25519 before ML-KEM-768")
        return method

    def _step(self, event: ExchangeEvent) -> None:
        following = TRANSITIONS.get((self.state, event))
        if following is None:
            raise _out_of_turn(f"{event.value} in state {self.state.value}")
        self.state = following

    def _try_step(self, event: ExchangeEvent) -> bool:
        following = TRANSITIONS.get((self.state, event))
        if following is None:
            return False
        self.state = following
        return True


def _out_of_turn(what: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.E_FRAME_CONTEXT, what, layer="transport", section="K-031")
