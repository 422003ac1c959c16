"""Paths of a session: addresses of the peer, and which of them has proved itself (spec chapter 6b).

A session sends to one address, its *current* path. An authentic packet with a higher number than any before
that comes from elsewhere makes a *candidate*: it gets a challenge, a few small packets of it, and nothing
else. Only an answer moves the session there (RFC 9000 sections 8.2 and 9), so whoever sends a recorded packet
on from another address moves nothing. Until then all traffic stays on the current path, so there is nothing
to take back when a candidate does not answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from quinkgl.transport.connection_ids import ConnectionId, RemoteIds
from quinkgl.wire.addresses import Address
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.frames import PATH_FRAME_BYTES, encode_path_challenge, encode_path_response
from quinkgl.wire.limits import CONSTANTS, LIMITS
from quinkgl.wire.packets import SHORT_OVERHEAD_BYTES

_CHALLENGE_BYTES = 8
_PACKET_BYTES = SHORT_OVERHEAD_BYTES + PATH_FRAME_BYTES
_LEAST_TIMEOUT_S = 0.1
"""A host that is busy may take this long to answer, however near it is."""
_RESPONSES = 4
"""Challenges of the peer that wait for an answer; an older one is forgotten (spec F-010)."""


class PathState(Enum):
    """What a path may be used for."""

    CANDIDATE = "candidate"
    """Nothing but challenges and answers goes there."""
    CURRENT = "current"
    """All traffic of the session goes there."""
    GONE = "gone"


class PathEvent(Enum):
    """What happens to a path."""

    ANSWERED = "answered"
    """The peer echoed a challenge, and was heard from nowhere else since."""
    OVERTAKEN = "overtaken"
    """Another path became the current one, or the answer came when the peer was back on that one."""
    GIVEN_UP = "given up"
    """No challenge was answered, or there are too many candidates."""


TRANSITIONS: dict[tuple[PathState, PathEvent], PathState] = {
    (PathState.CANDIDATE, PathEvent.ANSWERED): PathState.CURRENT,
    (PathState.CANDIDATE, PathEvent.OVERTAKEN): PathState.GONE,
    (PathState.CANDIDATE, PathEvent.GIVEN_UP): PathState.GONE,
    (PathState.CURRENT, PathEvent.OVERTAKEN): PathState.GONE,
}
"""Every move there is; anything else is a defect."""


class Path:
    """One address of the peer."""

    __slots__ = (
        "address",
        "challenges",
        "connection_id",
        "heard_at",
        "heard_number",
        "next_try_at",
        "received_bytes",
        "sent_bytes",
        "state",
        "timeout_s",
    )

    def __init__(
        self, address: Address, connection_id: ConnectionId, state: PathState, number: int, now: float
    ) -> None:
        self.address = address
        self.connection_id = connection_id
        """What our packets on this path bear."""
        self.state = state
        self.heard_number = number
        """The highest packet number that came from this address while it was the highest of all."""
        self.heard_at = now
        self.received_bytes = 0
        self.sent_bytes = 0
        self.challenges: list[bytes] = []
        self.next_try_at = now
        self.timeout_s = 0.0

    def move(self, event: PathEvent) -> None:
        """Make a transition; KeyError for one that is not in the table."""
        self.state = TRANSITIONS[self.state, event]

    @property
    def may_send(self) -> bool:
        """Whether one more packet keeps to three times what came from there (RFC 9000 section 8.1)."""
        #
        return self.sent_bytes + _PACKET_BYTES <= LIMITS.unvalidated_factor * self.received_bytes


class PathPacket(NamedTuple):
    """Frames for a packet to an address that need not be the current one."""

    address: Address
    connection_id: bytes
    frames: bytes


class PathChange(NamedTuple):
    """The session moved."""

    address: Address
    is_new_host: bool
    """Whether more than the port changed: nothing that was measured on the old path holds then."""


class Paths:
    """The current path of a session, its candidates, and what is still to be said to each."""

    __slots__ = (
        "_candidates",
        "_has_challenged",
        "_ids",
        "_random_bytes",
        "_responses",
        "current",
        "is_busy",
    )

    def __init__(
        self, address: Address, ids: RemoteIds, random_bytes: Callable[[int], bytes], now: float
    ) -> None:
        """Start on the path of the handshake, which has proved itself there."""
        self._ids = ids
        self._random_bytes = random_bytes
        self._candidates: list[Path] = []
        self._responses: deque[tuple[bytes, Address]] = deque(maxlen=_RESPONSES)
        self._has_challenged = False
        self.is_busy = False
        """Whether there is anything at all to do; False on nearly every packet of a session."""
        self.current = Path(address, ids.first, PathState.CURRENT, -1, now)

    # Input

    def on_elsewhere(self, number: int, size: int, source: Address, now: float, rtt_s: float) -> None:
        """Take note that an authentic packet with the highest number so far came from another address.

        One from the current address is noted in ``current`` directly. ``rtt_s`` is how long an answer takes.
        Rules: Q-001.
        """
        path = next((path for path in self._candidates if path.address == source), None)
        if path is None:
            path = self._add(source, number, now, rtt_s)
        path.heard_number = number
        path.heard_at = now
        path.received_bytes += size

    def on_challenge(self, data: bytes, source: Address) -> None:
        """Remember to answer a challenge where it came from (RFC 9000 section 8.2.2) [F-010, Q-012]."""
        self._responses.append((data, source))
        self.is_busy = True

    def on_response_untrusted(self, data: bytes) -> PathChange | None:
        """Take an answer; the session moves when it is to a challenge of a candidate [Q-013, Q-020].

        Raises RemoteProtocolError E_FRAME_CONTEXT when nothing was ever challenged. An answer that comes late
        means nothing.
        """
        if not self._has_challenged:
            raise RemoteProtocolError(
                ErrorCode.E_FRAME_CONTEXT,
                "PATH_RESPONSE without a challenge",
                layer="transport",
                section="F-011",
            )
        path = next((path for path in self._candidates if data in path.challenges), None)
        if path is None:
            return None
        if path.heard_number < self.current.heard_number:
            self._drop(path, PathEvent.OVERTAKEN)
            return None
        return self._switch(path)

    def handle_timer(self, now: float) -> bool:
        """Give up candidates that do not answer; True when one was [Q-010]."""
        given_up = False
        for path in list(self._candidates):
            if path.next_try_at <= now and len(path.challenges) >= CONSTANTS.path_challenge_tries:
                self._drop(path, PathEvent.GIVEN_UP)
                given_up = True
        return given_up

    # Output

    def next_packet(self, now: float) -> PathPacket | None:
        """Return the next answer or challenge.

        They travel alone: an answer must not wait for the congestion window of a path that may be dead.
        """
        while self._responses:
            data, source = self._responses.popleft()
            self._update()
            path = next((path for path in self._candidates if path.address == source), None)
            if path is not None:
                if not path.may_send:
                    continue  # the peer will ask again, and so pay for the answer
                path.sent_bytes += _PACKET_BYTES
            return PathPacket(source, (path or self.current).connection_id.id, encode_path_response(data))
        for path in self._candidates:
            if path.next_try_at <= now and len(path.challenges) < CONSTANTS.path_challenge_tries:
                packet = self._challenge(path, now)
                if packet is not None:
                    return packet
        return None

    def deadline(self) -> float | None:
        """When the next challenge is due, or a candidate is given up."""
        if not self._candidates:
            return None
        return min(path.next_try_at for path in self._candidates)

    # Inside

    def _add(self, source: Address, number: int, now: float, rtt_s: float) -> Path:
        #
        if len(self._candidates) >= max(1, LIMITS.paths_per_connection - 1):
            self._drop(min(self._candidates, key=lambda path: path.heard_number), PathEvent.GIVEN_UP)
        path = Path(source, self._ids.take() or self.current.connection_id, PathState.CANDIDATE, number, now)
        path.timeout_s = max(rtt_s, _LEAST_TIMEOUT_S)
        self._candidates.append(path)
        self.is_busy = True
        return path

    def _challenge(self, path: Path, now: float) -> PathPacket | None:
        """Challenge a candidate; a try is used up also when nothing more may be sent there [Q-010, Q-011]."""
        data = self._random_bytes(_CHALLENGE_BYTES)
        path.challenges.append(data)
        path.next_try_at = now + path.timeout_s
        if not path.may_send:
            return None
        self._has_challenged = True
        path.sent_bytes += _PACKET_BYTES
        return PathPacket(path.address, path.connection_id.id, encode_path_challenge(data))

    def _switch(self, path: Path) -> PathChange:
        old = self.current
        path.move(PathEvent.ANSWERED)
        self._candidates.remove(path)
        self._update()
        self.current = path
        old.move(PathEvent.OVERTAKEN)
        self._give_back(old)
        return PathChange(path.address, path.address[0] != old.address[0])

    def _drop(self, path: Path, event: PathEvent) -> None:
        path.move(event)
        self._candidates.remove(path)
        self._update()
        self._give_back(path)

    def _update(self) -> None:
        self.is_busy = bool(self._candidates or self._responses)

    def _give_back(self, path: Path) -> None:
        """Retire the id of a path that is gone, unless another path uses it because the stock was empty."""
        #
        others = (self.current, *self._candidates)
        if all(other.connection_id is not path.connection_id for other in others):
            self._ids.retire(path.connection_id)
