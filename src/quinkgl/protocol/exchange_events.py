"""What the two-sided exchange tells the application, and what it asks of the carrier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from quinkgl.crypto.identity import PeerId


@dataclass(frozen=True, slots=True)
class ExchangeView:
    """An exchange as both sides see it, once both have named their objects.

    ``weight`` / 2^32 multiplies each side's difference to the other; ``root`` and ``metadata`` are those of
    the own object, ``remote_root`` and ``remote_metadata`` of the other side's.
    """

    peer: PeerId
    exchange: bytes
    is_initiator: bool
    weight: int
    codec: int
    root: bytes
    remote_root: bytes
    metadata: Mapping[int, Any]
    remote_metadata: Mapping[int, Any]


@dataclass(frozen=True, slots=True)
class ExchangeOffered:
    """``peer`` offers an exchange of its object ``root`` of ``size`` bytes for one of ours."""

    peer: PeerId
    exchange: bytes
    root: bytes
    size: int
    weight: int
    lateness: int
    codec: int
    metadata: Mapping[int, Any]


@dataclass(frozen=True, slots=True)
class ExchangeObjectReceived:
    """The other side's object is here; the carrier has checked it against its root."""

    exchange: ExchangeView
    body: memoryview


@dataclass(frozen=True, slots=True)
class ExchangeCommitted:
    """Both sides apply the effect. ``staleness`` is the number of own rounds since the exchange began."""

    exchange: ExchangeView
    staleness: int


@dataclass(frozen=True, slots=True)
class ExchangeAborted:
    """Neither side applies anything; ``code`` says why."""

    peer: PeerId
    exchange: bytes
    code: int


@dataclass(frozen=True, slots=True)
class ExchangeAbandoned:
    """The other side has departed for ever with an exchange open.

    Where it is ``committed`` the effect is applied here, or is to be; it may be missing there. Where it is
    not, the other side may have applied it alone. What that does to an invariant is for the rule to say.
    """

    peer: PeerId
    exchange: bytes
    committed: bool


@dataclass(frozen=True, slots=True)
class SaveWanted:
    """A checkpoint whose ``mark`` is at least this is to be saved, and :meth:`Exchanges.state_saved` told."""

    mark: int


ExchangeEvent: TypeAlias = (
    ExchangeOffered
    | ExchangeObjectReceived
    | ExchangeCommitted
    | ExchangeAborted
    | ExchangeAbandoned
    | SaveWanted
)


@dataclass(frozen=True, slots=True)
class SendObject:
    """Have the own object ``root`` brought to ``peer``, for ``exchange``."""

    peer: PeerId
    exchange: bytes
    root: bytes
