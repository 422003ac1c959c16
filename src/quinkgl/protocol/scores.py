"""What a node has seen of its neighbours, a number each: who is served first, whose offers are taken.

A score is this node's own and is told to nobody: there is no way to slander or to vouch. Good deeds are worth
little and are capped, so that nobody can save them up to misbehave; bad ones are forgotten with a half-life,
and not by coming back in a new session. A score orders and limits. It proves nothing, and what breaks the
protocol ends a session whatever the score. Source: ``spec/11-gossip.md``, 11.7.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from quinkgl.crypto.identity import PeerId
from quinkgl.wire.limits import Limits


class Deed(Enum):
    """What a peer did, and what that is worth."""

    DELIVERY = 1.0
    INVALID = -10.0
    """It said or sent what nobody can say or send by accident."""
    TIMEOUT = -2.0
    SLOW = -1.0


class Band(Enum):
    """How a peer is treated."""

    NORMAL = "normal"
    LIMITED = "limited"
    """Served last; its offers are taken only while half of the room is free."""
    REFUSED = "refused"
    """None of its offers are taken."""


@dataclass(slots=True)
class _Score:
    points: float
    at: float
    connected: bool = False


class Scores:
    """The scores of all peers of late; a peer that is not known has 0 points [G-046, G-047]."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._scores: dict[PeerId, _Score] = {}

    def __len__(self) -> int:
        """How many peers have a score."""
        return len(self._scores)

    def note(self, peer: PeerId, deed: Deed, *, now: float) -> None:
        """Count a deed."""
        score = self._score(peer, now)
        score.points = min(self._decayed(score, now) + deed.value, float(self._limits.score_most))
        score.at = now

    def set_connected(self, peer: PeerId, connected: bool, *, now: float) -> None:
        """Say whether there is a session; the score outlives it by ``score_keep_s``."""
        if connected or peer in self._scores:
            score = self._score(peer, now)
            score.points, score.at = self._decayed(score, now), now
            score.connected = connected

    def points(self, peer: PeerId, *, now: float) -> float:
        """Return the score of a peer at this moment."""
        score = self._scores.get(peer)
        return 0.0 if score is None or self._is_over(score, now) else self._decayed(score, now)

    def band(self, peer: PeerId, *, now: float) -> Band:
        """Return how a peer is treated at this moment."""
        points = self.points(peer, now=now)
        if points <= -self._limits.score_refused:
            return Band.REFUSED
        return Band.LIMITED if points <= -self._limits.score_limited else Band.NORMAL

    def best_first(self, peers: Iterable[PeerId], *, now: float) -> list[PeerId]:
        """Return peers in the order in which they are served; equals stay as they were."""
        return sorted(peers, key=lambda peer: -self.points(peer, now=now))

    def _score(self, peer: PeerId, now: float) -> _Score:
        """Return a score to be changed, now the last one to be forgotten."""
        score = self._scores.pop(peer, None)
        if score is None or self._is_over(score, now):
            score = _Score(0.0, now)
            self._forget(now)
        self._scores[peer] = score
        return score

    def _forget(self, now: float) -> None:
        """Forget what is over; and if that makes no room, the peer that was away for longest."""
        over = [peer for peer, score in self._scores.items() if self._is_over(score, now)]
        for peer in over:
            del self._scores[peer]
        if len(self._scores) >= self._limits.scores:
            away = (peer for peer, score in self._scores.items() if not score.connected)
            del self._scores[next(away, next(iter(self._scores)))]

    def _decayed(self, score: _Score, now: float) -> float:
        passed = (now - score.at) / self._limits.score_half_life_s
        return float(score.points * 0.5**passed)

    def _is_over(self, score: _Score, now: float) -> bool:
        return not score.connected and now - score.at > self._limits.score_keep_s
