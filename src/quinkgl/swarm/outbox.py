"""Updates on their way out: one body for all targets, one transfer a peer at a time, the newest waiting."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Publication:
    """An encoded update with its leaf list; shared by every transfer of it, never copied."""

    root: bytes
    leaves: bytes
    body: memoryview


@dataclass(frozen=True, slots=True)
class Parcel:
    """A publication addressed to one peer."""

    publication: Publication
    header: bytes


class Outbox:
    """What goes to one peer.

    A transfer that is under way is never given up for a newer update: on a slow path every update would be
    overtaken and none would arrive. The newest one waits instead, and replaces any that waited before.
    """

    __slots__ = ("_waiting", "root", "transfer")

    def __init__(self) -> None:
        self.transfer: int | None = None
        self.root = b""
        self._waiting: Parcel | None = None

    def put(self, parcel: Parcel) -> Parcel | None:
        """Let a parcel wait, and return the one that it replaces."""
        replaced = self._waiting
        self._waiting = parcel
        return replaced

    def take(self) -> Parcel | None:
        """Return the parcel to offer now: None while another is under way or none waits."""
        if self.transfer is not None:
            return None
        parcel, self._waiting = self._waiting, None
        return parcel

    def start(self, transfer: int, root: bytes) -> None:
        """A transfer began."""
        self.transfer = transfer
        self.root = root

    def finish(self, transfer: int) -> bool:
        """The transfer ended, well or not; False when it is not the one under way."""
        if transfer != self.transfer:
            return False
        self.transfer = None
        return True

    def roots(self) -> list[bytes]:
        """Roots of the publications that this peer still needs."""
        under_way = [] if self.transfer is None else [self.root]
        return under_way if self._waiting is None else [*under_way, self._waiting.publication.root]

    def clear(self) -> Parcel | None:
        """The peer is gone: forget everything, and return what still waited."""
        self.transfer = None
        waiting, self._waiting = self._waiting, None
        return waiting
