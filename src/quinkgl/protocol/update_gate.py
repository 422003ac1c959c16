"""What is checked about the header of an update before its body is asked for.

First what it is and who signed it, then where it stands among its author's updates. Neither needs the state
of the gossip machine beyond what is passed in. Source: ``spec/11-gossip.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

from quinkgl.crypto.cose import decode_sign1_untrusted, verify_sign1_untrusted
from quinkgl.crypto.identity import PeerId
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.limits import LIMITS, Limits
from quinkgl.wire.messages.gossip import UpdateHeader, decode_update_header_untrusted

DOMAIN = "update"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an offer is refused: the code for its sender, and the word under which it is counted."""

    code: ErrorCode
    reason: str


_MALFORMED = Refusal(ErrorCode.E_UPD_HEADER, "offer_malformed")
_FOREIGN_SWARM = Refusal(ErrorCode.E_UPD_HEADER, "offer_foreign_swarm")
_FOREIGN_AUTHOR = Refusal(ErrorCode.E_UPD_HEADER, "offer_foreign_author")
_MISMATCH = Refusal(ErrorCode.E_UPD_HEADER, "offer_mismatch")
_SIGNATURE = Refusal(ErrorCode.E_UPD_HEADER, "offer_signature")
_REPLAY = Refusal(ErrorCode.E_RND_REPLAY, "offer_replay")
_STALE = Refusal(ErrorCode.E_RND_STALE, "offer_stale")
_AHEAD = Refusal(ErrorCode.E_RND_AHEAD, "offer_ahead")


def read_header(
    encoded: bytes, *, peer: PeerId, swarm_id: bytes, root: bytes, size: int
) -> UpdateHeader | Refusal:
    """Return the header in an offer of ``peer``, or why it cannot be believed.

    The signature, which costs most, is looked at last. The header must be for this swarm, by the peer that
    offers it, and name the object ``root`` of ``size`` bytes [G-010 to G-014].
    """
    try:
        envelope = decode_sign1_untrusted(encoded, max_bytes=LIMITS.header_bytes, where="update header")
        header = decode_update_header_untrusted(envelope.payload)
    except RemoteProtocolError:
        return _MALFORMED
    if header.swarm_id != swarm_id:
        return _FOREIGN_SWARM
    if header.author != peer:
        return _FOREIGN_AUTHOR
    if header.parts.get(root) != size:
        return _MISMATCH
    try:
        verify_sign1_untrusted(envelope, DOMAIN, header.author, code=ErrorCode.E_UPD_HEADER)
    except RemoteProtocolError:
        return _SIGNATURE
    return header


@dataclass(frozen=True, slots=True)
class Admitted:
    """The newest header of an author that was found plausible: where it stands, and when it came."""

    position: tuple[int, int]
    own_round: int
    at: float


def judge_round(
    position: tuple[int, int],
    *,
    last: tuple[int, int] | None,
    newest: Admitted | None,
    same_session: bool,
    own_round: int,
    now: float,
    limits: Limits,
) -> Refusal | None:
    """Judge where a header stands in its author's sequence; None if it may be accepted.

    ``position`` is its incarnation and round, ``last`` that of the author's last update received, ``newest``
    its newest header found plausible, ``same_session`` whether that came in the present session.

    * Replay [G-020]: the position must be above ``last``, and its incarnation not below that of ``newest``.
    * Stale [G-021]: the author must not have published more than ``round_stale`` rounds since. (Rounds of
    *ours*
      that pass while the body is on the way count too; at the offer they are none.)
    * Ahead [G-022]: since ``newest`` the author's round may have grown by at most ``round_ahead`` for each
    round of
      ours and for each second that have passed, and as much once more. A counter that runs away is not
      followed, so a stolen key cannot burn the rounds that its owner will use. The first header of a session
      or of an incarnation is exempt: where a node was away, ours or the author's, either counter may be
      anywhere.
    """
    if last is not None and position <= last:
        return _REPLAY
    if newest is None or position[0] > newest.position[0]:
        return None
    if position[0] < newest.position[0]:
        return _REPLAY
    grown = position[1] - newest.position[1]
    if -grown > limits.round_stale:
        return _STALE
    passed = (own_round - newest.own_round) + (now - newest.at)
    if same_session and grown > limits.round_ahead * (1 + passed):
        return _AHEAD
    return None
