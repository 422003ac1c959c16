"""A node's side that faces the swarm: joining, staying joined, sending, and telling what happens."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import trio

from quinkgl.crypto.identity import short_id
from quinkgl.swarm import (
    ConnectFailed,
    HashedObject,
    PeerConnected,
    PeerConvicted,
    PeerDisconnected,
    PeerRefused,
    PeerView,
    Swarm,
    SwarmEvent,
    UpdateDelivered,
    UpdateNotDelivered,
    UpdateReceived,
)
from quinkgl.wire.addresses import Address, format_address
from quinkgl.wire.errors import ErrorCode, known_error_code
from quinkgl_trio.bootstrap import PeerTarget
from quinkgl_trio.driver import UdpDriver

_RETRY_S: Final = 10.0
_CLOCK_CHECK_S: Final = 60.0
_UNANSWERED: Final = frozenset({ErrorCode.E_HS_TIMEOUT, ErrorCode.E_IDLE, ErrorCode.E_NO_PATH})
_LIKELY_CAUSES: Final = (
    "it uses another manifest or join secret (then it stays silent), nobody listens there, "
    "or UDP is blocked on the way"
)

Emit = Callable[[str, dict[str, Any]], None]


class JoinError(Exception):
    """Too few peers were reached in time.

    Attributes:
        code: what the decisive peer said; None where nobody said anything.
    """

    def __init__(self, message: str, code: ErrorCode | None) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True, eq=False)
class _Bootstrap:
    """One peer to keep in touch with."""

    target: PeerTarget
    address: Address
    verdict: tuple[ErrorCode, str] | None = None
    """Why the last attempt failed; None before its end and while connected."""
    peer: bytes | None = None
    """Who is connected there."""


@dataclass(slots=True)
class NetworkStats:
    """What became of updates and attempts; bytes are counted by the driver."""

    updates_received: int = 0
    updates_sent: int = 0
    not_delivered: Counter[str] = field(default_factory=Counter)
    """Updates that did not reach a peer, by the name of the reason's code."""
    refused: Counter[str] = field(default_factory=Counter)
    """Peers that did not become ours, by the name of the reason's code."""


class Network:
    """Owns the conversation with the `Swarm` behind a driver; `run` must be running for anything to happen.

    Args:
        driver: drives the swarm.
        swarm: the same swarm.
        bootstrap: peers to connect to, and to come back to after a loss, with their resolved addresses.
        emit: takes the name and the payload of every event worth telling.

    Attributes:
        on_update: takes each received update, in order; while it runs, no further event is taken.
        on_peers: called when a peer has come or gone.
    """

    def __init__(
        self,
        driver: UdpDriver[SwarmEvent],
        swarm: Swarm,
        *,
        bootstrap: Sequence[tuple[PeerTarget, Address]],
        emit: Emit,
    ) -> None:
        self.stats = NetworkStats()
        self.on_update: Callable[[UpdateReceived], Awaitable[None]] = _ignore
        self.on_peers: Callable[[], None] = lambda: None
        self._driver = driver
        self._swarm = swarm
        self._bootstrap = [_Bootstrap(target, address) for target, address in bootstrap]
        self._emit = emit
        self._in_flight: Counter[bytes] = Counter()  # by root: deliveries whose end is not known yet
        self._changed = trio.lowlevel.ParkingLot()

    def peers(self) -> tuple[PeerView, ...]:
        """The peers that have agreed, sorted by id."""
        return self._swarm.peers()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled: connect, reconnect, and hand on what the swarm tells."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_wall_clock)
            nursery.start_soon(self._keep_bootstraps)
            for bootstrap in self._bootstrap:
                self._connect(bootstrap)
            task_status.started()
            while True:
                await self._handle(await self._driver.next_event())
                self._changed.unpark_all()

    async def join(self, minimum: int, *, timeout_s: float) -> None:
        """Wait until ``minimum`` peers have agreed.

        Raises:
            JoinError: it took longer than ``timeout_s``, or every peer that was named has refused.
        """
        with trio.move_on_after(timeout_s) as patience:
            while len(self.peers()) < minimum:
                if self._bootstrap and all(self._refused(bootstrap) for bootstrap in self._bootstrap):
                    break
                await self._changed.park()
        if len(self.peers()) < minimum:
            raise self._join_error(minimum, timeout_s if patience.cancelled_caught else None)

    def publish(
        self,
        update: HashedObject,
        *,
        round: int,
        sample_count: int,
        targets: Sequence[bytes],
        metadata: Mapping[int, Any],
    ) -> None:
        """Offer one encoded update to ``targets``; delivery goes on in the background."""
        root = self._driver.call(
            lambda now: self._swarm.publish_update(
                update, round=round, sample_count=sample_count, targets=targets, metadata=metadata, now=now
            )
        )
        self._in_flight[root] += len(targets)
        names = [peer.hex() for peer in targets]
        self._emit("model_send_started", {"round": round, "targets": names, "bytes": len(update.body)})

    def disconnect(self, peer: bytes, code: ErrorCode, reason: str) -> None:
        """End the session with a peer that has misbehaved."""
        self._driver.call(lambda now: self._swarm.disconnect(peer, code=code, reason=reason, now=now))

    def set_round(self, round: int) -> None:
        """Tell the swarm which round this node is in: staleness is judged by it."""
        self._driver.call(lambda now: self._swarm.set_round(round, now=now))

    async def delivered(self, *, timeout_s: float) -> None:
        """Wait until no update of ours is under way any more, at most ``timeout_s``."""
        with trio.move_on_after(timeout_s):
            while self._in_flight:
                await self._changed.park()

    # -- events of the swarm

    async def _handle(self, event: SwarmEvent) -> None:
        match event:
            case UpdateReceived():
                self.stats.updates_received += 1
                await self.on_update(event)
            case UpdateDelivered(peer, root):
                self.stats.updates_sent += 1
                self._landed(root)
                self._tell("model_sent", peer, root=root.hex())
            case UpdateNotDelivered(peer, root, code):
                self.stats.not_delivered[_code_name(code)] += 1
                self._landed(root)
                self._tell("model_send_failed", peer, root=root.hex(), code=_code_name(code))
            case PeerConnected(peer, address, incoming):
                self._arrived(peer, address)
                self._tell("peer_discovered", peer, address=format_address(address), incoming=incoming)
                self.on_peers()
            case PeerDisconnected(peer, code, reason, by_remote):
                self._lost(peer)
                code_name = _code_name(code)
                self._tell("peer_disconnected", peer, code=code_name, reason=reason, by_remote=by_remote)
                self.on_peers()
            case ConnectFailed(address, expected_peer, code, reason):
                self._not_ours("connect_failed", expected_peer, address, code, reason, by_remote=False)
            case PeerRefused(peer, address, code, reason, by_remote):
                self._not_ours("peer_refused", peer, address, code, reason, by_remote=by_remote)
            case PeerConvicted(peer, round, first, second):
                self._tell("security.equivocation", peer, round=round, first=first.hex(), second=second.hex())

    def _not_ours(
        self, name: str, peer: bytes | None, address: Address, code: int, reason: str, *, by_remote: bool
    ) -> None:
        self.stats.refused[_code_name(code)] += 1
        for bootstrap in self._bootstrap:
            if bootstrap.address == address and bootstrap.peer is None:
                bootstrap.verdict = (known_error_code(code), reason)
        self._tell(
            "security.identity_mismatch" if code == ErrorCode.E_HS_IDENTITY else name,
            peer,
            address=format_address(address),
            code=_code_name(code),
            reason=reason,
            by_remote=by_remote,
        )

    def _tell(self, name: str, peer: bytes | None, **more: Any) -> None:
        self._emit(name, {"peer": None if peer is None else peer.hex(), **more})

    def _landed(self, root: bytes) -> None:
        self._in_flight[root] -= 1
        if self._in_flight[root] <= 0:
            del self._in_flight[root]

    # -- staying joined

    def _connect(self, bootstrap: _Bootstrap) -> None:
        expected = bootstrap.target.peer_id
        self._driver.call(lambda now: self._swarm.connect(bootstrap.address, expected_peer=expected, now=now))

    def _arrived(self, peer: bytes, address: Address) -> None:
        for bootstrap in self._bootstrap:
            if bootstrap.address == address or bootstrap.target.peer_id == peer:
                bootstrap.peer, bootstrap.verdict = peer, None

    def _lost(self, peer: bytes) -> None:
        for bootstrap in self._bootstrap:
            if bootstrap.peer == peer:
                bootstrap.peer = None

    async def _keep_bootstraps(self) -> None:
        """Come back to a lost bootstrap peer; where no peer is left at all, the swarm does it itself."""
        while True:
            await trio.sleep(_RETRY_S)
            if self.peers():
                for bootstrap in self._bootstrap:
                    if bootstrap.peer is None:
                        self._connect(bootstrap)

    async def _keep_wall_clock(self) -> None:
        # The machine reckons wall-clock time from `now`; a laptop that slept or an NTP step would part them.
        while True:
            await trio.sleep(_CLOCK_CHECK_S)
            self._driver.call(lambda now: self._swarm.set_unix_time(time.time(), now=now))

    # -- why joining failed

    @staticmethod
    def _refused(bootstrap: _Bootstrap) -> bool:
        """Whether the peer answered, and the answer was no."""
        return bootstrap.verdict is not None and bootstrap.verdict[0] not in _UNANSWERED

    def _join_error(self, minimum: int, waited_s: float | None) -> JoinError:
        for bootstrap in self._bootstrap:
            if self._refused(bootstrap) and bootstrap.verdict is not None:
                code, reason = bootstrap.verdict
                return JoinError(_refusal_line(bootstrap, code, reason), code)
        count = len(self.peers())
        if count or not self._bootstrap:
            return JoinError(f"only {count} of {minimum} peers were met within {waited_s or 0:g} s", None)
        places = ", ".join(format_address(bootstrap.address) for bootstrap in self._bootstrap)
        return JoinError(f"no answer from {places} within {waited_s or 0:g} s: {_LIKELY_CAUSES}", None)


async def _ignore(_update: UpdateReceived) -> None:
    """Until somebody wants updates."""


def _refusal_line(bootstrap: _Bootstrap, code: ErrorCode, reason: str) -> str:
    place = format_address(bootstrap.address)
    if code == ErrorCode.E_HS_IDENTITY and bootstrap.target.peer_id is not None:
        expected = short_id(bootstrap.target.peer_id)
        place += f" did not prove to be the expected peer {expected}"
        return f"{place} ({code.name}): {reason or code.when}"
    return f"{place} and this node do not agree ({code.name}): {reason or code.when}"


def _code_name(code: int) -> str:
    try:
        return ErrorCode(code).name
    except ValueError:
        return f"0x{code:04x}"
