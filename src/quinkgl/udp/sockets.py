"""UDP sockets for drivers: binding, large buffers, dual stack, no fragments, addresses to advertise."""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
from dataclasses import dataclass
from typing import Final, Self

from quinkgl.wire.addresses import Address

WANTED_BUFFER_BYTES: Final = 4 * 1024 * 1024
"""Socket buffer to ask for, each way: the kernel's default of 208 KiB overflows within one burst at speed."""

_MAPPED: Final = "::ffff:"
# "Do not fragment, and do not believe ICMP": what path MTU discovery with probes needs. The socket module has
# no names for these: linux/in.h, linux/in6.h, Darwin's netinet/in.h and netinet6/in6.h.
_PROBE_OPTIONS: Final = {
    "linux": ((socket.IPPROTO_IP, 10, 3), (socket.IPPROTO_IPV6, 23, 3)),
    "darwin": ((socket.IPPROTO_IP, 28, 1), (socket.IPPROTO_IPV6, 62, 1)),
}
_WILDCARDS: Final = ("0.0.0.0", "::")  # noqa: S104  compared with, not bound to
# RFC 5737 and RFC 3849 documentation addresses: asking the kernel for a route to them sends nothing.
_ROUTE_PROBES: Final = {socket.AF_INET: ("192.0.2.1", 9), socket.AF_INET6: ("2001:db8::1", 9)}


@dataclass(frozen=True, slots=True)
class BoundSocket:
    """A bound, non-blocking UDP socket and what the kernel granted it."""

    socket: socket.socket
    address: Address
    """Where it is bound; the port is the real one even if 0 was asked for."""
    receive_buffer_bytes: int
    send_buffer_bytes: int
    probes_path_mtu: bool = False
    """Whether datagrams leave whole or not at all, at any size: only then can a path's MTU be found out."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.socket.close()


def bind_udp(address: Address) -> BoundSocket:
    """Bind a UDP socket for a driver; ``::`` serves IPv4 and IPv6 at once.

    Asks for 4 MiB buffers and reads back what was granted: the kernel caps the wish silently.

    Raises:
        OSError: the port is in use, not permitted, or the host is no address of this machine.
    """
    host, port = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    udp = socket.socket(family, socket.SOCK_DGRAM)
    try:
        udp.setblocking(False)
        if family == socket.AF_INET6 and host == "::":
            with contextlib.suppress(OSError):  # a kernel without dual stack still serves IPv6
                udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        udp.bind((host, port))
        return adopt_udp(udp)
    except BaseException:
        udp.close()
        raise


def adopt_udp(udp: socket.socket) -> BoundSocket:
    """Take over a bound UDP socket, from a supervisor, say.

    Makes it non-blocking, enlarges its buffers and forbids fragments.
    """
    udp.setblocking(False)
    receive, send = (_grow_buffer(udp, option) for option in (socket.SO_RCVBUF, socket.SO_SNDBUF))
    return BoundSocket(udp, from_socket_address(udp.getsockname()), receive, send, _forbid_fragments(udp))


def _forbid_fragments(udp: socket.socket) -> bool:
    """Let oversized datagrams fail (EMSGSIZE) instead of being cut up; False where the kernel cannot."""
    level = socket.IPPROTO_IPV6 if udp.family == socket.AF_INET6 else socket.IPPROTO_IP
    done = False
    for protocol, option, value in _PROBE_OPTIONS.get(sys.platform, ()):
        # A dual-stack socket has both options; an IPv4 one refuses the other.
        with contextlib.suppress(OSError):
            udp.setsockopt(protocol, option, value)
            done = done or protocol == level
    return done


def _grow_buffer(udp: socket.socket, option: int) -> int:
    with contextlib.suppress(OSError):  # BSD kernels refuse instead of capping: what is there stays
        if udp.getsockopt(socket.SOL_SOCKET, option) < WANTED_BUFFER_BYTES:
            udp.setsockopt(socket.SOL_SOCKET, option, WANTED_BUFFER_BYTES)
    value = udp.getsockopt(socket.SOL_SOCKET, option)
    # Linux reports twice what was granted, to make room for its own bookkeeping (socket(7)).
    return value // 2 if sys.platform == "linux" else value


def from_socket_address(address: tuple[str, int] | tuple[str, int, int, int]) -> Address:
    """The core's form of a socket address: host and port, IPv4 behind a dual-stack socket as IPv4."""
    host, port = address[0], address[1]
    return (host.removeprefix(_MAPPED) if "." in host else host, port)


def to_socket_address(address: Address, family: int) -> Address:
    """The form in which a socket of ``family`` takes the core's address."""
    host, port = address
    return (_MAPPED + host, port) if family == socket.AF_INET6 and ":" not in host else address


def is_wildcard(host: str) -> bool:
    """Whether binding to ``host`` means every address of this machine."""
    return host in _WILDCARDS


def local_host_towards(remote: Address | None, *, family: int) -> str | None:
    """The address of this machine from which packets to ``remote`` would leave; None without a route.

    With ``remote`` None the default route decides. Nothing is sent.
    """
    target = remote or _ROUTE_PROBES[socket.AddressFamily(family)]
    family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(target)
        except OSError:
            return None
        host = from_socket_address(probe.getsockname())[0]
    return None if is_wildcard(host) else host


def error_name(error: OSError) -> str:
    """The symbolic name of a socket error, such as ``ECONNREFUSED``: the key under which it is counted."""
    return errno.errorcode.get(error.errno or 0, "EUNKNOWN")
