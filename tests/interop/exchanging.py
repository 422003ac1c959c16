"""The application of a two-sided exchange at both sides, the library's and the second implementation's."""

from __future__ import annotations

from collections.abc import Callable

from ref.peer import Peer

from quinkgl import Swarm
from quinkgl.swarm import ExchangeCommitted, ExchangeObjectReceived, ExchangeOffered, SaveWanted


class Sum:
    """Numbers at both sides, whose sum must not change."""

    def __init__(self, swarm: Swarm, peer: Peer, clock: Callable[[], float]) -> None:
        self.swarm, self.peer, self.clock = swarm, peer, clock
        self.ours, self.theirs = [1 << 40] * 2000, [3 << 40] * 2000
        self.their_body: bytes = b""
        self.done: list[str] = []

    @staticmethod
    def body(numbers: list[int]) -> bytes:
        return b"".join(number.to_bytes(8, "big") for number in numbers)

    @staticmethod
    def effect(initiator: bytes, responder: bytes, weight: int) -> list[int]:
        """What the initiator adds and the responder takes away."""
        pairs = ((initiator[at : at + 8], responder[at : at + 8]) for at in range(0, len(initiator), 8))
        return [
            (int.from_bytes(right, "big") - int.from_bytes(left, "big")) * weight >> 32
            for left, right in pairs
        ]

    def react(self, event: object) -> None:
        swarm, now = self.swarm, self.clock()
        match event:
            case ExchangeOffered(peer, exchange):
                swarm.accept_exchange(peer, exchange, self.body(self.theirs), now=now)
            case ExchangeObjectReceived(view, body):
                self.their_body = bytes(body)
                swarm.exchange_held(view.peer, view.exchange, now=now)
            case ExchangeCommitted(view):
                own = self.body([3 << 40] * 2000)
                pair = (own, self.their_body) if view.is_initiator else (self.their_body, own)
                sign = 1 if view.is_initiator else -1
                for index, each in enumerate(self.effect(*pair, view.weight)):
                    self.theirs[index] += sign * each
                self.done.append("theirs")
                swarm.exchange_applied(view.peer, view.exchange, now=now)
            case SaveWanted(mark):
                swarm.state_saved(mark, now=now)

    def step(self) -> bool:
        """Do what the second implementation asks of its application; whether both have applied."""
        peer = self.peer
        for event in [event for event in peer.events if event[0] == "exchange"]:
            peer.events.remove(event)
            _, name, want = event
            if want == "asked":
                peer.consent(name, self.body(self.ours))
                continue
            if want == "forget":
                continue
            each = peer.exchanges[name]
            if want == "report commit":
                own, other = each.own, each.theirs
                assert other is not None
                pair, sign = ((own, other), 1) if each.initiator else ((other, own), -1)
                for index, value in enumerate(self.effect(*pair, each.offer["weight"])):
                    self.ours[index] += sign * value
                self.done.append("ours")
                peer.advance(each, "APPLY")
            elif want == "want save":
                peer.advance(each, "SAVED")
            else:
                raise AssertionError(f"{want} of an exchange")
        settled = sorted(self.done) == ["ours", "theirs"] and not peer.exchanges
        return settled and not self.swarm.open_exchanges()
