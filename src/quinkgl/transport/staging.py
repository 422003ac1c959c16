"""Where runs of bulk packets are sealed (spec 6.4).

A run is what one system call can send: packets of one transfer with consecutive numbers and offsets, all of
one size but the last. Its headers and nonces are written by column, its body is copied once into a buffer
whose slices were made beforehand, and one sweep of the cipher goes over those slices: no object, call or
branch of our own for each packet.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from quinkgl.crypto.packet_keys import PacketKeys
from quinkgl.wire.packets import BULK_HEADER, BULK_OVERHEAD_BYTES, TAG_BYTES

HEADER_BYTES = BULK_HEADER.size
HEADER_FIELDS = np.dtype(
    {
        "names": ["first_byte", "connection_id", "number", "transfer", "offset"],
        "formats": [">u1", "V8", ">u8", ">u4", ">u8"],
        "offsets": [0, 1, 9, 17, 21],
        "itemsize": HEADER_BYTES,
    }
)
"""A bulk header, as the record that a column of many is made of."""
_NUMBER_AT, _OFFSET_AT = 9, 21
NONCE_FIELDS = np.dtype({"names": ["number"], "formats": [">u8"], "offsets": [4], "itemsize": 12})
RUN_BYTES = 65_507
"""The largest run: what one UDP datagram could carry over IPv4."""
RUN_PACKETS = 64
"""The most packets of one run: ``UDP_MAX_SEGMENTS`` of the kernels that take runs."""
_SIZES_KEPT = 4
"""Datagram sizes whose buffers are kept: those of the paths in use, a few."""


def run_packets_of(datagram_bytes: int) -> int:
    """How many datagrams of this size a run may have."""
    return max(1, min(RUN_PACKETS, RUN_BYTES // datagram_bytes))


Buffer = bytearray | memoryview | np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
Integers = np.ndarray[tuple[int, ...], np.dtype[np.uint64]]


def counters_of(buffer: Buffer, count: int, stride: int) -> Integers:
    """Return the numbers and offsets of ``count`` headers that lie ``stride`` bytes apart.

    They are the two columns of one array, so that one addition writes a run of both.
    """
    columns = (stride, _OFFSET_AT - _NUMBER_AT)
    return np.ndarray((count, 2), ">u8", buffer, _NUMBER_AT, columns)


def steps_of(count: int, chunk_bytes: int) -> Integers:
    """Return how far numbers and offsets of a run are from those of its first packet."""
    index = np.arange(count, dtype=np.uint64)
    return np.stack([index, index * np.uint64(chunk_bytes)], axis=1)


class RunBuffer:
    """The buffers of runs with datagrams of one size."""

    __slots__ = (
        "_bodies",
        "_chunk_bytes",
        "_ciphertexts",
        "_constant",
        "_counters",
        "_datagram_bytes",
        "_fields",
        "_first",
        "_headers",
        "_nonce_numbers",
        "_nonces",
        "_numbers",
        "_packets",
        "_stage",
        "_steps",
        "_sweep",
    )

    def __init__(self, datagram_bytes: int) -> None:
        count = run_packets_of(datagram_bytes)
        chunk = datagram_bytes - BULK_OVERHEAD_BYTES
        self._datagram_bytes = datagram_bytes
        self._chunk_bytes = chunk
        self._stage = memoryview(bytearray(count * chunk))
        self._packets = memoryview(bytearray(count * datagram_bytes))
        nonces = memoryview(bytearray(count * NONCE_FIELDS.itemsize))
        starts = range(0, count * datagram_bytes, datagram_bytes)
        self._headers = [self._packets[start : start + HEADER_BYTES] for start in starts]
        self._ciphertexts = [self._packets[start + HEADER_BYTES : start + datagram_bytes] for start in starts]
        self._bodies = [self._stage[start : start + chunk] for start in range(0, count * chunk, chunk)]
        self._nonces = [nonces[start : start + 12] for start in range(0, count * 12, 12)]
        self._fields = np.ndarray((count,), HEADER_FIELDS, self._packets, 0, (datagram_bytes,))
        self._counters = counters_of(self._packets, count, datagram_bytes)
        self._numbers = self._counters[:, 0]
        self._nonce_numbers = np.ndarray((count,), NONCE_FIELDS, nonces)["number"]
        self._steps = steps_of(count, chunk)
        self._first = np.zeros(2, np.uint64)
        self._constant: tuple[int, bytes, int] | None = None
        self._sweep: deque[int] = deque(maxlen=0)

    def seal(
        self,
        keys: PacketKeys,
        *,
        first_byte: int,
        connection_id: bytes,
        number: int,
        transfer: int,
        offset: int,
        body: memoryview,
    ) -> bytes:
        """Return the packets of a run, end to end; ``number`` and ``offset`` are those of the first one."""
        constant = (first_byte, connection_id, transfer)
        if constant != self._constant:
            self._constant = constant
            self._fields["first_byte"] = first_byte
            self._fields["connection_id"] = np.void(connection_id)
            self._fields["transfer"] = transfer
        self._first[0] = number
        self._first[1] = offset
        np.add(self._steps, self._first, out=self._counters, casting="unsafe")
        self._nonce_numbers[:] = self._numbers
        size = len(body)
        self._stage[:size] = body
        full, rest = divmod(size, self._chunk_bytes)
        nonces = self._nonces if full == len(self._nonces) else self._nonces[:full]
        encrypt_into = keys.aead.encrypt_into
        self._sweep.extend(map(encrypt_into, nonces, self._bodies, self._headers, self._ciphertexts))
        length = full * self._datagram_bytes
        if rest:
            tail = self._ciphertexts[full][: rest + TAG_BYTES]
            encrypt_into(self._nonces[full], self._bodies[full][:rest], self._headers[full], tail)
            length += rest + BULK_OVERHEAD_BYTES
        return bytes(self._packets[:length])


class Staging:
    """The run buffers of an endpoint: one for each datagram size in use, shared by all its sessions."""

    __slots__ = ("_buffers",)

    def __init__(self) -> None:
        self._buffers: dict[int, RunBuffer] = {}

    def buffer(self, datagram_bytes: int) -> RunBuffer:
        """Return the buffer of runs of a datagram size."""
        found = self._buffers.get(datagram_bytes)
        if found is None:
            if len(self._buffers) >= _SIZES_KEPT:
                del self._buffers[next(iter(self._buffers))]
            found = self._buffers[datagram_bytes] = RunBuffer(datagram_bytes)
        return found
