"""One open exchange: what is known of it, what of that is saved, and how it is read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from quinkgl.crypto.identity import PeerId
from quinkgl.protocol.exchange_events import ExchangeView
from quinkgl.protocol.exchange_table import (
    ANSWERING_TABLE,
    INITIATING_TABLE,
    Action,
    Answering,
    Initiating,
)
from quinkgl.protocol.machine import misuse
from quinkgl.wire.limits import CONSTANTS
from quinkgl.wire.messages.exchange import (
    EXCHANGE_ID_BYTES,
    WEIGHT_ONE,
    Abort,
    Accept,
    Ack,
    Ask,
    Commit,
    ExchangeMessage,
    Offer,
    Ready,
)

State = Initiating | Answering

_KEPT: dict[State, State] = {
    Initiating.DECIDED: Initiating.DECIDED,
    Initiating.APPLIED: Initiating.TOLD,
    Initiating.TOLD: Initiating.TOLD,
    Answering.PREPARED: Answering.DOUBT,
    Answering.DOUBT: Answering.DOUBT,
    Answering.OVERDUE: Answering.DOUBT,
    Answering.DECIDED: Answering.DECIDED,
    Answering.APPLIED: Answering.APPLIED,
}
"""The states that outlive a restart, and as what they are saved. What is in a saved state was saved: so
PREPARED is DOUBT there and APPLIED is TOLD. Every other exchange is over with the process: nothing was
promised.
"""

_NAMES = {f"{type(state).__name__}.{state.name}": state for state in _KEPT.values()}


@dataclass(slots=True)
class Side:
    """One side's object: its Merkle root, its bytes, and what its owner says about it."""

    root: bytes
    size: int
    metadata: Mapping[int, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Record:
    """An exchange with ``peer``, named by ``exchange`` and ``answer``.

    ``theirs`` is None at an initiator that has no ACCEPT yet, ``own`` and ``answer`` are None at a responder
    whose application has not agreed. ``since`` is the own round in which it began here. ``mark`` is the
    number of the change that must be saved before the next word, ``retry_at`` when to speak again.
    """

    peer: PeerId
    exchange: bytes
    weight: int
    lateness: int
    codec: int
    since: int
    state: State
    retry_at: float
    answer: bytes | None = None
    own: Side | None = None
    theirs: Side | None = None
    mark: int = 0
    given: bool = False
    """Whether the other side's object was handed to the application."""

    @property
    def is_initiator(self) -> bool:
        """Whether this side decides."""
        return isinstance(self.state, Initiating)

    @property
    def is_committed(self) -> bool:
        """Whether it is decided for, as far as is known here."""
        return self.state in _COMMITTED


_COMMITTED = (
    Initiating.DECIDED,
    Initiating.APPLIED,
    Initiating.TOLD,
    Answering.DECIDED,
    Answering.APPLIED,
)


def save(record: Record) -> list[object] | None:
    """Return a record as plain values, None for one that does not outlive the process."""
    if record.state not in _KEPT or record.own is None or record.theirs is None or record.answer is None:
        return None
    kept = _KEPT[record.state]
    return [
        f"{type(kept).__name__}.{kept.name}",
        record.peer,
        record.exchange,
        record.answer,
        record.weight,
        record.lateness,
        record.codec,
        record.since,
        *(
            part
            for side in (record.own, record.theirs)
            for part in (side.root, side.size, [[key, value] for key, value in side.metadata.items()])
        ),
    ]


def restore(saved: Any, *, now: float) -> Record:
    """Read back what :func:`save` gave; LocalProtocolError where it is something else."""
    try:
        name, peer, exchange, answer, weight, lateness, codec, since, *sides = saved
        own_root, own_size, own_metadata, root, size, metadata = sides
        record = Record(
            peer=peer,
            exchange=exchange,
            weight=weight,
            lateness=lateness,
            codec=codec,
            since=since,
            state=_NAMES[name],
            retry_at=now,
            answer=answer,
            own=Side(own_root, own_size, dict(own_metadata)),
            theirs=Side(root, size, dict(metadata)),
        )
    except (KeyError, TypeError, ValueError):
        raise misuse("the saved state of an exchange has another form") from None
    hashes = (peer, own_root, root)
    if not all(type(item) is bytes and len(item) == CONSTANTS.key_bytes for item in hashes):
        raise misuse("a saved peer or root is none")
    if not all(type(item) is bytes and len(item) == EXCHANGE_ID_BYTES for item in (exchange, answer)):
        raise misuse("a saved exchange has no name")
    numbers = (weight, lateness, codec, since, own_size, size)
    if not all(type(number) is int and number >= 0 for number in numbers) or weight > WEIGHT_ONE:
        raise misuse("a saved number of an exchange is none")
    return record


def table_of(record: Record) -> Any:
    """Return the table that the record's side goes by."""
    return INITIATING_TABLE if record.is_initiator else ANSWERING_TABLE


def view(record: Record) -> ExchangeView:
    """Return what the application is shown of an exchange whose objects are both named."""
    own, theirs = record.own, record.theirs
    if own is None or theirs is None:
        raise RuntimeError("an exchange whose objects are not named yet")
    return ExchangeView(
        peer=record.peer,
        exchange=record.exchange,
        is_initiator=record.is_initiator,
        weight=record.weight,
        codec=record.codec,
        root=own.root,
        remote_root=theirs.root,
        metadata=own.metadata,
        remote_metadata=theirs.metadata,
    )


def message(record: Record, action: Action, code: int) -> ExchangeMessage | None:
    """Return what an action says; None where the record does not have it yet, which no table asks for."""
    exchange, answer, own = record.exchange, record.answer, record.own
    if action is Action.CANCEL:
        return Abort(exchange, answer, code)
    if action in _PAIRED and answer is not None:
        return _PAIRED[action](exchange, answer)
    if own is None:
        return None
    if action is Action.SAY_OFFER:
        return Offer(exchange, own.root, own.size, record.weight, record.lateness, record.codec, own.metadata)
    if action is Action.SAY_ACCEPT and answer is not None:
        return Accept(exchange, answer, own.root, own.size, own.metadata)
    return None


_PAIRED: dict[Action, type[Ready | Ask | Commit | Ack]] = {
    Action.SAY_READY: Ready,
    Action.SAY_ASK: Ask,
    Action.SAY_COMMIT: Commit,
    Action.SAY_ACK: Ack,
}
