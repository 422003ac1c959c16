"""Committed figures of throughput: some cells are measured again; the tool's ``--check`` does the rest."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _tool():
    spec = importlib.util.spec_from_file_location("throughput", ROOT / "tools" / "throughput_snapshot.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["throughput"] = module
    spec.loader.exec_module(module)
    return module


THROUGHPUT = _tool()
WRITTEN = json.loads(THROUGHPUT.DATA.read_text(encoding="utf-8"))
AGAIN = [
    THROUGHPUT.Setting("NewReno", 100, 10, 0.0),
    THROUGHPUT.Setting("NewReno", 10, 50, 0.01),
    THROUGHPUT.Setting("NewReno", 10, 300, 0.001),
    THROUGHPUT.Setting("NewReno", 100, 100, 0.05),
]


@pytest.mark.parametrize("setting", AGAIN, ids=lambda setting: setting.name)
def test_throughput_is_what_was_written_down(setting):
    """Where the change was meant, `python tools/throughput_snapshot.py` writes the file anew."""
    assert THROUGHPUT.measure(setting) == WRITTEN[setting.name]


def test_every_cell_is_there_and_the_page_shows_them():
    assert list(WRITTEN) == [setting.name for setting in THROUGHPUT.settings()]
    assert THROUGHPUT.TABLE.read_text(encoding="utf-8") == THROUGHPUT.table(WRITTEN)


def test_a_changed_figure_is_a_difference():
    name = THROUGHPUT.settings()[0].name
    changed = {**WRITTEN, name: {**WRITTEN[name], "seconds": 1.0}}
    assert THROUGHPUT.differences(WRITTEN, WRITTEN) == []
    assert [line.startswith(name) for line in THROUGHPUT.differences(WRITTEN, changed)] == [True]
