"""Writes ``fuzz/CAMPAIGN.md`` from the runs that were noted down."""

from __future__ import annotations

from fuzz import corpora, runner
from fuzz.targets import load_target, target_names

PATH = corpora.ROOT / "CAMPAIGN.md"
_HEAD = """# The campaign so far

Made by `python -m fuzz --report` from the runs that `build/fuzz/runs.jsonl` notes; never by hand. Executions
are those of all runs since the harness was last changed, findings those that are in `regressions/`.

| harness | what | executions | wanted | per second | corpus | regressions |
|---|---|---:|---:|---:|---:|---:|
"""


def table() -> str:
    """Return the page."""
    lines: list[str] = []
    total = 0
    for name in target_names():
        target = load_target(name)
        runs = [outcome for outcome in runner.noted() if outcome.target == name]
        executions = sum(outcome.executions for outcome in runs)
        seconds = sum(outcome.seconds for outcome in runs)
        rate = round(executions / seconds) if seconds else 0
        total += executions
        inputs, kept = len(corpora.read_corpus(name)), len(corpora.read_regressions(name))
        row = (name, target.about, f"{executions:,}", f"{target.wanted:,}", f"{rate:,}", inputs, kept)
        lines.append("| " + " | ".join(map(str, row)) + " |")
    return _HEAD + "\n".join(lines) + f"\n\n{len(lines)} harnesses, {total:,} executions.\n"


def write() -> None:
    """Write the page."""
    PATH.write_text(table(), encoding="utf-8")
