"""Transfers of objects: wanted ranges, ranks and credit, and what a receiver keeps (9.3, 9.4)."""

from dataclasses import dataclass, field

from .data import LIMITS, SpecError, need
from .merkle import LEAF, leaf_count, leaf_hash, list_bytes, root_of

Ranges = list[int]


def wanted_bytes(ranges: Ranges) -> int:
    """How many bytes the ranges hold; start and end (exclusive) of each, one after the other."""
    return sum(ranges[1::2]) - sum(ranges[::2])


def offset_at(ranges: Ranges, rank: int) -> int:
    """The offset of the wanted byte of this rank."""
    for start, end in zip(ranges[::2], ranges[1::2], strict=True):
        if rank < end - start:
            return start + rank
        rank -= end - start
    raise ValueError(rank)


def rank_of(ranges: Ranges, offset: int, length: int) -> int:
    """The rank of a chunk's first byte; `E_FLOW` unless it has bytes and lies in one range (O-022)."""
    rank = 0
    for start, end in zip(ranges[::2], ranges[1::2], strict=True):
        if start <= offset < offset + length <= end:
            return rank + offset - start
        rank += end - start
    raise SpecError("E_FLOW", "a chunk without bytes, or of bytes that nobody asked for")


def check_want(ranges: Ranges, size: int) -> None:
    """`E_OBJ_SIZE` for a WANT that reaches beyond the byte space (O-014)."""
    need(ranges[-1] <= list_bytes(size) + size, "E_OBJ_SIZE", "a WANT beyond the byte space")


def chunk_at(ranges: Ranges, rank: int, credit: int, size: int, most: int) -> tuple[int, int] | None:
    """Offset and length of the next chunk from this rank on, or None where credit ends (O-013, O-018)."""
    if rank >= min(credit, wanted_bytes(ranges)):
        return None
    offset = offset_at(ranges, rank)
    end = next(end for start, end in zip(ranges[::2], ranges[1::2], strict=True) if start <= offset < end)
    if offset < list_bytes(size):
        end = min(end, list_bytes(size))
    return offset, min(most, end - offset, credit - rank)


@dataclass
class Incoming:
    """An object on its way here."""

    root: bytes
    size: int
    credit: int = 0
    data: bytearray = field(default_factory=bytearray)
    have: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        space = list_bytes(self.size) + self.size
        self.data, self.have = bytearray(space), bytearray(space)
        self.ranges = [0, space]
        self.credit = min(space, LIMITS["credit_per_transfer_bytes"])

    def take(self, offset: int, chunk: bytes) -> int | None:
        """Store a chunk; returns a new credit where it is time to send one (the pseudocode of 9.4)."""
        rank = rank_of(self.ranges, offset, len(chunk))
        need(rank + len(chunk) <= self.credit, "E_FLOW", "a chunk beyond the credit")
        for at, byte in enumerate(chunk, offset):
            if not self.have[at]:
                self.data[at], self.have[at] = byte, 1
        self.verify(offset, offset + len(chunk))
        limit: int = min(len(self.have), self.have.count(1) + LIMITS["credit_per_transfer_bytes"])
        half = int(LIMITS["credit_per_transfer_bytes"]) // 2
        if limit > self.credit and (limit - self.credit >= half or limit == len(self.have)):
            self.credit = limit
            return limit
        return None

    def verify(self, start: int, end: int) -> None:
        """`E_OBJ_HASH` where the list, or a leaf between start and end, does not match (O-024)."""
        listed = list_bytes(self.size)
        if self.have.find(0, 0, listed) >= 0:
            return
        hashes = [bytes(self.data[at : at + 32]) for at in range(0, listed, 32)] or [self.root]
        if start < listed:
            need(root_of(hashes) == self.root, "E_OBJ_HASH", "a leaf list that does not match the root")
            start, end = listed, len(self.data)
        for leaf in range((start - listed) // LEAF, min(leaf_count(self.size), -(-(end - listed) // LEAF))):
            at, to = listed + leaf * LEAF, min(listed + leaf * LEAF + LEAF, len(self.data))
            if self.have.find(0, at, to) < 0:
                matches = leaf_hash(bytes(self.data[at:to])) == hashes[leaf]
                need(matches, "E_OBJ_HASH", "a leaf that does not match the list")

    def whole(self) -> bytes | None:
        """The object, once every leaf is verified."""
        return bytes(self.data[list_bytes(self.size) :]) if 0 not in self.have else None
