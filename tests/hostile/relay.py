"""A wire tap: relays datagrams between honest peers and a node, keeps copies, and injects others.

Each peer gets a line of its own: a front socket that the peer talks to, and a back socket that the node takes
for the peer. What is injected through a back socket comes from the peer's address, as if it were spoofed;
what is injected through a stranger's socket does not.
"""

from __future__ import annotations

import random
import selectors
import socket
import threading
from collections import deque

_LARGEST = 65_535
_KEPT = 4_000
_TICK_S = 0.05
_FORM, _LONG = 0xC0, 0xC0  # of first bytes, spec 6.1
_INIT = 0xC0  # first byte of an INIT packet, spec 6.2
_NUMBER = slice(9, 17)  # of a short packet, spec 6.3
_MAC2 = range(37, 53)  # of an INIT: not authenticated as long as no cookie is asked for


def _udp():
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    udp.setblocking(False)
    return udp


class Relay:
    """Carries the datagrams of one peer after another to ``node`` and back, in a thread of its own."""

    def __init__(self, node, lines):
        self.node = node
        self.recorded = deque(maxlen=_KEPT)
        """Datagrams of sessions that the peers sent to the node, the latest of them."""
        self.handshakes = deque(maxlen=_KEPT)
        """Those of handshakes: there are few, and they must not be forgotten."""
        self.reflected = deque(maxlen=_KEPT)
        """Datagrams that the node sent to the peers."""
        self._fronts = [_udp() for _ in range(lines)]
        self._backs = [_udp() for _ in range(lines)]
        self._peers = [None] * lines
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._carry, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_exc):
        self._stop.set()
        self._thread.join()
        for udp in (*self._fronts, *self._backs):
            udp.close()

    @property
    def doors(self):
        """Where each peer finds the node."""
        return [udp.getsockname() for udp in self._fronts]

    def inject(self, line, datagram):
        """Send the node a datagram from the address that it takes for the peer's."""
        self._backs[line].sendto(datagram, self.node)

    def _carry(self):
        with selectors.DefaultSelector() as selector:
            for line, (front, back) in enumerate(zip(self._fronts, self._backs, strict=True)):
                selector.register(front, selectors.EVENT_READ, (line, self._from_peer))
                selector.register(back, selectors.EVENT_READ, (line, self._from_node))
            while not self._stop.is_set():
                for key, _ in selector.select(_TICK_S):
                    line, forward = key.data
                    self._drain(key.fileobj, line, forward)

    @staticmethod
    def _drain(udp, line, forward):
        for _ in range(64):
            try:
                datagram, source = udp.recvfrom(_LARGEST)
            except BlockingIOError:
                return
            except ConnectionRefusedError:  # the other end has gone: a lost datagram
                continue
            forward(line, datagram, source)

    def _from_peer(self, line, datagram, source):
        self._peers[line] = source
        self._backs[line].sendto(datagram, self.node)
        kept = self.handshakes if datagram[0] & _FORM == _LONG else self.recorded
        kept.append(datagram)

    def _from_node(self, line, datagram, source):
        # A stranger's datagram to the back socket is no answer of the node.
        if source == self.node and self._peers[line] is not None:
            self._fronts[line].sendto(datagram, self._peers[line])
            self.reflected.append(datagram)


class Attacker:
    """Makes hostile datagrams, half of them random and half made of real ones, and counts them by kind."""

    KINDS = ("flipped", "truncated", "extended", "spliced", "renumbered", "replayed", "reflected")

    def __init__(self, relay, *, lines, seed):
        self.sent = dict.fromkeys(("random", *self.KINDS), 0)
        self.answered_inits = 0
        """Whole INIT packets that were replayed: a node may answer those, within its limits."""
        self._relay = relay
        self._lines = lines
        self._rng = random.Random(seed)
        self._strangers = [_udp() for _ in range(4)]

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        for udp in self._strangers:
            udp.close()

    @property
    def total(self):
        return sum(self.sent.values())

    def send_one(self):
        """Send one datagram: random and mutated in turn, from strangers and from the peers' side alike."""
        kind = "random" if self.total % 2 == 0 else self._rng.choice(self.KINDS)
        datagram = self._random() if kind == "random" else self._mutated(kind)
        if self._rng.random() < 0.5:
            self._relay.inject(self._rng.randrange(self._lines), datagram)
        else:
            self._rng.choice(self._strangers).sendto(datagram, self._relay.node)
        self.sent[kind] += 1
        self.answered_inits += kind == "replayed" and datagram[0] == _INIT

    def _random(self):
        rng = self._rng
        size = rng.choice((0, 1, 16, 17, 33, 100, 1199, 1200, 1201, rng.randrange(2000)))
        datagram = bytearray(rng.randbytes(size))
        if datagram and rng.random() < 0.75:  # past the first gate: a first byte that some packet begins with
            datagram[0] = rng.choice(
                (0xC0, 0xC1, 0xC2, 0xC3, 0xC4, 0x40, 0x50, 0x60, 0x70, rng.randrange(256))
            )
        if len(datagram) > 4 and datagram[0] & 0xC0 == 0xC0 and rng.random() < 0.75:
            datagram[1:5] = (1).to_bytes(4, "big")  # and the version that is spoken
        return bytes(datagram)

    def _mutated(self, kind):
        rng = self._rng
        for _ in range(1000):  # nearly always the first is good
            original, other = self._original(kind), self._original(kind)
            match kind:
                case "flipped":
                    mutated = bytearray(original)
                    for _ in range(rng.choice((1, 1, 1, 2, 8))):
                        mutated[rng.randrange(len(mutated))] ^= 1 << rng.randrange(8)
                case "truncated":
                    mutated = original[: rng.randrange(len(original))]
                case "extended":
                    mutated = original + rng.choice((b"\0", rng.randbytes(rng.randrange(1, 100))))
                case "spliced":
                    cut = rng.randrange(1, min(len(original), len(other)))
                    mutated = original[:cut] + other[cut:]
                case "renumbered":  # past the replay window, and up to the tag
                    number = int.from_bytes(original[_NUMBER], "big") + rng.randrange(1, 5000)
                    mutated = bytearray(original)
                    mutated[_NUMBER] = number.to_bytes(8, "big")
                case _:
                    return original
            if not _same(mutated, original) and not _same(mutated, other):
                return bytes(mutated)
        raise AssertionError(f"no {kind} datagram differs from its original")

    def _original(self, kind):
        relay = self._relay
        if kind == "reflected":
            return self._rng.choice(relay.reflected)
        if kind != "renumbered" and self._rng.random() < 0.25:
            return self._rng.choice(relay.handshakes)
        return self._rng.choice(relay.recorded)


def _same(one, other):
    """Whether the node must take both for the same datagram."""
    if len(one) != len(other) or one[:1] != other[:1]:
        return False
    if one[0] == _INIT:
        return one[: _MAC2.start] == other[: _MAC2.start] and one[_MAC2.stop :] == other[_MAC2.stop :]
    return one == other
