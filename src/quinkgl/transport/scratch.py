"""Where runs of bulk packets are opened: never straight into an object (spec 6.4).

``decrypt_into`` leaves unverified plaintext behind where a tag is wrong, so it writes into scratch alone; the
object gets one copy once every tag of the run was right.

A run is regular when each header is the one before it, one number and one chunk on. That is one comparison of
bytes: the headers that came against the headers that should have come. Whatever is not regular is looked at
packet by packet, so that runs only ever are a faster way to the same result.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np
from cryptography.exceptions import InvalidTag

from quinkgl.crypto.packet_keys import PacketKeys
from quinkgl.transport.staging import (
    HEADER_BYTES,
    NONCE_FIELDS,
    counters_of,
    run_packets_of,
    steps_of,
)
from quinkgl.wire.packets import BULK_HEADER, BULK_OVERHEAD_BYTES

_SIZES_KEPT = 4
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
        "ciphertexts",
        "constant",
        "count",
        "counters",
        "expected",
        "first",
        "headers",
        "nonce_numbers",
        "nonces",
        "packets",
        "plain",
        "plains",
        "rows",
        "steps",
    )

    def __init__(self, segment_size: int) -> None:
        self.count = count = run_packets_of(segment_size)
        chunk = segment_size - BULK_OVERHEAD_BYTES
        self.packets = memoryview(bytearray(count * segment_size))
        starts = range(0, count * segment_size, segment_size)
        self.headers = [self.packets[start : start + HEADER_BYTES] for start in starts]
        self.ciphertexts = [self.packets[start + HEADER_BYTES : start + segment_size] for start in starts]
        self.plain = memoryview(bytearray(count * chunk))
        self.plains = [self.plain[start : start + chunk] for start in range(0, count * chunk, chunk)]
        nonces = memoryview(bytearray(count * NONCE_FIELDS.itemsize))
        self.nonces = [nonces[start : start + 12] for start in range(0, count * 12, 12)]
        self.nonce_numbers = np.ndarray((count,), NONCE_FIELDS, nonces)["number"]
        self.rows = np.ndarray((count, HEADER_BYTES), np.uint8, self.packets, 0, (segment_size, 1))
        self.expected = np.zeros((count, HEADER_BYTES), np.uint8)
        self.counters = counters_of(self.expected, count, HEADER_BYTES)
        self.first = np.zeros(2, np.uint64)
        self.steps = steps_of(count, chunk)
        self.constant: tuple[int, bytes, int] | None = None
        """First byte, connection id and transfer that stand in all rows of ``expected``."""


class Scratch:
    """The buffers of an endpoint that its sessions open runs in: one set for each segment size in use.

    Only sizes of which an authentic packet has come are admitted: a stranger makes nobody allocate.
    """

    __slots__ = ("_slots", "_sweep")

    def __init__(self) -> None:
        self._slots: dict[int, _Slots] = {}
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
        slots.packets[:size] = data[:size]
        constant = (first_byte, connection_id, transfer)
        if constant != slots.constant:
            slots.constant = constant
            slots.expected[:] = slots.rows[0]
        count = self._regular(slots, count, number, offset)
        size = min(size, count * segment_size)
        if size - (count - 1) * segment_size <= BULK_OVERHEAD_BYTES:
            # A last segment that is too short for any chunk.
            count -= 1
            size = count * segment_size
        return RunHeader(first_byte, number, count, transfer, offset, size) if count > 1 else None

    def open_untrusted(self, keys: PacketKeys, run: RunHeader, segment_size: int) -> memoryview | None:
        """Return the bytes of the run just read, None where any of its tags is wrong.

        They stay valid until the next run is read.
        """
        slots = self._slots[segment_size]
        full, rest = divmod(run.size, segment_size)
        slots.nonce_numbers[:] = slots.counters[:, 0]
        nonces = slots.nonces if full == slots.count else slots.nonces[:full]
        decrypt_into = keys.aead.decrypt_into
        length = full * (segment_size - BULK_OVERHEAD_BYTES)
        try:
            self._sweep.extend(map(decrypt_into, nonces, slots.ciphertexts, slots.headers, slots.plains))
            if rest:
                chunk = rest - BULK_OVERHEAD_BYTES
                decrypt_into(
                    slots.nonces[full],
                    slots.ciphertexts[full][: rest - HEADER_BYTES],
                    slots.headers[full],
                    slots.plains[full][:chunk],
                )
                length += chunk
        except InvalidTag:
            return None
        return slots.plain[:length]

    @staticmethod
    def _regular(slots: _Slots, count: int, number: int, offset: int) -> int:
        """How many segments at the start have the headers of one run."""
        slots.first[0] = number
        slots.first[1] = offset
        np.add(slots.steps, slots.first, out=slots.counters, casting="unsafe")
        rows, expected = slots.rows[:count], slots.expected[:count]
        if rows.tobytes() == expected.tobytes():
            return count
        return int((rows != expected).any(axis=1).argmax())
