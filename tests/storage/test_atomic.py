from __future__ import annotations

import os

import pytest

from quinkgl.storage import write_atomically


def test_a_write_that_cannot_be_finished_leaves_the_old_content_and_no_scratch(tmp_path):
    path = tmp_path / "kept"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "no bytes")
    with pytest.raises(FileExistsError):
        write_atomically(path, b"new", overwrite=False)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


def test_parts_follow_each_other_and_the_mode_is_kept(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"one ", bytearray(b"two "), memoryview(b"three"), mode=0o600)
    assert path.read_bytes() == b"one two three"
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_umask_applies(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "file", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "none" / "file", b"x")
