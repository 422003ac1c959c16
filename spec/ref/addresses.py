"""Addresses as byte strings of 6 or 18 bytes (chapter 3.7)."""

import ipaddress

from .data import need

Address = tuple[str, int]


def encode_address(address: Address) -> bytes:
    """IP address and port as bytes, checked as a receiver checks them."""
    host, port = address
    data = ipaddress.ip_address(host).packed + port.to_bytes(2, "big")
    host, port = decode_address(data)
    return ipaddress.ip_address(host).packed + port.to_bytes(2, "big")


def decode_address(data: bytes) -> Address:
    """IP address and port; `E_SCHEMA` for what cannot be reached (C-040 to C-042)."""
    need(len(data) in (6, 18), "E_SCHEMA", "an address has 6 or 18 bytes")
    if data[:12] == bytes(10) + b"\xff\xff":
        data = data[12:]
    address, port = ipaddress.ip_address(data[:-2]), int.from_bytes(data[-2:], "big")
    need(port, "E_SCHEMA", "port 0")
    need(
        not address.is_unspecified and not address.is_multicast,
        "E_SCHEMA",
        "an unspecified or multicast address",
    )
    need(data[:4] != b"\xff\xff\xff\xff" or len(data) == 18, "E_SCHEMA", "the broadcast address")
    return str(address), port
