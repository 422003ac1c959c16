"""IDX files: read exactly, or refused with the file and both numbers of bytes."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.data import DataError, load_idx_folder, read_idx


def idx(array):
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


IMAGES = np.arange(60 * 6, dtype=np.int64).reshape(60, 3, 2) % 251
LABELS = np.arange(60) % 3


def write_folder(folder, compressed=True, **changes):
    files = {
        "train-images-idx3-ubyte": idx(IMAGES[:40]),
        "train-labels-idx1-ubyte": idx(LABELS[:40]),
        "t10k-images-idx3-ubyte": idx(IMAGES[40:]),
        "t10k-labels-idx1-ubyte": idx(LABELS[40:]),
        **{name.replace("_", "-"): content for name, content in changes.items()},
    }
    for name, content in files.items():
        if compressed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("compressed", [True, False], ids=["gzip", "plain"])
def test_a_folder_of_four_files_is_one_data_set(tmp_path, compressed):
    dataset = load_idx_folder(write_folder(tmp_path, compressed))
    assert np.array_equal(dataset.x, (IMAGES.reshape(60, 6) / np.float32(255)).astype(np.float32))
    assert np.array_equal(dataset.y, LABELS)
    assert (dataset.input_shape, dataset.num_classes, dataset.name) == ((3, 2), 3, tmp_path.name)
    assert len(load_idx_folder(tmp_path, part="train")) == 40
    assert len(load_idx_folder(tmp_path, part="test")) == 20


def test_a_limit_keeps_the_proportions_and_follows_the_seed(tmp_path):
    write_folder(tmp_path)
    some = load_idx_folder(tmp_path, limit=30, seed=1)
    assert some.class_counts().tolist() == [10, 10, 10]
    assert np.array_equal(some.x, load_idx_folder(tmp_path, limit=30, seed=1).x)
    assert not np.array_equal(some.x, load_idx_folder(tmp_path, limit=30, seed=2).x)
    with pytest.raises(DataError, match="has 60 images, and 61 were asked for"):
        load_idx_folder(tmp_path, limit=61)


GOOD = idx(IMAGES[:2])
DAMAGED = {
    "empty": (b"", "not an IDX file: it starts with nothing"),
    "no IDX": (b"\x89PNG\r\n", "not an IDX file: it starts with 89 50 4e 47"),
    "no dimensions": (b"\0\0\x08\0", "not an IDX file"),
    "other type": (b"\0\0\x0d\x01" + bytes(8), "type 0x0d"),
    "header cut": (GOOD[:7], "is truncated: 7 bytes, its header alone has 16"),
    "body cut": (GOOD[:-1], r"is truncated: 27 bytes, its header says 28 \(\[2, 3, 2\]\)"),
    "a byte too many": (GOOD + b"\0", "bytes after its data: more than 28 bytes, its header says 28"),
    "header of terabytes": (b"\0\0\x08\x02" + b"\xff" * 8 + bytes(5), "is truncated: 17 bytes"),
}


@pytest.mark.parametrize("compressed", [True, False], ids=["gzip", "plain"])
@pytest.mark.parametrize(("content", "text"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_named_with_its_bytes(tmp_path, content, text, compressed):
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(content) if compressed else content)
    with pytest.raises(DataError, match=text) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


@given(cut=st.integers(3, 200))
def test_a_gzip_file_that_breaks_off_is_truncated(tmp_path_factory, cut):
    whole = gzip.compress(idx(np.random.default_rng(0).integers(0, 256, (50, 4))), mtime=0)
    path = tmp_path_factory.mktemp("idx") / "file.gz"
    path.write_bytes(whole[:cut])
    with pytest.raises(DataError, match=r"truncated|not an IDX file"):
        read_idx(path)


def test_a_gzip_file_with_damage_inside_is_refused(tmp_path):
    whole = bytearray(gzip.compress(idx(IMAGES)))
    whole[len(whole) // 2] ^= 0xFF
    whole[-8] ^= 0xFF  # and in its checksum
    path = tmp_path / "file.gz"
    path.write_bytes(whole)
    with pytest.raises(DataError, match=str(path)):
        read_idx(path)


def test_missing_and_forbidden_files_are_one_line(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*nothing: No such file or directory"):
        read_idx(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"no train-images-idx3-ubyte \(or train-images-idx3-ubyte.gz\)"):
        load_idx_folder(tmp_path)
    with pytest.raises(DataError, match="no part 'validation'"):
        load_idx_folder(tmp_path, part="validation")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"train_labels_idx1_ubyte": idx(LABELS[:39])}, "do not go together"),
        ({"t10k_images_idx3_ubyte": idx(IMAGES[40:].reshape(20, 2, 3))}, "do not go together"),
        ({"train_labels_idx1_ubyte": idx(IMAGES[:40])}, "has not 1 dimensions"),
        ({"train_images_idx3_ubyte": idx(LABELS[:40])}, "has not 3 dimensions"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(tmp_path, changes, text):
    with pytest.raises(DataError, match=text):
        load_idx_folder(write_folder(tmp_path, **changes))


def test_files_without_images_are_refused(tmp_path):
    empty = {"train_images_idx3_ubyte": idx(IMAGES[:0]), "train_labels_idx1_ubyte": idx(LABELS[:0])}
    with pytest.raises(DataError, match="hold no images"):
        load_idx_folder(write_folder(tmp_path, **empty), part="train")
