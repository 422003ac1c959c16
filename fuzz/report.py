"""Writes ``fuzz/CAMPAIGN.md`` from the runs that were noted down."""

from __future__ import annotations

from fuzz import corpora, runner
from fuzz.targets import load_target, target_names

PATH = corpora.ROOT / "CAMPAIGN.md"
_HEAD = """# The campaign so far

By `python -m fuzz --report` from the runs that `build/fuzz/runs.jsonl` notes, never by hand. `guided` are the
executions of the coverage-guided engine, the others are mutations of its corpora; the rate is per second of
processor time, of both. A finding ends its run, and what is mended is in `regressions/`.

| harness | what | executions | guided | owed | per second | corpus | regressions |
|---|---|---:|---:|---:|---:|---:|---:|
"""


def table() -> str:
    """Return the page."""
    lines: list[str] = []
    total = 0
    noted = list(runner.noted())
    for name in target_names():
        target = load_target(name)
        runs = [outcome for outcome in noted if outcome.target == name]
        executions = sum(outcome.executions for outcome in runs)
        guided = sum(outcome.executions for outcome in runs if outcome.engine == "atheris")
        seconds = sum(outcome.seconds for outcome in runs)
        rate = round(executions / seconds) if seconds else 0
        total += executions
        inputs, kept = len(corpora.read_corpus(name)), len(corpora.read_regressions(name))
        numbers = (executions, guided, max(0, target.wanted - executions), rate, inputs, kept)
        row = (name, target.about, *(f"{number:,}" for number in numbers))
        lines.append("| " + " | ".join(row) + " |")
    return _HEAD + "\n".join(lines) + f"\n\n{len(lines)} harnesses, {total:,} executions.\n"


def write() -> None:
    """Write the page."""
    PATH.write_text(table(), encoding="utf-8")
