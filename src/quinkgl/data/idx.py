"""IDX files, in which MNIST and its relatives come: a header, then unsigned bytes.

A header is two zero bytes, the type (0x08: unsigned byte), the number of dimensions, and each dimension as a
big-endian u32. Source: http://yann.lecun.com/exdb/mnist/ ("the IDX file format").
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from quinkgl.data.datasets import DataError, DataFileError, Dataset, make_dataset, unreadable
from quinkgl.data.split import stratified_sample

FASHION_MNIST_FOLDER: Final = Path("/usr/share/datasets/fashion-mnist")
"""Where the Debian package dataset-fashion-mnist puts its files."""

_PARTS: Final = {"train": ("train",), "test": ("t10k",), "all": ("train", "t10k")}
_UNSIGNED_BYTE: Final = 0x08
_CHUNK_BYTES: Final = 1 << 20


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def read_idx(path: str | Path) -> NDArray[np.uint8]:
    """Return the array in an IDX file of unsigned bytes, plain or compressed with gzip.

    Raises:
        DataError: no such file, not an IDX file of unsigned bytes, or shorter or longer than its header says;
            the message names the file and both numbers of bytes.
    """
    path = Path(path)
    try:
        with path.open("rb") as raw:
            compressed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if not compressed:
                return _read(raw, path)
            with gzip.GzipFile(fileobj=raw) as file:
                return _read(file, path)
    except OSError as error:
        raise unreadable(path, error) from None


def _read(file: _Readable, path: Path) -> NDArray[np.uint8]:
    start = _take(file, 4)
    if len(start) < 4 or start[:2] != b"\0\0" or not start[3]:
        raise DataError(f"{path} is not an IDX file: it starts with {start.hex(' ') or 'nothing'}")
    if start[2] != _UNSIGNED_BYTE:
        raise DataError(
            f"{path} holds elements of type 0x{start[2]:02x}; only unsigned bytes (0x08) are read"
        )
    dimensions = start[3]
    sizes = _take(file, 4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise DataError(
            f"{path} is truncated: {4 + len(sizes)} bytes, its header alone has {4 + 4 * dimensions}"
        )
    shape = tuple(int.from_bytes(sizes[at : at + 4], "big") for at in range(0, len(sizes), 4))
    expected = 1
    for size in shape:
        expected *= size
    body = _take(file, expected + 1)
    header_bytes = 4 + 4 * dimensions
    if len(body) != expected:
        what = "is truncated" if len(body) < expected else "has bytes after its data"
        found = header_bytes + len(body) if len(body) < expected else f"more than {header_bytes + expected}"
        raise DataError(
            f"{path} {what}: {found} bytes, its header says {header_bytes + expected} ({list(shape)}); "
            "get the file again"
        )
    return np.frombuffer(body, np.uint8).reshape(shape)


def _take(file: _Readable, count: int) -> bytes:
    """Up to `count` bytes: fewer where the file ends, or where a compressed one breaks off."""
    taken = bytearray()
    while len(taken) < count:
        try:
            chunk = file.read(min(count - len(taken), _CHUNK_BYTES))
        except (EOFError, zlib.error):
            break
        if not chunk:
            break
        taken += chunk
    return bytes(taken)


def load_idx_folder(
    folder: str | Path = FASHION_MNIST_FOLDER,
    *,
    part: str = "all",
    limit: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Return images and labels from the four files that MNIST and its relatives consist of.

    They are `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same with `t10k`, each with or
    without `.gz`.

    Args:
        folder: where they are; by default the folder of the Debian package dataset-fashion-mnist.
        part: `"train"`, `"test"`, or `"all"`, which is one after the other.
        limit: how many examples to take, in the proportions of the classes, picked by `seed`; None takes all.
        seed: the seed of the run.

    Raises:
        DataError: a file is missing or damaged, images and labels differ in number, or there are fewer than
            `limit`.
    """
    folder = Path(folder)
    if part not in _PARTS:
        raise DataError(f"there is no part {part!r} of an IDX data set; possible are {', '.join(_PARTS)}")
    images: list[NDArray[np.uint8]] = []
    labels: list[NDArray[np.uint8]] = []
    for prefix in _PARTS[part]:
        image_file = _find(folder, f"{prefix}-images-idx3-ubyte")
        label_file = _find(folder, f"{prefix}-labels-idx1-ubyte")
        image, label = read_idx(image_file), read_idx(label_file)
        if image.ndim != 3 or label.ndim != 1:
            wrong, expected = (image_file, 3) if image.ndim != 3 else (label_file, 1)
            raise DataError(f"{wrong} has not {expected} dimensions, as its name says; get the file again")
        if len(image) != len(label) or (images and image.shape[1:] != images[0].shape[1:]):
            raise DataError(
                f"{image_file} {list(image.shape)} and {label_file} {list(label.shape)} do not go together"
            )
        images.append(image)
        labels.append(label)
    x, y = np.concatenate(images), np.concatenate(labels)
    if not len(y):
        raise DataError(f"the files in {folder} hold no images")
    num_classes = int(y.max()) + 1
    if limit is not None:
        if limit > len(y):
            raise DataError(f"{folder} has {len(y)} images, and {limit} were asked for")
        chosen = stratified_sample(y.astype(np.int64), limit, seed=seed)
        x, y = x[chosen], y[chosen]
    return make_dataset(x, y, name=folder.name or "idx", num_classes=num_classes)


def _find(folder: Path, name: str) -> Path:
    for candidate in (folder / f"{name}.gz", folder / name):
        if candidate.is_file():
            return candidate
    hint = (
        "install the package dataset-fashion-mnist" if folder == FASHION_MNIST_FOLDER else "give its folder"
    )
    raise DataFileError(f"there is no {name} (or {name}.gz) in {folder}; {hint}")
