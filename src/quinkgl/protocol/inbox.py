"""What stands between a node and one author of updates: whether a body is on the way, and what is remembered.

One body of an author is on the way at a time, and the newest wins. Source: ``spec/11-gossip.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from quinkgl.protocol.rate import TokenBucket
from quinkgl.protocol.table import Step, Table
from quinkgl.protocol.update_gate import Admitted
from quinkgl.wire.messages.gossip import UpdateHeader

HEADERS_KEPT = 4
"""Headers of each author, of its latest rounds, kept as evidence against another one for the same round."""


class Inbox(Enum):
    """What stands between this node and one author."""

    IDLE = "idle"
    WANTED = "wanted"
    """An offer was accepted; its body is on the way."""
    BARRED = "barred"
    """The author has signed two updates for one round."""


class Input(Enum):
    """What can happen to an author's inbox."""

    OFFER = "offer"
    """An offer that passed every check."""
    RECEIVED = "received"
    FAILED = "failed"
    STALE = "stale"
    """Too many rounds have passed since the offer."""
    LEFT = "left"
    PROOF = "proof"


class Action(Enum):
    """What the machine does about it."""

    ACCEPT = "accept"
    SUPERSEDE = "refuse the old, accept"
    DELIVER = "deliver"
    FORGET = "forget"
    CANCEL = "refuse the old"
    CONVICT = "report"
    CONVICT_AND_CANCEL = "refuse the old, report"
    IGNORE = "ignore"


INBOX_TABLE: Table[Inbox, Input, Action] = Table(
    Inbox.IDLE,
    {
        Inbox.IDLE: {
            Input.OFFER: Step(Action.ACCEPT, Inbox.WANTED),
            Input.RECEIVED: Step(Action.IGNORE, Inbox.IDLE),
            Input.FAILED: Step(Action.IGNORE, Inbox.IDLE),
            Input.STALE: Step(Action.IGNORE, Inbox.IDLE),
            Input.LEFT: Step(Action.IGNORE, Inbox.IDLE),
            Input.PROOF: Step(Action.CONVICT, Inbox.BARRED),
        },
        Inbox.WANTED: {
            Input.OFFER: Step(Action.SUPERSEDE, Inbox.WANTED),
            Input.RECEIVED: Step(Action.DELIVER, Inbox.IDLE),
            Input.FAILED: Step(Action.FORGET, Inbox.IDLE),
            Input.STALE: Step(Action.CANCEL, Inbox.IDLE),
            Input.LEFT: Step(Action.FORGET, Inbox.IDLE),
            Input.PROOF: Step(Action.CONVICT_AND_CANCEL, Inbox.BARRED),
        },
        Inbox.BARRED: dict.fromkeys(Input, Step(Action.IGNORE, Inbox.BARRED)),
    },
    events=Input,
)
"""The whole logic of one author's inbox: one body on the way at a time, and the newest wins."""


@dataclass(slots=True)
class Pending:
    """The update that is on the way from an author, whole once every part has arrived.

    ``encoded`` is its signed header, ``own_round`` our round when it was accepted. ``transfers`` holds the
    transfer of each part that is on the way, ``arrived`` the parts that are here, both by root.
    """

    encoded: bytes
    header: UpdateHeader
    own_round: int
    transfers: dict[bytes, int] = field(default_factory=dict)
    arrived: dict[bytes, memoryview] = field(default_factory=dict)

    def root_of(self, transfer: int) -> bytes | None:
        """Return which part a transfer brings, None where it brings none."""
        return next((root for root, number in self.transfers.items() if number == transfer), None)

    def expects(self, root: bytes, size: int) -> bool:
        """Whether a part is missing, and not on the way yet."""
        missing = root not in self.transfers and root not in self.arrived
        return missing and self.header.parts.get(root) == size

    @property
    def is_whole(self) -> bool:
        """Whether every part is here."""
        return len(self.arrived) == len(self.header.parts)


@dataclass(slots=True)
class Author:
    """What is known of one author.

    ``bucket`` and ``proofs`` limit its offers and its proofs about others. ``last`` is the position of its
    last update received, ``newest`` its newest header found plausible, ``same_session`` whether that came in
    the present session.
    """

    bucket: TokenBucket
    proofs: TokenBucket
    inbox: Inbox = Inbox.IDLE
    connected: bool = False
    last: tuple[int, int] | None = None
    newest: Admitted | None = None
    same_session: bool = False
    pending: Pending | None = None
    headers: dict[tuple[int, int], tuple[bytes, bytes]] = field(default_factory=dict)
    """Root and signed header of the highest positions seen, accepted or not, as evidence."""

    def keep(self, header: UpdateHeader, encoded: bytes) -> bytes | None:
        """Keep a signed header, or return the one kept for the same position that has another root."""
        # G-032
        root, first = self.headers.setdefault(header.position, (header.root, encoded))
        if root != header.root:
            return first
        if len(self.headers) > HEADERS_KEPT:
            del self.headers[min(self.headers)]
        return None

    def staleness(self, pending: Pending, own_round: int) -> int:
        """Rounds that the author has published since an accepted offer, plus ours since it came [G-023]."""
        since = own_round - pending.own_round
        if self.newest is None or self.newest.position[0] != pending.header.incarnation:
            return since
        return since + self.newest.position[1] - pending.header.round
