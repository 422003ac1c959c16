"""The receiving side of one transfer.

Every leaf is verified before a byte of the object is delivered (spec 9.4).

Chunks arrive already authenticated as *from this peer*; the Merkle tree shows that they are the bytes that
the offer's root names, whoever sends them. Bytes are copied once, into their place in one preallocated
buffer, and a byte that has arrived is never overwritten.
"""

from __future__ import annotations

from enum import Enum

from quinkgl.transport.merkle import HASH_BYTES, LEAF_BYTES, leaf_count, leaf_hash, list_bytes, merkle_root
from quinkgl.transport.ranges import RangeSet
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.limits import LIMITS

_MAX_GAPS = 4096
"""How scattered the received bytes may be.

A sender of whole packets stays far below, one of crumbs does not.
"""


class ReceiverState(Enum):
    """Where the receiving side of a transfer is."""

    RECEIVING = "receiving"
    COMPLETE = "complete"
    ENDED = "ended"


class ObjectReceiver:
    """Collects and verifies one object."""

    __slots__ = (
        "_buffer",
        "_credit",
        "_list",
        "_list_bytes",
        "_missing",
        "_ranges",
        "_received",
        "header",
        "root",
        "size",
        "state",
        "transfer",
    )

    def __init__(self, transfer: int, root: bytes, size: int, header: bytes) -> None:
        self.transfer = transfer
        self.root = root
        self.size = size
        self.header = header
        self.state = ReceiverState.RECEIVING
        self._list_bytes = list_bytes(size)
        self._list = bytearray(self._list_bytes) if self._list_bytes else bytearray(root)
        self._buffer = bytearray(size)
        self._ranges = RangeSet()
        self._received = 0
        self._missing = [self._leaf_bytes(leaf) for leaf in range(leaf_count(size))]
        self._credit = 0

    @property
    def total(self) -> int:
        """Bytes of the transfer's byte space: leaf list and body."""
        return self._list_bytes + self.size

    @property
    def body(self) -> memoryview:
        """The verified object, read-only; only when COMPLETE."""
        return memoryview(self._buffer).toreadonly()

    def next_credit(self) -> int | None:
        """Return a new credit limit when at least half a window has been used since the last one, else None.

        The limit is what has arrived plus one window, so at most one window of it is on the way.
        """
        window = LIMITS.credit_per_transfer_bytes
        limit = min(self.total, self._received + window)
        if limit > self._credit and (limit - self._credit >= window // 2 or limit == self.total):
            self._credit = limit
            return limit
        return None

    @property
    def credit(self) -> int:
        """The limit last granted."""
        return self._credit

    def receive_untrusted(self, offset: int, data: bytes) -> None:
        """Take one chunk; the state is COMPLETE when it was the last one missing.

        Raises RemoteProtocolError E_FLOW for bytes beyond the credit or too scattered, E_OBJ_HASH for a leaf
        list that does not give the root or a leaf that does not match it.
        """
        if self.state is not ReceiverState.RECEIVING:
            return
        stop = offset + len(data)
        if not data or stop > self._credit:
            raise RemoteProtocolError(
                ErrorCode.E_FLOW, f"chunk {offset}..{stop}; the credit ends at {self._credit}", section="9.4"
            )
        list_was_known = self._list_known
        finished: list[int] = []
        for start, end in self._ranges.add(offset, stop):
            finished += self._store(start, data[start - offset : end - offset])
        if len(self._ranges) > _MAX_GAPS:
            raise RemoteProtocolError(ErrorCode.E_FLOW, "chunks are too scattered", section="9.4")
        if self._list_known:
            if not list_was_known:
                self._verify_list()
                finished = [leaf for leaf, missing in enumerate(self._missing) if not missing]
            for leaf in finished:
                self._verify_leaf(leaf)
        if self._received == self.total:
            self.state = ReceiverState.COMPLETE

    def end(self) -> None:
        """Let go of the buffer."""
        self.state = ReceiverState.ENDED
        self._buffer = bytearray()
        self._ranges = RangeSet()

    def _store(self, start: int, data: bytes) -> list[int]:
        """Copy bytes that are new into their place; return the leaves that are whole now."""
        self._received += len(data)
        boundary = self._list_bytes
        if start < boundary:
            head = data[: boundary - start]
            self._list[start : start + len(head)] = head
            data = data[len(head) :]
            start = boundary
        if not data:
            return []
        low = start - boundary
        high = low + len(data)
        self._buffer[low:high] = data
        finished: list[int] = []
        for leaf in range(low // LEAF_BYTES, (high - 1) // LEAF_BYTES + 1):
            self._missing[leaf] -= min(high, (leaf + 1) * LEAF_BYTES) - max(low, leaf * LEAF_BYTES)
            if not self._missing[leaf]:
                finished.append(leaf)
        return finished

    @property
    def _list_known(self) -> bool:
        return not self._list_bytes or self._ranges.covers(0, self._list_bytes)

    def _verify_list(self) -> None:
        leaves = [bytes(self._list[i : i + HASH_BYTES]) for i in range(0, self._list_bytes, HASH_BYTES)]
        if merkle_root(leaves) != self.root:
            raise _hash_error("leaf list does not give the offered root")

    def _verify_leaf(self, leaf: int) -> None:
        data = memoryview(self._buffer)[leaf * LEAF_BYTES : (leaf + 1) * LEAF_BYTES]
        if leaf_hash(data) != self._list[leaf * HASH_BYTES : (leaf + 1) * HASH_BYTES]:
            raise _hash_error(f"leaf {leaf} does not match the leaf list")

    def _leaf_bytes(self, leaf: int) -> int:
        return min(LEAF_BYTES, self.size - leaf * LEAF_BYTES)


def _hash_error(message: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.E_OBJ_HASH, message, layer="transport", section="9.4")
