"""The peers that a node is told to ask first, ``[PEER_ID@]HOST:PORT``; names are looked up here alone."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from typing import Self

import trio

from quinkgl.crypto.identity import parse_peer_id
from quinkgl.wire.addresses import Address
from quinkgl_trio.sockets import from_socket_address

_HIGHEST_PORT = 0xFFFF


@dataclass(frozen=True, slots=True)
class PeerTarget:
    """Where a peer may be found, and who it must prove to be (None: any member of the swarm)."""

    host: str
    port: int
    peer_id: bytes | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``HOST:PORT``, ``[IPv6]:PORT`` or either with ``PEER_ID@`` in front.

        Raises:
            ValueError: with a message for people.
        """
        peer_text, at, place = text.rpartition("@")
        host, port = parse_host_port(place)
        if port == 0:
            raise ValueError(f"{text!r}: port 0 is nobody's")
        return cls(host, port, parse_peer_id(peer_text) if at else None)

    async def resolve(self, family: int) -> Address:
        """The IP address and port behind the name, for a socket of ``family``.

        Raises:
            OSError: the name cannot be resolved, or has no address of that family; the message names it.
        """
        # A dual-stack socket reaches both families; an IPv4 one only its own.
        wanted = socket.AF_UNSPEC if family == socket.AF_INET6 else family
        try:
            found = await trio.socket.getaddrinfo(self.host, self.port, family=wanted, type=socket.SOCK_DGRAM)
        except OSError as error:
            raise OSError(error.errno, f"cannot resolve {self.host}: {error.strerror}") from error
        host, port = found[0][4][:2]
        return from_socket_address((str(host), int(port)))

    def __str__(self) -> str:
        place = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        return f"{self.peer_id.hex()}@{place}" if self.peer_id else place


def parse_host_port(text: str) -> tuple[str, int]:
    """Read ``HOST:PORT`` or ``[IPv6]:PORT``; the host may be a name, and the port may be 0.

    Raises:
        ValueError: with a message for people.
    """
    host, colon, port_text = text.rpartition(":")
    if not colon or not port_text.isascii() or not port_text.isdigit() or int(port_text) > _HIGHEST_PORT:
        raise ValueError(f"{text!r} is not HOST:PORT with a port up to {_HIGHEST_PORT}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError(f"{text!r}: {host!r} is no IPv6 address") from None
    elif not host or ":" in host:
        raise ValueError(f"{text!r} is not HOST:PORT; write an IPv6 address in brackets, as [::1]:4242")
    return host, int(port_text)
