"""Addresses as bytes and as text."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.wire.addresses import (
    decode_address_untrusted,
    encode_address,
    format_address,
    is_loopback,
    parse_address,
    prefix,
)
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError

ports = st.integers(1, 65535)


def usable(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    plain = getattr(ip, "ipv4_mapped", None) or ip
    return not (plain.is_multicast or plain.is_unspecified or str(plain) == "255.255.255.255")


hosts = st.ip_addresses().filter(usable)


def v6(text: str, port: int = 9) -> bytes:
    return ipaddress.IPv6Address(text).packed + port.to_bytes(2, "big")


@given(hosts, ports)
def test_round_trip_as_bytes_and_as_text(ip, port):
    address = decode_address_untrusted(encode_address((str(ip), port)))
    assert address[1] == port
    assert ipaddress.ip_address(address[0]) in (ip, getattr(ip, "ipv4_mapped", None))
    assert decode_address_untrusted(memoryview(encode_address(address))) == address
    assert parse_address(format_address(address)) == address


@pytest.mark.req("W-010")
def test_layout():
    assert encode_address(("192.0.2.1", 0x1234)) == bytes([192, 0, 2, 1, 0x12, 0x34])
    assert encode_address(("2001:db8::1", 1)) == bytes.fromhex("20010db8000000000000000000000001" + "0001")
    assert decode_address_untrusted(v6("2001:DB8:0::1", 65535)) == ("2001:db8::1", 65535)


@pytest.mark.req("C-042")
def test_one_host_has_one_spelling():
    assert decode_address_untrusted(v6("::ffff:192.0.2.1")) == ("192.0.2.1", 9)
    assert encode_address(("::ffff:192.0.2.1", 9)) == encode_address(("192.0.2.1", 9))
    assert parse_address("[::ffff:192.0.2.1]:9") == ("192.0.2.1", 9)
    assert parse_address("[2001:0DB8:0:0::1]:9") == ("2001:db8::1", 9)


@pytest.mark.req("C-040", "C-041", "C-042")
@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(5),
        bytes([192, 0, 2, 1, 9]),
        bytes(7),
        bytes(17),
        bytes(19),
        bytes([192, 0, 2, 1, 0, 0]),  # port 0
        v6("2001:db8::1", 0),
        bytes([0, 0, 0, 0, 0, 9]),  # unspecified
        v6("::"),
        v6("::ffff:0.0.0.0"),
        bytes([224, 0, 0, 1, 0, 9]),  # multicast
        bytes([239, 255, 255, 255, 0, 9]),
        v6("ff02::1"),
        v6("::ffff:224.0.0.1"),
        bytes([255, 255, 255, 255, 0, 9]),  # broadcast
        v6("::ffff:255.255.255.255"),
    ],
    ids=bytes.hex,
)
def test_addresses_that_nobody_can_have_are_refused(data):
    with pytest.raises(RemoteProtocolError) as caught:
        decode_address_untrusted(data)
    assert caught.value.code is ErrorCode.E_SCHEMA
    assert caught.value.section in ("C-040", "C-041")


@given(st.binary(max_size=20) | st.binary(min_size=6, max_size=6) | st.binary(min_size=18, max_size=18))
def test_arbitrary_bytes_raise_one_error_or_are_an_address(data):
    try:
        address = decode_address_untrusted(data)
    except RemoteProtocolError as error:
        assert error.code is ErrorCode.E_SCHEMA
    else:
        again = encode_address(address)
        assert again == data or data[:12] == bytes(10) + b"\xff\xff"


@pytest.mark.req("C-041")
@pytest.mark.parametrize(
    "address",
    [
        ("localhost", 9),
        ("", 9),
        ("192.0.2.1:9", 9),
        ("192.0.2.01", 9),
        ("fe80::1%eth0", 9),
        ("192.0.2.1", 0),
        ("192.0.2.1", 65536),
        ("192.0.2.1", -1),
        ("0.0.0.0", 9),
        ("ff02::1", 9),
    ],
)
def test_what_cannot_be_sent_is_the_callers_mistake(address):
    with pytest.raises(LocalProtocolError) as caught:
        encode_address(address)
    assert caught.value.code is ErrorCode.E_USAGE


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":9",
        "192.0.2.1",
        "192.0.2.1:",
        "192.0.2.1:x",
        "192.0.2.1:-1",
        "192.0.2.1:+9",
        "192.0.2.1:9 ",
        "192.0.2.1:0",
        "192.0.2.1:65536",
        "192.0.2.1:٩",
        "example.org:9",
        "2001:db8::1:9",
        "[2001:db8::1]",
        "[2001:db8::1]9",
        "2001:db8::1]:9",
        "[2001:db8::1:9",
        "[fe80::1%1]:9",
        "[::]:9",
        "224.0.0.1:9",
        "1.2.3.4:" + "9" * 5000,
    ],
)
def test_other_text_is_no_address(text):
    with pytest.raises(ValueError, match=r"."):
        parse_address(text)


def test_a_message_for_people_says_the_form():
    with pytest.raises(ValueError, match=r"'here' is not of the form host:port or \[v6\]:port"):
        parse_address("here")


@pytest.mark.req("C-042")
def test_prefixes():
    assert prefix(("192.0.2.1", 9)) == prefix(("192.0.2.255", 1)) == bytes([192, 0, 2])
    assert prefix(("192.0.3.1", 9)) != prefix(("192.0.2.1", 9))
    assert prefix(("2001:db8:1:2::3", 9)) == prefix(("2001:db8:1::", 9)) == bytes.fromhex("20010db80001")
    assert prefix(("2001:db8:2::", 9)) != prefix(("2001:db8:1::", 9))
    assert prefix(("::ffff:192.0.2.1", 9)) == prefix(("192.0.2.1", 9))


def test_loopback():
    assert is_loopback(("127.0.0.1", 9))
    assert is_loopback(("127.9.9.9", 9))
    assert is_loopback(("::1", 9))
    assert not is_loopback(("192.0.2.1", 9))
    assert not is_loopback(("2001:db8::1", 9))
