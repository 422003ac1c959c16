"""Capture files: what is written is read, and other link types are understood."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.testing.pcap import CapturedDatagram, read_pcap, write_pcap

V4 = CapturedDatagram(1.5, ("10.0.0.1", 4000), ("10.0.0.2", 65535), b"one")
V6 = CapturedDatagram(2.25, ("2001:db8::1", 1), ("::1", 2), b"two and more")
RECORD = 16
HEADER = 24


@given(st.lists(st.sampled_from([V4, V6]), max_size=4), st.binary(max_size=100))
def test_what_is_written_is_read(datagrams, data):
    datagrams = [datagram._replace(data=data) for datagram in datagrams]
    assert read_pcap(write_pcap(datagrams)) == datagrams


def test_the_checksums_are_those_of_the_internet():
    packet = write_pcap([V4])[HEADER + RECORD :]
    for start, stop in ((0, 20),):
        total = sum(struct.unpack(">10H", packet[start:stop]))
        assert (total & 0xFFFF) + (total >> 16) == 0xFFFF


def relinked(link, prefix, *, order="<", magic=0xA1B2C3D4):
    packet = prefix + write_pcap([V4])[HEADER + RECORD :]
    head = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, link)
    return head + struct.pack(order + "IIII", 1, 500_000, len(packet), len(packet)) + packet


@pytest.mark.parametrize(("link", "length"), [(0, 4), (1, 14), (113, 16), (276, 20), (228, 0)])
def test_link_layers(link, length):
    assert read_pcap(relinked(link, bytes(length))) == [V4]


def test_the_other_byte_order_and_nanoseconds():
    assert read_pcap(relinked(101, b"", order=">")) == [V4]
    nanoseconds = read_pcap(relinked(101, b"", magic=0xA1B23C4D))
    assert nanoseconds == [V4._replace(time=1.0005)]


def test_what_is_no_capture():
    for data in (b"", bytes(100), b"\x0a\x0d\x0d\x0a" + bytes(100)):
        with pytest.raises(ValueError, match="not a pcap"):
            read_pcap(data)
    with pytest.raises(ValueError, match="link type 147"):
        read_pcap(relinked(147, b""))


def test_other_packets_and_pieces_are_left_out():
    whole = write_pcap([V4, V6])
    for cut in range(HEADER, len(whole)):
        assert len(read_pcap(whole[:cut])) <= 1
    start = HEADER + RECORD
    for offset, value in ((9, 6), (7, 1), (0, 0x55)):  # TCP, a fragment, neither IPv4 nor IPv6
        data = bytearray(write_pcap([V4]))
        data[start + offset] = value
        assert read_pcap(bytes(data)) == []
