"""`quinkgl-trio run` as users and supervisors meet it: processes, signals, exit codes, kill -9."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import pytest

from quinkgl.crypto.identity import Identity
from quinkgl.manifest import for_model
from quinkgl.models import NumPyModel
from quinkgl_trio.checkpointing import load_latest

QUICK = ("--data=digits", "--model=softmax", "--listen=127.0.0.1:0", "--epochs=1")
LONG = ("--rounds=5000", "--min-collect=0.1", "--max-collect=1")


class Peer:
    """A running peer, and the events that it has told so far."""

    def __init__(self, *flags, shard=None):
        self.events = []
        self.changed = threading.Condition()
        if shard is not None:
            flags = (*flags, f"--shard={shard}", "--alpha=0.5")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "quinkgl_trio", "run", "--json", *QUICK, *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self.changed:
                self.events.append(json.loads(line))
                self.changed.notify_all()

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join(10)
        self.process.stdout.close()
        self.process.stderr.close()

    def named(self, name):
        return [event for event in self.events if event["event"] == name]

    def until(self, condition, limit_s=90.0):
        end = time.monotonic() + limit_s
        with self.changed:
            while not condition():
                left = end - time.monotonic()
                assert left > 0, f"{self.events[-3:]} {self.process.poll()}"
                self.changed.wait(left)

    def first(self, name, limit_s=90.0):
        self.until(lambda: self.named(name), limit_s)
        return self.named(name)[0]

    def until_round(self, number, limit_s=90.0):
        self.until(lambda: any(e["round"] >= number for e in self.named("round_completed")), limit_s)

    @property
    def address(self):
        return self.first("node.started")["address"]

    @property
    def peer_id(self):
        return self.first("node.started")["peer_id"]

    @property
    def met(self):
        return {event["peer"] for event in self.named("peer_discovered")}

    def end(self, number=None, limit_s=60):
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(limit_s)
        self.reader.join(10)
        return code, self.process.stderr.read().splitlines()


# -- signals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_after_a_last_checkpoint(tmp_path, number, code):
    folder = tmp_path / "state"
    flags = ("--min-peers=0", "--checkpoint-every=1000", f"--checkpoint-dir={folder}")
    with Peer(*LONG, *flags) as peer:
        peer.until_round(3)
        ended, errors = peer.end(number)
    assert ended == code
    assert [line for line in errors if "Traceback" in line] == []
    last = peer.events[-1]
    assert last["event"] == "node.stopped"
    assert not last["completed"]
    assert load_latest(folder).round == last["rounds"] >= 3
    assert not list(folder.glob("*.tmp"))
    assert (folder / "identity.pem").stat().st_mode & 0o777 == 0o600


def test_a_signal_while_joining_ends_at_once():
    with Peer("--rounds=1") as peer:
        peer.first("node.started")
        assert peer.end(signal.SIGTERM, limit_s=30)[0] == 143


def test_the_end_of_standard_input_is_a_signal_if_asked_for():
    command = [sys.executable, "-m", "quinkgl_trio", "run", "--json", *QUICK, *LONG, "--min-peers=0"]
    done = subprocess.run(
        [*command, "--stop-when-stdin-closes"], input=b"", capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 143
    assert json.loads(done.stdout.splitlines()[-1])["event"] == "node.stopped"


def test_a_reader_that_goes_away_ends_the_run():
    reading, writing = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-m", "quinkgl_trio", "run", "--json", *QUICK, *LONG, "--min-peers=0"],
        stdout=writing,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(writing)
        os.read(reading, 1)
        os.close(reading)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert b"Traceback" not in errors


# -- who does not become a peer


def joiner(target, *flags):
    command = [sys.executable, "-m", "quinkgl_trio", "run", *QUICK, "--rounds=1", "--quiet"]
    return subprocess.Popen(
        [*command, f"--peer={target}", "--join-timeout=3", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(process):
    with process:
        out, errors = process.communicate(timeout=60)
    assert out == "" or process.returncode == 0
    return process.returncode, errors.splitlines()


def test_strangers_are_told_why_in_one_line_and_the_answerer_stays_silent(tmp_path):
    secret, wrong = tmp_path / "secret", tmp_path / "wrong"
    secret.write_text("open sesame\n")
    wrong.write_text("open barley\n")
    key = tmp_path / "key.pem"
    key.write_bytes(Identity.from_seed(bytes(32)).to_pem())
    key.chmod(0o600)
    stranger = Identity.from_seed(bytes(31) + b"\x01").peer_id.hex()
    with Peer(*LONG, "--swarm=ours", f"--join-secret-file={secret}", f"--key-file={key}") as first:
        place = first.address
        ours = ("--swarm=ours", f"--join-secret-file={secret}")
        cases = {
            "another manifest": (
                joiner(place, "--swarm=theirs", ours[1]),
                6,
                "another manifest or join secret",
            ),
            "another secret": (joiner(place, ours[0], f"--join-secret-file={wrong}"), 6, "UDP is blocked"),
            "no secret": (joiner(place, ours[0]), 6, "nobody listens there"),
            "stranger": (joiner(f"{stranger}@{place}", *ours), 4, "E_HS_IDENTITY"),
        }
        known = joiner(f"{Identity.from_seed(bytes(32)).peer_id.hex()}@{place}", *ours)
        for name, (process, expected, says) in cases.items():
            code, (line,) = outcome(process)
            assert code == expected, (name, line)
            assert line.startswith("quinkgl-trio: error: "), name
            assert says in line, name
        assert outcome(known) == (0, [])
        assert first.end(signal.SIGTERM)[0] == 143
    stopped = first.events[-1]
    assert stopped["dropped"]["E_MAC1"] >= 3


def test_a_model_that_is_not_the_manifests_is_refused_before_anything_is_sent(tmp_path):
    manifest = tmp_path / "softmax.qgl"
    made = for_model(
        NumPyModel.softmax(64, 10),
        name="arch",
        input_shape=(8, 8),
        output_shape=(10,),
        created_at="2026-01-01T00:00:00Z",
    )
    manifest.write_bytes(made.to_json())
    code, (line,) = outcome(joiner("127.0.0.1:9", f"--manifest={manifest}", "--model=mlp"))
    assert code == 7
    assert "ERR_NODE_ARCH_MISMATCH" in line


# -- the whole life of a swarm


@pytest.mark.slow
def test_five_peers_one_killed_and_resumed_and_a_newcomer(tmp_path):
    flags = (*LONG, "--min-peers=1", "--quorum=2")
    victim_flags = (*flags, f"--checkpoint-dir={tmp_path / 'victim'}")
    with ExitStack() as stack:
        anchor = stack.enter_context(Peer(*flags, shard="1/6"))
        meet = f"--peer={anchor.address}"
        others = [stack.enter_context(Peer(*flags, meet, shard=f"{i}/6")) for i in (2, 3, 4)]
        victim = stack.enter_context(Peer(*victim_flags, meet, shard="5/6"))
        survivors = [anchor, *others]
        everybody = {peer.peer_id for peer in [*survivors, victim]}
        for peer in [*survivors, victim]:
            peer.until(lambda peer=peer: peer.met == everybody - {peer.peer_id})
        victim.until_round(5)

        victim.process.kill()
        victim.process.wait()
        saved = load_latest(tmp_path / "victim")
        assert saved.round >= 4
        for peer in survivors:  # the rest go on
            reached = max(event["round"] for event in peer.named("round_completed"))
            peer.until_round(reached + 5)

        back = stack.enter_context(Peer(*victim_flags, meet, "--resume", shard="5/6"))
        resumed = back.first("node.resumed")
        assert (resumed["round"], resumed["digest"]) == (saved.round, saved.digest)
        assert back.peer_id == victim.peer_id
        back.until(lambda: back.met == {peer.peer_id for peer in survivors})
        back.until_round(saved.round + 3)
        rounds = back.named("round_completed")
        assert rounds[0]["round"] == saved.round + 1
        back.until(lambda: any(event["updates"] for event in back.named("round_completed")))
        for peer in survivors:  # what it publishes is taken again, whatever its round
            peer.until(
                lambda peer=peer: any(
                    event["peer"] == victim.peer_id
                    for event in peer.events[peer.events.index(peer.named("peer_discovered")[-1]) :]
                    if event["event"] == "model_received"
                )
            )

        newcomer = stack.enter_context(Peer(*flags, f"--peer={others[1].address}", shard="6/6"))
        newcomer.until(lambda: newcomer.met == everybody)
        codes = [peer.end(signal.SIGTERM)[0] for peer in [newcomer, back, *survivors]]
        assert codes == [143] * 6
