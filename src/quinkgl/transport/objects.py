"""The object exchange of one connection: OFFER, WANT with credit, chunks, DONE, CANCEL (spec chapter 9).

A machine of its own: messages go over any ordered, reliable channel, chunks over anything that keeps their
bounds. The connection carries messages on its CONTROL stream and chunks in bulk packets, tells which chunks
were lost, and grants credit in MAX_DATA frames.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from quinkgl.transport.merkle import HASH_BYTES, leaf_count, leaf_hash
from quinkgl.transport.object_receiver import ObjectReceiver, ReceiverState
from quinkgl.transport.object_sender import Chunk, ObjectSender
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from quinkgl.wire.limits import LIMITS
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


@dataclass(frozen=True, slots=True)
class ObjectOffered:
    """The peer offers an object; answer with ``accept`` or ``refuse``."""

    transfer: int
    root: bytes
    size: int
    header: bytes


@dataclass(frozen=True, slots=True)
class ObjectReceived:
    """An accepted object is whole and every leaf of it verified."""

    transfer: int
    root: bytes
    header: bytes
    body: memoryview


@dataclass(frozen=True, slots=True)
class ObjectDelivered:
    """The peer has all of an object that we offered."""

    transfer: int
    root: bytes


@dataclass(frozen=True, slots=True)
class ObjectFailed:
    """A transfer ended without success; ``outgoing`` tells whose offer it was."""

    transfer: int
    root: bytes
    code: int
    outgoing: bool


ObjectEvent = ObjectOffered | ObjectReceived | ObjectDelivered | ObjectFailed


class ReassemblyBudget:
    """Bytes of object buffers that may be held, shared by all connections of an endpoint."""

    __slots__ = ("limit", "transfers", "transfers_limit", "used")

    def __init__(
        self,
        limit: int = LIMITS.reassembly_global_bytes,
        transfers_limit: int = LIMITS.transfers_global,
    ) -> None:
        self.limit = limit
        self.transfers_limit = transfers_limit
        self.used = 0
        self.transfers = 0

    def has_room(self, size: int) -> bool:
        """Whether one more object of ``size`` bytes may be received now."""
        return self.transfers < self.transfers_limit and self.used + size <= self.limit

    def hold(self, size: int) -> None:
        """Take one object's share."""
        self.used += size
        self.transfers += 1

    def release(self, size: int) -> None:
        """Give one object's share back."""
        self.used -= size
        self.transfers -= 1


class ObjectExchange:
    """All transfers with one peer, both ways."""

    def __init__(self, budget: ReassemblyBudget) -> None:
        self._budget = budget
        self._held = 0
        self._next_transfer = 0
        self._outgoing: dict[int, ObjectSender] = {}
        self._turn: deque[int] = deque()
        self._offers: dict[int, Offer] = {}
        self._incoming: dict[int, ObjectReceiver] = {}
        self._highest_offer = -1
        self._messages: deque[bytes] = deque()
        self._credits: dict[int, int] = {}
        self._events: deque[ObjectEvent] = deque()

    # Commands

    def offer(self, root: bytes, leaves: bytes, header: bytes, body: memoryview) -> int | None:
        """Offer an object and return the number of the transfer; None when too many are open.

        ``leaves`` is the concatenation of all leaf hashes, ``body`` must stay unchanged until the transfer
        ends. Raises LocalProtocolError for an object or header over the limits, and for another number
        of leaf hashes than the body has leaves.
        """
        if len(header) > LIMITS.header_bytes or len(body) > LIMITS.object_bytes:
            raise LocalProtocolError(
                ErrorCode.E_OBJ_SIZE,
                f"object of {len(body)} bytes with a header of {len(header)}; "
                f"the limits are {LIMITS.object_bytes} and {LIMITS.header_bytes}",
                section="9.2",
            )
        if len(leaves) != HASH_BYTES * leaf_count(len(body)):
            raise LocalProtocolError(
                ErrorCode.E_USAGE, f"{len(leaves)} bytes of leaf hashes for {len(body)} bytes", section="9.1"
            )
        if len(self._outgoing) >= LIMITS.transfers_out_per_peer:
            return None
        transfer = self._next_transfer
        self._next_transfer += 1
        self._outgoing[transfer] = ObjectSender(transfer, root, leaves, body)
        self._turn.append(transfer)
        inline = bytes(body) if 0 < len(body) <= LIMITS.unsolicited_bytes else None
        self._say(Offer(transfer, root, len(body), header, inline))
        return transfer

    def accept(self, transfer: int) -> bool:
        """Ask for an offered object. False when the offer is gone or there is no room for the object now."""
        offer = self._offers.get(transfer)
        if offer is None:
            return False
        if offer.body is not None or offer.size == 0:
            del self._offers[transfer]
            self._finish_inline(offer)
            return True
        # One object may be larger than a peer's share, or the largest ones could never be taken.
        over_share = self._held > 0 and self._held + offer.size > LIMITS.reassembly_per_peer_bytes
        full = len(self._incoming) >= LIMITS.transfers_in_per_peer
        if full or over_share or not self._budget.has_room(offer.size):
            return False
        del self._offers[transfer]
        self._held += offer.size
        self._budget.hold(offer.size)
        receiver = ObjectReceiver(transfer, offer.root, offer.size, offer.header)
        self._incoming[transfer] = receiver
        credit = receiver.next_credit() or 0
        self._say(Want(transfer, ((0, receiver.total),), credit))
        return True

    def refuse(self, transfer: int, code: int) -> None:
        """Turn down an offer, or stop an incoming transfer; nothing happens when it is gone."""
        receiver = self._incoming.pop(transfer, None)
        if receiver is not None:
            self._release(receiver)
        elif self._offers.pop(transfer, None) is None:
            return
        self._say(Cancel(transfer, code, by_offerer=False))

    def withdraw(self, transfer: int, code: int) -> None:
        """Stop offering or sending an object; nothing happens when the transfer is gone."""
        if self._end_outgoing(transfer) is not None:
            self._say(Cancel(transfer, code, by_offerer=True))

    def close(self, code: int) -> None:
        """End every transfer with ``code``.

        Buffers are released and each open transfer is reported as failed.
        """
        for transfer, sender in self._outgoing.items():
            sender.end()
            self._events.append(ObjectFailed(transfer, sender.root, code, outgoing=True))
        for transfer, receiver in self._incoming.items():
            self._release(receiver)
            self._events.append(ObjectFailed(transfer, receiver.root, code, outgoing=False))
        for transfer, offer in self._offers.items():
            self._events.append(ObjectFailed(transfer, offer.root, code, outgoing=False))
        self._outgoing.clear()
        self._turn.clear()
        self._incoming.clear()
        self._offers.clear()
        self._messages.clear()
        self._credits.clear()

    # Input

    def receive_message_untrusted(self, data: bytes) -> None:
        """Take a message of the peer; RemoteProtocolError when it breaks the rules."""
        match decode_object_message_untrusted(data):
            case Offer() as offer:
                self._on_offer_untrusted(offer)
            case Want() as want:
                sender = self._outgoing.get(want.transfer)
                if sender is not None:
                    sender.on_want_untrusted(want)
            case Done(transfer):
                sender = self._end_outgoing(transfer)
                if sender is not None:
                    self._events.append(ObjectDelivered(transfer, sender.root))
            case cancel:
                self._on_cancel(cancel)

    def receive_chunk_untrusted(self, transfer: int, offset: int, data: bytes) -> None:
        """Take a chunk of an accepted transfer; chunks of transfers that are over are late, and ignored."""
        receiver = self._incoming.get(transfer)
        if receiver is None:
            if transfer > self._highest_offer or transfer in self._offers:
                raise RemoteProtocolError(
                    ErrorCode.E_FLOW, f"chunk of transfer {transfer}, which nobody asked for", section="9.4"
                )
            return
        receiver.receive_untrusted(offset, data)
        if receiver.state is ReceiverState.COMPLETE:
            del self._incoming[transfer]
            self._events.append(ObjectReceived(transfer, receiver.root, receiver.header, receiver.body))
            self._release(receiver)
            self._say(Done(transfer))
            return
        credit = receiver.next_credit()
        if credit is not None:
            self._credits[transfer] = credit

    def receive_credit(self, transfer: int, limit: int) -> None:
        """Take a MAX_DATA of the peer; one for a transfer that is over is late, and ignored."""
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

    # Output

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
        """Take the next chunk of at most ``room`` bytes; transfers take turns."""
        for _ in range(len(self._turn)):
            transfer = self._turn[0]
            self._turn.rotate(-1)
            taken = self._outgoing[transfer].take(room)
            if taken is not None:
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
        if offer.size > LIMITS.object_bytes:
            self._say(Cancel(offer.transfer, ErrorCode.E_OBJ_SIZE, by_offerer=False))
        elif len(self._offers) >= LIMITS.offers_queued:
            self._say(Cancel(offer.transfer, ErrorCode.E_BUSY, by_offerer=False))
        else:
            self._offers[offer.transfer] = offer
            self._events.append(ObjectOffered(offer.transfer, offer.root, offer.size, offer.header))

    def _on_cancel(self, cancel: Cancel) -> None:
        if not cancel.by_offerer:
            sender = self._end_outgoing(cancel.transfer)
            if sender is not None:
                self._events.append(ObjectFailed(cancel.transfer, sender.root, cancel.code, outgoing=True))
            return
        receiver = self._incoming.pop(cancel.transfer, None)
        offer = self._offers.pop(cancel.transfer, None)
        if receiver is not None:
            self._release(receiver)
            self._events.append(ObjectFailed(cancel.transfer, receiver.root, cancel.code, outgoing=False))
        elif offer is not None:
            self._events.append(ObjectFailed(cancel.transfer, offer.root, cancel.code, outgoing=False))

    def _finish_inline(self, offer: Offer) -> None:
        body = memoryview(offer.body or b"")
        self._events.append(ObjectReceived(offer.transfer, offer.root, offer.header, body))
        self._say(Done(offer.transfer))

    def _end_outgoing(self, transfer: int) -> ObjectSender | None:
        sender = self._outgoing.pop(transfer, None)
        if sender is not None:
            self._turn.remove(transfer)
            sender.end()
        return sender

    def _release(self, receiver: ObjectReceiver) -> None:
        """Give back the budget; a completed body lives on with whoever took its event."""
        self._held -= receiver.size
        self._budget.release(receiver.size)
        self._credits.pop(receiver.transfer, None)
        if receiver.state is not ReceiverState.COMPLETE:
            receiver.end()
