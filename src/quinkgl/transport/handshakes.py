"""All handshakes of an endpoint that are not finished: INITs out, INITs answered (spec chapter 5).

What strangers can cost is bounded here: only an INIT with the swarm's mac1 costs a Diffie-Hellman operation,
half-open handshakes are counted in all and by network, and an address that has not proved itself gets at most
three times the bytes that came from it. Everything else meets silence.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quinkgl.crypto.keys import KeySource
from quinkgl.crypto.mac import mac1
from quinkgl.crypto.mac import verify as verify_mac1
from quinkgl.crypto.psk import SwarmKeys
from quinkgl.transport.config import EndpointConfig
from quinkgl.transport.events import ConnectFailed
from quinkgl.transport.half_open import Attempt, AttemptState, HalfOpen
from quinkgl.transport.handshake import EPHEMERAL_BYTES, Initiator, LocalParty, Responder, Session
from quinkgl.transport.stats import EndpointStats
from quinkgl.wire.addresses import Address, is_loopback, prefix
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.packets import (
    CONNECTION_ID_BYTES,
    MAC_BYTES,
    VERSION,
    LongPacket,
    LongType,
    encode_init,
    encode_long,
)

if TYPE_CHECKING:
    import random

_VERSIONS = (VERSION,)


@dataclass(frozen=True, slots=True)
class Finished:
    """A handshake that ended well; ``finish`` is the initiator's last datagram, still to be sent."""

    session: Session
    local_id: bytes
    address: Address
    incoming: bool
    rtt_s: float | None
    finish: bytes | None


class Handshakes:
    """Begins, answers and finishes handshakes; knows nothing of what follows them."""

    def __init__(
        self,
        parties: tuple[LocalParty, ...],
        source: KeySource,
        config: EndpointConfig,
        rng: random.Random,
        stats: EndpointStats,
    ) -> None:
        self.record = b""
        """The signed peer record that handshakes carry from now on."""
        self.failures: deque[ConnectFailed] = deque()
        self._parties = parties
        self._source = source
        self._config = config
        self._rng = rng
        self._stats = stats
        self._attempts: dict[bytes, Attempt] = {}
        self._half_open: dict[bytes, HalfOpen] = {}

    @property
    def attempts(self) -> int:
        """How many addresses are being tried."""
        return len(self._attempts)

    def is_trying(self, address: Address, expected_peer: bytes | None, keys: SwarmKeys) -> bool:
        """Whether an attempt to reach this address, with this expectation and these keys, is under way."""
        return any(
            (attempt.address, attempt.expected_peer, attempt.party.keys) == (address, expected_peer, keys)
            for attempt in self._attempts.values()
        )

    def connect(self, address: Address, expected_peer: bytes | None, keys: SwarmKeys, now: float) -> None:
        """Begin an attempt to reach an address with one of the endpoint's keys."""
        party = next(party for party in self._parties if party.keys == keys)
        initiator = Initiator(party, self._source, VERSION, _VERSIONS)
        local_id = self._new_id()
        head, tail = encode_init(
            version=VERSION,
            destination_id=self._rng.randbytes(CONNECTION_ID_BYTES),
            source_id=local_id,
            versions=_VERSIONS,
            noise=initiator.message1,
        )
        mac = mac1(keys.mac1_key, head, tail)
        self._attempts[local_id] = Attempt(
            party=party,
            initiator=initiator,
            address=address,
            expected_peer=expected_peer,
            local_id=local_id,
            datagram=head + mac + bytes(MAC_BYTES) + tail,
            timeout_s=self._config.handshake_timeout_s,
            tries=self._config.handshake_tries,
            now=now,
        )

    def forget_all(self) -> None:
        """Drop every attempt and every half-open handshake without a word."""
        self._attempts.clear()
        self._half_open.clear()

    # Input

    def on_init_untrusted(self, packet: LongPacket, size: int, source: Address, now: float) -> None:
        """Answer an INIT of someone who holds the swarm's keys; everyone else meets silence."""
        party = self._party_of(packet)
        if party is None:
            raise RemoteProtocolError(ErrorCode.E_MAC1, "mac1 is of another swarm, or noise", section="5.4")
        for half_open in self._half_open.values():
            if half_open.address == source and half_open.remote_id == packet.source_id:
                half_open.on_init_again(size)
                return
        crossing = self._attempt_to(source)
        if crossing is not None and crossing.initiator.ephemeral_public > packet.noise[:EPHEMERAL_BYTES]:
            self._stats.drop("simultaneous_open")
            return
        if self._is_crowded(source):
            self._stats.drop("half_open_full")
            return
        local_id = self._new_id()
        responder = Responder(
            party,
            self._source,
            packet.version,
            packet.versions,
            packet.noise,
            local_id=local_id,
            record=self.record,
            observed=source,
        )
        answer = encode_long(
            LongType.RESP,
            version=packet.version,
            destination_id=packet.source_id,
            source_id=local_id,
            noise=responder.message2,
        )
        self._half_open[local_id] = HalfOpen(
            responder=responder,
            address=source,
            local_id=local_id,
            remote_id=packet.source_id,
            datagram=answer,
            received_bytes=size,
            timeout_s=self._config.handshake_timeout_s,
            now=now,
        )
        if crossing is not None:
            crossing.wait_for_other(now)

    def on_resp_untrusted(self, packet: LongPacket, source: Address, now: float) -> Finished | None:
        """Finish an attempt of ours. None for an answer to no attempt."""
        attempt = self._attempts.get(packet.destination_id)
        if attempt is None or attempt.address != source:
            self._stats.drop("unknown_connection")
            return None
        try:
            message3, session = attempt.initiator.finish_untrusted(
                packet.noise,
                expected_peer=attempt.expected_peer,
                local_id=attempt.local_id,
                record=self.record,
                observed=source,
            )
            self._check_not_self(session)
        except RemoteProtocolError as error:
            if error.code is not ErrorCode.E_HS_DECRYPT:
                # Whoever wrote this holds the swarm's keys, and will answer no better the next time.
                self._give_up(attempt, error.code, error.message)
            raise
        rtt_s = attempt.rtt(now)
        self._drop_attempts(session, source)
        finish = encode_long(
            LongType.FIN,
            version=packet.version,
            destination_id=session.remote_id,
            source_id=attempt.local_id,
            noise=message3,
        )
        return Finished(session, attempt.local_id, source, incoming=False, rtt_s=rtt_s, finish=finish)

    def on_fin_untrusted(self, packet: LongPacket, source: Address, now: float) -> Finished | None:
        """Finish a handshake that we answered. None for a FIN of no half-open handshake."""
        half_open = self._half_open.get(packet.destination_id)
        if half_open is None or (half_open.address, half_open.remote_id) != (source, packet.source_id):
            return None
        try:
            session = half_open.responder.finish_untrusted(packet.noise, remote_id=half_open.remote_id)
            self._check_not_self(session)
        except RemoteProtocolError as error:
            if error.code is not ErrorCode.E_HS_DECRYPT:
                self._forget_half_open(half_open)
            raise
        del self._half_open[half_open.local_id]
        self._drop_attempts(session, source)
        return Finished(
            session,
            half_open.local_id,
            source,
            incoming=True,
            rtt_s=half_open.rtt(now),
            finish=None,
        )

    def handle_timer(self, now: float) -> None:
        """Try again, give up, or forget, whatever is due."""
        for attempt in list(self._attempts.values()):
            if attempt.retry_at <= now and not attempt.due:
                self._go_on(attempt)
        for half_open in list(self._half_open.values()):
            if half_open.expires_at <= now:
                self._forget_half_open(half_open)
            elif half_open.retry_at <= now:
                half_open.due = True

    # Output

    def next_datagram(self, now: float) -> tuple[bytes, Address] | None:
        """Return the next INIT or RESP and where it goes."""
        for attempt in self._attempts.values():
            if attempt.due:
                return attempt.take(now, 0.9 + 0.2 * self._rng.random()), attempt.address
        for half_open in self._half_open.values():
            if half_open.due:
                answer = half_open.take(now)
                if answer is not None:
                    return answer, half_open.address
        return None

    def deadline(self, now: float) -> tuple[float, str] | None:
        """When something is due next, and what; ``now`` while a datagram is ready."""
        due = [(now if attempt.due else attempt.retry_at, "handshake") for attempt in self._attempts.values()]
        for half_open in self._half_open.values():
            when = now if half_open.due else min(half_open.retry_at, half_open.expires_at)
            due.append((when, "half-open handshake"))
        return min(due, default=None)

    # Inside

    def _party_of(self, packet: LongPacket) -> LocalParty | None:
        """Return our side under the keys that an INIT was written with, if we hold them (spec K-007)."""
        for party in self._parties:
            if verify_mac1(party.keys.mac1_key, packet.mac1, *packet.authenticated):
                return party
        return None

    def _attempt_to(self, address: Address) -> Attempt | None:
        for attempt in self._attempts.values():
            if attempt.address == address and attempt.state is AttemptState.SENDING:
                return attempt
        return None

    def _is_crowded(self, source: Address) -> bool:
        """Whether strangers hold as many half-open handshakes as they may, in all or from one network."""
        if len(self._half_open) >= LIMITS.half_open:
            return True
        network = prefix(source)
        same = sum(half_open.network == network for half_open in self._half_open.values())
        return same >= LIMITS.half_open_per_prefix and not is_loopback(source)

    def _go_on(self, attempt: Attempt) -> None:
        """Send an INIT again, or give up after the last one."""
        if attempt.tries_left > 0:
            attempt.go_on()
        else:
            self._give_up(attempt, ErrorCode.E_HS_TIMEOUT, "nobody answered")

    def _give_up(self, attempt: Attempt, code: ErrorCode, reason: str) -> None:
        del self._attempts[attempt.local_id]
        self.failures.append(ConnectFailed(attempt.address, attempt.expected_peer, code, reason))

    def _drop_attempts(self, session: Session, address: Address) -> None:
        """Forget the attempts that a session with the peer at ``address`` answers."""
        for attempt in list(self._attempts.values()):
            keys = attempt.party.keys
            if (keys.swarm_id, keys.mode) != (session.swarm_id, session.mode):
                continue
            anyone = attempt.expected_peer is None and attempt.address == address
            if anyone or attempt.expected_peer == session.peer_id:
                del self._attempts[attempt.local_id]

    def _forget_half_open(self, half_open: HalfOpen) -> None:
        del self._half_open[half_open.local_id]
        for attempt in list(self._attempts.values()):
            if attempt.address == half_open.address and attempt.state is AttemptState.YIELDED:
                self._go_on(attempt)

    def _check_not_self(self, session: Session) -> None:
        if session.peer_id == self._parties[0].identity.peer_id:
            raise RemoteProtocolError(
                ErrorCode.E_HS_SELF, "the address leads back to this node", section="5.5"
            )

    def _new_id(self) -> bytes:
        return self._rng.randbytes(CONNECTION_ID_BYTES)
