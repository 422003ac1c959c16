"""The manifest handshake: two peers make sure that they mean the same swarm, model and rules.

Both sides send HELLO at once, with their terms; each judges the other's and answers AGREE or REFUSE. A side
has agreed when it has sent AGREE and received it. One machine serves one peer, over any ordered carrier, and
ends AGREED or REFUSED; its caller drops it with the connection. Source: ``spec/04b-manifest-handshake.md``.

Both sides hold the same manifest already (the session's key is derived from its bytes), so what is compared
here is what the manifest cannot vouch for: the model that a node really runs, and the options that it really
uses.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from quinkgl.protocol.machine import PeerMachine
from quinkgl.protocol.table import Step, Table
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError, error_code_untrusted
from quinkgl.wire.exclusive import exclusive
from quinkgl.wire.limits import LIMITS, Limits
from quinkgl.wire.messages.manifest import (
    Agree,
    Hello,
    ManifestMessage,
    Refuse,
    Terms,
    decode_manifest_message_untrusted,
    encode_manifest_message,
)

__all__ = [
    "HANDSHAKE_TABLE",
    "HandshakeState",
    "ManifestAgreed",
    "ManifestEvent",
    "ManifestHandshake",
    "ManifestRefused",
    "Terms",
]


class HandshakeState(Enum):
    """How far the handshake with one peer has come."""

    WAIT_HELLO = "wait_hello"
    WAIT_ANSWER = "wait_answer"
    AGREED = "agreed"
    REFUSED = "refused"


class Input(Enum):
    """What can happen to a handshake."""

    HELLO_FITS = "hello_fits"
    HELLO_DIFFERS = "hello_differs"
    AGREE = "agree"
    REFUSE = "refuse"
    BREACH = "breach"
    """Bytes that are no message of this family, or a HELLO that only mirrors our own."""
    TIMEOUT = "timeout"


class Action(Enum):
    """What the machine does about it."""

    SEND_AGREE = "send AGREE"
    SEND_REFUSE = "send REFUSE, report"
    REPORT_AGREED = "report agreed"
    REPORT_REFUSED = "report refused"
    FAULT = "protocol error"
    IGNORE = "ignore"


def _table() -> Table[HandshakeState, Input, Action]:
    wait_hello, wait_answer, agreed, refused = HandshakeState
    fault = Step(Action.FAULT, refused)
    refuse = Step(Action.SEND_REFUSE, refused)
    is_refused = Step(Action.REPORT_REFUSED, refused)
    return Table(
        wait_hello,
        {
            wait_hello: {
                Input.HELLO_FITS: Step(Action.SEND_AGREE, wait_answer),
                Input.HELLO_DIFFERS: refuse,
                Input.AGREE: fault,
                Input.REFUSE: is_refused,
                Input.BREACH: fault,
                Input.TIMEOUT: refuse,
            },
            wait_answer: {
                Input.HELLO_FITS: fault,
                Input.HELLO_DIFFERS: fault,
                Input.AGREE: Step(Action.REPORT_AGREED, agreed),
                Input.REFUSE: is_refused,
                Input.BREACH: fault,
                Input.TIMEOUT: refuse,
            },
            agreed: {
                Input.HELLO_FITS: fault,
                Input.HELLO_DIFFERS: fault,
                Input.AGREE: fault,
                # The other side ran into its time-out before our AGREE reached it.
                Input.REFUSE: is_refused,
                Input.BREACH: fault,
                Input.TIMEOUT: Step(Action.IGNORE, agreed),
            },
            # What the peer sent before it heard of the refusal.
            refused: dict.fromkeys(Input, Step(Action.IGNORE, refused)),
        },
        events=Input,
    )


HANDSHAKE_TABLE = _table()
"""The whole logic of the handshake's states."""


@dataclass(frozen=True, slots=True)
class ManifestAgreed:
    """Both sides agree.

    ``remote`` holds the other side's terms; ``max_object_bytes`` the largest update that both take;
    ``features`` what both offer, in ascending order.
    """

    remote: Terms
    max_object_bytes: int
    features: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ManifestRefused:
    """There is no agreement with this peer; the session is to be closed with ``code``.

    ``field`` is the term that differs (empty where it is none); ``reason`` is for people, printable, one
    line; ``by_remote`` tells who refused.
    """

    code: ErrorCode
    field: str
    reason: str
    by_remote: bool


ManifestEvent: TypeAlias = ManifestAgreed | ManifestRefused


@dataclass(frozen=True, slots=True)
class _Difference:
    """Why the other side's terms do not fit."""

    code: ErrorCode
    field: str
    reason: str


_EQUAL_TERMS: tuple[tuple[str, ErrorCode], ...] = (
    ("swarm_id", ErrorCode.E_MAN_UNKNOWN),
    ("schema_version", ErrorCode.E_MAN_VERSION),
    ("arch_hash", ErrorCode.E_MAN_ARCH),
    ("input_shape", ErrorCode.E_MAN_SHAPE),
    ("output_shape", ErrorCode.E_MAN_SHAPE),
    ("aggregation", ErrorCode.E_MAN_TERMS),
    ("topology", ErrorCode.E_MAN_TERMS),
    ("compression_enabled", ErrorCode.E_MAN_TERMS),
    ("byzantine_f", ErrorCode.E_MAN_TERMS),
    ("expires_unix", ErrorCode.E_MAN_TERMS),
)
"""Terms that must be equal, in the order in which they are compared, and the code for a difference
[H-010]."""


_NOTHING = _Difference(ErrorCode.NO_ERROR, "", "")


class ManifestHandshake(PeerMachine[ManifestEvent]):
    """The handshake with one peer, from the HELLO that it has ready at once to AGREED or REFUSED."""

    # H-001, H-007

    def __init__(
        self, terms: Terms, *, role_initiator: bool, now: float, unix_now: float, limits: Limits = LIMITS
    ) -> None:
        """Start the handshake and have our HELLO ready.

        ``role_initiator`` is true on the side that opened the session, false on the other. ``unix_now`` is
        used against the manifest's expiry alone. LocalProtocolError for terms that no HELLO can carry.
        """
        super().__init__(now=now, max_events=limits.events)
        hello = encode_manifest_message(Hello(terms, role_initiator))
        self.terms = terms
        self.state = HANDSHAKE_TABLE.initial
        self._initiator = role_initiator
        self._unix_offset_s = unix_now - now
        self._timeout_at = now + limits.manifest_handshake_timeout_s
        self._outbox.append(hello)
        self._remote: Terms  # set by the HELLO that fits

    @exclusive
    def receive_message(self, data: bytes, *, now: float) -> None:
        """Take one message of the peer.

        Raises RemoteProtocolError for bytes that break the specification (E_CBOR, E_CBOR_CANON, E_SCHEMA,
        E_TOO_BIG), and for a message out of turn or a mirrored HELLO (E_PROTOCOL). Then the state is REFUSED.
        """
        self._advance(now)
        if self.state is HandshakeState.REFUSED:
            self.stats.drop("after_refusal")
            return
        try:
            message = decode_manifest_message_untrusted(data)
        except RemoteProtocolError as error:
            self._apply(Input.BREACH, fault=error)
            return
        match message:
            case None:
                self.stats.drop("unknown_kind")
            case Hello():
                self._judge(message)
            case Agree():
                self._apply(Input.AGREE)
            case Refuse():
                code = error_code_untrusted(message.code)
                self._apply(
                    Input.REFUSE, _Difference(code, *map(_printable, (message.field, message.reason)))
                )

    @exclusive
    def handle_timer(self, *, now: float) -> None:
        """Refuse the peer if its HELLO or its answer did not come in time [H-020]."""
        now = self._advance(now)
        if self._timeout_at is None or now < self._timeout_at:
            return
        waited_for = "HELLO" if self.state is HandshakeState.WAIT_HELLO else "answer"
        self._apply(Input.TIMEOUT, _Difference(ErrorCode.E_MAN_TIMEOUT, "", f"no {waited_for} in time"))

    def occupancy(self) -> dict[str, tuple[int, int]]:
        """How many items each collection holds, and how many it may."""
        return {
            "events": (len(self._events), self._max_events),
            "messages": (len(self._outbox), len(_MESSAGES_OF_ONE_SIDE)),
        }

    def _judge(self, hello: Hello) -> None:
        # H-011
        if hello.initiator == self._initiator:
            self._apply(Input.BREACH, fault=_breach("a HELLO of our own role: a mirror", "H-005"))
            return
        difference = self._difference(hello.terms)
        if difference is None:
            if self.state is HandshakeState.WAIT_HELLO:
                self._remote = hello.terms
            self._apply(Input.HELLO_FITS)
        else:
            self._apply(Input.HELLO_DIFFERS, difference)

    def _difference(self, remote: Terms) -> _Difference | None:
        """Return the first reason why the other side's terms do not fit ours."""
        for name, code in _EQUAL_TERMS:
            own, theirs = getattr(self.terms, name), getattr(remote, name)
            if own != theirs:
                return _Difference(code, name, f"ours {_show(own)}, theirs {_show(theirs)}")
        expires = self.terms.expires_unix
        if expires is not None and self._now + self._unix_offset_s >= expires:
            return _Difference(ErrorCode.E_MAN_EXPIRED, "expires_unix", f"the manifest ended at {expires}")
        return None

    def _apply(
        self, event: Input, why: _Difference = _NOTHING, fault: RemoteProtocolError | None = None
    ) -> None:
        """Let the table decide; ``why`` goes with a refusal, ``fault`` with a breach."""
        before = self.state
        action, self.state = HANDSHAKE_TABLE.step(before, event)
        if self.state in (HandshakeState.AGREED, HandshakeState.REFUSED):
            self._timeout_at = None
        match action:
            case Action.SEND_AGREE:
                self._send(Agree())
            case Action.SEND_REFUSE:
                self._send(Refuse(why.code, why.field, why.reason[: LIMITS.reason_bytes]))
                self._emit(ManifestRefused(why.code, why.field, why.reason, by_remote=False))
            case Action.REPORT_AGREED:
                self._emit(_agreed(self.terms, self._remote))
            case Action.REPORT_REFUSED:
                self._emit(ManifestRefused(why.code, why.field, why.reason, by_remote=True))
            case Action.FAULT:
                self.stats.drop("breach")
                raise fault or _breach(f"{event.name} in {before.name}", "H-004")

    def _send(self, message: ManifestMessage) -> None:
        self._outbox.append(encode_manifest_message(message))


_MESSAGES_OF_ONE_SIDE = (Hello, Agree, Refuse)
"""A side sends each of these at most once."""


def _agreed(own: Terms, remote: Terms) -> ManifestAgreed:
    # H-013, H-014
    return ManifestAgreed(
        remote=remote,
        max_object_bytes=min(own.max_object_bytes, remote.max_object_bytes),
        features=tuple(feature for feature in remote.features if feature in own.features),
    )


def _breach(message: str, section: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.E_PROTOCOL, message, layer="protocol", section=section)


def _show(value: object) -> str:
    """Show a term in ASCII, so that any two make a text that is in normalization form C."""
    return ascii(value.hex()[:16] if isinstance(value, bytes) else value)


def _printable(text: str) -> str:
    """Return a peer's text with everything replaced that could move a cursor or break a line [H-021]."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
