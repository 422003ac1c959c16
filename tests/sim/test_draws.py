"""The golden sequences: a Python, or a change of ours, that draws otherwise is noticed here."""

from __future__ import annotations

import hashlib
import json

from quinkgl.testing.sim import Wishes, draw_plan
from quinkgl.testing.sim.draws import below, between, chance, choose, sample, stream, weighted

GOLDEN_DRAWS = [581, "a", [2, 3, 6, 9], -0.780335214714, True, "a", "d49f38dc42b7"]
GOLDEN_PLAN = "ae2e31f8767e60c4ea7ba1f4df830ce90bff37d975748eaedb33d23f9ea8173e"


def test_the_sequence_of_every_kind_of_draw():
    rng = stream(7, "golden", 1)
    drawn = [
        below(rng, 1000),
        choose(rng, "abcdef"),
        sample(rng, range(10), 4),
        round(between(rng, -1.0, 1.0), 12),
        chance(rng, 0.5),
        weighted(rng, [("a", 1.0), ("b", 2.0), ("c", 0.5)]),
        rng.randbytes(6).hex(),
    ]
    assert drawn == GOLDEN_DRAWS


def test_a_whole_plan():
    plan = draw_plan(7, Wishes(peers=12, names=("garbage flood", "replay")))
    text = json.dumps(plan.to_dict(), sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest() == GOLDEN_PLAN


def test_purposes_have_sequences_of_their_own():
    first, again, other = stream(7, "links"), stream(7, "links"), stream(7, "plan")
    sequence = [first.random() for _ in range(5)]
    assert sequence == [again.random() for _ in range(5)]
    assert sequence != [other.random() for _ in range(5)]
