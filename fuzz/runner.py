"""Runs harnesses: for a number of executions, or until a campaign has what it owes; notes what was done.

Each finished run is a line of ``build/fuzz/runs.jsonl``, so that a campaign can be broken off at any time and
goes on where it was. Working corpora and findings are in ``build/fuzz/TARGET/``.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fuzz import corpora, engine_hypothesis, engine_plain
from fuzz import minimise as reached
from fuzz.harness import Target

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "fuzz"
_EXECUTED = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_ARTIFACT = re.compile(r"Test unit written to (\S+)")
_GRACE_S = 1200
"""For a process that does not stop by itself; it may have been put off for minutes."""
CAMPAIGN_CHUNK = 100_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run did."""

    target: str
    engine: str
    executions: int
    seconds: float
    """Of processor time: the machine may do other things at the same time."""
    finding: str | None
    """The file with the input, where something was found."""


def has_atheris() -> bool:
    """Whether the coverage-guided engine is installed."""
    return importlib.util.find_spec("atheris") is not None


def work_folder(name: str) -> Path:
    """Return the working corpus of a harness, filled with its seeds and with what is kept of earlier runs."""
    return BUILD / name / "corpus"


def prepare(target: Target) -> Path:
    """Fill the working corpus."""
    folder = work_folder(target.name)
    known = [
        *target.seeds(),
        *corpora.read_corpus(target.name),
        *corpora.read_regressions(target.name).values(),
    ]
    corpora.unpack_to(folder, (data[: target.max_bytes] for data in known))
    return folder


def run(target: Target, *, runs: int, seconds: float, engine: str, number: int) -> Outcome:
    """Run one harness and note it down."""
    started = _processor_s()
    findings = BUILD / target.name / "findings"
    findings.mkdir(parents=True, exist_ok=True)
    folder = prepare(target)
    if engine == "atheris":
        executions, finding = _run_atheris(
            target, folder, findings, runs=runs, seconds=seconds, number=number
        )
    else:
        known = [path.read_bytes() for path in sorted(folder.iterdir())]
        chosen = engine_plain if engine == "plain" else engine_hypothesis
        executions, path = chosen.fuzz(
            target, known, runs=runs, seconds=seconds, number=number, keep_in=findings
        )
        finding = None if path is None else str(path)
    outcome = Outcome(target.name, engine, executions, round(_processor_s() - started, 2), finding)
    _note(outcome)
    return outcome


def _processor_s() -> float:
    """Processor time of this process and of those it started and waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _run_atheris(
    target: Target, folder: Path, findings: Path, *, runs: int, seconds: float, number: int
) -> tuple[int, str | None]:
    command = [
        sys.executable,
        "-m",
        "fuzz.engine_atheris",
        target.name,
        f"-runs={runs}",
        f"-max_total_time={int(seconds)}",
        f"-seed={number}",
        "-timeout=100000",  # seconds on the wall; the engine itself watches the processor time
        "-rss_limit_mb=3000",
        "-print_final_stats=1",
        "-verbosity=1",
        f"-artifact_prefix={findings}/",
        str(folder),
    ]
    try:
        done = _call(command, seconds + _GRACE_S)
    except subprocess.TimeoutExpired:
        return 0, "no input kept; the process did not stop"
    executed = _EXECUTED.search(done.stderr)
    executions = int(executed.group(1)) if executed else 0
    if done.returncode == 0:
        return executions, None
    print(done.stdout[-4000:])
    print(done.stderr[-6000:])
    artifact = _ARTIFACT.search(done.stderr)
    return executions, artifact.group(1) if artifact else f"no input kept; exit code {done.returncode}"


def _call(command: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
    paths = [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    return subprocess.run(  # noqa: S603 - ourselves, with arguments that were made here
        command, capture_output=True, text=True, timeout=seconds, check=False, cwd=ROOT, env=environment,
        errors="replace",
    )  # fmt: skip


def minimise(target: Target) -> list[bytes]:
    """Keep of all known inputs those that cover what all cover; write them as the harness's corpus."""
    known = (path.read_bytes() for path in prepare(target).iterdir())
    kept = reached.minimise(target, known, most=target.kept)
    return corpora.write_corpus(target.name, kept)


# --- what was done so far ---


def _note(outcome: Outcome) -> None:
    BUILD.mkdir(parents=True, exist_ok=True)
    line = {
        "target": outcome.target,
        "engine": outcome.engine,
        "executions": outcome.executions,
        "seconds": outcome.seconds,
        "finding": None if outcome.finding is None else Path(outcome.finding).name,
    }
    with (BUILD / "runs.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def noted() -> Iterator[Outcome]:
    """Return the runs that were noted down."""
    path = BUILD / "runs.jsonl"
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            yield Outcome(**json.loads(line))


def executions_of(name: str) -> int:
    """How many executions a harness had in all noted runs."""
    return sum(outcome.executions for outcome in noted() if outcome.target == name)
