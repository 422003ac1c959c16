"""Fetching a manifest: from its 32-byte id to its bytes, over any ordered carrier.

``ManifestFetch`` asks, ``ManifestSource`` answers; each serves one peer. The fetcher knows the swarm id
alone, so nothing that the other side says is believed until all the bytes hash to it. The hash says nothing
about who made them, which is why the signature comes along and is for the caller to judge. Parsing, signature
and trust policy belong to the manifest package, outside of the core.
Source: ``spec/04b-manifest-handshake.md``, section 4b.9.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from quinkgl.protocol.machine import PeerMachine, misuse
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError, error_code_untrusted
from quinkgl.wire.exclusive import exclusive
from quinkgl.wire.limits import CONSTANTS, LIMITS, Limits
from quinkgl.wire.messages.fetch import (
    PIECE_BYTES,
    FetchMessage,
    FetchRefused,
    Get,
    Piece,
    decode_fetch_message_untrusted,
    encode_fetch_message,
)

_SWARM_ID_BYTES = CONSTANTS.key_bytes


class FetchState(Enum):
    """How far a fetch has come, seen from either side."""

    OPEN = "open"
    DONE = "done"
    FAILED = "failed"


class FetchInput(Enum):
    """What ends a fetch, seen from either side, or goes on after its end."""

    COMPLETE = "complete"
    """The last piece is here and the bytes hash to the id; to the source: it was sent."""
    ENDED = "ended"
    """A refusal, a breach, the time-out, or bytes that are not the manifest."""


FETCH_TRANSITIONS: dict[tuple[FetchState, FetchInput], FetchState] = {
    (FetchState.OPEN, FetchInput.COMPLETE): FetchState.DONE,
    (FetchState.OPEN, FetchInput.ENDED): FetchState.FAILED,
    # To the source alone: the fetcher has everything, and stays too long or asks for more.
    (FetchState.DONE, FetchInput.ENDED): FetchState.FAILED,
}
"""Every move there is; anything else is a defect."""


@dataclass(frozen=True, slots=True)
class ManifestFetched:
    """All bytes are here and hash to the swarm id.

    ``signature`` is what the peer sent along, 64 bytes or None: nobody has verified it yet.
    """

    manifest: bytes
    signature: bytes | None


@dataclass(frozen=True, slots=True)
class ManifestNotFetched:
    """This peer does not give the manifest; ``reason`` is for people, one printable line."""

    code: ErrorCode
    reason: str


FetchEvent: TypeAlias = ManifestFetched | ManifestNotFetched


@dataclass(frozen=True, slots=True)
class ManifestServed:
    """The fetcher was given all that there is, and may close the session when it has it."""


@dataclass(frozen=True, slots=True)
class FetchOver:
    """The fetcher gets no more: it asked for another swarm, or did not close in time.

    The session is to be closed with ``code``.
    """

    code: ErrorCode


SourceEvent: TypeAlias = ManifestServed | FetchOver


class ManifestFetch(PeerMachine[FetchEvent]):
    """The asking side: one request ready at once, then one for each piece, until the manifest is whole."""

    def __init__(self, swarm_id: bytes, *, now: float, limits: Limits = LIMITS) -> None:
        """Ask for the manifest of ``swarm_id``, 32 bytes; LocalProtocolError for anything else."""
        super().__init__(now=now, max_events=limits.events)
        if len(swarm_id) != _SWARM_ID_BYTES:
            raise misuse(f"a swarm id has {_SWARM_ID_BYTES} bytes, not {len(swarm_id)}")
        self.state = FetchState.OPEN
        self._swarm_id = swarm_id
        self._limits = limits
        self._timeout_at = now + limits.manifest_fetch_timeout_s
        self._outbox.append(encode_fetch_message(Get(swarm_id, 0)))
        self._total: int | None = None
        self._received = bytearray()
        self._signature: bytes | None = None

    @exclusive
    def receive_message(self, data: bytes, *, now: float) -> None:
        """Take one message of the peer.

        Raises RemoteProtocolError for bytes that break the specification (the codes of the decoder), and for
        a piece that was not asked for or a message of the asking side (E_PROTOCOL). Then the state is FAILED.
        """
        self._advance(now)
        if self.state is not FetchState.OPEN:
            self.stats.drop("after_end")
            return
        try:
            self._take_untrusted(decode_fetch_message_untrusted(data))
        except RemoteProtocolError:
            self._end(FetchInput.ENDED)
            self.stats.drop("breach")
            raise

    @exclusive
    def handle_timer(self, *, now: float) -> None:
        """Give up if the manifest did not come in time [H-037]."""
        now = self._advance(now)
        if self._timeout_at is not None and now >= self._timeout_at:
            self._fail(ErrorCode.E_MAN_TIMEOUT, "the manifest did not come in time")

    def occupancy(self) -> dict[str, tuple[int, int]]:
        """How many items each collection holds, and how many it may."""
        return {
            "events": (len(self._events), self._max_events),
            "messages": (len(self._outbox), 1),
            "bytes": (len(self._received), self._limits.manifest_bytes),
        }

    def _take_untrusted(self, message: FetchMessage | None) -> None:
        match message:
            case None:
                self.stats.drop("unknown_kind")
            case Get():
                raise _breach("a request where an answer was due", "H-033")
            case FetchRefused(code, reason):
                printable = "".join(letter if letter.isprintable() else "?" for letter in reason)
                self._fail(error_code_untrusted(code), printable or "refused")
            case Piece():
                self._take_piece_untrusted(message)

    def _take_piece_untrusted(self, piece: Piece) -> None:
        # H-038
        total = piece.total if self._total is None else self._total
        if self._outbox or piece.offset != len(self._received) or piece.total != total:
            raise _breach("a piece that was not asked for", "H-033")
        if total > self._limits.manifest_bytes:
            self._fail(ErrorCode.E_TOO_BIG, f"a manifest of {total} bytes")
            return
        if len(piece.data) != min(PIECE_BYTES, total - piece.offset):
            raise _breach("a piece of another length than agreed", "H-032")
        if piece.offset == 0:
            self._total, self._signature = total, piece.signature
        self._received += piece.data
        if len(self._received) < total:
            self._outbox.append(encode_fetch_message(Get(self._swarm_id, len(self._received))))
            return
        manifest = bytes(self._received)
        if not hmac.compare_digest(hashlib.sha256(manifest).digest(), self._swarm_id):
            self._fail(ErrorCode.E_MAN_HASH, "the bytes are not those of this swarm's manifest")
            return
        self._end(FetchInput.COMPLETE)
        self._emit(ManifestFetched(manifest, self._signature))

    def _fail(self, code: ErrorCode, reason: str) -> None:
        self._end(FetchInput.ENDED)
        self._emit(ManifestNotFetched(code, reason))

    def _end(self, event: FetchInput) -> None:
        self.state = FETCH_TRANSITIONS[self.state, event]
        self._timeout_at = None
        self._outbox.clear()
        self._received.clear()


class ManifestSource(PeerMachine[SourceEvent]):
    """The answering side: every piece once, for as long as a fetch may take."""

    def __init__(
        self,
        swarm_id: bytes,
        manifest: bytes,
        signature: bytes | None = None,
        *,
        now: float,
        limits: Limits = LIMITS,
    ) -> None:
        """Answer one fetcher with ``manifest``, the canonical bytes, and the creator's signature.

        LocalProtocolError for a manifest that is longer than its limit, or not that of the swarm.
        """
        super().__init__(now=now, max_events=limits.events)
        if not 0 < len(manifest) <= limits.manifest_bytes:
            raise misuse(f"a manifest of {len(manifest)} bytes; the limit is {limits.manifest_bytes}")
        if hashlib.sha256(manifest).digest() != swarm_id:
            raise misuse("the manifest is not that of the swarm")
        self.state = FetchState.OPEN
        self._swarm_id = swarm_id
        self._manifest = manifest
        self._signature = signature
        self._timeout_at = now + limits.manifest_fetch_timeout_s
        self._sent_bytes = 0

    @exclusive
    def receive_message(self, data: bytes, *, now: float) -> None:
        """Take one message of the fetcher.

        Raises RemoteProtocolError for bytes that break the specification (the codes of the decoder), and for
        anything but the request for the next piece (E_PROTOCOL), also when there is none. Then the state is
        FAILED.
        """
        self._advance(now)
        if self.state is FetchState.FAILED:
            self.stats.drop("after_end")
            return
        try:
            self._answer_untrusted(decode_fetch_message_untrusted(data))
        except RemoteProtocolError:
            self._end(FetchInput.ENDED)
            self.stats.drop("breach")
            raise

    @exclusive
    def handle_timer(self, *, now: float) -> None:
        """Give up on a fetcher that takes too long [H-037]."""
        now = self._advance(now)
        if self._timeout_at is not None and now >= self._timeout_at:
            self._end(FetchInput.ENDED)
            self._emit(FetchOver(ErrorCode.E_MAN_TIMEOUT))

    def occupancy(self) -> dict[str, tuple[int, int]]:
        """How many items each collection holds, and how many it may."""
        return {
            "events": (len(self._events), self._max_events),
            # Every piece, and the refusal of another swarm's manifest after them.
            "messages": (len(self._outbox), -(-len(self._manifest) // PIECE_BYTES) + 1),
        }

    def _answer_untrusted(self, message: FetchMessage | None) -> None:
        match message:
            case None:
                self.stats.drop("unknown_kind")
            case Get(swarm_id, offset):
                if swarm_id != self._swarm_id:
                    self._end(FetchInput.ENDED)
                    refusal = FetchRefused(ErrorCode.E_MAN_UNKNOWN, "not served here")
                    self._outbox.append(encode_fetch_message(refusal))
                    self._emit(FetchOver(ErrorCode.E_MAN_UNKNOWN))
                    return
                # Each piece once and in order: a session costs no more than one manifest.
                if offset != self._sent_bytes or offset == len(self._manifest):
                    raise _breach("a request out of turn", "H-034")
                self._send_piece(offset)
            case _:
                raise _breach("an answer where a request was due", "H-034")

    def _send_piece(self, offset: int) -> None:
        # H-030
        data = self._manifest[offset : offset + PIECE_BYTES]
        signature = self._signature if offset == 0 else None
        self._outbox.append(encode_fetch_message(Piece(offset, len(self._manifest), data, signature)))
        self._sent_bytes += len(data)
        if self._sent_bytes == len(self._manifest):
            self.state = FETCH_TRANSITIONS[self.state, FetchInput.COMPLETE]
            self._emit(ManifestServed())

    def _end(self, event: FetchInput) -> None:
        self.state = FETCH_TRANSITIONS[self.state, event]
        self._timeout_at = None


def _breach(message: str, section: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.E_PROTOCOL, message, layer="protocol", section=section)
