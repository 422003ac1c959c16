"""Inputs that are rare but legal, or that a forger can make: none may leave the endpoint as an exception."""

from __future__ import annotations

import random

import pytest

from quinkgl.crypto.identity import Identity
from quinkgl.crypto.psk import derive_member_keys
from quinkgl.transport import Endpoint
from quinkgl.transport.control_stream import ControlReceiver

KEYS = derive_member_keys(b"a manifest")


def endpoint(seed: int) -> Endpoint:
    return Endpoint(
        identity=Identity.from_seed(bytes([seed]) * 32),
        keys=KEYS,
        rng=random.Random(seed),
        now=0.0,
        insecure_deterministic_keys=True,
    )


def first_datagram(peer: Endpoint) -> bytes:
    peer.connect(("192.0.2.1", 7000), now=0.0)
    transmit = peer.next_datagram(0.0)
    assert transmit is not None
    return bytes(transmit.data)


@pytest.mark.parametrize("source", [("192.0.2.9", 0), ("224.0.0.1", 7000), ("fe80::1%eth0", 7000)])
def test_a_first_packet_from_an_address_that_means_nothing_elsewhere_is_answered_without_it(source) -> None:
    server = endpoint(2)
    server.receive_datagram(first_datagram(endpoint(1)), source, now=0.0)
    answer = server.next_datagram(0.0)
    assert answer is not None
    assert answer.destination == source


def test_an_empty_piece_of_the_control_stream_changes_nothing() -> None:
    receiver = ControlReceiver()
    assert receiver.receive_untrusted(100, b"") == b""
    assert receiver.receive_untrusted(0, b"ab") == b"ab"
    assert receiver.receive_untrusted(2, b"") == b""
    assert receiver.receive_untrusted(2, b"c") == b"c"
