"""Sealing of outgoing packets: number, header and tag of frames, of a chunk, or of a run of chunks.

Numbers come from recovery, keys from the key schedule, the memory of a run from the endpoint's staging. A run
never crosses a change of keys: the schedule changes them between packets that are sealed here.
"""

from __future__ import annotations

from typing import NamedTuple

from quinkgl.transport.contents import Contents
from quinkgl.transport.key_schedule import KeySchedule
from quinkgl.transport.object_sender import Chunk
from quinkgl.transport.recovery import LossRecovery
from quinkgl.transport.staging import Staging
from quinkgl.wire.packets import BULK_BIT, BULK_HEADER, BULK_OVERHEAD_BYTES, SHORT_HEADER

_SHORT_FORM = 0x40


class SealedBulk(NamedTuple):
    """One packet with a chunk, or a run of ``packets`` of them from ``number`` on.

    ``size`` is that of each packet, bytes; the last one has ``last_size``.
    """

    data: bytes
    number: int
    packets: int
    size: int
    last_size: int


class Sealer:
    """Seals the packets of one session [P-003]."""

    __slots__ = ("_first_byte", "_keys", "_recovery", "_staging", "connection_id")

    def __init__(
        self,
        *,
        connection_id: bytes,
        grease: int,
        keys: KeySchedule,
        recovery: LossRecovery[Contents],
        staging: Staging,
    ) -> None:
        """Put ``connection_id`` on packets; ``grease`` fills the bits of the first byte that mean nothing."""
        self.connection_id = connection_id
        self._first_byte = _SHORT_FORM | grease
        self._keys = keys
        self._recovery = recovery
        self._staging = staging

    def frames(self, payload: bytes, now: float, connection_id: bytes | None = None) -> bytes:
        """Return a packet with frames, for another path where ``connection_id`` is given."""
        number = self._recovery.take_number()
        first_byte = self._first_byte | self._keys.phase_bit
        header = SHORT_HEADER.pack(first_byte, connection_id or self.connection_id, number)
        packet = header + self._keys.send_keys.seal(number, header, payload)
        self._keys.sealed(number, 1, now)
        return packet

    def bulk(self, chunk: Chunk, body: memoryview, size: int, now: float) -> SealedBulk:
        """Return a chunk in as few packets of at most ``size`` bytes as it takes [P-015, P-021]."""
        step = size - BULK_OVERHEAD_BYTES
        count = -(-len(body) // step)
        number = self._recovery.take_numbers(count)
        first_byte = self._first_byte | BULK_BIT | self._keys.phase_bit
        keys = self._keys.send_keys
        if count == 1:
            header = BULK_HEADER.pack(first_byte, self.connection_id, number, chunk.transfer, chunk.start)
            data = header + keys.seal(number, header, body)
        else:
            data = self._staging.buffer(size).seal(
                keys,
                first_byte=first_byte,
                connection_id=self.connection_id,
                number=number,
                transfer=chunk.transfer,
                offset=chunk.start,
                body=body,
            )
        self._keys.sealed(number + count - 1, count, now)
        last_size = len(data) - (count - 1) * size
        return SealedBulk(data, number, count, size if count > 1 else last_size, last_size)
