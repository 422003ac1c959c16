"""The hash tree of an object (9.1)."""

from .data import LIMITS
from .primitives import sha256

LEAF: int = LIMITS["leaf_bytes"]


def leaves_of(data: bytes) -> list[bytes]:
    """An object cut into its leaves; the empty object has one empty leaf."""
    return [data[at : at + LEAF] for at in range(0, len(data), LEAF)] or [b""]


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of one leaf."""
    return sha256(b"\x00" + leaf)


def leaf_hashes(data: bytes) -> list[bytes]:
    """Level 0."""
    return [leaf_hash(leaf) for leaf in leaves_of(data)]


def root_of(level: list[bytes]) -> bytes:
    """The single hash of the last level."""
    while len(level) > 1:
        pairs = [level[at : at + 2] for at in range(0, len(level), 2)]
        level = [sha256(b"\x01" + pair[0] + pair[1]) if len(pair) == 2 else pair[0] for pair in pairs]
    return level[0]


def root(data: bytes) -> bytes:
    """The root of an object."""
    return root_of(leaf_hashes(data))


def leaf_count(size: int) -> int:
    """How many leaves an object of this size has."""
    return max(1, -(-size // LEAF))


def list_bytes(size: int) -> int:
    """Bytes of the leaf list: none for an object of one leaf."""
    return 32 * leaf_count(size) if leaf_count(size) > 1 else 0


def byte_space(data: bytes) -> bytes:
    """The leaf list followed by the object."""
    return (b"".join(leaf_hashes(data)) if len(data) > LEAF else b"") + data
