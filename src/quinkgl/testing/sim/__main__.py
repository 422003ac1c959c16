"""``python -m quinkgl.testing.sim``: run the world of one seed and print its trace hash last.

Exit codes: 0, nothing was broken; 1, an invariant was broken or liveness not reached; 2, wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from quinkgl.testing.sim.adversary import MISBEHAVIOURS
from quinkgl.testing.sim.plan import Plan, Wishes, draw_plan
from quinkgl.testing.sim.scenarios import SCENARIOS
from quinkgl.testing.sim.world import Outcome, World


def main(arguments: list[str] | None = None) -> int:
    """Run one world and return the exit code."""
    options = _parser().parse_args(arguments)
    plan = _plan(options)
    with ExitStack() as stack:
        file = None
        if options.trace is not None:
            file = stack.enter_context(Path(options.trace).open("w", encoding="utf-8"))
        started = time.process_time()
        world = World(plan, trace_file=file)
        outcome = world.run() if options.scenario is None else SCENARIOS[options.scenario].run(world)
        seconds = time.process_time() - started
    _tell(plan, outcome, seconds)
    return 1 if outcome.failure else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m quinkgl.testing.sim", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="what everything is drawn from")
    parser.add_argument(
        "--peers", type=int, help="nodes, those that misbehave included: 30, or what the scenario has"
    )
    parser.add_argument("--scenario", choices=list(SCENARIOS), help="a world that is not drawn")
    parser.add_argument("--misbehaving", type=float, default=0.2, help="share of nodes that misbehave")
    parser.add_argument(
        "--only", action="append", default=[], choices=list(MISBEHAVIOURS), help="draw from these alone"
    )
    parser.add_argument("--until", type=float, default=60.0, help="virtual seconds before the heal")
    parser.add_argument("--cipher", choices=["null", "real"], default="null")
    parser.add_argument("--trace", metavar="FILE", help="write what happens as JSON lines")
    parser.add_argument("--plan", metavar="FILE", help="run the plan of a JSON file instead of a drawn one")
    parser.add_argument("--write-plan", metavar="FILE", help="write the plan as JSON")
    return parser


def _plan(options: argparse.Namespace) -> Plan:
    if options.plan is not None:
        return Plan.from_dict(json.loads(Path(options.plan).read_text(encoding="utf-8")))
    if options.scenario is not None:
        return SCENARIOS[options.scenario].plan(options.seed, options.peers, options.cipher == "null")
    wishes = Wishes(
        peers=30 if options.peers is None else options.peers,
        misbehaving=options.misbehaving,
        names=tuple(options.only),
        safety_s=options.until,
        null_cipher=options.cipher == "null",
    )
    plan = draw_plan(options.seed, wishes)
    if options.write_plan is not None:
        text = json.dumps(plan.to_dict(), indent=1)
        Path(options.write_plan).write_text(text + "\n", encoding="utf-8")
    return plan


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _tell(plan: Plan, outcome: Outcome, seconds: float) -> None:
    bad = len(plan.nodes) - len(plan.honest)
    _say(f"seed {outcome.seed}: {len(plan.nodes)} nodes, {bad} misbehaving, {len(plan.actions)} actions")
    _say(
        f"{outcome.virtual_s:.1f} virtual s in {seconds:.1f} s of CPU: {outcome.datagrams} datagrams, "
        f"{outcome.steps} steps, {outcome.checks} checks"
    )
    _say(
        f"{outcome.published} updates published, {outcome.received} received, {outcome.delivered} confirmed; "
        f"{outcome.sessions} ends of sessions at the end"
    )
    if outcome.live_after_s is not None:
        _say(f"everything good had happened {outcome.live_after_s:.0f} s after the heal")
    if outcome.failure:
        _say(f"FAILED: {outcome.failure}")
    _say(outcome.trace_hash)


if __name__ == "__main__":
    sys.exit(main())
