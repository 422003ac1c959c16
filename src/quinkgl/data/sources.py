"""Data by name: what a user types after `--data`."""

from __future__ import annotations

from pathlib import Path

from quinkgl.data.datasets import DataError, DataFileError, Dataset, load_digits
from quinkgl.data.idx import FASHION_MNIST_FOLDER, load_idx_folder
from quinkgl.data.tables import load_csv, load_npz


def load_dataset(
    source: str | Path,
    *,
    data_dir: str | Path | None = None,
    limit: int | None = None,
    num_classes: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Return the data set that a name or path stands for.

    Args:
        source: `"digits"`, `"fashion-mnist"`, a folder of IDX files, a `.npz` file, or a `.csv` or `.csv.gz`
            file with the label in its first column.
        data_dir: the folder of `"fashion-mnist"`, where it is not the Debian package's.
        limit: how many examples of a folder of IDX files to take, see `load_idx_folder`.
        num_classes: number of classes of a `.npz` or `.csv` file that may lack the highest ones.
        seed: the seed of the run, for `limit`.

    Raises:
        DataError: there is no such data, or it cannot be used.
    """
    if source == "digits":
        return load_digits()
    if source == "fashion-mnist":
        return load_idx_folder(data_dir or FASHION_MNIST_FOLDER, limit=limit, seed=seed)
    path = Path(source)
    if path.is_dir():
        return load_idx_folder(path, limit=limit, seed=seed)
    if path.name.endswith(".npz"):
        return load_npz(path, num_classes=num_classes)
    if path.name.endswith((".csv", ".csv.gz")):
        return load_csv(path, num_classes=num_classes)
    known = "give digits, fashion-mnist, a folder of IDX files, or a .npz or .csv file"
    if not path.exists():
        raise DataFileError(f"{source} does not exist: {known}")
    raise DataError(f"{source} is of no known kind: {known}")
