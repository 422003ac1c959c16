"""A session that stands: packets, ACKs, the CONTROL stream, new secrets and the end (chapters 5a to 8).

It has two datagrams in flight at most, the least window that 8.7 falls to, so it needs no congestion control.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from . import frames as fr
from . import packets as pk
from .data import CHANNELS, CONSTANTS, ERROR_NAMES, ERRORS, LIMITS, SpecError, is_grease, need
from .messages import decode_message, encode_message
from .phases import Receiving, Sending
from .primitives import same
from .recovery import Rtt, is_lost, loss_delay, probe_timeout, probe_wait, sample

WINDOW: int = CONSTANTS["minimum_window_packets"]
DATAGRAM: int = CONSTANTS["base_mtu_bytes"]
CHANNEL_NAMES = {code: name for name, code in CHANNELS.items()}
Draw = Callable[[int], bytes]
Chunk = tuple[int, int, bytes]
AGAIN = {"CONTROL", "NEW_CID", "RETIRE_CID", "MAX_CONTROL", "MAX_DATA"}


@dataclass(frozen=True)
class Facts:
    """What a handshake leaves to its session; the parameters are those of 5.5, by name."""

    initiator: bool
    own_id: bytes
    peer_id: bytes
    send_key: bytes
    receive_key: bytes
    h: bytes
    own: dict[str, Any]
    theirs: dict[str, Any]
    token_of: Callable[[bytes], bytes]


@dataclass(frozen=True)
class Sent:
    """A packet in flight, and what it carried."""

    at: float
    frames: list[fr.Frame] = field(default_factory=list)
    chunk: Chunk | None = None


class Session:
    """One side. `messages` and `chunks` hold what came; `next_chunk` is asked for bulk data to send."""

    def __init__(self, facts: Facts, draw: Draw, now: float, rtt: Rtt) -> None:
        """Begin with packet 0 in both directions."""
        self.facts, self.draw, self.now, self.rtt = facts, draw, now, rtt
        self.messages: list[tuple[str, bytes]] = []
        self.chunks: list[Chunk] = []
        self.next_chunk: Callable[[], Chunk | None] = lambda: None
        self.sending, self.receiving = Sending(facts.send_key, since=now), Receiving(facts.receive_key)
        self.number, self.skip_at, self.phase_began = 0, 128, 0
        self.skipped: list[int] = []
        self.sent: dict[int, Sent] = {}
        self.largest, self.probes = -1, 0
        self.probe_with: list[Sent] = []
        self.seen, self.unacknowledged, self.ack_at, self.arrived_at = set[int](), 0, 0.0, 0.0
        self.heard, self.last_heard, self.last_eliciting = False, now, now
        self.frames: list[fr.Frame] = []
        self.path_answers: list[fr.Frame] = []
        self.lost_chunks: list[Chunk] = []
        self.out, self.delivered, self.out_limit = bytearray(), bytearray(), LIMITS["control_window_bytes"]
        self.pending: list[tuple[int, int]] = []
        self.stream, self.have, self.read, self.in_limit = bytearray(), bytearray(), 0, self.out_limit
        self.unread = b""
        self.own_ids, self.next_id = {0: facts.own_id}, 1
        self.their_ids = {0: (facts.peer_id, facts.theirs.get("reset_token"))}
        self.closed, self.close_again, self.close_at, self.close_until = "", True, 0.0, 0.0
        self.waiting: list[tuple[str, bytes]] = []
        self.exchange, self.method, self.private, self.secret, self.reply_end = "idle", 0, b"", b"", 0
        self.exchanges, self.exchange_since = 0, now
        self.post_quantum = bool(facts.own["post_quantum"] and facts.theirs.get("post_quantum", 0))
        if self.post_quantum and facts.initiator:
            self.offer_secret(pk.ML_KEM_768)

    # What the node says.

    def say(self, channel: str, message: bytes) -> None:
        """Send a message; it waits while the post-quantum exchange is under way (K-037)."""
        if self.post_quantum and not self.sending.mixed and channel != "session":
            self.waiting.append((channel, message))
            return
        start = len(self.out)
        self.out += bytes([CHANNELS[channel]]) + len(message).to_bytes(2, "big") + message
        self.delivered += bytes(len(self.out) - start)
        self.pending.append((start, len(self.out)))

    def close(self, code: str, *, told: bool = True) -> None:
        """End the session, with CLOSE (F-060) unless it is not to be told."""
        if not self.closed:
            self.closed, self.close_at = code, self.now
            self.close_until = self.now + min(3 * self.timeout_s, LIMITS["close_timeout_s"]) * told

    @property
    def timeout_s(self) -> float:
        """One probe time-out."""
        return probe_timeout(self.rtt, self.facts.theirs["max_ack_delay_ms"] / 1000)

    @property
    def idle_s(self) -> float:
        """The smaller of both idle time-outs (S-025)."""
        return float(min(self.facts.own["idle_timeout_ms"], self.facts.theirs["idle_timeout_ms"]) / 1000)

    # What comes.

    def receive(self, datagram: bytes, now: float) -> None:
        """Take one short packet; what is wrong with it is dropped, or ends the session."""
        self.now = now
        try:
            self.take(datagram)
        except SpecError as error:
            if error.code != "drop":
                self.close(error.code)
            elif self.is_reset(datagram):
                self.close("E_RESET", told=False)

    def is_reset(self, datagram: bytes) -> bool:
        """Whether a datagram that opened under no key is a stateless reset (Q-042)."""
        tokens = [token for _, token in self.their_ids.values() if token]
        long_enough = (
            len(datagram) >= CONSTANTS["reset_min_bytes"] and datagram[1:9] not in self.own_ids.values()
        )
        return long_enough and any(same(datagram[-16:], token) for token in tokens)

    def take(self, datagram: bytes) -> None:
        """Open a packet, and act on its frames in their order (F-004)."""
        fields = pk.short_fields(datagram)
        need(fields["destination"] in self.own_ids.values(), "drop", "an id that is not ours")
        need(pk.is_new(fields["number"], self.seen), "drop", "a number that was seen, or is too old")
        mixes = self.receiving.mixes
        opened = self.receiving.open(datagram, fields, self.now, 3 * self.timeout_s)
        first, self.heard, self.last_heard = not self.heard, True, self.now
        if first:
            self.give_ids()
        if self.receiving.mixes > mixes:
            self.mixed_key_came()
        frames = [] if fields["bulk"] else fr.decode_frames(opened["plaintext"])
        self.note(fields["number"], asks=fields["bulk"] or fr.asks_for_ack(frames))
        if fields["bulk"] and not self.closed:
            self.chunks.append((fields["transfer"], fields["offset"], opened["plaintext"]))
        if self.closed and self.close_again:
            self.close_at = self.now
        for frame in frames:
            if frame["type"] == "CLOSE" or not self.closed:
                getattr(self, "on_" + frame["type"].lower())(frame | {"destination": fields["destination"]})

    def note(self, number: int, *, asks: bool) -> None:
        """Remember a packet for the next ACK (8.2)."""
        highest = max(self.seen, default=-1)
        self.seen.add(number)
        self.seen = {each for each in self.seen if each > highest - LIMITS["replay_window"]}
        if number > highest:
            self.arrived_at = self.now
        if asks:
            self.unacknowledged += 1
            at_once = number != highest + 1 or self.unacknowledged >= 2
            due = self.now if at_once else self.now + self.facts.own["max_ack_delay_ms"] / 1000
            self.ack_at = due if self.unacknowledged == 1 else min(self.ack_at, due)

    def on_padding(self, frame: fr.Frame) -> None:
        """PADDING, PING and GREASE ask for nothing here."""

    on_ping = on_grease = on_padding

    def on_ack(self, frame: fr.Frame) -> None:
        """Take acknowledged packets off, and find lost ones (8.4)."""
        largest = frame["ranges"][0][1]
        covered = [
            number for low, high in frame["ranges"] for number in self.skipped if low <= number <= high
        ]
        need(largest < self.number and not covered, "E_ACK", "a number that was never sent")
        numbers = {number for low, high in frame["ranges"] for number in self.sent if low <= number <= high}
        if not numbers:
            return
        self.largest, self.probes = max(self.largest, largest), 0
        self.sending.acknowledged = self.sending.acknowledged or max(numbers) >= self.phase_began
        if largest in numbers:
            delay = min(frame["delay"] * 8e-6, self.facts.theirs["max_ack_delay_ms"] / 1000)
            self.rtt = sample(self.rtt, self.now - self.sent[largest].at, delay)
        for each in [each for number in numbers for each in self.sent.pop(number).frames]:
            if each["type"] == "CONTROL":
                end = each["offset"] + len(each["data"])
                self.delivered[each["offset"] : end] = b"\1" * len(each["data"])
        self.find_lost()
        if self.exchange == "answered" and 0 not in self.delivered[: self.reply_end]:
            self.change_to_mixed("mixed")

    on_ack_ecn = on_ack

    def on_control(self, frame: fr.Frame) -> None:
        """Bytes of the stream in any order; the first copy of each counts (7.4)."""
        end = frame["offset"] + len(frame["data"])
        need(end <= self.in_limit, "E_FLOW", "bytes beyond the limit")
        missing = max(0, end - len(self.stream))
        self.stream += bytes(missing)
        self.have += bytes(missing)
        for at, byte in enumerate(frame["data"], frame["offset"]):
            if not self.have[at]:
                self.stream[at], self.have[at] = byte, 1
        gap = self.have.find(0, self.read)
        stop = len(self.have) if gap < 0 else gap
        self.unread, self.read = self.unread + bytes(self.stream[self.read : stop]), stop
        limit = self.read + LIMITS["control_window_bytes"]
        if limit - self.in_limit >= LIMITS["control_window_bytes"] // 2:
            self.in_limit = limit
            self.frames.append({"type": "MAX_CONTROL", "limit": limit})
        self.cut_messages()

    def cut_messages(self) -> None:
        """Hand whole messages on, in the order of the stream (F-040 to F-042)."""
        while len(self.unread) >= 3:
            code, length = self.unread[0], int.from_bytes(self.unread[1:3], "big")
            need(code in CHANNEL_NAMES or is_grease(code), "E_FRAME_UNKNOWN", f"channel {code:#04x}")
            need(length <= LIMITS["control_message_bytes"], "E_TOO_BIG", "a message that is too long")
            if len(self.unread) < 3 + length:
                return
            message, self.unread = self.unread[3 : 3 + length], self.unread[3 + length :]
            if CHANNEL_NAMES.get(code) == "session":
                self.on_secret(decode_message("session", message))
            elif code in CHANNEL_NAMES:
                early = self.post_quantum and not self.receiving.mixes
                need(not early, "E_HS_PQ_REQUIRED", "a message before its direction has the secret (K-038)")
                self.messages.append((CHANNEL_NAMES[code], message))

    def on_max_control(self, frame: fr.Frame) -> None:
        """More credit for the stream (F-032)."""
        self.out_limit = max(self.out_limit, frame["limit"])

    def on_max_data(self, frame: fr.Frame) -> None:
        """More credit for a transfer: passed on with the messages."""
        self.messages.append(
            ("MAX_DATA", frame["transfer"].to_bytes(4, "big") + frame["limit"].to_bytes(8, "big"))
        )

    def on_path_challenge(self, frame: fr.Frame) -> None:
        """F-010."""
        self.path_answers = [*self.path_answers[-3:], {"type": "PATH_RESPONSE", "data": frame["data"]}]

    def on_path_response(self, frame: fr.Frame) -> None:
        """F-011: this node never challenges."""
        raise SpecError("E_FRAME_CONTEXT", f"an answer {frame['data'].hex()} to no challenge")

    def on_new_cid(self, frame: fr.Frame) -> None:
        """P-035, P-036; this node uses the first id alone and retires none."""
        number, given = frame["sequence"], (frame["connection_id"], frame["token"])
        need(number < LIMITS["connection_ids"], "E_CID_LIMIT", "more ids than may stand")
        need(self.their_ids.get(number, given) == given, "E_PROTOCOL", "another id for a number that stands")
        others = [each[0] for key, each in self.their_ids.items() if key != number]
        need(given[0] not in others, "E_PROTOCOL", "another number for an id that stands")
        self.their_ids[number] = given

    def on_retire_cid(self, frame: fr.Frame) -> None:
        """P-037; each id that the peer retires is replaced."""
        number = frame["sequence"]
        need(number < self.next_id, "E_PROTOCOL", "an id that was never given")
        need(self.own_ids.get(number) != frame["destination"], "E_PROTOCOL", "the id that the packet bears")
        self.own_ids.pop(number, None)
        self.give_ids()

    def give_ids(self) -> None:
        """Keep as many ids standing as P-032 asks for."""
        while len(self.own_ids) < LIMITS["connection_ids"]:
            new = self.draw(8)
            self.own_ids[self.next_id] = new
            fields = {"sequence": self.next_id, "connection_id": new, "token": self.facts.token_of(new)}
            self.frames.append({"type": "NEW_CID"} | fields)
            self.next_id += 1

    def on_close(self, frame: fr.Frame) -> None:
        """F-062: answer once with the same code; F-061: the peer's CLOSE ends our own."""
        if self.closed:
            self.close_until = min(self.close_until, self.now) if self.close_again else self.close_until
            return
        self.close(ERROR_NAMES.get(frame["code"], "E_PROTOCOL"))
        self.close_again = False

    # New secrets (5a.7).

    def offer_secret(self, method: int) -> None:
        """Begin an exchange, as the session's initiator."""
        self.exchange, self.method, self.exchange_since = "offered", method, self.now
        self.private = self.draw(64 if method == pk.ML_KEM_768 else 32)
        value = pk.exchange_offer(method, self.private)
        self.say("session", encode_message("session", "OFFER", method=method, value=value))

    def on_secret(self, fields: dict[str, Any]) -> None:
        """OFFER at the responder, REPLY at the initiator; everything else is out of place (K-031)."""
        first = pk.ML_KEM_768 if self.post_quantum and not self.exchanges else pk.X25519
        if fields["name"] == "OFFER":
            expected = self.exchange == "idle" and not self.facts.initiator and fields["method"] == first
            need(expected, "E_FRAME_CONTEXT", "an OFFER that was not expected")
            self.exchange, self.method, self.exchange_since = "answered", fields["method"], self.now
            value, self.secret = pk.exchange_reply(self.method, fields["value"], self.draw(32))
            self.receiving.mix_next(self.secret, self.facts.h, self.method)
            self.say("session", encode_message("session", "REPLY", method=self.method, value=value))
            self.reply_end = len(self.out)
        else:
            expected = self.exchange == "offered" and fields["method"] == self.method
            need(expected, "E_FRAME_CONTEXT", "a REPLY that was not expected")
            self.secret = pk.exchange_secret(self.method, self.private, fields["value"])
            self.receiving.mix_next(self.secret, self.facts.h, self.method)
            self.change_to_mixed("mixed")
            self.frames.append({"type": "PING"})

    def change_to_mixed(self, following: str) -> None:
        """Take the secret into the sending direction, and say what waited for that."""
        key = pk.mix_secret(self.sending.key, self.secret, self.facts.h, self.method)
        self.sending.change(key, self.now)
        self.phase_began, self.sending.mixed, self.exchange = self.number, True, following
        self.exchanges, self.secret, self.private = self.exchanges + 1, b"", b""
        waiting, self.waiting = self.waiting, []
        for channel, message in waiting:
            self.say(channel, message)

    def mixed_key_came(self) -> None:
        """A packet under the other side's new key arrived."""
        if self.exchange == "answered":
            self.change_to_mixed("idle")
        self.exchange = "idle"

    # What goes out.

    def poll(self, now: float) -> list[bytes]:
        """The datagrams to send now."""
        self.now = now
        if not self.closed:
            self.look_at_the_clock()
        datagrams = []
        try:
            while not self.closed and (datagram := self.next_packet()):
                datagrams.append(datagram)
        except SpecError as error:
            self.close(error.code)
        if self.closed and self.close_at <= now < self.close_until:
            self.close_at = now + self.timeout_s if self.close_again else self.close_until
            reason = {"type": "CLOSE", "code": ERRORS[self.closed], "reason": ""}
            datagrams.append(self.seal([reason]))
        return datagrams

    def deadline(self) -> float:
        """When `poll` has something to do without anything coming."""
        if self.closed:
            return self.close_at if self.close_at < self.close_until else float("inf")
        due = [self.last_heard + self.idle_s, self.last_eliciting + self.keepalive_s, self.probe_at()]
        due += [self.loss_at(), self.ack_at if self.unacknowledged else float("inf")]
        return min(due)

    @property
    def keepalive_s(self) -> float:
        """F-070."""
        return float(min(LIMITS["keepalive_s"], self.idle_s / 4))

    def loss_at(self) -> float:
        """When a packet in flight will count as lost (8.4)."""
        times = [each.at for number, each in self.sent.items() if number < self.largest]
        return min(times, default=float("inf")) + loss_delay(self.rtt)

    def probe_at(self) -> float:
        """When a probe is due (8.5)."""
        if not self.sent or self.loss_at() < float("inf"):
            return float("inf")
        delay = self.facts.theirs["max_ack_delay_ms"] / 1000
        return self.last_eliciting + probe_wait(self.rtt, delay, self.probes, self.idle_s)

    def look_at_the_clock(self) -> None:
        """Idle time-out, losses, probes, keep-alive, and the times of 5a."""
        if self.now >= self.last_heard + self.idle_s:
            self.close("E_IDLE", told=False)
        waits = self.post_quantum and not self.exchanges
        if (self.exchange != "idle" or waits) and self.now >= self.exchange_since + CONSTANTS["key_phase_s"]:
            self.close("E_KEY_UPDATE")
        ratchet = self.exchange_since + CONSTANTS["ratchet_s"]
        if self.facts.initiator and self.exchange == "idle" and self.now >= ratchet:
            self.offer_secret(pk.X25519)
        self.find_lost()
        if self.now >= self.probe_at():
            self.probes += 1
            self.probe_with = [self.sent[number] for number in sorted(self.sent)[:2]]
            self.probe_with += [Sent(self.now)] * (2 - len(self.probe_with))
        elif self.now >= self.last_eliciting + self.keepalive_s and not self.frames:
            self.frames.append({"type": "PING"})

    def find_lost(self) -> None:
        """Declare packets lost (8.4), and send again what of them is still of use."""
        for number, packet in list(self.sent.items()):
            if is_lost(number, packet.at, self.largest, self.rtt, self.now):
                del self.sent[number]
                self.carry_again(packet)

    def carry_again(self, packet: Sent) -> None:
        """Queue what a packet carried (7.1)."""
        self.lost_chunks += [packet.chunk] if packet.chunk else []
        for frame in packet.frames:
            start = frame.get("offset", 0)
            if frame["type"] == "CONTROL":
                if 0 in self.delivered[start : start + len(frame["data"])]:
                    self.pending.insert(0, (start, start + len(frame["data"])))
            elif frame["type"] in AGAIN and frame not in self.frames:
                self.frames.append(frame)

    def next_packet(self) -> bytes | None:
        """One more datagram, or None; ACKs, path answers and probes pass the window."""
        if self.path_answers:
            return self.seal([self.path_answers.pop(0)])
        if self.probe_with:
            return self.probe(self.probe_with.pop(0))
        frames = self.ack() if self.unacknowledged and self.now >= self.ack_at else []
        if len(self.sent) >= WINDOW:
            return self.seal(frames) if frames else None
        while self.frames and len(fr.encode_frames([*frames, self.frames[0]])) < DATAGRAM - 200:
            frames.append(self.frames.pop(0))
        if control := self.control(DATAGRAM - 33 - 11 - len(fr.encode_frames(frames))):
            frames.append(control)
        if fr.asks_for_ack(frames):
            frames = [*(frames if frames[0]["type"] == "ACK" else self.ack() + frames)]
            frames += [{"type": "PADDING"}] * (
                CONSTANTS["least_eliciting_bytes"] - 33 - len(fr.encode_frames(frames))
            )
        if frames:
            return self.seal(frames, Sent(self.now, frames) if fr.asks_for_ack(frames) else None)
        if self.post_quantum and not self.sending.mixed:
            return None
        chunk = self.lost_chunks.pop(0) if self.lost_chunks else self.next_chunk()
        return self.seal_chunk(chunk) if chunk else None

    def probe(self, packet: Sent) -> bytes:
        """A probe with what a packet in flight carried, as far as that is still of use, or PING (R-041)."""
        if packet.chunk:
            return self.seal_chunk(packet.chunk)
        frames = [frame for frame in packet.frames if frame["type"] in AGAIN] or [{"type": "PING"}]
        return self.seal(frames, Sent(self.now, frames))

    def ack(self) -> list[fr.Frame]:
        """An ACK of what came, where something waits for one (7.3)."""
        if not self.unacknowledged:
            return []
        ranges: list[tuple[int, int]] = []
        for number in sorted(self.seen, reverse=True):
            if ranges and ranges[-1][0] == number + 1:
                ranges[-1] = (number, ranges[-1][1])
            elif len(ranges) < LIMITS["ack_ranges"]:
                ranges.append((number, number))
            else:
                break
        self.unacknowledged = 0
        delay = min(int((self.now - self.arrived_at) / 8e-6), 0xFFFF)
        return [{"type": "ACK", "delay": delay, "ranges": ranges}]

    def control(self, room: int) -> fr.Frame | None:
        """The next bytes of the stream that may be sent (F-030)."""
        if not self.pending or self.pending[0][0] >= self.out_limit:
            return None
        start, end = self.pending.pop(0)
        stop = min(end, start + room, self.out_limit)
        if stop < end:
            self.pending.insert(0, (stop, end))
        return {"type": "CONTROL", "offset": start, "data": bytes(self.out[start:stop])}

    def take_number(self) -> int:
        """The next packet number; one is skipped now and then (P-026), and a phase that has lasted ends."""
        if self.number == self.skip_at:
            self.skipped = [*self.skipped[-63:], self.number]
            self.number += 1
            self.skip_at = self.number + 128 + int.from_bytes(self.draw(2), "big") % 385
        if self.sending.is_due(self.now) and self.exchange in ("idle", "mixed"):
            self.sending.change(pk.rekey(self.sending.key), self.now)
            self.phase_began = self.number
        need(
            self.sending.packets < CONSTANTS["aead_confidentiality_packets"], "E_AEAD_LIMIT", "a worn-out key"
        )
        self.sending.packets += 1
        self.number += 1
        return self.number - 1

    def seal(self, frames: list[fr.Frame], sent: Sent | None = None) -> bytes:
        """A packet with frames."""
        number = self.take_number()
        header = pk.frames_header(
            self.facts.peer_id, number, phase=self.sending.phase, random_bits=self.draw(1)[0]
        )
        self.track(number, sent)
        return pk.seal_packet(self.sending.key, header, fr.encode_frames(frames))

    def seal_chunk(self, chunk: Chunk) -> bytes:
        """A bulk packet."""
        number, (transfer, offset, data) = self.take_number(), chunk
        header = pk.bulk_header(
            self.facts.peer_id,
            number,
            transfer,
            offset,
            phase=self.sending.phase,
            random_bits=self.draw(1)[0],
        )
        self.track(number, Sent(self.now, chunk=chunk))
        return pk.seal_packet(self.sending.key, header, data)

    def track(self, number: int, sent: Sent | None) -> None:
        """Remember a packet that asks for an ACK (R-001)."""
        if sent:
            self.sent[number], self.last_eliciting = sent, self.now
