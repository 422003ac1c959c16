"""Run the demo over several seeds and judge what it claims: the accuracy, the traffic, the report.

    acceptance_demo.py digits                     6 and 10 peers with uneven shards, and 6 with even ones
    acceptance_demo.py fashion-mnist --seeds 0    a shorter run on bigger images

Each run is a process of its own, `quinkgl-trio demo --json`, and everything is read off its last line, as a
user would. Prints one table and a verdict; exit code 1 when anything is missed.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from statistics import fmean
from typing import Any

DEMO = (sys.executable, "-m", "quinkgl_trio", "demo", "--json")
RUN_TIMEOUT_S = 150.0

RESULT_KEYS = frozenset({
    "peers", "mean_alone", "mean_gossip", "central", "rounds", "seconds", "bytes_sent", "updates_received",
    "encoded_update_bytes", "report",
})  # fmt: skip
PEER_KEYS = frozenset({"id", "samples", "alone", "gossip"})
LINKING_ATTRIBUTES = frozenset({
    "action", "background", "cite", "data", "formaction", "href", "poster", "src", "srcset", "xlink:href",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """A set of runs that differ in their seed alone, and what must come out. Bounds are points (per cent)."""

    peers: int
    alpha: float
    arguments: tuple[str, ...] = ()
    min_mean_gain: float | None = None
    """At least so much must gossip give over training alone, in the mean over the seeds."""
    max_mean_gain: float | None = None
    """And at most so much: with like shards there is little to win, unless `alone` is crippled."""
    max_mean_gap: float | None = None
    """The central model may be so much better, in the mean over the seeds."""
    max_gap: float | None = None
    """And so much in a single run."""
    max_worst: float | None = None
    """The worst peer of a run may be so far below the mean of its peers."""

    @property
    def name(self) -> str:
        """How the table calls it."""
        return f"{self.peers} peers, alpha {self.alpha:g}"

    def command(self, seed: int, out: Path) -> list[str]:
        """The command of one run."""
        flags = [
            "--peers",
            str(self.peers),
            "--alpha",
            f"{self.alpha:g}",
            "--seed",
            str(seed),
            "--out",
            str(out),
        ]
        return [*DEMO, *flags, *self.arguments]


_SHORT_FASHION = (
    *("--dataset", "fashion-mnist", "--limit", "10000", "--model", "softmax"),
    *("--rounds", "40", "--epochs", "1", "--learning-rate", "0.2"),
)
PLANS = {
    "digits": (
        Plan(6, 0.5, min_mean_gain=20, max_mean_gap=3, max_gap=5, max_worst=4),
        Plan(10, 0.5, min_mean_gain=20, max_mean_gap=4, max_gap=5, max_worst=4),
        Plan(6, 1000, max_mean_gain=8, max_gap=5, max_worst=4),
    ),
    "fashion-mnist": (Plan(6, 0.5, _SHORT_FASHION, min_mean_gain=10, max_mean_gap=5),),
}


@dataclass(frozen=True, slots=True)
class Run:
    """One finished run: what the demo said, and in what it broke its promises."""

    plan: Plan
    seed: int
    seconds: float
    """Wall-clock time of the whole process, evaluation and report included."""
    result: dict[str, Any] | None
    """The last line of standard output; None where it was no such object."""
    faults: tuple[str, ...]

    @property
    def gain(self) -> float:
        """Points that gossip gives over training alone."""
        return 100.0 * float(self._result["mean_gossip"] - self._result["mean_alone"])

    @property
    def gap(self) -> float:
        """Points by which the central model is better."""
        return 100.0 * float(self._result["central"] - self._result["mean_gossip"])

    @property
    def worst(self) -> float:
        """Points by which the worst peer is below the mean."""
        lowest = min(peer["gossip"] for peer in self._result["peers"])
        return 100.0 * float(self._result["mean_gossip"] - lowest)

    @property
    def _result(self) -> dict[str, Any]:
        if self.result is None:
            raise ValueError("the demo gave no result")
        return self.result


def execute(plan: Plan, seed: int, folder: Path) -> Run:
    """Run the demo once and check all that does not depend on the other seeds."""
    start = time.monotonic()
    try:
        process = subprocess.run(
            plan.command(seed, folder / f"{plan.peers}-{plan.alpha:g}-{seed}"),
            capture_output=True,
            text=True,
            timeout=RUN_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Run(plan, seed, RUN_TIMEOUT_S, None, (f"not done after {RUN_TIMEOUT_S:g} s",))
    seconds = time.monotonic() - start
    if process.returncode != 0:
        said = (process.stderr.strip().splitlines() or ["nothing on standard error"])[-1]
        return Run(plan, seed, seconds, None, (f"exit code {process.returncode}: {said}",))
    result, faults = read_result(process.stdout)
    if result is not None:
        faults += check_result(plan, result)
    return Run(plan, seed, seconds, result, tuple(faults))


def read_result(stdout: str) -> tuple[dict[str, Any] | None, list[str]]:
    """The object on the last line, if it has all the keys that are promised, and what is wrong with it."""
    lines = stdout.splitlines()
    if not lines:
        return None, ["nothing on standard output"]
    objects: list[Any] = []
    for line in lines:
        try:
            objects.append(json.loads(line))
        except ValueError:
            return None, [f"a line of standard output is not JSON: {line[:80]!r}"]
    result = objects[-1]
    if not isinstance(result, dict):
        return None, ["the last line is no JSON object"]
    missing = sorted(RESULT_KEYS - result.keys())
    if missing:
        return None, [f"the last line lacks {', '.join(missing)}"]
    for peer in result["peers"]:
        if missing := sorted(PEER_KEYS - peer.keys()):
            return None, [f"a peer of the last line lacks {', '.join(missing)}"]
    return result, []


def check_result(plan: Plan, result: dict[str, Any]) -> list[str]:
    """What is wrong with one run by itself."""
    faults: list[str] = []
    peers = result["peers"]
    if len({peer["id"] for peer in peers}) != plan.peers:
        faults.append(f"{len(peers)} peers with {len({peer['id'] for peer in peers})} ids")
    for key in ("alone", "gossip"):
        mean = fmean(peer[key] for peer in peers)
        if abs(mean - result[f"mean_{key}"]) > 1e-9:
            faults.append(f"mean_{key} is {result[f'mean_{key}']}, the peers' mean is {mean}")
    carried = result["updates_received"] * result["encoded_update_bytes"]
    if not result["bytes_sent"] >= carried > 0:
        faults.append(f"{result['bytes_sent']} bytes sent for {carried} bytes of updates received")
    return faults + check_report(Path(result["report"]))


def judge(runs: Sequence[Run]) -> list[str]:
    """What one plan's runs miss, single faults included; empty when all is well."""
    plan = runs[0].plan
    misses = [f"seed {run.seed}: {fault}" for run in runs for fault in run.faults]
    done = [run for run in runs if run.result is not None]
    for run in done:
        if plan.max_gap is not None and run.gap > plan.max_gap:
            misses.append(
                f"seed {run.seed}: central is {run.gap:.2f} points better (at most {plan.max_gap:g})"
            )
        if plan.max_worst is not None and run.worst > plan.max_worst:
            misses.append(
                f"seed {run.seed}: worst peer {run.worst:.2f} below the mean (at most {plan.max_worst:g})"
            )
    if done:
        gain, gap = fmean(run.gain for run in done), fmean(run.gap for run in done)
        if plan.min_mean_gain is not None and gain < plan.min_mean_gain:
            misses.append(f"mean gain {gain:.2f} points (at least {plan.min_mean_gain:g})")
        if plan.max_mean_gain is not None and gain > plan.max_mean_gain:
            misses.append(f"mean gain {gain:.2f} points (at most {plan.max_mean_gain:g})")
        if plan.max_mean_gap is not None and gap > plan.max_mean_gap:
            misses.append(f"central is {gap:.2f} points better in the mean (at most {plan.max_mean_gap:g})")
    return misses


# -- the report must need nothing but itself


class _References(HTMLParser):
    """Collects everything that a browser would fetch or follow."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self._style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at the attributes that name a resource, and at styles."""
        self._style = tag == "style"
        for name, value in attrs:
            if name in LINKING_ATTRIBUTES and value:
                self.targets.append(value)
            elif name == "style" and value:
                self._look_into_style(value)

    def handle_data(self, data: str) -> None:
        """Look into style sheets."""
        if self._style:
            self._look_into_style(data)

    def _look_into_style(self, text: str) -> None:
        self.targets += re.findall(r"url\(\s*['\"]?([^'\")]+)", text)
        self.targets += re.findall(r"@import\s+['\"]([^'\"]+)", text)


def references(html: str) -> list[str]:
    """What the document refers to outside of itself: everything but data: URLs and its own anchors."""
    parser = _References()
    parser.feed(html)
    parser.close()
    return [target for target in parser.targets if not target.startswith(("#", "data:"))]


def check_report(path: Path) -> list[str]:
    """What is wrong with a report: not there, no HTML, not self-contained, no picture beside it."""
    try:
        html = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return [f"the report cannot be read: {error}"]
    faults = [f"the report refers to {target[:80]!r}" for target in references(html)]
    if not html.lstrip().lower().startswith("<!doctype html") or "</html>" not in html.lower():
        faults.append("the report is no whole HTML document")
    if not any(
        picture.read_bytes().startswith(b"\x89PNG\r\n") for picture in sorted(path.parent.glob("*.png"))
    ):
        faults.append("no PNG beside the report")
    return faults


# -- for people


HEAD = (
    "plan                   seed   alone  gossip central    gain     gap   worst  updates       sent      s"
)


def row(run: Run) -> str:
    """One line of the table."""
    if run.result is None:
        return f"{run.plan.name:<21}  {run.seed:>4}  {run.faults[0]}"
    result = run.result
    accuracies = (100 * result[key] for key in ("mean_alone", "mean_gossip", "central"))
    cells = " ".join(f"{value:7.2f}" for value in (*accuracies, run.gain, run.gap, run.worst))
    traffic = f"{result['updates_received']:>8} {result['bytes_sent'] / 1e6:>7.2f} MB"
    return f"{run.plan.name:<21}  {run.seed:>4} {cells} {traffic} {run.seconds:6.1f}"


def summary(runs: Sequence[Run]) -> str:
    """The line under the runs of one plan."""
    done = [run for run in runs if run.result is not None]
    if not done:
        return f"{runs[0].plan.name:<21}  mean  of nothing"
    gain, gap = fmean(run.gain for run in done), fmean(run.gap for run in done)
    worst = max(run.worst for run in done)
    return f"{runs[0].plan.name:<21}  mean {'':>23} {gain:7.2f} {gap:7.2f} {worst:7.2f} (worst: largest)"


def run_plans(plans: Iterable[Plan], seeds: Sequence[int], folder: Path) -> list[str]:
    """Run everything, print as it comes, and return what was missed."""
    misses: list[str] = []
    print(HEAD, flush=True)
    for plan in plans:
        runs: list[Run] = []
        for seed in seeds:
            runs.append(execute(plan, seed, folder))
            print(row(runs[-1]), flush=True)
        print(summary(runs), flush=True)
        misses += [f"{plan.name}: {miss}" for miss in judge(runs)]
    return misses


def main() -> int:
    """Run the plan that was asked for; 0 when every promise holds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("plan", choices=tuple(PLANS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], metavar="N")
    arguments = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="quinkgl-acceptance-") as folder:
        misses = run_plans(PLANS[arguments.plan], arguments.seeds, Path(folder))
    for miss in misses:
        print(f"MISSED  {miss}")
    over = f"{arguments.plan} over seeds {', '.join(map(str, arguments.seeds))}"
    verdict = f"FAILED, {len(misses)} missed" if misses else "passed"
    print(f"{verdict}: {over}, in {time.monotonic() - start:.0f} s")
    return 1 if misses else 0


if __name__ == "__main__":
    sys.exit(main())
