"""From flags to the parts of a node: every check that can be made before anything is started or written."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from quinkgl.cli import CliError, ExitCode, Output
from quinkgl.crypto.identity import Identity, format_peer_id
from quinkgl.crypto.keys import KeySource
from quinkgl.data import (
    DataError,
    DataFileError,
    Dataset,
    load_dataset,
    partition_dirichlet,
    partition_iid,
    stratified_split,
)
from quinkgl.manifest import (
    MagnetLink,
    StrategySpec,
    SwarmManifest,
    check_creator,
    for_model,
    load_manifest_file,
)
from quinkgl.manifest.magnet import SCHEME as MAGNET_SCHEME
from quinkgl.models import ModelWrapper
from quinkgl.storage import KeyFileError, create_key_file, read_key_file
from quinkgl.wire.addresses import Address
from quinkgl.wire.errors import LocalProtocolError
from quinkgl_trio.bootstrap import PeerTarget
from quinkgl_trio.manifest_fetching import fetch_manifest
from quinkgl_trio.models import ModelError, make_model
from quinkgl_trio.training import TrainingPlan, default_learning_rate

_BUNDLED: Final = ("digits", "fashion-mnist")
_SECRET_BYTES: Final = (1, 1024)
_MANIFEST_FLAGS: Final = ("swarm", "aggregation", "aggregation_param", "topology", "topology_param")
_CREATED_AT: Final = "2026-01-01T00:00:00Z"
"""Of a manifest made from flags: part of its id, so peers that are given equal flags meet."""
_DEFAULT_ROUNDS: Final = 100
_FETCH_TIMEOUT_S: Final = 60.0
KEY_NAME: Final = "identity.pem"


@dataclass(frozen=True, slots=True)
class DataSetup:
    """What to learn from, and what to be judged by."""

    train: Dataset
    test: Dataset
    part: int | None
    """Which part of the data this is, from 0; None for all of it."""


def read_data(args: argparse.Namespace) -> DataSetup:
    """Load, split and shard as the flags say.

    Raises:
        CliError: there is no such data, or it cannot be used like this.
    """
    if args.data is None:
        raise CliError(
            "--data is missing", ExitCode.IO, hint="give a file, a folder of IDX files, or 'digits'"
        )
    if args.alpha is not None and args.shard is None:
        raise CliError("--alpha shares data out unequally: it needs --shard I/N", ExitCode.VALIDATION)
    try:
        train = _load(args.data, args.classes)
        if args.test_data is not None:
            test = _load(args.test_data, args.classes)
        else:
            train, test = stratified_split(train, args.test_fraction, seed=args.seed)
        if args.shard is None:
            return _matching(train, test, None)
        number, of = args.shard
        parts = (
            partition_iid(train.y, of, seed=args.seed)
            if args.alpha is None
            else partition_dirichlet(train.y, of, alpha=args.alpha, seed=args.seed)
        )
        return _matching(train.subset(parts.shards[number - 1]), test, number - 1)
    except DataError as error:
        raise CliError(str(error), data_exit(error)) from error


def data_exit(error: DataError) -> ExitCode:
    """The exit code for data that cannot be used: whether the file or its content is at fault."""
    return ExitCode.IO if isinstance(error, DataFileError) else ExitCode.VALIDATION


def _load(source: str, classes: int | None) -> Dataset:
    if source not in _BUNDLED and not Path(source).exists():
        raise CliError(f"{source}: no such file or folder", ExitCode.IO)
    return load_dataset(source, num_classes=classes)


def _matching(train: Dataset, test: Dataset, part: int | None) -> DataSetup:
    if train.input_shape != test.input_shape:
        raise CliError(
            f"the test data have examples of shape {list(test.input_shape)}, "
            f"the training data {list(train.input_shape)}",
            ExitCode.VALIDATION,
        )
    return DataSetup(train, test, part)


@dataclass(frozen=True, slots=True)
class SwarmLink:
    """A swarm id in place of a manifest, and the peers that a link names."""

    swarm_id: bytes
    peers: tuple[PeerTarget, ...] = ()


def manifest_source(args: argparse.Namespace) -> Path | SwarmLink | None:
    """What ``--manifest`` or ``--swarm-id`` names; None to make a manifest from the flags.

    Raises:
        CliError: flags that exclude each other, or an id or address that is none.
        ManifestError: a link that is none.
    """
    given = [flag for flag in ("manifest", "swarm_id") if getattr(args, flag) is not None]
    if not given:
        if args.trusted_pubkey:
            raise CliError("--trusted-pubkey needs --manifest or --swarm-id", ExitCode.VALIDATION)
        return None
    for name in (*given[1:], *_MANIFEST_FLAGS):
        if getattr(args, name) is not None:
            flags = ["--" + word.replace("_", "-") for word in (name, given[0])]
            raise CliError(
                f"{flags[0]} and {flags[1]} exclude each other: the manifest decides", ExitCode.VALIDATION
            )
    if args.swarm_id is not None:
        if re.fullmatch(r"[0-9a-f]{64}", args.swarm_id) is None:
            raise CliError("--swarm-id: a swarm id is 64 lower-case hex digits", ExitCode.IO)
        return SwarmLink(bytes.fromhex(args.swarm_id))
    if not args.manifest.startswith(MAGNET_SCHEME):
        return Path(args.manifest)
    link = MagnetLink.parse(args.manifest)
    try:
        peers = tuple(map(PeerTarget.parse, link.bootstrap_peers))
    except ValueError as error:
        raise CliError(f"--manifest: {error}", ExitCode.IO) from error
    return SwarmLink(link.swarm_id, peers)


def read_manifest(
    source: Path | SwarmLink | None,
    targets: Sequence[PeerTarget],
    args: argparse.Namespace,
    *,
    listen: Address,
    secret: bytes,
) -> SwarmManifest | None:
    """Load or fetch the manifest, and refuse it where its creator is not trusted; None without a source.

    Raises:
        CliError: no peer gave it.
        ManifestError: it is no valid manifest, or not to be trusted.
        OSError: the file cannot be read.
    """
    if source is None:
        return None
    if isinstance(source, Path):
        manifest = load_manifest_file(source)
    else:
        manifest = fetch_manifest(
            source.swarm_id,
            targets,
            listen=listen,
            join_secret=secret,
            timeout_s=args.join_timeout or _FETCH_TIMEOUT_S,
        )
    if args.trusted_pubkey:
        check_creator(manifest, args.trusted_pubkey)
    return manifest


def manifest_from_flags(args: argparse.Namespace, model: ModelWrapper, data: Dataset) -> SwarmManifest:
    """Make the manifest that equal flags make at every peer.

    Raises:
        ManifestError: a name or parameter that the schema does not admit.
    """
    return for_model(
        model,
        name=args.swarm or "quinkgl",
        input_shape=data.input_shape,
        output_shape=(data.num_classes,),
        created_at=_CREATED_AT,
        aggregation=StrategySpec(args.aggregation or "FedAvg", dict(args.aggregation_param or ())),
        topology=StrategySpec(args.topology or "Random", dict(args.topology_param or ())),
    )


def build_model(
    args: argparse.Namespace, manifest: SwarmManifest | None, data: DataSetup, identity: Identity
) -> ModelWrapper:
    """Make the model, with as many outputs as the manifest says or the data have classes.

    Raises:
        CliError: it cannot be made.
        ImportError: it needs an extra.
    """
    classes = max(data.train.num_classes, data.test.num_classes)
    if manifest is not None and len(manifest.task.output_shape) == 1:
        classes = manifest.task.output_shape[0]
    index = args.peer_index if args.peer_index is not None else data.part
    try:
        return make_model(
            args.model,
            inputs=data.train.features,
            classes=classes,
            hidden=args.hidden,
            seed=args.seed,
            peer=identity.peer_id if index is None else index,
        )
    except ModelError as error:
        raise CliError(str(error), ExitCode.NODE_CONFIG) from error


def training_plan(args: argparse.Namespace, manifest: SwarmManifest | None) -> TrainingPlan:
    """Hyperparameters; rounds are those of ``--rounds``, else the manifest's limit, else 100.

    Raises:
        CliError: more rounds than the manifest allows.
    """
    limit = None if manifest is None else manifest.round_limit
    if args.rounds is not None and limit is not None and args.rounds > limit:
        raise CliError(f"--rounds {args.rounds}: the manifest allows {limit}", ExitCode.VALIDATION)
    return TrainingPlan(
        rounds=args.rounds or limit or _DEFAULT_ROUNDS,
        epochs=args.epochs,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate or default_learning_rate(args.model),
        schedule=args.schedule,
    )


def read_secret(path: Path | None) -> bytes:
    """The join secret: the file's content without the line break at its end; empty without a file.

    Raises:
        CliError: it is empty or too long.
        OSError: it cannot be read.
    """
    if path is None:
        return b""
    low, high = _SECRET_BYTES
    with path.open("rb") as file:
        secret = file.read(high + 3).rstrip(b"\r\n")
    if not low <= len(secret) <= high:
        raise CliError(f"{path}: a join secret has {low} to {high} bytes", ExitCode.CRYPTO)
    return secret


@dataclass(frozen=True, slots=True)
class IdentityFile:
    """This peer's identity, and where it is to be kept."""

    identity: Identity
    path: Path | None
    """None: nowhere, the identity ends with the process."""
    is_new: bool

    def keep(self, output: Output) -> None:
        """Write a new identity to its file, readable by its owner alone.

        Raises:
            OSError: it cannot be written, or somebody else made the file meanwhile.
        """
        if self.path is not None and self.is_new:
            create_key_file(self.path, self.identity.to_pem())
            name = format_peer_id(self.identity.peer_id)
            output.note(f"made a key for this peer, {self.path}: {name}")


def read_identity(args: argparse.Namespace) -> IdentityFile:
    """This peer's identity: from ``--key-file``, else from the checkpoint folder, else a fresh one.

    Raises:
        CliError: the file holds no such key, or others can read it.
        OSError: it cannot be read.
    """
    path: Path | None = args.key_file
    if path is None and args.checkpoint_dir is not None:
        path = args.checkpoint_dir / KEY_NAME
    if path is None or not path.exists():
        return IdentityFile(Identity.generate(KeySource.system()), path, is_new=True)
    try:
        return IdentityFile(Identity.from_pem(read_key_file(path)), path, is_new=False)
    except KeyFileError as error:
        raise CliError(str(error), ExitCode.CRYPTO) from error
    except LocalProtocolError as error:
        raise CliError(f"{path}: {error.message}", ExitCode.CRYPTO) from error


def make_folder(path: Path) -> None:
    """Make the checkpoint folder and see that files can be written into it.

    Raises:
        OSError: it cannot be made or written.
    """
    path.mkdir(parents=True, exist_ok=True)
    probe = path / ".write-test"
    try:
        probe.touch()
    finally:
        probe.unlink(missing_ok=True)
