"""Two processes agree on a manifest and one sends the other an update, over a pair of pipes.

The same as `gossip_over_websocket.py`: a pipe is no carrier of messages, so each is preceded by its length.
"""

from __future__ import annotations

import os
import select
import struct
import subprocess
import sys
from typing import BinaryIO

from gossip_link import Link, converse

from quinkgl import Identity
from quinkgl.crypto.keys import KeySource

LENGTH = struct.Struct(">I")
LARGEST = 1 << 21


class Pipe:
    """Whole messages over a pair of byte streams."""

    def __init__(self, reads: BinaryIO, writes: BinaryIO) -> None:
        self.reads, self.writes = reads, writes

    def send(self, message: bytes) -> None:
        """Write one message."""
        self.writes.write(LENGTH.pack(len(message)) + message)
        self.writes.flush()

    def receive(self, timeout_s: float) -> bytes | None:
        """Wait for one message; None when time is up. SystemExit when the other side is gone."""
        if not select.select([self.reads], [], [], timeout_s)[0]:
            return None
        head = self._read(LENGTH.size)
        (length,) = LENGTH.unpack(head)
        return self._read(min(length, LARGEST))

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = os.read(self.reads.fileno(), count - len(data))
            if not more:
                raise SystemExit("the other side is gone")
            data += more
        return data


def called() -> None:
    """The child: takes what is offered, and says so on standard error."""
    pipe = Pipe(sys.stdin.buffer, sys.stdout.buffer)
    link = Link(Identity.generate(KeySource.system()), initiator=False)
    converse(link, pipe.send, pipe.receive)
    if link.update is not None:
        header = link.update.header
        sys.stderr.write(
            f"round {header.round}: {len(link.update.body)} bytes from {header.author.hex()[:8]}\n"
        )


def calling() -> None:
    """The parent: starts the child and sends it an update."""
    command = [sys.executable, __file__, "child"]
    with subprocess.Popen(  # noqa: S603 - this very program
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        if child.stdin is None or child.stdout is None or child.stderr is None:
            raise SystemExit("no pipes")
        pipe = Pipe(child.stdout, child.stdin)
        link = Link(Identity.generate(KeySource.system()), initiator=True, body=bytes(100_000))
        converse(link, pipe.send, pipe.receive)
        print(child.stderr.read().decode().strip())


if __name__ == "__main__":
    called() if sys.argv[1:] == ["child"] else calling()
