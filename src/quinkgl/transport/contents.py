"""What a sent packet carried: remembered until it is acknowledged, told to its owner when it is lost.

Contents, not packets, are sent again. Each kind is a small tuple; ``Connection`` hands it back to the part
that it came from.
"""

from __future__ import annotations

from typing import NamedTuple

from quinkgl.transport.connection_ids import ConnectionId
from quinkgl.transport.control_stream import ControlPiece
from quinkgl.transport.object_sender import Chunk


class AckSent(NamedTuple):
    """A packet carried an ACK whose largest number this was."""

    largest: int


class MaxControlSent(NamedTuple):
    """A packet carried the CONTROL stream's credit."""


class MaxDataSent(NamedTuple):
    """A packet carried the credit of one transfer."""

    transfer: int


class NewCidSent(NamedTuple):
    """A packet told the peer of a connection id."""

    entry: ConnectionId


class RetireCidSent(NamedTuple):
    """A packet told the peer that one of its connection ids is not used again."""

    sequence: int


Content = AckSent | ControlPiece | Chunk | MaxControlSent | MaxDataSent | NewCidSent | RetireCidSent
Contents = tuple[Content, ...]
