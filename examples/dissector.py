"""Read a capture of QuinkGL datagrams, with a key log, down to frames, message fields and tensors.

    python examples/dissector.py CAPTURE.pcap [KEYLOG] [--fields]

The capture is one of tcpdump (`tcpdump -i lo -w CAPTURE.pcap udp`), the key log what `quinkgl-trio run
--keylog` writes. All that is used of QuinkGL is `wire`, which says what the bytes mean, and the one AEAD call
of `crypto`; no session is played. Without keys only headers are named. At the end it tells how many bytes of
the capture have no explanation.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from quinkgl.crypto.packet_keys import PacketKeys
from quinkgl.testing.pcap import CapturedDatagram, read_pcap
from quinkgl.wire.control import HEADER_BYTES
from quinkgl.wire.dissect import (
    CIPHERTEXT,
    UNEXPLAINED,
    Field,
    dissect_frames,
    dissect_packet,
    dissect_reset,
    field_value,
    unexplained,
)
from quinkgl.wire.dissect_messages import dissect_leaf_list, dissect_message, dissect_tensors
from quinkgl.wire.errors import RemoteProtocolError
from quinkgl.wire.key_log import KeyLogEntry, parse_key_log
from quinkgl.wire.merkle import list_bytes
from quinkgl.wire.messages.objects import Offer, decode_object_message_untrusted
from quinkgl.wire.packets import BULK_HEADER, SHORT_HEADER, PacketForm, packet_form


class Stream:
    """Bytes that come in pieces, in any order and more than once."""

    def __init__(self) -> None:
        self.pieces: dict[int, bytes] = {}

    def put(self, offset: int, piece: bytes) -> None:
        """Take a piece."""
        if len(piece) > len(self.pieces.get(offset, b"")):
            self.pieces[offset] = piece

    def read(self) -> tuple[bytes, int]:
        """Return the bytes up to the first gap, and how many came that lie behind it."""
        whole = bytearray()
        behind = 0
        for offset, piece in sorted(self.pieces.items()):
            if offset <= len(whole):
                whole += piece[len(whole) - offset :]
            else:
                behind += len(piece)
        return bytes(whole), behind


@dataclass
class Direction:
    """One direction of one session: its keys, its CONTROL stream, its objects."""

    session: bytes
    keys: dict[int, list[PacketKeys]] = field(default_factory=dict)  # by key phase bit
    control: Stream = field(default_factory=Stream)
    chunks: dict[int, Stream] = field(default_factory=dict)  # by transfer

    def open(self, data: bytes) -> bytes | None:
        """Return the plaintext of a packet, None where no key fits."""
        header = BULK_HEADER if packet_form(data) is PacketForm.BULK else SHORT_HEADER
        number = header.unpack_from(data)[2]
        for keys in self.keys.get(data[0] >> 5 & 1, ()):
            plaintext = keys.open_untrusted(number, data[: header.size], data[header.size :])
            if plaintext is not None:
                return plaintext
        return None


@dataclass
class Packet:
    """One datagram with its fields; those of what was encrypted follow in `inside`."""

    captured: CapturedDatagram
    fields: list[Field]
    inside: list[Field] = field(default_factory=list)
    plaintext: bytes = b""
    opened: bool = False


class Dissector:
    """Explains captured datagrams. What needs others first (new ids, streams) is explained at the end."""

    def __init__(self, key_log: Iterable[str] = ()) -> None:
        self.packets: list[Packet] = []
        self.layers: list[tuple[str, bytes, list[Field]]] = []  # messages and objects: title, bytes, fields
        self._directions: dict[bytes, Direction] = {}  # by destination id
        self._tokens: set[bytes] = set()
        for line in key_log:
            entry = parse_key_log(line)
            if entry is not None:
                self._add_key(entry)

    def _add_key(self, entry: KeyLogEntry) -> None:
        direction = self._directions.setdefault(entry.destination_id, Direction(entry.handshake_hash))
        direction.keys.setdefault(entry.phase & 1, []).append(PacketKeys(entry.key))

    def run(self, capture: Iterable[CapturedDatagram]) -> None:
        """Explain a whole capture."""
        self.packets = [Packet(datagram, dissect_packet(datagram.data)) for datagram in capture]
        progress = True
        while progress:  # a packet may tell the id that opens another one, before or after it
            progress = False
            for packet in self.packets:
                if not packet.opened and self._open(packet):
                    packet.opened = progress = True
        for packet in self.packets:
            if not packet.opened and packet.captured.data[-16:] in self._tokens:
                packet.fields = dissect_reset(packet.captured.data)
        for direction in {id(each): each for each in self._directions.values()}.values():
            self.layers += _messages(direction)
            self.layers += _objects(direction)

    def _open(self, packet: Packet) -> bool:
        data = packet.captured.data
        form = packet_form(data)
        if form not in {PacketForm.FRAMES, PacketForm.BULK} or packet.fields[-1].name != "tag":
            return False
        direction = self._directions.get(field_value(data, packet.fields, "destination id"))
        plaintext = None if direction is None else direction.open(data)
        if direction is None or plaintext is None:
            return False
        packet.plaintext = plaintext
        if form is PacketForm.BULK:
            _, _, _, transfer, offset = BULK_HEADER.unpack_from(data)
            direction.chunks.setdefault(transfer, Stream()).put(offset, plaintext)
            packet.inside = [Field(f"bytes {offset} on of transfer {transfer}", 0, len(plaintext))]
        else:
            packet.inside = dissect_frames(plaintext)
            self._take_frames(direction, plaintext, packet.inside)
        return True

    def _take_frames(self, direction: Direction, plaintext: bytes, fields: list[Field]) -> None:
        offset = 0
        for item in fields:
            value = plaintext[item.start : item.stop]
            if item.name == "CONTROL offset":
                offset = int.from_bytes(value, "big")
            elif item.name == "CONTROL data":
                direction.control.put(offset, value)
            elif item.name == "NEW_CID connection id":
                # It is for packets that go the other way.
                for other in list(self._directions.values()):
                    if other.session == direction.session and other is not direction:
                        self._directions.setdefault(value, other)
            elif item.name == "NEW_CID reset token":
                self._tokens.add(value)

    def unexplained_bytes(self) -> Counter[str]:
        """Count the bytes without an explanation, by where they are; empty where there are none."""
        count: Counter[str] = Counter()
        for packet in self.packets:
            count["packets"] += unexplained(packet.fields)
            if packet.opened:
                count["frames"] += unexplained(packet.inside)
            elif any(item.name == CIPHERTEXT for item in packet.fields):
                count["packets that no key opens"] += sum(
                    item.stop - item.start for item in packet.fields if item.name == CIPHERTEXT
                )
        for title, _, fields in self.layers:
            count[title] += unexplained(fields)
        return +count


def _messages(direction: Direction) -> Iterator[tuple[str, bytes, list[Field]]]:
    data, behind = direction.control.read()
    at = 0
    while at + HEADER_BYTES <= len(data):
        end = at + HEADER_BYTES + int.from_bytes(data[at + 1 : at + HEADER_BYTES], "big")
        if end > len(data):
            break
        yield "message", data[at:end], dissect_message(data[at:end])
        at = end
    left = len(data) - at + behind
    if left:
        yield "CONTROL stream", data[at:], [Field(UNEXPLAINED, 0, left)]


def _objects(direction: Direction) -> Iterator[tuple[str, bytes, list[Field]]]:
    """Explain each object that was offered and came whole: its leaf list, and its body as tensors."""
    sizes = dict(_offered(direction))
    for transfer, stream in direction.chunks.items():
        title = f"object of transfer {transfer}"
        data, behind = stream.read()
        start = list_bytes(sizes.get(transfer, 0))
        if transfer not in sizes or behind or len(data) != start + sizes[transfer]:
            # Cancelled, or the rest came another time: the chunks themselves say what they are.
            yield title, data, [Field("part of an object", 0, len(data))]
            continue
        inside = dissect_tensors(data[start:])
        if inside[0].name == UNEXPLAINED:
            inside = [Field("body in another format", 0, len(data) - start)]
        fields = dissect_leaf_list(data[:start]) if start else []
        yield title, data, fields + [item.moved(start) for item in inside]


def _offered(direction: Direction) -> Iterator[tuple[int, int]]:
    for _, piece, _ in _messages(direction):
        if piece[:1] == b"\x00":  # channel 0
            with suppress(RemoteProtocolError):  # from a peer that breaks the rules
                message = decode_object_message_untrusted(piece[HEADER_BYTES:])
                if isinstance(message, Offer):
                    yield message.transfer, message.size


def _show(title: str, fields: Iterable[Field], indent: str) -> None:
    print(f"{indent}{title}")
    for item in fields:
        print(f"{indent}  {item.start:6}-{item.stop:<6} {item.name}: {item.text}".rstrip(": "))


def main() -> None:
    """Explain the capture that the command line names."""
    parser = argparse.ArgumentParser(description="Explain a capture of QuinkGL datagrams.")
    parser.add_argument("capture", type=Path)
    parser.add_argument("key_log", type=Path, nargs="?")
    parser.add_argument("--fields", action="store_true", help="show every field of every packet")
    args = parser.parse_args()
    lines = args.key_log.read_text(encoding="utf-8").splitlines() if args.key_log else []
    dissector = Dissector(lines)
    dissector.run(read_pcap(args.capture.read_bytes()))
    for number, packet in enumerate(dissector.packets if args.fields else ()):
        (source, port), (destination, other_port) = packet.captured.source, packet.captured.destination
        size = len(packet.captured.data)
        _show(
            f"packet {number}: {source}:{port} > {destination}:{other_port}, {size} bytes", packet.fields, ""
        )
        if packet.opened:
            _show("opened", packet.inside, "    ")
    for title, _, fields in dissector.layers:
        _show(title, fields, "")
    total = sum(len(packet.captured.data) for packet in dissector.packets)
    opened = sum(packet.opened for packet in dissector.packets)
    left = dissector.unexplained_bytes()
    print(f"{len(dissector.packets)} datagrams of {total} bytes, {opened} opened")
    print(f"{left.total()} bytes unexplained")
    for where, count in left.items():
        print(f"  {count} in {where}")


if __name__ == "__main__":
    main()
