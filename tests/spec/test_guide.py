"""The guide shows a real run, every byte of it explained."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "spec" / "guide.md"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("spec_guide", ROOT / "tools" / "spec_guide.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def trace(tool):
    return tool.trace()


def test_the_guide_shows_what_the_run_sends(tool, trace):
    text = PAGE.read_text(encoding="utf-8")
    assert tool.render(text, trace) == text, "run: python tools/spec_guide.py"


def test_the_run_goes_from_the_first_packet_to_the_last_word(trace):
    assert "long, INIT" in trace[0][1]
    assert any("DONE.kind" in line for lines in trace for line in lines)
    assert any("CLOSE code" in line for line in trace[-1])


def test_a_changed_digit_is_noticed(tool, trace):
    text = PAGE.read_text(encoding="utf-8")
    changed = text.replace("version: 00000001 = 1", "version: 00000002 = 1", 1)
    assert changed != text
    assert tool.render(changed, trace) == text
