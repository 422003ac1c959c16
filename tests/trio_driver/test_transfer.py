"""``quinkgl-trio send`` and ``receive`` as people run them: processes that are killed and started again."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quinkgl.storage import ObjectFile
from quinkgl.wire.key_log import parse_key_log
from quinkgl.wire.merkle import LEAF_BYTES, leaf_hashes, merkle_root
from quinkgl_trio.transfer_receive import output_path
from quinkgl_trio.transfer_ticket import Holder, Ticket, safe_name

BODY = random.Random(1).randbytes(3_000_000)
ROOT = merkle_root(leaf_hashes(BODY))
TIMEOUT_S = 60.0


class Command:
    """One process with JSON lines on its standard output."""

    def __init__(self, *arguments: str | Path, folder: Path) -> None:
        line = [sys.executable, "-m", "quinkgl_trio", *map(str, arguments), "--json"]
        self.process = subprocess.Popen(
            line, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.events: list[dict[str, Any]] = []
        self._ended: tuple[int, str] | None = None
        self._watchdog = threading.Timer(TIMEOUT_S, self.process.kill)
        self._watchdog.start()

    def until(self, event: str) -> dict[str, Any]:
        """Read events up to the next one of a kind."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.events.append(json.loads(line))
            if self.events[-1]["event"] == event:
                return self.events[-1]
        raise AssertionError(f"no {event}: {self.events}, {self.process.communicate()[1]}")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self) -> tuple[int, str]:
        """Wait for the end; the exit code and what stood on standard error."""
        if self._ended is None:
            rest, words = self.process.communicate()
            self._watchdog.cancel()
            self.events += [json.loads(line) for line in rest.splitlines()]
            self._ended = (self.process.returncode, words)
        return self._ended


@contextlib.contextmanager
def running(*arguments: str | Path, folder: Path) -> Iterator[Command]:
    command = Command(*arguments, folder=folder)
    try:
        yield command
    finally:
        command.process.kill()  # does nothing where it has ended
        command.end()


def ticket(**changes: Any) -> Ticket:
    return Ticket(**{"secret": bytes(16), "root": ROOT, "size": len(BODY), "name": "body", **changes})


@pytest.fixture
def body(tmp_path):
    path = tmp_path / "body.bin"
    path.write_bytes(BODY)
    return path


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def test_a_file_crosses(tmp_path, body, out):
    with running("send", body, "--listen", "127.0.0.1:0", folder=tmp_path) as sender:
        ready = sender.until("send.ready")
        assert (ready["name"], ready["size"], ready["root"]) == ("body.bin", len(BODY), ROOT.hex())
        with running("receive", ready["ticket"], folder=out) as receiver:
            assert receiver.end()[0] == 0
        assert sender.end()[0] == 0
    assert (out / "body.bin").read_bytes() == BODY
    assert os.listdir(out) == ["body.bin"]  # noqa: PTH208
    kinds = [event["event"] for event in receiver.events if event["event"] != "progress"]
    assert kinds == ["receive.started", "connected", "received"]
    done = receiver.events[-1]
    assert (done["path"], done["size"]) == ("body.bin", len(BODY))
    assert len(BODY) < done["bytes_received"] < 1.2 * len(BODY)
    assert "delivered" in [event["event"] for event in sender.events]


def half(folder: Path) -> Path:
    """Leave the first half of the object in a folder, as a killed receiver would."""
    with ObjectFile(folder / "body.bin", root=ROOT, size=len(BODY)) as sink:
        sink.keep_list(b"".join(leaf_hashes(BODY)))
        leaves = len(BODY) // LEAF_BYTES // 2
        sink.write(0, BODY[: leaves * LEAF_BYTES])
        sink.keep_leaves(0, leaves)
    return folder / "body.bin"


def test_what_a_killed_receiver_left_is_not_sent_again(tmp_path, body, out):
    path = half(out)
    with running("send", body, "--listen", "127.0.0.1:0", folder=tmp_path) as sender:
        token = sender.until("send.ready")["ticket"]
        with running("receive", token, "--output", path, folder=tmp_path) as receiver:
            started = receiver.until("receive.started")
            assert 0.49 * len(BODY) < started["resumed_bytes"] < 0.5 * len(BODY)
            assert receiver.end()[0] == 0
        assert receiver.events[-1]["bytes_received"] < 0.6 * len(BODY)
    assert path.read_bytes() == BODY


def test_the_sender_may_be_killed_and_started_again_and_another_may_help(tmp_path, body, out):
    with running("send", body, "--listen", "127.0.0.1:0", folder=tmp_path) as sender:
        ready = sender.until("send.ready")
        sender.kill()
    address = ready["addresses"][0]
    with running("receive", ready["ticket"], folder=out) as receiver:
        receiver.until("receive.started")
        arguments = ("send", body, "--ticket", ready["ticket"], "--listen", address)
        with running(*arguments, folder=tmp_path) as again:
            assert again.until("send.ready")["ticket"] != ready["ticket"]
            assert receiver.end()[0] == 0
    assert (out / "body.bin").read_bytes() == BODY
    (out / "body.bin").unlink()
    arguments = ("send", body, "--ticket", ready["ticket"], "--listen", "127.0.0.1:0")
    with running(*arguments, folder=tmp_path) as other:
        there = other.until("send.ready")["addresses"][0]
        with running("receive", ready["ticket"], "--from", there, folder=out) as receiver:
            assert receiver.end()[0] == 0
    assert (out / "body.bin").read_bytes() == BODY


def test_a_secret_that_the_ticket_does_not_tell(tmp_path, body, out):
    (tmp_path / "secret").write_text("correct horse\n")
    arguments = ("send", body, "--secret-file", tmp_path / "secret", "--listen", "127.0.0.1:0")
    with running(*arguments, folder=tmp_path) as sender:
        token = sender.until("send.ready")["ticket"]
        with running("receive", token, "--timeout", "1", folder=out) as stranger:
            code, words = stranger.end()
        assert code == 6
        assert "nobody who holds this ticket answered" in words
        with running("receive", token, "--secret-file", tmp_path / "secret", folder=out) as friend:
            assert friend.end()[0] == 0


def test_ctrl_c_keeps_what_is_here(tmp_path, body, out):
    path = half(out)
    token = str(ticket(holders=(Holder(bytes([9]) * 32, (("127.0.0.1", 9),)),)))
    with running("receive", token, "--output", path, folder=tmp_path) as receiver:
        receiver.until("receive.started")
        receiver.process.send_signal(signal.SIGINT)
        code, words = receiver.end()
    assert code == 130
    assert "Traceback" not in words
    with ObjectFile(path, root=ROOT, size=len(BODY)) as sink:
        assert sink.verified_bytes > 0.49 * len(BODY)


def fails(folder: Path, *arguments: str | Path, code: int, words: str) -> None:
    with running(*arguments, folder=folder) as command:
        found, said = command.end()
    assert (found, words in said, "Traceback" in said) == (code, True, False), said
    assert len(said.splitlines()) == 1


def test_mistakes_are_one_line_each(tmp_path, body, out):
    good = str(ticket(holders=(Holder(bytes([9]) * 32, (("127.0.0.1", 9),)),)))
    (tmp_path / "taken").write_bytes(b"mine")
    fails(tmp_path, "receive", good, "--output", "taken", code=2, words="taken exists; --force")
    fails(tmp_path, "receive", good[:-3], code=1, words="not copied whole")
    fails(tmp_path, "send", "nothing", code=2, words="nothing: No such file")
    (tmp_path / "other").write_bytes(b"other")
    fails(tmp_path, "send", "other", "--ticket", good, code=5, words="not the file of this ticket")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["body.bin", "other", "out", "taken"]


# The ticket


def test_a_ticket_is_one_word_and_comes_back():
    made = ticket(
        name="Gewichte März.npz",
        holders=(
            Holder(bytes([1]) * 32, (("192.0.2.1", 4000), ("2001:db8::1", 4001))),
            Holder(bytes([2]) * 32, (("198.51.100.1", 5),)),
        ),
    )
    token = str(made)
    assert token.isalnum()
    assert token.islower()
    assert Ticket.parse(token) == made
    assert Ticket.parse(f" {token[:50]}\n  {token[50:].upper()}\n") == made
    assert made.addresses == (("192.0.2.1", 4000), ("2001:db8::1", 4001), ("198.51.100.1", 5))


def test_every_letter_of_a_ticket_counts():
    token = str(ticket())
    for place in range(len(token)):
        wrong = token[:place] + ("a" if token[place] != "a" else "b") + token[place + 1 :]
        with pytest.raises(ValueError, match="ticket"):
            Ticket.parse(wrong)
    for cut in range(len(token)):
        with pytest.raises(ValueError, match="ticket"):
            Ticket.parse(token[:cut])


def test_all_holders_of_an_object_have_the_same_keys_and_nobody_else():
    made = ticket()
    keys = made.keys()
    assert made.with_holder(Holder(bytes([3]) * 32, (("192.0.2.3", 3),))).keys() == keys
    others = [
        ticket(secret=bytes(15) + b"\x01").keys(),
        ticket(root=bytes(32)).keys(),
        ticket(size=1).keys(),
        ticket(name="x").keys(),
        made.keys(b"extra"),
    ]
    assert keys not in others
    assert len({each.psk for each in [keys, *others]}) == 6


def test_a_new_holder_comes_first_and_old_ones_fall_off():
    made = ticket()
    for port in range(1, 12):
        made = made.with_holder(Holder(bytes([port]) * 32, (("192.0.2.3", port),)))
    assert [holder.addresses[0][1] for holder in made.holders] == [11, 10, 9, 8, 7, 6, 5, 4]
    again = made.with_holder(Holder(bytes(32), (("192.0.2.3", 9),)))
    assert [holder.addresses[0][1] for holder in again.holders] == [9, 11, 10, 8, 7, 6, 5, 4]


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("model.npz", "model.npz"),
        ("../../etc/passwd", "passwd"),
        ("..", "received"),
        ("", "received"),
        ("/", "received"),
        (".bashrc", "bashrc"),
        ("a\\b\\c.txt", "c.txt"),
        ("line\nbreak\x1b[31m\u202e.txt", "line_break_[31m_.txt"),
        ("a b ", "a b"),
        ("x" * 300, "x" * 246),
        ("é" * 200, "é" * 123),
    ],
)
def test_a_name_that_somebody_else_chose_is_only_ever_a_file_here(name, safe):
    assert safe_name(name) == safe
    assert Path(safe_name(name)).name == safe_name(name)


def test_where_the_object_goes(tmp_path):
    made = ticket(name="../evil")
    assert output_path(None, made) == Path("evil")
    assert output_path(tmp_path, made) == tmp_path / "evil"
    assert output_path(tmp_path / "here", made) == tmp_path / "here"


def test_a_key_log_holds_the_keys_of_both_sides_and_is_its_owners_alone(tmp_path, body, out):
    keys = tmp_path / "keys.txt"
    with running("send", body, "--listen", "127.0.0.1:0", f"--keylog={keys}", folder=tmp_path) as sender:
        word = sender.until("send.ready")["ticket"]
        with running("receive", word, f"--keylog={keys}", folder=out) as receiver:
            code, complaints = receiver.end()
            assert (code, complaints.count("keys of all sessions go there")) == (0, 1)
        assert sender.end()[0] == 0
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    entries = [parse_key_log(line) for line in keys.read_text().splitlines()]
    assert None not in entries
    first = [entry for entry in entries if entry.phase == 0]
    assert len(first) == 4  # two directions, told by each side
    assert len(set(first)) == 2
    assert {entry.phase for entry in entries} >= {0, 1}
