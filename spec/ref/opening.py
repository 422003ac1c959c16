"""A handshake at either side, with one other node (chapter 5.6 and 5.7)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from . import handshake as hs
from . import noise
from .data import LIMITS, SpecError, need
from .identity import peer_id
from .manifest import Keys, check_mac1, reset_key, reset_token
from .primitives import mac, x25519_public
from .recovery import Rtt, probe_timeout, sample
from .session import Draw, Facts


@dataclass
class Me:
    """What a node is: its keys, its swarm (all modes that it serves), its parameters, whom it expects."""

    seed: bytes
    static: bytes
    keys: list[Keys]
    parameters: dict[str, int]
    expected: bytes | None = None
    under_load: bool = False
    peer: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.peer = peer_id(self.seed)

    def token_of(self, connection_id: bytes) -> bytes:
        """The reset token of one of its ids."""
        return reset_token(reset_key(self.seed, self.keys[0].swarm_id), connection_id)


@dataclass
class Opening:
    """From the first packet to `facts`, or to a code in `failed`; `peer` and `keys` say with whom."""

    me: Me
    draw: Draw
    facts: Facts | None = None
    peer: bytes = b""
    keys: Keys | None = None
    failed: str = ""
    first_rtt: float | None = None

    def __post_init__(self) -> None:
        self.init = self.resp = self.fin = b""
        self.state: noise.Noise | None = None
        self.own_id = self.draw(8)
        self.tries, self.next_at, self.wait_s, self.sent_at, self.began = 0, float("inf"), 0.0, 0.0, 0.0
        self.received, self.sent_bytes = 0, 0
        self.cookie_taken = self.asked_twice = False
        self.outbox: list[bytes] = []
        self.versions = [hs.VERSION]

    # The initiator.

    def start(self, now: float) -> None:
        """Send the first INIT, in the mode of the first keys (S-070)."""
        self.versions.insert(self.draw(1)[0] % 2, self.grease())
        self.keys = self.me.keys[0]
        text = hs.prologue(hs.VERSION, self.keys.swarm_id, self.keys.mode, self.versions)
        state = noise.start(initiator=True, prologue=text, psk=self.keys.psk, static=self.me.static)
        state, tokens = noise.write_tokens(state, self.draw(32))
        self.state, tag = noise.write_payload(state, b"")
        self.init = hs.encode_init(self.keys, self.versions, self.draw(8), self.own_id, tokens + tag)
        self.wait_s = LIMITS["handshake_timeout_s"]
        self.send_init(now)

    def grease(self) -> int:
        """A version of no protocol (V-005)."""
        return int.from_bytes(self.draw(4), "big") & 0xF0F0F0F0 | 0x0A0A0A0A

    def send_init(self, now: float) -> None:
        """S-030: the same INIT again, each wait twice the one before, give or take a tenth."""
        if self.tries == LIMITS["handshake_retries"]:
            self.failed, self.next_at = "E_HS_TIMEOUT", float("inf")
            return
        self.outbox.append(self.init)
        self.sent_at, self.next_at = now, now + self.wait_s * (0.9 + self.draw(1)[0] / 1275)
        self.tries, self.wait_s, self.cookie_taken = self.tries + 1, 2 * self.wait_s, False

    def on_resp(self, fields: dict[str, Any], now: float) -> None:
        """Message 2, and the answer to it: FIN (S-031 to S-033)."""
        need(self.init and self.state and not self.fin, "drop", "a RESP that nobody waits for")
        need(fields["destination"] == self.own_id, "drop", "a RESP to another id")
        state, payload = self.read(fields["message"], initiator=False)
        state, tokens = noise.write_tokens(state)
        state, tag = noise.write_payload(state, self.write(state, {}, initiator=True))
        self.fin = hs.encode_answer(hs.FIN, payload["connection_id"], self.own_id, tokens + tag)
        if self.tries == 1 and not self.asked_twice:
            self.first_rtt = now - self.sent_at
        self.conclude(state, payload, initiator=True)
        delay_s = payload["parameters"]["max_ack_delay_ms"] / 1000
        self.wait_s = min(LIMITS["handshake_timeout_s"], probe_timeout(self.rtt, delay_s))
        self.began, self.tries = now, 0
        self.send_fin(now)

    def send_fin(self, now: float) -> None:
        """FIN, until a packet of the session comes (S-033)."""
        self.outbox.append(self.fin)
        self.next_at = now + self.wait_s * min(2**self.tries, 64)
        self.tries += 1

    def on_cookie(self, datagram: bytes) -> None:
        """S-065: the same INIT at once, with mac2."""
        waits = self.init and not self.resp and not self.fin and not self.cookie_taken
        need(waits, "drop", "no INIT waits for it")
        self.init = hs.with_mac2(hs.open_cookie(self.keys_now, self.init, datagram), self.init)
        self.outbox.append(self.init)
        self.cookie_taken = self.asked_twice = True

    def on_verneg(self, datagram: bytes) -> None:
        """S-072; this node speaks one version, so a list that is believed ends the attempt."""
        fields = hs.decode_verneg(datagram)
        waited = self.init and not self.fin and fields["destination"] == self.own_id
        need(waited and fields["source"] == self.init[5:13], "drop", "a VERNEG that nobody waits for")
        if hs.VERSION not in fields["versions"]:
            self.failed, self.next_at = "E_VERSION", float("inf")

    # The responder.

    def on_init(self, datagram: bytes, now: float) -> None:
        """Message 1: answered with RESP, or with COOKIE where this node is under load."""
        if hs.opens_in_another_version(datagram):
            self.outbox.append(hs.encode_verneg(datagram, [hs.VERSION, self.grease()]))
        hs.spoken_fields(datagram)
        keys = next((keys for keys in self.me.keys if fits(keys, datagram)), None)
        if keys is None:
            raise SpecError("E_MAC1", "mac1 fits no key")
        fields = hs.decode_init(datagram)
        hs.check_versions(fields["versions"], fields["version"], [hs.VERSION])
        if self.resp and fields["source"] == self.init[13:21]:
            self.received += len(datagram)
            self.send_resp(now)
            return
        crossing = self.init and not self.resp
        need(not self.facts and not self.resp, "drop", "a second handshake")
        need(
            not crossing or fields["message"][:32] > self.own_ephemeral,
            "drop",
            "ours is the greater key (S-050)",
        )
        cookie = mac(self.me.seed, b"this node's secret behind cookies")[:16]
        if self.me.under_load and not hs.proves_address(cookie, datagram):
            self.outbox.append(hs.encode_cookie(keys, datagram, self.draw(16), cookie))
            return
        text = hs.prologue(fields["version"], keys.swarm_id, keys.mode, fields["versions"])
        state = noise.start(initiator=False, prologue=text, psk=keys.psk, static=self.me.static)
        state, rest = noise.read_tokens(state, fields["message"])
        state, empty = noise.read_payload(state, rest)
        need(not empty, "E_PROTOCOL", "message 1 has a payload (S-005)")
        state, tokens = noise.write_tokens(state, self.draw(32))
        self.state, sealed = noise.write_payload(state, self.write(state, {}, initiator=False))
        self.keys, self.init, self.received, self.sent_bytes = keys, datagram, len(datagram), 0
        self.resp = hs.encode_answer(hs.RESP, fields["source"], self.own_id, tokens + sealed)
        self.began, self.tries = now, 0
        self.send_resp(now)

    def send_resp(self, now: float) -> None:
        """RESP, within three times the bytes that came (S-042)."""
        if (
            self.sent_bytes + len(self.resp) <= LIMITS["unvalidated_factor"] * self.received
            and not self.facts
        ):
            self.outbox.append(self.resp)
            self.sent_bytes += len(self.resp)
            self.sent_at = now
        self.next_at = now + LIMITS["handshake_timeout_s"] * 2**self.tries
        self.tries += 1

    def on_fin(self, fields: dict[str, Any], now: float) -> None:
        """Message 3 (S-045)."""
        need(self.resp and fields["destination"] == self.own_id, "drop", "a FIN that nobody waits for")
        need(fields["source"] == self.init[13:21], "drop", "a FIN of another INIT")
        if self.facts:
            return
        try:
            state, payload = self.read(fields["message"], initiator=True)
        except SpecError as error:
            if error.code != "E_HS_DECRYPT":
                self.init = self.resp = b""
            raise
        if self.tries == 1:
            self.first_rtt = now - self.sent_at
        self.conclude(state, payload, initiator=False)

    # Both.

    @property
    def rtt(self) -> Rtt:
        """What the handshake says of the path (S-035)."""
        return Rtt() if self.first_rtt is None else sample(Rtt(), self.first_rtt, 0.0)

    @property
    def own_ephemeral(self) -> bytes:
        """This side's ephemeral public key."""
        return x25519_public(self.state.e) if self.state else b""

    @property
    def keys_now(self) -> Keys:
        """The keys in use."""
        return self.keys or self.me.keys[0]

    def write(self, state: noise.Noise, more: dict[str, Any], *, initiator: bool) -> bytes:
        """This side's payload."""
        parameters = {"reset_token": self.me.token_of(self.own_id)} | self.me.parameters
        fields = {"parameters": parameters, "connection_id": self.own_id} | more
        static = x25519_public(self.me.static)
        return hs.encode_payload(
            self.me.seed, self.me.peer, fields, initiator=initiator, h=state.h, static=static
        )

    def read(self, message: bytes, *, initiator: bool) -> tuple[noise.Noise, dict[str, Any]]:
        """The other side's message and payload, checked in the order of S-021."""
        if self.state is None:
            raise SpecError("drop", "no handshake")
        state, rest = noise.read_tokens(self.state, message)
        h = state.h
        state, data = noise.read_payload(state, rest)
        payload = hs.decode_payload(data, initiator=initiator, h=h, static=state.rs)
        expected = initiator or self.me.expected in (None, payload["peer"])
        need(expected, "E_HS_IDENTITY", "another peer than expected")
        same_id = not initiator or payload["connection_id"] == self.init[13:21]
        need(same_id, "E_HS_PARAMS", "another id than the INIT's (S-027)")
        both = {self.me.parameters["post_quantum"], payload["parameters"].get("post_quantum", 0)}
        need(both != {0, 2}, "E_HS_PQ_REQUIRED", "one side requires what the other does not offer")
        need(payload["peer"] != self.me.peer, "E_HS_SELF", "this node itself")
        return state, payload

    def conclude(self, state: noise.Noise, payload: dict[str, Any], *, initiator: bool) -> None:
        """What the session needs."""
        first, second = noise.split(state)
        send, receive = (first, second) if initiator else (second, first)
        ids = (self.own_id, payload["connection_id"])
        theirs = payload["parameters"]
        token_of: Callable[[bytes], bytes] = self.me.token_of
        self.facts = Facts(initiator, *ids, send, receive, state.h, self.me.parameters, theirs, token_of)
        self.peer = payload["peer"]
        self.next_at = float("inf")

    def receive(self, datagram: bytes, now: float) -> None:
        """Take one long packet; what is wrong with it is dropped, or ends the attempt (S-032)."""
        try:
            first = datagram[0]
            if first == hs.INIT:
                self.on_init(datagram, now)
            elif first == hs.COOKIE:
                self.on_cookie(datagram)
            elif first == hs.VERNEG:
                self.on_verneg(datagram)
            else:
                handler = self.on_resp if first == hs.RESP else self.on_fin
                handler(hs.decode_answer(datagram), now)
        except SpecError as error:
            fatal = error.code not in ("drop", "E_PROTOCOL", "E_VERSION", "E_HS_DECRYPT", "E_MAC1")
            if fatal and datagram[0] == hs.RESP:
                self.failed, self.next_at = error.code, float("inf")

    def poll(self, now: float, *, heard: bool) -> list[bytes]:
        """The datagrams to send now; `heard` says that a packet of the session has come."""
        if self.resp and not self.facts and now >= self.began + LIMITS["half_open_lifetime_s"]:
            self.init = self.resp = b""
            self.own_id, self.next_at = self.draw(8), float("inf")
        if now >= self.next_at and not self.failed:
            if self.resp:
                self.send_resp(now)
            elif not self.fin:
                self.send_init(now)
            elif not heard:
                self.send_fin(now)
        if heard:
            self.next_at = float("inf")
        datagrams, self.outbox = self.outbox, []
        return datagrams


def fits(keys: Keys, init: bytes) -> bool:
    """Whether an INIT's mac1 is under these keys."""
    try:
        check_mac1(keys.mac1_key, init)
    except SpecError:
        return False
    return True
