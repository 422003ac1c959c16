"""What a demo run is made of: the split of the data, the manifest, and a folder with what each peer gets."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from quinkgl.cli import CliError, ExitCode
from quinkgl.data import Dataset, load_dataset, partition_dirichlet, save_npz, stratified_split
from quinkgl.manifest import SwarmManifest, for_model
from quinkgl.models import ModelWrapper
from quinkgl.storage import write_atomically
from quinkgl_trio.models import make_model
from quinkgl_trio.training import TrainingPlan

TEST_FRACTION: Final = 0.25
_MARKER: Final = "quinkgl-demo.json"
_CREATED_AT: Final = "2026-01-01T00:00:00Z"  # part of the swarm id: equal settings make the same swarm


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoPlan:
    """The settings of a run."""

    peers: int
    alpha: float
    dataset: str
    data_dir: Path | None
    limit: int | None
    model: str
    hidden: int
    seed: int
    training: TrainingPlan
    fan_out: int
    quorum: int
    min_collect_s: float
    max_collect_s: float
    offer_interval_s: float
    out: Path


@dataclass(frozen=True, slots=True)
class PeerFolder:
    """What one peer is given, and where it leaves what it made."""

    name: str
    index: int
    """Distinguishes this peer's random streams from those of the others."""
    path: Path

    @property
    def shard(self) -> Path:
        """Its training data."""
        return self.path / "shard.npz"

    @property
    def checkpoints(self) -> Path:
        """Its checkpoints and key."""
        return self.path / "checkpoint"

    @property
    def log(self) -> Path:
        """What it wrote to standard error."""
        return self.path / "log.txt"


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything on disk and in memory before the first peer starts."""

    plan: DemoPlan
    manifest: SwarmManifest
    shards: tuple[Dataset, ...]
    test: Dataset
    folders: tuple[PeerFolder, ...]

    @property
    def manifest_path(self) -> Path:
        """The swarm's manifest."""
        return self.plan.out / "manifest.qgl"

    @property
    def test_path(self) -> Path:
        """The common test set, that no peer trains on."""
        return self.plan.out / "test.npz"

    def model(self, peer: int | None) -> ModelWrapper:
        """A fresh model, as every peer starts with; ``peer`` gives it that peer's order of examples."""
        plan, data = self.plan, self.test
        return make_model(
            plan.model,
            inputs=data.features,
            classes=data.num_classes,
            hidden=plan.hidden,
            seed=plan.seed,
            peer=peer,
        )


def set_stage(plan: DemoPlan) -> Stage:
    """Split the data and write what the peers get.

    Raises:
        DataError: the data cannot be had, or cannot be shared out like this.
        ImportError: the model needs an extra.
        CliError: the folder is not one of ours.
        OSError: the folder cannot be written.
    """
    data = load_dataset(plan.dataset, data_dir=plan.data_dir, limit=plan.limit, seed=plan.seed)
    train, test = stratified_split(data, TEST_FRACTION, seed=plan.seed)
    parts = partition_dirichlet(train.y, plan.peers, alpha=plan.alpha, seed=plan.seed)
    names = [f"peer-{number}" for number in range(1, plan.peers + 1)]
    shards = tuple(train.subset(rows, name) for rows, name in zip(parts.shards, names, strict=True))
    folders = tuple(PeerFolder(name, i, plan.out / "peers" / name) for i, name in enumerate(names))
    model = make_model(
        plan.model,
        inputs=data.features,
        classes=data.num_classes,
        hidden=plan.hidden,
        seed=plan.seed,
        peer=None,
    )
    manifest = for_model(
        model,
        name=f"demo-{plan.dataset}",
        input_shape=data.input_shape,
        output_shape=(data.num_classes,),
        created_at=_CREATED_AT,
    )
    stage = Stage(plan, manifest, shards, test, folders)
    _write(stage)
    return stage


def _write(stage: Stage) -> None:
    out = stage.plan.out
    out.mkdir(parents=True, exist_ok=True)
    marker = out / _MARKER
    if any(out.iterdir()) and not marker.exists():
        raise CliError(
            f"{out} is not empty and was not made by this demo",
            ExitCode.IO,
            hint="name another folder with --out",
        )
    if (out / "peers").exists():
        shutil.rmtree(out / "peers")
    write_atomically(marker, json.dumps({"peers": stage.plan.peers, "seed": stage.plan.seed}).encode())
    write_atomically(stage.manifest_path, stage.manifest.to_json())
    save_npz(stage.test_path, stage.test)
    for folder, shard in zip(stage.folders, stage.shards, strict=True):
        folder.path.mkdir(parents=True)
        save_npz(folder.shard, shard)
