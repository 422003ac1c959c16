"""gRPC with TLS: a client stream of 1 MB messages, and unary calls for round trips."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

import grpc

from benchmarks.carriers import credentials
from benchmarks.worker import WARM_UP_BYTES, Clock, payload, say

_PIECE = 1 << 20
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.ssl_target_name_override", credentials.NAME),
]


def _same(data: bytes) -> bytes:
    return data


def _serve(handlers: dict[str, Any], certificate: bytes, key: bytes) -> grpc.Server:
    server = grpc.server(ThreadPoolExecutor(2), options=_OPTIONS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench", handlers),))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)]))
    server.start()
    say(port=port, certificate=certificate.decode())
    return server


def _channel(port: int, certificate: str) -> grpc.Channel:
    secure = grpc.ssl_channel_credentials(root_certificates=certificate.encode())
    return grpc.secure_channel(f"127.0.0.1:{port}", secure, options=_OPTIONS)


def receive(clock: Clock, *, size: int, seed: int) -> None:
    """Take a warm-up and then the bytes."""
    done = threading.Event()

    def warm(messages: Iterator[bytes], _context: object) -> bytes:
        for _ in messages:
            pass
        return b"!"

    def take(messages: Iterator[bytes], _context: object) -> bytes:
        position = 0
        clock.begin()
        buffer = bytearray(size)
        for data in messages:
            buffer[position : position + len(data)] = data
            position += len(data)
        clock.end()
        clock.more["whole"] = buffer == payload(size, seed)
        done.set()
        return b"!"

    handlers = {
        name: grpc.stream_unary_rpc_method_handler(method, _same, _same)
        for name, method in (("Warm", warm), ("Take", take))
    }
    server = _serve(handlers, *credentials.make_pem())
    done.wait()
    server.stop(1.0).wait()


def send(clock: Clock, *, port: int, size: int, seed: int, certificate: str) -> None:
    """Send a warm-up and then the bytes."""
    body = payload(size, seed)

    def pieces(data: memoryview) -> Iterator[bytes]:
        for start in range(0, len(data), _PIECE):
            yield bytes(data[start : start + _PIECE])

    with _channel(port, certificate) as channel:
        channel.stream_unary("/bench/Warm", _same, _same)(pieces(memoryview(bytes(WARM_UP_BYTES))))
        call: Callable[[Iterator[bytes]], bytes] = channel.stream_unary("/bench/Take", _same, _same)
        clock.begin()
        call(pieces(body))
        clock.end()


def echo(clock: Clock, *, count: int, message: int) -> None:
    """Answer ``count`` calls of ``message`` bytes."""
    done = threading.Event()
    left = [count]

    def answer(data: bytes, _context: object) -> bytes:
        left[0] -= 1
        if not left[0]:
            done.set()
        return data

    del message
    clock.begin()
    server = _serve(
        {"Echo": grpc.unary_unary_rpc_method_handler(answer, _same, _same)}, *credentials.make_pem()
    )
    done.wait()
    clock.end()
    server.stop(1.0).wait()


def ping(clock: Clock, *, port: int, count: int, message: int, certificate: str) -> None:
    """Time ``count`` unary calls."""
    data = bytes(message)
    times = []
    with _channel(port, certificate) as channel:
        call = channel.unary_unary("/bench/Echo", _same, _same)
        clock.begin()
        for _ in range(count):
            start = time.perf_counter()
            call(data)
            times.append(time.perf_counter() - start)
        clock.end()
    clock.more["round_trip_s"] = median(times)
