"""What a demo run found: plain data, measured by the demo itself and not claimed by the peers."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import Any


@dataclass(frozen=True, slots=True)
class PeerOutcome:
    """One peer's share and what became of it. Accuracies are fractions of the common test set."""

    name: str
    peer_id: str
    """Hexadecimal Ed25519 public key."""
    label_counts: tuple[int, ...]
    """Training samples by class."""
    alone: float
    """Accuracy of the same model, steps and hyperparameters on this peer's shard only."""
    gossip: float
    """Accuracy of the model that this peer held after its last round."""
    curve: tuple[float, ...]
    """Accuracy after each round, as the peer reported it."""
    rounds: int
    updates_received: int
    updates_sent: int
    bytes_sent: int
    """UDP payload bytes handed to the kernel."""
    bytes_received: int
    seconds: float
    """From the start of the first round to the end of the last."""

    @property
    def samples(self) -> int:
        """Training samples in the shard."""
        return sum(self.label_counts)

    @property
    def classes(self) -> int:
        """Classes of which the shard has at least one sample."""
        return sum(count > 0 for count in self.label_counts)


@dataclass(frozen=True, slots=True)
class DemoResult:
    """A whole run."""

    dataset: str
    model: str
    parameters: int
    alpha: float
    seed: int
    rounds: int
    test_samples: int
    hyperparameters: dict[str, float | int | str]
    peers: tuple[PeerOutcome, ...]
    central: float
    """Accuracy of one model that took all peers' steps together on the pooled shards."""
    central_curve: tuple[float, ...]
    """Accuracy of the central model after each round's worth of steps."""
    seconds: float
    """From the first process started to the last one ended."""
    encoded_update_bytes: int
    """Size of one encoded model update, before it is cut into packets."""
    swarm_id: str
    report: str
    """Path of the HTML report."""

    @property
    def mean_alone(self) -> float:
        """Mean accuracy of the peers without gossip."""
        return fmean(peer.alone for peer in self.peers)

    @property
    def mean_gossip(self) -> float:
        """Mean accuracy of the peers after gossip."""
        return fmean(peer.gossip for peer in self.peers)

    @property
    def worst_gap(self) -> float:
        """How far the worst peer's accuracy is below the mean."""
        return self.mean_gossip - min(peer.gossip for peer in self.peers)

    @property
    def bytes_sent(self) -> int:
        """UDP payload bytes, all peers together."""
        return sum(peer.bytes_sent for peer in self.peers)

    @property
    def updates_received(self) -> int:
        """Model updates that arrived and were accepted, all peers together."""
        return sum(peer.updates_received for peer in self.peers)

    def to_json(self) -> dict[str, Any]:
        """The object that ``quinkgl-trio demo --json`` prints as its last line."""
        return {
            "peers": [
                {
                    "id": peer.peer_id,
                    "name": peer.name,
                    "samples": peer.samples,
                    "classes": peer.classes,
                    "alone": peer.alone,
                    "gossip": peer.gossip,
                    "rounds": peer.rounds,
                    "updates_received": peer.updates_received,
                    "bytes_sent": peer.bytes_sent,
                }
                for peer in self.peers
            ],
            "mean_alone": self.mean_alone,
            "mean_gossip": self.mean_gossip,
            "central": self.central,
            "worst_gap": self.worst_gap,
            "rounds": self.rounds,
            "seconds": round(self.seconds, 3),
            "bytes_sent": self.bytes_sent,
            "updates_received": self.updates_received,
            "encoded_update_bytes": self.encoded_update_bytes,
            "dataset": self.dataset,
            "model": self.model,
            "parameters": self.parameters,
            "alpha": self.alpha,
            "seed": self.seed,
            "test_samples": self.test_samples,
            "hyperparameters": self.hyperparameters,
            "swarm_id": self.swarm_id,
            "report": self.report,
        }
