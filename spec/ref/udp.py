"""Runs one peer over one blocking UDP socket."""

import os
import socket
import time
from collections.abc import Callable

from .addresses import Address
from .peer import Peer

draw = os.urandom


def open_socket(host: str = "127.0.0.1") -> socket.socket:
    """A UDP socket at a free port."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    return sock


def run(
    peer: Peer, sock: socket.socket, remote: Address | None, until: Callable[[Peer], bool], timeout_s: float
) -> bool:
    """Move datagrams between a peer and its socket until a condition holds; False where time ran out.

    Without `remote` the peer talks to whoever speaks first.
    """
    end = time.monotonic() + timeout_s
    while (now := time.monotonic()) < end:
        for datagram in peer.poll(now, time.time()):
            if remote:
                sock.sendto(datagram, remote)
        if until(peer):
            return True
        sock.settimeout(min(max(peer.deadline() - now, 0.0005), 0.01, end - now))
        try:
            datagram, source = sock.recvfrom(65536)
        except TimeoutError:
            continue
        remote = remote or source
        if source == remote:
            peer.receive(datagram, time.monotonic(), time.time())
    return False
