"""Make a failing plan smaller while it fails in the same way: ``python -m quinkgl.testing.sim.minimise``.

    python -m quinkgl.testing.sim.minimise PLAN.json SMALLER.json [--runs 200]

PLAN.json is what ``python -m quinkgl.testing.sim --seed 7 --write-plan PLAN.json`` wrote; SMALLER.json is
run by ``--plan SMALLER.json``. Actions are taken out by delta debugging (Zeller and Hildebrandt,
"Simplifying and isolating failure-inducing input", 2002): whole halves first, then smaller and smaller
parts. A node without a START never lives, so nodes go the same way. Then links become calm, misbehaving
peers honest and the first phase short, where the failure stays. Each purpose of a world draws from a
generator of its own, so that what is left behaves as it did before.

Exit codes: 0, a plan was written; 1, the plan does not fail; 2, wrong usage.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from quinkgl.testing.sim.links import CALM
from quinkgl.testing.sim.plan import Action, Plan
from quinkgl.testing.sim.world import World

_SHORTER = 0.7


def kind_of(failure: str) -> str:
    """Return what a failure says without its numbers and names: its kind has one cause, probably."""
    return re.sub(r"[0-9a-f]{8,}|-?\d+(\.\d+)?", "#", failure)


def failure_of(plan: Plan) -> str:
    """Run a plan and return what went wrong, empty where nothing did."""
    return World(plan).run().failure


class Minimiser:
    """Makes one plan smaller.

    ``fails`` tells what went wrong with a plan; ``runs`` bounds how often it is asked. ``plan`` is the
    smallest one so far.
    """

    def __init__(self, plan: Plan, *, fails: Callable[[Plan], str] = failure_of, runs: int = 200) -> None:
        self.plan = plan
        self.runs_left = runs
        self._fails = fails
        self.kind = kind_of(fails(plan))

    def run(self) -> Plan:
        """Return the smallest plan that was found; the plan itself where it does not fail."""
        if self.kind:
            self._shorten()
            self._thin_out()
            self._simplify()
            self._thin_out()
        return self.plan

    def _try(self, plan: Plan) -> bool:
        """Take a smaller plan where it fails in the same way."""
        if self.runs_left <= 0:
            return False
        self.runs_left -= 1
        if kind_of(self._fails(plan)) != self.kind:
            return False
        self.plan = plan
        return True

    def _thin_out(self) -> None:
        """Take actions out, half of them first."""
        parts = 2
        while self.plan.actions and self.runs_left > 0:
            actions = self.plan.actions
            if not any(
                self._try(replace(self.plan, actions=kept)) for kept in _without_a_part(actions, parts)
            ):
                if parts >= len(actions):
                    return
                parts = min(len(actions), 2 * parts)

    def _simplify(self) -> None:
        """Calm the links and let peers behave, each where the failure stays."""
        self._try(replace(self.plan, conditions=CALM))
        for index, node in enumerate(self.plan.nodes):
            if node.misbehaviour:
                nodes = list(self.plan.nodes)
                nodes[index] = replace(node, misbehaviour="")
                self._try(replace(self.plan, nodes=tuple(nodes)))

    def _shorten(self) -> None:
        """Heal earlier."""
        while self._try(replace(self.plan, heal_at_s=self.plan.heal_at_s * _SHORTER)):
            pass


def _without_a_part(actions: tuple[Action, ...], parts: int) -> Iterator[tuple[Action, ...]]:
    size = -(-len(actions) // parts)
    for start in range(0, len(actions), size):
        yield actions[:start] + actions[start + size :]


def main(arguments: list[str] | None = None) -> int:
    """Make the plan of a file smaller and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m quinkgl.testing.sim.minimise", description="Make a failing plan smaller."
    )
    parser.add_argument("plan", type=Path)
    parser.add_argument("smaller", type=Path)
    parser.add_argument("--runs", type=int, default=200, help="worlds to run at most")
    options = parser.parse_args(arguments)
    plan = Plan.from_dict(json.loads(options.plan.read_text(encoding="utf-8")))
    minimiser = Minimiser(plan, runs=options.runs)
    if not minimiser.kind:
        sys.stdout.write("the plan does not fail\n")
        return 1
    made = minimiser.run()
    options.smaller.write_text(json.dumps(made.to_dict(), indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(
        f"{len(plan.actions)} actions became {len(made.actions)}, {plan.heal_at_s:.0f} s became "
        f"{made.heal_at_s:.0f} s: {failure_of(made)}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
