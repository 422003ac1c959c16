"""A node that talks to one other node: the modules of this package strung together, without sockets.

Hand it datagrams and the time; it hands back datagrams, `deadline`, and what happened, in `events`.
"""

from dataclasses import dataclass
from typing import Any

from . import handshake as hs
from . import objects as ob
from . import statements as st
from .agreement import Agreement, Fetcher, Source
from .data import ERROR_NAMES, ERRORS, LIMITS, SpecError, need
from .exchange import Exchange, stray
from .manifest import FETCH, MEMBER
from .merkle import byte_space, root
from .messages import decode_message, encode_message
from .opening import Me, Opening
from .session import DATAGRAM, Chunk, Draw, Session

CHUNK = DATAGRAM - 45


@dataclass
class Outgoing:
    """An object that was offered."""

    data: bytes
    space: bytes
    ranges: ob.Ranges
    credit: int = 0
    rank: int = 0


class Peer:
    """One node and its session with one other node, if any."""

    def __init__(
        self, me: Me, draw: Draw, hello: dict[str, Any], served: bytes = b"", signed: bytes | None = None
    ) -> None:
        """`hello` are the terms of its HELLO; `served` and `signed` a manifest that it hands out."""
        self.me, self.draw, self.hello, self.served, self.signed = me, draw, hello, served, signed
        self.opening = Opening(me, draw)
        self.session: Session | None = None
        self.agreement: Agreement | None = None
        self.fetcher: Fetcher | None = None
        self.source: Source | None = None
        self.events: list[tuple[Any, ...]] = []
        self.outgoing: dict[int, Outgoing] = {}
        self.offered: dict[int, dict[str, Any]] = {}
        self.incoming: dict[int, ob.Incoming] = {}
        self.last_in = self.last_out = -1
        self.asked: dict[str, Any] | None = None
        self.asked_until = 0.0
        self.fingerprint: tuple[int, bytes] | None = None
        self.answers: list[float] = []
        self.exchanges: dict[bytes, Exchange] = {}
        self.retry_at = 0.0
        self.now = self.wall = 0.0

    def connect(self, now: float) -> None:
        """Open a session, in the mode of the first keys."""
        self.opening.start(now)

    # The wire.

    def receive(self, datagram: bytes, now: float, wall: float) -> None:
        """Take one datagram of the other node; `wall` is the time of day."""
        self.now, self.wall = now, wall
        if datagram[:1] and datagram[0] & 0xC0 == 0xC0:
            if datagram[0] == hs.FIN and self.session and datagram[5:13] == self.session.facts.own_id:
                self.session.frames.append({"type": "PING"})
            self.opening.receive(datagram, now)
            self.begin()
        elif self.session and datagram[:1] and datagram[0] & 0xC0 == 0x40:
            self.session.receive(datagram, now)
        self.work()

    def poll(self, now: float, wall: float) -> list[bytes]:
        """The datagrams to send now."""
        self.now, self.wall = now, wall
        heard = self.session is not None and self.session.heard
        datagrams = self.opening.poll(now, heard=heard)
        if self.opening.failed:
            self.tell("failed", self.opening.failed)
            self.opening.failed = ""
        if not self.session:
            return datagrams
        self.session.now = now
        if not heard and self.opening.fin and now >= self.opening.began + 2 * LIMITS["half_open_lifetime_s"]:
            self.session.close("E_HS_TIMEOUT", told=False)
        self.clocks()
        self.work()
        return datagrams + self.session.poll(now)

    def deadline(self) -> float:
        """When `poll` has something to do."""
        due = [self.opening.next_at, self.session.deadline() if self.session else float("inf")]
        due += [self.agreement.until] if self.agreement and self.agreement.state != "AGREED" else []
        due += [self.retry_at] if self.exchanges else []
        due += [self.asked_until] if self.asked else []
        return min(due)

    def begin(self) -> None:
        """A session stands: HELLO, GET, or waiting for GET."""
        facts, keys = self.opening.facts, self.opening.keys
        if self.session or facts is None or keys is None:
            return
        self.session = Session(facts, self.draw, self.now, self.opening.rtt)
        self.session.next_chunk = self.next_chunk
        self.tell("session", self.opening.peer)
        if not facts.initiator:
            self.session.frames.append({"type": "PING"})
        if keys.mode == MEMBER:
            own = self.hello | {"initiator": facts.initiator, "swarm_id": keys.swarm_id}
            self.agreement = Agreement(own, self.now)
        elif keys.mode == FETCH and facts.initiator:
            self.fetcher = Fetcher(keys.swarm_id)
            self.session.say("manifest", self.fetcher.get())
        elif keys.mode == FETCH:
            self.source = Source(keys.swarm_id, self.served, self.signed)

    def tell(self, *event: Any) -> None:
        """Something happened."""
        self.events.append(event)

    def say(self, channel: str, message: bytes) -> None:
        """Send a message of a channel."""
        if self.session and not self.session.closed:
            self.session.say(channel, message)

    def close(self, code: str = "NO_ERROR") -> None:
        """End the session."""
        if self.session:
            self.session.close(code)
            self.work()

    def work(self) -> None:
        """Act on what the session received."""
        session = self.session
        if session is None:
            return
        try:
            while session.messages or session.chunks:
                messages, session.messages = session.messages, []
                for channel, message in messages:
                    need(not session.closed, "drop", "the session is over")
                    self.on_message(channel, message)
                chunks, session.chunks = session.chunks, []
                for chunk in chunks:
                    self.on_chunk(*chunk)
        except SpecError as error:
            if error.code != "drop":
                session.close(error.code)
        if self.agreement:
            self.speak_of_the_manifest(self.agreement)
        if session.closed and self.opening.peer:
            self.tell("closed", session.closed)
            self.opening.peer = b""
            for each in list(self.exchanges.values()):
                self.advance(each, "GIVE_UP", "GONE")

    def speak_of_the_manifest(self, agreement: Agreement) -> None:
        """Send what the manifest handshake has to say, and end the session where it refuses."""
        for message in agreement.out:
            self.say("manifest", message)
        agreement.out = []
        if agreement.state == "REFUSED" and self.session and not self.session.closed:
            self.tell("refused", agreement.code)
            self.session.close(agreement.code)

    def clocks(self) -> None:
        """Time-outs of the manifest handshake, of a question, and of word that may have been lost."""
        if self.agreement:
            self.agreement.poll(self.now)
        if self.asked and self.now >= self.asked_until:
            self.asked = None
            self.tell("fingerprint failed", "E_FP_TIMEOUT")
        if self.exchanges and self.now >= self.retry_at:
            self.retry_at = self.now + LIMITS["exchange_retry_s"]
            for each in list(self.exchanges.values()):
                self.advance(each, "RETRY")

    def on_message(self, channel: str, message: bytes) -> None:
        """One message, or MAX_DATA, to the part that it is for."""
        agreed = self.agreement is not None and self.agreement.state == "AGREED"
        if channel == "MAX_DATA":
            self.on_max_data(int.from_bytes(message[:4], "big"), int.from_bytes(message[4:], "big"))
        elif channel == "manifest":
            self.on_manifest(message)
        else:
            need(agreed, "E_FRAME_CONTEXT", "a message before the manifest is agreed, or in fetch mode")
            fields = decode_message(channel, message)
            name = f"on_{channel}_{fields['name'].lower()}"
            if fields["name"] and hasattr(self, name):
                getattr(self, name)(fields)

    def on_manifest(self, message: bytes) -> None:
        """Channel 1: the manifest handshake, or in fetch mode the fetch."""
        if self.agreement:
            before = self.agreement.state
            self.agreement.receive(message, self.wall)
            if self.agreement.state == "AGREED" != before:
                self.tell("agreed", self.agreement.theirs)
        elif self.source:
            answer, code = self.source.answer(message)
            self.say("manifest", answer)
            need(not code, code, "another swarm")
        elif self.fetcher:
            more = self.fetcher.take(message)
            if more:
                self.say("manifest", more)
            elif self.fetcher.whole:
                self.tell("manifest", self.fetcher.whole, self.fetcher.signature)
                self.close()

    # Objects (chapter 9).

    def offer(self, data: bytes, header: bytes = b"") -> int:
        """Offer an object; returns the transfer's number."""
        self.last_out += 1
        self.outgoing[self.last_out] = Outgoing(data, byte_space(data), [])
        small = data if 1 <= len(data) <= LIMITS["unsolicited_bytes"] else None
        fields = {
            "transfer": self.last_out,
            "root": root(data),
            "size": len(data),
            "header": header,
            "body": small,
        }
        self.say("objects", encode_message("objects", "OFFER", **fields))
        return self.last_out

    def on_objects_offer(self, fields: dict[str, Any]) -> None:
        """O-001, O-005, O-006; an empty header means an object of an exchange (B-043)."""
        need(fields["transfer"] > self.last_in, "E_PROTOCOL", "a transfer's number that is not higher")
        self.last_in = fields["transfer"]
        body = b"" if fields["size"] == 0 else fields.get("body")
        if body is not None:
            need(len(body) == fields["size"], "E_OBJ_SIZE", "an inline body of another length")
            need(root(body) == fields["root"], "E_OBJ_HASH", "an inline body of another root")
        if fields["size"] > LIMITS["object_bytes"]:
            self.cancel(fields["transfer"], "E_OBJ_SIZE")
            return
        self.offered[fields["transfer"]] = fields | {"body": body}
        if fields["header"]:
            self.tell("offer", fields["transfer"], fields)
        elif any(each.expected == (fields["root"], fields["size"]) for each in self.exchanges.values()):
            self.accept(fields["transfer"])
        else:
            self.refuse(fields["transfer"], "NOT_WANTED")

    def accept(self, transfer: int) -> None:
        """WANT, or DONE where nothing is missing (O-010)."""
        fields = self.offered[transfer]
        if fields["body"] is not None:
            self.arrived(transfer, fields["body"])
            return
        new = self.incoming[transfer] = ob.Incoming(fields["root"], fields["size"])
        self.say(
            "objects",
            encode_message("objects", "WANT", transfer=transfer, ranges=new.ranges, credit=new.credit),
        )

    def refuse(self, transfer: int, code: str) -> None:
        """CANCEL an offer (O-011)."""
        del self.offered[transfer]
        self.cancel(transfer, code)

    def cancel(self, transfer: int, code: str, *, by_offerer: bool = False) -> None:
        """CANCEL."""
        fields = {"transfer": transfer, "code": ERRORS[code], "by_offerer": by_offerer}
        self.say("objects", encode_message("objects", "CANCEL", **fields))

    def on_chunk(self, transfer: int, offset: int, data: bytes) -> None:
        """O-020, O-021."""
        need(transfer <= self.last_in, "E_FLOW", "a chunk of what was never offered")
        need(
            transfer in self.incoming or transfer not in self.offered,
            "E_FLOW",
            "a chunk that nobody asked for",
        )
        if transfer not in self.incoming or self.session is None:
            return
        limit = self.incoming[transfer].take(offset, data)
        if limit is not None:
            self.session.frames.append({"type": "MAX_DATA", "transfer": transfer, "limit": limit})
        whole = self.incoming[transfer].whole()
        if whole is not None:
            self.arrived(transfer, whole)

    def arrived(self, transfer: int, data: bytes) -> None:
        """DONE (O-027), and hand the object on."""
        self.incoming.pop(transfer, None)
        fields = self.offered.pop(transfer)
        self.say("objects", encode_message("objects", "DONE", transfer=transfer))
        if fields["header"]:
            self.tell("object", transfer, data)
        for each in list(self.exchanges.values()):
            if (
                not fields["header"]
                and each.expected == (fields["root"], fields["size"])
                and each.theirs is None
            ):
                each.theirs = data
                self.advance(each, "HOLD")

    def on_objects_want(self, fields: dict[str, Any]) -> None:
        """O-014, O-015, O-019."""
        if transfer := self.outgoing.get(fields["transfer"]):
            ob.check_want(fields["ranges"], len(transfer.data))
            transfer.ranges, transfer.credit, transfer.rank = fields["ranges"], fields["credit"], 0

    def on_max_data(self, number: int, limit: int) -> None:
        """O-016, O-019."""
        if transfer := self.outgoing.get(number):
            transfer.credit = max(transfer.credit, limit)

    def next_chunk(self) -> Chunk | None:
        """The next bytes of an object that is wanted, the newest first (O-018)."""
        for number, each in sorted(self.outgoing.items(), reverse=True):
            if chunk := ob.chunk_at(each.ranges, each.rank, each.credit, len(each.data), CHUNK):
                offset, length = chunk
                each.rank += length
                return number, offset, each.space[offset : offset + length]
        return None

    def on_objects_done(self, fields: dict[str, Any]) -> None:
        """An object was delivered."""
        if self.outgoing.pop(fields["transfer"], None):
            self.tell("delivered", fields["transfer"])

    def on_objects_cancel(self, fields: dict[str, Any]) -> None:
        """Either side gave a transfer up."""
        number, code = fields["transfer"], ERROR_NAMES.get(fields["code"], "E_PROTOCOL")
        if fields["by_offerer"]:
            known = self.offered.pop(number, None) is not None
            self.incoming.pop(number, None)
        else:
            known = self.outgoing.pop(number, None) is not None
        if known:
            self.tell("cancelled", number, code)

    # Fingerprints (chapter 12).

    def ask_fingerprint(self, epoch: int | None = None) -> None:
        """REQUEST (N-002, N-022)."""
        self.asked = {"nonce": self.draw(16)} | ({} if epoch is None else {"epoch": epoch})
        self.asked_until = self.now + LIMITS["fingerprint_timeout_s"]
        self.say("fingerprint", encode_message("fingerprint", "REQUEST", **self.asked))

    def on_fingerprint_request(self, fields: dict[str, Any]) -> None:
        """One ANSWER or one DECLINE (N-010 to N-014)."""
        self.answers = [at for at in self.answers if at > self.now - 3600]
        code = ""
        if self.fingerprint is None:
            code = "E_FP_UNSUPPORTED"
        elif fields.get("epoch", self.fingerprint[0]) != self.fingerprint[0]:
            code = "E_FP_EPOCH"
        elif len(self.answers) >= LIMITS["fingerprint_requests_per_hour"]:
            code = "E_FP_RATE"
        if code or self.fingerprint is None:
            decline = encode_message("fingerprint", "DECLINE", nonce=fields["nonce"], code=ERRORS[code])
            self.say("fingerprint", decline)
            return
        self.answers.append(self.now)
        epoch, body = self.fingerprint
        statement = st.fingerprint_of(
            self.bound_by(self.me.peer, self.opening.peer) | {"nonce": fields["nonce"]}, epoch, body
        )
        envelope = st.sign_statement(self.me.seed, "fingerprint", statement)
        self.say("fingerprint", encode_message("fingerprint", "ANSWER", statement=envelope, body=body))

    def bound_by(self, holder: bytes, verifier: bytes) -> dict[str, Any]:
        """What every statement of this session names."""
        return {"swarm_id": self.opening.keys_now.swarm_id, "holder": holder, "verifier": verifier}

    def on_fingerprint_answer(self, fields: dict[str, Any]) -> None:
        """N-020, N-021."""
        statement = st.read_statement("fingerprint", fields["statement"])
        if self.asked and statement["nonce"] == self.asked["nonce"]:
            expected, self.asked = self.bound_by(self.opening.peer, self.me.peer) | self.asked, None
            st.judge_answer(statement, fields["body"], fields["statement"], expected)
            self.tell("fingerprint", statement["epoch"], fields["body"])

    def on_fingerprint_decline(self, fields: dict[str, Any]) -> None:
        """N-021, N-023."""
        if self.asked and fields["nonce"] == self.asked["nonce"]:
            self.asked = None
            self.tell("fingerprint failed", ERROR_NAMES.get(fields["code"], "E_PROTOCOL"))

    # Exchanges (chapter 11b).

    def begin_exchange(self, data: bytes, weight: int, lateness: int, codec: int = 1) -> bytes:
        """OFFER; returns the exchange's name."""
        name = self.draw(16)
        terms = {"weight": weight, "lateness": lateness, "codec": codec, "metadata": {}}
        offer = {"exchange": name, "root": root(data), "size": len(data)} | terms
        new = self.exchanges[name] = Exchange(initiator=True, name=name, offer=offer, own=data)
        self.retry_at = self.now + LIMITS["exchange_retry_s"]
        self.say("exchange", new.message("OFFER"))
        return name

    def consent(self, name: bytes, data: bytes) -> None:
        """ACCEPT an exchange, with this object of ours."""
        each = self.exchanges[name]
        each.own, each.own_root, each.answer = data, root(data), self.draw(16)
        self.advance(each, "ACCEPT")

    def advance(self, each: Exchange, event: str, code: str = "") -> None:
        """One step of an exchange; "APPLY" and "SAVED" are the application's word."""
        each.step(event, code)
        for message in each.out:
            self.say("exchange", message)
        wants, each.out, each.wants = each.wants, [], []
        for want in wants:
            if want == "send object":
                self.offer(each.own)
            else:
                self.tell("exchange", each.name, want)
        if each.state == "CLOSED":
            self.exchanges.pop(each.name, None)
            need(each.code != "E_PROTOCOL", "E_PROTOCOL", "a COMMIT before READY (B-024)")

    def on_exchange_offer(self, fields: dict[str, Any]) -> None:
        """A new exchange, or the OFFER of one that is open again (B-042)."""
        name = fields["exchange"]
        if name in self.exchanges:
            if not self.exchanges[name].initiator:
                self.advance(self.exchanges[name], "OFFER")
            return
        full = len(self.exchanges) >= LIMITS["exchanges_per_peer"]
        if full or fields["lateness"] > LIMITS["exchange_lateness"]:
            code = ERRORS["E_BUSY" if full else "NOT_WANTED"]
            self.say("exchange", encode_message("exchange", "ABORT", exchange=name, code=code))
            return
        expected = (fields["root"], fields["size"])
        offer = {key: value for key, value in fields.items() if key != "name"}
        self.exchanges[name] = Exchange(initiator=False, name=name, offer=offer, expected=expected)
        self.retry_at = self.now + LIMITS["exchange_retry_s"]
        self.tell("exchange", name, "asked")

    def on_exchange(self, fields: dict[str, Any], *, to_initiator: bool) -> None:
        """Any other message, for a pair that is known or not (11b.6)."""
        each = self.exchanges.get(fields["exchange"])
        either = fields["name"] == "ABORT"
        if each is None or not (either or each.initiator == to_initiator) or not each.concerns(fields):
            other = "SUPERSEDED" if fields["name"] == "ACCEPT" and each and each.initiator else "GONE"
            if answer := stray(fields, other, to_initiator=to_initiator):
                self.say("exchange", answer)
            return
        if fields["name"] == "ACCEPT" and not each.answer:
            each.answer, each.expected = fields["answer"], (fields["root"], fields["size"])
        code = ERROR_NAMES.get(fields["code"], "E_PROTOCOL") if either else "E_RND_STALE"
        self.advance(each, fields["name"], code if either or fields["name"] == "ASK" else "")

    def on_exchange_accept(self, fields: dict[str, Any]) -> None:
        """From the responder."""
        self.on_exchange(fields, to_initiator=True)

    on_exchange_ready = on_exchange_ask = on_exchange_ack = on_exchange_accept

    def on_exchange_commit(self, fields: dict[str, Any]) -> None:
        """From the initiator; ABORT from either."""
        self.on_exchange(fields, to_initiator=False)

    on_exchange_abort = on_exchange_commit
