"""QUIC by aioquic: one stream, with flow control windows that do not hold it back."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import time
from pathlib import Path
from statistics import median

from aioquic.asyncio import connect, serve
from aioquic.quic.configuration import QuicConfiguration

from benchmarks.carriers import credentials
from benchmarks.worker import WARM_UP_BYTES, Clock, payload, say

_PIECE = 1 << 18
_WINDOW = 16 << 20


def configuration(*, client: bool, datagram: int) -> QuicConfiguration:
    """Return a configuration for one side; the server's certificate is made here."""
    quic = QuicConfiguration(
        is_client=client,
        alpn_protocols=["bench"],
        max_datagram_size=datagram,
        max_data=_WINDOW,
        max_stream_data=_WINDOW,
        verify_mode=ssl.CERT_NONE,
    )
    if not client:
        certificate, key = credentials.make_pem()
        with tempfile.TemporaryDirectory() as folder:
            paths = Path(folder, "certificate.pem"), Path(folder, "key.pem")
            for path, data in zip(paths, (certificate, key), strict=True):
                path.write_bytes(data)
            quic.load_cert_chain(*paths)
    return quic


def receive(clock: Clock, *, size: int, seed: int, datagram: int) -> None:
    """Take a warm-up and then the bytes."""
    asyncio.run(_receive(clock, size, seed, datagram))


def send(clock: Clock, *, port: int, size: int, seed: int, datagram: int) -> None:
    """Send a warm-up and then the bytes."""
    asyncio.run(_send(clock, port, size, seed, datagram))


def echo(clock: Clock, *, count: int, message: int) -> None:
    """Answer ``count`` messages of ``message`` bytes."""
    asyncio.run(_echo(clock, count, message))


def ping(clock: Clock, *, port: int, count: int, message: int) -> None:
    """Time ``count`` round trips."""
    asyncio.run(_ping(clock, port, count, message))


async def _listen(handler: object, datagram: int) -> None:
    server = await serve(
        "127.0.0.1",
        0,
        configuration=configuration(client=False, datagram=datagram),
        stream_handler=lambda reader, writer: asyncio.ensure_future(handler(reader, writer)),
    )
    say(port=server._transport.get_extra_info("sockname")[1])  # noqa: SLF001 - the library has no other way


async def _receive(clock: Clock, size: int, seed: int, datagram: int) -> None:
    done = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _fill(reader, bytearray(WARM_UP_BYTES))
        writer.write(b"!")
        clock.begin()
        buffer = bytearray(size)
        await _fill(reader, buffer)
        clock.end()
        writer.write(b"!")
        clock.more["whole"] = buffer == payload(size, seed)
        await asyncio.sleep(0.3)
        done.set()

    await _listen(handler, datagram)
    await done.wait()


async def _fill(reader: asyncio.StreamReader, buffer: bytearray) -> None:
    position = 0
    while position < len(buffer):
        data = await reader.read(_PIECE)
        buffer[position : position + len(data)] = data
        position += len(data)


async def _send(clock: Clock, port: int, size: int, seed: int, datagram: int) -> None:
    body = payload(size, seed)
    async with connect(
        "127.0.0.1", port, configuration=configuration(client=True, datagram=datagram)
    ) as client:
        reader, writer = await client.create_stream()
        writer.write(bytes(WARM_UP_BYTES))
        await reader.readexactly(1)
        clock.begin()
        for start in range(0, size, _PIECE):
            writer.write(bytes(body[start : start + _PIECE]))
            await writer.drain()
        await reader.readexactly(1)
        clock.end()


async def _echo(clock: Clock, count: int, message: int) -> None:
    done = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clock.begin()
        for _ in range(count):
            writer.write(await reader.readexactly(message))
        clock.end()
        await asyncio.sleep(0.3)
        done.set()

    await _listen(handler, 1200)
    await done.wait()


async def _ping(clock: Clock, port: int, count: int, message: int) -> None:
    data = bytes(message)
    times = []
    async with connect("127.0.0.1", port, configuration=configuration(client=True, datagram=1200)) as client:
        reader, writer = await client.create_stream()
        clock.begin()
        for _ in range(count):
            start = time.perf_counter()
            writer.write(data)
            await reader.readexactly(message)
            times.append(time.perf_counter() - start)
        clock.end()
    clock.more["round_trip_s"] = median(times)
