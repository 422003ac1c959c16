"""NPZ archives and CSV tables of one's own data."""

from __future__ import annotations

import csv
import gzip
import io
import math
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TextIO

import numpy as np
from numpy.typing import NDArray

from quinkgl.data.datasets import DataError, DataFileError, Dataset, make_dataset, unreadable
from quinkgl.storage.atomic import write_atomically

_NPZ_NAMES: Final = (("x", "y"), ("x_train", "y_train"), ("images", "labels"), ("data", "target"))


def load_npz(path: str | Path, *, num_classes: int | None = None, scale: float | None = None) -> Dataset:
    """Return the data set in a NumPy archive.

    Its arrays are called `x` and `y`, `x_train` and `y_train`, `images` and `labels`, or `data` and `target`:
    features (n, …) and labels (n,). `num_classes` and `input_shape` are read from it if they are there.
    Objects (pickles) are refused.

    Args:
        path: the file.
        num_classes: by default what the file says, else the largest label + 1.
        scale: what features are divided by; by default 255 for 8-bit unsigned integers, 1 for the rest.

    Raises:
        DataError: the file is missing, damaged, or holds no such arrays.
    """
    path = Path(path)
    arrays = _read_npz(path)
    for x, y in _NPZ_NAMES:
        if x in arrays and y in arrays:
            break
    else:
        raise DataError(
            f"{path} has the arrays {', '.join(sorted(arrays)) or '(none)'}; "
            "call the features x and the labels y"
        )
    features = arrays[x]
    shape = arrays.get("input_shape")
    if num_classes is None and "num_classes" in arrays:
        num_classes = _whole_number(arrays["num_classes"], f"{path}: num_classes")
    return make_dataset(
        features,
        arrays[y],
        name=path.stem,
        num_classes=num_classes,
        input_shape=None if shape is None else tuple(int(size) for size in np.ravel(shape)),
        scale=scale,
    )


def save_npz(path: str | Path, dataset: Dataset) -> None:
    """Write a data set so that `load_npz` gives it back; whole or not at all.

    Raises:
        DataError: the file cannot be written.
    """
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        x=dataset.x,
        y=dataset.y,
        num_classes=np.array(dataset.num_classes),
        input_shape=np.array(dataset.input_shape, np.int64),
    )
    try:
        write_atomically(path, buffer.getbuffer(), mode=0o600)
    except OSError as error:
        raise DataFileError(f"cannot write {path}: {error.strerror or error}") from None


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as file:  # NumPy would leave a file that it opened and cannot read open
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.lib.npyio.NpzFile):
                return {name: loaded[name] for name in loaded.files}
    except OSError as error:
        raise unreadable(path, error) from None
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path} is not a readable NumPy archive ({error}); save it again with numpy.savez"
        ) from None
    raise DataError(f"{path} holds one bare array; save features x and labels y with numpy.savez")


def _whole_number(value: NDArray[Any], what: str) -> int:
    if value.size != 1 or value.dtype.kind not in "iu":
        raise DataError(f"{what} must be one whole number, not {value.dtype} {list(value.shape)}")
    return int(value.item())


def load_csv(
    path: str | Path,
    *,
    label: int | str = 0,
    header: bool | None = None,
    num_classes: int | None = None,
    input_shape: tuple[int, ...] | None = None,
    scale: float = 1.0,
) -> Dataset:
    """Return the data set in a table with one example a line, comma-separated, plain or compressed with gzip.

    Args:
        path: the file, in UTF-8.
        label: the column of labels: its number (from 0; negative numbers count from the end) or its name.
        header: whether the first line names the columns; None looks whether it holds anything but numbers.
        num_classes: by default the largest label + 1.
        input_shape: shape of one example; by default (columns − 1,).
        scale: what features are divided by.

    Raises:
        DataError: the file is missing or damaged, a cell is not a finite number, lines differ in length or
            there is no such column; the message names the line.
    """
    path = Path(path)
    try:
        with _open_text(path) as file:
            text = file.read()
    except UnicodeDecodeError:
        raise DataError(f"{path} is not text in UTF-8; save it as UTF-8") from None
    except (EOFError, zlib.error) as error:
        raise DataError(f"{path} is truncated or damaged: {error}") from None
    except OSError as error:
        raise unreadable(path, error) from None
    rows = csv.reader(io.StringIO(text))
    first = next((row for row in rows if row), None)
    if first is None:
        raise DataError(f"{path} is empty")
    first_line = rows.line_num
    has_header = not all(_is_number(cell) for cell in first) if header is None else header
    column = _label_column(path, first if has_header else None, len(first), label)
    table = _numbers(path, text, first_line if has_header else first_line - 1, len(first))
    return make_dataset(
        np.delete(table, column, axis=1),
        table[:, column],
        name=path.name.removesuffix(".gz").removesuffix(".csv"),
        num_classes=num_classes,
        input_shape=input_shape,
        scale=scale,
    )


def _open_text(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _label_column(path: Path, names: list[str] | None, columns: int, label: int | str) -> int:
    if columns < 2:
        raise DataError(
            f"{path} has one column; a label and at least one feature are needed, separated by commas"
        )
    if isinstance(label, str):
        stripped = [name.strip() for name in names or []]
        if label not in stripped:
            found = (
                f"its columns are {', '.join(stripped)}" if names else "its first line does not name columns"
            )
            raise DataError(f"{path} has no column {label!r}: {found}")
        return stripped.index(label)
    if not -columns <= label < columns:
        raise DataError(f"{path} has {columns} columns, and label column {label} was asked for")
    return label % columns


def _numbers(path: Path, text: str, skip: int, columns: int) -> NDArray[np.float64]:
    """All numbers after `skip` lines. NumPy reads them fast; a second look finds the line of a fault."""
    lines = io.StringIO(text)
    for _ in range(skip):
        lines.readline()
    body = lines.read()
    if not body.strip():
        raise DataError(f"{path} has no examples below its header")
    try:
        table: NDArray[np.float64] = np.loadtxt(
            io.StringIO(body), delimiter=",", comments=None, quotechar='"', ndmin=2, dtype=np.float64
        )
    except ValueError:
        table = np.empty((0, 0))
    if table.shape[1:] == (columns,) and np.isfinite(table).all():
        return table
    raise DataError(next(_faults(path, body, skip, columns), f"{path} cannot be read as numbers"))


def _faults(path: Path, body: str, skip: int, columns: int) -> Iterator[str]:
    """What is wrong with the lines, in words."""
    rows = csv.reader(io.StringIO(body))
    for row in rows:
        line = skip + rows.line_num
        if not row:
            continue
        if len(row) != columns:
            yield f"{path}, line {line}: {len(row)} columns where the first line has {columns}"
        for number, cell in enumerate(row, 1):
            if not _is_number(cell) or not math.isfinite(float(cell)):
                yield f"{path}, line {line}, column {number}: {cell!r} is not a finite number; remove it"
