"""Peer targets and addresses as they are typed."""

from __future__ import annotations

import socket

import pytest

from quinkgl.crypto.identity import Identity
from quinkgl_trio.bootstrap import PeerTarget, parse_host_port

_ID = Identity.from_seed(bytes(range(32))).peer_id


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:4242", PeerTarget("127.0.0.1", 4242)),
        ("[::1]:4242", PeerTarget("::1", 4242)),
        ("peer.example.org:7000", PeerTarget("peer.example.org", 7000)),
        (f"{_ID.hex()}@127.0.0.1:4242", PeerTarget("127.0.0.1", 4242, _ID)),
        (f"ed25519:{_ID.hex()}@[::1]:1", PeerTarget("::1", 1, _ID)),
    ],
)
def test_what_people_type_is_understood_and_said_back(text, expected):
    target = PeerTarget.parse(text)
    assert target == expected
    assert PeerTarget.parse(str(target)) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "4242", "host", "host:", ":4242", "host:65536", "host:-1", "host:0", "::1:4242"),
        *("[host]:1", "abc@127.0.0.1:1", "[::1]4242", "@127.0.0.1:1"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_message(text):
    with pytest.raises(ValueError, match=r"\S"):
        PeerTarget.parse(text)


def test_port_0_is_fine_to_listen_on():
    assert parse_host_port("127.0.0.1:0") == ("127.0.0.1", 0)


async def test_a_name_becomes_a_literal_address_of_the_sockets_family():
    assert await PeerTarget("localhost", 7).resolve(socket.AF_INET) == ("127.0.0.1", 7)


async def test_a_name_that_nobody_has_is_an_oserror():
    with pytest.raises(OSError, match=r"\S"):
        await PeerTarget("no-such-host.invalid", 7).resolve(socket.AF_INET)
