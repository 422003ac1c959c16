"""What a user types after --data."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from quinkgl.data import DataError, load_dataset, load_digits, save_npz


def write_idx(folder):
    folder.mkdir()
    for part in ("train", "t10k"):
        images = struct.pack(">HBBIII", 0, 8, 3, 10, 1, 2) + bytes(20)
        labels = struct.pack(">HBBI", 0, 8, 1, 10) + bytes(range(5)) * 2
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(labels)
    return folder


def test_every_kind_of_source(tmp_path):
    folder = write_idx(tmp_path / "idx")
    save_npz(tmp_path / "mine.npz", load_digits().subset(np.arange(5)))
    (tmp_path / "mine.csv").write_text("0,1\n1,2\n")
    assert len(load_dataset("digits")) == 1797
    assert len(load_dataset("fashion-mnist", data_dir=folder)) == 20
    assert len(load_dataset(folder, limit=10)) == 10
    assert len(load_dataset(tmp_path / "mine.npz")) == 5
    assert load_dataset(str(tmp_path / "mine.csv"), num_classes=4).num_classes == 4


def test_an_unknown_source_is_refused_with_what_there_is(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DataError, match=r"notes.txt is of no known kind: give digits"):
        load_dataset(tmp_path / "notes.txt")
    with pytest.raises(DataError, match=r"nothing.npy does not exist"):
        load_dataset(tmp_path / "nothing.npy")
