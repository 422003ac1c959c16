"""A UDP socket that sends and receives datagrams by the run, as well as kernel and path allow.

One system call per datagram costs more than its encryption. Linux takes a run of equal datagrams in one call
(UDP_SEGMENT, "GSO") and gives one back (UDP_GRO); where it does not, runs are sent one by one and equal
datagrams from one source are gathered here into the slots of one buffer, so that the machine still sees
runs. Which of these happens is decided per socket, and again whenever the kernel refuses.

Nothing here waits: a full kernel is reported, and what it had no room for is kept in order.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Final, Literal, Protocol, TypeAlias

import numpy as np

from quinkgl.udp.sockets import BoundSocket, error_name, from_socket_address, to_socket_address
from quinkgl.udp.stats import DriverStats
from quinkgl.wire.addresses import Address

Offload: TypeAlias = Literal["auto", "gather", "none"]
"""How runs cross the socket: ``auto``, with the kernel's help where there is any; ``gather``, sent one by one
and gathered here; ``none``, one by one both ways."""

RUN_SEGMENTS: Final = 64
"""Datagrams in one run at most: what every kernel with GSO takes, and what GRO merges."""
RUN_BYTES: Final = 65_507
"""Bytes in one run at most: the largest UDP payload over IPv4."""

_SOL_UDP: Final = 17  # linux/udp.h; the socket module has no names for these
_UDP_SEGMENT: Final = 103
_UDP_GRO: Final = 104
_SEGMENT: Final = struct.Struct("@H")
_MERGED: Final = struct.Struct("@i")
_ANCILLARY_BYTES: Final = 256
_MSG_TRUNC: Final = getattr(socket, "MSG_TRUNC", 0x20)
_MSG_CTRUNC: Final = getattr(socket, "MSG_CTRUNC", 0x08)

_ROOM: Final = 65_536
"""Free bytes that each read needs: with fewer, a merged run would be cut short and lost."""
_GATHERED_BYTES: Final = 8 * _ROOM
_GATHERED_SEGMENTS: Final = 512
"""What is handed on as one run at most. It may be several times what one call brings: the machine's work for
a run hardly depends on its length, until its buffers no longer fit into a core's cache."""
_BUFFER_BYTES: Final = _GATHERED_BYTES + _ROOM
_BURST_READS: Final = 256
_BURST_BYTES: Final = 16 * _ROOM
"""A burst ends after so many calls or bytes: then events, acknowledgements and other tasks get their turn.
Sixteen merged runs are what one acknowledgement should cover; fewer datagrams a burst than about 64 would let
the waiting in between cost more than the datagrams."""

_BROKEN_SOCKET: Final = frozenset({errno.EBADF, errno.ENOTSOCK})
# A kernel, a route or a network card without segmentation says EINVAL, EIO or EOPNOTSUPP; a segment above the
# MTU is EMSGSIZE or, in older kernels, EINVAL as well. The first datagram alone tells which it was.
_RUN_REFUSED: Final = frozenset({errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.EOPNOTSUPP})

_SocketAddress: TypeAlias = tuple[str, int] | tuple[str, int, int, int]


class ReceiveDatagram(Protocol):
    """`Machine.receive_datagram`."""

    def __call__(
        self, data: memoryview, source: Address, *, now: float, segment_size: int | None = None
    ) -> None:
        """Take a datagram or a run; the memory is the caller's again afterwards."""


class BurstSocket:
    """Sends runs over, and reads bursts from, one non-blocking UDP socket.

    Attributes:
        stats: what went through it.
        sends_runs: whether the kernel takes runs; becomes False when it refuses one.
        receives_runs: whether the kernel merges datagrams into runs.
        gathers: whether equal datagrams that arrive one by one are handed on as a run.
    """

    def __init__(self, bound: BoundSocket, *, offload: Offload = "auto") -> None:
        self.stats = DriverStats()
        self.sends_runs = offload == "auto" and _takes_runs(bound.socket)
        self.receives_runs = _set_merging(bound.socket, wanted=offload == "auto")
        self.gathers = offload != "none"
        self._socket = bound.socket
        self._family = bound.socket.family
        self._plain_addresses = self._family == socket.AF_INET
        # An array's memory stays where it is, so the machine may remember how it cut a run up.
        self._buffer = np.empty(_BUFFER_BYTES, np.uint8).data
        self._unsent: deque[tuple[bytes, Address, int | None]] = deque()

    @property
    def is_blocked(self) -> bool:
        """Whether the kernel had no room, and something waits here for `resend`."""
        return bool(self._unsent)

    @property
    def offload(self) -> dict[str, str]:
        """How runs cross this socket just now, for people: ``send`` and ``receive``, each in a word."""
        receive = "kernel" if self.receives_runs else "gathered" if self.gathers else "single"
        return {"send": "kernel" if self.sends_runs else "single", "receive": receive}

    # -- sending

    def send(self, data: bytes | memoryview, destination: Address, segment_size: int | None = None) -> bool:
        """Send a datagram, or a run; False if the kernel has no room: `resend` when it has.

        What it has no room for is copied and kept, and so is everything after it. What it refuses for good
        is counted and lost.
        """
        size = len(data) if segment_size is None else segment_size
        to = destination if self._plain_addresses else to_socket_address(destination, self._family)
        taken = 0 if self._unsent else self._send(data, to, size)
        if taken is None:
            return True
        self._unsent.append((bytes(data[taken:]), to, size))
        return False

    def resend(self) -> bool:
        """Send what was kept, in order; False if the kernel is full again."""
        while self._unsent:
            data, to, size = self._unsent.popleft()
            taken = self._send(data, to, len(data) if size is None else size)
            if taken is not None:
                self._unsent.appendleft((data[taken:], to, size))
                return False
        return True

    def _send(self, data: bytes | memoryview, to: Address, size: int) -> int | None:
        """Send all of it; None when it is done, else how many bytes the kernel had room for."""
        if len(data) <= size or size < 1:
            return None if self._send_one(data, to) else 0
        run = min(RUN_SEGMENTS, RUN_BYTES // size) * size
        if not self.sends_runs or run <= size:
            return self._send_singles(data, to, size)
        if len(data) <= run:
            return self._send_run(data, to, size)
        view = memoryview(data)
        for start in range(0, len(view), run):
            taken = self._send(view[start : start + run], to, size)
            if taken is not None:
                return start + taken
        return None

    def _send_one(self, data: bytes | memoryview, to: Address) -> bool:
        """Hand one datagram to the kernel; False if it has no room now."""
        try:
            self._socket.sendto(data, to)
        except BlockingIOError:
            return False
        except OSError as error:
            self._count_loss(error, 1)
        else:
            self.stats.datagrams_sent += 1
            self.stats.bytes_sent += len(data)
        return True

    def _send_singles(self, data: bytes | memoryview, to: Address, size: int) -> int | None:
        view = memoryview(data)
        for start in range(0, len(view), size):
            if not self._send_one(view[start : start + size], to):
                return start
        return None

    def _send_run(self, data: bytes | memoryview, to: Address, size: int) -> int | None:
        try:
            self._socket.sendmsg([data], [(_SOL_UDP, _UDP_SEGMENT, _SEGMENT.pack(size))], 0, to)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno not in _RUN_REFUSED:
                self._count_loss(error, -(-len(data) // size))
                return None
            return self._send_refused_run(data, to, size, error)
        self.stats.runs_sent += 1
        self.stats.datagrams_sent += -(-len(data) // size)
        self.stats.bytes_sent += len(data)
        return None

    def _send_refused_run(
        self, data: bytes | memoryview, to: Address, size: int, error: OSError
    ) -> int | None:
        """Send a refused run one by one. If its first datagram passes, it was the run that was refused."""
        self.stats.offload_refusals[error_name(error)] += 1
        view, before = memoryview(data), self.stats.datagrams_sent
        if not self._send_one(view[:size], to):
            return 0
        self.sends_runs = self.stats.datagrams_sent == before
        taken = self._send_singles(view[size:], to, size)
        return None if taken is None else size + taken

    def _count_loss(self, error: OSError, datagrams: int) -> None:
        if error.errno in _BROKEN_SOCKET:
            raise error
        self.stats.send_errors[error_name(error)] += datagrams

    # -- receiving

    def read_burst(self, receive_datagram: ReceiveDatagram, now: float) -> None:
        """Read until the socket is empty or the burst is long enough, and hand on what came, in order."""
        read = self._read_merged if self.receives_runs else self._read_one
        if self.gathers:
            self._read_runs(read, receive_datagram, now)
            return
        for _ in range(_BURST_READS):
            got = read(0)
            if got is None:
                return
            length, _size, raw = got
            if length >= 0:
                self._deliver(receive_datagram, 0, length, length, raw, now)

    def _read_runs(
        self, read: Callable[[int], _Read | None], receive_datagram: ReceiveDatagram, now: float
    ) -> None:
        # buffer[start:end] is the run being gathered: datagrams of `size` bytes from `source`; it may grow
        # up to `stop`. A shorter datagram ends it.
        start = end = size = stop = 0
        source: _SocketAddress | None = None
        total = 0
        for _ in range(_BURST_READS):
            got = read(end)
            if got is None:
                break
            length, segment, raw = got
            if length < 0:
                continue
            total += length
            fits = segment == size or 0 < length == segment < size
            if fits and raw == source and end + length <= stop:
                end += length
            else:
                if source is not None:
                    self._deliver(receive_datagram, start, end, size, source, now)
                start, end, size, source = end, end + length, segment, raw
                stop = start + min(_GATHERED_BYTES, _GATHERED_SEGMENTS * size)
            ends = not size or (end - start) % size or end + size > stop
            if ends or end + _ROOM > _BUFFER_BYTES:
                self._deliver(receive_datagram, start, end, size, raw, now)
                start = end = size = stop = 0
                source = None
                if total >= _BURST_BYTES:
                    break
        if source is not None:
            self._deliver(receive_datagram, start, end, size, source, now)

    def _deliver(
        self,
        receive_datagram: ReceiveDatagram,
        start: int,
        end: int,
        size: int,
        raw: _SocketAddress,
        now: float,
    ) -> None:
        stats = self.stats
        stats.bytes_received += end - start
        source = raw if self._plain_addresses else from_socket_address(raw)
        if end - start <= size:
            stats.datagrams_received += 1
            receive_datagram(self._buffer[start:end], source, now=now)  # type: ignore[arg-type]
            return
        stats.runs_received += 1
        stats.datagrams_received += -(-(end - start) // size)
        receive_datagram(self._buffer[start:end], source, now=now, segment_size=size)  # type: ignore[arg-type]

    def _read_one(self, offset: int) -> _Read | None:
        """Read a datagram to ``offset``; None when there is none, a length below 0 for an error."""
        try:
            length, raw = self._socket.recvfrom_into(self._buffer[offset : offset + _ROOM])
        except BlockingIOError:
            return None
        except OSError as error:
            return self._count_read_error(error)
        return length, length, raw

    def _read_merged(self, offset: int) -> _Read | None:
        """As `_read_one`; what is read may be a run, whose datagrams have the second size returned."""
        try:
            length, ancillary, flags, raw = self._socket.recvmsg_into(
                [self._buffer[offset : offset + _ROOM]], _ANCILLARY_BYTES
            )
        except BlockingIOError:
            return None
        except OSError as error:
            return self._count_read_error(error)
        if flags & (_MSG_TRUNC | _MSG_CTRUNC):  # nobody knows any more where datagrams begin and end
            self.stats.receive_errors["MSG_TRUNC" if flags & _MSG_TRUNC else "MSG_CTRUNC"] += 1
            return _NOTHING
        for level, kind, value in ancillary:
            if level == _SOL_UDP and kind == _UDP_GRO and len(value) >= _MERGED.size:
                return length, _MERGED.unpack_from(value)[0], raw
        return length, length, raw

    def _count_read_error(self, error: OSError) -> _Read:
        """Count an ICMP answer to something sent earlier; a broken socket is no such thing."""
        if error.errno in _BROKEN_SOCKET:
            raise error
        self.stats.receive_errors[error_name(error)] += 1
        return _NOTHING


_Read: TypeAlias = tuple[int, int, _SocketAddress]
_NOTHING: Final[_Read] = (-1, 0, ("", 0))


def _takes_runs(udp: socket.socket) -> bool:
    try:
        udp.getsockopt(_SOL_UDP, _UDP_SEGMENT)
    except OSError:
        return False
    return hasattr(udp, "sendmsg")


def _set_merging(udp: socket.socket, *, wanted: bool) -> bool:
    """Switch the kernel's merging on or off; False when it is off."""
    if not hasattr(udp, "recvmsg_into"):
        return False
    try:
        udp.setsockopt(_SOL_UDP, _UDP_GRO, int(wanted))
    except OSError:
        return False
    return wanted
