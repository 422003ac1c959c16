"""Objects from a hostile peer, into memory and into a file whose map of verified leaves is damaged."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from fuzz.files import memory_folder
from fuzz.harness import Target
from fuzz.mutators import Choices, Step, mutate_cbor, pack, script_mutator, unpack
from fuzz.oracles import Bound, Finding, check_error, compares_states, metered
from quinkgl.storage.object_file import MAP_SUFFIX, PART_SUFFIX, ObjectFile, ObjectFileError
from quinkgl.testing.contract import freeze
from quinkgl.transport.object_events import ObjectFailed, ObjectOffered, ObjectReceived
from quinkgl.transport.object_receiver import ObjectReceiver, ReceiverEvent, ReceiverState
from quinkgl.transport.object_sender import Chunk
from quinkgl.transport.objects import ObjectExchange
from quinkgl.transport.reassembly import ObjectConfig, Reassembly
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.merkle import LEAF_BYTES, leaf_hashes, merkle_root
from quinkgl.wire.messages.objects import (
    Cancel,
    Done,
    Offer,
    Want,
    decode_object_message_untrusted,
    encode_object_message,
)

_SIZES = (0, 1, 100, 4096, 5000, LEAF_BYTES, LEAF_BYTES + 1, 2 * LEAF_BYTES, 2 * LEAF_BYTES + 500)
_BOUND = Bound(calls=3000, calls_per_byte=12, memory=400_000, memory_per_byte=120)
_QUIET = frozenset({"_refused_at"})


@lru_cache(maxsize=len(_SIZES))
def _object(number: int) -> tuple[bytes, list[bytes], bytes]:
    """Return body, leaf hashes and root of one of the objects."""
    size = _SIZES[number % len(_SIZES)]
    body = hashlib.shake_128(bytes([number])).digest(size)
    leaves = leaf_hashes(body)
    return body, leaves, merkle_root(leaves)


def _space(number: int) -> bytes:
    """Return the byte space of an object's transfer."""
    body, leaves, _ = _object(number % len(_SIZES))
    return (b"".join(leaves) if len(leaves) > 1 else b"") + body


# --- the object exchange of one session ---

RAW, OFFER, ACCEPT, CHUNK, NEXT_CHUNK, REFUSE, SEND, CREDIT, LOST, WAIT, CANCEL, WITHDRAW, DRAIN, CLOSE = (
    range(14)
)


class _Run:
    """One script: the exchange, and the objects that the peer offered by their transfer."""

    def __init__(self) -> None:
        self.reassembly = Reassembly(
            ObjectConfig(
                object_bytes=40_000,
                reassembly_bytes=100_000,
                reassembly_per_peer_bytes=70_000,
                transfers=4,
                transfers_in_per_peer=3,
                transfers_out_per_peer=3,
                partials=2,
            )
        )
        self.exchange = ObjectExchange(self.reassembly, b"peer")
        self.now = 0.0
        self.offered: dict[int, int] = {}
        self.waiting: list[int] = []
        self.running: dict[int, int] = {}
        """How far the peer has sent of each transfer that was asked for."""
        self.highest = -1
        self.sent: list[Chunk] = []

    def step(self, code: int, payload: bytes) -> bool:
        """Do one step; False where the session ends."""
        choices = Choices(payload)
        exchange = self.exchange
        match code % 14:
            case 0:
                return self._message(choices.rest())
            case 1:
                return self._offer(choices)
            case 2:
                transfer = self.waiting[0] if self.waiting else choices.number()
                if exchange.accept(transfer, now=self.now) and transfer in self.waiting:
                    self.waiting.remove(transfer)
            case 3:
                return self._chunk(choices)
            case 4:
                return self._next_chunks(choices)
            case 5:
                exchange.refuse(self._transfer(choices), choices.number(2))
            case 6:
                body, leaves, root = _object(choices.number())
                exchange.offer(root, b"".join(leaves), b"header", memoryview(body), now=self.now)
            case 7:
                exchange.receive_credit(choices.number(), choices.number(8))
            case 8 if self.sent:
                exchange.on_chunk_lost(self.sent[choices.number() % len(self.sent)])
            case 9:
                self.now += choices.number(2) / 16
                exchange.handle_timer(now=self.now)
                self.reassembly.handle_timer(now=self.now)
            case 10:
                flags = choices.number()
                message = Cancel(self._transfer(choices), choices.number(2), by_offerer=bool(flags & 1))
                return self._message(encode_object_message(message))
            case 11:
                exchange.withdraw(choices.number(), choices.number(2))
            case 13:
                exchange.close(choices.number(2), now=self.now)
                self.drain()
                self._check_empty()
                return False
        self.drain()
        return True

    def _check_empty(self) -> None:
        if (
            self.exchange.has_open_transfers
            or self.exchange.expects_chunks
            or self.exchange.deadline() is not None
        ):
            raise Finding("something is left after the end")
        kept = self.reassembly.partial_objects
        if self.reassembly.transfers or (self.reassembly.used and not kept) or self.reassembly.used < 0:
            raise Finding(
                f"{self.reassembly.used} bytes are held, {self.reassembly.transfers} transfers, {kept} kept"
            )

    def _transfer(self, choices: Choices) -> int:
        known = [*self.running, *self.waiting]
        number = choices.number()
        return known[number % len(known)] if known and number & 0x80 else number

    def _message(self, data: bytes) -> bool:
        return self._input(len(data), self.exchange.receive_message_untrusted, data, now=self.now)

    def _input(self, size: int, call: object, *args: object, **kwargs: object) -> bool:
        try:
            metered(_BOUND, size, call, *args, **kwargs)  # type: ignore[arg-type]
        except RemoteProtocolError as error:
            check_error(error)
            self.exchange.close(error.code, now=self.now)
            self.drain()
            self._check_empty()
            return False
        self.drain()
        return True

    def _offer(self, choices: Choices) -> bool:
        number, flags = choices.number(), choices.number()
        body, _, root = _object(number % len(_SIZES))
        self.highest += 1 + (flags & 1) - (2 if flags & 0xE0 == 0xE0 else 0)
        transfer = max(0, self.highest)
        size = len(body) + (1 if flags & 2 else 0)
        if flags & 4:
            root = bytes(32)
        inline = body if 0 < len(body) <= 4096 and not flags & 8 else None
        self.offered[transfer] = number
        return self._message(encode_object_message(Offer(transfer, root, size, bytes(flags >> 4), inline)))

    def _chunk(self, choices: Choices) -> bool:
        """A chunk of the true object, a wrong one, or one of nothing that was asked for."""
        transfer, flags = self._transfer(choices), choices.number()
        offset, length = choices.number(3), choices.number(2) % 3000
        space = _space(self.offered.get(transfer, 0))
        if flags & 1 and space:
            offset %= len(space)
        if flags & 2:
            offset = offset // LEAF_BYTES * LEAF_BYTES
        data = bytearray(space[offset : offset + length] if not flags & 4 else bytes(length))
        if flags & 8 and data:
            data[len(data) // 2] ^= 1
        return self._input(len(data), self.exchange.receive_chunk_untrusted, transfer, offset, bytes(data))

    def _next_chunks(self, choices: Choices) -> bool:
        """The peer sends on, as honest ones do, and now and then a byte is wrong."""
        if not self.running:
            return True
        transfer = list(self.running)[choices.number() % len(self.running)]
        length, flip = 1 + choices.number(2), choices.number(2)
        space = _space(self.offered.get(transfer, 0))
        at = self.running[transfer]
        data = bytearray(space[at : at + length])
        if flip and flip < len(data):
            data[flip] ^= 0x80
        self.running[transfer] = at + len(data)
        return self._input(len(data), self.exchange.receive_chunk_untrusted, transfer, at, bytes(data))

    def drain(self) -> None:
        """Take what is ready; an object that comes out is the one that its root names."""
        exchange = self.exchange
        while (event := exchange.next_event()) is not None:
            match event:
                case ObjectReceived():
                    self.running.pop(event.transfer, None)
                    if merkle_root(leaf_hashes(event.body)) != event.root:
                        raise Finding(f"bytes that were not verified came out of transfer {event.transfer}")
                case ObjectOffered():
                    self.waiting.append(event.transfer)
                case ObjectFailed(transfer=transfer, outgoing=False):
                    self.running.pop(transfer, None)
                    if transfer in self.waiting:
                        self.waiting.remove(transfer)
        while (message := exchange.next_message()) is not None:
            said = decode_object_message_untrusted(message)
            if isinstance(said, Want):
                self.running[said.transfer] = said.ranges[0][0]
            elif isinstance(said, Done):
                self.running.pop(said.transfer, None)
        while exchange.next_credit() is not None:
            pass
        for _ in range(40):
            if not exchange.has_chunk:
                break
            taken = exchange.next_chunk(900)
            if taken is None:
                raise Finding("a chunk is ready, and none comes")
            self.sent = [*self.sent[-7:], taken[0]]
        exchange.deadline()
        if self.reassembly.used > self.reassembly.config.reassembly_bytes or self.reassembly.transfers > 4:
            raise Finding(f"{self.reassembly.used} bytes are held, {self.reassembly.transfers} transfers")


def run_exchange(data: bytes) -> None:
    """Run a script until the session ends."""
    script = _Run()
    for code, payload in unpack(data):
        if not script.step(code, payload):
            return
    script.exchange.close(ErrorCode.GONE, now=script.now)
    script.drain()
    script._check_empty()


def exchange_pool() -> Sequence[Step]:
    """Steps that mean something."""
    steps: list[Step] = [(OFFER, bytes([number, flags])) for number in range(9) for flags in (0, 8, 0x10)]
    steps += [(ACCEPT, b"")] * 6
    steps += [(NEXT_CHUNK, b"\0\x40\0\0\0")] * 4 + [(NEXT_CHUNK, b"\0\3\x84\0\0")] * 3
    steps += [(NEXT_CHUNK, b"\0\x40\0\0\x05"), (NEXT_CHUNK, b"\1\xff\xff\0\0")]
    steps += [
        (CHUNK, b"\x80\3\0\x40\0\5\0"),
        (CHUNK, b"\x80\1\0\0\x40\0\x40"),
        (CHUNK, b"\0\0\xff\xff\xff\0\5"),
    ]
    for want in (((0, 50),), ((0, 10), (20, 5000)), ((0, 40_000),)):
        steps += [(RAW, encode_object_message(Want(number, want, 1000))) for number in range(2)]
    steps += [(RAW, encode_object_message(Done(0))), (RAW, encode_object_message(Done(1)))]
    steps += [(SEND, bytes([number])) for number in (1, 2, 5, 8)]
    steps += [(CREDIT, b"\0\0\0\0\0\0\0\x40\0"), (CREDIT, b"\1" + b"\xff" * 8), (LOST, b"\0"), (LOST, b"\3")]
    steps += [(WAIT, b"\0\x10"), (WAIT, b"\1\0"), (WAIT, b"\x0f\0"), (WAIT, b"\xff\xff")]
    steps += [
        (CANCEL, b"\1\x80\0\x50"),
        (CANCEL, b"\0\0\0\x50"),
        (REFUSE, b"\x80\0\x51"),
        (WITHDRAW, b"\0\0\x52"),
    ]
    steps += [(DRAIN, b""), (CLOSE, b"\0\0")]
    return steps


def exchange_seeds() -> list[bytes]:
    """Whole transfers of each size, a broken one that goes on, one of ours."""
    all_of_it = [(NEXT_CHUNK, b"\0\x40\0\0\0")] * 4
    return [
        *(pack([(OFFER, bytes([number, 8])), (ACCEPT, b""), *all_of_it]) for number in range(9)),
        pack([(OFFER, b"\2\0"), (ACCEPT, b"")]),
        pack(
            [(OFFER, b"\7\0"), (ACCEPT, b""), *all_of_it[:2], (CANCEL, b"\1\x80\0\x53"),
             (OFFER, b"\7\0"), (ACCEPT, b""), *all_of_it]
        ),
        pack([(SEND, b"\5"), (RAW, encode_object_message(Want(0, ((0, 16384),), 9000))), (LOST, b"\0"),
              (CREDIT, b"\0" + b"\xff" * 8), (RAW, encode_object_message(Done(0)))]),
        pack([(OFFER, b"\7\0"), (ACCEPT, b""), (NEXT_CHUNK, b"\0\x40\0\0\x30")]),
    ]  # fmt: skip


def _payload(code: int, body: bytes, rng: random.Random) -> bytes:
    if code % 14 != RAW:
        return bytes(rng.randrange(256) if rng.random() < 0.4 else value for value in body)
    return mutate_cbor(body, rng)


# --- a file and its map ---

MAP, PART, SEND_ON, SEND_AT, REOPEN, TRUNCATE = range(6)
_FILE = Bound(calls=8000, calls_per_byte=12, memory=600_000, memory_per_byte=120)


class _FileRun:
    """One script: an object of two or three leaves in a file that is opened, damaged and filled."""

    def __init__(self, number: int) -> None:
        self.number = 4 + number % 5
        self.body, _, self.root = _object(self.number)
        self.space = _space(self.number)
        self.path = memory_folder() / "object"
        self.part = self.path.with_name(self.path.name + PART_SUFFIX)
        self.map = self.path.with_name(self.path.name + MAP_SUFFIX)
        for path in (self.path, self.part, self.map):
            path.unlink(missing_ok=True)
        self.file: ObjectFile | None = None
        self.receiver: ObjectReceiver | None = None
        self.at = 0
        self.open()

    def open(self) -> None:
        """Open what is there and say what is missing."""
        self.close()
        try:
            self.file = metered(
                _FILE, len(self.body), ObjectFile, self.path, root=self.root, size=len(self.body)
            )
        except ObjectFileError:
            return
        self._check_claims()
        self.receiver = ObjectReceiver(0, self.root, len(self.body), b"", self.file)
        self.receiver.next_credit(1 << 20)
        self.at = 0

    def close(self) -> None:
        """Let go of the file."""
        if self.file is not None:
            self.file.close()
        self.file = self.receiver = None

    def _check_claims(self) -> None:
        """Whatever the file says is verified really is."""
        assert self.file is not None
        for first, end in self.file.verified():
            start, stop = first * LEAF_BYTES, min(len(self.body), end * LEAF_BYTES)
            if self.part.read_bytes()[start:stop] != self.body[start:stop]:
                raise Finding(f"leaves {first}..{end} are said to be verified, and are not")

    def step(self, code: int, payload: bytes) -> None:
        choices = Choices(payload)
        match code % 6:
            case 0 | 1:
                path = self.map if code % 6 == MAP else self.part
                self.close()
                if path.exists():
                    self._damage(path, choices)
                self.open()
            case 2:
                self._send(self.at, 1 + choices.number(2), choices.number(2))
            case 3:
                self._send(choices.number(2), choices.number(2), choices.number(2))
            case 4:
                self.open()
            case 5:
                self.close()
                path = self.part if choices.number() & 1 else self.map
                if path.exists():
                    os.truncate(path, choices.number(2))
                self.open()

    @staticmethod
    def _damage(path: Path, choices: Choices) -> None:
        with path.open("r+b") as file:
            size = path.stat().st_size
            file.seek(choices.number(2) % (size + 1))
            file.write(choices.rest() or b"\1")

    def _send(self, offset: int, length: int, flip: int) -> None:
        receiver, file = self.receiver, self.file
        if receiver is None or file is None or receiver.state is not ReceiverState.RECEIVING:
            return
        data = bytearray(self.space[offset : offset + length])
        if flip and flip < len(data):
            data[flip] ^= 0x40
        self.at = offset + len(data)
        before = freeze(receiver, frozenset({"sink"})) if compares_states() else None
        try:
            metered(_FILE, len(data), receiver.receive_untrusted, offset, bytes(data))
        except RemoteProtocolError as error:
            check_error(error)
            refused = error.code is ErrorCode.E_FLOW and "scattered" not in error.message
            if refused and before is not None and freeze(receiver, frozenset({"sink"})) != before:
                raise Finding("refused bytes changed the state") from error
            receiver.end(ReceiverEvent.CLOSED)
        self._check_claims()
        if receiver.state is ReceiverState.COMPLETE and bytes(file.body()) != self.body:
            raise Finding("an object that is not the one that was offered is whole")


def run_file(data: bytes) -> None:
    """Run a script on a file; its last byte says which object it is for."""
    script = _FileRun(data[-1] if data else 0)
    try:
        for code, payload in unpack(data, most=12):
            script.step(code, payload)
        script.open()
        if script.receiver is not None and script.receiver.state is ReceiverState.RECEIVING:
            _finish(script)
    finally:
        script.close()


def _finish(script: _FileRun) -> None:
    """Whatever was damaged, an honest peer can bring what is missing."""
    receiver = script.receiver
    assert receiver is not None
    for start, stop in receiver.wanted.as_pairs():
        script._send(start, stop - start, 0)
    if receiver.state is not ReceiverState.COMPLETE:
        raise Finding("an honest transfer does not complete a damaged file")


def file_pool() -> Sequence[Step]:
    """Steps that mean something."""
    steps: list[Step] = [(SEND_ON, b"\x40\0\0\0")] * 3 + [(SEND_ON, b"\x10\0\0\0"), (SEND_ON, b"\x40\0\0\7")]
    steps += [
        (MAP, at.to_bytes(2, "big") + data)
        for at in (0, 8, 50, 64, 90, 120, 127, 128, 160, 162)
        for data in (b"\1", b"\0" * 40, b"\1\1\1")
    ]
    steps += [(PART, at.to_bytes(2, "big") + b"\xff") for at in (0, 5000, 16384, 33000)]
    steps += [
        (TRUNCATE, flags + at.to_bytes(2, "big"))
        for flags in (b"\0", b"\1")
        for at in (0, 10, 60, 100, 16384, 40000)
    ]
    steps += [(REOPEN, b""), (SEND_AT, b"\0\x40\x40\0\0\0"), (SEND_AT, b"\xff\xff\0\1\0\0")]
    return steps


def file_seeds() -> list[bytes]:
    """Broken off and gone on, a false claim, a file cut short."""
    known = list(file_pool())
    send = known[0]
    return [pack([send, (REOPEN, b""), send, send, (REOPEN, bytes([which]))]) for which in range(5)] + [
        pack([send, step, send, (REOPEN, b"\3")]) for step in known[5::4]
    ]


def _file_payload(code: int, body: bytes, rng: random.Random) -> bytes:
    return bytes(rng.randrange(256) if rng.random() < 0.3 else value for value in body) + (
        b"\1" * rng.randrange(4) if rng.random() < 0.2 else b""
    )


TARGETS = (
    Target(
        name="object_exchange",
        about="objects of a hostile peer into memory, and ours to it",
        run=run_exchange,
        seeds=exchange_seeds,
        mutate=script_mutator(14, pool=exchange_pool, payload=_payload),
        max_bytes=1024,
        kept=30,
        short_runs=3_000,
    ),
    Target(
        name="resume_file",
        about="a file with a damaged map of verified leaves",
        run=run_file,
        seeds=file_seeds,
        mutate=script_mutator(6, pool=file_pool, payload=_file_payload),
        max_bytes=256,
        kept=30,
        short_runs=2_000,
    ),
)
