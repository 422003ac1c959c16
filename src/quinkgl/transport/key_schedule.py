"""The keys of a session's packets over time: phases, their limits, and what is mixed into them (spec 5a.6).

Each direction has a *phase*, counted from 0; the lowest bit of the phase stands in the first byte of each
short packet. A sender goes on to the next phase by itself, in time for the cipher's limits, and its receiver
follows with the first packet that opens under the next key. What keeps the two together:

- a sender changes its key only after a packet under the present one was acknowledged, so the receiver is
  never more than one phase behind;
- a packet under a newer key has a higher number than every packet under an older one; so number and phase bit
  together say which key a packet needs, and a violation is noticed;
- while an exchange of a new secret is under way nobody changes keys but by that exchange, so the receiver
  always knows which key comes next: the next in the chain, or the one with the secret inside.

The receiver keeps the next key ready. A forged packet with a flipped phase bit costs one decryption, as any
other, two for a short while after a change.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from quinkgl.crypto.keys import KeySource
from quinkgl.crypto.packet_keys import PacketKeys
from quinkgl.transport.secret_exchange import ExchangeState, Secret, SecretExchange
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.key_log import KeyLogEntry, format_key_log
from quinkgl.wire.limits import CONSTANTS
from quinkgl.wire.packets import KEY_PHASE_BIT

_OLD_KEY_PERIOD = 3
"""RFC 9001 6.5: three probe time-outs after a change, packets under the old key may still be on their way."""

KeyLog = Callable[[str], None]
"""Takes a line of a key log; must not raise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimits:
    """How long a key is used; the defaults are the specification's."""

    phase_packets: int = CONSTANTS.key_phase_packets
    """Packets sealed under one key after which it is changed."""
    phase_s: float = CONSTANTS.key_phase_s
    """Seconds after which it is changed. An exchange that stands still for as long ends the session."""
    confidentiality_packets: int = CONSTANTS.aead_confidentiality_packets
    """Packets that may be sealed under one key; the session ends then if the key could not be changed."""
    integrity_failures: int = CONSTANTS.aead_integrity_failures
    """Packets that are not authentic, under all keys of a session; the session ends then."""
    ratchet_s: float = CONSTANTS.ratchet_s
    """Seconds between two exchanges of a new secret."""


class _SendingKeys:
    """Keys of our packets: the present phase and how much it was used."""

    __slots__ = ("acknowledged", "changed_at", "count", "first_number", "keys", "phase", "sealed")

    def __init__(self, keys: PacketKeys, now: float) -> None:
        self.keys = keys
        self.phase = 0
        self.first_number = 0
        self.count = 0
        """Packets sealed under the present key."""
        self.sealed = -1
        """The highest number that was sealed."""
        self.changed_at = now
        self.acknowledged = False
        """Whether a packet of this phase is known to have arrived, so that the receiver follows."""

    def change(self, keys: PacketKeys, now: float) -> None:
        self.keys = keys
        self.phase += 1
        self.first_number = self.sealed + 1
        self.count = 0
        self.changed_at = now
        self.acknowledged = False


class _ReceivingKeys:
    """Keys of the peer's packets: the present phase, the next one ready, the last one for a while."""

    __slots__ = ("_before", "_expires_at", "_highest", "_lowest", "_next", "_old", "keys", "mixed", "phase")

    def __init__(self, keys: PacketKeys) -> None:
        self.keys = keys
        self.phase = 0
        self.mixed = False
        """Whether the next key has a new secret inside."""
        self._next = keys.next_phase()
        self._old: PacketKeys | None = None
        self._expires_at = math.inf
        self._lowest = 0
        """Lowest number opened in the present phase. All below are of older phases, or overtaken by it."""
        self._highest = -1
        self._before = -1
        """Highest number opened in older phases."""

    def expect(self, keys: PacketKeys) -> None:
        """Replace the next key by one with a new secret inside."""
        self._next = keys
        self.mixed = True

    def mark_untrusted(self, lowest: int, highest: int) -> None:
        """Note the numbers of packets that opened under the present key."""
        if lowest <= self._before:
            raise _out_of_order(f"packet {lowest} has a newer key than packet {self._before}")
        self._lowest = min(self._lowest, lowest)
        self._highest = max(self._highest, highest)

    def open_other_untrusted(
        self, number: int, header: bytes, ciphertext: bytes, now: float
    ) -> tuple[bytes, bool] | None:
        """Open a packet that bears the other phase bit: of the last phase, or of the next.

        Returns the plaintext, and whether the packet begins the next phase.
        """
        old = self._old if now < self._expires_at else None
        if number < self._lowest:
            plaintext = None if old is None else old.open_untrusted(number, header, ciphertext)
            if plaintext is None:
                return None
            self._before = max(self._before, number)
            return plaintext, False
        plaintext = self._next.open_untrusted(number, header, ciphertext)
        if plaintext is not None:
            if number < self._highest:
                raise _out_of_order(f"packet {number} has a newer key than packet {self._highest}")
            return plaintext, True
        if old is not None and old.open_untrusted(number, header, ciphertext) is not None:
            raise _out_of_order(f"packet {number} has an older key than packet {self._lowest}")
        return None

    def follow(self, number: int, expires_at: float) -> None:
        """Make the next phase the present one; ``number`` is its first packet here."""
        self._old = self.keys
        self._expires_at = expires_at
        self.keys = self._next
        self.phase += 1
        self.mixed = False
        self._next = self.keys.next_phase()
        self._before = self._highest
        self._lowest = self._highest = number

    def forget_old(self, now: float) -> None:
        # K-024
        if self._expires_at <= now:
            self._old = None
            self._expires_at = math.inf

    @property
    def expires_at(self) -> float:
        """When the old key goes; infinite when there is none."""
        return self._expires_at


class KeySchedule:
    """The packet keys of one session, both directions.

    ``open_untrusted`` and ``receive_message_untrusted`` raise RemoteProtocolError where the session must end:
    E_KEY_UPDATE, E_AEAD_LIMIT, E_FRAME_CONTEXT, E_SCHEMA.
    """

    def __init__(
        self,
        *,
        send: PacketKeys,
        receive: PacketKeys,
        handshake_hash: bytes,
        initiator: bool,
        post_quantum: bool,
        source: KeySource,
        limits: KeyLimits,
        probe_timeout: Callable[[], float],
        now: float,
        log: KeyLog | None = None,
        send_id: bytes = b"",
        receive_id: bytes = b"",
    ) -> None:
        """Begin a session's keys.

        ``post_quantum`` says that both ends offer ML-KEM-768; nothing of an application is sent or taken
        then before its secret is in the keys. ``probe_timeout`` gives the present probe time-out, seconds.
        ``log`` takes a line for each key; the ids name the two directions in it.
        """
        self._hash = handshake_hash
        self._limits = limits
        self._probe_timeout = probe_timeout
        self._log = log
        self._send = _SendingKeys(send, now)
        self._receive = _ReceivingKeys(receive)
        self._failures = 0
        self._pending: Secret | None = None
        """The secret of an exchange that we answered, until our direction has it."""
        self._reply_end: int | None = None
        """Where on the CONTROL stream our answer ends."""
        self._send_is_mixed = self._receive_is_mixed = not post_quantum
        self._exchange = SecretExchange(
            initiator=initiator,
            post_quantum=post_quantum,
            source=source,
            ratchet_s=limits.ratchet_s,
            timeout_s=limits.phase_s,
            now=now,
        )
        self._send_id = send_id
        self._receive_id = receive_id
        self._write_log(send_id, 0, 0, send)
        self._write_log(receive_id, 0, 0, receive)

    # Sending

    @property
    def send_keys(self) -> PacketKeys:
        """Seals our next packet."""
        return self._send.keys

    @property
    def phase_bit(self) -> int:
        """What the first byte of our next packet must bear: 0 or ``KEY_PHASE_BIT`` [P-004, K-020]."""
        return KEY_PHASE_BIT if self._send.phase & 1 else 0

    @property
    def send_phase(self) -> int:
        """Key changes of our direction so far."""
        return self._send.phase

    @property
    def receive_phase(self) -> int:
        """Key changes of the other direction so far."""
        return self._receive.phase

    @property
    def packets_left(self) -> int:
        """How many packets may be sealed now in one sweep, so that none crosses a phase by much."""
        return max(1, self._limits.phase_packets - self._send.count)

    @property
    def is_used_up(self) -> bool:
        """Whether the key may seal nothing more and could not be changed in time [K-027]."""
        return self._send.count >= self._limits.confidentiality_packets

    @property
    def application_allowed(self) -> bool:
        """Whether messages and objects may be sent: at once, or when our direction has the secret [K-037]."""
        return self._send_is_mixed

    @property
    def application_expected(self) -> bool:
        """Whether messages and objects may arrive: at once, or when the peer's direction has the secret."""
        return self._receive_is_mixed

    def sealed(self, number: int, count: int, now: float) -> None:
        """Count packets that were sealed; ``number`` is the highest of their numbers [K-021]."""
        send = self._send
        send.sealed = number
        send.count += count
        if send.count >= self._limits.phase_packets:
            self._update(now)

    def on_acknowledged(self, number: int, now: float) -> None:
        """Note that packet ``number``, the highest of an ACK, arrived [K-022]."""
        send = self._send
        if not send.acknowledged and number >= send.first_number:
            send.acknowledged = True
            if send.count >= self._limits.phase_packets:
                self._update(now)

    # Receiving

    def receive_keys_for(self, first_byte: int) -> PacketKeys | None:
        """Return the keys that open a run of packets with this first byte; None if they are to be tried.

        The numbers of what opened must be told to :meth:`opened_untrusted`, and how many did not to
        :meth:`failed_untrusted` [K-023, K-026].
        """
        receive = self._receive
        return receive.keys if bool(first_byte & KEY_PHASE_BIT) == bool(receive.phase & 1) else None

    def opened_untrusted(self, lowest: int, highest: int) -> None:
        """Note packets that opened under :meth:`receive_keys_for`."""
        self._receive.mark_untrusted(lowest, highest)

    def failed_untrusted(self, count: int) -> None:
        """Count packets that were not authentic under any key."""
        self._failures += count
        if self._failures >= self._limits.integrity_failures:
            raise RemoteProtocolError(
                ErrorCode.E_AEAD_LIMIT,
                f"{self._failures} packets that are not authentic",
                layer="transport",
                section="K-028",
            )

    def open_untrusted(
        self, number: int, first_byte: int, header: bytes, ciphertext: bytes, now: float
    ) -> bytes | None:
        """Return the plaintext of a packet, None where it is not authentic."""
        keys = self.receive_keys_for(first_byte)
        if keys is not None:
            plaintext = keys.open_untrusted(number, header, ciphertext)
            if plaintext is not None:
                self._receive.mark_untrusted(number, number)
        else:
            opened = self._receive.open_other_untrusted(number, header, ciphertext, now)
            plaintext = None if opened is None else opened[0]
            if opened is not None and opened[1]:
                self._follow(number, now)
        if plaintext is None:
            self.failed_untrusted(1)
        return plaintext

    # Exchanges

    def next_message(self) -> bytes | None:
        """Take the message for the session channel."""
        return self._exchange.next_message()

    @property
    def has_message(self) -> bool:
        """Whether there is one."""
        return self._exchange.has_message

    def on_message_written(self, end: int) -> None:
        """Note where on the CONTROL stream the message that was just taken ends."""
        self._reply_end = end

    def receive_message_untrusted(self, data: bytes, now: float) -> None:
        """Take a message of the session channel. The caller then makes the peer hear from it soon."""
        secret = self._exchange.receive_message_untrusted(data, now)
        receive = self._receive
        receive.expect(receive.keys.mixed(secret.value, self._hash, secret.domain))
        self._pending = secret
        if self._exchange.state is ExchangeState.MIXED:
            self._mix(now)

    def on_stream_acknowledged(self, offset: int, now: float) -> None:
        """Note that the peer has the CONTROL stream up to ``offset``, without a gap [K-036]."""
        end = self._reply_end
        if end is not None and offset >= end and self._exchange.on_reply_known():
            self._mix(now)

    # Time

    def deadline(self) -> float | None:
        """When to call :meth:`handle_timer_untrusted`."""
        when = min(self._receive.expires_at, self._update_at)
        exchange = self._exchange.deadline()
        if exchange is not None and exchange < when:
            when = exchange
        return None if when == math.inf else when

    def handle_timer_untrusted(self, now: float) -> None:
        """Change the key, forget the old one, offer a new exchange: whatever is due.

        Raises RemoteProtocolError E_KEY_UPDATE where the peer left an exchange unfinished for too long.
        """
        self._receive.forget_old(now)
        if self._update_at <= now:
            self._update(now)
        self._exchange.handle_timer(now)

    # Inside

    @property
    def _may_update(self) -> bool:
        return self._send.acknowledged and not self._exchange.holds_keys

    @property
    def _update_at(self) -> float:
        """When the key is due for a change by its age; infinite while it may not be changed."""
        return self._send.changed_at + self._limits.phase_s if self._may_update else math.inf

    def _update(self, now: float) -> None:
        """Go on to the next phase, if we may.

        Three probe time-outs lie between two changes at least, or the peer would drop what was overtaken; a
        key that is due by its age has lasted longer.
        """
        send = self._send
        if self._may_update and (
            self._update_at <= now or now - send.changed_at >= _OLD_KEY_PERIOD * self._probe_timeout()
        ):
            self._change(send.keys.next_phase(), now)

    def _mix(self, now: float) -> None:
        """Go on to the next phase with the secret of the exchange inside [K-033, K-035]."""
        secret, self._pending, self._reply_end = self._pending, None, None
        if secret is not None:
            self._change(self._send.keys.mixed(secret.value, self._hash, secret.domain), now)
            self._send_is_mixed = True

    def _change(self, keys: PacketKeys, now: float) -> None:
        self._send.change(keys, now)
        self._write_log(self._send_id, self._send.phase, self._send.first_number, keys)

    def _follow(self, number: int, now: float) -> None:
        receive = self._receive
        mixed = receive.mixed
        receive.follow(number, now + _OLD_KEY_PERIOD * self._probe_timeout())
        self._write_log(self._receive_id, receive.phase, number, receive.keys)
        if mixed:
            self._receive_is_mixed = True
            self._mix(now)
            self._exchange.on_peer_mixed()

    def _write_log(self, direction: bytes, phase: int, first_number: int, keys: PacketKeys) -> None:
        if self._log is not None:
            self._log(format_key_log(KeyLogEntry(self._hash, direction, phase, first_number, keys.key)))


def _out_of_order(what: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.E_KEY_UPDATE, what, layer="transport", section="K-025")
