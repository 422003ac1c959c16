"""The fingerprint exchanges of a swarm, one for each connected peer, all showing what is on one shelf."""

from __future__ import annotations

import random
from collections import deque

from quinkgl.crypto.identity import Identity
from quinkgl.protocol.fingerprint_exchange import FingerprintExchange, FingerprintShelf
from quinkgl.protocol.fingerprint_exchange import FingerprintReceived as _Received
from quinkgl.swarm.counts import Counts
from quinkgl.swarm.events import FingerprintNotReceived, FingerprintReceived, SwarmEvent
from quinkgl.transport import Endpoint
from quinkgl.wire.control import Channel


class Fingerprints:
    """Who was asked, who asks, and what is shown."""

    def __init__(
        self,
        identity: Identity,
        swarm_id: bytes,
        *,
        endpoint: Endpoint,
        events: deque[SwarmEvent],
        counts: Counts,
        rng: random.Random,
    ) -> None:
        self.shelf = FingerprintShelf()
        self._identity = identity
        self._swarm_id = swarm_id
        self._endpoint = endpoint
        self._events = events
        self._counts = counts
        self._rng = rng
        self._exchanges: dict[bytes, FingerprintExchange] = {}

    def open(self, peer: bytes, *, now: float) -> None:
        """Answer ``peer`` from now on."""
        self._exchanges[peer] = FingerprintExchange(
            self._identity, self._swarm_id, peer, self.shelf, rng=self._rng, now=now
        )

    def close(self, peer: bytes, code: int) -> None:
        """The session is over, and with it a request that has no answer yet."""
        exchange = self._exchanges.pop(peer, None)
        if exchange is not None:
            self._counts.add(exchange.stats.dropped)
            if exchange.is_waiting:
                self._events.append(FingerprintNotReceived(peer, code))

    def request(self, peer: bytes, epoch: int | None, *, now: float) -> bool:
        """Ask a peer; False where there is none, or a request without an answer already."""
        exchange = self._exchanges.get(peer)
        return exchange is not None and exchange.request(epoch, now=now)

    def receive_message(self, peer: bytes, data: bytes, *, now: float) -> None:
        """Take a message of a connected peer; RemoteProtocolError where it breaks the rules."""
        self._exchanges[peer].receive_message(data, now=now)

    def machines(self) -> list[FingerprintExchange]:
        """The exchange with each peer."""
        return list(self._exchanges.values())

    def waiting(self) -> list[FingerprintExchange]:
        """The exchanges that wait for an answer: the others are never due."""
        return [exchange for exchange in self._exchanges.values() if exchange.is_waiting]

    def drain(self, now: float) -> bool:
        """Carry out what the exchanges have ready; whether there was anything."""
        busy = False
        for peer, exchange in self._exchanges.items():
            if not exchange.has_output:
                continue
            while (message := exchange.next_message(now)) is not None:
                busy = True
                if not self._endpoint.send_message(peer, Channel.FINGERPRINT, message, now=now):
                    self._counts.drop("message_not_sent")
            while (event := exchange.next_event()) is not None:
                busy = True
                self._events.append(
                    FingerprintReceived(peer, event.body, event.epoch)
                    if isinstance(event, _Received)
                    else FingerprintNotReceived(peer, event.code)
                )
        return busy
