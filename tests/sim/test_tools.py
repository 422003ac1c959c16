"""The tools around the simulator: many seeds, resumably; faults that can still be planted."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results.jsonl"


def test_seeds_are_run_once_and_a_line_that_was_cut_off_again(results, capsys):
    seeds = tool("sim_seeds")
    options = [
        "--count",
        "2",
        "--peers",
        "4",
        "--until",
        "5",
        "--misbehaving",
        "0",
        "--results",
        str(results),
    ]
    assert seeds.main(options) == 0
    lines = results.read_text(encoding="utf-8").splitlines()
    assert sorted(json.loads(line)["seed"] for line in lines) == [0, 1]
    assert "2 seeds, 0 failed" in capsys.readouterr().out
    results.write_text(lines[0] + "\n" + lines[1][:50], encoding="utf-8")
    assert seeds.main(options) == 0
    after = results.read_text(encoding="utf-8").splitlines()
    assert after[0] == lines[0]
    ran_again = json.loads(after[-1])
    assert ran_again["trace_hash"] == json.loads(lines[1])["trace_hash"]


def test_a_failure_is_told_with_the_line_that_reproduces_it(results, capsys):
    seeds = tool("sim_seeds")
    wished = {"peers": 30, "misbehaving": 0.2, "safety_s": 60.0, "null_cipher": True}
    failed = {
        "seed": 4,
        "failure": "something",
        "wished": wished,
        "live_after_s": None,
        "datagrams": 1,
        "checks": 1,
        "received": 1,
        "cpu_s": 1.0,
    }
    results.write_text(json.dumps(failed) + "\n", encoding="utf-8")
    assert seeds.main(["--first", "4", "--count", "1", "--results", str(results)]) == 1
    told = capsys.readouterr().out
    assert (
        "python -m quinkgl.testing.sim --seed 4 --peers 30 --misbehaving 0.2 --until 60.0 --cipher null"
        in told
    )
