"""How paths treat datagrams: delay, loss, bursts, reordering, duplication, corruption, a rate, an MTU."""

from __future__ import annotations

import random
from dataclasses import dataclass

from quinkgl.testing.network import Bursts
from quinkgl.testing.sim.draws import below

__all__ = ["CALM", "Bursts", "Conditions", "Path"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What a path does. Probabilities are per datagram."""

    delay_s: float = 0.01
    jitter_s: float = 0.0
    """Extra delay, uniform: more than the spacing of datagrams reorders them."""
    loss: float = 0.0
    bursts: Bursts | None = None
    """Losses that come in bursts: the chain of Gilbert and Elliott."""
    reorder: float = 0.0
    """How many datagrams are held back for ``reorder_s`` and overtaken."""
    reorder_s: float = 0.05
    duplicate: float = 0.0
    corrupt: float = 0.0
    """How many have one bit flipped."""
    rate: float | None = None
    """Bytes a second, None for no limit."""
    queue_bytes: int = 1 << 17
    """What may wait for the rate; more is dropped at the tail."""
    mtu: int | None = None
    """Bytes of the largest datagram (UDP payload) that passes; a larger one vanishes without a word."""

    @property
    def is_clean(self) -> bool:
        """Whether every datagram arrives as it was sent, after the same time."""
        return not (
            self.jitter_s or self.loss or self.bursts or self.reorder or self.duplicate or self.corrupt
        ) and (self.rate is None and self.mtu is None)


CALM = Conditions()


class Path:
    """One direction between two hosts, with what it remembers: a burst that lasts, a queue that drains."""

    __slots__ = ("_bad", "_free_at", "conditions", "delay_s", "is_clean")

    def __init__(self, conditions: Conditions, distance_s: float) -> None:
        """Begin a path; ``distance_s`` is added to the delay of the conditions."""
        self.conditions = conditions
        self.delay_s = conditions.delay_s + distance_s
        self.is_clean = conditions.is_clean
        self._bad = False
        self._free_at = 0.0

    def carry(self, data: bytes, now: float, rng: random.Random) -> list[tuple[float, bytes]]:
        """Return when and as what a datagram arrives: not at all, once or twice."""
        conditions = self.conditions
        if conditions.mtu is not None and len(data) > conditions.mtu:
            return []
        leaves_at = self._leaves_at(len(data), now)
        if leaves_at is None or (conditions.loss and rng.random() < conditions.loss):
            return []
        if conditions.bursts is not None and self._is_lost_in_burst(conditions.bursts, rng):
            return []
        copies = 2 if conditions.duplicate and rng.random() < conditions.duplicate else 1
        arrivals: list[tuple[float, bytes]] = []
        for _ in range(copies):
            body = data
            if conditions.corrupt and rng.random() < conditions.corrupt:
                body = flip_bit(data, rng)
            when = leaves_at + self.delay_s
            if conditions.jitter_s:
                when += conditions.jitter_s * rng.random()
            if conditions.reorder and rng.random() < conditions.reorder:
                when += conditions.reorder_s
            arrivals.append((when, body))
        return arrivals

    def _is_lost_in_burst(self, bursts: Bursts, rng: random.Random) -> bool:
        self._bad = rng.random() >= bursts.leave if self._bad else rng.random() < bursts.enter
        return self._bad and rng.random() < bursts.loss

    def _leaves_at(self, size: int, now: float) -> float | None:
        """When the datagram has left the sender, None when the queue is full."""
        rate = self.conditions.rate
        if rate is None:
            return now
        free_at = max(now, self._free_at)
        if (free_at - now) * rate > self.conditions.queue_bytes:
            return None
        self._free_at = free_at + size / rate
        return self._free_at


def flip_bit(data: bytes, rng: random.Random) -> bytes:
    """Return the datagram with one bit changed."""
    if not data:
        return data
    position = below(rng, len(data))
    flipped = data[position] ^ (1 << below(rng, 8))
    return data[:position] + bytes([flipped]) + data[position + 1 :]
