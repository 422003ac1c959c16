"""A node's checkpoints: what evolves on the learning side and on the protocol side, after each round.

The learning side's state has a digest, so that a node can say, and a test can check, that what it resumed is
to the bit what it had saved.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quinkgl.storage import Checkpoint, CheckpointError, encode_checkpoint, latest_checkpoint, save_checkpoint

_KEYS = frozenset({"swarm_id", "learning", "swarm"})


@dataclass(frozen=True, slots=True)
class SavedNode:
    """A node between two rounds."""

    round: int
    """The last finished round."""
    swarm_id: str
    """Hexadecimal id of the swarm that it belongs to."""
    learning: Mapping[str, Any]
    """Model, optimiser, random streams, rules, counters."""
    swarm: Mapping[str, Any]
    """What `Swarm.state` gave."""

    @property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of the encoded learning state."""
        return hashlib.sha256(encode_checkpoint(Checkpoint(self.round, self.learning))).hexdigest()

    def save(self, folder: Path) -> Path:
        """Write it to ``folder`` and return the file; a crash in between leaves the older ones whole.

        Raises:
            CheckpointError: there is something in it that a checkpoint cannot hold.
            OSError: it cannot be written.
        """
        state = {"swarm_id": self.swarm_id, "learning": self.learning, "swarm": self.swarm}
        return save_checkpoint(folder, Checkpoint(self.round, state))


def load_latest(folder: Path) -> SavedNode | None:
    """Read the newest checkpoint in ``folder``; None where there is none.

    Raises:
        CheckpointError: it is damaged, or not one of a node.
        OSError: it cannot be read.
    """
    found = latest_checkpoint(folder)
    if found is None:
        return None
    path, checkpoint = found
    if checkpoint.state.keys() != _KEYS:
        raise CheckpointError(f"{path} is not the checkpoint of a node; choose another folder")
    state = checkpoint.state
    return SavedNode(checkpoint.round, state["swarm_id"], state["learning"], state["swarm"])
