"""What is on record of the faults: enough of each kind, a test or a reason for each, and the page."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import mutants
import mutants_faults
import mutants_report

PLANTED = mutants_faults.planted()


@pytest.mark.parametrize("part", mutants_faults.PARTS)
@pytest.mark.parametrize("category", mutants_faults.CATEGORIES)
def test_each_part_has_five_faults_of_each_category(part, category):
    assert sum((fault.part, fault.category) == (part, category) for fault in PLANTED) >= 5


def test_fifty_faults_of_each_part_were_drawn():
    counts = [sum(fault.part == part for fault in mutants_faults.drawn()) for part in mutants_faults.PARTS]
    assert counts == [50] * 6


def test_the_short_form_takes_drawn_faults_that_a_test_is_known_to_notice():
    known = mutants_faults.killers()
    chosen = mutants.some_drawn()
    assert len(chosen) <= mutants.DRAWN_AT_ONCE
    assert all(known[fault.key] for fault in chosen)


def test_the_page_shows_what_is_on_record():
    page = mutants_report.PAGE.read_text(encoding="utf-8")
    assert mutants_report.with_tables(page) == page


def test_every_fault_has_a_test_on_record_or_an_explanation():
    known, explained = mutants_faults.killers(), mutants_report.survivors()
    judged = [*PLANTED, *(fault for fault in mutants_faults.drawn() if fault.key in known)]
    assert [fault.name for fault in judged if not known.get(fault.key) and fault.key not in explained] == []
