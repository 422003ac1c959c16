"""Updates on their way out: one body for all targets, one transfer a peer at a time, the newest waiting."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from quinkgl.swarm.events import SwarmEvent, UpdateDelivered, UpdateNotDelivered
from quinkgl.transport import Endpoint
from quinkgl.wire.errors import ErrorCode
from quinkgl.wire.limits import LIMITS


@dataclass(frozen=True, slots=True)
class Publication:
    """An encoded update with its leaf list; shared by every transfer of it, never copied.

    ``attachments`` are its further objects; ``root`` names the whole.
    """

    root: bytes
    leaves: bytes
    body: memoryview
    attachments: tuple[Publication, ...] = ()


@dataclass(frozen=True, slots=True)
class _Parcel:
    """A publication addressed to one peer."""

    publication: Publication
    header: bytes


@dataclass(slots=True)
class _Outbox:
    """What goes to one peer: the parcel under way, an object at a time, and the newest one behind it."""

    transfer: int | None = None
    under_way: _Parcel | None = None
    parts: deque[Publication] = field(default_factory=deque)
    """The objects of the parcel under way that are not offered yet."""
    waiting: _Parcel | None = None

    def roots(self) -> list[bytes]:
        """Roots of the publications that this peer still needs."""
        parcels = (self.under_way, self.waiting)
        return [parcel.publication.root for parcel in parcels if parcel is not None]


class Deliveries:
    """Brings publications to peers, and reports how each ended.

    A transfer that is under way is never given up for a newer update: on a slow path every update would be
    overtaken and none would arrive. The newest one waits instead, and replaces any that waited before.

    A peer whose session ends before it has the newest publication is offered it once more when it comes back,
    unless there is a newer one by then: it asks only for what it lacks.
    """

    def __init__(self, endpoint: Endpoint, events: deque[SwarmEvent]) -> None:
        """Offer through ``endpoint`` and report by appending to ``events``."""
        self._endpoint = endpoint
        self._events = events
        self._outboxes: dict[bytes, _Outbox] = {}
        self._publications: dict[bytes, Publication] = {}
        self._newest = b""
        self._missed: dict[bytes, _Parcel] = {}
        self.delivered = 0

    def open(self, peer: bytes, *, now: float) -> None:
        """Take parcels for ``peer`` from now on [G-007]."""
        outbox = self._outboxes[peer] = _Outbox(waiting=self._missed.pop(peer, None))
        self._post(peer, outbox, now)

    def close(self, peer: bytes, code: int) -> None:
        """The session with ``peer`` is over; what waited for it is not delivered, for the same reason."""
        outbox = self._outboxes.pop(peer, None)
        if outbox is not None and outbox.waiting is not None:
            self._events.append(UpdateNotDelivered(peer, outbox.waiting.publication.root, code))
            self._remember(peer, outbox.waiting)
        self.release()

    def publish(self, publication: Publication) -> None:
        """Keep a body for the parcels that follow; :meth:`release` lets go of those that nobody needs."""
        self._publications[publication.root] = publication
        self._newest = publication.root
        self._missed.clear()

    def send(self, peer: bytes, root: bytes, header: bytes, *, now: float) -> None:
        """Address a publication to ``peer``."""
        outbox = self._outboxes.get(peer)
        if outbox is None:
            self._events.append(UpdateNotDelivered(peer, root, ErrorCode.GONE))
            return
        if outbox.waiting is not None:
            replaced = outbox.waiting.publication.root
            self._events.append(UpdateNotDelivered(peer, replaced, ErrorCode.SUPERSEDED))
        outbox.waiting = _Parcel(self._publications[root], header)
        self._post(peer, outbox, now)

    def on_delivered(self, peer: bytes, transfer: int, *, now: float) -> bytes | None:
        """``peer`` has the whole of a transfer; return the root of the update if it has the whole of that."""
        outbox = self._of_transfer(peer, transfer)
        if outbox is None or outbox.under_way is None:
            return None
        root = outbox.under_way.publication.root
        if outbox.parts:
            self._offer(peer, outbox, outbox.under_way, now)
            return None
        self._finish(outbox)
        self.delivered += 1
        self._events.append(UpdateDelivered(peer, root))
        self._post(peer, outbox, now)
        return root

    def on_failed(self, peer: bytes, transfer: int, code: int, *, now: float) -> None:
        """A transfer to ``peer`` ended without success, and with it its update."""
        outbox = self._of_transfer(peer, transfer)
        if outbox is None or outbox.under_way is None:
            return
        parcel = outbox.under_way
        self._finish(outbox)
        self._events.append(UpdateNotDelivered(peer, parcel.publication.root, code))
        if code == ErrorCode.E_HS_DUP or self._endpoint.address_of(peer) is None:
            self._remember(peer, parcel)  # the session is over; what waits goes the same way in a moment
        else:
            self._post(peer, outbox, now)

    def release(self) -> None:
        """Let go of bodies that nobody is being sent."""
        needed = [root for outbox in self._outboxes.values() for root in outbox.roots()]
        needed += [parcel.publication.root for parcel in self._missed.values()]
        self._publications = {root: kept for root, kept in self._publications.items() if root in needed}

    def _remember(self, peer: bytes, parcel: _Parcel) -> None:
        """Keep what a peer missed for its return, if it is the newest; of few peers."""
        if parcel.publication.root == self._newest and len(self._missed) < LIMITS.connections:
            self._missed[peer] = parcel

    def _of_transfer(self, peer: bytes, transfer: int) -> _Outbox | None:
        """Return the outbox whose transfer this is, None where it is none of ours."""
        outbox = self._outboxes.get(peer)
        return None if outbox is None or outbox.transfer != transfer else outbox

    @staticmethod
    def _finish(outbox: _Outbox) -> None:
        """Take the parcel that is under way out of its outbox."""
        outbox.transfer = outbox.under_way = None
        outbox.parts.clear()

    def _post(self, peer: bytes, outbox: _Outbox, now: float) -> None:
        """Offer what waits, unless a transfer is under way."""
        if outbox.under_way is not None or outbox.waiting is None:
            self.release()
            return
        parcel, outbox.waiting = outbox.waiting, None
        outbox.under_way = parcel
        outbox.parts.extend((parcel.publication, *parcel.publication.attachments))
        self._offer(peer, outbox, parcel, now)

    def _offer(self, peer: bytes, outbox: _Outbox, parcel: _Parcel, now: float) -> None:
        """Offer the next object of a parcel: one after the other, so that a peer needs room for one."""
        part = outbox.parts.popleft()
        outbox.transfer = self._endpoint.offer_object(
            peer, part.root, part.leaves, parcel.header, part.body, now=now
        )
        if outbox.transfer is None:
            self._finish(outbox)
            gone = self._endpoint.address_of(peer) is None
            code = ErrorCode.GONE if gone else ErrorCode.E_BUSY
            self._events.append(UpdateNotDelivered(peer, parcel.publication.root, code))
