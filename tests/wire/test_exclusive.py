"""Single ownership: a marked call refuses to run inside another one of the same machine."""

from __future__ import annotations

import pytest

from quinkgl.testing.contract import ContractError, assert_refuses_reentry
from quinkgl.wire.exclusive import Exclusive, exclusive


class Counter(Exclusive):
    """Counts; calls back half-way."""

    def __init__(self) -> None:
        self.count = 0
        self.callback = lambda: None

    @exclusive
    def increase(self, by: int = 1, *, twice: bool = False) -> int:
        """Add ``by``."""
        before = self.count
        self.callback()
        self.count = before + by * (2 if twice else 1)
        return self.count

    @exclusive
    def fail(self) -> None:
        """Raise."""
        raise KeyError("inside")

    @exclusive
    def handle_timer(self, *, now: float) -> None:
        """Do nothing."""


def test_calls_pass_arguments_results_and_names_through():
    counter = Counter()
    assert counter.increase() == 1
    assert counter.increase(3, twice=True) == 7
    assert counter.increase.__name__ == "increase"
    assert counter.increase.__doc__ == "Add ``by``."


def test_a_call_from_inside_is_refused_by_name_and_changes_nothing():
    counter = Counter()
    counter.callback = counter.increase
    with pytest.raises(RuntimeError, match=r"Counter\.increase .* inside"):
        counter.increase()
    assert counter.count == 0


def test_the_machine_is_free_again_after_an_error():
    counter = Counter()
    with pytest.raises(KeyError):
        counter.fail()
    assert counter.increase() == 1


def test_two_machines_do_not_share_the_mark():
    one, other = Counter(), Counter()
    one.callback = other.increase
    assert one.increase() == 1
    assert other.count == 1


def test_the_contract_checker_sees_the_refusal():
    counter = Counter()
    assert_refuses_reentry(counter, counter.increase, now=0.0)


def test_the_contract_checker_sees_each_call_that_is_not_refused():
    class Open(Counter):
        def next_event(self):
            return None

        def rename(self, name, *, now):
            return name

    counter = Open()
    with pytest.raises(ContractError, match="let next_event, rename in"):
        assert_refuses_reentry(counter, counter.increase, now=0.0)
