"""Where a command listens: the port or a line that says why not, and the addresses that reach it."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Sequence
from typing import TypeVar

from quinkgl.cli import CliError, ExitCode
from quinkgl.wire.addresses import Address, format_address
from quinkgl_trio.sockets import BoundSocket, bind_udp, is_wildcard, local_host_towards

ValueT = TypeVar("ValueT")


def flag_value(name: str, text: str, parse: Callable[[str], ValueT]) -> ValueT:
    """What ``parse`` makes of a flag's text; a CliError that names the flag where it refuses."""
    try:
        return parse(text)
    except ValueError as error:
        raise CliError(f"{name}: {error}", ExitCode.IO) from error


def bind_listener(address: Address) -> BoundSocket:
    """Bind the address of ``--listen``; a CliError that says why where that fails."""
    host, port = address
    try:
        return bind_udp(address)
    except OSError as error:
        reasons = {
            errno.EADDRINUSE: f"port {port} on {host} is in use",
            errno.EACCES: f"binding port {port} on {host} is not permitted",
            errno.EADDRNOTAVAIL: f"{host} is no address of this machine",
        }
        reason = reasons.get(error.errno or 0, f"cannot bind {format_address(address)}: {error.strerror}")
        raise CliError(f"--listen: {reason}", ExitCode.IO) from error


def reachable_addresses(bound: BoundSocket, bootstrap: Sequence[Address]) -> tuple[Address, ...]:
    """Where others may reach whoever is bound here; ``bootstrap`` are peers that are asked first."""
    host, port = bound.address
    if not is_wildcard(host):
        return (bound.address,)
    families = (socket.AF_INET6, socket.AF_INET) if host == "::" else (socket.AF_INET,)
    towards: Sequence[Address | None] = bootstrap or [None]
    hosts = [local_host_towards(remote, family=family) for remote in towards for family in families]
    return tuple((host, port) for host in dict.fromkeys(hosts) if host is not None)
