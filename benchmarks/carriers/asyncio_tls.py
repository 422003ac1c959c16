"""TLS over TCP under asyncio."""

from __future__ import annotations

import asyncio

from benchmarks.carriers import credentials
from benchmarks.worker import WARM_UP_BYTES, Clock, payload, say

_PIECE = 1 << 20


def receive(clock: Clock, *, size: int, seed: int) -> None:
    """Take a warm-up and then the bytes."""
    asyncio.run(_receive(clock, size, seed))


def send(clock: Clock, *, port: int, size: int, seed: int) -> None:
    """Send a warm-up and then the bytes."""
    asyncio.run(_send(clock, port, size, seed))


async def _receive(clock: Clock, size: int, seed: int) -> None:
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _fill(reader, bytearray(WARM_UP_BYTES))
        writer.write(b"!")
        clock.begin()
        buffer = bytearray(size)
        await _fill(reader, buffer)
        clock.end()
        writer.write(b"!")
        await writer.drain()
        clock.more["whole"] = buffer == payload(size, seed)
        done.set()

    server = await asyncio.start_server(
        serve, "127.0.0.1", 0, ssl=credentials.server_context(), limit=2 * _PIECE
    )
    say(port=server.sockets[0].getsockname()[1])
    await done.wait()
    await asyncio.sleep(0.1)


async def _fill(reader: asyncio.StreamReader, buffer: bytearray) -> None:
    position = 0
    while position < len(buffer):
        data = await reader.read(_PIECE)
        buffer[position : position + len(data)] = data
        position += len(data)


async def _send(clock: Clock, port: int, size: int, seed: int) -> None:
    body = payload(size, seed)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=credentials.client_context())
    writer.write(bytes(WARM_UP_BYTES))
    await writer.drain()
    await reader.readexactly(1)
    clock.begin()
    for start in range(0, size, _PIECE):
        writer.write(body[start : start + _PIECE])
        await writer.drain()
    await reader.readexactly(1)
    clock.end()
