"""What is on record of the faults: which test noticed each, why none notices some, and the page of both."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import mutants_faults as faults
from mutants_faults import CATEGORIES, ELSEWHERE, PARTS, ROOT, Fault
from mutants_runner import Outcome, Verdict

SURVIVORS = ROOT / "tools" / "mutants_survivors.toml"
PAGE = ROOT / "docs" / "assurance.md"
BEGIN, END = "<!-- made by tools/mutants.py record -->", "<!-- end of what is made -->"


def survivors(path: Path = SURVIVORS) -> dict[str, str]:
    """Return why each explained survivor is noticed by no test, by the fault's key."""
    if not path.exists():
        return {}
    rows = tomllib.loads(path.read_text(encoding="utf-8"))
    return {row["key"]: row["reason"] for row in rows.get("survivor", ())}


def record(results: Mapping[str, Outcome]) -> int:
    """Put results on record: the test that noticed each fault, and the tables of the page."""
    known = faults.killers()
    every = [*faults.planted(), *faults.drawn()]
    for fault in every:
        outcome = results.get(fault.key)
        if outcome is not None and outcome.verdict.is_kill:
            known[fault.key] = outcome.test
        elif outcome is not None and outcome.verdict is Verdict.SURVIVED:
            known[fault.key] = ""
    kept = {fault.key: known[fault.key] for fault in every if fault.key in known}
    faults.KILLERS.write_text(json.dumps(kept, indent=0, sort_keys=True) + "\n", encoding="utf-8")
    if PAGE.exists():
        PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    missing = [fault.name for fault in every if not kept.get(fault.key) and fault.key not in survivors()]
    print(f"{sum(map(bool, kept.values()))} of {len(every)} faults have a test; unexplained: {len(missing)}")
    for name in missing:
        print(f"  {name}")
    return 1 if missing else 0


def with_tables(page: str) -> str:
    """Return the page with the tables between its two marks made anew."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{tables()}\n{END}{tail}"


def tables() -> str:
    """Return the figures as Markdown: by category and part, by part for the drawn ones, the survivors."""
    known, explained = faults.killers(), survivors()
    planted, drawn = faults.planted(), faults.drawn()
    places = (*PARTS, ELSEWHERE)
    rows = ["Planted faults, killed / planted:", "", f"| category | {' | '.join(places)} | all |"]
    rows.append("|---" * (len(places) + 2) + "|")
    for category in (*CATEGORIES, ""):
        own = [fault for fault in planted if category in {"", fault.category}]
        cells = [_share([fault for fault in own if fault.part == part], known) for part in places]
        rows.append(f"| {category or 'all'} | {' | '.join(cells)} | {_share(own, known)} |")
    rows += ["", f"{_percent(planted, known)} of the planted faults are killed.", ""]
    rows += ["Drawn faults, killed / drawn:", "", f"| {' | '.join(PARTS)} | all |"]
    rows.append("|---" * (len(PARTS) + 1) + "|")
    cells = [_share([fault for fault in drawn if fault.part == part], known) for part in PARTS]
    rows += [f"| {' | '.join(cells)} | {_share(drawn, known)} |", ""]
    judged = tuple(fault for fault in drawn if fault.key in known)
    rows += [f"{_percent(judged, known)} of the drawn faults that were judged are killed; "]
    rows[-1] += f"{len(drawn) - len(judged)} wait to be judged."
    rows.append("")
    alive = [fault for fault in (*planted, *judged) if not known.get(fault.key)]
    rows += [f"No test notices {len(alive)} of them:" if alive else "None survives.", ""]
    if alive:
        rows += ["| fault | becomes | why no test notices |", "|---|---|---|"]
        reasons = [explained.get(fault.key, "not explained") for fault in alive]
        rows += [f"| {f.name} | {_change(f)} | {why} |" for f, why in zip(alive, reasons, strict=True)]
        rows.append("")
    return "\n".join(rows)


def _share(own: Sequence[Fault], known: Mapping[str, str]) -> str:
    counts = Counter(bool(known.get(fault.key)) for fault in own)
    return f"{counts[True]} / {len(own)}" if own else "–"


def _percent(own: tuple[Fault, ...], known: Mapping[str, str]) -> str:
    killed = sum(bool(known.get(fault.key)) for fault in own)
    return f"{killed} of {len(own)} ({100 * killed / max(1, len(own)):.1f} %)"


def _change(fault: Fault) -> str:
    """Return the first line that the fault makes, as code that fits in a cell."""
    before = fault.old.splitlines()
    changed = [line for line in fault.new.splitlines() if line not in before]
    text = (changed or ["(nothing)"])[0].strip().replace("|", "\\|").replace("`", "'")
    return f"`{text[:110]}`"
