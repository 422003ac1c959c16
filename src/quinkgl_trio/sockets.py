"""UDP sockets under the names that this package has always had; they live in `quinkgl.udp`."""

from __future__ import annotations

from quinkgl.udp.sockets import (
    BoundSocket,
    adopt_udp,
    bind_udp,
    error_name,
    from_socket_address,
    is_wildcard,
    local_host_towards,
    to_socket_address,
)

__all__ = [
    "BoundSocket",
    "adopt_udp",
    "bind_udp",
    "error_name",
    "from_socket_address",
    "is_wildcard",
    "local_host_towards",
    "to_socket_address",
]
