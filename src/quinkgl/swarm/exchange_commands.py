"""The commands by which an application takes part in two-sided exchanges."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from quinkgl.protocol.exchange import ExchangeView
from quinkgl.swarm.two_sided import TwoSided, published
from quinkgl.wire.errors import ErrorCode
from quinkgl.wire.exclusive import Exclusive, exclusive


class ExchangeCommands(Exclusive):
    """Commands of a swarm; :mod:`quinkgl.protocol.exchange` says what the application does and when.

    The events are those of that machine, in the order of the swarm's; the checkpoint holds the swarm's whole
    :meth:`~quinkgl.swarm.Swarm.state`.
    """

    _two_sided: TwoSided
    _now: float

    @exclusive
    def offer_exchange(
        self,
        peer: bytes,
        body: bytes | bytearray | memoryview,
        *,
        weight: int,
        lateness: int = 0,
        codec: int = 1,
        metadata: Mapping[int, Any] | None = None,
        now: float,
    ) -> bytes | None:
        """Offer ``peer`` an exchange of ``body`` for an object of its own, and return the exchange's name.

        ``body`` is shared, not copied, and must not change until the exchange is over. ``weight`` / 2^32 is
        the weight before it is damped for ``lateness``. None where the peer is not connected, or there is no
        room.
        """
        publication = published(body)
        name = self._two_sided.machine.offer(
            peer,
            publication.root,
            len(publication.body),
            weight=weight,
            lateness=lateness,
            codec=codec,
            metadata=metadata,
            now=max(now, self._now),
        )
        if name is not None:
            self._two_sided.keep(peer, name, publication)
        self._after(now)
        return name

    @exclusive
    def accept_exchange(
        self,
        peer: bytes,
        exchange: bytes,
        body: bytes | bytearray | memoryview,
        *,
        metadata: Mapping[int, Any] | None = None,
        now: float,
    ) -> bool:
        """Agree to an offered exchange with ``body`` as the own object; False if it is over by now."""
        publication = published(body)
        agreed = self._two_sided.machine.accept(
            peer,
            exchange,
            publication.root,
            len(publication.body),
            metadata=metadata,
            now=max(now, self._now),
        )
        if agreed:
            self._two_sided.keep(peer, exchange, publication)
        self._after(now)
        return agreed

    @exclusive
    def abort_exchange(
        self, peer: bytes, exchange: bytes, *, code: ErrorCode = ErrorCode.NOT_WANTED, now: float
    ) -> bool:
        """Give an exchange up; False where it is over, or this side is bound already."""
        given_up = self._two_sided.machine.abort(peer, exchange, code=code, now=max(now, self._now))
        self._after(now)
        return given_up

    @exclusive
    def exchange_held(self, peer: bytes, exchange: bytes, *, now: float) -> bool:
        """Say that the effect of an exchange is kept for the next checkpoint; False if it is over by now."""
        held = self._two_sided.machine.hold(peer, exchange, now=max(now, self._now))
        self._after(now)
        return held

    @exclusive
    def exchange_applied(self, peer: bytes, exchange: bytes, *, now: float) -> bool:
        """Say that the effect of a committed exchange is applied; False if that is known."""
        applied = self._two_sided.machine.applied(peer, exchange, now=max(now, self._now))
        self._after(now)
        return applied

    @exclusive
    def state_saved(self, mark: int, *, now: float) -> None:
        """Say that a checkpoint is safe, whose state was taken while :attr:`exchange_mark` was ``mark``."""
        self._two_sided.machine.state_saved(mark, now=max(now, self._now))
        self._after(now)

    @exclusive
    def peer_departed(self, peer: bytes, *, now: float) -> int:
        """Say that a peer is gone for ever; return how many exchanges were open with it."""
        count = self._two_sided.machine.peer_departed(peer, now=max(now, self._now))
        self._after(now)
        return count

    @property
    def exchange_mark(self) -> int:
        """Number of the last change that a checkpoint must hold before anything is said that leans on it."""
        return self._two_sided.machine.mark

    def open_exchanges(self) -> tuple[ExchangeView, ...]:
        """Return the exchanges whose both objects are named, in the order in which they began."""
        return self._two_sided.machine.open()

    @abstractmethod
    def _after(self, now: float) -> None:
        """Move the clock and carry out what a command has led to."""
