"""The states of one two-sided exchange, at the side that offers it and at the side that answers.

The initiator decides. It may decide for the exchange only when it holds both objects and has heard that the
responder does too, and it may decide against it at any time before that. The responder may withdraw until it
has said READY; from then on it is bound by a decision that it may not know yet, and asks until it does. What
is not known to an initiator was decided against: only a decision for an exchange need be kept.

Whatever one side promises the other (READY, COMMIT, ACK) is said only after the state that holds the promise
is saved. Source: ``spec/11b-two-sided-exchange.md``.
"""

from __future__ import annotations

from enum import Enum

from quinkgl.protocol.table import Step, Table


class Initiating(Enum):
    """How far an exchange is at the side that offered it."""

    OFFERED = "offered"
    TAKING = "taking"
    """The responder agreed; its object is on the way, or here but not held by the application yet."""
    AWAITED = "awaited"
    """As TAKING, and the responder holds both objects: it waits for us."""
    HOLDING = "holding"
    """The application holds both objects; whether the responder does is not known."""
    DECIDED = "decided"
    """Decided for the exchange; the application is to apply its effect."""
    APPLIED = "applied"
    """The effect is applied; the state that says so is to be saved."""
    TOLD = "told"
    """The decision is said again and again until it is acknowledged."""
    CLOSED = "closed"


class Answering(Enum):
    """How far an exchange is at the side that answers."""

    ASKED = "asked"
    """The application has not answered yet."""
    TAKING = "taking"
    PREPARED = "prepared"
    """The application holds both objects; the state that says so is to be saved."""
    DOUBT = "doubt"
    """READY is said; the decision is not known."""
    OVERDUE = "overdue"
    """As DOUBT, and the decision is later than the offer allows; the initiator is asked to decide."""
    DECIDED = "decided"
    APPLIED = "applied"
    CLOSED = "closed"


class Input(Enum):
    """What can happen to an exchange."""

    OFFER = "offer"
    """The OFFER came again."""
    ACCEPT = "accept"
    """To the initiator: the responder's ACCEPT came. To the responder: its application agrees."""
    READY = "ready"
    ASK = "ask"
    COMMIT = "commit"
    ABORT = "abort"
    """The other side says that there is no such exchange."""
    ACK = "ack"
    HOLD = "hold"
    """The application holds both objects."""
    APPLY = "apply"
    """The application has applied the effect."""
    SAVED = "saved"
    LATE = "late"
    """More own rounds have passed than the offer allows."""
    GIVE_UP = "give_up"
    """The application does not want it, the object does not come, or the session has ended."""
    RETRY = "retry"
    """Time to say again what was not answered."""
    GONE = "gone"
    """The other side has departed for ever."""


class Action(Enum):
    """What the machine does about it."""

    IGNORE = "–"
    SAY_OFFER = "say OFFER"
    SEND_OBJECT = "send object"
    ACCEPT = "say ACCEPT, send object"
    SAY_ACCEPT = "say ACCEPT"
    WANT_SAVE = "want save"
    SAY_READY = "say READY"
    SAY_ASK = "say ASK"
    DECIDE = "report commit"
    SAY_COMMIT = "say COMMIT"
    SAY_ACK = "say ACK"
    CANCEL = "say ABORT, report abort"
    DROP = "report abort"
    FORGET = "forget"
    ABANDON = "report departure"
    FAULT = "protocol error"


def _row(
    here: Initiating | Answering, steps: dict[Input, tuple[Action, Initiating | Answering]]
) -> dict[Input, Step[Initiating | Answering, Action]]:
    """Make a row in which every input that is not named changes nothing."""
    return {event: Step(*steps.get(event, (Action.IGNORE, here))) for event in Input}


def _initiating() -> Table[Initiating | Answering, Input, Action]:
    offered, taking, awaited, holding, decided, applied, told, closed = Initiating
    cancel = (Action.CANCEL, closed)
    undecided = {
        Input.ASK: cancel,
        Input.ABORT: (Action.DROP, closed),
        Input.LATE: cancel,
        Input.GIVE_UP: cancel,
        Input.GONE: (Action.DROP, closed),
    }
    departed = {Input.GONE: (Action.ABANDON, closed)}
    decide = (Action.DECIDE, decided)
    say_commit = (Action.SAY_COMMIT, told)
    return Table(
        offered,
        {
            offered: _row(
                offered,
                {
                    **undecided,
                    Input.ACCEPT: (Action.SEND_OBJECT, taking),
                    Input.RETRY: (Action.SAY_OFFER, offered),
                },
            ),
            taking: _row(
                taking,
                {
                    **undecided,
                    Input.READY: (Action.IGNORE, awaited),
                    Input.HOLD: (Action.IGNORE, holding),
                },
            ),
            awaited: _row(awaited, {**undecided, Input.HOLD: decide}),
            holding: _row(holding, {**undecided, Input.READY: decide}),
            decided: _row(decided, {**departed, Input.APPLY: (Action.WANT_SAVE, applied)}),
            applied: _row(applied, {**departed, Input.SAVED: say_commit}),
            told: _row(
                told,
                {
                    **departed,
                    Input.READY: say_commit,
                    Input.ASK: say_commit,
                    Input.RETRY: say_commit,
                    Input.ACK: (Action.FORGET, closed),
                },
            ),
            closed: _row(closed, {}),
        },
        events=Input,
    )


def _answering() -> Table[Initiating | Answering, Input, Action]:
    asked, taking, prepared, doubt, overdue, decided, applied, closed = Answering
    free = {
        Input.ABORT: (Action.DROP, closed),
        Input.LATE: (Action.CANCEL, closed),
        Input.GIVE_UP: (Action.CANCEL, closed),
        Input.GONE: (Action.DROP, closed),
    }
    early = {Input.COMMIT: (Action.FAULT, closed)}
    bound = {
        Input.COMMIT: (Action.DECIDE, decided),
        Input.ABORT: (Action.DROP, closed),
        Input.GONE: (Action.ABANDON, closed),
    }
    say_accept, say_ask = Action.SAY_ACCEPT, (Action.SAY_ASK, overdue)
    departed = {Input.GONE: (Action.ABANDON, closed)}
    return Table(
        asked,
        {
            asked: _row(asked, {**free, Input.ACCEPT: (Action.ACCEPT, taking)}),
            taking: _row(
                taking,
                {
                    **free,
                    **early,
                    Input.OFFER: (say_accept, taking),
                    Input.RETRY: (say_accept, taking),
                    Input.HOLD: (Action.WANT_SAVE, prepared),
                },
            ),
            prepared: _row(
                prepared,
                {
                    **free,
                    **early,
                    Input.OFFER: (say_accept, prepared),
                    Input.SAVED: (Action.SAY_READY, doubt),
                },
            ),
            doubt: _row(
                doubt,
                {
                    **bound,
                    Input.OFFER: (say_accept, doubt),
                    Input.RETRY: (Action.SAY_READY, doubt),
                    Input.LATE: say_ask,
                },
            ),
            overdue: _row(
                overdue,
                {**bound, Input.OFFER: (say_accept, overdue), Input.RETRY: say_ask},
            ),
            decided: _row(decided, {**departed, Input.APPLY: (Action.WANT_SAVE, applied)}),
            applied: _row(applied, {**departed, Input.SAVED: (Action.SAY_ACK, closed)}),
            closed: _row(closed, {}),
        },
        events=Input,
    )


INITIATING_TABLE = _initiating()
"""The whole logic of the side that offers and decides."""

ANSWERING_TABLE = _answering()
"""The whole logic of the side that answers."""
