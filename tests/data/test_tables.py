"""One's own data: NPZ and CSV files, and the one line for each way in which they can be wrong."""

from __future__ import annotations

import gzip
import stat

import numpy as np
import pytest

from quinkgl.data import DataError, load_csv, load_digits, load_npz, save_npz

X = np.arange(12, dtype=np.float32).reshape(3, 2, 2) / 16
Y = np.array([0, 2, 1])


@pytest.mark.parametrize(
    "names", [("x", "y"), ("x_train", "y_train"), ("images", "labels"), ("data", "target")]
)
def test_an_archive_under_any_of_the_usual_names(tmp_path, names):
    np.savez(tmp_path / "mine.npz", **dict(zip(names, (X, Y), strict=True)))
    dataset = load_npz(tmp_path / "mine.npz")
    assert np.array_equal(dataset.x, X.reshape(3, 4))
    assert np.array_equal(dataset.y, Y)
    assert (dataset.name, dataset.num_classes, dataset.input_shape) == ("mine", 3, (2, 2))


def test_a_saved_data_set_comes_back_with_classes_that_it_lacks(tmp_path):
    shard = load_digits().subset(np.flatnonzero(load_digits().y < 3))
    save_npz(tmp_path / "shard.npz", shard)
    back = load_npz(tmp_path / "shard.npz")
    assert np.array_equal(back.x, shard.x)
    assert np.array_equal(back.y, shard.y)
    assert (back.num_classes, back.input_shape) == (10, (8, 8))
    assert load_npz(tmp_path / "shard.npz", num_classes=12).num_classes == 12
    assert stat.S_IMODE((tmp_path / "shard.npz").stat().st_mode) == 0o600


def test_an_archive_cannot_be_saved_into_nowhere(tmp_path):
    with pytest.raises(DataError, match=r"cannot write .*: No such file or directory"):
        save_npz(tmp_path / "no" / "shard.npz", load_digits())


def test_bytes_in_an_archive_are_scaled(tmp_path):
    np.savez(tmp_path / "mine.npz", x=np.full((1, 2), 255, np.uint8), y=np.array([0]))
    assert load_npz(tmp_path / "mine.npz").x.tolist() == [[1.0, 1.0]]
    assert load_npz(tmp_path / "mine.npz", scale=51).x.tolist() == [[5.0, 5.0]]


class Trap:
    """A pickle that leaves a file behind when it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_an_archive_with_a_pickle_is_refused_and_never_run(tmp_path):
    np.savez(tmp_path / "bad.npz", x=np.array([Trap(tmp_path / "sprung")], dtype=object), y=Y)
    with pytest.raises(DataError, match="not a readable NumPy archive"):
        load_npz(tmp_path / "bad.npz")
    assert not (tmp_path / "sprung").exists()


def test_other_archives_are_refused_in_one_line(tmp_path):
    path = tmp_path / "mine.npz"
    with pytest.raises(DataError, match=r"cannot read .*No such file or directory"):
        load_npz(path)
    np.savez(path, a=X, b=Y)
    with pytest.raises(DataError, match="has the arrays a, b; call the features x and the labels y"):
        load_npz(path)
    np.savez(path, x=X, y=Y, num_classes=np.array([1, 2]))
    with pytest.raises(DataError, match="num_classes must be one whole number"):
        load_npz(path)
    with path.open("wb") as file:
        np.save(file, X)
    with pytest.raises(DataError, match="one bare array"):
        load_npz(path)


@pytest.mark.parametrize("cut", [0, 1, 30, 100, 300, -1])
def test_a_damaged_archive_is_refused(tmp_path, cut):
    path = tmp_path / "mine.npz"
    save_npz(path, load_digits())
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match="not a readable NumPy archive"):
        load_npz(path)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_table_with_the_label_first(tmp_path, compressed):
    path = tmp_path / ("mine.csv.gz" if compressed else "mine.csv")
    text = b"\xef\xbb\xbf2,0.5,1\r\n\r\n0,-1,2e1\r\n"
    path.write_bytes(gzip.compress(text) if compressed else text)
    dataset = load_csv(path)
    assert dataset.x.tolist() == [[0.5, 1.0], [-1.0, 20.0]]
    assert dataset.y.tolist() == [2, 0]
    assert (dataset.name, dataset.num_classes, dataset.input_shape) == ("mine", 3, (2,))


def test_a_table_with_a_named_label_and_options(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text('"width, mm",kind ,height\n4,1,8\n2,0,6\n')
    dataset = load_csv(path, label="kind", num_classes=5, scale=2.0, input_shape=(1, 2))
    assert dataset.x.tolist() == [[2.0, 4.0], [1.0, 3.0]]
    assert dataset.y.tolist() == [1, 0]
    assert (dataset.num_classes, dataset.input_shape) == (5, (1, 2))
    assert load_csv(path, label=-2).y.tolist() == [1, 0]


def test_a_header_of_numbers_can_be_declared(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("0,1\n1,5\n0,6\n")
    assert len(load_csv(path)) == 3
    assert len(load_csv(path, header=True)) == 2
    assert load_csv(path, header=True, label="1").y.tolist() == [5, 6]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "is empty"),
        ("\n\n", {}, "is empty"),
        ("label,x\n", {}, "no examples below its header"),
        ("1\n2\n", {}, "has one column"),
        ("1,2\n3,4\n", {"label": 2}, "has 2 columns, and label column 2 was asked for"),
        ("1,2\n3,4\n", {"label": "kind"}, "no column 'kind': its first line does not name columns"),
        ("a,b\n3,4\n", {"label": "kind"}, "no column 'kind': its columns are a, b"),
        ("a,b\n1,2\n\n3\n", {}, "line 4: 1 columns where the first line has 2"),
        ("1,2\n3,4,5\n", {}, "line 2: 3 columns where the first line has 2"),
        ("a,b\n1,2\n1,two\n", {}, "line 3, column 2: 'two' is not a finite number"),
        ("1,2\n1,nan\n", {}, "line 2, column 2: 'nan' is not a finite number"),
        ("1,2\n1,\n", {}, "line 2, column 2: '' is not a finite number"),
        ("a,b\n1,2\n1,2\n", {"header": False}, "line 1, column 1: 'a' is not a finite number"),
        ("1,2\n1.5,2\n", {}, "labels must be whole numbers"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_its_line(tmp_path, text, options, message):
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        load_csv(path, **options)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "mine.csv").write_bytes(b"\xff\xfe1,2\n")
    with pytest.raises(DataError, match="not text in UTF-8"):
        load_csv(tmp_path / "mine.csv")
    (tmp_path / "mine.csv.gz").write_bytes(gzip.compress(b"1,2\n" * 100)[:-9])
    with pytest.raises(DataError, match="truncated or damaged"):
        load_csv(tmp_path / "mine.csv.gz")
    with pytest.raises(DataError, match=r"cannot read .*No such file"):
        load_csv(tmp_path / "none.csv")
