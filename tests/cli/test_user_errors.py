"""What goes wrong for users goes wrong politely: one line, the documented exit code, and nothing left behind.

Every case is a process in a folder of its own; that folder, the home and the work folder within it must look
afterwards exactly as before.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

VALIDATION, IO, CRYPTO, NODE_CONFIG = 1, 2, 3, 7  # docs/cli/index.md
_QUICK = ("--model", "softmax", "--epochs", "1", "--seed", "1", "--rounds", "1")
_ALONE = ("--listen", "127.0.0.1:0", "--min-peers", "0", *_QUICK)
_IMAGES = 60


@pytest.fixture
def place(tmp_path):
    for name in ("home", "state", "temporary"):
        (tmp_path / name).mkdir()
    return tmp_path


def trio_command(*arguments):
    return [sys.executable, "-m", "quinkgl_trio", *arguments]


def environment(place):
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "PYTHONPATH", "LANG"}}
    return kept | {
        "HOME": str(place / "home"),
        "XDG_STATE_HOME": str(place / "state"),
        "TMPDIR": str(place / "temporary"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def without_privileges(command):
    """Root may write anywhere, whatever the modes say: take that privilege from the command."""
    if os.geteuid() != 0:
        return command
    setpriv = shutil.which("setpriv", path=f"{os.environ['PATH']}:/usr/bin:/bin")
    assert setpriv, "as root this test needs setpriv (util-linux)"
    return [setpriv, "--bounding-set", "-dac_override,-dac_read_search", "--", *command]


def run(place, command, **more):
    return subprocess.run(
        command,
        cwd=place,
        env=environment(place),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
        **more,
    )


def everything(folder):
    """All there is in a folder: names, modes, contents."""
    found = {}
    for path in sorted(folder.rglob("*")):
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        found[str(path.relative_to(folder))] = (oct(path.lstat().st_mode), content)
    return found


def expect_refusal(place, command, code, says):
    """Run the command: it must end with that code and one line that says so, and must not change a thing."""
    before = everything(place)
    done = run(place, without_privileges(command))
    context = f"{' '.join(command[2:])}\nexit code {done.returncode}\n{done.stderr}"
    assert "Traceback" not in done.stderr, context
    assert done.returncode == code, context
    assert done.stdout == "", context
    lines = done.stderr.splitlines()
    assert len(lines) == 1, context
    assert lines[0].startswith(f"{'quinkgl-trio' if 'quinkgl_trio' in command else 'quinkgl'}: error: "), (
        context
    )
    assert re.search(says, lines[0]), f"{says!r} is not in: {context}"
    assert everything(place) == before, context


# -- flags


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["run", "--no-such-flag"], IO, r"--no-such-flag.*--help"),
        (["runn"], IO, r"runn"),
        (["run", "--rounds"], IO, r"--rounds"),
        (["run", "--rounds", "0"], IO, r"--rounds.*'0'"),
        (["run", "--rounds", "many"], IO, r"--rounds.*'many'"),
        (["run", "--learning-rate", "nan"], IO, r"--learning-rate"),
        (["run", "--shard", "4/3", "--data", "digits"], IO, r"--shard.*4/3"),
        (["run", "--data", "digits", "--listen", "127.0.0.1:99999"], IO, r"127\.0\.0\.1:99999"),
        (["run", "--data", "digits", "--listen", "nowhere"], IO, r"nowhere"),
        (
            ["run", "--data", "digits", "--peer", "127.0.0.1"],
            IO,
            r"--peer.*127\.0\.0\.1|127\.0\.0\.1.*HOST:PORT",
        ),
        (["run", "--data", "digits", "--peer", "abc@127.0.0.1:7000"], IO, r"abc"),
        (
            ["run", "--data", "digits", "--model", "transformer"],
            NODE_CONFIG,
            r"transformer.*softmax, mlp, torch",
        ),
        (["run", "--data", "digits", "--aggregation", "Sum"], VALIDATION, r"Sum"),
        (["run", "--data", "digits", "--alpha", "0.5"], VALIDATION, r"--alpha.*--shard"),
        (["run", "--data", "digits", "--resume"], VALIDATION, r"resume.*checkpoint folder"),
        (["run"], IO, r"--data"),
        (["demo", "--peers", "0"], IO, r"--peers.*'0'"),
        (["demo", "--alpha", "-1"], IO, r"--alpha"),
        (["demo", "--model", "transformer"], IO, r"--model.*transformer"),
        (["--log-level", "loud", "run"], IO, r"--log-level.*loud"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_flags_that_make_no_sense(place, arguments, code, says):
    expect_refusal(place, trio_command(*arguments), code, says)


# -- files that are not there, or not what they should be


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--data", "absent.npz", *_ALONE],
        ["run", "--data", "digits", "--test-data", "absent.npz", *_ALONE],
        ["run", "--manifest", "absent.qgl", "--data", "digits", *_ALONE],
        ["run", "--join-secret-file", "absent.secret", "--data", "digits", *_ALONE],
        ["run", "--config", "absent.toml"],
        ["demo", "--dataset", "fashion-mnist", "--data-dir", "absent"],
    ],
    ids=lambda arguments: " ".join(arguments[:3]),
)
def test_a_file_that_is_not_there_is_named(place, arguments):
    name = next(argument for argument in arguments if argument.startswith("absent"))
    expect_refusal(place, trio_command(*arguments), IO, re.escape(name))


def test_no_checkpoint_to_resume_from(place):
    (place / "empty").mkdir()
    arguments = ["run", "--data", "digits", "--checkpoint-dir", "empty", "--resume", *_ALONE]
    expect_refusal(place, trio_command(*arguments), VALIDATION, "empty")


@pytest.mark.parametrize(
    ("flag", "code"), [("--manifest", VALIDATION), ("--key-file", CRYPTO), ("--config", VALIDATION)]
)
def test_a_file_with_nonsense_in_it_is_named(place, flag, code):
    (place / "nonsense").write_bytes(b"\x00\xff nonsense = ")
    (place / "nonsense").chmod(0o600)
    expect_refusal(
        place, trio_command("run", "--data", "digits", flag, "nonsense", *_ALONE), code, "nonsense"
    )


def idx(array):
    header = bytes((0, 0, 8, array.ndim)) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return gzip.compress(header + array.tobytes())


@pytest.fixture
def idx_folder(place):
    """A whole data set in the four files of MNIST and its relatives."""
    folder = place / "images"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for part in ("train", "t10k"):
        labels = np.arange(_IMAGES, dtype=np.uint8) % 10
        images = rng.integers(0, 256, (_IMAGES, 8, 8), dtype=np.uint8)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(images))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(labels))
    return folder


def cut(path, share=0.5):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])


def test_the_data_sets_below_are_fine_before_they_are_damaged(place, idx_folder):
    csv_file, npz_file = table(place), archive(place)
    for source in (idx_folder, csv_file, npz_file):
        done = run(place, trio_command("run", "--data", source.name, *_ALONE))
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"])
@pytest.mark.parametrize("command", ["run", "demo"])
def test_an_image_file_that_was_cut_short_is_named(place, idx_folder, command, name):
    cut(idx_folder / name)
    arguments = ["run", "--data", "images", *_ALONE]
    if command == "demo":
        arguments = ["demo", "--dataset", "fashion-mnist", "--data-dir", "images", *_QUICK]
    expect_refusal(place, trio_command(*arguments), VALIDATION, re.escape(name))


def table(place, bad_line=None):
    rng = np.random.default_rng(2)
    lines = [f"{n % 3}," + ",".join(f"{value:.3f}" for value in rng.random(4)) for n in range(_IMAGES)]
    if bad_line is not None:
        lines[16] = bad_line
    path = place / "table.csv"
    path.write_text("label,a,b,c,d\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("bad_line", ["1,0.5,oops,0.5,0.5", "1,0.5,0.5", "1,0.5,nan,0.5,0.5"])
def test_a_bad_line_of_a_table_is_named_by_its_number(place, bad_line):
    table(place, bad_line)
    arguments = ["run", "--data", "table.csv", *_ALONE]
    expect_refusal(place, trio_command(*arguments), VALIDATION, r"table\.csv, line 18")


def archive(place):
    rng = np.random.default_rng(3)
    path = place / "archive.npz"
    np.savez(path, x=rng.random((_IMAGES, 4)).astype(np.float32), y=np.arange(_IMAGES) % 3)
    return path


@pytest.mark.parametrize("share", [0, 0.4, 0.99])
def test_an_archive_that_was_cut_short_is_named(place, share):
    cut(archive(place), share)
    expect_refusal(place, trio_command("run", "--data", "archive.npz", *_ALONE), VALIDATION, r"archive\.npz")


# -- checkpoints


_CHECKPOINT = ("run", "--data", "digits", "--checkpoint-dir", "saved", *_ALONE[:-2])


@pytest.fixture
def checkpoint(place):
    """The newest checkpoint after two rounds."""
    done = run(place, trio_command(*_CHECKPOINT, "--rounds", "2"))
    assert done.returncode == 0, done.stderr
    return max((place / "saved").glob("*.qglc"), key=lambda path: path.name)


def test_a_whole_checkpoint_is_taken(place, checkpoint):
    done = run(place, trio_command(*_CHECKPOINT, "--rounds", "3", "--resume", "--json"))
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    rounds = [event["round"] for event in events if event["event"] == "round_completed"]
    assert rounds == [3]


@pytest.mark.parametrize("where", [0.0, 0.1, 0.5, 0.9, 0.999999])
def test_a_checkpoint_with_one_flipped_bit_is_refused(place, checkpoint, where):
    content = bytearray(checkpoint.read_bytes())
    content[int(where * len(content))] ^= 0x10
    checkpoint.write_bytes(content)
    arguments = [*_CHECKPOINT, "--rounds", "3", "--resume"]
    expect_refusal(place, trio_command(*arguments), VALIDATION, re.escape(checkpoint.name))


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_checkpoint_that_was_cut_short_is_refused(place, checkpoint, share):
    cut(checkpoint, share)
    arguments = [*_CHECKPOINT, "--rounds", "3", "--resume"]
    expect_refusal(place, trio_command(*arguments), VALIDATION, re.escape(checkpoint.name))


# -- ports and peers


def test_a_port_in_use_is_named(place):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        arguments = [
            "run",
            "--data",
            "digits",
            "--key-file",
            "new.pem",
            "--listen",
            f"127.0.0.1:{port}",
            *_QUICK,
        ]
        expect_refusal(place, trio_command(*arguments), IO, rf"port {port} on 127\.0\.0\.1 is in use")


def test_an_address_of_another_machine_cannot_be_listened_at(place):
    arguments = ["run", "--data", "digits", "--listen", "192.0.2.1:7000", *_QUICK]
    expect_refusal(place, trio_command(*arguments), IO, r"192\.0\.2\.1 is no address of this machine")


# -- no permission


@pytest.fixture
def locked(place):
    folder = place / "locked"
    folder.mkdir()
    folder.chmod(0o500)
    yield folder
    folder.chmod(0o700)


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--data", "digits", "--checkpoint-dir", "locked/saved", *_ALONE],
        ["run", "--data", "digits", "--checkpoint-dir", "locked", *_ALONE],
        ["run", "--data", "digits", "--key-file", "locked/key.pem", *_ALONE],
        ["demo", "--peers", "2", "--out", "locked/demo", *_QUICK],
        ["demo", "--peers", "2", "--out", "locked", *_QUICK],
    ],
    ids=lambda arguments: f"{arguments[0]} {arguments[-len(_ALONE) - 1]}",
)
def test_a_folder_that_may_not_be_written_is_named_before_anything_starts(place, locked, arguments):
    expect_refusal(place, trio_command(*arguments), IO, r"locked.*[Pp]ermission denied")


def test_a_file_that_may_not_be_read_is_named(place):
    archive(place).chmod(0)
    try:
        expect_refusal(
            place,
            trio_command("run", "--data", "archive.npz", *_ALONE),
            IO,
            r"archive\.npz.*ermission denied",
        )
    finally:
        (place / "archive.npz").chmod(0o600)


def test_an_output_folder_that_is_a_file_is_named(place):
    (place / "taken").write_text("mine", encoding="utf-8")
    expect_refusal(place, trio_command("demo", "--out", "taken", *_QUICK), IO, "taken")


def test_a_full_disk_behind_standard_output_is_one_line(place):
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "quinkgl.cli", "--json", "info"],
            cwd=place,
            env=environment(place),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == IO
    assert len(done.stderr.splitlines()) == 1
    assert "No space left" in done.stderr
