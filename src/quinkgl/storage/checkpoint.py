"""Checkpoints: everything that evolves in a node, in one file, whole or not at all.

A file is ``magic (8) ‖ version (4) ‖ document length (8) ‖ tensors length (8) ‖ document ‖ tensors ‖ SHA-256
of all before (32)``, integers big-endian. The document is CBOR, the tensors are in the flat tensor format
(``spec/09b-tensors.md``). There is no pickle in it: reading one runs nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from quinkgl.serialization import decode_tensors_untrusted, encode_tensors
from quinkgl.storage.atomic import TEMPORARY_SUFFIX, write_atomically
from quinkgl.storage.tree import StateError, put_together, take_apart
from quinkgl.wire.errors import ProtocolError

_MAGIC: Final = b"QGLCKPT\n"
_VERSION: Final = 1
_HEAD: Final = struct.Struct(">8sIQQ")
_DIGEST_BYTES: Final = 32
_NAME: Final = re.compile(r"checkpoint-(\d{10})\.qglc")


class CheckpointError(ValueError):
    """A checkpoint that cannot be written or read; the message says which, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a node after a round. ``state`` is a tree of plain values and arrays."""

    round: int
    state: Mapping[str, Any]


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    """Encode a checkpoint. Raises CheckpointError for a value that it cannot hold."""
    return b"".join(_parts(checkpoint))


def _parts(checkpoint: Checkpoint) -> list[bytes]:
    """Return the pieces of a file, so that a large model is not copied once more to join them."""
    try:
        document, arrays = take_apart({"round": checkpoint.round, "state": checkpoint.state})
        tensors = encode_tensors(arrays)
    except (StateError, ProtocolError, TypeError, ValueError) as error:
        raise CheckpointError(f"the state cannot be saved: {error}") from error
    parts = [_HEAD.pack(_MAGIC, _VERSION, len(document), len(tensors)), document, tensors]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return [*parts, digest.digest()]


def decode_checkpoint(data: bytes, *, name: str = "checkpoint") -> Checkpoint:
    """Decode what :func:`encode_checkpoint` made; ``name`` stands in errors.

    Raises CheckpointError for anything else: another kind of file, another version, damage. Arrays are copies
    that may be changed.
    """
    if len(data) < _HEAD.size + _DIGEST_BYTES or not data.startswith(_MAGIC):
        raise CheckpointError(
            f"{name} is not a checkpoint of QuinkGL, or the start of one; choose another file"
        )
    _, version, document_bytes, tensor_bytes = _HEAD.unpack_from(data)
    if version != _VERSION:
        raise CheckpointError(f"{name} has format {version}; this version of QuinkGL reads format {_VERSION}")
    content = memoryview(data)[:-_DIGEST_BYTES]
    if len(content) != _HEAD.size + document_bytes + tensor_bytes:
        raise CheckpointError(f"{name} is cut short or too long; go back to an older checkpoint")
    if hashlib.sha256(content).digest() != data[-_DIGEST_BYTES:]:
        raise CheckpointError(f"{name} is damaged (its checksum differs); go back to an older checkpoint")
    tensors = content[_HEAD.size + document_bytes :]
    try:
        arrays = decode_tensors_untrusted(
            tensors, expected=None, max_bytes=len(tensors), allow_nonfinite=True
        )
        writable = {key: array.copy() for key, array in arrays.items()}
        whole = put_together(bytes(content[_HEAD.size : _HEAD.size + document_bytes]), writable)
        round, state = whole["round"], whole["state"]
    except (StateError, ProtocolError, KeyError) as error:
        raise CheckpointError(
            f"{name} cannot be understood: {error}; go back to an older checkpoint"
        ) from error
    if type(round) is not int or not isinstance(state, dict):
        raise CheckpointError(f"{name} has no round and state in it; go back to an older checkpoint")
    return Checkpoint(round, state)


def checkpoint_path(folder: str | os.PathLike[str], round: int) -> Path:
    """Return the file of a round's checkpoint."""
    return Path(folder) / f"checkpoint-{round:010d}.qglc"


def save_checkpoint(folder: str | os.PathLike[str], checkpoint: Checkpoint, *, keep: int = 3) -> Path:
    """Write a checkpoint and return its file; of those up to its round the ``keep`` newest stay (0: all).

    The folder is made if there is none; it belongs to one node. Checkpoints of later rounds, which another
    run left, are not touched; what a killed process left half-written is removed. Raises CheckpointError for
    a state that cannot be saved, OSError for a folder that cannot be written; no file is half-written then,
    and none removed.
    """
    parts = _parts(checkpoint)
    path = checkpoint_path(folder, checkpoint.round)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, *parts, mode=0o600)
    old = [file for file in list_checkpoints(folder) if file.name <= path.name][:-keep] if keep else []
    for file in [*old, *path.parent.glob(f".checkpoint-*.qglc.*{TEMPORARY_SUFFIX}")]:
        file.unlink(missing_ok=True)
    return path


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read one checkpoint file. Raises CheckpointError for a bad one, OSError for one that cannot be read."""
    return decode_checkpoint(Path(path).read_bytes(), name=str(path))


def list_checkpoints(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the checkpoint files of a folder, oldest round first; no folder has none."""
    try:
        names = [entry for entry in Path(folder).iterdir() if _NAME.fullmatch(entry.name)]
    except FileNotFoundError:
        return []
    return sorted(names, key=lambda path: path.name)


def latest_checkpoint(
    folder: str | os.PathLike[str], *, skip_damaged: bool = False
) -> tuple[Path, Checkpoint] | None:
    """Read the newest checkpoint of a folder; None when there is none.

    A damaged one is an error (CheckpointError), unless ``skip_damaged`` lets the next older one stand in for
    it: training would otherwise go back in time without anybody noticing. So is a file under the name of
    another round than its own, and a folder in which every checkpoint is damaged.
    """
    newest_error: CheckpointError | None = None
    for path in reversed(list_checkpoints(folder)):
        try:
            checkpoint = load_checkpoint(path)
            _check_name(path, checkpoint)
        except CheckpointError as error:
            if not skip_damaged:
                raise
            newest_error = newest_error or error
        else:
            return path, checkpoint
    if newest_error is not None:
        raise newest_error
    return None


def _check_name(path: Path, checkpoint: Checkpoint) -> None:
    if path != checkpoint_path(path.parent, checkpoint.round):
        raise CheckpointError(
            f"{path} is the checkpoint of round {checkpoint.round} under another name; rename it or remove it"
        )
