"""All handshakes of an endpoint that are not finished: INITs out, INITs answered (spec chapter 5).

What strangers can cost is bounded here. An INIT without the swarm's mac1 costs one HMAC and gets no answer.
One with it, which may be a replay with a forged source, is answered and remembered only while there are few
of them; under load its sender has to show first that it receives what is sent to its address, and nothing is
remembered until then. An address that has not proved itself gets at most three times the bytes that came
from it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from quinkgl.crypto.cookie import CookieSecret, open_cookie_untrusted, seal_cookie
from quinkgl.crypto.keys import KeySource
from quinkgl.crypto.mac import verify as verify_mac1
from quinkgl.crypto.psk import Mode, SwarmKeys
from quinkgl.transport.attempts import Attempt, AttemptEvent, AttemptState, AttemptTable
from quinkgl.transport.config import EndpointConfig
from quinkgl.transport.events import ConnectFailed
from quinkgl.transport.half_open import HalfOpen, HalfOpenTable, network_of
from quinkgl.transport.handshake import EPHEMERAL_BYTES, Initiator, LocalParty, Responder, Session
from quinkgl.transport.init_rate import InitRate
from quinkgl.transport.stats import EndpointStats
from quinkgl.transport.versions import Versions
from quinkgl.transport.wakeups import Wakeups
from quinkgl.wire.addresses import Address
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.packets import (
    CONNECTION_ID_BYTES,
    COOKIE_NONCE_BYTES,
    FIRST_BYTE_OF_INIT,
    FIRST_BYTE_OF_VERSION_NEGOTIATION,
    LONG_HEADER_BYTES,
    NO_VERSION,
    InitParts,
    LongPacket,
    LongType,
    decode_long_untrusted,
    decode_version_negotiation_untrusted,
    encode_cookie,
    encode_long,
    long_version_untrusted,
    split_init_untrusted,
)

if TYPE_CHECKING:
    import random


class Finished(NamedTuple):
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
        now: float,
    ) -> None:
        self.record = b""
        """The signed peer record that handshakes carry from now on."""
        self.failures: deque[ConnectFailed] = deque()
        self._parties = parties
        self._source = source
        self._config = config
        self._rng = rng
        self._stats = stats
        self._versions = Versions(config.versions, now)
        self._attempts = AttemptTable()
        self._half_open = HalfOpenTable()
        self._attempt_wakeups = Wakeups()
        self._half_open_wakeups = Wakeups()
        self._outgoing: deque[Attempt | HalfOpen] = deque()
        self._stateless: deque[tuple[bytes, Address]] = deque()
        self._cookie_secret = CookieSecret(source, now)
        self._cookies: dict[Address, bytes] = {}
        per_network = LIMITS.init_rate_per_prefix_per_s
        self._rate = InitRate(per_network=per_network, total=config.init_rate_total_per_s, now=now)
        self._proven_rate = InitRate(per_network=per_network, total=LIMITS.init_rate_total_per_s, now=now)

    @property
    def attempts(self) -> int:
        """How many attempts are under way."""
        return len(self._attempts)

    def is_trying(self, address: Address, expected_peer: bytes | None, keys: SwarmKeys) -> bool:
        """Whether an attempt to reach this address, with this expectation and these keys, is under way."""
        return self._attempts.is_trying(address, expected_peer, keys)

    def connect(self, address: Address, expected_peer: bytes | None, keys: SwarmKeys, now: float) -> None:
        """Begin an attempt to reach an address with one of the endpoint's keys."""
        attempt = Attempt(
            party=next(party for party in self._parties if party.keys == keys),
            address=address,
            expected_peer=expected_peer,
            local_id=self._new_id(),
            offered=self._versions.offer(self._rng),
            timeout_s=self._config.handshake_timeout_s,
            tries=self._config.handshake_tries,
            now=now,
        )
        self._attempts.add(attempt)
        self._begin(attempt, self._config.versions[0])

    def occupancy(self) -> dict[str, tuple[int, int]]:
        """How many items each collection holds, and how many it may."""
        return {
            "half_open": (len(self._half_open), LIMITS.half_open),
            "stateless_answers": (len(self._stateless), LIMITS.stateless_answers),
        }

    def holds(self, connection_id: bytes) -> bool:
        """Whether an id belongs to a handshake that we answered: packets may have overtaken its FIN."""
        return self._half_open.get(connection_id) is not None

    def forget_all(self) -> None:
        """Drop every attempt and every half-open handshake without a word."""
        self._attempts = AttemptTable()
        self._half_open = HalfOpenTable()
        self._attempt_wakeups.clear()
        self._half_open_wakeups.clear()
        self._outgoing.clear()
        self._stateless.clear()

    # Input

    def receive_untrusted(self, data: bytes | memoryview, source: Address, now: float) -> Finished | None:
        """Take a long packet; return the handshake that it finished, if it did.

        Raises RemoteProtocolError for most of what is refused; what comes in floods is dropped and counted
        without that.
        """
        version = long_version_untrusted(data)
        if version is None:
            self._stats.drop("E_PROTOCOL")
        elif version not in self._config.versions:
            self._on_other_version_untrusted(data, version, source, now)
        elif data[0] == FIRST_BYTE_OF_INIT:
            self._on_init_untrusted(bytes(data), source, now)
        else:
            packet = decode_long_untrusted(data, self._config.versions)
            if packet.type is LongType.RESP:
                return self._on_resp_untrusted(packet, source, now)
            if packet.type is LongType.FIN:
                return self._on_fin_untrusted(packet, source, now)
            self._on_cookie_untrusted(packet, source)
        return None

    def handle_timer(self, now: float) -> None:
        """Try again, give up, or forget, whatever is due."""
        for key in self._attempt_wakeups.take_due(now):
            attempt = self._attempts.get(key)
            if attempt is not None and not attempt.due:
                self._go_on(attempt, now)
        for key in self._half_open_wakeups.take_due(now):
            half_open = self._half_open.get(key)
            if half_open is None:
                continue
            if half_open.expires_at <= now:
                self._forget_half_open(half_open, now)
            else:
                half_open.due = True
                self._send(half_open)

    # Output

    def next_datagram(self, now: float) -> tuple[bytes, Address] | None:
        """Return the next handshake packet and where it goes."""
        if self._stateless:
            return self._stateless.popleft()
        while self._outgoing:
            due = self._outgoing.popleft()
            due.queued = False
            if not due.due:
                continue
            if isinstance(due, Attempt):
                datagram = due.take(now, 0.9 + 0.2 * self._rng.random())
                self._attempt_wakeups.set(due.local_id, due.retry_at)
                return datagram, due.address
            answer = due.take(now)
            self._half_open_wakeups.set(due.local_id, due.wake_at)
            if answer is not None:
                return answer, due.address
        return None

    def deadline(self, now: float) -> tuple[float, str] | None:
        """When something is due next, and what; ``now`` while a datagram is ready."""
        if self._outgoing or self._stateless:
            return now, "handshake"
        attempt, half_open = self._attempt_wakeups.next(), self._half_open_wakeups.next()
        if half_open is None or (attempt is not None and attempt <= half_open):
            return None if attempt is None else (attempt, "handshake")
        return half_open, "half-open handshake"

    # INIT

    def _on_init_untrusted(self, data: bytes, source: Address, now: float) -> None:
        """Answer an INIT of someone who holds the swarm's keys; everyone else meets silence."""
        # S-012, S-013, S-040, S-041, S-050
        parts = split_init_untrusted(data)
        if parts is None:
            self._stats.drop("E_PROTOCOL")
            return
        party = self._party_of(parts)
        if party is None:
            self._stats.drop("E_MAC1")
            return
        again = self._half_open.find(source, parts.source_id)
        if again is not None:
            again.on_init_again(len(data))
            self._send(again)
            return
        packet = decode_long_untrusted(data, self._config.versions)
        self._versions.check_choice_untrusted(packet.version, packet.versions)
        network = network_of(source[0])
        if not self._is_welcome(party, parts, packet, network, source, now):
            return
        (crossing,) = self._attempts.at(source, AttemptState.SENDING)[:1] or (None,)
        if crossing is not None and crossing.initiator.ephemeral_public > packet.noise[:EPHEMERAL_BYTES]:
            self._stats.drop("simultaneous_open")
            return
        if self._half_open.is_full(network):
            self._stats.drop("half_open_full")
            return
        self._answer_untrusted(party, packet, len(data), network, source, now)
        if crossing is not None:
            crossing.wait_for_other(now)
            self._attempt_wakeups.set(crossing.local_id, crossing.retry_at)

    def _party_of(self, parts: InitParts) -> LocalParty | None:
        """Return our side under the keys that an INIT was written with, if we hold them (spec K-007)."""
        covered = parts.head + parts.tail
        for party in self._parties:
            if verify_mac1(party.keys.mac1_key, parts.mac1, covered):
                return party
        return None

    def _is_welcome(
        self,
        party: LocalParty,
        parts: InitParts,
        packet: LongPacket,
        network: bytes | None,
        source: Address,
        now: float,
    ) -> bool:
        """Whether to answer an INIT with work and memory; under load a cookie goes out instead (S-060)."""
        # S-014, S-062, S-063
        within_rate = self._rate.take(network, now)
        if within_rate and not self._half_open.is_full(network, share=2):
            return True
        if self._cookie_secret.is_proof(source, parts[1:], now):
            if self._proven_rate.take(network, now):
                return True
            self._stats.drop("init_rate")
            return False
        nonce = self._rng.randbytes(COOKIE_NONCE_BYTES)
        cookie = self._cookie_secret.cookie(source, now)
        sealed = seal_cookie(party.keys.mac1_key, nonce, cookie, parts.mac1)
        answer = encode_cookie(
            version=packet.version, destination_id=packet.source_id, nonce=nonce, sealed=sealed
        )
        if self._answer_stateless(answer, source):
            self._stats.cookies_sent += 1
        return False

    def _answer_stateless(self, answer: bytes, destination: Address) -> bool:
        """Queue an answer that nothing is remembered of; False where too many wait [S-064]."""
        if len(self._stateless) >= LIMITS.stateless_answers:
            self._stats.drop("stateless_answers")
            return False
        self._stateless.append((answer, destination))
        return True

    def _answer_untrusted(
        self,
        party: LocalParty,
        packet: LongPacket,
        size: int,
        network: bytes | None,
        source: Address,
        now: float,
    ) -> None:
        """Do the responder's half of the handshake and remember it [S-020, P-030]."""
        local_id = self._new_id()
        responder = Responder(
            party,
            self._source,
            packet.version,
            packet.versions,
            packet.noise,
            local_id=local_id,
            record=self._record_for(party.keys),
            observed=source,
        )
        answer = encode_long(
            LongType.RESP,
            version=packet.version,
            destination_id=packet.source_id,
            source_id=local_id,
            noise=responder.message2,
        )
        half_open = HalfOpen(
            responder=responder,
            version=packet.version,
            address=source,
            network=network,
            local_id=local_id,
            remote_id=packet.source_id,
            datagram=answer,
            received_bytes=size,
            timeout_s=self._config.handshake_timeout_s,
            now=now,
        )
        self._half_open.add(half_open)
        self._send(half_open)

    # Answers

    def _on_resp_untrusted(self, packet: LongPacket, source: Address, now: float) -> Finished | None:
        """Finish an attempt of ours. None for an answer to no attempt [S-021, S-022, S-032]."""
        attempt = self._attempts.get(packet.destination_id)
        if attempt is None or not attempt.is_meant_by(packet, source):
            self._stats.drop("unknown_connection")
            return None
        try:
            message3, session = attempt.initiator.finish_untrusted(
                packet.noise,
                expected_peer=attempt.expected_peer,
                local_id=attempt.local_id,
                record=self._record_for(attempt.party.keys),
                observed=source,
            )
            self._check_not_self(session)
        except RemoteProtocolError as error:
            if error.code is not ErrorCode.E_HS_DECRYPT:
                # Whoever wrote this holds the swarm's keys, and will answer no better the next time.
                self._give_up(attempt, AttemptEvent.REFUSED, error.code, error.message)
            raise
        rtt_s = attempt.rtt(now)
        self._remove_attempt(attempt, AttemptEvent.ANSWERED)
        self._drop_attempts(session, source)
        finish = encode_long(
            LongType.FIN,
            version=packet.version,
            destination_id=session.remote_id,
            source_id=attempt.local_id,
            noise=message3,
        )
        return Finished(session, attempt.local_id, source, incoming=False, rtt_s=rtt_s, finish=finish)

    def _on_fin_untrusted(self, packet: LongPacket, source: Address, now: float) -> Finished | None:
        """Finish a handshake that we answered. None for a FIN of no half-open handshake [S-021, S-044]."""
        half_open = self._half_open.get(packet.destination_id)
        if half_open is None or not half_open.is_meant_by(packet, source):
            self._stats.drop("unknown_connection")
            return None
        try:
            session = half_open.responder.finish_untrusted(packet.noise, remote_id=half_open.remote_id)
            self._check_not_self(session)
        except RemoteProtocolError as error:
            if error.code is not ErrorCode.E_HS_DECRYPT:
                self._forget_half_open(half_open, now)
            raise
        self._remove_half_open(half_open)
        self._drop_attempts(session, source)
        return Finished(
            session,
            half_open.local_id,
            source,
            incoming=True,
            rtt_s=half_open.rtt(now),
            finish=None,
        )

    def _on_cookie_untrusted(self, packet: LongPacket, source: Address) -> None:
        """Send the INIT that this answers again, with the proof that we are where it came from [S-066]."""
        attempt = self._attempts.get(packet.destination_id)
        if attempt is None or not attempt.is_meant_by(packet, source):
            self._stats.drop("unknown_connection")
            return
        nonce, sealed = packet.noise[:COOKIE_NONCE_BYTES], packet.noise[COOKIE_NONCE_BYTES:]
        cookie = open_cookie_untrusted(attempt.party.keys.mac1_key, nonce, sealed, attempt.mac1)
        if cookie is None:
            raise RemoteProtocolError(ErrorCode.E_HS_DECRYPT, "a cookie that is not authentic", section="5.9")
        self._stats.cookies_received += 1
        self._cookies.pop(source, None)
        if len(self._cookies) >= LIMITS.connections:
            del self._cookies[next(iter(self._cookies))]
        self._cookies[source] = cookie
        attempt.use_cookie(cookie)
        self._send(attempt)

    # Versions

    def _on_other_version_untrusted(
        self, data: bytes | memoryview, version: int, source: Address, now: float
    ) -> None:
        """Say which versions are spoken here, or take the other side's word for it [S-071, V-004, V-011]."""
        if version == NO_VERSION:
            if data[0] != FIRST_BYTE_OF_VERSION_NEGOTIATION:
                self._stats.drop("E_PROTOCOL")
                return
            self._on_version_negotiation_untrusted(data, source)
            return
        self._stats.drop("E_VERSION")
        if data[0] != FIRST_BYTE_OF_INIT or len(data) < LIMITS.init_min_datagram_bytes:
            return
        if not self._versions.may_answer(now):
            return
        answer = self._versions.answer(bytes(data[:LONG_HEADER_BYTES]), self._rng)
        if self._answer_stateless(answer, source):
            self._stats.version_negotiations_sent += 1

    def _on_version_negotiation_untrusted(self, data: bytes | memoryview, source: Address) -> None:
        """Begin anew in a version that both sides speak [S-072]; once, and only while nothing is agreed."""
        destination_id, source_id, versions = decode_version_negotiation_untrusted(data)
        attempt = self._attempts.get(destination_id)
        if attempt is None or (attempt.address, attempt.first_destination_id) != (source, source_id):
            self._stats.drop("unknown_connection")
            return
        if attempt.followed_version_negotiation or attempt.initiator.version in versions:
            self._stats.drop("version_negotiation")
            return
        self._stats.version_negotiations_received += 1
        choice = self._versions.choose(versions)
        if choice is None:
            reason = "no version that both sides speak"
            self._give_up(attempt, AttemptEvent.NO_VERSION, ErrorCode.E_VERSION, reason)
            return
        attempt.followed_version_negotiation = True
        attempt.due = attempt.state is AttemptState.SENDING
        self._begin(attempt, choice)

    # Inside

    def _send(self, what: Attempt | HalfOpen) -> None:
        """Let something be sent that is due, once however often that is asked for."""
        if what.due and not what.queued:
            what.queued = True
            self._outgoing.append(what)

    def _begin(self, attempt: Attempt, version: int) -> None:
        """Give an attempt its INIT in a version, and send it."""
        initiator = Initiator(attempt.party, self._source, version, attempt.offered)
        attempt.begin(initiator, self._cookies.get(attempt.address, b""), self._rng)
        self._send(attempt)

    def _go_on(self, attempt: Attempt, now: float) -> None:
        """Send an INIT again, or give up after the last one [S-030]."""
        if attempt.tries_left > 0:
            attempt.go_on(now)
            self._send(attempt)
        else:
            self._give_up(attempt, AttemptEvent.EXHAUSTED, ErrorCode.E_HS_TIMEOUT, "nobody answered")

    def _give_up(self, attempt: Attempt, event: AttemptEvent, code: ErrorCode, reason: str) -> None:
        self._remove_attempt(attempt, event)
        self.failures.append(ConnectFailed(attempt.address, attempt.expected_peer, code, reason))

    def _drop_attempts(self, session: Session, address: Address) -> None:
        """Forget the attempts that a session with the peer at ``address`` answers."""
        for attempt in self._attempts:
            if attempt.is_answered_by(session, address):
                self._remove_attempt(attempt, AttemptEvent.SETTLED)

    def _remove_attempt(self, attempt: Attempt, event: AttemptEvent) -> None:
        self._attempts.remove(attempt, event)
        self._attempt_wakeups.discard(attempt.local_id)

    def _forget_half_open(self, half_open: HalfOpen, now: float) -> None:
        """Forget a handshake that came to nothing; ours, if it yielded to that one, goes on."""
        self._remove_half_open(half_open)
        for attempt in self._attempts.at(half_open.address, AttemptState.YIELDED):
            self._go_on(attempt, now)

    def _remove_half_open(self, half_open: HalfOpen) -> None:
        self._half_open.remove(half_open)
        self._half_open_wakeups.discard(half_open.local_id)

    def _check_not_self(self, session: Session) -> None:
        # S-023
        if session.peer_id == self._parties[0].identity.peer_id:
            raise RemoteProtocolError(
                ErrorCode.E_HS_SELF, "the address leads back to this node", section="5.5"
            )

    def _record_for(self, keys: SwarmKeys) -> bytes:
        """Return our peer record where the other side holds the manifest: it is for members alone [S-029]."""
        return self.record if keys.mode is Mode.MEMBER else b""

    def _new_id(self) -> bytes:
        return self._rng.randbytes(CONNECTION_ID_BYTES)
