"""Shares examples out among peers: alike for all, or each with its own mix of classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from quinkgl.data.datasets import DataError
from quinkgl.data.split import PROPORTION_STREAM, SHUFFLE_STREAM, data_stream


@dataclass(frozen=True, slots=True, eq=False)
class Partition:
    """Which examples each peer has: every example belongs to exactly one peer."""

    shards: tuple[NDArray[np.int64], ...]
    """Indices of each peer's examples, in random order."""
    class_counts: NDArray[np.int64]
    """Examples by peer and class, (peers, classes)."""
    method: str
    """How it was made, for people."""

    @property
    def sizes(self) -> list[int]:
        """Number of examples of each peer."""
        return [len(shard) for shard in self.shards]

    def describe(self) -> str:
        """Return a table of classes by peers, for people."""
        width = max(5, len(str(self.class_counts.max(initial=0))) + 1)
        classes = range(self.class_counts.shape[1])
        lines = [self.method, "peer  examples  classes: " + "".join(f"{label:>{width}}" for label in classes)]
        for peer, counts in enumerate(self.class_counts):
            cells = "".join(f"{count or '·':>{width}}" for count in counts.tolist())
            lines.append(f"{peer:>4}  {counts.sum():>8}  {int((counts > 0).sum()):>7}  {cells}")
        return "\n".join(lines)


def partition_iid(labels: NDArray[np.int64], peers: int, *, seed: int) -> Partition:
    """Share examples out at random; sizes differ by one at most.

    Args:
        labels: the label of each example, (n,).
        peers: how many peers there are, from 1 to n.
        seed: the seed of the run.

    Raises:
        DataError: there are more peers than examples, or none.
    """
    _check(labels, peers, 1)
    shuffled = data_stream(seed, SHUFFLE_STREAM).permutation(len(labels)).astype(np.int64)
    return _partition(np.array_split(shuffled, peers), labels, f"IID over {peers} peers")


def partition_dirichlet(
    labels: NDArray[np.int64],
    peers: int,
    *,
    alpha: float,
    seed: int,
    min_size: int = 10,
    max_tries: int = 1000,
) -> Partition:
    """Share each class out in proportions drawn from a Dirichlet distribution.

    For each class in ascending order p ~ Dir(α·1), and the class is cut at ⌊cumsum(p)·n_c⌋; all classes are
    drawn again until every peer has `min_size` examples. A small α leaves peers with few classes; with a
    large one all peers are alike. Source: Hsu, Qi, Brown 2019, arXiv 1909.06335.

    Args:
        labels: the label of each example, (n,).
        peers: how many peers there are.
        alpha: the concentration α > 0.
        seed: the seed of the run; the same (seed, α, peers, labels) give the same partition.
        min_size: the least number of examples of a peer.
        max_tries: how often to draw before giving up.

    Raises:
        DataError: impossible arguments, or no draw of `max_tries` gave every peer `min_size` examples.
    """
    if not 0 < alpha < float("inf"):
        raise DataError(f"alpha must be a positive number, not {alpha}")
    _check(labels, peers, min_size)
    proportions = data_stream(seed, PROPORTION_STREAM)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    for _ in range(max_tries):
        cuts = [_cuts(proportions, len(indices), peers, alpha) for indices in members]
        sizes = np.zeros(peers, np.int64)
        for cut, indices in zip(cuts, members, strict=True):
            sizes += np.diff(cut, prepend=0, append=len(indices))
        if sizes.min() >= min_size:
            break
    else:
        raise DataError(
            f"{max_tries} draws with alpha {alpha} left some of {peers} peers with fewer than {min_size} "
            f"of {len(labels)} examples; take a larger alpha, fewer peers or a smaller minimum"
        )
    shuffle = data_stream(
        seed, SHUFFLE_STREAM
    )  # apart from the proportions: class counts depend on those alone
    pieces = [np.split(shuffle.permutation(indices), cut) for indices, cut in zip(members, cuts, strict=True)]
    shards = [shuffle.permutation(np.concatenate(piece)) for piece in zip(*pieces, strict=True)]
    return _partition(shards, labels, f"Dirichlet({alpha:g}) over {peers} peers")


def _cuts(rng: Generator, count: int, peers: int, alpha: float) -> NDArray[np.int64]:
    """Where to cut one class of `count` examples: `peers` − 1 positions."""
    shares = rng.dirichlet(np.full(peers, alpha))
    return np.floor(np.cumsum(shares)[:-1] * count).astype(np.int64)


def _check(labels: NDArray[np.int64], peers: int, min_size: int) -> None:
    if peers < 1 or min_size < 0:
        raise DataError(f"{peers} peers with at least {min_size} examples each: no such partition")
    if len(labels) < peers * max(min_size, 1):
        raise DataError(
            f"{len(labels)} examples are too few for {peers} peers with at least {max(min_size, 1)} each; "
            "take fewer peers or more data"
        )


def _partition(shards: list[NDArray[np.int64]], labels: NDArray[np.int64], method: str) -> Partition:
    classes = int(labels.max()) + 1
    counts = np.stack([np.bincount(labels[shard], minlength=classes) for shard in shards])
    return Partition(tuple(shards), counts.astype(np.int64), method)
