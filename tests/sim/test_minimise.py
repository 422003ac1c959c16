"""A failing plan becomes smaller and goes on failing; a run is drawn as a page."""

from __future__ import annotations

import json
from io import StringIO

import pytest

from quinkgl.testing.sim import Kind, Plan, Wishes, World, draw_plan
from quinkgl.testing.sim import minimise as minimiser
from quinkgl.testing.sim.minimise import Minimiser, kind_of
from quinkgl.testing.sim.timeline import draw, main


def crash_of_two(plan: Plan) -> str:
    """Fail where two certain nodes crash; the rest of the plan is beside the point."""
    crashed = [action.node for action in plan.actions if action.kind is Kind.CRASH]
    return f"node {crashed[0]} fell at {plan.heal_at_s}" if len(set(crashed)) >= 2 else ""


def test_only_what_makes_it_fail_is_left():
    plan = draw_plan(5, Wishes(peers=20, safety_s=60.0))
    assert len(plan.actions) > 20
    made = Minimiser(plan, fails=crash_of_two, runs=400).run()
    assert [action.kind for action in made.actions] == [Kind.CRASH, Kind.CRASH]
    assert made.heal_at_s < 1.0
    assert all(not node.misbehaviour for node in made.nodes)


def test_a_plan_that_does_not_fail_stays_as_it_is():
    plan = draw_plan(5, Wishes(peers=4))
    assert Minimiser(plan, fails=lambda _: "", runs=10).run() is plan


def test_another_failure_is_not_taken_for_the_first():
    plan = draw_plan(5, Wishes(peers=20))

    def fails(made: Plan) -> str:
        return "the first kind" if len(made.actions) == len(plan.actions) else "another kind"

    assert Minimiser(plan, fails=fails, runs=50).run().actions == plan.actions


def test_numbers_make_no_other_kind_of_failure():
    assert kind_of("node 3 lost 00ff00ff00ff after 1.5 s") == kind_of("node 14 lost abcdef0123 after 22 s")
    assert kind_of("node 3 lost it") != kind_of("node 3 kept it")


def test_the_command_writes_a_plan_that_fails(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Minimiser.__init__, "__kwdefaults__", {"fails": crash_of_two, "runs": 100})
    monkeypatch.setattr(minimiser, "failure_of", crash_of_two)
    plan, smaller = tmp_path / "plan.json", tmp_path / "smaller.json"
    plan.write_text(json.dumps(draw_plan(5, Wishes(peers=20)).to_dict()))
    assert minimiser.main([str(plan), str(smaller)]) == 0
    assert crash_of_two(Plan.from_dict(json.loads(smaller.read_text())))
    assert "actions became 2" in capsys.readouterr().out


@pytest.fixture(scope="module")
def trace() -> str:
    file = StringIO()
    World(draw_plan(1, Wishes(peers=4, misbehaving=0.0, safety_s=5.0)), trace_file=file).run_until(5.0)
    return file.getvalue()


def test_every_event_of_a_run_has_its_mark(trace):
    page = draw(trace.splitlines(), "a run")
    told = [json.loads(line) for line in trace.splitlines()]
    marks = sum(not thing["name"].startswith("transport:") for thing in told)
    assert page.count("<title>") == marks + 1
    assert "node 3" in page


def test_a_file_that_is_no_trace_is_named(tmp_path, capsys):
    file = tmp_path / "no.jsonl"
    file.write_text('{"time": 1}\n')
    with pytest.raises(SystemExit) as end:
        main([str(file), str(tmp_path / "page.html")])
    assert end.value.code == 2
    assert "line 1 is no event of a trace" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()
