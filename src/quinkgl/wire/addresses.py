"""Addresses of peers as bytes and as text.

An address is the pair of a literal IP address and a UDP port. On the wire it is the packed IP address, 4 or
16 bytes, followed by the port, big-endian; the length tells the family. Host names never cross the wire.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TypeAlias

from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError

Address: TypeAlias = tuple[str, int]
"""A literal IP address, in the form that ``ipaddress`` prints, and a port from 1 to 65535."""

_REMEMBERED = 1024
"""Addresses whose two forms are remembered: a node meets the same few again and again."""
_PORT_BYTES = 2
_IPV4_BYTES = 4 + _PORT_BYTES
_IPV6_BYTES = 16 + _PORT_BYTES
_MAX_PORT = 0xFFFF
_PREFIX_BYTES = {4: 3, 6: 6}
"""Bytes of an address that one site usually holds alone: /24 and /48."""

_AnyIP: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


def _plain(ip: _AnyIP) -> _AnyIP:
    """Return the IPv4 address inside an IPv4-mapped IPv6 one, so that one host has one spelling."""
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    return ip


@lru_cache(maxsize=1024)
def _parsed(host: str) -> _AnyIP:
    """Read a literal address; ValueError for anything else. The same few are asked about again and again."""
    return _plain(ipaddress.ip_address(host))


def _fault(ip: _AnyIP, port: int) -> str | None:
    """Say why nobody can have a peer at this address, or None."""
    if not 0 < port <= _MAX_PORT:
        return f"port {port} is not between 1 and {_MAX_PORT}"
    if ip.is_unspecified:
        return "the unspecified address"
    if ip.is_multicast or ip == ipaddress.IPv4Address(0xFFFFFFFF):
        return "a multicast or broadcast address"
    return None


@lru_cache(maxsize=_REMEMBERED)
def encode_address(address: Address) -> bytes:
    """Return the packed IP address and the port, 6 or 18 bytes.

    Raises LocalProtocolError for a host name, an IPv6 scope, and for what :func:`decode_address_untrusted`
    refuses.
    """
    host, port = address
    try:
        ip = _parsed(host)
    except ValueError:
        raise LocalProtocolError(ErrorCode.E_USAGE, f"{host!r} is not a literal IP address") from None
    if isinstance(ip, ipaddress.IPv6Address) and ip.scope_id is not None:
        raise LocalProtocolError(
            ErrorCode.E_USAGE, f"{host!r} has a scope that means nothing to another host"
        )
    fault = _fault(ip, port)
    if fault is not None:
        raise LocalProtocolError(ErrorCode.E_USAGE, f"{host!r} port {port}: {fault}")
    return ip.packed + port.to_bytes(_PORT_BYTES, "big")


@lru_cache(maxsize=_REMEMBERED)
def decode_address_untrusted(data: bytes) -> Address:
    """Return the address in 6 or 18 bytes from the network.

    An IPv4-mapped IPv6 address comes back as the IPv4 address. Raises RemoteProtocolError (E_SCHEMA) for
    another length, port 0, and the unspecified, multicast and broadcast addresses (spec C-040 to C-042).
    """
    if len(data) not in (_IPV4_BYTES, _IPV6_BYTES):
        raise RemoteProtocolError(ErrorCode.E_SCHEMA, f"an address of {len(data)} bytes", section="C-040")
    ip = _plain(ipaddress.ip_address(bytes(data[:-_PORT_BYTES])))
    port = int.from_bytes(data[-_PORT_BYTES:], "big")
    fault = _fault(ip, port)
    if fault is not None:
        raise RemoteProtocolError(ErrorCode.E_SCHEMA, f"an address nobody can have: {fault}", section="C-041")
    return str(ip), port


def format_address(address: Address) -> str:
    """Return ``host:port``, with an IPv6 address in brackets."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_address(text: str) -> Address:
    """Return the address in ``host:port`` or ``[v6]:port``, checked and in its one spelling.

    Raises ValueError with a message for people. The host must be a literal: looking up names is the driver's
    work.
    """
    host, separator, port_text = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not separator or not port_text.isascii() or not port_text.isdigit() or (":" in host and not bracketed):
        raise ValueError(f"{text!r} is not of the form host:port or [v6]:port")
    try:
        return decode_address_untrusted(encode_address((host[1:-1] if bracketed else host, int(port_text))))
    except LocalProtocolError as error:
        raise ValueError(error.message) from None


def prefix(address: Address) -> bytes:
    """Return the network prefix that quotas count by: 3 bytes for an IPv4 /24, 6 for an IPv6 /48.

    ``address`` is one that this module decoded or parsed.
    """
    ip = _parsed(address[0])
    return ip.packed[: _PREFIX_BYTES[ip.version]]


def is_loopback(address: Address) -> bool:
    """Whether the address is this host's own loopback, to which quotas by prefix do not apply."""
    return _parsed(address[0]).is_loopback
