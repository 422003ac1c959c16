"""What a node keeps on disk: checkpoints and its key, each file whole or not at all."""

from __future__ import annotations

from quinkgl.storage.atomic import write_atomically
from quinkgl.storage.checkpoint import (
    Checkpoint,
    CheckpointError,
    checkpoint_path,
    decode_checkpoint,
    encode_checkpoint,
    latest_checkpoint,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from quinkgl.storage.keyfile import KeyFileError, create_key_file, read_key_file
from quinkgl.storage.object_file import ObjectFile, ObjectFileError
from quinkgl.storage.tree import StateError

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "KeyFileError",
    "ObjectFile",
    "ObjectFileError",
    "StateError",
    "checkpoint_path",
    "create_key_file",
    "decode_checkpoint",
    "encode_checkpoint",
    "latest_checkpoint",
    "list_checkpoints",
    "load_checkpoint",
    "read_key_file",
    "save_checkpoint",
    "write_atomically",
]
