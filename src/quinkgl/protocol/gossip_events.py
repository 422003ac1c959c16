"""What gossip asks of the carrier of objects, what it tells the application, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from quinkgl.crypto.identity import PeerId
from quinkgl.protocol.machine import MachineStats
from quinkgl.wire.errors import ErrorCode
from quinkgl.wire.messages.gossip import UpdateHeader


@dataclass(frozen=True, slots=True)
class OfferOut:
    """Offer the object ``root`` to ``peer``, with this signed header.

    After it, with the same header and in any order, the further objects that the header names.
    """

    peer: PeerId
    root: bytes
    header: bytes


@dataclass(frozen=True, slots=True)
class Accept:
    """Ask ``peer`` for the body of its offer ``transfer``."""

    peer: PeerId
    transfer: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """Refuse the offer ``transfer`` of ``peer``, or give up its body half-way."""

    peer: PeerId
    transfer: int
    code: ErrorCode


GossipAction: TypeAlias = OfferOut | Accept | Refuse


@dataclass(frozen=True, slots=True)
class UpdateReceived:
    """An update came whole whose header was accepted; the carrier has checked each object against its root.

    ``attachments`` are its further objects, in the order of ``header.objects``.
    ``staleness`` counts the rounds that the author has published since, plus our rounds since the offer came.
    """

    peer: PeerId
    header: UpdateHeader
    body: memoryview
    staleness: int
    attachments: tuple[memoryview, ...] = ()


@dataclass(frozen=True, slots=True)
class EquivocationDetected:
    """``author`` signed two updates for one round; the signed headers ``first`` and ``second`` prove it."""

    author: PeerId
    round: int
    first: bytes
    second: bytes


GossipEvent: TypeAlias = UpdateReceived | EquivocationDetected


@dataclass(slots=True)
class GossipStats(MachineStats):
    """Counts of the gossip machine; ``dropped`` holds every refused offer by its reason."""

    offers_sent: int = 0
    offers_accepted: int = 0
    updates_received: int = 0
    updates_delivered: int = 0
