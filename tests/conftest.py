"""Settings that all tests share."""

from __future__ import annotations

from hypothesis import settings

# A machine that is busy with something else is no failure of the code under test.
settings.register_profile("quinkgl", deadline=None, print_blob=True)
settings.register_profile("long", settings.get_profile("quinkgl"), max_examples=1000, stateful_step_count=100)
"""For a night: pytest --hypothesis-profile=long."""
settings.load_profile("quinkgl")
