"""What ``send`` and ``receive`` have in common: the endpoint, its limits, and reading what was given."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from quinkgl.cli import CliError, ExitCode
from quinkgl.crypto.psk import SwarmKeys
from quinkgl.transport import ConnectionConfig, EndpointConfig, KeyLog, ObjectConfig
from quinkgl.wire.errors import ErrorCode
from quinkgl.wire.limits import HARD
from quinkgl.wire.messages.session import TransportParameters
from quinkgl_trio.background import background
from quinkgl_trio.signals import exit_code_for, signals_to
from quinkgl_trio.sockets import BoundSocket
from quinkgl_trio.transfer_ticket import Ticket

IDLE_TIMEOUT_S: Final = 10.0
"""A holder that dies is given up after so long; another one takes over, or the same after its restart."""
TICK_S: Final = 0.25
"""How often progress is shown and what waits is tried again."""

_KEEPALIVE_S: Final = 2.5
_HANDSHAKE_TIMEOUT_S: Final = 0.5
_HANDSHAKE_TRIES: Final = 3
"""Few and soon: a receiver goes on trying all the same, and a sender that comes back is found quickly."""
_SECRET_BYTES: Final = 1024


def endpoint_config(keylog: KeyLog | None, bound: BoundSocket) -> EndpointConfig:
    """The protocol's limits, but for objects as large as it allows and peers that die."""
    return EndpointConfig(
        parameters=TransportParameters(idle_timeout_s=IDLE_TIMEOUT_S),
        connection=ConnectionConfig(keepalive_s=_KEEPALIVE_S, mtu_discovery=bound.probes_path_mtu),
        objects=ObjectConfig(object_bytes=HARD.object_bytes, receive_buffer_bytes=bound.receive_buffer_bytes),
        handshake_timeout_s=_HANDSHAKE_TIMEOUT_S,
        handshake_tries=_HANDSHAKE_TRIES,
        keylog=keylog,
    )


def read_ticket(text: str) -> Ticket:
    """Read a ticket from the command line, or from standard input for ``-``.

    A command line can be seen by others on the machine; standard input cannot.

    Raises:
        CliError: it is no ticket.
    """
    if text == "-":
        text = sys.stdin.readline()
    try:
        return Ticket.parse(text)
    except ValueError as error:
        raise CliError(str(error), ExitCode.VALIDATION) from error


def keys_of(ticket: Ticket, secret_file: Path | None) -> SwarmKeys:
    """The session keys of a ticket, and of the secret that it does not tell.

    Raises:
        CliError: the file is empty or too long.
        OSError: it cannot be read.
    """
    if secret_file is None:
        return ticket.keys()
    with secret_file.open("rb") as file:
        secret = file.read(_SECRET_BYTES + 3).rstrip(b"\r\n")
    if not 0 < len(secret) <= _SECRET_BYTES:
        raise CliError(f"{secret_file}: a secret has 1 to {_SECRET_BYTES} bytes", ExitCode.CRYPTO)
    return ticket.keys(secret)


class Interruption:
    """What a signal asked for, while `interruptible` is open."""

    def __init__(self) -> None:
        self.number: int | None = None

    @property
    def exit_code(self) -> ExitCode:
        """The code to end with: that of the signal, if there was one."""
        return ExitCode.SUCCESS if self.number is None else exit_code_for(self.number)


@asynccontextmanager
async def interruptible(cancel: Callable[[], None]) -> AsyncGenerator[Interruption]:
    """While the block runs, the first SIGINT or SIGTERM calls ``cancel`` and the second ends the process."""
    interruption = Interruption()

    def stop(number: int) -> None:
        if interruption.number is not None:
            os._exit(exit_code_for(number))
        interruption.number = number
        cancel()

    async with signals_to(stop):
        yield interruption


@asynccontextmanager
async def every(seconds: float, action: Callable[[], None]) -> AsyncGenerator[None]:
    """While the block runs, call ``action`` again and again; what it raises ends the block."""

    async def repeat() -> None:
        while True:
            await trio.sleep(seconds)
            action()

    async with background() as nursery:
        nursery.start_soon(repeat)
        yield


def code_name(code: int) -> str:
    """An error code by its name, or by its number where it has none here."""
    try:
        return ErrorCode(code).name
    except ValueError:
        return f"0x{code:04x}"
