"""Small worlds with everything bad in them: nothing unsafe happens, and after the heal all is well."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from quinkgl.testing.sim import MISBEHAVIOURS, Plan, Wishes, World, draw_plan


def hash_of(seed: int, hash_seed: int) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    command = [
        sys.executable,
        "-m",
        "quinkgl.testing.sim",
        "--seed",
        str(seed),
        "--peers",
        "8",
        "--until",
        "20",
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{' '.join(command[1:])}\n{done.stdout}{done.stderr}"
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize("seed", range(3))
def test_a_world_stays_safe_and_comes_back_to_life(seed):
    print(f"python -m quinkgl.testing.sim --seed {seed} --peers 10 --until 30")
    outcome = World(draw_plan(seed, Wishes(peers=10, safety_s=30.0))).run()
    assert outcome.failure == ""
    assert outcome.live_after_s is not None
    assert outcome.received > 0


def test_a_run_is_the_same_under_every_hash_seed():
    assert len({hash_of(5, hash_seed) for hash_seed in (0, 1)}) == 1


def test_a_plan_survives_json():
    plan = draw_plan(3)
    assert Plan.from_dict(plan.to_dict()) == plan


def test_misbehaviours_are_known_by_name():
    assert {"garbage flood", "replay"} <= set(MISBEHAVIOURS)
