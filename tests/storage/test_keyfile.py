from __future__ import annotations

import os

import pytest

from quinkgl.storage import KeyFileError, create_key_file, read_key_file

PEM = b"-----BEGIN PRIVATE KEY-----\n"


def test_a_key_is_written_for_its_owner_alone_and_read_back(tmp_path):
    path = tmp_path / "node.pem"
    create_key_file(path, PEM)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_key_file(path) == PEM


def test_an_existing_file_or_link_is_never_overwritten(tmp_path):
    path = tmp_path / "node.pem"
    path.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        create_key_file(path, PEM)
    assert path.read_bytes() == b"mine"
    link = tmp_path / "link.pem"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        create_key_file(link, PEM)
    assert not (tmp_path / "elsewhere").exists()


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        create_key_file(tmp_path / "node.pem", "text")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_key_that_others_can_use_is_refused(tmp_path, mode):
    path = tmp_path / "node.pem"
    create_key_file(path, PEM)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=f"mode {mode:04o}.*chmod 600"):
        read_key_file(path)


def test_what_is_no_key_file_is_refused(tmp_path):
    with pytest.raises(KeyFileError, match="not a regular file"):
        read_key_file("/dev/null")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    with pytest.raises(KeyFileError, match="not a regular file"):
        read_key_file(pipe)
    large = tmp_path / "large.pem"
    create_key_file(large, b"x" * 20_000)
    with pytest.raises(KeyFileError, match="20000 bytes"):
        read_key_file(large)
    with pytest.raises(FileNotFoundError):
        read_key_file(tmp_path / "missing.pem")
