"""Misbehaving peers below the messages: who floods, flips bits, moves about, calls in and is gone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from quinkgl.testing.sim.adversary import Misbehaviour, misbehaviour
from quinkgl.testing.sim.draws import below, between, chance, choose
from quinkgl.wire.addresses import Address


@misbehaviour("handshake flood")
class HandshakeFlood(Misbehaviour):
    """Sends first packets that hold the swarm's keys, from new identities and mostly forged addresses."""

    def build(self) -> Any:
        """It makes a fresh endpoint for each call."""
        return None

    def on_start(self) -> None:
        """Begin at once."""
        self.seat.wake_after(0.1)

    def on_timer(self) -> None:
        """Open a few handshakes that will not be finished."""
        seat, rng = self.seat, self.seat.rng
        for _ in range(3):
            endpoint = seat.make_endpoint(identity=seat.make_identity())
            destination = choose(rng, seat.addresses())
            endpoint.connect(destination, now=seat.now)
            transmit = endpoint.next_datagram(seat.now)
            if transmit is not None:
                source = seat.world.phantom(rng) if chance(rng, 0.7) else None
                seat.send(bytes(transmit.data), destination, source=source)
        seat.wake_after(between(rng, 0.2, 0.8))


@misbehaviour("bit flips")
class BitFlips(Misbehaviour):
    """An honest member whose datagrams are changed, cut, lengthened, doubled and swapped on their way out."""

    def __init__(self, seat: Any) -> None:
        super().__init__(seat)
        self._kept: tuple[bytes, Address] | None = None

    def outgoing(self, data: bytes, destination: Address) -> Iterable[tuple[bytes, Address]]:
        """Spoil some."""
        rng = self.seat.rng
        if not data or chance(rng, 0.7):
            yield data, destination
            return
        match below(rng, 6):
            case 0:
                changed = bytearray(data)
                changed[below(rng, len(changed))] ^= 1 << below(rng, 8)
                yield bytes(changed), destination
            case 1:
                yield data[: below(rng, len(data))], destination
            case 2:
                yield data + rng.randbytes(1 + below(rng, 30)), destination
            case 3:
                yield data, destination
                yield data, destination
            case 4:
                yield data, choose(rng, self.seat.addresses())
            case _:
                if self._kept is not None:
                    yield self._kept
                self._kept = data, destination


@misbehaviour("moves about")
class MovesAbout(Misbehaviour):
    """A member whose genuine packets arrive from where nobody is, as if somebody on the path copied them."""

    def outgoing(self, data: bytes, destination: Address) -> Iterable[tuple[bytes, Address]]:
        """Send some of them, or copies, from somewhere else."""
        rng = self.seat.rng
        if chance(rng, 0.1):
            self.seat.send(data, destination, source=self.seat.world.phantom(rng))
            if chance(rng, 0.5):
                return
        yield data, destination


@misbehaviour("comes and goes")
class ComesAndGoes(Misbehaviour):
    """A member that is gone without a word after a few seconds, and back with nothing remembered."""

    def on_start(self) -> None:
        """Join, and be gone soon."""
        super().on_start()
        self.seat.wake_after(between(self.seat.rng, 0.5, 6.0))

    def on_timer(self) -> None:
        """Begin a new life."""
        self.seat.restart()
        self.seat.join(2)
        self.seat.wake_after(between(self.seat.rng, 0.5, 6.0))
