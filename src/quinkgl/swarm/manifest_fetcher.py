"""ManifestFetcher: a joiner that has the swarm id alone gets the manifest from a member that it can reach.

It is a machine with the datagram interface, so any driver of a ``Swarm`` drives it as well. It opens a
session in fetch mode, to one address after the other until one gives the manifest, and closes itself. What it
hands over hashes to the swarm id; who made it, and whether that is trusted, is for its caller to judge.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from quinkgl.crypto.identity import Identity
from quinkgl.crypto.keys import key_source
from quinkgl.crypto.psk import derive_fetch_keys
from quinkgl.protocol.machine import misuse
from quinkgl.protocol.manifest_fetch import ManifestFetch
from quinkgl.protocol.manifest_fetch import ManifestFetched as _WholeManifest
from quinkgl.transport import (
    ConnectFailed,
    ConnectionEstablished,
    ConnectionLost,
    Endpoint,
    EndpointConfig,
    EndpointEvent,
    EndpointStats,
    MessageReceived,
    OfferReceived,
    Transmit,
)
from quinkgl.wire.addresses import Address
from quinkgl.wire.control import Channel
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError, known_error_code
from quinkgl.wire.exclusive import Exclusive, exclusive


@dataclass(frozen=True, slots=True)
class ManifestFetched:
    """The manifest's canonical bytes, which hash to the swarm id, and where they came from.

    ``signature`` is the creator's, 64 bytes that nobody has verified yet, or None for an unsigned manifest.
    """

    manifest: bytes
    signature: bytes | None
    peer: bytes
    address: Address


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """The peer at ``address`` did not give the manifest; the next address is tried, where there is one."""

    address: Address
    code: ErrorCode
    reason: str


@dataclass(frozen=True, slots=True)
class ManifestNotFetched:
    """No address led to the manifest; code and reason are those of the last one that answered at all."""

    code: ErrorCode
    reason: str


ManifestFetcherEvent = ManifestFetched | FetchFailed | ManifestNotFetched


class ManifestFetcher(Exclusive):
    """Bytes and time in; datagrams, events and a deadline out. Ends with an event, then ``drained``.

    ``swarm_id`` is the 32 bytes from a magnet link; ``peers`` are addresses, each with the id of the peer
    that must prove to be there, or None; they are tried in order. ``identity`` is a fresh one unless given:
    there is no need to tell a stranger who joins later. ``join_secret`` is that of a private swarm.
    """

    def __init__(
        self,
        *,
        swarm_id: bytes,
        peers: Sequence[tuple[Address, bytes | None]],
        join_secret: bytes = b"",
        identity: Identity | None = None,
        config: EndpointConfig | None = None,
        rng: random.Random | None = None,
        insecure_deterministic_keys: bool = False,
        now: float,
    ) -> None:
        """Begin at once; LocalProtocolError for an id of another length, or no peer at all."""
        if not peers:
            raise misuse("there is no peer to fetch the manifest from")
        ManifestFetch(swarm_id, now=now)  # refuses an id of another length
        rng = rng if rng is not None else random.SystemRandom()
        source = key_source(rng, insecure_deterministic_keys=insecure_deterministic_keys)
        self.swarm_id = swarm_id
        self._now = now
        self._endpoint = Endpoint(
            identity=identity if identity is not None else Identity.generate(source),
            keys=derive_fetch_keys(swarm_id, join_secret),
            rng=rng,
            now=now,
            config=config,
            insecure_deterministic_keys=insecure_deterministic_keys,
        )
        self._untried = deque(peers)
        self._address: Address = peers[0][0]
        self._peer = b""
        self._fetch: ManifestFetch | None = None
        self._last: FetchFailed | None = None
        self._events: deque[ManifestFetcherEvent] = deque()
        self._ended = False
        self._call_next()

    @exclusive
    def receive_datagram(
        self, data: bytes | memoryview, source: Address, *, now: float, segment_size: int | None = None
    ) -> None:
        """Take a datagram, or a run of datagrams of ``segment_size`` bytes.

        Never raises, whatever the bytes.
        """
        now = self._clock(now)
        self._endpoint.receive_datagram(data, source, now=now, segment_size=segment_size)
        self._settle()

    @exclusive
    def handle_timer(self, *, now: float) -> None:
        """Act on everything that is due; a spurious call does nothing."""
        now = self._clock(now)
        for machine in self._machines():
            due = machine.deadline()
            if due is not None and due <= now:
                machine.handle_timer(now=now)
        self._settle()

    @exclusive
    def close(self, *, now: float, code: int = ErrorCode.NO_ERROR, reason: str = "") -> None:
        """Stop. Idempotent; no event follows, and ``drained`` tells when the peer was told."""
        self._clock(now)
        self._finish(code, reason)
        self._settle()

    @exclusive
    def next_event(self) -> ManifestFetcherEvent | None:
        """Take the next event."""
        return self._events.popleft() if self._events else None

    @exclusive
    def next_datagram(self, now: float) -> Transmit | None:
        """Build the next datagram, None when there is nothing to say or it must wait."""
        return self._endpoint.next_datagram(self._clock(now))

    def deadline(self) -> float | None:
        """When to call ``handle_timer``; not after ``now`` while output is ready."""
        if self._events:
            return self._now
        return min(
            (due for machine in self._machines() if (due := machine.deadline()) is not None), default=None
        )

    @property
    def deadline_reason(self) -> str:
        """What the deadline is for, in a word or two, for people."""
        if self._events:
            return "events"
        due = [machine for machine in self._machines() if machine.deadline() is not None]
        return min(due, key=lambda machine: machine.deadline() or 0.0).deadline_reason if due else "nothing"

    @property
    def drained(self) -> bool:
        """Whether the fetch has ended, its event was taken, and nothing is left to send or to wait for."""
        return self._ended and self._endpoint.drained and not self._events

    @property
    def stats(self) -> EndpointStats:
        """Counters of the datagrams, and of everything that was dropped."""
        return self._endpoint.stats

    # Inside

    def _machines(self) -> list[Endpoint | ManifestFetch]:
        return [self._endpoint] if self._fetch is None else [self._endpoint, self._fetch]

    def _settle(self) -> None:
        busy = True
        while busy:
            busy = self._drain_fetch()
            while (event := self._endpoint.next_event()) is not None:
                busy = True
                self._on_endpoint_event(event)

    def _on_endpoint_event(self, event: EndpointEvent) -> None:
        match event:
            case ConnectionEstablished(peer=peer, address=address):
                self._peer, self._address = peer, address
                self._fetch = ManifestFetch(self.swarm_id, now=self._now)
            case ConnectFailed(address, _, code, reason):
                self._fail(address, code, reason)
            case ConnectionLost(peer, code, reason, _):
                if self._fetch is not None and peer == self._peer:
                    self._fail(self._address, code, reason)
            case MessageReceived(_, channel, data):
                self._on_message(channel, data)
            case OfferReceived():
                self._break_off(ErrorCode.E_FRAME_CONTEXT, "an offer in fetch mode")
            case _:  # nothing of ours is offered, so nothing else can come of it
                pass

    def _on_message(self, channel: Channel, data: bytes) -> None:
        if self._fetch is None:
            return
        if channel is not Channel.MANIFEST:
            self._break_off(ErrorCode.E_FRAME_CONTEXT, "another channel in fetch mode")
            return
        try:
            self._fetch.receive_message(data, now=self._now)
        except RemoteProtocolError as error:
            self._break_off(error.code, error.message)

    def _break_off(self, code: ErrorCode, reason: str) -> None:
        """End the session with a peer that breaks the rules."""
        self._endpoint.stats.drop(code.name)
        self._endpoint.disconnect(self._peer, code, reason, now=self._now)
        self._fail(self._address, code, reason)

    def _drain_fetch(self) -> bool:
        busy = False
        while self._fetch is not None and (message := self._fetch.next_message(self._now)) is not None:
            busy = True
            self._endpoint.send_message(self._peer, Channel.MANIFEST, message, now=self._now)
        while self._fetch is not None and (event := self._fetch.next_event()) is not None:
            busy = True
            self._fetch = None
            if isinstance(event, _WholeManifest):
                self._events.append(
                    ManifestFetched(event.manifest, event.signature, self._peer, self._address)
                )
                self._finish(ErrorCode.NO_ERROR, "")
            else:
                self._endpoint.disconnect(self._peer, event.code, event.reason, now=self._now)
                self._fail(self._address, event.code, event.reason)
        return busy

    def _fail(self, address: Address, code: int, reason: str) -> None:
        """One address is done with; go on to the next, or end."""
        if self._ended:
            return
        self._fetch = None
        failed = FetchFailed(address, known_error_code(code), reason)
        if self._last is None or failed.code is not ErrorCode.E_HS_TIMEOUT:
            self._last = failed
        self._events.append(failed)
        if self._untried:
            self._call_next()
        else:
            self._events.append(ManifestNotFetched(self._last.code, self._last.reason))
            self._finish(ErrorCode.NO_ERROR, "")

    def _call_next(self) -> None:
        self._address, expected_peer = self._untried.popleft()
        self._endpoint.connect(self._address, expected_peer=expected_peer, now=self._now)

    def _finish(self, code: int, reason: str) -> None:
        self._ended = True
        self._fetch = None
        self._untried.clear()
        self._endpoint.close(code, reason, now=self._now)

    def _clock(self, now: float) -> float:
        """Hold the clock at the latest time seen when it goes backwards; the endpoint counts that."""
        if now < self._now:
            self._endpoint.stats.clock_steps_back += 1
            return self._now
        self._now = now
        return now
