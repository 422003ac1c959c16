"""Randomness of a simulated world: one seed, a generator for each purpose, and draws that never change.

Each purpose has a generator of its own, so that a fault more or less on the links moves no choice of a peer,
and a failing world can be made smaller without becoming another one. Only ``random``, ``getrandbits`` and
``randbytes`` of the generators are used, whose sequences are the same in every version of Python.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

from quinkgl.protocol.draw import below, choose, sample

__all__ = ["below", "between", "chance", "choose", "sample", "stream", "weighted"]

T = TypeVar("T")


def stream(seed: int, *purpose: object) -> random.Random:
    """Return the generator of one purpose of the world ``seed``."""
    return random.Random("/".join(map(str, (seed, *purpose))))  # noqa: S311 - a simulation, keys included


def chance(rng: random.Random, probability: float) -> bool:
    """Return True with this probability; always one draw."""
    return rng.random() < probability


def between(rng: random.Random, low: float, high: float) -> float:
    """Return a number from ``low`` to ``high``, uniformly."""
    return low + (high - low) * rng.random()


def weighted(rng: random.Random, items: Sequence[tuple[T, float]]) -> T:
    """Return one of the items, each with the weight beside it."""
    left = rng.random() * sum(weight for _, weight in items)
    for item, weight in items:
        left -= weight
        if left < 0.0:
            return item
    return items[-1][0]
