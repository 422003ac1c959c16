"""How far an address reaches: whether trying it makes sense, and whether it may be tried at all.

A record may name any address. Trying one inside a private network is useless from elsewhere, and would let a
stranger make a node probe its own network; so an address that is not public counts only for a node that has
an address of the same scope itself (``spec/10-membership.md``, rules M-040 and M-041).
"""

from __future__ import annotations

import ipaddress
from enum import Enum
from functools import lru_cache

from quinkgl.wire.addresses import Address


class Scope(Enum):
    """From where an address can be reached."""

    LOOPBACK = "loopback"
    LINK = "link"
    PRIVATE = "private"
    PUBLIC = "public"


# The networks stand here and not in a property of ``ipaddress``: its idea of "private" changes between
# versions.
_SCOPES = tuple(
    (ipaddress.ip_network(network), scope)
    for network, scope in (
        ("127.0.0.0/8", Scope.LOOPBACK),  # RFC 1122 section 3.2.1.3
        ("::1/128", Scope.LOOPBACK),  # RFC 4291 section 2.5.3
        ("169.254.0.0/16", Scope.LINK),  # RFC 3927
        ("fe80::/10", Scope.LINK),  # RFC 4291 section 2.5.6
        ("10.0.0.0/8", Scope.PRIVATE),  # RFC 1918
        ("172.16.0.0/12", Scope.PRIVATE),
        ("192.168.0.0/16", Scope.PRIVATE),
        ("100.64.0.0/10", Scope.PRIVATE),  # RFC 6598, behind a carrier's NAT
        ("fc00::/7", Scope.PRIVATE),  # RFC 4193
    )
)


def scope_of(address: Address) -> Scope:
    """Return the scope of an address that ``wire.addresses`` decoded or parsed."""
    return _scope_of_host(address[0])


@lru_cache(maxsize=1024)
def _scope_of_host(host: str) -> Scope:
    ip = ipaddress.ip_address(host)
    for network, scope in _SCOPES:
        if ip.version == network.version and ip in network:
            return scope
    return Scope.PUBLIC


def usable(addresses: tuple[Address, ...], own: tuple[Address, ...]) -> tuple[Address, ...]:
    """Return the addresses that a node with the addresses ``own`` may try, in their order [M-040]."""
    scopes = {scope_of(address) for address in own} | {Scope.PUBLIC}
    return tuple(address for address in addresses if scope_of(address) in scopes)
