"""Where runs of bulk packets are opened: never straight into an object (spec 6.4).

``decrypt_into`` leaves unverified plaintext behind where a tag is wrong, so it writes into scratch alone; the
object gets one copy once every tag of the run was right.

A run is regular when each header is the one before it, one number and one chunk on. That is one comparison of
bytes: the headers that came against the headers that should have come. Whatever is not regular is looked at
packet by packet, so that runs only ever are a faster way to the same result.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import numpy as np
from cryptography.exceptions import InvalidTag

from quinkgl.crypto.packet_keys import PacketKeys
from quinkgl.transport.staging import (
    HEADER_BYTES,
    NONCE_FIELDS,
    counters_of,
    steps_of,
)
from quinkgl.wire.packets import BULK_HEADER, BULK_OVERHEAD_BYTES

RUN_BYTES = 8 * 65_536
"""The longest run that is opened in one sweep: a driver may hand several on as one."""
RUN_PACKETS = 512
_SIZES_KEPT = 4
_PLACES_KEPT = 8
"""Where a driver's runs begin in its memory: at its start, or behind one that ended early."""
_LARGEST_INTEGER = (1 << 64) - 1
"""Numbers and offsets that would count beyond this are no run."""


class RunHeader(NamedTuple):
    """What a regular run says of itself, before any tag was looked at."""

    first_byte: int
    number: int
    """Of the first packet."""
    packets: int
    transfer: int
    offset: int
    """Of the first chunk."""
    size: int
    """Bytes of all its packets, as they came."""


class _Slots:
    """Buffers for runs whose segments have one size."""

    __slots__ = (
        "constant",
        "count",
        "counters",
        "expected",
        "first",
        "nonce_numbers",
        "nonces",
        "plain",
        "plains",
        "steps",
    )

    def __init__(self, segment_size: int) -> None:
        self.count = count = max(2, min(RUN_PACKETS, RUN_BYTES // segment_size))
        chunk = segment_size - BULK_OVERHEAD_BYTES
        self.plain = memoryview(bytearray(count * chunk))
        self.plains = [self.plain[start : start + chunk] for start in range(0, count * chunk, chunk)]
        nonces = memoryview(bytearray(count * NONCE_FIELDS.itemsize))
        self.nonces = [nonces[start : start + 12] for start in range(0, count * 12, 12)]
        self.nonce_numbers = np.ndarray((count,), NONCE_FIELDS, nonces)["number"]
        self.expected = np.zeros((count, HEADER_BYTES), np.uint8)
        self.counters = counters_of(self.expected, count, HEADER_BYTES)
        self.first = np.zeros(2, np.uint64)
        self.steps = steps_of(count, chunk)
        self.constant: tuple[int, bytes, int] | None = None
        """First byte, connection id and transfer that stand in all rows of ``expected``."""


class _Segments:
    """The parts of the segments of a run, in the memory where they arrived."""

    __slots__ = ("ciphertexts", "headers", "rows", "size")

    def __init__(self, data: memoryview, segment_size: int) -> None:
        """Cut ``data`` up; its last segment may be shorter, but has a whole header."""
        self.size = len(data)
        starts = range(0, len(data), segment_size)
        self.headers = [data[start : start + HEADER_BYTES] for start in starts]
        self.ciphertexts = [data[start + HEADER_BYTES : start + segment_size] for start in starts]
        self.rows = np.ndarray((len(starts), HEADER_BYTES), np.uint8, data, 0, (segment_size, 1))


class Scratch:
    """The buffers of an endpoint that its sessions open runs in: one set for each segment size in use.

    Only sizes of which an authentic packet has come are admitted: a stranger makes nobody allocate.
    """

    __slots__ = ("_places", "_segments", "_slots", "_sweep")

    def __init__(self) -> None:
        self._slots: dict[int, _Slots] = {}
        self._places: dict[tuple[int, int], _Segments] = {}
        self._segments: _Segments | None = None
        """Of the run just read."""
        self._sweep: deque[int] = deque(maxlen=0)

    def admits(self, segment_size: int) -> bool:
        """Whether runs of segments of this size can be read."""
        return segment_size in self._slots

    def admit(self, segment_size: int) -> None:
        """Make room for runs of segments of this size, in place of the size admitted first."""
        if len(self._slots) >= _SIZES_KEPT:
            del self._slots[next(iter(self._slots))]
        self._slots[segment_size] = _Slots(segment_size)

    def read_untrusted(self, data: memoryview, segment_size: int) -> RunHeader | None:
        """Read the regular run that ``data`` begins with.

        ``data`` holds segments of ``segment_size`` bytes, an admitted size; the last one may be shorter. None
        where the first two of them are no run.
        """
        chunk = segment_size - BULK_OVERHEAD_BYTES
        if len(data) - segment_size <= BULK_OVERHEAD_BYTES:
            return None
        first_byte, connection_id, number, transfer, offset = BULK_HEADER.unpack_from(data)
        second = (first_byte, connection_id, number + 1, transfer, offset + chunk)
        if BULK_HEADER.unpack_from(data, segment_size) != second:
            return None
        slots = self._slots[segment_size]
        count = min(slots.count, -(-len(data) // segment_size))
        if number > _LARGEST_INTEGER - count or offset > _LARGEST_INTEGER - count * chunk:
            return None
        size = min(len(data), count * segment_size)
        if size - (count - 1) * segment_size <= BULK_OVERHEAD_BYTES:
            # A last segment that is too short for any chunk.
            count -= 1
            size = count * segment_size
        segments = self._segments = self._cut(data[:size], segment_size)
        constant = (first_byte, connection_id, transfer)
        if constant != slots.constant:
            slots.constant = constant
            slots.expected[:] = segments.rows[0]
        regular = self._regular(slots, segments.rows[:count], number, offset)
        size = min(size, regular * segment_size)
        return RunHeader(first_byte, number, regular, transfer, offset, size) if regular > 1 else None

    def open_untrusted(self, keys: PacketKeys, run: RunHeader, segment_size: int) -> memoryview | None:
        """Return the bytes of the run just read, None where any of its tags is wrong [P-017].

        They stay valid until the next run is read.
        """
        slots = self._slots[segment_size]
        segments = self._segments
        if segments is None:
            return None
        full, rest = divmod(run.size, segment_size)
        slots.nonce_numbers[:] = slots.counters[:, 0]
        nonces = slots.nonces if full == slots.count else slots.nonces[:full]
        decrypt_into = keys.aead.decrypt_into
        length = full * (segment_size - BULK_OVERHEAD_BYTES)
        try:
            self._sweep.extend(
                map(decrypt_into, nonces, segments.ciphertexts, segments.headers, slots.plains)
            )
            if rest:
                chunk = rest - BULK_OVERHEAD_BYTES
                decrypt_into(
                    slots.nonces[full],
                    segments.ciphertexts[full][: rest - HEADER_BYTES],
                    segments.headers[full],
                    slots.plains[full][:chunk],
                )
                length += chunk
        except InvalidTag:
            return None
        return slots.plain[:length]

    def _cut(self, data: memoryview, segment_size: int) -> _Segments:
        """Cut a run up.

        A driver reads into the same memory again and again; where that is an array, whose size nobody can
        change behind our back, its parts are remembered.
        """
        if not isinstance(data.obj, np.ndarray):
            return _Segments(data, segment_size)
        address: int = np.frombuffer(data, np.uint8).__array_interface__["data"][0]
        place = (address, segment_size)
        known = self._places.get(place)
        if known is None or known.size < len(data):
            if len(self._places) >= _PLACES_KEPT:
                del self._places[next(iter(self._places))]
            known = self._places[place] = _Segments(data, segment_size)
        return known

    @staticmethod
    def _regular(slots: _Slots, rows: np.ndarray[Any, np.dtype[np.uint8]], number: int, offset: int) -> int:
        """How many segments at the start have the headers of one run."""
        slots.first[0] = number
        slots.first[1] = offset
        np.add(slots.steps, slots.first, out=slots.counters, casting="unsafe")
        expected = slots.expected[: len(rows)]
        if rows.tobytes() == expected.tobytes():
            return len(rows)
        return int((rows != expected).any(axis=1).argmax())
