"""Captured datagrams as pcap files, which tcpdump writes and Wireshark reads.

Written is the classic format (draft-ietf-opsawg-pcap) with bare IP packets (LINKTYPE_RAW). Read are the link
types in which tcpdump captures on loopback, Ethernet and "any". Fragments and everything but UDP are skipped.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable
from typing import NamedTuple

from quinkgl.wire.addresses import Address

_HEADER = struct.Struct("IHHiIII")
_RECORD = struct.Struct("IIII")
_MICROSECONDS, _NANOSECONDS = 0xA1B2C3D4, 0xA1B23C4D
_LINKTYPE_RAW = 101
_SNAPLEN = 1 << 18
_IPV4 = struct.Struct(">BBHHHBBH4s4s")
_IPV6 = struct.Struct(">IHBB16s16s")
_UDP = struct.Struct(">HHHH")
_UDP_PROTOCOL = 17
_TTL = 64
_ETHERTYPES = {0x0800, 0x86DD}

_LINK_HEADERS = {101: 0, 228: 0, 229: 0, 0: 4, 1: 14, 113: 16, 276: 20}
"""Bytes before the IP packet, by link type: raw, raw IPv4, raw IPv6, loopback, Ethernet, cooked 1 and 2."""


class CapturedDatagram(NamedTuple):
    """One UDP datagram: when it was seen (seconds since 1970), from where to where, and what was in it."""

    time: float
    source: Address
    destination: Address
    data: bytes


def write_pcap(datagrams: Iterable[CapturedDatagram]) -> bytes:
    """Return a capture file with these datagrams."""
    order = "<"
    parts = [struct.pack(order + _HEADER.format, _MICROSECONDS, 2, 4, 0, 0, _SNAPLEN, _LINKTYPE_RAW)]
    for datagram in datagrams:
        packet = _ip_packet(datagram)
        seconds, rest = divmod(round(datagram.time * 1_000_000), 1_000_000)
        parts += [struct.pack(order + _RECORD.format, seconds, rest, len(packet), len(packet)), packet]
    return b"".join(parts)


def read_pcap(data: bytes) -> list[CapturedDatagram]:
    """Return the UDP datagrams of a capture file, in its order; those that were cut short are left out.

    ValueError for what is no pcap file, and for a link type that is not known here.
    """
    for order in "<>":
        if len(data) < _HEADER.size:
            break
        magic, _, _, _, _, _, link = struct.unpack_from(order + _HEADER.format, data)
        if magic in {_MICROSECONDS, _NANOSECONDS}:
            unit = 1e-6 if magic == _MICROSECONDS else 1e-9
            return _records(data, order, unit, link & 0xFFFF)
    raise ValueError("not a pcap file (pcapng is another format: editcap -F pcap converts it)")


def _records(data: bytes, order: str, unit: float, link: int) -> list[CapturedDatagram]:
    if link not in _LINK_HEADERS:
        raise ValueError(f"link type {link} is not known here")
    found: list[CapturedDatagram] = []
    at = _HEADER.size
    while at + _RECORD.size <= len(data):
        seconds, rest, length, original = struct.unpack_from(order + _RECORD.format, data, at)
        at += _RECORD.size
        frame = data[at : at + length]
        at += length
        if length == original == len(frame):
            datagram = _datagram(seconds + rest * unit, frame[_LINK_HEADERS[link] :])
            if datagram is not None:
                found.append(datagram)
    return found


def _datagram(time: float, packet: bytes) -> CapturedDatagram | None:
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= _IPV4.size:
        _, _, total, _, fragment, _, protocol, _, source, destination = _IPV4.unpack_from(packet)
        start = 4 * (packet[0] & 0x0F)
        fragmented = fragment & 0x3FFF
    elif version == 6 and len(packet) >= _IPV6.size:
        _, payload, protocol, _, source, destination = _IPV6.unpack_from(packet)
        start, total, fragmented = _IPV6.size, _IPV6.size + payload, 0
    else:
        return None
    if protocol != _UDP_PROTOCOL or fragmented or len(packet) < max(total, start + _UDP.size):
        return None
    source_port, destination_port, length, _ = _UDP.unpack_from(packet, start)
    body = packet[start + _UDP.size : start + length]
    return CapturedDatagram(
        time,
        (str(ipaddress.ip_address(source)), source_port),
        (str(ipaddress.ip_address(destination)), destination_port),
        body,
    )


def _ip_packet(datagram: CapturedDatagram) -> bytes:
    source = ipaddress.ip_address(datagram.source[0]).packed
    destination = ipaddress.ip_address(datagram.destination[0]).packed
    length = _UDP.size + len(datagram.data)
    ports = (datagram.source[1], datagram.destination[1])
    pseudo = source + destination + struct.pack(">II", length, _UDP_PROTOCOL)
    checksum = _checksum(pseudo + _UDP.pack(*ports, length, 0) + datagram.data) or 0xFFFF
    udp = _UDP.pack(*ports, length, checksum) + datagram.data
    if len(source) == 16:
        return _IPV6.pack(6 << 28, length, _UDP_PROTOCOL, _TTL, source, destination) + udp
    fields = [0x45, 0, _IPV4.size + length, 0, 0, _TTL, _UDP_PROTOCOL, 0, source, destination]
    fields[7] = _checksum(_IPV4.pack(*fields))
    return _IPV4.pack(*fields) + udp


def _checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\x00"
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
