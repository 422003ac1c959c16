"""Those who have the swarm's id alone and fetch the manifest from this node, within narrow bounds.

A session in fetch mode is a stranger's: it serves one manifest, for a short time, and nothing else passes.
"""

from __future__ import annotations

from quinkgl.protocol.manifest_fetch import FetchOver, ManifestServed, ManifestSource
from quinkgl.protocol.rate import TokenBucket
from quinkgl.swarm.counts import Counts
from quinkgl.transport import Endpoint
from quinkgl.wire.control import Channel
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.limits import LIMITS, Limits


class Fetchers:
    """The sessions in fetch mode of one swarm member: how many, how often, and what they get."""

    def __init__(
        self,
        endpoint: Endpoint,
        swarm_id: bytes,
        manifest: bytes,
        signature: bytes | None,
        *,
        counts: Counts,
        now: float,
        limits: Limits = LIMITS,
    ) -> None:
        """``manifest`` is canonical bytes, ``signature`` the creator's 64 bytes, or None."""
        self.served = 0
        """How many fetchers were given the whole manifest."""
        self._endpoint = endpoint
        self._swarm_id = swarm_id
        self._manifest = manifest
        self._signature = signature
        self._counts = counts
        self._limits = limits
        self._sources: dict[bytes, ManifestSource | None] = {}  # None: refused, and about to end
        self._bucket = TokenBucket(
            burst=limits.manifest_fetches, interval_s=limits.manifest_fetch_interval_s, now=now
        )

    def __contains__(self, peer: bytes) -> bool:
        return peer in self._sources

    def __len__(self) -> int:
        return len(self._sources)

    def machines(self) -> list[ManifestSource]:
        """The machine of each session."""
        return [source for source in self._sources.values() if source is not None]

    def open(self, peer: bytes, *, now: float) -> None:
        """Take a session in fetch mode, or end it at once where there are too many [H-036]."""
        if len(self._sources) >= self._limits.manifest_fetches or not self._bucket.take(now):
            self._sources[peer] = None
            self._counts.drop("fetch_refused")
            self._endpoint.disconnect(peer, ErrorCode.E_BUSY, "too many fetches", now=now)
            return
        self._sources[peer] = ManifestSource(
            self._swarm_id, self._manifest, self._signature, now=now, limits=self._limits
        )

    def close(self, peer: bytes) -> None:
        """The session is over."""
        source = self._sources.pop(peer)
        if source is not None:
            self._counts.add(source.stats.dropped)

    def on_message(self, peer: bytes, channel: Channel, data: bytes, *, now: float) -> None:
        """Answer a fetcher, or end its session when it does anything but fetch [H-035]."""
        source = self._sources[peer]
        if source is None:
            self._counts.drop("fetch_after_refusal")
            return
        if channel is not Channel.MANIFEST:
            self._break_off(peer, ErrorCode.E_FRAME_CONTEXT, "only the manifest is here to be had", now)
            return
        try:
            source.receive_message(data, now=now)
        except RemoteProtocolError as error:
            self._break_off(peer, error.code, error.message, now)

    def on_offer(self, peer: bytes, *, now: float) -> None:
        """A fetcher has no objects to offer."""
        self._break_off(peer, ErrorCode.E_FRAME_CONTEXT, "only the manifest is here to be had", now)

    def drain(self, now: float) -> bool:
        """Send what the sources say, and end sessions that are over; whether there was anything to do."""
        busy = False
        for peer, source in self._sources.items():
            if source is None:
                continue
            while (message := source.next_message(now)) is not None:
                busy = True
                self._endpoint.send_message(peer, Channel.MANIFEST, message, now=now)
            while (event := source.next_event()) is not None:
                busy = True
                match event:
                    case ManifestServed():
                        self.served += 1
                    case FetchOver(code):
                        self._endpoint.disconnect(peer, code, "", now=now)
        return busy

    def _break_off(self, peer: bytes, code: ErrorCode, reason: str, now: float) -> None:
        self._counts.drop(code.name)
        self._endpoint.disconnect(peer, code, reason, now=now)
