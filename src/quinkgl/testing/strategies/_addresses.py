"""Hypothesis strategies for addresses, as pairs and as bytes."""

from __future__ import annotations

import ipaddress

from hypothesis import strategies as st

from quinkgl.wire.addresses import Address, decode_address_untrusted, encode_address

_PORT_BYTES = 2
_PORTS = st.integers(1, 0xFFFF)
_REFUSED_V4 = ("0.0.0.0", "224.0.0.1", "239.255.255.255", "255.255.255.255")  # noqa: S104 - as bytes, not to bind
_REFUSED_V6 = ("::", "ff00::", "ff02::1", "::ffff:0.0.0.0", "::ffff:224.0.0.1", "::ffff:255.255.255.255")


def _can_be_had(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    plain = mapped or ip
    return not (
        plain.is_unspecified or plain.is_multicast or plain == ipaddress.IPv4Address("255.255.255.255")
    )


def _pack(ip: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> bytes:
    return ip.packed + port.to_bytes(_PORT_BYTES, "big")


def packed_addresses() -> st.SearchStrategy[bytes]:
    """Addresses as 6 or 18 bytes that a receiver takes and would send in the same form."""
    fresh = st.tuples(st.ip_addresses().filter(_can_be_had), _PORTS).map(lambda pair: _pack(*pair))
    # One that is written as IPv6 and means IPv4 has another spelling; decoding gives it (C-042).
    return fresh.map(lambda packed: encode_address(decode_address_untrusted(packed)))


def addresses() -> st.SearchStrategy[Address]:
    """Pairs of a literal IP address, in its one spelling, and a port: addresses that one can have (3.7)."""
    return packed_addresses().map(decode_address_untrusted)


def bad_packed_addresses() -> st.SearchStrategy[bytes]:
    """6 or 18 bytes that no receiver takes for an address: port 0, and addresses that nobody can have."""
    refused = st.sampled_from([*map(ipaddress.ip_address, (*_REFUSED_V4, *_REFUSED_V6))])
    return st.one_of(
        st.tuples(refused, _PORTS).map(lambda pair: _pack(*pair)),
        st.ip_addresses().map(lambda ip: _pack(ip, 0)),
    )


__all__ = ["addresses", "bad_packed_addresses", "packed_addresses"]
