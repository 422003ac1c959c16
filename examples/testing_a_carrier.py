"""Test a carrier of one's own: Hypothesis finds what it does wrong, and shows the shortest way to it.

The carrier is a stream of bytes that moves in small pieces, with messages behind a length of two bytes. Two
versions of it have a defect of the kind that happens: one takes a message without a byte for none, the other
keeps what it had not sent when the connection breaks, and sends it in the next one.
"""

from __future__ import annotations

from hypothesis import find, settings
from hypothesis.errors import NoSuchExample

from quinkgl.testing.carriers import CarrierError, Step, check_carrier
from quinkgl.testing.strategies import carrier_steps

PIECE = 5
"""Bytes that move in one turn."""


class Stream:
    """A carrier without the two defects."""

    def __init__(self) -> None:
        self.unsent = [bytearray(), bytearray()]
        self.arrived = [bytearray(), bytearray()]

    def send(self, side: int, message: bytes) -> None:
        """Put the message behind those that wait to be sent."""
        self.unsent[side] += len(message).to_bytes(2, "big") + message

    def receive(self, side: int) -> bytes | None:
        """Cut the next message off what has arrived, if it is whole."""
        buffer = self.arrived[side]
        end = 2 + int.from_bytes(buffer[:2], "big")
        if len(buffer) < 2 or len(buffer) < end:
            return None
        message = bytes(buffer[2:end])
        del buffer[:end]
        return message

    def turn(self) -> None:
        """Move a piece each way."""
        for side in (0, 1):
            self.arrived[1 - side] += self.unsent[side][:PIECE]
            del self.unsent[side][:PIECE]

    def reconnect(self) -> None:
        """Forget everything that has not been received."""
        for buffer in (*self.unsent, *self.arrived):
            buffer.clear()


class TakesZeroForNothing(Stream):
    """Drops messages without a byte."""

    def send(self, side: int, message: bytes) -> None:
        """Put the message behind the others, if there is anything in it."""
        if message:
            super().send(side, message)


class KeepsTheOldQueue(Stream):
    """Sends in the next connection what the last one left over."""

    def reconnect(self) -> None:
        """Forget what has arrived, and keep what waits."""
        for buffer in self.arrived:
            buffer.clear()


def fault(carrier: Stream, steps: list[Step]) -> str | None:
    """Say what a carrier does wrong with these steps, None if nothing."""
    try:
        check_carrier(carrier, steps)
    except CarrierError as wrong:
        return str(wrong)
    return None


def main() -> None:
    """Look for the shortest steps that each carrier gets wrong."""
    for kind in (Stream, TakesZeroForNothing, KeepsTheOldQueue):
        try:
            steps = find(
                carrier_steps(),
                lambda steps, kind=kind: fault(kind(), steps) is not None,
                settings=settings(max_examples=1000, derandomize=True, database=None),
            )
        except NoSuchExample:
            print(f"{kind.__name__}: no fault found")
            continue
        print(f"{kind.__name__}: {fault(kind(), steps)}")
        for step in steps:
            print(f"  {step}")


if __name__ == "__main__":
    main()
