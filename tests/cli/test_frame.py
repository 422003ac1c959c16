"""The frame as a user meets it: a program with commands that go wrong in every way, run as a process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = r"""
import signal, sys, time
from quinkgl.cli import CliError, Command, ExitCode, run_cli

def flags(parser):
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--peer", action="append", default=[])
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--name", required=True)

def show(context):
    import logging
    logging.getLogger("quinkgl.demo").info("working")
    logging.getLogger("library").info("chatter")
    context.output.note("a note")
    a = context.args
    data = {"rounds": a.rounds, "peer": a.peer, "fast": a.fast, "name": a.name}
    data |= {"work_dir": str(context.work_dir), "color": context.output.color}
    context.output.result(data, f"rounds {a.rounds}")

def fail(context):
    what = context.args.what
    if what == "cli": raise CliError("port 7000 on 127.0.0.1 is in use", ExitCode.IO, hint="choose another")
    if what == "file": open("/no/such/file")
    if what == "bug": raise KeyError("two\nlines")
    if what == "interrupt": raise KeyboardInterrupt
    if what == "group":
        inner = ExceptionGroup("inner", [CliError("no peer", ExitCode.WIRE)])
        raise ExceptionGroup("nursery", [inner])
    if what == "mixed": raise ExceptionGroup("nursery", [CliError("no peer"), KeyError("x")])
    if what == "stopped": raise BaseExceptionGroup("nursery", [KeyboardInterrupt(), KeyError("x")])
    if what == "extra": raise ImportError("quinkgl.X needs 'torch': pip install 'quinkgl[torch]'")
    if what == "import": raise ImportError("cannot import name 'x'")
    if what == "manifest":
        from quinkgl.manifest import SwarmManifest
        SwarmManifest.from_json(b"[")
    if what == "hash":
        from quinkgl.manifest.files import check_swarm_id
        from quinkgl.testing.manifests import make_dummy_manifest
        check_swarm_id(make_dummy_manifest(), "00")
    if what == "fit":
        from quinkgl.manifest import check_model_fits
        from quinkgl.testing.manifests import make_dummy_manifest
        check_model_fits(make_dummy_manifest(), arch_hash="sha256:0")
    if what == "code": return 7
    if what == "flood":
        while True: context.output.result({"x": 1}, "x" * 1000)

def sleep(context):
    # Whoever runs the tests in the background of a script has this signal ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    print("ready", flush=True)
    time.sleep(60)

COMMANDS = [
    Command("show", "Show the flags.", flags, show),
    Command("fail", "Go wrong.", lambda parser: parser.add_argument("what"), fail),
    Command("sleep", "Wait.", lambda parser: None, sleep),
]
sys.exit(run_cli("demo", COMMANDS))
"""


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM, encoding="utf-8")
    return [sys.executable, str(path)]


@pytest.fixture
def run(program, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            [*program, *arguments], capture_output=True, text=True, timeout=60, check=False
        )
        assert "Traceback" not in result.stderr or "debug" in " ".join(arguments)
        return result

    return call


# -- global flags


@pytest.mark.parametrize(
    "arguments",
    [
        ["--json", "--work-dir", "/w", "show", "--name", "n"],
        ["show", "--name", "n", "--json", "--work-dir", "/w"],
        ["--json", "show", "--work-dir=/w", "--name", "n"],
    ],
    ids=" ".join,
)
def test_global_flags_stand_before_or_after_the_command(run, arguments):
    result = run(*arguments)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == {
        "rounds": 1,
        "peer": [],
        "fast": False,
        "name": "n",
        "work_dir": "/w",
        "color": False,
    }


def test_results_go_to_stdout_and_everything_else_to_stderr(run, tmp_path):
    result = run("show", "--name", "n")
    assert result.stdout == "rounds 1\n"
    assert "INFO quinkgl.demo working" in result.stderr
    assert "chatter" not in result.stderr
    assert "INFO library chatter" in run("--log-level", "debug", "show", "--name", "n").stderr
    assert "a note" in result.stderr
    quiet = run("-q", "show", "--name", "n")
    assert (quiet.stdout, quiet.stderr) == ("rounds 1\n", "")
    assert "working" not in run("show", "--name", "n", "--log-level", "warn").stderr
    assert json.loads(run("show", "--name", "n", "--json").stdout)["work_dir"] == str(
        tmp_path / "state" / "quinkgl"
    )


@pytest.mark.parametrize("arguments", [["--version"], ["show", "--version"]], ids=" ".join)
def test_version(run, arguments):
    result = run(*arguments)
    assert (result.returncode, result.stdout) == (0, "demo 0.4.0\n")


def test_no_command_shows_the_help(run):
    result = run()
    assert result.returncode == 0
    assert "Go wrong." in result.stdout


# -- usage errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nosuch"], "invalid choice: 'nosuch'"),
        (["show"], "required: --name"),
        (["show", "--name", "n", "--rounds", "x"], "argument --rounds: invalid int value: 'x'"),
        (["show", "--name", "n", "--bogus"], "unrecognized arguments: --bogus"),
        (["show", "--nam", "n"], "--name"),
        (["--log-level", "loud", "show"], "argument --log-level"),
    ],
    ids=str,
)
def test_usage_errors_are_one_line_and_exit_2(run, arguments, words):
    result = run(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("demo: error: ")
    assert words in result.stderr
    assert "--help'" in result.stderr


# -- errors of commands


@pytest.mark.parametrize(
    ("what", "code", "line"),
    [
        ("cli", 2, "demo: error: port 7000 on 127.0.0.1 is in use; choose another\n"),
        ("file", 2, "demo: error: /no/such/file: No such file or directory\n"),
        ("bug", 70, r"demo: error: internal error: KeyError: 'two\nlines'; this is a bug;"),
        ("group", 6, "demo: error: no peer\n"),
        ("mixed", 70, "demo: error: internal error: ExceptionGroup: nursery (2 sub-exceptions)"),
        ("extra", 7, "pip install 'quinkgl[torch]'\n"),
        ("import", 70, "internal error: ImportError"),
        ("manifest", 1, "demo: error: ERR_MANIFEST_INVALID_JSON: is not JSON"),
        ("hash", 5, "demo: error: ERR_MANIFEST_HASH_MISMATCH: has swarm id e5dc042c"),
        ("fit", 7, "demo: error: ERR_NODE_ARCH_MISMATCH: model.arch_hash"),
    ],
)
def test_an_error_is_one_line_with_its_exit_code(run, what, code, line):
    result = run("fail", what)
    assert result.returncode == code
    assert result.stdout == ""
    assert line in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_exit_code_of_a_command_is_passed_on(run):
    assert run("fail", "code").returncode == 7


@pytest.mark.parametrize(
    "arguments", [["--log-level", "debug", "fail", "bug"], ["fail", "bug", "--log-level=debug"]]
)
def test_debug_shows_the_traceback_and_the_line_last(run, arguments):
    result = run(*arguments)
    assert result.returncode == 70
    assert "Traceback (most recent call last)" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("demo: error: internal error: KeyError")


# -- ends


@pytest.mark.parametrize("what", ["interrupt", "stopped"])
def test_an_interrupt_is_130_and_says_nothing(run, what):
    result = run("fail", what)
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_command_with_their_code(program, number, code):
    with subprocess.Popen(
        [*program, "sleep"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (code, "")


def test_a_reader_that_goes_away_ends_the_command_quietly(program):
    with subprocess.Popen(
        [*program, "fail", "flood"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /dev/full")
def test_a_full_disk_is_one_line(program):
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        result = subprocess.run(
            [*program, "show", "--name", "n", "-q"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert result.returncode == 2
    assert result.stderr == "demo: error: No space left on device\n"


# -- configuration


@pytest.fixture
def config(tmp_path):
    def write(text: str) -> str:
        path = tmp_path / "config.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def test_a_configuration_sets_flags_and_the_command_line_wins(run, config):
    path = config(
        'json = true\nlog-level = "error"\n[show]\nname = "c"\nrounds = 5\nfast = true\npeer = ["a", "b"]\n'
    )
    result = run("show", "--config", path)
    assert result.returncode == 0, result.stderr
    assert "working" not in result.stderr
    shown = json.loads(result.stdout)
    assert (shown["name"], shown["rounds"], shown["fast"], shown["peer"]) == ("c", 5, True, ["a", "b"])
    shown = json.loads(run("--config", path, "show", "--rounds", "7", "--peer", "z").stdout)
    assert (shown["rounds"], shown["peer"]) == (7, ["a", "b", "z"])


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("bogus = 1\n", 1, "unknown key 'bogus'; known keys are json"),
        ("[show]\nnam = 'x'\n", 1, "[show]: unknown key 'nam'"),
        ("[sleep]\nx = 1\n", 1, "[sleep]: unknown key 'x'"),
        ("show = 3\n", 1, "show must be a table"),
        ("[show]\nfast = 'yes'\n", 1, "fast: expected true or false"),
        ("[show]\nrounds = [1, 2]\n", 1, "rounds: takes one value"),
        ("[show]\nrounds = {a = 1}\n", 1, "rounds: expected text or a number"),
        ("[show]\nname = 'n'\nrounds = 'x'\n", 2, "argument --rounds: invalid int value: 'x'"),
        ("= nonsense", 1, "not TOML"),
    ],
)
def test_a_bad_configuration_is_one_line(run, config, text, code, words):
    result = run("show", "--config", config(text))
    assert result.returncode == code
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_missing_configuration_is_an_io_error(run):
    result = run("show", "--config", "/no/such.toml")
    assert result.returncode == 2
    assert "/no/such.toml: cannot read the configuration" in result.stderr


# -- speed


def test_the_frame_starts_without_loading_numpy(program):
    code = (
        "import sys; from quinkgl.cli import main; main(['--version'])\n"
        "print([m for m in ('numpy','cryptography','trio','torch','asyncio') if m in sys.modules])"
    )
    started = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout.splitlines()[-1] == "[]"
    assert time.monotonic() - started < 5.0
