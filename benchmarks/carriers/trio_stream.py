"""TCP under Trio, with TLS or plain: the peers in our own family of event loops."""

from __future__ import annotations

import trio

from benchmarks.carriers import credentials
from benchmarks.worker import WARM_UP_BYTES, Clock, payload, say

_PIECE = 1 << 20


def receive(clock: Clock, *, size: int, seed: int, tls: bool) -> None:
    """Take a warm-up and then the bytes."""
    trio.run(_receive, clock, size, seed, tls)


def send(clock: Clock, *, port: int, size: int, seed: int, tls: bool) -> None:
    """Send a warm-up and then the bytes."""
    trio.run(_send, clock, port, size, seed, tls)


async def _receive(clock: Clock, size: int, seed: int, tls: bool) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    say(port=listener.socket.getsockname()[1])
    stream: trio.abc.Stream = await listener.accept()
    if tls:
        stream = trio.SSLStream(stream, credentials.server_context(), server_side=True)
    await _fill(stream, bytearray(WARM_UP_BYTES))
    await stream.send_all(b"!")
    clock.begin()
    buffer = bytearray(size)
    await _fill(stream, buffer)
    clock.end()
    await stream.send_all(b"!")
    clock.more["whole"] = buffer == payload(size, seed)


async def _fill(stream: trio.abc.Stream, buffer: bytearray) -> None:
    position = 0
    while position < len(buffer):
        data = await stream.receive_some(_PIECE)
        buffer[position : position + len(data)] = data
        position += len(data)


async def _send(clock: Clock, port: int, size: int, seed: int, tls: bool) -> None:
    body = payload(size, seed)
    stream: trio.abc.Stream = await trio.open_tcp_stream("127.0.0.1", port)
    if tls:
        stream = trio.SSLStream(stream, credentials.client_context(), server_hostname="localhost")
    await stream.send_all(bytes(WARM_UP_BYTES))
    await stream.receive_some(1)
    clock.begin()
    for start in range(0, size, _PIECE):
        await stream.send_all(body[start : start + _PIECE])
    await stream.receive_some(1)
    clock.end()
