"""One seed for a whole run: a stream of its own for every peer and purpose.

A stream is a NumPy `SeedSequence` found by its address, not by the order in which streams were asked for:
`seed_sequence(s, purpose, i)` equals `SeedSequence(s).spawn(…)[purpose].spawn(…)[i]`. So the data of peer 3
stay the same whether there are five peers or fifty, and whether its topology draws anything or not.

Source: https://numpy.org/doc/stable/reference/random/parallel.html (SeedSequence spawning).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.random import PCG64, Generator, SeedSequence


class Purpose(IntEnum):
    """What random numbers are for. Values are part of every seeded result; they never change."""

    DATA = 1
    """Splits and partitions."""
    INIT = 2
    """Initial weights: without a peer, since all peers of a swarm start from the same model."""
    SAMPLING = 3
    """The order of training examples."""
    NOISE = 4
    """Dropout and simulated noise (privacy noise comes from the operating system)."""
    TOPOLOGY = 5
    """Which peers are picked."""
    ATTACK = 6
    """What simulated attackers do."""


def seed_sequence(seed: int, purpose: Purpose, peer: int | bytes | None = None) -> SeedSequence:
    """Return the seed sequence of one purpose, for the whole swarm or for one peer.

    Args:
        seed: the seed of the run, ≥ 0.
        purpose: what the numbers are for.
        peer: the peer's index in an experiment (≥ 0), or the bytes of its id (a multiple of 4), or None for
            a stream that all peers share.

    Raises:
        ValueError: a negative seed or index, or an id whose length is no multiple of 4.
    """
    if peer is None:
        address: tuple[int, ...] = ()
    elif isinstance(peer, bytes):
        if not peer or len(peer) % 4:
            raise ValueError(f"a peer id has a multiple of 4 bytes, not {len(peer)}")
        # Two words at least, so that no id shares a stream with an index, which is one word.
        address = (0, *np.frombuffer(peer, "<u4").tolist())
    else:
        address = (peer,)
    return SeedSequence(seed, spawn_key=(int(purpose), *address))


def generator(seed: int, purpose: Purpose, peer: int | bytes | None = None) -> Generator:
    """Return a PCG64 generator at the start of the stream that `seed_sequence` addresses."""
    return Generator(PCG64(seed_sequence(seed, purpose, peer)))


def generator_state(rng: Generator) -> dict[str, Any]:
    """Return the whole state of a generator as plain ints, strings and dictionaries, for a checkpoint."""
    state: dict[str, Any] = _plain(rng.bit_generator.state)
    return state


def restore_generator(rng: Generator, state: Mapping[str, Any]) -> None:
    """Set a generator to a state that `generator_state` returned.

    Raises:
        ValueError: the state is not one of this kind of generator.
    """
    try:
        rng.bit_generator.state = state
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"not a state of {type(rng.bit_generator).__name__}: {error}") from None


def sample_sorted(rng: Generator, items: Sequence[str], count: int) -> list[str]:
    """Draw `count` of `items` uniformly without replacement, in random order.

    Uses raw 64-bit outputs of the bit generator alone, whose sequence NumPy guarantees, so a seed gives the
    same draw under every NumPy release (NEP 19 does not promise that of `Generator.choice`).
    """
    pool = list(items)
    for position in range(min(count, len(pool))):
        other = position + _below(rng, len(pool) - position)
        pool[position], pool[other] = pool[other], pool[position]
    return pool[: max(count, 0)]


def _below(rng: Generator, bound: int) -> int:
    """A uniform integer in [0, bound): raw outputs, those above the last whole multiple rejected."""
    limit = (1 << 64) - (1 << 64) % bound
    while True:
        raw = int(rng.bit_generator.random_raw())
        if raw < limit:
            return raw % bound


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return int(value) if isinstance(value, np.integer) else value
