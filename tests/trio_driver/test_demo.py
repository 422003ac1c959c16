"""`quinkgl-trio demo`: honest by construction, reported whole, and never leaving a process behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from quinkgl.data import load_digits, load_npz
from quinkgl.storage import latest_checkpoint
from quinkgl_trio.demo.charts import accuracy_chart, gain_chart, labels_chart
from quinkgl_trio.demo.plan import DemoPlan, set_stage
from quinkgl_trio.demo.reference import train_alone, train_central
from quinkgl_trio.demo.report import render_report
from quinkgl_trio.demo.results import DemoResult, PeerOutcome
from quinkgl_trio.demo.table import result_table
from quinkgl_trio.training import TrainingPlan

SMALL = ("--peers=3", "--rounds=4", "--model=softmax", "--epochs=1", "--min-collect=0.05", "--seed=3")


def start_demo(out, *flags):
    return subprocess.Popen(
        [sys.executable, "-m", "quinkgl_trio", "demo", "--json", f"--out={out}", *SMALL, *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )


def children(pid):
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(condition, limit_s=60.0):
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def small_plan(out, **more):
    settings = {
        "peers": 3,
        "alpha": 0.5,
        "dataset": "digits",
        "data_dir": None,
        "limit": None,
        "model": "softmax",
        "hidden": 8,
        "seed": 0,
        "training": TrainingPlan(rounds=3, epochs=1),
        "fan_out": 2,
        "quorum": 1,
        "min_collect_s": 0.0,
        "max_collect_s": 1.0,
        "offer_interval_s": 0.0,
        "out": out,
    }
    return DemoPlan(**(settings | more))


# -- the run


def test_a_demo_trains_reports_and_says_what_it_did(tmp_path):
    out = tmp_path / "demo"
    with start_demo(out) as process:
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    lines = [json.loads(line) for line in stdout.splitlines()]
    result = lines[-1]
    assert [line["round"] for line in lines[:-1]][-1] == 4
    assert len(result["peers"]) == 3
    assert sum(peer["samples"] for peer in result["peers"]) + result["test_samples"] == 1797
    assert result["rounds"] == 4
    assert result["updates_received"] == sum(peer["updates_received"] for peer in result["peers"]) > 0
    assert result["bytes_sent"] >= result["updates_received"] * result["encoded_update_bytes"]
    for peer, folder in zip(result["peers"], sorted((out / "peers").iterdir()), strict=True):
        # The accuracy is that of the model which the peer left on disk, on the common test set.
        weights = latest_checkpoint(folder / "checkpoint")[1].state["learning"]["learner"]["model"]["weights"]
        test = load_npz(out / "test.npz")
        logits = test.x @ weights["layers.0.weight"] + weights["layers.0.bias"]
        assert peer["gossip"] == pytest.approx((logits.argmax(1) == test.y).mean())
        assert len(load_npz(folder / "shard.npz")) == peer["samples"]
        assert (folder / "log.txt").read_text() == ""
    html = Path(result["report"]).read_text()
    assert all(peer["id"] in html for peer in result["peers"])
    assert Path(result["picture"]).read_bytes().startswith(b"\x89PNG")


def peer_name(pid: int) -> str | None:
    found = re.search(r"peers/(peer-\d)/", Path(f"/proc/{pid}/cmdline").read_text())
    return None if found is None else found[1]


def test_a_peer_that_is_killed_is_named_and_the_others_do_not_stay(tmp_path):
    with start_demo(tmp_path / "demo", "--rounds=5000") as process:
        until(lambda: len(children(process.pid)) == 3)
        pids = children(process.pid)
        until(
            lambda: peer_name(max(pids)) is not None
        )  # a child that has only forked is still called as its parent
        name = peer_name(max(pids))
        os.kill(max(pids), signal.SIGKILL)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 7
    (line,) = [line for line in stderr.splitlines() if "error" in line]
    assert f"{name} died (killed by SIGKILL)" in line
    until(lambda: not any(map(is_running, pids)), 30)


def test_a_peer_that_fails_is_named_with_its_last_words(tmp_path):
    out = tmp_path / "demo"
    with start_demo(out, "--rounds=5000") as process:
        until(lambda: len(list(out.glob("peers/*/checkpoint"))) == 3)
        pids = children(process.pid)
        for pid in pids[:1]:
            os.kill(pid, signal.SIGTERM)  # a peer that ends before its rounds are done has failed the demo
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 7
    assert re.search(r"peer-\d died \(exit code 143\)", stderr)
    until(lambda: not any(map(is_running, pids)), 30)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)]
)
def test_however_the_demo_ends_no_peer_stays(tmp_path, number, code):
    with start_demo(tmp_path / "demo", "--rounds=5000") as process:
        until(lambda: len(children(process.pid)) == 3)
        pids = children(process.pid)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in stderr
    until(lambda: not any(map(is_running, pids)), 15)


# -- the stage


def test_no_peer_trains_on_the_test_set_and_every_sample_is_somewhere_once(tmp_path):
    stage = set_stage(small_plan(tmp_path / "demo"))
    everything = np.concatenate([stage.test.x, *(shard.x for shard in stage.shards)])
    whole = load_digits().x
    assert np.array_equal(np.sort(everything, axis=0), np.sort(whole, axis=0))
    assert len(stage.test) == pytest.approx(len(whole) / 4, abs=5)
    shares = stage.test.class_counts() / load_digits().class_counts()
    assert shares.min() > 0.23
    assert shares.max() < 0.27
    for folder, shard in zip(stage.folders, stage.shards, strict=True):
        given = load_npz(folder.shard)
        assert np.array_equal(given.x, shard.x)
        assert np.array_equal(given.y, shard.y)


def test_an_old_stage_is_cleared_but_a_strangers_folder_is_not_touched(tmp_path):
    out = tmp_path / "demo"
    set_stage(small_plan(out))
    left = out / "peers" / "peer-3" / "checkpoint"
    left.mkdir()
    set_stage(small_plan(out, peers=2))
    assert [path.name for path in (out / "peers").iterdir()] == ["peer-1", "peer-2"]
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "draft.txt").write_text("precious")
    with pytest.raises(Exception, match="not empty and was not made by this demo"):
        set_stage(small_plan(other))
    assert [path.name for path in other.iterdir()] == ["draft.txt"]


def test_alone_is_a_peers_own_training_and_central_that_of_all_data(tmp_path):
    stage = set_stage(small_plan(tmp_path / "demo", training=TrainingPlan(rounds=5, epochs=1)))
    model = stage.model(1)
    for round in range(1, 6):
        model.fit(stage.shards[1], stage.plan.training.config(round))
    assert train_alone(stage, 1) == model.evaluate(stage.test)["accuracy"]
    curve = train_central(stage)
    assert len(curve) == 5
    assert curve[-1] > max(train_alone(stage, peer) for peer in range(3))


# -- the report


def outcome(number, alone, gossip):
    return PeerOutcome(
        name=f"peer-{number}",
        peer_id=f"{number:064x}",
        label_counts=(5, 0, number),
        alone=alone,
        gossip=gossip,
        curve=(alone, (alone + gossip) / 2, gossip),
        rounds=3,
        updates_received=4,
        updates_sent=5,
        bytes_sent=6_000,
        bytes_received=7_000,
        seconds=1.5,
    )


def example(*, peers=None):
    return DemoResult(
        dataset="<digits>",
        model="mlp",
        parameters=99,
        alpha=0.5,
        seed=1,
        rounds=3,
        test_samples=450,
        hyperparameters={"epochs": 2},
        peers=tuple(peers or (outcome(1, 0.5, 0.9), outcome(2, 0.7, 0.8))),
        central=0.95,
        central_curve=(0.6, 0.8, 0.95),
        seconds=2.0,
        encoded_update_bytes=400,
        swarm_id="ab" * 32,
        report="report.html",
    )


def test_the_sums_are_right():
    result = example()
    assert result.mean_alone == pytest.approx(0.6)
    assert result.mean_gossip == pytest.approx(0.85)
    assert result.worst_gap == pytest.approx(0.05)
    assert (result.bytes_sent, result.updates_received) == (12_000, 8)
    assert [peer.samples for peer in result.peers] == [6, 7]
    assert [peer.classes for peer in result.peers] == [2, 2]
    assert result.to_json()["peers"][1] == {
        "id": f"{2:064x}",
        "name": "peer-2",
        "samples": 7,
        "classes": 2,
        "alone": 0.7,
        "gossip": 0.8,
        "rounds": 3,
        "updates_received": 4,
        "bytes_sent": 6_000,
    }


def test_the_report_is_one_document_without_references_and_with_everything_escaped():
    html = render_report(example())
    assert html.startswith("<!doctype html>")
    assert html.count("<svg") == 3
    assert "&lt;digits&gt;" in html
    assert "<digits>" not in html
    for forbidden in ("http://", "https://", "src=", "href=", "url(", "@import", "<script"):
        assert forbidden not in html
    for figure in ("60.0 %", "85.0 %", "95.0 %", "12.0 kB", "+25.0"):
        assert figure in html


def test_a_report_of_a_run_without_updates_says_so():
    peers = [PeerOutcome(**{**vars_of(peer), "updates_received": 0}) for peer in example().peers]
    assert "No peer received a single update" in render_report(example(peers=peers))


def vars_of(peer):
    return {name: getattr(peer, name) for name in PeerOutcome.__dataclass_fields__}


@pytest.mark.parametrize("chart", [accuracy_chart, gain_chart, labels_chart])
def test_charts_stay_inside_their_box_whatever_the_values(chart):
    extremes = [outcome(1, 0.0, 1.0), outcome(2, 1.0, 0.0), outcome(3, 0.05, 0.05)]
    for peers in (extremes, [outcome(1, 0.999, 1.0)]):
        svg = chart(example(peers=peers))
        width, height = map(float, re.search(r'viewBox="0 0 (\S+) (\S+)"', svg).groups())
        for axis, limit in (("x", width), ("y", height)):
            values = re.findall(rf'\b(?:{axis}|{axis}1|{axis}2|c{axis})="(-?[\d.]+)"', svg)
            assert values
            assert all(0 <= float(value) <= limit for value in values), (axis, values)
        assert "nan" not in svg


def test_the_table_is_aligned_and_complete():
    lines = result_table(example()).splitlines()
    heads = "peer id classes samples alone gossip gain updates sent seconds"
    assert " ".join(lines[0].split()) == heads
    assert len({len(line) for line in lines[:-1]}) == 1
    assert lines[-1] == "one model on all the data: 95.0 %"
