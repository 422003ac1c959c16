"""One's own updates: the header of each is signed once, under a position above all before it.

A position is never signed twice with different roots [G-001]: the incarnation grows with each start of the
node, and the round with each update. A node that has lost its state, and whose wall clock was set back,
cannot know how high an earlier life was; those that remember refuse its updates as replays, and it goes
higher [G-008]. Source: ``spec/11-gossip.md``, 11.3 and 11.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from quinkgl.crypto.cose import sign1
from quinkgl.crypto.identity import Identity
from quinkgl.protocol.machine import check_unix, misuse
from quinkgl.protocol.update_gate import DOMAIN
from quinkgl.wire.errors import ErrorCode
from quinkgl.wire.messages.gossip import NONCE_BYTES, UpdateHeader, UpdateObject, encode_update_header

if TYPE_CHECKING:
    import random

_RAISES = 5
"""How often an incarnation is raised in one life: a peer that refuses everything shall not use them up."""
_FIRST_RAISE_BITS = 22
_RAISE_GROWTH_BITS = 4
"""By how much: 2^22 ms, more than an hour, at first, then 16 times as much each time; nine years at last."""


class Publisher:
    """Signs the headers of a node's own updates."""

    def __init__(
        self,
        identity: Identity,
        swarm_id: bytes,
        *,
        rng: random.Random,
        now: float,
        unix_now: float,
    ) -> None:
        """``unix_now`` is the wall clock at ``now``; LocalProtocolError for one that no header can say."""
        check_unix(unix_now)
        self.incarnation = int(unix_now * 1000)
        self._identity = identity
        self._swarm_id = swarm_id
        self._rng = rng
        self._unix_offset_s = unix_now - now
        self._published: int | None = None
        self._newest_root = b""
        self._raises = 0

    def set_unix_time(self, unix_now: float, *, now: float) -> None:
        """Tell the wall-clock time at ``now``, which :func:`check_unix` has passed."""
        self._unix_offset_s = unix_now - now

    def follow(self, incarnation: int) -> None:
        """Take an incarnation above that of an earlier life, whatever the wall clock says [G-002]."""
        self.incarnation = max(self.incarnation, incarnation + 1)

    def refused(self, root: bytes, code: int) -> None:
        """Hear that a peer refused an update; go above an earlier life if that is why [G-008].

        Only the newest update counts: the refusals of one update are one reason.
        """
        if code != ErrorCode.E_RND_REPLAY or root != self._newest_root or self._raises >= _RAISES:
            return
        bits = _FIRST_RAISE_BITS + _RAISE_GROWTH_BITS * self._raises
        self._raises += 1
        self._newest_root = b""
        # At random: an earlier life that was lost, too, may have climbed from nearly the same time [G-001].
        self.incarnation += (1 << bits) + self._rng.getrandbits(bits)

    def draft(
        self,
        root: bytes,
        size: int,
        *,
        round: int,
        codec: int,
        sample_count: int,
        params: Mapping[int, Any],
        metadata: Mapping[int, Any],
        base: bytes | None,
        objects: tuple[UpdateObject, ...],
        now: float,
    ) -> UpdateHeader:
        """Return a header without its nonce; nothing changes.

        LocalProtocolError for a round that is not above the last one signed, a field outside its bounds, or a
        header that is too long.
        """
        if self._published is not None and round <= self._published:
            raise misuse(f"round {round} is not above the last one published, {self._published}")
        header = UpdateHeader(
            swarm_id=self._swarm_id,
            author=self._identity.peer_id,
            round=round,
            root=root,
            size=size,
            codec=codec,
            sample_count=sample_count,
            issued=int(now + self._unix_offset_s),
            nonce=bytes(NONCE_BYTES),
            incarnation=self.incarnation,
            params=params,
            metadata=metadata,
            base=base,
            objects=objects,
        )
        encode_update_header(header)
        return header

    def sign(self, draft: UpdateHeader) -> tuple[UpdateHeader, bytes]:
        """Return the header of a draft with a nonce, and its signed form."""
        header = replace(draft, nonce=self._rng.randbytes(NONCE_BYTES))
        self._published = header.round
        self._newest_root = header.root
        return header, sign1(self._identity, DOMAIN, encode_update_header(header))
