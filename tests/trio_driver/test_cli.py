"""The command's front door: quick help, extras explained, views, models and values of flags."""

from __future__ import annotations

import argparse
import io
import json
import math
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest
from rich.console import Console

from quinkgl.cli import Output
from quinkgl.observability import RuntimeEvent
from quinkgl_trio import run_flags
from quinkgl_trio.history import format_bytes, sparkline
from quinkgl_trio.models import ModelError, make_model
from quinkgl_trio.views import JsonLines, LiveView, PlainLines, make_view


def python(code, **more):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, **more
    )


@pytest.mark.parametrize("command", ["run", "demo"])
def test_help_loads_no_event_loop_and_no_numpy(command):
    done = python(
        "import sys; from quinkgl_trio.cli import main\n"
        f"code = main(['{command}', '--help'])\n"
        "print(sorted({'trio', 'numpy', 'rich', 'cryptography', 'matplotlib'} & set(sys.modules)))\n"
        "sys.exit(code)"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("missing", "arguments", "hint"),
    [
        ("trio", ["run", "--data", "digits"], "quinkgl[trio]"),
        ("trio", ["demo"], "quinkgl[trio]"),
        ("torch", ["run", "--data", "digits", "--model", "torch"], "quinkgl[torch]"),
    ],
)
def test_a_missing_extra_is_one_line_that_says_what_to_install(tmp_path, missing, arguments, hint):
    done = python(
        f"import sys; sys.modules[{missing!r}] = None\n"
        f"from quinkgl_trio.cli import main; sys.exit(main({arguments!r}))",
        cwd=tmp_path,
    )
    assert done.returncode == 7
    (line,) = done.stderr.splitlines()
    assert f"pip install '{hint}'" in line
    assert not list(tmp_path.iterdir())


def test_the_demo_works_without_matplotlib_and_says_what_is_missing(tmp_path):
    flags = ["--peers=2", "--rounds=2", "--model=softmax", "--min-collect=0.05", f"--out={tmp_path}/demo"]
    done = python(
        "import sys; sys.modules['matplotlib'] = None\n"
        f"from quinkgl_trio.cli import main; sys.exit(main(['demo', '--json', *{flags!r}]))"
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["picture"] is None
    assert "quinkgl[plot]" in done.stderr
    assert (tmp_path / "demo" / "report.html").exists()


# -- models


def test_a_users_own_function_makes_the_model(tmp_path, monkeypatch):
    (tmp_path / "my_models.py").write_text(
        "from quinkgl.models import NumPyModel\n"
        "def tiny(*, inputs, classes, seed, peer):\n"
        "    return NumPyModel((inputs, 3, classes), seed=seed, peer=peer)\n"
        "def none(**_): return None\n"
        "def fails(**_): raise KeyError('weights')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    more = {"inputs": 4, "classes": 2, "hidden": 8, "seed": 0, "peer": 0}
    assert make_model("my_models:tiny", **more).layers == (4, 3, 2)
    for choice, says in {
        "my_models:none": "returned NoneType",
        "my_models:fails": "KeyError",
        "my_models:missing": "cannot load",
        "no_such_module:f": "cannot load",
        "transformer": "there is no model",
    }.items():
        with pytest.raises(ModelError, match=says) as error:
            make_model(choice, **more)
        assert "\n" not in str(error.value)


# -- values of flags


@pytest.mark.parametrize(
    ("parse", "good", "bad"),
    [
        (run_flags.positive, {"1": 1.0, "0.5": 0.5, "1e3": 1000.0}, ["0", "-1", "nan", "inf", "x", ""]),
        (run_flags.at_least_zero, {"0": 0.0, "2": 2.0}, ["-0.1", "nan"]),
        (run_flags.share, {"0.25": 0.25}, ["0", "1", "2"]),
        (run_flags.natural, {"0": 0, "12": 12}, ["-1", "1.5", "x", "9" * 30, "²"]),
        (run_flags.counting, {"1": 1}, ["0"]),
        (run_flags.shard, {"1/3": (1, 3), "3/3": (3, 3)}, ["0/3", "4/3", "1", "a/b", "1/0", "-1/3"]),
        (
            run_flags.parameter,
            {"a=1": ("a", 1), "b=1.5": ("b", 1.5), "c=true": ("c", True), "d=x=y": ("d", "x=y")},
            ["a", "=1"],
        ),
    ],
)
def test_values_are_understood_or_refused(parse, good, bad):
    for text, value in good.items():
        assert parse(text) == value
        assert type(parse(text)) is type(value)
    for text in bad:
        with pytest.raises(argparse.ArgumentTypeError):
            parse(text)


# -- views

ROUND = {
    "node_id": "aa",
    "round": 3,
    "loss": 0.5,
    "accuracy": 0.875,
    "train_loss": 0.4,
    "peers": 2,
    "updates": 1,
    "bytes_sent": 12_345,
    "bytes_received": 99,
    "seconds": 0.25,
}
STARTED = {
    "peer_id": "ab" * 32,
    "address": "127.0.0.1:7000",
    "reachable": ["127.0.0.1:7000"],
    "swarm": "ours",
    "swarm_id": "cd" * 32,
    "model": "NumPyModel",
    "samples": 10,
    "rounds": 4,
}
STORY = [
    ("node.started", STARTED),
    ("peer_discovered", {"peer": "ef" * 32, "address": "127.0.0.1:7001", "incoming": True}),
    ("round_started", {"round": 3}),
    ("targets_selected", {"round": 3, "targets": []}),
    ("aggregation_completed", {"round": 3, "peers": 1}),
    ("round_completed", ROUND),
    ("round_completed", {**ROUND, "round": 4, "loss": None, "accuracy": None, "bytes_sent": 24_690}),
    ("peer_disconnected", {"peer": "ef" * 32, "code": "E_IDLE", "reason": ""}),
    ("node.stopped", {"rounds": 4}),
]


def tell(view, story=STORY):
    with view:
        for name, payload in story:
            view.show(RuntimeEvent(name, payload))


def test_json_lines_carry_every_event_and_no_nan():
    out = io.StringIO()
    with redirect_stdout(out):
        tell(JsonLines(Output(json=True)), [*STORY, ("x", {"loss": math.nan})])
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["event"] for line in lines] == [*(name for name, _ in STORY), "x"]
    assert lines[5]["accuracy"] == 0.875
    assert lines[-1]["loss"] is None
    assert lines[0]["time"].endswith("+00:00")


def test_plain_lines_are_one_a_round_and_the_rest_goes_to_stderr():
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        tell(PlainLines(Output(), 4))
    first, second = out.getvalue().splitlines()
    assert first.startswith("round 3/4  loss 0.5000  accuracy 87.5 %  updates 1  peers 2  sent 12.3 kB")
    assert second.startswith("round 4/4  loss 0.4000  accuracy -")
    assert f"--peer {'ab' * 32}@127.0.0.1:7000" in err.getvalue()
    assert "met efefefef" in err.getvalue()
    assert "lost efefefef (E_IDLE)" in err.getvalue()


def test_quiet_leaves_results_alone():
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        tell(PlainLines(Output(quiet=True), 4))
    assert len(out.getvalue().splitlines()) == 2
    assert err.getvalue() == ""


def test_the_live_view_shows_rounds_peers_and_rates():
    view = LiveView(4)
    for name, payload in STORY[:-2]:
        view.show(RuntimeEvent(name, payload))
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(view.render())
    text = console.export_text()
    for word in (
        "ours",
        "abababab",
        "round 3/4",
        "evaluating",
        "87.5 %",
        "12.3 kB",
        "efefefef 127.0.0.1:7001",
    ):
        assert word in text
    assert "49.4 kB/s" in text  # 12,345 more bytes in a quarter of a second


def test_the_view_follows_what_stdout_is():
    assert isinstance(make_view(Output(json=True, color=True), 1), JsonLines)
    assert isinstance(make_view(Output(color=True), 1), LiveView)
    assert isinstance(make_view(Output(), 1), PlainLines)
    assert isinstance(make_view(Output(color=True, quiet=True), 1), PlainLines)


def test_numbers_for_people():
    assert [format_bytes(n) for n in (0, 999, 1000, 12_345, 5e6, 7.2e9, 8e12)] == [
        "0 B", "999 B", "1.0 kB", "12.3 kB", "5.0 MB", "7.2 GB", "8000.0 GB",
    ]  # fmt: skip
    assert sparkline([0.0, 0.5, 1.0], 8) == "▁▅█"
    assert sparkline([1.0, 1.0], 8) == "▁▁"
    assert sparkline(range(20), 4) == "▁▃▆█"
    assert sparkline([], 4) == ""
