"""The object exchange of one connection: OFFER, WANT with credit, chunks, DONE, CANCEL (spec chapter 9).

A machine of its own: messages go over any ordered, reliable channel, chunks over anything that keeps their
bounds. The connection carries messages on its CONTROL stream and chunks in bulk packets, tells which chunks
were lost, and grants credit in MAX_DATA frames.
"""

from __future__ import annotations

from collections import deque

from quinkgl.transport.credit_window import CreditWindow
from quinkgl.transport.object_events import (
    ObjectDelivered,
    ObjectEvent,
    ObjectFailed,
    ObjectOffered,
    ObjectReceived,
)
from quinkgl.transport.object_receiver import ObjectReceiver, ReceiverEvent, ReceiverState
from quinkgl.transport.object_sender import Chunk, ObjectSender, SenderEvent
from quinkgl.transport.pace import Pace, Speed
from quinkgl.transport.reassembly import ObjectConfig, Reassembly
from quinkgl.transport.sinks import MemorySink, ObjectSink
from quinkgl.transport.turns import Turns
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.merkle import HASH_BYTES, leaf_count, leaf_hash
from quinkgl.wire.messages.objects import (
    Cancel,
    Done,
    Offer,
    Want,
    decode_object_message_untrusted,
    encode_object_message,
)

_MAX_REPLIES = 256
"""Answers that may wait for a peer that keeps offering but does not read."""


class ObjectExchange:
    """All transfers with one peer, both ways."""

    def __init__(self, reassembly: Reassembly, peer: bytes = b"") -> None:
        """Begin with no transfer; ``reassembly`` is shared by all exchanges of an endpoint."""
        self.window = CreditWindow(reassembly.config.credit_window_bytes)
        """What one incoming transfer may have on the way."""
        self._reassembly = reassembly
        self._peer = peer
        self._held = 0
        self._next_transfer = 0
        self._outgoing: dict[int, ObjectSender] = {}
        self._turns = Turns()
        self._offers: dict[int, Offer] = {}
        self._incoming: dict[int, ObjectReceiver] = {}
        self._paces_out: dict[int, Pace] = {}
        self._paces_in: dict[int, Pace] = {}
        self._highest_offer = -1
        self._messages: deque[bytes] = deque()
        self._credits: dict[int, int] = {}
        self._events: deque[ObjectEvent] = deque()

    # Commands

    def offer(
        self,
        root: bytes,
        leaves: bytes,
        header: bytes,
        body: memoryview,
        *,
        priority: int = 0,
        now: float,
    ) -> int | None:
        """Offer an object and return the number of the transfer; None when too many are open.

        ``leaves`` is the concatenation of all leaf hashes, ``body`` must stay unchanged until the transfer
        ends. Of several transfers that are wanted, those of the highest ``priority`` are sent first. Raises
        LocalProtocolError for an object or header over the limits, for what is no root, and for another
        number of leaf hashes than the body has leaves [O-001, O-003, O-004].
        """
        most = self._config.object_bytes
        if len(header) > LIMITS.header_bytes or len(body) > most:
            raise LocalProtocolError(
                ErrorCode.E_OBJ_SIZE,
                f"object of {len(body)} bytes with a header of {len(header)}; "
                f"the limits are {most} and {LIMITS.header_bytes}",
                section="9.2",
            )
        if len(root) != HASH_BYTES:
            raise LocalProtocolError(ErrorCode.E_USAGE, f"a root of {len(root)} bytes", section="9.1")
        if len(leaves) != HASH_BYTES * leaf_count(len(body)):
            raise LocalProtocolError(
                ErrorCode.E_USAGE, f"{len(leaves)} bytes of leaf hashes for {len(body)} bytes", section="9.1"
            )
        if len(self._outgoing) >= self._config.transfers_out_per_peer:
            return None
        transfer = self._next_transfer
        self._next_transfer += 1
        self._outgoing[transfer] = ObjectSender(transfer, root, leaves, body)
        self._turns.add(transfer, priority)
        stall_s = self._config.transfer_stall_s
        self._paces_out[transfer] = Pace(least_bytes=0, window_s=stall_s, stall_s=stall_s, now=now)
        inline = bytes(body) if 0 < len(body) <= LIMITS.unsolicited_bytes else None
        self._say(Offer(transfer, root, len(body), header, inline))
        return transfer

    @property
    def expects_chunks(self) -> bool:
        """Whether a transfer to us is under way."""
        return bool(self._incoming)

    def accept(self, transfer: int, sink: ObjectSink | None = None, *, now: float) -> bool:
        """Ask for an offered object, or for what of it is missing [O-010, O-012].

        The object goes into ``sink``, or else into memory: then what an earlier transfer of the same object
        left behind is used. False when the offer is gone or there is no room for the object now; the offer
        waits on then. Raises LocalProtocolError for a sink that is made for another object.
        """
        offer = self._offers.get(transfer)
        if offer is None:
            return False
        if sink is not None and (sink.root, sink.size) != (offer.root, offer.size):
            raise LocalProtocolError(
                ErrorCode.E_USAGE, f"the sink is not for the object of transfer {transfer}", section="9.4"
            )
        if sink is None and (offer.body is not None or offer.size == 0):
            del self._offers[transfer]
            self._deliver(offer, memoryview(offer.body or b""))
            return True
        place = self._place_of(offer, sink, now)
        if place is None:
            return False
        del self._offers[transfer]
        try:
            self._begin(offer, place, now)
        except OSError:
            self._on_sink_failed(transfer, offer.root)
        return True

    def refuse(self, transfer: int, code: int) -> None:
        """Turn down an offer, or stop an incoming transfer; nothing happens when it is gone [O-011, O-030].

        Nothing of the object is kept.
        """
        receiver = self._end_incoming(transfer, ReceiverEvent.REFUSED)
        if receiver is None and self._offers.pop(transfer, None) is None:
            return
        self._say(Cancel(transfer, code, by_offerer=False))

    def withdraw(self, transfer: int, code: int) -> None:
        """Stop offering or sending an object; nothing happens when the transfer is gone [O-030]."""
        if self._end_outgoing(transfer, SenderEvent.WITHDRAWN) is not None:
            self._say(Cancel(transfer, code, by_offerer=True))

    def close(self, code: int, *, now: float) -> None:
        """End every transfer with ``code`` [O-032].

        Each open transfer is reported as failed; verified leaves are kept for the next offer of the object.
        """
        for transfer in list(self._outgoing):
            self._fail_outgoing(transfer, SenderEvent.CLOSED, code)
        for transfer in list(self._incoming):
            self._break_incoming(transfer, ReceiverEvent.CLOSED, code, now)
        for transfer, offer in self._offers.items():
            self._events.append(ObjectFailed(transfer, offer.root, code, outgoing=False))
        self._offers.clear()
        self._messages.clear()
        self._credits.clear()

    # Input

    def receive_message_untrusted(self, data: bytes, *, now: float) -> None:
        """Take a message of the peer; RemoteProtocolError when it breaks the rules [O-019]."""
        match decode_object_message_untrusted(data):
            case Offer() as offer:
                self._on_offer_untrusted(offer)
            case Want() as want:
                sender = self._outgoing.get(want.transfer)
                if sender is not None:
                    sender.on_want_untrusted(want)
            case Done(transfer):
                sender = self._end_outgoing(transfer, SenderEvent.DONE)
                if sender is not None:
                    self._events.append(ObjectDelivered(transfer, sender.root))
            case cancel:
                self._on_cancel(cancel, now)

    def receive_chunk_untrusted(self, transfer: int, offset: int, data: bytes | memoryview) -> None:
        """Take a chunk of an accepted transfer, or a run of chunks that follow on each other as one.

        Chunks of transfers that are over are late, and ignored [O-020, O-021].
        """
        receiver = self._incoming.get(transfer)
        if receiver is None:
            if transfer > self._highest_offer or transfer in self._offers:
                raise RemoteProtocolError(
                    ErrorCode.E_FLOW, f"chunk of transfer {transfer}, which nobody asked for", section="9.4"
                )
            return
        try:
            receiver.receive_untrusted(offset, data)
            if receiver.state is ReceiverState.COMPLETE:
                self._complete(receiver)
                return
        except OSError:
            self._on_sink_failed(transfer, receiver.root)
            return
        credit = receiver.next_credit(self.window.size_bytes)
        if credit is not None:
            self._credits[transfer] = credit

    def receive_credit(self, transfer: int, limit: int) -> None:
        """Take a MAX_DATA of the peer; one for a transfer that is over is late, and ignored [F-050]."""
        sender = self._outgoing.get(transfer)
        if sender is not None:
            sender.on_credit(limit)

    def on_chunk_lost(self, chunk: Chunk) -> None:
        """Queue a lost chunk again."""
        sender = self._outgoing.get(chunk.transfer)
        if sender is not None:
            sender.on_lost(chunk)

    def on_credit_lost(self, transfer: int) -> None:
        """Grant the present credit of a transfer once more, since the packet with the last grant was lost."""
        receiver = self._incoming.get(transfer)
        if receiver is not None:
            self._credits[transfer] = receiver.credit

    def handle_timer(self, *, now: float) -> None:
        """End transfers that stand still, and slow ones that are in the way of others [O-037, O-039]."""
        for transfer, pace in list(self._paces_in.items()):
            speed = pace.judge(self._incoming[transfer].progress_bytes, now=now)
            in_the_way = speed is Speed.SLOW and self._reassembly.is_short_of_room(now=now)
            if in_the_way or speed is Speed.STALLED:
                self._reassembly.mark_slow(self._peer, now=now)
                self._break_incoming(transfer, ReceiverEvent.TOO_SLOW, ErrorCode.TOO_SLOW, now)
                self._say(Cancel(transfer, ErrorCode.TOO_SLOW, by_offerer=False))
        for transfer, pace in list(self._paces_out.items()):
            if pace.judge(self._outgoing[transfer].progress_bytes, now=now) is Speed.STALLED:
                self._fail_outgoing(transfer, SenderEvent.STALLED, ErrorCode.TOO_SLOW)
                self._say(Cancel(transfer, ErrorCode.TOO_SLOW, by_offerer=True))

    # Output

    def deadline(self) -> float | None:
        """When to call :meth:`handle_timer`."""
        if not self._paces_in and not self._paces_out:
            return None
        due = [pace.check_at for pace in self._paces_in.values()]
        due += [pace.check_at for pace in self._paces_out.values()]
        return min(due, default=None)

    def progress(self, transfer: int, *, outgoing: bool) -> tuple[int, int] | None:
        """Return how many bytes of a transfer's byte space are there, or left, and how many there are.

        Outgoing, only the bytes that the peer wants count. None when there is no such transfer under way.
        """
        if outgoing:
            sender = self._outgoing.get(transfer)
            return None if sender is None else sender.progress
        receiver = self._incoming.get(transfer)
        return None if receiver is None else (receiver.total - receiver.outstanding_bytes, receiver.total)

    def next_event(self) -> ObjectEvent | None:
        """Take the next event."""
        return self._events.popleft() if self._events else None

    def next_message(self) -> bytes | None:
        """Take the next message for the reliable channel."""
        return self._messages.popleft() if self._messages else None

    def next_credit(self) -> tuple[int, int] | None:
        """Take the next ``(transfer, limit)`` to grant."""
        if not self._credits:
            return None
        transfer = next(iter(self._credits))
        return transfer, self._credits.pop(transfer)

    @property
    def has_credit(self) -> bool:
        """Whether a grant is waiting."""
        return bool(self._credits)

    @property
    def has_chunk(self) -> bool:
        """Whether a chunk could be sent now."""
        return any(sender.has_output for sender in self._outgoing.values())

    @property
    def has_open_transfers(self) -> bool:
        """Whether any transfer, either way, is neither done nor given up."""
        return bool(self._outgoing or self._incoming or self._messages)

    def next_chunk(self, room: int) -> tuple[Chunk, memoryview] | None:
        """Take the next chunk of at most ``room`` bytes; transfers take turns, by priority."""
        for transfer in self._turns.candidates():
            taken = self._outgoing[transfer].take(room)
            if taken is not None:
                self._turns.took(transfer)
                return taken
        return None

    def _say(self, message: Offer | Want | Done | Cancel) -> None:
        self._messages.append(encode_object_message(message))

    def _on_offer_untrusted(self, offer: Offer) -> None:
        if offer.transfer <= self._highest_offer:
            raise RemoteProtocolError(
                ErrorCode.E_PROTOCOL, f"transfer number {offer.transfer} was used before", section="9.2"
            )
        self._highest_offer = offer.transfer
        if offer.body is not None and (len(offer.body) != offer.size or leaf_count(offer.size) > 1):
            raise RemoteProtocolError(
                ErrorCode.E_OBJ_SIZE,
                f"inline body of {len(offer.body)} bytes, size {offer.size}",
                section="9.2",
            )
        if (offer.body is not None or offer.size == 0) and leaf_hash(offer.body or b"") != offer.root:
            raise RemoteProtocolError(
                ErrorCode.E_OBJ_HASH, "inline body does not match the offered root", section="9.4"
            )
        if len(self._messages) >= _MAX_REPLIES:
            raise RemoteProtocolError(
                ErrorCode.E_FLOW, "offers come faster than answers are read", section="9.2"
            )
        if offer.size > self._config.object_bytes:
            self._say(Cancel(offer.transfer, ErrorCode.E_OBJ_SIZE, by_offerer=False))
        elif len(self._offers) >= LIMITS.offers_queued:
            self._say(Cancel(offer.transfer, ErrorCode.E_BUSY, by_offerer=False))
        else:
            self._offers[offer.transfer] = offer
            self._events.append(ObjectOffered(offer.transfer, offer.root, offer.size, offer.header))

    def _on_cancel(self, cancel: Cancel, now: float) -> None:
        # O-002, O-031
        if not cancel.by_offerer:
            self._fail_outgoing(cancel.transfer, SenderEvent.CANCEL, cancel.code)
            return
        self._break_incoming(cancel.transfer, ReceiverEvent.CANCEL, cancel.code, now)
        offer = self._offers.pop(cancel.transfer, None)
        if offer is not None:
            self._events.append(ObjectFailed(cancel.transfer, offer.root, cancel.code, outgoing=False))

    # Beginning and ending transfers

    @property
    def _config(self) -> ObjectConfig:
        return self._reassembly.config

    def _place_of(self, offer: Offer, sink: ObjectSink | None, now: float) -> ObjectSink | None:
        """Find the place of an object that may be received now; None where the bounds forbid it."""
        if len(self._incoming) >= self._config.transfers_in_per_peer:
            return None
        if self._reassembly.is_slow(self._peer, now=now):
            return None
        size = offer.size if sink is None else sink.memory_bytes
        # One object may be larger than a peer's share, or the largest ones could never be taken.
        if self._held > 0 and self._held + size > self._config.reassembly_per_peer_bytes:
            return None
        partial = self._reassembly.take_partial(offer.root, offer.size) if sink is None else None
        if self._reassembly.make_room(size, now=now):
            return sink or partial or MemorySink(offer.root, offer.size)
        if partial is not None:
            self._reassembly.keep_partial(partial, now=now)
        return None

    def _begin(self, offer: Offer, sink: ObjectSink, now: float) -> None:
        """Reserve the memory and say what is missing, or that nothing is."""
        receiver = ObjectReceiver(offer.transfer, offer.root, offer.size, offer.header, sink)
        self._incoming[offer.transfer] = receiver
        self._paces_in[offer.transfer] = Pace(
            least_bytes=self._config.min_window_bytes,
            window_s=self._config.min_rate_window_s,
            stall_s=self._config.transfer_stall_s,
            now=now,
        )
        self._held += receiver.memory_bytes
        self._reassembly.hold(receiver.memory_bytes)
        credit = receiver.next_credit(self.window.size_bytes) or 0
        if offer.body is not None:
            receiver.receive_untrusted(0, offer.body)  # its root was checked when the offer came
        if receiver.state is ReceiverState.COMPLETE:
            self._complete(receiver)
        else:
            self._say(Want(offer.transfer, receiver.wanted.as_pairs(), credit))

    def _complete(self, receiver: ObjectReceiver) -> None:
        # O-027
        body = receiver.sink.body()
        self._end_incoming(receiver.transfer, ReceiverEvent.DELIVERED)
        self._deliver(receiver, body)

    def _deliver(self, what: Offer | ObjectReceiver, body: memoryview) -> None:
        self._events.append(ObjectReceived(what.transfer, what.root, what.header, body))
        self._say(Done(what.transfer))

    def _on_sink_failed(self, transfer: int, root: bytes) -> None:
        """The sink refused a byte: the disk is full, say. That is no fault of the peer's."""
        self._end_incoming(transfer, ReceiverEvent.NOT_STORED)
        self._events.append(ObjectFailed(transfer, root, ErrorCode.E_INTERNAL, outgoing=False))
        self._say(Cancel(transfer, ErrorCode.E_INTERNAL, by_offerer=False))

    def _break_incoming(self, transfer: int, event: ReceiverEvent, code: int, now: float) -> None:
        """End a transfer without success; what was verified of it waits for the object's next offer."""
        # O-033
        receiver = self._end_incoming(transfer, event)
        if receiver is None:
            return
        self._events.append(ObjectFailed(transfer, receiver.root, code, outgoing=False))
        # SUPERSEDED: nobody will offer it again. Another sink is its owner's, who gives it once more.
        if isinstance(receiver.sink, MemorySink) and code != ErrorCode.SUPERSEDED:
            self._reassembly.keep_partial(receiver.sink, now=now)

    def _fail_outgoing(self, transfer: int, event: SenderEvent, code: int) -> None:
        sender = self._end_outgoing(transfer, event)
        if sender is not None:
            self._events.append(ObjectFailed(transfer, sender.root, code, outgoing=True))

    def _end_incoming(self, transfer: int, event: ReceiverEvent) -> ObjectReceiver | None:
        """Forget a transfer and give its memory back; a completed body lives on with its event."""
        receiver = self._incoming.pop(transfer, None)
        if receiver is not None:
            del self._paces_in[transfer]
            self._credits.pop(transfer, None)
            self._held -= receiver.memory_bytes
            self._reassembly.release(receiver.memory_bytes)
            receiver.end(event)
        return receiver

    def _end_outgoing(self, transfer: int, event: SenderEvent) -> ObjectSender | None:
        sender = self._outgoing.pop(transfer, None)
        if sender is not None:
            del self._paces_out[transfer]
            self._turns.remove(transfer)
            sender.end(event)
        return sender
