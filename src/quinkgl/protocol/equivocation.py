"""Proofs of equivocation: two headers that one author signed for one position, with different roots.

Anybody can check a proof, and it convicts its author for the life of the swarm. It is told on once: to all
neighbours when it is new, and to a new neighbour among the newest. Source: ``spec/11-gossip.md``, 11.6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from quinkgl.crypto.cose import Sign1, decode_sign1_untrusted, verify_sign1_untrusted
from quinkgl.crypto.identity import PeerId
from quinkgl.protocol.machine import misuse
from quinkgl.protocol.update_gate import DOMAIN
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.limits import CONSTANTS, LIMITS
from quinkgl.wire.messages.gossip import (
    Proof,
    UpdateHeader,
    decode_update_header_untrusted,
    encode_gossip_message,
)


class UnverifiedProof(NamedTuple):
    """A proof that says what a proof must say; its signatures are not checked yet."""

    author: PeerId
    round: int
    envelopes: tuple[Sign1, Sign1]

    def verify_untrusted(self) -> None:
        """Check both signatures; RemoteProtocolError (E_PROTOCOL) where one does not hold."""
        try:
            for envelope in self.envelopes:
                verify_sign1_untrusted(envelope, DOMAIN, self.author)
        except RemoteProtocolError as error:
            raise _proves_nothing(error.message) from None


def read_proof_untrusted(proof: Proof, swarm_id: bytes) -> UnverifiedProof:
    """Check everything about a proof but its signatures.

    Raises RemoteProtocolError (E_PROTOCOL) for two headers that are no contradiction: malformed, of another
    swarm, of two authors, for two positions, or with one root [G-034].
    """
    try:
        (first, first_envelope), (second, second_envelope) = (
            _read_untrusted(encoded) for encoded in (proof.first, proof.second)
        )
    except RemoteProtocolError as error:
        raise _proves_nothing(error.message) from None
    same = first.author == second.author and first.position == second.position
    if not same or first.root == second.root or (first.swarm_id, second.swarm_id) != (swarm_id,) * 2:
        raise _proves_nothing("no contradiction")
    return UnverifiedProof(first.author, first.round, (first_envelope, second_envelope))


def _proves_nothing(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(
        ErrorCode.E_PROTOCOL, f"a proof that proves nothing: {why}", layer="protocol", section="G-034"
    )


def _read_untrusted(encoded: bytes) -> tuple[UpdateHeader, Sign1]:
    envelope = decode_sign1_untrusted(encoded, max_bytes=LIMITS.header_bytes, where="update header")
    return decode_update_header_untrusted(envelope.payload), envelope


class Convicts:
    """The authors that are convicted, each with its proof where one is at hand, the newest last."""

    def __init__(self, most: int) -> None:
        self._proofs: dict[PeerId, Proof | None] = {}
        self._most = most

    def __contains__(self, author: PeerId) -> bool:
        """Whether an author is convicted."""
        return author in self._proofs

    def __len__(self) -> int:
        """How many are."""
        return len(self._proofs)

    def add(self, author: PeerId, proof: Proof | None) -> None:
        """Convict an author; beyond the bound the one convicted first is forgotten."""
        self._proofs.setdefault(author, proof)
        if len(self._proofs) > self._most:
            del self._proofs[next(iter(self._proofs))]

    def newest(self, count: int) -> list[tuple[PeerId, Proof]]:
        """Return up to ``count`` convicts with their proofs, the newest last."""
        proven = [(author, proof) for author, proof in self._proofs.items() if proof is not None]
        return proven[-count:] if count else []

    def state(self) -> list[list[bytes]]:
        """Return convicts and proofs as plain values."""
        return [
            [author] if proof is None else [author, proof.first, proof.second]
            for author, proof in self._proofs.items()
        ]


def read_convicts(saved: Sequence[object]) -> list[tuple[PeerId, Proof | None]]:
    """Read back :meth:`Convicts.state`, or a list of authors without proofs; LocalProtocolError otherwise."""
    convicts: list[tuple[PeerId, Proof | None]] = []
    for item in saved:
        author, *proof = item if isinstance(item, list | tuple) else [item]
        if type(author) is not bytes or len(author) != CONSTANTS.key_bytes or len(proof) not in (0, 2):
            raise misuse("a saved convict is none")
        if not all(type(part) is bytes for part in proof):
            raise misuse("a saved proof is none")
        held = Proof(*proof) if proof else None
        if held is not None:
            encode_gossip_message(held)  # raises for what could not be told on
        convicts.append((author, held))
    return convicts
