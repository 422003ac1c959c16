"""The receiving side of one transfer.

Every leaf is verified before a byte of the object is delivered (spec 9.4).

Chunks arrive already authenticated as *from this peer*; the Merkle tree shows that they are the bytes that
the offer's root names, whoever sends them. Bytes are copied once, into their place in the sink, and a byte
that has arrived is never overwritten. What the sink holds verified already is not asked for.
"""

from __future__ import annotations

import contextlib
from array import array
from enum import Enum

from quinkgl.transport.ranges import RangeSet
from quinkgl.transport.sinks import MemorySink, ObjectSink
from quinkgl.transport.wanted import WantedRanges, missing_ranges
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.merkle import HASH_BYTES, LEAF_BYTES, hash_batch, leaf_count, list_bytes, list_root

_MAX_GAPS = 4096
"""How scattered the received bytes may be.

A sender of whole packets stays far below, one of crumbs does not.
"""
_LEAVES_AT_ONCE = 32
"""Whole leaves wait until there are so many, and are verified together: looking at each as it becomes whole
would cost a tenth of the transfer's time."""


class ReceiverState(Enum):
    """Where the receiving side of a transfer is."""

    OFFERED = "offered"
    """Nobody has accepted the offer: there is no :class:`ObjectReceiver` yet."""
    RECEIVING = "receiving"
    COMPLETE = "complete"
    """Everything is verified, and about to be handed on."""
    ENDED = "ended"


class ReceiverEvent(Enum):
    """What moves the receiving side of a transfer."""

    ACCEPTED = "accepted"
    ACCEPTED_WHOLE = "accepted, and nothing is missing"
    WHOLE = "whole"
    """The last byte that was missing came, and everything is verified."""
    DELIVERED = "delivered"
    REFUSED = "refused"
    """The application does not want it, or not any more."""
    TOO_SLOW = "too slow"
    NOT_STORED = "not stored"
    """The sink failed."""
    CANCEL = "CANCEL of the offerer"
    CLOSED = "closed"
    """The session is over."""


TRANSITIONS: dict[tuple[ReceiverState, ReceiverEvent], ReceiverState] = {
    (ReceiverState.OFFERED, ReceiverEvent.ACCEPTED): ReceiverState.RECEIVING,
    (ReceiverState.OFFERED, ReceiverEvent.ACCEPTED_WHOLE): ReceiverState.COMPLETE,
    (ReceiverState.RECEIVING, ReceiverEvent.WHOLE): ReceiverState.COMPLETE,
    (ReceiverState.COMPLETE, ReceiverEvent.DELIVERED): ReceiverState.ENDED,
    **{
        (state, ReceiverEvent.NOT_STORED): ReceiverState.ENDED
        for state in (ReceiverState.OFFERED, ReceiverState.RECEIVING, ReceiverState.COMPLETE)
    },
    # An offer that ends so, before it is accepted, has no receiver, and is forgotten where it waits.
    **{
        (state, event): ReceiverState.ENDED
        for state in (ReceiverState.OFFERED, ReceiverState.RECEIVING)
        for event in (ReceiverEvent.REFUSED, ReceiverEvent.CANCEL, ReceiverEvent.CLOSED)
    },
    (ReceiverState.RECEIVING, ReceiverEvent.TOO_SLOW): ReceiverState.ENDED,
}
"""Every move there is; anything else is a defect."""


class ObjectReceiver:
    """Collects and verifies one object.

    ``wanted`` is what to ask for; nothing is missing where it is empty, and the state is COMPLETE at once.
    """

    __slots__ = (
        "_credit",
        "_gaps",
        "_list",
        "_list_bytes",
        "_list_known",
        "_missing",
        "_ranges",
        "_received",
        "_unverified",
        "_waiting",
        "header",
        "memory_bytes",
        "progress_bytes",
        "root",
        "sink",
        "size",
        "state",
        "transfer",
        "wanted",
    )

    def __init__(
        self,
        transfer: int,
        root: bytes,
        size: int,
        header: bytes,
        sink: ObjectSink | None = None,
        *,
        most_ranges: int = LIMITS.want_ranges,
    ) -> None:
        """Begin to receive into ``sink``, a new buffer in memory unless given.

        Raises OSError where the sink cannot say what it holds.
        """
        self.transfer = transfer
        self.root = root
        self.size = size
        self.header = header
        self.sink: ObjectSink = MemorySink(root, size) if sink is None else sink
        self.memory_bytes = self.sink.memory_bytes
        """What the transfer counts for in the budgets, from its beginning to its end."""
        self._list_bytes = list_bytes(size)
        known = self.sink.leaf_list() if self._list_bytes else root
        self._list_known = known is not None
        self._list = bytearray(self._list_bytes) if known is None else bytearray(known)
        leaves = leaf_count(size)
        # Bytes that each leaf lacks: two bytes a leaf, however large the object.
        self._missing = array("H", [LEAF_BYTES]) * leaves
        self._missing[-1] = size - (leaves - 1) * LEAF_BYTES
        self._unverified = RangeSet()
        """Leaves that are whole, and not verified yet."""
        self._waiting = 0
        self._ranges = RangeSet()
        self._hold_verified()
        self.wanted = WantedRanges(missing_ranges(self._ranges, self.total, most_ranges))
        self._gaps = _MAX_GAPS + len(self._ranges)
        # Held bytes inside the wanted ranges come once more; they count as there already.
        self._received = self.wanted.total - (self.total - self._held_bytes())
        self.progress_bytes = 0
        self._credit = 0
        self.state = ReceiverState.OFFERED
        self._move(ReceiverEvent.ACCEPTED if self.wanted.total else ReceiverEvent.ACCEPTED_WHOLE)

    @property
    def total(self) -> int:
        """Bytes of the transfer's byte space: leaf list and body."""
        return self._list_bytes + self.size

    @property
    def outstanding_bytes(self) -> int:
        """How many bytes of the byte space have not arrived."""
        return self.wanted.total - self._received

    def next_credit(self, window: int = LIMITS.credit_per_transfer_bytes) -> int | None:
        """Return a new credit limit when at least half a window has been used since the last one, else None.

        Credit counts ranks of the wanted bytes. The limit is what has arrived plus one window, so at most
        one window of it is on the way [O-017].
        """
        total = self.wanted.total
        limit = min(total, self._received + window)
        if limit > self._credit and (limit - self._credit >= window // 2 or limit == total):
            self._credit = limit
            return limit
        return None

    @property
    def credit(self) -> int:
        """The limit last granted."""
        return self._credit

    def receive_untrusted(self, offset: int, data: bytes | memoryview) -> None:
        """Take one chunk, or a run of chunks that follow on each other as one [O-022, O-023].

        The state is COMPLETE when it was the last one missing.

        Raises RemoteProtocolError E_FLOW for bytes that are not wanted, beyond the credit or too scattered,
        E_OBJ_HASH for a leaf list that does not give the root or a leaf that does not match it; OSError where
        the sink fails.
        """
        if self.state is not ReceiverState.RECEIVING:
            return
        stop = offset + len(data)
        rank = self.wanted.rank_behind(offset, stop)
        if rank is None or not data or rank > self._credit:
            raise RemoteProtocolError(
                ErrorCode.E_FLOW,
                f"chunk {offset}..{stop}; the credit ends at wanted byte {self._credit}",
                section="9.4",
            )
        view = memoryview(data)
        for start, end in self._ranges.add(offset, stop):
            self._store(start, view[start - offset : end - offset])
        if len(self._ranges) > self._gaps:
            raise RemoteProtocolError(ErrorCode.E_FLOW, "chunks are too scattered", section="9.4")
        is_whole = self._received == self.wanted.total
        if self._list_known and (is_whole or self._waiting >= _LEAVES_AT_ONCE):
            self._verify_leaves()
        if is_whole:
            self._move(ReceiverEvent.WHOLE)

    def end(self, event: ReceiverEvent) -> None:
        """Stop: chunks that still come are late. The sink keeps the leaves that are whole and right."""
        self._move(event)
        self._ranges = RangeSet()
        if self._list_known and self._waiting:
            # Over: nobody is blamed any more, and what the sink cannot keep is asked for once more.
            with contextlib.suppress(RemoteProtocolError, OSError):
                self._verify_leaves()

    def _move(self, event: ReceiverEvent) -> None:
        """Make a transition; KeyError for one that is not in the table."""
        self.state = TRANSITIONS[self.state, event]

    def _hold_verified(self) -> None:
        """Take over what the sink holds; leaves without a list prove nothing."""
        if not self._list_known:
            return
        if self._list_bytes:
            self._ranges.add(0, self._list_bytes)
        for first, end in self.sink.verified():
            stop = min(self.size, end * LEAF_BYTES)
            self._ranges.add(self._list_bytes + first * LEAF_BYTES, self._list_bytes + stop)
            for leaf in range(first, end):
                self._missing[leaf] = 0

    def _held_bytes(self) -> int:
        return sum(stop - start for start, stop in self._ranges)

    def _store(self, start: int, data: memoryview) -> None:
        """Copy bytes that are new into their place, and note the leaves that are whole now."""
        self._received += len(data)
        self.progress_bytes += len(data)
        boundary = self._list_bytes
        if start < boundary:
            head = data[: boundary - start]
            self._list[start : start + len(head)] = head
            if self._ranges.covers(0, boundary):
                self._verify_list()
            data = data[len(head) :]
            start = boundary
        if data:
            self.sink.write(start - boundary, data)
            self._note(start - boundary, start - boundary + len(data))

    def _note(self, low: int, high: int) -> None:
        """Count new bytes of the body towards their leaves, of which all but the first and last are whole."""
        missing = self._missing
        first, end = low // LEAF_BYTES, (high - 1) // LEAF_BYTES + 1
        if end - first == 1:
            missing[first] -= high - low
        else:
            missing[first] -= (first + 1) * LEAF_BYTES - low
            missing[end - 1] -= high - (end - 1) * LEAF_BYTES
            for leaf in range(first + 1, end - 1):
                missing[leaf] = 0
            if missing[first]:
                first += 1
        if missing[end - 1]:
            end -= 1
        if first < end:
            self._unverified.add(first, end)
            self._waiting += end - first

    def _verify_list(self) -> None:
        # O-024
        leaves = bytes(self._list)
        if list_root(leaves) != self.root:
            raise _hash_error("leaf list does not give the offered root")
        self.sink.keep_list(leaves)
        self._list_known = True

    def _verify_leaves(self) -> None:
        """Verify the leaves that wait, and have the sink keep those that are right [O-024, O-025]."""
        waiting, self._unverified, self._waiting = self._unverified, RangeSet(), 0
        for first, end in waiting:
            data = self.sink.read(first * LEAF_BYTES, min(self.size, end * LEAF_BYTES))
            hashes = hash_batch(memoryview(data))
            expected = memoryview(self._list)[first * HASH_BYTES : end * HASH_BYTES]
            if b"".join(hashes) == expected:
                self.sink.keep_leaves(first, end)
                continue
            right = next(
                leaf
                for leaf, found in enumerate(hashes)
                if found != expected[leaf * HASH_BYTES : (leaf + 1) * HASH_BYTES]
            )
            if right:
                self.sink.keep_leaves(first, first + right)
            raise _hash_error(f"leaf {first + right} does not match the leaf list")


def _hash_error(message: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.E_OBJ_HASH, message, layer="transport", section="9.4")
