"""Random choices whose sequence is the same in every version of Python.

The methods of ``random.Random`` that choose and shuffle have changed their sequence between versions; its
``getrandbits`` has not, so choices are built on that alone and a simulation's seed stays good.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import random

T = TypeVar("T")


def below(rng: random.Random, bound: int) -> int:
    """Return a uniform integer from 0 to ``bound`` - 1, for a ``bound`` of at least 1."""
    bits = bound.bit_length()
    while (value := rng.getrandbits(bits)) >= bound:
        pass
    return value


def choose(rng: random.Random, items: Sequence[T]) -> T:
    """Return a uniform element of a sequence that has one."""
    return items[below(rng, len(items))]


def sample(rng: random.Random, items: Sequence[T], count: int) -> list[T]:
    """Return ``count`` different elements, or all where there are fewer, in random order."""
    pool = list(items)
    drawn = min(count, len(pool))
    for index in range(drawn):
        other = index + below(rng, len(pool) - index)
        pool[index], pool[other] = pool[other], pool[index]
    return pool[:drawn]
