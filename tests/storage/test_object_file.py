"""An object received into a file: whatever dies, what was verified stays, and nothing else is believed."""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quinkgl.storage import ObjectFile, ObjectFileError
from quinkgl.transport import MemorySink, ObjectSink
from quinkgl.wire.merkle import LEAF_BYTES, leaf_hashes, merkle_root

BODY = random.Random(1).randbytes(5 * LEAF_BYTES + 100)
LEAVES = leaf_hashes(BODY)
LIST = b"".join(LEAVES)
ROOT = merkle_root(LEAVES)


def opened(folder: Path, **changes: object) -> ObjectFile:
    return ObjectFile(folder / "object", **{"root": ROOT, "size": len(BODY), **changes})


def put(sink: ObjectSink, *leaves: int) -> None:
    for leaf in leaves:
        sink.write(leaf * LEAF_BYTES, BODY[leaf * LEAF_BYTES : (leaf + 1) * LEAF_BYTES])
        sink.keep_leaves(leaf, leaf + 1)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_both_sinks_keep_the_contract(tmp_path, kind):
    sink: ObjectSink = MemorySink(ROOT, len(BODY)) if kind == "memory" else opened(tmp_path)
    assert (sink.root, sink.size) == (ROOT, len(BODY))
    assert sink.leaf_list() is None
    assert list(sink.verified()) == []
    sink.keep_list(LIST)
    assert sink.leaf_list() == LIST
    put(sink, 4, 0, 1)
    assert list(sink.verified()) == [(0, 2), (4, 5)]
    assert sink.read(LEAF_BYTES, LEAF_BYTES + 10) == BODY[LEAF_BYTES : LEAF_BYTES + 10]
    sink.write(2 * LEAF_BYTES, memoryview(BODY)[2 * LEAF_BYTES : 4 * LEAF_BYTES])
    sink.keep_leaves(2, 4)
    put(sink, 5)
    assert list(sink.verified()) == [(0, 6)]
    body = sink.body()
    assert body == BODY
    assert body.readonly
    assert 0 < sink.memory_bytes <= len(BODY)


def test_a_file_takes_little_memory_and_says_how_much_is_here(tmp_path):
    with opened(tmp_path) as sink:
        assert sink.memory_bytes == 33 * 6
        assert sink.verified_bytes == 0
        put(sink, 5)
        assert sink.verified_bytes == 100
        put(sink, 0, 1, 2, 3, 4)
        assert sink.verified_bytes == len(BODY)


def test_the_whole_object_takes_its_name_in_one_step(tmp_path):
    with opened(tmp_path) as sink:
        sink.keep_list(LIST)
        put(sink, *range(6))
        assert names(tmp_path) == ["object.part", "object.part.map"]
        body = sink.body()
        sink.finish()
    assert names(tmp_path) == ["object"]
    assert (tmp_path / "object").read_bytes() == BODY
    assert body == BODY  # still readable


def test_a_name_that_exists_is_refused_unless_it_may_be_overwritten(tmp_path):
    (tmp_path / "object").write_bytes(b"somebody else's")
    with opened(tmp_path) as sink:
        sink.keep_list(LIST)
        put(sink, *range(6))
        with pytest.raises(FileExistsError):
            sink.finish()
        assert (tmp_path / "object").read_bytes() == b"somebody else's"
        sink.finish(overwrite=True)
    assert (tmp_path / "object").read_bytes() == BODY
    assert names(tmp_path) == ["object"]


@pytest.mark.parametrize("body", [b"", b"x" * 5000])
def test_objects_of_one_leaf_need_no_list(tmp_path, body):
    root = merkle_root(leaf_hashes(body))
    for _ in range(2):
        with opened(tmp_path, root=root, size=len(body)) as sink:
            sink.write(0, body)
            sink.keep_leaves(0, 1)
    with opened(tmp_path, root=root, size=len(body)) as sink:
        assert list(sink.verified()) == [(0, 1)]
        assert sink.body() == body
        sink.finish()
    assert (tmp_path / "object").read_bytes() == body


WRITER = """
import os, signal, sys
from pathlib import Path
from quinkgl.storage import ObjectFile
from quinkgl.wire.merkle import LEAF_BYTES
body = Path(sys.argv[1]).read_bytes()
sink = ObjectFile(Path(sys.argv[2]), root=bytes.fromhex(sys.argv[3]), size=len(body))
sink.keep_list(bytes.fromhex(sys.argv[4]))
for leaf in (0, 1, 3):
    sink.write(leaf * LEAF_BYTES, body[leaf * LEAF_BYTES : (leaf + 1) * LEAF_BYTES])
    sink.keep_leaves(leaf, leaf + 1)
sink.write(2 * LEAF_BYTES, b"half a leaf")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.req("O-036")
def test_what_was_verified_survives_a_killed_process(tmp_path):
    """Nothing is flushed on the way out: there is no way out."""
    (tmp_path / "source").write_bytes(BODY)
    arguments = [str(tmp_path / "source"), str(tmp_path / "object"), ROOT.hex(), LIST.hex()]
    done = subprocess.run([sys.executable, "-c", WRITER, *arguments], check=False)
    assert done.returncode == -signal.SIGKILL
    with opened(tmp_path) as sink:
        assert sink.leaf_list() == LIST
        assert list(sink.verified()) == [(0, 2), (3, 4)]


@pytest.mark.req("O-036")
def test_a_claim_that_is_not_true_is_not_believed(tmp_path):
    with opened(tmp_path) as sink:
        sink.keep_list(LIST)
        put(sink, 0, 1, 2)
    with (tmp_path / "object.part").open("r+b") as file:
        file.seek(LEAF_BYTES + 7)
        file.write(b"?")
    with opened(tmp_path) as sink:
        assert list(sink.verified()) == [(0, 1), (2, 3)]


@pytest.mark.req("O-036")
def test_a_data_file_that_is_gone_or_cut_short_is_not_believed(tmp_path):
    with opened(tmp_path) as sink:
        sink.keep_list(LIST)
        put(sink, 0, 5)
    os.truncate(tmp_path / "object.part", LEAF_BYTES)
    with opened(tmp_path) as sink:
        assert list(sink.verified()) == [(0, 1)]
    (tmp_path / "object.part").unlink()
    with opened(tmp_path) as sink:
        assert list(sink.verified()) == []


@pytest.mark.req("O-036")
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(64, 64 + 6 * 32 + 6 - 1), st.integers(0, 255))
def test_a_damaged_map_never_makes_a_false_leaf_true(tmp_path, place, value):
    with opened(tmp_path, start_over=True) as sink:
        sink.keep_list(LIST)
        put(sink, 0, 2)
    damaged = bytearray((tmp_path / "object.part.map").read_bytes())
    damaged[place] = value
    (tmp_path / "object.part.map").write_bytes(damaged)
    with opened(tmp_path) as sink:
        for start, stop in sink.verified():
            for leaf in range(start, stop):
                data = sink.read(leaf * LEAF_BYTES, (leaf + 1) * LEAF_BYTES)
                assert data == BODY[leaf * LEAF_BYTES : (leaf + 1) * LEAF_BYTES]
        assert sink.leaf_list() in (None, LIST)


def test_the_beginning_of_another_object_is_left_alone(tmp_path):
    with opened(tmp_path) as sink:
        sink.keep_list(LIST)
        put(sink, 0)
    before = (tmp_path / "object.part").read_bytes()
    for change in ({"root": bytes(32)}, {"size": len(BODY) - 1}):
        with pytest.raises(ObjectFileError, match="another object"):
            opened(tmp_path, **change)
    assert (tmp_path / "object.part").read_bytes() == before
    with opened(tmp_path, root=bytes(32), start_over=True) as sink:
        assert list(sink.verified()) == []


def test_a_file_that_is_no_beginning_of_anything_is_left_alone(tmp_path):
    (tmp_path / "object.part").write_bytes(b"mine")
    with pytest.raises(ObjectFileError, match="no map"):
        opened(tmp_path)
    assert (tmp_path / "object.part").read_bytes() == b"mine"


def test_a_beginning_with_nothing_in_it_leaves_no_files(tmp_path):
    with opened(tmp_path) as sink:
        sink.keep_list(LIST)
        sink.write(0, BODY[:100])
        assert names(tmp_path) == ["object.part", "object.part.map"]
    assert names(tmp_path) == []


def test_two_processes_do_not_write_into_one_file(tmp_path):
    with opened(tmp_path), pytest.raises(BlockingIOError):
        opened(tmp_path)
    opened(tmp_path).close()


def test_a_disk_that_is_full_is_an_error_that_can_be_told(tmp_path):
    """The process's own limit on file sizes stands in for the disk."""
    sink = opened(tmp_path)
    sink.keep_list(LIST)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * LEAF_BYTES, hard))
    try:
        put(sink, 0, 1)
        with pytest.raises(OSError, match="File too large") as caught:
            put(sink, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.errno == errno.EFBIG
    assert sink.failure is caught.value
    assert list(sink.verified()) == [(0, 2)]
    sink.close()
    sink.close()


def test_a_symbolic_link_is_not_followed(tmp_path):
    (tmp_path / "object.part").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        opened(tmp_path)
    assert not (tmp_path / "elsewhere").exists()
